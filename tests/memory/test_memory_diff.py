"""What memory learnt between two times, by the axis of knowledge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from forget_kit import sqlite

from overwinter.errors import UsageError
from overwinter.memory.claim import Claim, Evidence
from overwinter.memory.diff import believed, diff
from overwinter.memory.plain import PlainIndex
from overwinter.memory.unit import Unit, rough_tokens, text_digest


def unit(number: int, told_us: int) -> Unit:
    text = f"unit {number}"
    return Unit(
        id=f"{number:032x}",
        run="r",
        seq=number,
        first=0,
        last=len(text),
        session="r",
        place=number,
        kind="message",
        actor="user",
        trust="trusted",
        happened_us=0,
        happened_until_us=0,
        told_us=told_us,
        text=text,
        tokens=rough_tokens(text),
        digest=text_digest(text),
    )


def claim(name: str, since: int, until: int | None = None, *, by: str = "", predicate: str = "lives in") -> Claim:
    """Known from `since` until `until`, which `by` ended."""
    return Claim(
        id=name,
        subject="user",
        predicate=predicate,
        object=name,
        polarity=True,
        confidence=0.9,
        valid_from_us=since,
        valid_to_us=None,
        known_from_us=since,
        known_to_us=until,
        superseded_by=by,
        evidence=(Evidence(unit=f"{1:032x}", first=0, last=4),),
    )


@pytest.fixture
def index() -> Iterator[PlainIndex]:
    opened = PlainIndex("default")
    with opened.transaction():
        opened.put_units([unit(number, told_us=number * 10) for number in range(1, 10)])
        opened.put_claims(
            [
                claim("graz", 10, 30, by="linz"),
                claim("linz", 30, 50, by="wien"),
                claim("wien", 50),
                claim("rumour", 20, 40, predicate="owns"),
                claim("dog", 45, predicate="keeps"),
                claim("dog again", 46, predicate="keeps~"),
            ]
        )
    yield opened
    opened.close()


def names(claims: tuple[Claim, ...]) -> list[str]:
    return [each.id for each in claims]


def test_added_changed_and_closed(index: PlainIndex) -> None:
    found = diff(index, 25, 60)
    assert names(found.added) == ["dog"]
    assert [(before.id, after.id) for before, after in found.changed] == [("graz", "wien")], (
        "the steps between are skipped"
    )
    assert names(found.closed) == ["rumour"]
    assert found.units == 4
    assert [each.told_us for each in found.newest] == [30, 40, 50, 60]


@pytest.mark.parametrize(
    ("start", "end", "added", "changed"),
    [(0, 15, ["graz"], []), (15, 35, ["rumour"], ["linz"]), (35, 45, ["dog"], []), (60, 99, [], [])],
)
def test_ranges(index: PlainIndex, start: int, end: int, added: list[str], changed: list[str]) -> None:
    found = diff(index, start, end)
    assert names(found.added) == added
    assert [after.id for _, after in found.changed] == changed


def test_a_claim_is_believed_from_its_telling_until_its_end() -> None:
    assert [believed(claim("a", 10, 20), at) for at in (9, 10, 19, 20)] == [False, True, True, False]


def test_the_newest_units_are_shown(index: PlainIndex) -> None:
    found = diff(index, 0, 1000, newest=2)
    assert [each.told_us for each in found.newest] == [80, 90]
    assert found.units == 9
    assert diff(index, 0, 1000, newest=0).newest == ()


def test_times_the_wrong_way_round_are_refused(index: PlainIndex) -> None:
    with pytest.raises(UsageError, match="not before"):
        diff(index, 5, 5)


def test_grants_are_the_only_way_across(tmp_path: Path) -> None:
    from overwinter.memory.grants import change_grant, may_read, open_for, readers
    from overwinter.memory.memory import Memory

    store = sqlite(tmp_path)
    mine, other = Memory.open(store, "mine"), Memory.open(store, "other")
    mine.write("the key is under the flower pot")
    assert readers(store, "mine") == frozenset()
    with pytest.raises(UsageError, match="'other' may not read 'mine'"):
        open_for(store, "other", "mine")
    with pytest.raises(UsageError, match="may not read 'nobody'"):
        open_for(store, "other", "nobody")
    change_grant(mine, "other", "Ada", allowed=True)
    assert may_read(store, "other", "mine")
    assert not may_read(store, "mine", "other")
    read = open_for(store, "other", "mine")
    assert read.index.count() == 1
    change_grant(mine, "other", "Ada", allowed=False)
    assert not may_read(store, "other", "mine")
    with pytest.raises(UsageError, match="without a grant"):
        change_grant(mine, "mine", "Ada", allowed=True)
    with pytest.raises(UsageError, match="is not allowed"):
        open_for(store, "other", "../mine")
    for memory in (mine, other, read):
        memory.close()
    store.close()
