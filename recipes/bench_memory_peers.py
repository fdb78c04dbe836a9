"""Peers of retrieval that run without a model call: the same texts, the same vectors, the same k.

Each is a class with `name` and `ranking(question, vector, k)`, built from texts and vectors; `available` leaves out what is not installed:
pip install bm25s rank_bm25 chromadb langgraph mem0ai
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overwinter.memory.retrieve.question import STOP_WORDS
from overwinter.memory.words import stem, words

Vectors = NDArray[np.float32]


def _tokens(text: str) -> list[str]:
    """What both BM25 libraries are given: our words and stems, without stop words, so that only the ranking differs."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


class Bm25s:
    name, package, distribution = "bm25s", "bm25s", "bm25s"

    def __init__(self, texts: Sequence[str], _vectors: Vectors) -> None:
        import bm25s

        self._index = bm25s.BM25()
        self._index.index([_tokens(text) for text in texts], show_progress=False)
        self._count = len(texts)

    def ranking(self, question: str, _vector: Vectors, k: int) -> list[int]:
        tokens = [token for token in dict.fromkeys(_tokens(question)) if token in self._index.vocab_dict]
        if not tokens:
            return []
        found, _ = self._index.retrieve([tokens], k=min(k, self._count), show_progress=False)
        return [int(i) for i in found[0]]


class RankBm25:
    name, package, distribution = "rank_bm25", "rank_bm25", "rank-bm25"

    def __init__(self, texts: Sequence[str], _vectors: Vectors) -> None:
        import rank_bm25

        self._index = rank_bm25.BM25Okapi([_tokens(text) for text in texts])

    def ranking(self, question: str, _vector: Vectors, k: int) -> list[int]:
        scores = self._index.get_scores(list(dict.fromkeys(_tokens(question))))
        return [int(i) for i in np.argsort(-scores, kind="stable")[:k]]


class Cosine:
    """The vectors alone, exactly: what every vector store aims at."""

    name, package, distribution = "MiniLM alone, exact", "numpy", "numpy"

    def __init__(self, _texts: Sequence[str], vectors: Vectors) -> None:
        self._vectors = vectors

    def ranking(self, _question: str, vector: Vectors, k: int) -> list[int]:
        return [int(i) for i in np.argsort(-(self._vectors @ vector), kind="stable")[:k]]


class Chroma:
    name, package, distribution = "chromadb", "chromadb", "chromadb"

    def __init__(self, texts: Sequence[str], vectors: Vectors) -> None:
        import chromadb
        from chromadb.config import Settings

        client = chromadb.EphemeralClient(settings=Settings(anonymized_telemetry=False, allow_reset=True))
        client.reset()
        self._rows = client.create_collection("units", metadata={"hnsw:space": "cosine"})
        for i in range(0, len(texts), 1000):
            some = slice(i, i + 1000)
            ids = [str(j) for j in range(i, min(i + 1000, len(texts)))]
            self._rows.add(ids=ids, embeddings=vectors[some], documents=list(texts[some]))

    def ranking(self, _question: str, vector: Vectors, k: int) -> list[int]:
        found = self._rows.query(query_embeddings=[vector], n_results=k, include=[])
        return [int(id_) for id_ in found["ids"][0]]


class LangGraphStore:
    name, package, distribution = "LangGraph InMemoryStore", "langgraph", "langgraph"

    def __init__(self, texts: Sequence[str], vectors: Vectors) -> None:
        from langgraph.store.memory import InMemoryStore

        self._known = {text: vector.tolist() for text, vector in zip(texts, vectors, strict=True)}
        self._store = InMemoryStore(
            index={
                "dims": int(vectors.shape[1]),
                "embed": lambda asked: [self._known[text] for text in asked],
                "fields": ["text"],
            }
        )
        for i, text in enumerate(texts):
            self._store.put(("units",), str(i), {"text": text})

    def ranking(self, question: str, vector: Vectors, k: int) -> list[int]:
        self._known[question] = vector.tolist()
        return [int(item.key) for item in self._store.search(("units",), query=question, limit=k)]


class Mem0:
    name, package, distribution = "mem0, infer=False", "mem0", "mem0ai"

    def __init__(self, texts: Sequence[str], vectors: Vectors) -> None:
        os.environ.setdefault("MEM0_TELEMETRY", "False")
        os.environ.setdefault("OPENAI_API_KEY", "none-is-called")
        from mem0 import Memory
        from mem0.configs.base import MemoryConfig

        folder = tempfile.mkdtemp(prefix="bench-mem0-")
        store = {"path": folder, "embedding_model_dims": int(vectors.shape[1]), "on_disk": False}
        self._memory = Memory(
            MemoryConfig(vector_store={"provider": "qdrant", "config": store}, history_db_path=f"{folder}/history.db")
        )
        self._known = {text: vector.tolist() for text, vector in zip(texts, vectors, strict=True)}
        self._memory.embedding_model.embed = self.embed
        for i, text in enumerate(texts):
            self._memory.add([{"role": "user", "content": text}], user_id="u", infer=False, metadata={"place": i})

    def embed(self, text: str, *_: Any, **__: Any) -> list[float]:
        return self._known[text]

    def ranking(self, question: str, vector: Vectors, k: int) -> list[int]:
        self._known[question] = vector.tolist()
        found = self._memory.search(question, user_id="u", limit=k)
        return [int(each["metadata"]["place"]) for each in found["results"]]


PEERS: tuple[type[Any], ...] = (Bm25s, RankBm25, Cosine, Chroma, LangGraphStore)
SLOW: tuple[type[Any], ...] = (Mem0,)
"""mem0 took most of a second for each text that it stores, model or not; its ranking is the cosine's."""


def available(*, slow: bool = False) -> list[type[Any]]:
    return [peer for peer in (*PEERS, *(SLOW if slow else ())) if importlib.util.find_spec(peer.package) is not None]
