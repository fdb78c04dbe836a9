"""Token ids on disk: written once, read through the operating system's memory, the same bytes for every process.

A folder holds `tokens-NNNNN.bin` (uint16 where the vocabulary allows it, else uint32, little endian), `ends.bin` (uint64: where
each document ends, in tokens), for examples `learn-NNNNN.bin` (uint8: whether the token is to be learned), and `index.json`. It is
there whole or not at all. Text and examples are the same thing here; text learns every token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from overwinter.errors import UsageError
from overwinter.model.weights import new_folder, read_json, write_json

INDEX, ENDS, FORMAT = "index.json", "ends.bin", 1
SHARD_TOKENS = 1 << 26
_AGAIN = "remove the folder and prepare the data again"


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text or one example as ids; without `learn`, all of it is learned."""

    ids: NDArray[Any] | list[int]
    learn: NDArray[Any] | list[bool] | None = None


def write_shards(
    folder: Path,
    documents: Iterable[Document],
    *,
    vocab_size: int,
    about: dict[str, Any] | None = None,
    shard_tokens: int = SHARD_TOKENS,
    tick: Callable[[int], None] | None = None,
) -> Shards:
    """Write documents to a folder that does not exist yet.

    Args:
        folder: the target; it appears when all is written and synced.
        documents: in order; empty ones are left out. Either all or none say what to learn.
        vocab_size: all ids are below it.
        about: what else the index shall say, such as where the text came from.
        shard_tokens: tokens per file.
        tick: called with the number of tokens after each document.

    Raises:
        UsageError: an id is out of range, documents disagree on `learn`, or there is none.
    """
    kind = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
    with new_folder(folder) as partial:
        tokens, learns = _Files(partial, "tokens", shard_tokens), _Files(partial, "learn", shard_tokens)
        ends: list[int] = []
        masked: bool | None = None
        try:
            for document in documents:
                ids = np.asarray(document.ids)
                if not len(ids):
                    continue
                masked = _agreed(masked, document, ids, vocab_size)
                tokens.write(ids.astype(kind))
                if document.learn is not None:
                    learns.write(np.asarray(document.learn).astype(np.uint8))
                ends.append(tokens.count)
                if tick is not None:
                    tick(tokens.count)
        finally:
            tokens.close()
            learns.close()
        if not ends:
            raise UsageError(f"there is nothing to write to {folder}", "name data that is not empty")
        (partial / ENDS).write_bytes(np.asarray(ends, dtype="<u8").tobytes())
        index = {"format": FORMAT, "dtype": kind.str, "tokens": ends[-1], "documents": len(ends)}
        write_json(
            partial / INDEX,
            {**index, "shard_tokens": shard_tokens, "vocab_size": vocab_size, "learn": masked, "about": about or {}},
        )
    return Shards(folder)


class Shards:
    """The documents of a folder.

    Args:
        folder: as `write_shards` makes it.

    Raises:
        UsageError: it is none, or files are cut short.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = read_json(folder / INDEX)
        if index.get("format") != FORMAT:
            raise UsageError(f"{folder} has format {index.get('format')!r}, this version reads {FORMAT}", _AGAIN)
        self.tokens, self.vocab_size = int(index["tokens"]), int(index["vocab_size"])
        self.masked, self.about = bool(index["learn"]), dict(index["about"])
        self._each = int(index["shard_tokens"])
        self._ids = self._open("tokens", np.dtype(index["dtype"]))
        self._learn = self._open("learn", np.dtype(np.uint8)) if self.masked else []
        self.ends = np.fromfile(folder / ENDS, dtype="<u8").astype(np.int64)
        if len(self.ends) != int(index["documents"]) or int(self.ends[-1]) != self.tokens:
            raise UsageError(f"{folder / ENDS} does not fit the index", _AGAIN)

    def __len__(self) -> int:
        """Documents."""
        return len(self.ends)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each document begins, in tokens."""
        return np.concatenate([np.zeros(1, dtype=np.int64), self.ends[:-1]])

    def ids(self, start: int, stop: int) -> NDArray[np.int64]:
        """Tokens of a range, whichever documents they belong to."""
        return self._read(self._ids, start, stop).astype(np.int64)

    def learn(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of them are to be learned."""
        if not self.masked:
            return np.ones(stop - start, dtype=np.bool_)
        return self._read(self._learn, start, stop).astype(np.bool_)

    def _open(self, name: str, kind: np.dtype[Any]) -> list[NDArray[Any]]:
        files = [self.folder / f"{name}-{n:05d}.bin" for n in range(-(-self.tokens // self._each))]
        sizes = [min(self._each, self.tokens - n * self._each) for n in range(len(files))]
        for path, size in zip(files, sizes, strict=True):
            found = path.stat().st_size if path.exists() else 0
            if found != size * kind.itemsize:
                raise UsageError(f"{path} has {found} bytes in place of {size * kind.itemsize}", _AGAIN)
        return [np.memmap(path, dtype=kind, mode="r") for path in files]

    def _read(self, files: list[NDArray[Any]], start: int, stop: int) -> NDArray[Any]:
        parts = []
        while start < stop:
            file, place = divmod(start, self._each)
            part = files[file][place : place + stop - start]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate([*parts, files[0][:0]])


class _Files:
    """Arrays written behind each other into files of one size."""

    def __init__(self, folder: Path, name: str, each: int) -> None:
        self.folder, self.name, self.each, self.count = folder, name, each, 0
        self._file: BinaryIO | None = None

    def write(self, values: NDArray[Any]) -> None:
        while len(values):
            if self.count % self.each == 0:
                self.close()
                self._file = (self.folder / f"{self.name}-{self.count // self.each:05d}.bin").open("wb")
            assert self._file is not None
            part = values[: self.each - self.count % self.each]
            self._file.write(part.tobytes())
            self.count += len(part)
            values = values[len(part) :]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _agreed(masked: bool | None, document: Document, ids: NDArray[Any], vocab_size: int) -> bool:
    """Whether documents say what to learn; all must say the same."""
    mine = document.learn is not None
    if masked is not None and mine != masked:
        raise UsageError("some documents say what to learn and others do not", "let all say it, or none")
    if document.learn is not None and len(document.learn) != len(ids):
        raise UsageError(f"a document of {len(ids)} tokens has {len(document.learn)} marks", "give one mark per token")
    if int(ids.min()) < 0 or int(ids.max()) >= vocab_size:
        raise UsageError(
            f"a document has ids from {ids.min()} to {ids.max()}, the vocabulary {vocab_size} tokens",
            "use the tokenizer of this vocabulary",
        )
    return mine
