"""Handles: names for ranges of journal entries. A handle never changes; the same name again is a new version of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from overwinter.journal import Entry, Store, unpack

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Ranges = tuple[tuple[int, int], ...]
"""Closed ranges of entries, ascending, apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Handle:
    """A `handle.made` entry.

    Attributes:
        seq: the entry that made it.
        ranges: the entries that are its content.
        note: what the agent says of them; shown beside the content, never instead of it.
    """

    name: str
    version: int
    seq: int
    description: str
    ranges: Ranges
    note: str = ""

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    def covers(self, seq: int) -> bool:
        return any(first <= seq <= last for first, last in self.ranges)


def parse_ref(text: str) -> tuple[str, int | None]:
    """`name` or `name@version`. Raises ValueError, which says how a handle is named."""
    name, at, version = text.partition("@")
    if NAME.fullmatch(name) is None or (at and not version.isdecimal()):
        raise ValueError(
            f"{text!r} is no handle; write NAME or NAME@VERSION, NAME of at most 64 letters, digits, '_' or '-'"
        )
    return name, int(version) if at else None


def newest_version(versions: Mapping[str, int]) -> int:
    """0 where there is none."""
    return max(map(int, versions), default=0)


def lookup(book: Mapping[str, Mapping[str, int]], text: str) -> int:
    """The entry that made a handle; without a version, its newest. Raises ValueError, which names handles there are.

    Args:
        book: name → version → entry.
    """
    name, version = parse_ref(text)
    made = book.get(name)
    if not made:
        known = ", ".join(sorted(book)[:20])
        raise ValueError(f"there is no handle {name!r}; there are: {known or 'none'} (list_handles shows all)")
    wanted = str(newest_version(made) if version is None else version)
    if wanted not in made:
        raise ValueError(f"{name!r} has the versions {', '.join(sorted(made, key=int))}, not {version}")
    return made[wanted]


def read_handle(store: Store, entry: Entry) -> Handle:
    """The handle an entry made."""
    body = entry.body
    return Handle(
        name=body["name"],
        version=body["version"],
        seq=entry.seq,
        description=body["description"],
        ranges=tuple((first, last) for first, last in body["entries"]),
        note=unpack(store, body["note"]),
    )


def joined(seqs: Iterable[int]) -> Ranges:
    """Single entries as ranges."""
    found: list[tuple[int, int]] = []
    for seq in sorted(set(seqs)):
        if found and seq == found[-1][1] + 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return tuple(found)


def ranges_text(ranges: Iterable[Sequence[int]]) -> str:
    """Ranges in words: "12-40, 44"."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
