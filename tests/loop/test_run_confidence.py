"""What a run says of its confidence: the record of each completion, calibrators of its scope and of no other, gates that go by them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from loop_kit import Pond, begin, goal, kinds, last, of_kind, open_store, parts, run_through

from overwinter.errors import StoreError, UsageError
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.confidence import Confidence, build_confidence, common_scope, scope_of
from overwinter.loop.model import Completion, Constraint, Limits, View
from overwinter.loop.models import ScriptedModel
from overwinter.loop.run import answer_approval
from overwinter.loop.session import Parts, fold
from overwinter.loop.world import WorldSession
from overwinter.think.confidence.calibrators import Calibrator, Scope
from overwinter.think.confidence.record import CONSEQUENTIAL, RUN, read_record, records
from overwinter.think.confidence.stored import Shelf, Stored, load, save

SCOPE = Scope(model="angler", revision="7", task="pond", tools="act")


class Angler(ScriptedModel):
    """Casts, and says of each answer what a model with numbers says."""

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:
        self.calls = 0
        chance = 0.5 + 0.1 * view.observation["hour"]
        top = ({"cast": -0.1, "look": -2.4}, {"\n\n": -0.2, "!": -1.8}, {"now": -0.3, "then": -1.5})
        made = super().sample(view, n, constraint, limits)
        more: dict[str, Any] = {"logprobs": (-0.1, -0.2, -0.3), "top_logprobs": top, "choice_probability": 0.9}
        more |= {"success_chance": chance, "signals": {"lead": 0.8}, "model": "angler@7"}
        return [dataclasses.replace(each, **more) for each in made]


def shelf(*, below: float | None = None, scope: Scope = SCOPE) -> Shelf:
    """Of the run, the chance as it is said; of casts that cannot be taken back, a tenth less than the choice's probability."""
    run = Calibrator(
        method="platt", parameters={"slope": 1.0, "bias": 0.0}, scope=dataclasses.replace(scope, signal="stated"),
        labels=60, base_rate=0.5,
    )  # fmt: skip
    parameters = {"from": [0.0], "probability": [0.8]}
    cast = dataclasses.replace(
        run, method="isotonic", parameters=parameters, scope=dataclasses.replace(scope, signal="choice")
    )
    return Shelf(
        held=(
            Stored(of=RUN, signal="stated", calibrator=run),
            Stored(of=CONSEQUENTIAL, signal="choice", calibrator=cast, ask_below=below),
        )
    )


def pond(held: Shelf | None, rules: Sequence[dict[str, Any]] = ()) -> Parts:
    made = parts(Angler(["cast"]), world=WorldSession(Pond(), 0), controls={}, rules=rules)
    made.confidence = Confidence(shelf=held)
    return made


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return open_store(tmp_path / "s.db")


def played(store: SqliteStore, held: Shelf | None, rules: Sequence[dict[str, Any]] = ()) -> str:
    return run_through(store, pond(held, rules), goal({"kind": "world"}))


def test_a_run_is_read_as_records_with_what_came_of_it(store: SqliteStore) -> None:
    status = played(store, shelf())
    found = list(records(store, "r"))
    assert [record.turn for record in found] == [1, 2, 3, 4]
    assert {record.outcome for record in found} == {1.0 if status == "verified" else 0.0}
    first = found[0]
    assert first.logprobs == (-0.1, -0.2, -0.3)
    assert first.top_logprobs[0] == {"cast": -0.1, "look": -2.4}
    assert first.signals["lead"] == 0.8
    assert first.signals["choice"] == 0.9
    assert first.signals["sequence"] == pytest.approx(0.818731)
    # Of two steps, cut behind the blank line, the last one holds one token.
    assert first.signals["last_step"] == pytest.approx((0.3 + 1.5) / 2)
    assert first.signals["average"] == pytest.approx((0.1 + 2.4 + 0.2 + 1.8 + 0.3 + 1.5) / 6)
    assert first.stated[0].value == 0.5
    assert [record.chance() for record in found] == pytest.approx([0.5, 0.6, 0.7, 0.8])
    assert first.by[RUN] == "platt on 60 labels, angler"
    assert first.modalities == ("text",)
    assert [(deed.tool, deed.ok, bool(deed.consequential)) for record in found for deed in record.deeds] == [
        ("act", True, False), ("act", True, False), ("act", True, False), ("act", True, True),
    ]  # fmt: skip
    # Only where there is something that cannot be taken back is anything said of it.
    assert [CONSEQUENTIAL in record.calibrated for record in found] == [False, False, False, True]


def test_the_record_does_not_repeat_the_tokens_and_does_not_grow(store: SqliteStore) -> None:
    played(store, shelf())
    sizes = [len(json.dumps(entry.body["confidence_record"])) for entry in of_kind(store, "sample.completion")]
    assert "logprobs" not in last(store, "sample.completion").body["confidence_record"]
    assert max(sizes[:3]) - min(sizes[:3]) < 20


def test_without_calibrators_it_says_what_the_model_states(store: SqliteStore) -> None:
    played(store, None)
    assert [record.chance() for record in records(store, "r")] == pytest.approx([0.5, 0.6, 0.7, 0.8])
    assert all(not record.calibrated and not record.refused for record in records(store, "r"))


@pytest.mark.parametrize(
    "other", [{"model": "other"}, {"revision": "8"}, {"task": "lake"}, {"tools": "more"}, {"language": "de"}]
)
def test_outside_its_scope_nothing_is_applied_and_everything_is_doubtful(
    store: SqliteStore, other: dict[str, str]
) -> None:
    held = shelf(below=0.1, scope=dataclasses.replace(SCOPE, **other))
    rule = {"decision": "ask", "consequential": True, "doubtful": True}
    assert played(store, held, [rule]) == "waiting:approval"
    found = list(records(store, "r"))
    assert all(not record.calibrated for record in found)
    assert next(iter(other)) in found[0].refused or other[next(iter(other))] in found[0].refused


def test_a_doubtful_order_asks_and_a_sure_one_does_not(store: SqliteStore, tmp_path: Path) -> None:
    rule = {"decision": "ask", "consequential": True, "doubtful": True}
    assert played(store, shelf(below=0.7), [rule]) in ("verified", "failed")
    assert "gate.decision" not in kinds(store)
    other = open_store(tmp_path / "other.db")
    assert played(other, shelf(below=0.9), [rule]) == "waiting:approval"
    asked = last(other, "gate.decision").body
    assert (asked["confidence"], asked["consequential"]) == (0.8, True)
    # The same after a person has answered, in another process.
    answer_approval(other, "r", approve=True, by="me")
    assert list(records(other, "r"))[-1].deeds[0].asked


def test_a_gate_goes_by_the_calibrated_confidence_where_there_is_one(store: SqliteStore, tmp_path: Path) -> None:
    rule = {"decision": "ask", "tool": "act", "confidence_below": 0.85}
    # Raw it is 0.9 throughout; calibrated, 0.8 of the one cast that cannot be taken back.
    assert played(store, None, [rule]) in ("verified", "failed")
    other = open_store(tmp_path / "other.db")
    assert played(other, shelf(), [rule]) == "waiting:approval"
    assert len(of_kind(other, "effect.receipt")) == 3


def test_the_state_of_a_resumed_run_knows_what_was_calibrated(store: SqliteStore) -> None:
    with begin(store, pond(shelf()), goal({"kind": "world"})) as run:
        for entry in run.work():
            if entry.kind == "sample.completion":
                break
        state = run.state
    assert state.calibrated == {RUN: 0.5}
    assert fold("r", store.read("r")).calibrated == state.calibrated
    assert type(state).from_json(json.loads(json.dumps(state.to_json()))).calibrated == state.calibrated  # type: ignore[union-attr]


def test_calibrators_travel_in_the_setup(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    save(path, shelf(below=0.5).held)
    assert load(path) == shelf(below=0.5)
    found = build_confidence({"calibrators": json.loads(path.read_text()), "task": "pond"}, {"kind": "scripted"})
    assert found == Confidence(shelf=shelf(below=0.5), task="pond")
    assert build_confidence({}, {"kind": "local", "path": "x"}) == Confidence()
    for wrong in ({"calibrator": "x"}, {"calibrators": {"format_version": 9}}, {"calibrators": []}):
        with pytest.raises(UsageError):
            build_confidence(wrong, {"kind": "scripted"})
    raw = json.loads(path.read_text())
    raw["calibrators"][0]["of"] = "nothing"
    with pytest.raises(UsageError, match="nothing"):
        build_confidence({"calibrators": raw}, {"kind": "scripted"})


def test_runs_of_one_scope_can_be_fitted_and_of_two_not(store: SqliteStore) -> None:
    run_through(store, pond(None), goal({"kind": "world"}), name="a")
    run_through(store, pond(None), goal({"kind": "world"}), name="b")
    made = pond(None)
    made.confidence = Confidence(task="another")
    run_through(store, made, goal({"kind": "world"}), name="c")
    assert common_scope(store, ["a", "b"]) == SCOPE
    assert scope_of(pond(None), "angler@7") == SCOPE
    with pytest.raises(UsageError, match="2 scopes"):
        common_scope(store, ["a", "b", "c"])


def test_an_older_run_gives_what_it_has_and_a_later_format_is_refused(store: SqliteStore) -> None:
    played(store, None)
    entry = last(store, "sample.completion")
    body = dict(entry.body)
    raw = body.pop("confidence_record")
    older = read_record(store, dataclasses.replace(entry, body=body))
    assert older.chance() == 0.8
    assert older.signals == {"answer": 0.9}
    assert older.logprobs == (-0.1, -0.2, -0.3)
    later = dataclasses.replace(entry, body=body | {"confidence_record": {**raw, "v": 2}})
    with pytest.raises(StoreError, match="format 2"):
        read_record(store, later)
