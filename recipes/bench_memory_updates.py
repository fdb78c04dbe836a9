"""Facts that change: does memory know what holds, what held, what was believed, and what no longer holds?

python recipes/bench_memory_updates.py               # 200 cases of each class and column; minutes on one core
python recipes/bench_memory_updates.py --quick       # 60
python recipes/bench_memory_updates.py --write       # fill the table of docs/benchmarks.md
python recipes/bench_memory_updates.py --misses 20   # print cases that went wrong

Each case is a history of its own in an empty index (`memory_updates`). "as data" gives the facts with the entries; "sentences" gives texts
only, in templates that were at hand when the rules were written, and in held-out ones. An answer is right when the claim found has the
expected object, or when rightly nothing holds and the last value is named. No model is called. Brackets are 95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from bench_journal import ROOT, write_between
from memory_phrases import (
    FIFTH_HELD_OUT,
    FIRST_HELD_OUT,
    FOURTH_HELD_OUT,
    HELD_OUT,
    SECOND_HELD_OUT,
    SEVENTH_HELD_OUT,
    SIXTH_HELD_OUT,
    THIRD_HELD_OUT,
    WRITTEN_WITH,
    Templates,
    joined,
)
from memory_updates import DAY, START_US, Case, cases, units_of
from overwinter.memory.claim import Claim
from overwinter.memory.claims import ClaimKeeper, query, statements_of
from overwinter.memory.claims.statement import REPEAT_MARK
from overwinter.memory.claims.words import covers, predicate_of, subject_of, value_of
from overwinter.memory.plain import PlainIndex
from overwinter.memory.unit import INJECTED, OWN, TRUSTED, AsOf, Unit, rough_tokens, text_digest

BEGIN, END = "<!-- bench_memory_updates: begin -->", "<!-- bench_memory_updates: end -->"
SEED = 20_310_101
TARGET = 0.95
LOOKED_AT = joined(
    FIRST_HELD_OUT, SECOND_HELD_OUT, THIRD_HELD_OUT, FOURTH_HELD_OUT, FIFTH_HELD_OUT, SIXTH_HELD_OUT, SEVENTH_HELD_OUT
)


def wilson(right: int, of: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z, share = 1.96, right / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return middle - half, middle + half


def learned(case: Case, *, as_facts: bool) -> PlainIndex:
    index = PlainIndex()
    keeper = ClaimKeeper(index)
    units, facts = units_of(case, "bench", as_facts=as_facts)
    for unit in units:
        with index.transaction():
            index.put_units([unit])
            keeper.learn([unit], facts=facts)
    return index


def answer(index: PlainIndex, case: Case) -> Any:
    """What the claims say; None where nothing holds."""
    at = AsOf(valid_us=case.valid_us, known_us=case.known_us)
    if case.ask == "changes":
        return query.change_count(index, case.subject, case.predicate)
    if case.ask == "has":
        return query.has(index, case.subject, case.predicate, case.note["object"], at=at)
    if case.ask == "previous":
        claim = query.previous(index, case.subject, case.predicate)
    else:
        claim = query.known(index, case.subject, case.predicate, at=at).value
    return None if claim is None else value_of(case.predicate, claim.object)


def _value(claim: Claim | None) -> str | None:
    return None if claim is None else value_of(claim.predicate, claim.object)


def is_right(index: PlainIndex, case: Case) -> bool:
    found = answer(index, case)
    if found != (value_of(case.predicate, case.expected) if isinstance(case.expected, str) else case.expected):
        return False
    known = query.known(index, case.subject, case.predicate)
    note = case.note
    if (
        "last" in note
        and case.expected is None
        and _value(known.last) != (note["last"] and value_of(case.predicate, note["last"]))
    ):
        return False
    if note.get("in_doubt") and not known.in_doubt:
        return False
    if "beside" in note:
        return [_value(claim) for claim in known.beside] == [value_of(case.predicate, note["beside"])]
    return True


def measure(templates: Templates, each: int, *, as_facts: bool, misses: int = 0) -> dict[str, tuple[int, int]]:
    """Class → (right, of)."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for case in cases(SEED, templates, each):
        right = is_right(index := learned(case, as_facts=as_facts), case)
        counts[case.kind][0] += right
        counts[case.kind][1] += 1
        if not right and misses > 0:
            misses -= 1
            print(
                f"  {case.kind}: {case.subject}/{case.predicate}: expected {case.expected!r} {case.note}, found {answer(index, case)!r}"
            )
            for one in case.tellings:
                print("     ", one.told, one.text if not as_facts else one.fact)
    return {kind: (right, of) for kind, (right, of) in counts.items()}


def share_read(templates: Templates, each: int) -> float:
    """Of the tellings of all cases, the share from which the stated fact is read, whatever comes of it."""
    right = of = 0
    for case in cases(SEED, templates, each):
        units, _ = units_of(case, "bench", as_facts=False)
        for telling, unit in zip(case.tellings, units, strict=True):
            right += reads(unit, telling.fact)
            of += 1
    return right / of


def reads(unit: Unit, fact: dict[str, Any]) -> bool:
    """Whether the unit's statements hold the fact; of a denial, that the attribute or the thing is denied."""
    subject, predicate = subject_of(fact["subject"]), predicate_of(fact["predicate"])
    said = [one for one in statements_of(unit) if one.key == (subject, predicate)]
    value = value_of(predicate, fact["object"])
    if fact.get("polarity", True):
        return any(one.polarity and one.value == value for one in said)
    return any(not one.polarity and covers(one.value, value, several=True) for one in said)


def pollution(turns: int) -> dict[str, int]:
    """An agent that repeats, turn for turn, what memory brought up: how many claims more there are than before.

    Half of its repetitions are flagged as injected (memory's own receipts), the other half are its own words about them.
    """
    index = PlainIndex()
    keeper = ClaimKeeper(index)
    told = [
        "Alice's phone number is 555-1017.",
        "Bob lives in Porto.",
        "The pump's mode is eco.",
        "Carol bought a canoe.",
    ]

    def take(text: str, number: int, **options: Any) -> None:
        moment = START_US + number * DAY // 100
        unit = Unit(
            id=text_digest(f"{number}/{text}"),
            run="loop",
            seq=number,
            first=0,
            last=len(text),
            session="loop",
            place=number,
            kind="message",
            happened_us=moment,
            happened_until_us=moment,
            told_us=moment,
            text=text,
            tokens=rough_tokens(text),
            digest=text_digest(text),
            **options,
        )
        with index.transaction():
            index.put_units([unit])
            keeper.learn([unit])

    for number, text in enumerate(told):
        take(text, number, actor="user", trust=TRUSTED)
    before = standing(index)
    for number in range(turns):
        text = told[number % len(told)]
        said = (text, f"As I recall, {text}", f"Memory says: {text}", f"I know that {text}")[number // 2 % 4]
        flags = frozenset({INJECTED}) if number % 2 else frozenset()
        take(said, len(told) + number, actor="tool:recall" if number % 2 else "agent", trust=OWN, flags=flags)
    after = standing(index)
    return {"claims before": len(before), "claims after": len(after), "new": len(after - before)}


def standing(index: PlainIndex) -> set[tuple[str, str, str, int, int | None]]:
    rows = index.claims(limit=1 << 40)
    return {
        (row.subject, row.predicate, row.object, row.valid_from_us, row.valid_to_us)
        for row in rows
        if not row.predicate.endswith(REPEAT_MARK)
    }


def table(columns: dict[str, dict[str, tuple[int, int]]]) -> Iterable[str]:
    yield "| class | " + " | ".join(columns) + " |"
    yield "|---|" + "---|" * len(columns)
    kinds = list(next(iter(columns.values())))
    for kind in kinds:
        cells = []
        for counts in columns.values():
            right, of = counts[kind]
            low, high = wilson(right, of)
            cells.append(f"{100 * right / of:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
        yield f"| {kind} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=200, help="cases of each class and mode")
    parser.add_argument("--quick", action="store_true", help="60 cases each, 200 turns")
    parser.add_argument("--misses", type=int, default=0, help="print so many wrong cases of each mode")
    parser.add_argument("--write", action="store_true", help="fill the table of docs/benchmarks.md")
    options = parser.parse_args()
    each, turns = (60, 200) if options.quick else (options.each, 1000)
    started = time.perf_counter()
    columns: dict[str, dict[str, tuple[int, int]]] = {}
    read: list[str] = []
    for name, templates, as_facts in (
        ("as data", WRITTEN_WITH, True),
        ("sentences, seen", WRITTEN_WITH, False),
        ("sentences, looked at", LOOKED_AT, False),
        ("sentences, held-out", HELD_OUT, False),
    ):
        columns[name] = measure(templates, each, as_facts=as_facts, misses=options.misses)
        if not as_facts:
            read.append(f"{100 * share_read(templates, each):.1f} % ({name})")
        print(f"{name}: done after {time.perf_counter() - started:.0f} s", file=sys.stderr)
    loop = pollution(turns)
    lines = [*table(columns), ""]
    lines.append(
        f"{each} cases of each class and column, seed {SEED}. Tellings whose fact was read: {', '.join(read)}."
    )
    lines.append(
        f"Pollution: an agent that repeats what memory brought up for {turns} turns makes {loop['new']} new claims "
        f"({loop['claims before']} before, {loop['claims after']} after)."
    )
    print("\n".join(lines))
    failed = [
        f"{kind} ({name})"
        for name, counts in columns.items()
        for kind, (right, of) in counts.items()
        if right / of < TARGET
    ]
    print(f"\nbelow {TARGET:.0%}: {', '.join(failed) or 'none'}")
    if options.write:
        write_between(ROOT / "docs" / "benchmarks.md", BEGIN, END, "\n".join(lines))


if __name__ == "__main__":
    main()
