"""The part of `SqlIndex` that keeps vectors: float16 bytes by row, of several models side by side."""

from __future__ import annotations

import abc
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from overwinter.errors import StoreError
from overwinter.memory.rows import Condition, Row, damaged

PAGE_VECTORS = 2000


class VectorTables(abc.ABC):
    @abc.abstractmethod
    def _execute(self, sql: str, args: Sequence[Any] = ()) -> list[Row]: ...

    @abc.abstractmethod
    def _execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None: ...

    @abc.abstractmethod
    def _among(self, column: str, values: Collection[Any]) -> Condition: ...

    @abc.abstractmethod
    def _must_write(self) -> None: ...

    @abc.abstractmethod
    def count(self) -> int: ...

    def put_vectors(self, model: str, dim: int, vectors: Iterable[tuple[int, bytes]]) -> None:
        self._must_write()
        id_ = self._model_id(model, dim)
        waiting = iter(vectors)
        while page := dict(islice(waiting, PAGE_VECTORS)):
            wrong = next((data for data in page.values() if len(data) != 2 * dim), None)
            if wrong is not None:
                raise StoreError(f"a vector of {len(wrong)} bytes is not float16 × {dim}", "check the embedder")
            condition, args = self._among("num", page)
            there = [row[0] for row in self._execute(f"SELECT num FROM units WHERE {condition}", args)]
            replaced = self._execute(f"DELETE FROM vectors WHERE model = ? AND {condition} RETURNING num", [id_, *args])
            rows = [(id_, num, page[num], zlib.crc32(page[num])) for num in there]
            if rows:
                self._execute_many("INSERT INTO vectors (model, num, data, sum) VALUES (?, ?, ?, ?)", rows)
            self._count_in(id_, len(rows) - len(replaced))

    def _model_id(self, model: str, dim: int) -> int:
        rows = self._execute("SELECT id, dim FROM models WHERE name = ?", (model,))
        if rows:
            if rows[0][1] != dim:
                raise StoreError(
                    f"the vectors of {model!r} have {rows[0][1]} dimensions, not {dim}",
                    "give an embedder that makes other vectors another name",
                )
            return int(rows[0][0])
        id_ = int(self._execute("SELECT coalesce(max(id), 0) + 1 FROM models")[0][0])
        self._execute("INSERT INTO models (id, name, dim, vectors) VALUES (?, ?, ?, 0)", (id_, model, dim))
        return id_

    def _count_in(self, id_: int, more: int) -> None:
        self._execute("UPDATE models SET vectors = vectors + ? WHERE id = ?", (more, id_))

    def vectors(self, model: str, *, after_row: int = -1) -> Iterator[tuple[int, bytes]]:
        ids = self._execute("SELECT id FROM models WHERE name = ?", (model,))
        after = after_row
        while ids:
            # By key in pages: a cursor held open would keep the log from shrinking while vectors are used.
            page = self._execute(
                "SELECT num, data, sum FROM vectors WHERE model = ? AND num > ? ORDER BY num LIMIT ?",
                (ids[0][0], after, PAGE_VECTORS),
            )
            for num, data, written in page:
                if zlib.crc32(data) != written:
                    raise damaged(f"a vector of unit {num}")
                yield num, bytes(data)
            if len(page) < PAGE_VECTORS:
                return
            after = page[-1][0]

    def vector_models(self) -> dict[str, tuple[int, int]]:
        return {name: (dim, vectors) for name, dim, vectors in self._execute("SELECT name, dim, vectors FROM models")}

    def without_vector(self, model: str, limit: int) -> list[int]:
        rows = self._execute("SELECT id, vectors FROM models WHERE name = ?", (model,))
        if rows and rows[0][1] == self.count():
            return []
        found = self._execute(
            "SELECT u.num FROM units u WHERE NOT EXISTS (SELECT 1 FROM vectors v WHERE v.model = ? AND v.num = u.num) "
            "ORDER BY u.num LIMIT ?",
            (rows[0][0] if rows else -1, limit),
        )
        return [row[0] for row in found]

    def drop_vectors(self, model: str) -> None:
        self._must_write()
        for (id_,) in self._execute("SELECT id FROM models WHERE name = ?", (model,)):
            self._execute("DELETE FROM vectors WHERE model = ?", (id_,))
            self._execute("DELETE FROM models WHERE id = ?", (id_,))

    def _drop_vectors_of(self, nums: Collection[int]) -> None:
        condition, args = self._among("num", nums)
        gone = self._execute(f"DELETE FROM vectors WHERE {condition} RETURNING model", args)
        for id_, count in Counter(row[0] for row in gone).items():
            self._count_in(id_, -count)

    def _check_vectors(self) -> None:
        """Read all vectors; the first damaged one raises."""
        for model, (_, count) in self.vector_models().items():
            if sum(1 for _ in self.vectors(model)) != count:
                raise damaged(f"the list of vectors of {model!r}")
