"""Vectors from any server with the OpenAI embeddings route: vLLM, llama.cpp, Ollama, SGLang, hosted ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from overwinter.errors import ModelError, UsageError

_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How to reach the server.

    Attributes:
        base_url: the API's root, usually ending in /v1.
        api_key_env: the environment variable that holds the key, "" for a server without keys.
        max_tokens: what the model reads; longer texts are cut at four characters a token.
        batch: texts in one request.
        max_attempts, backoff_s, max_backoff_s: attempts that may fail before the call does; the first wait, doubled each time.
    """

    base_url: str
    model: str
    api_key_env: str = ""
    max_tokens: int = 512
    batch: int = 64
    timeout_s: float = 60.0
    max_attempts: int = 4
    backoff_s: float = 1.0
    max_backoff_s: float = 30.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError("the base URL is not an http(s) URL", "give one such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query:
            raise UsageError("the base URL holds a password or a query", "put the key into an environment variable")
        if not self.model:
            raise UsageError("no embedding model is named", "write endpoint:URL#MODEL")
        if min(self.max_tokens, self.batch, self.max_attempts) < 1:
            raise UsageError("max_tokens, batch and max_attempts must be at least 1", "correct the configuration")


class _Passing(Exception):
    """A failure that another attempt may not meet."""

    def __init__(self, problem: str, wait_s: float = 0.0) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


class EndpointEmbedder:
    """An `Embedder` behind HTTP. Its name is the model's: the same model behind another URL makes the same vectors."""

    def __init__(self, config: Config, transport: httpx.BaseTransport | None = None) -> None:
        self.config = config
        self.name = f"endpoint-{config.model}"
        self.max_tokens = config.max_tokens
        self._dim = 0
        self._client = httpx.Client(timeout=config.timeout_s, transport=transport)

    @property
    def dim(self) -> int:
        """Length of a vector; asks the server once if nothing was embedded yet. Raises ModelError."""
        if not self._dim:
            self.embed(["length"])
        return self._dim

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[len(texts), dim] float32, each of norm 1. Raises ModelError."""
        longest = self.max_tokens * _CHARACTERS_PER_TOKEN
        cut = [text[:longest] or " " for text in texts]  # servers refuse an empty text
        parts = [self._embed_batch(cut[i : i + self.config.batch]) for i in range(0, len(cut), self.config.batch)]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def close(self) -> None:
        self._client.close()

    def _embed_batch(self, texts: list[str]) -> NDArray[np.float32]:
        wait_s = self.config.backoff_s
        for attempt in range(1, self.config.max_attempts + 1):
            try:
                return self._ask(texts)
            except _Passing as failed:
                if attempt == self.config.max_attempts:
                    raise ModelError(
                        f"{self.config.base_url} gave no vectors in {attempt} attempts: {failed}",
                        "check that the server runs, or search by words alone with the embedder `none`",
                    ) from None
                self.config.sleep(min(max(wait_s, failed.wait_s), self.config.max_backoff_s))
                wait_s *= 2
        raise AssertionError("the last attempt returns or raises")

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        body = {"model": self.config.model, "input": texts, "encoding_format": "float"}
        try:
            answer = self._client.post(
                f"{self.config.base_url.rstrip('/')}/embeddings", json=body, headers=self._headers()
            )
        except httpx.HTTPError as error:
            raise _Passing(f"{type(error).__name__}: {error}") from None
        if answer.status_code in (408, 409, 425, 429) or answer.status_code >= 500:
            raise _Passing(f"status {answer.status_code}", _retry_after_s(answer))
        if answer.status_code != 200:
            raise ModelError(
                f"{self.config.base_url} refused to embed (status {answer.status_code}): {answer.text[:200]}",
                f"check the URL, the key and that the server has the embedding model {self.config.model!r}",
            )
        return self._read(answer, len(texts))

    def _headers(self) -> dict[str, str]:
        if not self.config.api_key_env:
            return {}
        key = os.environ.get(self.config.api_key_env, "").strip()
        if not key:
            raise UsageError(f"the environment variable {self.config.api_key_env} is empty", "export the API key in it")
        return {"Authorization": f"Bearer {key}"}

    def _read(self, answer: httpx.Response, count: int) -> NDArray[np.float32]:
        try:
            rows = sorted(answer.json()["data"], key=lambda row: row["index"])
            vectors = np.asarray([row["embedding"] for row in rows], np.float32)
        except (ValueError, TypeError, KeyError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from None
        if vectors.ndim != 2 or len(vectors) != count or not np.isfinite(vectors).all():
            raise self._unreadable(f"{len(rows)} vectors for {count} texts, or values that are no numbers")
        if self._dim not in (0, vectors.shape[1]):
            raise self._unreadable(f"{vectors.shape[1]} dimensions after {self._dim}")
        self._dim = int(vectors.shape[1])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)

    def _unreadable(self, problem: str) -> ModelError:
        return ModelError(
            f"the embeddings of {self.config.base_url} cannot be read ({problem})",
            "check that the URL is that of an OpenAI-compatible embeddings route",
        )


def _retry_after_s(answer: httpx.Response) -> float:
    value: Any = answer.headers.get("retry-after", "")
    return float(value) if value.isdigit() else 0.0
