"""The core: a few short blocks that are always in view, since what must never be missed may not depend on a search.

A block (who the agent is, standing instructions, preferences, open commitments) is the newest `core.changed` entry of its name in the
namespace's notebook, so every version and who approved it stays on record. Nothing gets in by itself: a person approves each change. What a
tool, a world or a document says is refused whoever approves, and so is text of the agent's that reads like an order: it may be quoting one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from overwinter.errors import UsageError
from overwinter.journal import Draft, Packer, Store, unpack
from overwinter.memory.calendar import from_us
from overwinter.memory.claims.query import promises
from overwinter.memory.hygiene import reads_like_instruction, redact
from overwinter.memory.index import Index
from overwinter.memory.unit import rough_tokens

BLOCKS: Mapping[str, int] = {"identity": 200, "instructions": 400, "preferences": 300, "commitments": 300}
"""The blocks in the order they are shown, with the most tokens each may hold."""

_PERSONS = ("user", "person:")


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One version of a block.

    Attributes:
        version: from 1; counts the changes of this block.
        text: empty when the block was taken out.
        by, approved_by: who wrote it, and the person who approved.
        cite: RUN#SEQ of the entry; time_us: when it was written.
    """

    name: str
    version: int
    text: str
    by: str
    approved_by: str
    cite: str
    time_us: int


def is_person(actor: str) -> bool:
    return actor == _PERSONS[0] or (actor.startswith(_PERSONS[1]) and len(actor) > len(_PERSONS[1]))


def change(name: str, text: str, *, by: str, approved_by: str) -> tuple[Draft, dict[str, bytes]]:
    """The entry that changes a block, and its blobs, for `Notebook.append`. An empty text takes the block out.

    Raises:
        UsageError: unknown block, too long, not approved by a person, from an untrusted source, an order quoted by the agent, a secret.
    """
    if name not in BLOCKS:
        raise UsageError(f"the core has no block {name!r}", f"use one of: {', '.join(BLOCKS)}")
    if not is_person(approved_by):
        raise UsageError(
            f"a change of the core was approved by {approved_by or 'nobody'!r}, which is no person",
            "let a person approve it: approved_by is `user` or `person:NAME`",
        )
    if not (is_person(by) or by == "agent"):
        raise UsageError(
            f"text of {by!r} cannot enter the core: it is not trusted",
            "keep it as a note, or let a person write it in their own words",
        )
    if by == "agent" and reads_like_instruction(text):
        raise UsageError(
            "the agent's text reads like an order, which it may have from a tool or a document",
            "let the person who wants it so write it themselves",
        )
    kinds = redact(text).kinds
    if kinds:
        raise UsageError(
            f"the text holds a secret ({', '.join(kinds)})",
            "leave it out: the core is shown to the model at every step",
        )
    tokens = rough_tokens(text)
    if text and tokens > BLOCKS[name]:
        raise UsageError(
            f"{tokens} tokens are too many for the block {name!r}",
            f"shorten it to {BLOCKS[name]}, and keep the rest as a note",
        )
    packer = Packer()
    body = {"name": name, "text": packer.text(text), "by": by, "approved_by": approved_by}
    return Draft(kind="core.changed", body=body, refs=packer.take_refs()), packer.blobs


class Core:
    """The blocks of one notebook, read along with it.

    Args:
        run: the notebook (`memory-NAMESPACE`).
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store, self._run = store, run
        self._next = 0
        self._versions: dict[str, list[Block]] = {name: [] for name in BLOCKS}

    def _read(self) -> None:
        try:
            entries = list(self._store.read(self._run, self._next))
        except UsageError:
            return  # no notebook yet
        for entry in entries:
            self._next = entry.seq + 1
            if (
                entry.kind != "core.changed"
                or entry.body["name"] not in BLOCKS
                or not is_person(entry.body["approved_by"])
            ):
                continue
            versions = self._versions[entry.body["name"]]
            versions.append(
                Block(
                    name=entry.body["name"],
                    version=len(versions) + 1,
                    text=unpack(self._store, entry.body["text"]),
                    by=entry.body["by"],
                    approved_by=entry.body["approved_by"],
                    cite=f"{entry.run}#{entry.seq}",
                    time_us=entry.time_us,
                )
            )

    def history(self, name: str) -> Sequence[Block]:
        """All versions of a block, oldest first.

        Raises:
            UsageError: there is no such block.
        """
        if name not in BLOCKS:
            raise UsageError(f"the core has no block {name!r}", f"use one of: {', '.join(BLOCKS)}")
        self._read()
        return tuple(self._versions[name])

    def blocks(self, *, at_us: int | None = None) -> list[Block]:
        """The blocks as they are, or were at a moment; empty ones are left out."""
        self._read()
        newest = []
        for versions in self._versions.values():
            known = [block for block in versions if at_us is None or block.time_us <= at_us]
            if known and known[-1].text:
                newest.append(known[-1])
        return newest


def core_text(core: Core, budget_tokens: int, *, index: Index | None = None, at_us: int | None = None) -> str:
    """The core as it is shown, at most `budget_tokens` long; with an index, open promises behind the commitments, soonest due first.

    A block that does not fit any more is named, so that the reader knows that it is there.
    """
    blocks = {block.name: block for block in core.blocks(at_us=at_us)}
    parts: list[str] = []
    left_out: list[str] = []
    left = budget_tokens
    for name in BLOCKS:
        lines = [blocks[name].text] if name in blocks else []
        if name == "commitments" and index is not None:
            lines += [f"- {one.claim.subject}: {one.claim.object}{_due(one.due_us)}" for one in promises(index)]
        for place, line in enumerate(lines):
            piece = line if place else f"[{name}]\n{line}"
            cost = rough_tokens(piece) + 1
            if cost > left:
                left_out.append(name)
                break
            left -= cost
            parts.append(piece)
    if left_out:
        note = f"[not shown for want of room: {', '.join(left_out)}]"
        if rough_tokens(note) <= left:
            parts.append(note)
    return "\n".join(parts)


def _due(due_us: int | None) -> str:
    """The end of the range is the first moment after it: the day before is the last one."""
    return "" if due_us is None else f" (due {from_us(due_us - 1):%Y-%m-%d})"
