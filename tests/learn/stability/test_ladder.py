"""The ladder alone: which alarm leads to which rung, and what comes of the same alarm again."""

from __future__ import annotations

import json

from overwinter.learn.stability import Alarm, GuardConfig, Ladder
from overwinter.learn.stability.detectors import Remedy


def alarm(remedy: Remedy, since: int = 0, name: str = "x") -> Alarm:
    return Alarm(detector=name, signal="s", remedy=remedy, since=since, evidence={})


def ladder(**changes: float) -> Ladder:
    return Ladder(GuardConfig(**changes))


def test_nothing_and_news_change_nothing() -> None:
    made = ladder()
    assert made.decide(1, [], can_step=True).action == "go"
    assert made.decide(2, [alarm("tell")], can_step=True).action == "go"
    assert made.state_dict() == ladder().state_dict()


def test_the_highest_rung_decides() -> None:
    decision = ladder().decide(1, [alarm("skip"), alarm("roll_back", 7), alarm("tighten")], can_step=True)
    assert (decision.action, decision.since, decision.tighten) == ("roll_back", 7, False)
    assert ladder().decide(1, [alarm("roll_back"), alarm("stop")], can_step=True).action == "stop"


def test_a_step_can_be_skipped_and_tighten() -> None:
    made = ladder()
    decision = made.decide(5, [alarm("tighten", name="trend"), alarm("skip", name="spike")], can_step=True)
    assert (decision.action, decision.tighten, decision.cause) == ("skip", True, "spike")
    assert made.tight(6)
    assert made.skips == [5]


def test_what_is_no_number_is_never_taken() -> None:
    made = ladder()
    assert made.decide(1, [alarm("tighten")], can_step=False).action == "skip"
    assert made.decide(2, [], can_step=False).action == "skip"


def test_the_third_skip_in_twenty_rolls_back() -> None:
    made = ladder()
    actions = [made.decide(step, [alarm("skip", step)], can_step=True) for step in (10, 15, 29)]
    assert [each.action for each in actions] == ["skip", "skip", "roll_back"]
    assert actions[-1].since == 10
    assert made.lr_scale_rollbacks == 0.7
    made = ladder()
    assert {made.decide(step, [alarm("skip")], can_step=True).action for step in (10, 20, 31, 42)} == {"skip"}


def test_the_sixth_skip_in_a_hundred_is_taken_with_care() -> None:
    made = ladder()
    decisions = [made.decide(step, [alarm("skip")], can_step=True) for step in range(0, 90, 15)]
    assert [each.action for each in decisions] == ["skip"] * 5 + ["go"]
    assert decisions[-1].tighten
    made = ladder()
    last = [made.decide(step, [], can_step=False) for step in range(0, 90, 15)][-1]
    assert last.action == "skip"
    made = ladder()
    last = [made.decide(step, [alarm("skip")], can_step=False) for step in range(0, 90, 15)][-1]
    assert last.action == "roll_back"


def test_tightening_gets_its_time_and_then_fails() -> None:
    made = ladder()
    assert made.decide(100, [alarm("tighten", 95)], can_step=True).tighten
    patient = made.decide(119, [alarm("tighten", 117)], can_step=True)
    assert (patient.action, patient.tighten) == ("go", False)
    failed = made.decide(120, [alarm("tighten", 118)], can_step=True)
    assert (failed.action, failed.since) == ("roll_back", 100)
    assert not made.tight(121)
    made = ladder()
    made.decide(100, [alarm("tighten")], can_step=True)
    assert made.decide(300, [alarm("tighten")], can_step=True).tighten


def test_after_three_rollbacks_it_stops_and_stays_stopped() -> None:
    made = ladder()
    actions = [made.decide(step, [alarm("roll_back")], can_step=True).action for step in range(4)]
    assert actions == ["roll_back"] * 3 + ["stop"]
    other = ladder()
    other.load_state_dict(json.loads(json.dumps(made.state_dict())))
    for each in (made, other):
        assert each.decide(99, [], can_step=True).action == "stop"
        assert "3 rollbacks" in each.stopped
