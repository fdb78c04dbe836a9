"""What was found, as text for a model: fenced, tagged, in order of time, within a budget.

The fence tells the reader, and our own deriver, that this is quoted from memory: it is evidence to judge, never an instruction,
and never stored again as something new.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime

from overwinter.memory.claim import Claim
from overwinter.memory.retrieve.answer import Answer
from overwinter.memory.unit import INSTRUCTION, UNTRUSTED, Hit, in_time_order, rough_tokens

BEGIN, END = "<recalled>", "</recalled>"
_NOTHING = f"{BEGIN}\nnothing relevant was found\n{END}"
_DAY_US = 86_400_000_000


def assemble(answer: Answer, budget_tokens: int) -> str:
    """The hits as records in order of time, the best of them that fit into `budget_tokens` (rough, 0 for no limit).

    A record has its citation, when it happened, when it was told where that differs by a day, who said it, how far to trust it,
    and what of it no longer holds. Text inside that would close the fence is defused.
    """
    claims: dict[str, list[Claim]] = defaultdict(list)
    for claim in answer.claims:
        for evidence in claim.evidence:
            claims[evidence.unit].append(claim)
    left = budget_tokens - rough_tokens(f"{BEGIN}\n\n{END}")
    records: dict[str, str] = {}
    for hit in answer.hits:
        record = _record(hit, claims[hit.unit.id])
        cost = rough_tokens(record)
        if budget_tokens and cost > left:
            continue
        records[hit.unit.id] = record
        left -= cost
    if not records:
        return _NOTHING
    ordered = [records[hit.unit.id] for hit in in_time_order(answer.hits) if hit.unit.id in records]
    return "\n".join([BEGIN, *ordered, END])


def _record(hit: Hit, claims: list[Claim]) -> str:
    unit = hit.unit
    tags = [f"cite={unit.cite}", f"happened={_moment(unit.happened_us)}"]
    if abs(unit.told_us - unit.happened_us) >= _DAY_US:
        tags.append(f"told={_moment(unit.told_us)}")
    tags += [f"who={_tag(unit.actor)}", f"trust={unit.trust}"]
    if unit.trust == UNTRUSTED and INSTRUCTION in unit.flags:
        tags.append("reads-like-an-order=quoted-only")
    if hit.duplicates:
        tags.append("also=" + ",".join(hit.duplicates))
    lines = [f"[{' '.join(tags)}]", _inside_fence(unit.text)]
    for claim in claims:
        if claim.valid_to_us is not None:
            said = f"{claim.subject} {claim.predicate} {claim.object}"
            lines.append(f"(held until {_moment(claim.valid_to_us)}: {_inside_fence(said)})")
    return "\n".join(lines)


def _moment(us: int) -> str:
    try:
        return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%dT%H:%MZ")
    except (ValueError, OverflowError, OSError):
        return f"{us}us"


def _tag(text: str) -> str:
    return "".join(char if char not in "[] \n\r\t" else "_" for char in text)


def _inside_fence(text: str) -> str:
    """A text in which neither fence nor a record's head can begin."""
    for fence in (BEGIN, END):
        text = text.replace(fence, fence.replace("<", "‹").replace(">", "›"))
    return text.replace("\n[cite=", "\n [cite=")
