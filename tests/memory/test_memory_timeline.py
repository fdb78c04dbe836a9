"""Settling: whatever the order and the batches, the same claims; of what was believed, what a twin says that was told no more by then."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from claim_kit import DAY, START, learned, rows, standing, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from overwinter.memory.claim import Claim
from overwinter.memory.claims import ClaimKeeper
from overwinter.memory.claims.statement import EARLIEST_US, Statement, statement_of
from overwinter.memory.claims.timeline import KeyTimelines
from overwinter.memory.plain import PlainIndex, holds
from overwinter.memory.unit import OWN, TRUSTED, UNTRUSTED, AsOf

VALUES = ("a", "b", "c", "")


@st.composite
def statements(draw: st.DrawFn, predicate: str = "mode", depends: bool = False) -> list[Statement]:
    """Up to eight statements of one key, on few days, so that they meet."""
    made = []
    for number in range(draw(st.integers(1, 8))):
        polarity = draw(st.integers(0, 3)) > 0
        since, told = draw(st.integers(0, 5)), draw(st.integers(0, 5))
        end = draw(st.sampled_from([None, None, None, 1, 3]))
        never = not polarity and draw(st.booleans())
        made.append(
            Statement(
                unit=f"unit-{number}",
                first=0,
                last=9,
                subject="pump",
                predicate=predicate,
                object=draw(st.sampled_from(VALUES[:3] if polarity else VALUES)),
                polarity=polarity,
                confidence=draw(st.sampled_from([0.9, 0.9, 0.9, 0.45, 0.4])),
                valid_from_us=EARLIEST_US if never else since,
                told_us=told,
                ends_us=since + end if end and polarity else None,
                ends_softly=draw(st.booleans()) if end and polarity else False,
                never=never,
                corrects=polarity and not end and draw(st.integers(0, 5)) == 0,
                reaches_back=polarity and not end and draw(st.integers(0, 5)) == 0,
            )
        )
    return made


def _rows(parts: Sequence[Sequence[Statement]], predicate: str) -> dict[str, Claim]:
    timelines = KeyTimelines(predicate)
    found: dict[str, Claim] = {}
    for part in parts:
        timelines.add(part)
        for id_, of_one in timelines.take_rows().items():
            found = {key: row for key, row in found.items() if key not in _ids_of(found, id_)}
            found.update((row.id, row) for row in of_one)
    return found


def _ids_of(found: dict[str, Claim], statement: str) -> set[str]:
    from overwinter.memory.claims.timeline import base_of

    return {row.id for row in found.values() if base_of(row) == statement}


@pytest.mark.parametrize("predicate", ["mode", "likes"])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_order_and_batches_of_telling_make_no_difference(predicate: str, data: st.DataObject) -> None:
    made = data.draw(statements(predicate))
    shuffled = list(made)
    random.Random(data.draw(st.integers(0, 99))).shuffle(shuffled)
    cut = data.draw(st.integers(0, len(made)))
    at_once = _rows([made], predicate)
    assert _rows([shuffled[:cut], shuffled[cut:]], predicate) == at_once
    assert _rows([[one] for one in shuffled], predicate) == at_once


@pytest.mark.parametrize("predicate", ["mode", "likes"])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_what_was_believed_is_what_one_would_say_who_was_told_no_more(predicate: str, data: st.DataObject) -> None:
    """The twin: forget what was told later, settle anew, look at what holds."""
    made = data.draw(statements(predicate))
    all_rows = _rows([made], predicate).values()
    for known in range(6):
        twin = _rows([[one for one in made if one.told_us <= known]], predicate).values()
        for valid in (*range(7), None):
            then = {_shape(row) for row in all_rows if holds(row, AsOf(valid_us=valid, known_us=known))}
            assert then == {_shape(row) for row in twin if holds(row, AsOf(valid_us=valid))}


def _shape(row: Claim) -> tuple[str, bool, int, int | None]:
    return row.object, row.polarity, row.valid_from_us, row.valid_to_us


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_key_is_settled_again_from_its_rows(data: st.DataObject) -> None:
    """A row holds all of its statement, whatever became of it."""
    made = data.draw(statements())
    found = _rows([made], "mode")
    read = {one.id: one for row in found.values() if (one := statement_of(row)) is not None}
    assert read == {one.id: one for one in made}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_value_at_a_time_and_trusted_values_stand(data: st.DataObject) -> None:
    made = [
        one for one in data.draw(statements()) if not one.corrects
    ]  # a correction may take its beginning from an untrusted claim
    found = list(_rows([made], "mode").values())
    trusted_only = list(_rows([[one for one in made if one.sure]], "mode").values())
    for valid in range(7):
        at = AsOf(valid_us=valid)
        sure = {_shape(row)[:2] for row in found if row.confidence > 0.5 and row.polarity and holds(row, at)}
        assert len(sure) <= 1
        assert sure == {_shape(row)[:2] for row in trusted_only if row.polarity and holds(row, at)}


# Through sentences and an index

SENTENCES = (
    ("Bob's mode is eco.", TRUSTED),
    ("Bob's mode changed to boost.", TRUSTED),
    ("Bob's mode is no longer boost.", TRUSTED),
    ("Correction: Bob's mode is manual, not boost.", TRUSTED),
    ("Bob's mode was never eco.", TRUSTED),
    ("Bob's mode is night.", UNTRUSTED),
    ("Bob's mode is eco.", OWN),
    ("Bob's badge code is Q1 because Bob's mode is eco.", TRUSTED),
    ("Since 2 January 2031, Bob's mode is standby.", TRUSTED),
    ("Bob has a red car.", TRUSTED),
    ("Bob sold his car.", TRUSTED),
    ("Bob's fee is 5 euros because Bob's badge code is Q1.", TRUSTED),
)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SENTENCES) - 1), st.integers(0, 9)), min_size=1, max_size=8),
    st.integers(0, 99),
    st.integers(1, 4),
)
def test_learning_in_another_order_gives_the_same_index(picks: list[tuple[int, int]], seed: int, batch: int) -> None:
    units = [
        unit(SENTENCES[what][0], day, trust=SENTENCES[what][1], seq=number) for number, (what, day) in enumerate(picks)
    ]
    shuffled = list(units)
    random.Random(seed).shuffle(shuffled)
    assert rows(learned(shuffled, batch=batch)) == rows(learned(units))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SENTENCES) - 1), st.integers(0, 9)), min_size=2, max_size=8),
    st.sets(st.integers(0, 7), min_size=1, max_size=3),
)
def test_forgetting_units_is_as_if_they_had_never_been(picks: list[tuple[int, int]], gone: set[int]) -> None:
    units = [
        unit(SENTENCES[what][0], day, trust=SENTENCES[what][1], seq=number) for number, (what, day) in enumerate(picks)
    ]
    index = learned(units, batch=3)
    keeper = ClaimKeeper(index)
    with index.transaction():
        keeper.forget({units[number].id for number in gone if number < len(units)})
    assert rows(index) == rows(learned([one for number, one in enumerate(units) if number not in gone]))


def test_a_rolled_back_batch_leaves_nothing_behind() -> None:
    index = PlainIndex()
    keeper = ClaimKeeper(index)
    first, second = unit("Bob's mode is eco.", 0), unit("Bob's mode is boost.", 1)
    with index.transaction():
        keeper.learn([first])

    class Stop(Exception):
        pass

    def interrupted() -> None:
        with index.transaction():
            keeper.learn([second])
            raise Stop

    with pytest.raises(Stop):
        interrupted()
    third = unit("Bob's mode is manual.", 2)
    with index.transaction():
        keeper.learn([third])
    assert rows(index) == rows(learned([first, third]))


def test_two_keepers_of_one_index_take_turns() -> None:
    index = PlainIndex()
    units = [unit(f"Bob's mode is {mode}.", day) for day, mode in enumerate(("eco", "boost", "manual", "night"))]
    keepers = [ClaimKeeper(index), ClaimKeeper(index)]
    for number, one in enumerate(units):
        with index.transaction():
            keepers[number % 2].learn([one])
    assert rows(index) == rows(learned(units))


def test_a_change_told_late_is_two_questions() -> None:
    """Told on day 60 that it changed on day 30: what held on day 40, and what was believed of day 40 on day 50."""
    units = [unit("Bob's mode is eco.", 0), unit("Since 31 January 2031, Bob's mode is boost.", 60)]
    index = learned(units)

    def at(valid: int, known: int | None) -> list[str]:
        moment = AsOf(valid_us=START + valid * DAY, known_us=None if known is None else START + known * DAY)
        return [claim.object for claim in index.claims(subject="bob", predicate="mode", at=moment)]

    assert at(40, None) == ["boost"]
    assert at(40, 50) == ["eco"]
    assert at(20, None) == ["eco"]
    assert len(standing(index)) == 3  # eco as believed at first, eco as known since, boost


def test_a_thousand_repeats_are_one_claim_with_few_witnesses() -> None:
    index = learned([unit("Bob lives in Porto.", day / 10, seq=day) for day in range(300)], batch=7)
    (claim,) = standing(index)
    assert claim.valid_from_us == START
    assert len(claim.evidence) <= 9
