"""Where recall comes from: a small protocol, and the namespace's index behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from overwinter.memory.unit import AsOf, Hit


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreBlock:
    """A small text that is always in view: `cite` is the entry that set it."""

    name: str
    text: str
    cite: str


class Recaller(Protocol):
    """Memory of one namespace. It answers what it knows now; the loop writes the answer down before it shows it."""

    namespace: str

    def search(
        self, query: str, *, k: int, at: AsOf | None = None, session: str = "", budget_tokens: int = 0
    ) -> Sequence[Hit]:
        """The units that answer `query`, best first; none where nothing is relevant enough.

        Args:
            session: the run that asks, whose own past is preferred.
        """
        ...

    def core(self) -> Sequence[CoreBlock]:
        """The core blocks that are approved, by name."""
        ...

    def close(self) -> None: ...
