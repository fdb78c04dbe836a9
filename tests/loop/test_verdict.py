"""Done is a verdict on evidence, by a checker that is not the actor (docs/design.md §4.10)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_kit import (
    FINISH,
    Outside,
    Pond,
    begin,
    call,
    counting,
    forever,
    goal,
    kinds,
    last,
    of_kind,
    parts,
    resume,
    run_through,
    shown,
)

from overwinter.errors import ModelError, UsageError
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.goal import Criterion, Goal
from overwinter.loop.model import Limits
from overwinter.loop.models import ScriptedModel
from overwinter.loop.verdict import Finding, read_judgement, status_of
from overwinter.loop.world import WorldSession
from overwinter.worlds.world import Outcome, Transition

JUDGE = {"kind": "judge"}


def verdicts(store: SqliteStore) -> list[tuple[str, str, list[bool | None]]]:
    return [
        (e.body["status"], e.body["checker"], [f["met"] for f in e.body["findings"]]) for e in of_kind(store, "verdict")
    ]


def judgement(met: Any, entries: Any, note: str = "so it is") -> str:
    return json.dumps({"met": met, "entries": entries, "note": note})


def test_the_verdict_that_findings_add_up_to() -> None:
    def status(*met: bool | None) -> str:
        return status_of([Finding(id="x", met=each, entries=(), note="") for each in met])

    assert status(True, True) == "verified"
    assert status(True, None) == "unverified"
    assert status(None) == "unverified"
    assert status(True, None, False) == "rejected"
    assert status() == "unverified", "an empty list verifies nothing"


def test_without_anybody_who_could_check_a_run_ends_unverified(store: SqliteStore) -> None:
    assert run_through(store, parts([FINISH]), goal({"kind": "none"})) == "unverified"
    assert verdicts(store) == [("unverified", "none", [None])]
    assert run_through(store, parts([FINISH]), name="s") == "unverified"
    assert last(store, "run.ended", "s").body["detail"] == "no acceptance list was given"


def test_a_false_claim_is_sent_back_and_a_true_one_ends_the_run(store: SqliteStore, outside: Outside) -> None:
    from overwinter.tools import Effect, tool

    @tool(effect=Effect.PURE, name="stock")
    def stock() -> str:
        """What is in stock."""
        return ", ".join(outside.effects("put")) or "nothing"

    made = parts([FINISH, call("put", text="firewood"), FINISH], [*outside.tools(), stock])
    assert run_through(store, made, goal({"kind": "tool", "tool": "stock", "contains": "firewood"})) == "verified"
    assert [row[0] for row in verdicts(store)] == ["rejected", "verified"]
    assert "Not done yet:\n- [a1] does not hold" in shown(made.model.views[1])
    evidence = [e.seq for e in of_kind(store, "observed")]
    assert [row["entries"] for e in of_kind(store, "verdict") for row in e.body["findings"]] == [[n] for n in evidence]


def test_claims_without_end_suspend_the_run(store: SqliteStore, outside: Outside) -> None:
    wrong = goal({"kind": "tool", "tool": "look", "contains": "spring"})
    with begin(store, parts(forever(FINISH), outside.tools(), max_rejections=3), wrong) as run:
        assert run.finish() == "waiting:stalled"
        assert len(verdicts(store)) == 3
        assert "3 claims" in last(store, "run.suspended").body["detail"]
        assert run.finish() == "waiting:stalled"
        assert len(verdicts(store)) == 6, "a person who resumes gives it as many again"


@pytest.mark.parametrize(
    ("check", "note"),
    [
        ({"kind": "tool", "tool": "gone"}, "there is no tool 'gone'"),
        ({"kind": "tool", "tool": "put", "arguments": {"text": "x"}}, "is not pure"),
        ({"kind": "tool", "tool": "look", "arguments": {"text": 7}}, "tool 'look'"),
        ({"kind": "judge"}, "no judge model is configured"),
        ({"kind": "world"}, "the run has no world"),
    ],
)
def test_a_check_that_cannot_run_verifies_nothing(
    store: SqliteStore, outside: Outside, check: dict[str, Any], note: str
) -> None:
    assert run_through(store, parts([FINISH], outside.tools()), goal(check)) == "unverified"
    assert note in last(store, "verdict").body["findings"][0]["note"]
    assert outside.done == []


def test_a_command_is_met_when_it_exits_with_zero(store: SqliteStore, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    wanted = goal({"kind": "command", "command": "test -e done.txt", "root": str(folder)})

    def then_do_it(_: Any) -> Any:
        (folder / "done.txt").write_text("x")
        return FINISH

    assert run_through(store, parts([FINISH, then_do_it]), wanted) == "verified"
    assert [row[0] for row in verdicts(store)] == ["rejected", "verified"]


class Drifting(Pond):
    """Its episode can be cut short, and then has no outcome."""

    def __init__(self, *, cut: bool = False) -> None:
        super().__init__()
        self.cut = cut

    def step(self, action: str) -> Transition:
        if self.cut:
            return Transition(observation=self._see(), reward=0.0, terminated=False, truncated=True)
        return super().step(action)


def test_the_world_judges_its_own_outcome(store: SqliteStore) -> None:
    world = lambda **more: WorldSession(Drifting(**more), 0)  # noqa: E731
    early = [FINISH, "cast", "cast", "cast", "cast"]
    assert run_through(store, parts(early, world=world()), goal({"kind": "world"})) == "verified"
    assert [row[0] for row in verdicts(store)] == ["rejected", "verified"], "still open, then caught"
    assert "still open" in of_kind(store, "verdict")[0].body["findings"][0]["note"]

    assert run_through(store, parts(["look"], world=world(cut=True)), goal({"kind": "world"}), name="s") == "unverified"

    class Fishless(Pond):
        def outcome(self) -> Outcome:
            return Outcome(success=False if self.hour >= self.evening else None, score=0)

    poor = WorldSession(Fishless(), 0)
    assert run_through(store, parts(["cast"] * 4, world=poor), goal({"kind": "world"}), name="t") == "failed"
    assert kinds(store, "t")[-2:] == ["verdict", "run.ended"]


# Judges


def test_a_judge_is_not_shown_the_worker_s_words_and_must_cite_what_it_was_shown(
    store: SqliteStore, outside: Outside
) -> None:
    judge = counting([judgement(True, [3, 4])])
    made = parts([call("look", text="frost"), FINISH], outside.tools(), judge=judge)
    with begin(store, made, goal(JUDGE)) as run:
        run.finish()
    view = judge.views[0]
    receipt = of_kind(store, "effect.receipt")[0].seq
    assert f"#{receipt} <data from=" in shown(view)
    assert "all done" not in shown(view), "the claim is not evidence"
    assert verdicts(store)[0][0] == ("verified" if receipt in (3, 4) else "unverified")
    completion = next(e for e in of_kind(store, "sample.completion") if e.body.get("purpose"))
    assert completion.body["purpose"] == "judge:a1"
    intent = next(store.read("r", completion.body["intent"]))
    assert [receipt, receipt] in intent.body["view"]["shown"]


@pytest.mark.parametrize(
    ("answer", "met"),
    [
        (lambda seqs: judgement(True, seqs), True),
        (lambda seqs: "Sure.\n```json\n" + judgement(True, seqs) + "\n```", True),
        (lambda seqs: judgement(False, []), False),
        (lambda seqs: judgement(True, []), None),
        (lambda seqs: judgement(True, [0, 9999]), None),
        (lambda seqs: judgement(True, [True]), None),
        (lambda seqs: judgement(True, ["3"]), None),
        (lambda seqs: judgement("yes", seqs), None),
        (lambda seqs: judgement(None, seqs), None),
        (lambda seqs: '{"met": true}', None),
        (lambda seqs: "[1, 2]", None),
        (lambda seqs: "", None),
        (lambda seqs: "{" * 5000, None),
        (lambda seqs: '{"met": true, "entries": ' + "[" * 100_000, None),
        (lambda seqs: '{"met": false, "entries": [], "note": "\\ud800"}', False),
    ],
)
def test_only_an_answer_in_form_counts(store: SqliteStore, outside: Outside, answer: Any, met: bool | None) -> None:
    def say(view: Any) -> str:
        return str(answer([seq for seq, _ in view.shown]))

    made = parts(
        [call("look"), FINISH, FINISH], outside.tools(), judge=forever(say), max_tokens=10**6, max_rejections=1
    )
    status = run_through(store, made, goal(JUDGE))
    assert verdicts(store)[0][2] == [met]
    assert status == {True: "verified", None: "unverified", False: "waiting:stalled"}[met]


@settings(max_examples=40, deadline=None)
@given(st.text() | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(json.dumps))
def test_no_words_of_a_judge_raise_or_count_as_met(text: str) -> None:
    assert read_judgement("a1", text, {1, 2}).met is not True


def test_a_judge_that_is_down_leaves_the_claim_open(store: SqliteStore, outside: Outside) -> None:
    def made(judge: list[Any]) -> Any:
        return parts([call("look"), FINISH], outside.tools(), judge=judge)

    checks = goal({"kind": "tool", "tool": "look"}, JUDGE)
    down = ModelError("the judge is down", "try later")
    assert run_through(store, made([down]), checks) == "waiting:model"
    looked = outside.reads
    seqs = list(range(30))
    assert resume(store, lambda: made([judgement(True, seqs)])) == "verified"
    assert outside.reads == looked, "the check that had succeeded was made again"
    assert len(of_kind(store, "done.claimed")) == 1


def test_a_question_to_a_judge_that_was_lost_is_charged_as_the_judge_s(store: SqliteStore, outside: Outside) -> None:
    """The actor runs here and costs nothing when it dies; the judge is remote and may have billed."""
    remote = counting([judgement(True, list(range(30)))])
    remote.local = False
    made = lambda: parts([call("look"), FINISH], outside.tools(), judge=remote)  # noqa: E731
    run = begin(store, made(), goal(JUDGE), tokens=100_000)
    for entry in run.work():
        if entry.kind == "sample.intent" and entry.body.get("purpose"):
            held = entry.body["reserve"]["tokens"]
            break
    run.close()
    assert resume(store, made) == "verified"
    lost = of_kind(store, "sample.failed")[0].body["settle"]
    assert lost["spent"]["tokens"] == held == lost["reserved"]["tokens"]


def test_a_judge_sees_only_what_fits_its_context(store: SqliteStore, outside: Outside) -> None:
    judge = ScriptedModel([judgement(False, [])] * 3, context_tokens=400)
    script = [call("look", text="frost " * 60) for _ in range(6)] + [FINISH]
    run_through(store, parts(script, outside.tools(), judge=judge, max_rejections=1, max_stalls=9), goal(JUDGE))
    seqs = [e.seq for e in of_kind(store, "effect.receipt")]
    shown_seqs = [first for first, _ in judge.views[0].shown]
    assert 1 <= len(shown_seqs) < 6
    assert shown_seqs == seqs[-len(shown_seqs) :], "the newest ones"


def test_the_judge_s_seed_and_limits_are_the_run_s(store: SqliteStore, outside: Outside) -> None:
    seen: list[Limits] = []

    class Watching(ScriptedModel):
        def sample(self, view: Any, n: int, constraint: Any, limits: Limits) -> Any:
            seen.append(limits)
            assert constraint.json_schema is not None
            return super().sample(view, n, constraint, limits)

    judge = Watching([judgement(False, [])])
    run_through(store, parts([FINISH], judge=judge, seed=4, max_tokens=33, max_rejections=1), goal(JUDGE))
    assert (seen[0].seed, seen[0].max_tokens) == (4, 33)


# Goals


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ({"kind": "hope"}, "unknown check"),
        ({}, "unknown check"),
        ({"kind": "tool"}, r"lacks \['tool'\]"),
        ({"kind": "command", "cmd": "x"}, r"lacks \['command'\], and knows no \['cmd'\]"),
        ({"kind": "judge", "model": "x"}, r"knows no \['model'\]"),
    ],
)
def test_a_check_that_cannot_work_is_refused_before_the_run(check: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Criterion(id="a", text="x", check=check)


def test_goals_say_something_and_name_their_criteria_apart() -> None:
    with pytest.raises(UsageError, match="empty"):
        Goal(text=" \n")
    with pytest.raises(UsageError, match="share an id"):
        Goal(text="x", acceptance=(Criterion(id="a", text="1"), Criterion(id="a", text="2")))
    whole = goal({"kind": "tool", "tool": "look", "arguments": {"text": "x"}}, JUDGE, text="Do it")
    assert Goal.from_json("Do it", whole.acceptance_json()) == whole
