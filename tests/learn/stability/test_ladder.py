"""The ladder alone: which alarm leads to which rung, and what comes of the same alarm again."""

from __future__ import annotations

import json

from overwinter.learn.stability import Alarm, GuardConfig, Ladder, Weights
from overwinter.learn.stability.detectors import Remedy


def alarm(remedy: Remedy, since: int = 0, name: str = "x", *, grave: bool = False) -> Alarm:
    return Alarm(detector=name, signal="s", remedy=remedy, since=since, evidence={}, grave=grave)


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
    assert made.mild == [5]


def test_what_is_no_number_is_never_taken() -> None:
    made = ladder()
    assert made.decide(1, [alarm("tighten")], can_step=False).action == "skip"
    assert made.decide(2, [], can_step=False).action == "skip"


def test_refusals_alone_never_roll_back_before_the_hold_is_over() -> None:
    made = ladder(hold_steps=30)
    actions = [made.decide(step, [alarm("skip", step, grave=True)], can_step=True) for step in range(100, 132)]
    assert {each.action for each in actions[:30]} == {"skip"}
    assert (actions[30].action, actions[30].since) == ("roll_back", 100)
    # One good step in between, and the count begins anew.
    made = ladder(hold_steps=30)
    for step in range(200):
        bad = [alarm("skip", step, grave=True)] if step % 20 else []
        assert made.decide(step, bad, can_step=True).action == ("skip" if bad else "go")


def test_weights_in_doubt_are_given_up_at_the_third_refusal() -> None:
    made, doubt = ladder(), Weights(doubt="weights that moved", since=9)
    actions = [
        made.decide(step, [alarm("skip", step, grave=True)], can_step=True, weights=doubt) for step in (10, 11, 12)
    ]
    assert [each.action for each in actions] == ["skip", "skip", "roll_back"]
    assert (actions[-1].since, actions[-1].cause) == (9, "x, and weights that moved")
    # Doubt without a refusal does nothing: an update may be large and right.
    assert {ladder().decide(step, [], can_step=True, weights=doubt).action for step in range(50)} == {"go"}
    gone = ladder().decide(7, [], can_step=True, weights=Weights(finite=False, since=6))
    assert (gone.action, gone.since) == ("roll_back", 6)


def test_weights_that_a_probe_cleared_are_not_rolled_back() -> None:
    made = ladder(hold_steps=5)
    found = [
        made.decide(step, [alarm("skip", step, grave=True)], can_step=True, weights=Weights(cleared=step == 2))
        for step in range(6)
    ]
    assert [each.action for each in found] == ["skip"] * 5 + ["go"]
    assert found[-1].accept


def test_data_that_changed_are_tried_and_a_failed_trial_ends_it() -> None:
    for fails in (False, True):
        made = ladder(hold_steps=5, probation_steps=20)
        found = [made.decide(step, [alarm("skip", step, grave=True)], can_step=True) for step in range(12)]
        assert [each.action for each in found] == ["skip"] * 5 + ["roll_back"] + ["skip"] * 5 + ["go"]
        assert (found[-1].accept, found[-1].tighten) == (True, True)
        assert made.decide(12, [], can_step=True).action == "go"
        if fails:
            stop = made.decide(13, [alarm("roll_back", 12, "loss_above_best")], can_step=True)
            assert (stop.action, stop.since, stop.keep) == ("stop", 11, False)
            assert "on probation" in stop.cause
        else:
            assert made.decide(32, [alarm("roll_back", 31)], can_step=True).action == "roll_back"


def test_what_nothing_mends_is_held_and_then_stops_with_the_weights_as_they_are() -> None:
    made = ladder(hold_steps=5)
    found = [made.decide(step, [alarm("hold", step, "level.staleness")], can_step=True) for step in range(6)]
    assert [each.action for each in found] == ["skip"] * 5 + ["stop"]
    assert found[-1].keep


def test_the_sixth_mild_skip_in_a_hundred_is_taken_with_care() -> None:
    made = ladder()
    decisions = [made.decide(step, [alarm("skip")], can_step=True) for step in range(0, 90, 15)]
    assert [each.action for each in decisions] == ["skip"] * 5 + ["go"]
    assert decisions[-1].tighten
    made = ladder()
    last = [made.decide(step, [], can_step=False) for step in range(0, 90, 15)][-1]
    assert last.action == "skip"
    made = ladder()
    last = [made.decide(step, [alarm("skip")], can_step=False) for step in range(0, 90, 15)][-1]
    assert last.action == "skip"


def test_a_jump_is_only_told_until_success_is_lost_after_it() -> None:
    made = ladder(hold_steps=5)
    jump = alarm("tell", 50, "jump.reward")
    assert made.decide(52, [jump], can_step=True).action == "go"
    back = made.decide(60, [jump, alarm("roll_back", 58, "success_fell")], can_step=True)
    assert (back.action, back.since) == ("roll_back", 50)
    found = [made.decide(61 + at, [jump], can_step=True).action for at in range(6)]
    assert found == ["skip"] * 5 + ["stop"]


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
    made = ladder(rollback_span=100)
    assert {made.decide(step, [alarm("roll_back")], can_step=True).action for step in range(0, 900, 90)} == {
        "roll_back"
    }
    made = ladder()
    for step in range(4):
        made.decide(step, [alarm("roll_back")], can_step=True)
    other = ladder()
    other.load_state_dict(json.loads(json.dumps(made.state_dict())))
    for each in (made, other):
        assert each.decide(99, [], can_step=True).action == "stop"
        assert "3 rollbacks" in each.stopped
