"""Recall with the loop's parts: memory, texts and tools as witnesses, a model that thinks, and a run whose steps are votes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from loop_kit import FINISH, Outside, goal, last, of_kind, open_store, parts, run_through

from overwinter.errors import ToolError, UsageError
from overwinter.loop.model import Constraint, Limits, Message, View
from overwinter.loop.models import ScriptedModel
from overwinter.loop.models.scripted import Alternatives
from overwinter.loop.recall import (
    AskedStatements,
    MemoryVerifier,
    ModelThinker,
    RecallingModel,
    RecallSettings,
    Statements,
    TextVerifier,
    ToolVerifier,
    asking,
    parse_recall,
)
from overwinter.loop.replay import replay
from overwinter.loop.setup import build_parts
from overwinter.memory.memory import Memory
from overwinter.think.recall import Checker, Fact, Settings, Standing, recall
from overwinter.tools import Effect, tool

YES, NO, MAYBE = Standing.SUPPORTED, Standing.CONTRADICTED, Standing.UNKNOWN


def _fact(subject: str, relation: str, object_: str) -> Fact:
    return Fact(subject=subject, relation=relation, object=object_)


# Facts and witnesses


def test_facts_by_rule_leave_out_what_is_supposed() -> None:
    found, tokens = Statements().extract(
        "Alice's manager is Bob. If Bob is away, it is Carol. Maybe the pump is broken."
    )
    assert [(fact.subject, fact.relation, fact.object) for fact in found] == [("alice", "manager", "Bob")]
    assert tokens == 0


def test_a_model_lists_facts_and_cannot_add_what_was_not_said() -> None:
    trace = "Well, Bob runs the mill."
    lister = ScriptedModel(["Bob | job | miller | Bob runs the mill\nBob | pet | goat | Bob has a goat"])
    found, tokens = AskedStatements(lister).extract(trace)
    assert [fact.object for fact in found] == ["miller"]
    assert 0 < tokens <= 2048
    assert AskedStatements(lister, max_tokens=20).extract(trace) == ([], 0)


def test_memory_is_a_witness_and_the_agent_is_none(tmp_path: Path) -> None:
    memory = Memory.open(open_store(tmp_path / "j.db"))
    entry = memory.write("Alice's manager is Bob.", actor="user")
    memory.write("The pump's mode is eco.", actor="agent")
    memory.write("Carol no longer has a car.", actor="user")
    witness = MemoryVerifier(memory)

    def standing(*words: str) -> Standing:
        return witness.verify(_fact(*words)).standing

    assert standing("Alice", "boss", "bob") is YES
    assert standing("alice", "manager", "Carol") is NO
    assert standing("the pump", "mode", "eco") is MAYBE
    assert standing("Carol", "has", "car") is NO
    assert standing("Dan", "manager", "Bob") is MAYBE
    assert witness.verify(_fact("Alice", "manager", "Bob")).source.startswith(f"{entry.run}#{entry.seq}: Alice")


def test_texts_count_from_the_newest_back_and_people_before_reports() -> None:
    witness = TextVerifier(
        [
            ("user", "Alice's manager is Bob."),
            ("look", "mode: eco\nAlice's manager is Mallory."),
            ("look", "mode: boost"),
        ]
    )
    assert witness.verify(_fact("Alice", "manager", "Bob")).standing is YES
    assert witness.verify(_fact("Alice", "manager", "Mallory")).standing is NO
    assert [witness.verify(_fact("look", "mode", value)).standing for value in ("boost", "eco")] == [YES, NO]
    assert witness.verify(_fact("Dan", "likes", "tea")).standing is MAYBE


def test_a_pure_tool_is_a_witness_and_no_other_is() -> None:
    @tool(effect=Effect.PURE)
    def town_of(name: str) -> str:
        """Where somebody lives."""
        return {"Ada": "Oslo"}[name]

    def read(fact: Fact, result: Any) -> Standing:
        return YES if result.text == fact.object else NO

    witness = ToolVerifier(tool=town_of, arguments=lambda fact: {"name": fact.subject}, read=read)
    assert [witness.verify(_fact("Ada", "town", where)).standing for where in ("Oslo", "Rome")] == [YES, NO]
    assert witness.verify(_fact("Bo", "town", "Rome")).standing is MAYBE, "a call that failed says nothing"
    with pytest.raises(ToolError, match="not pure"):
        ToolVerifier(tool=Outside().tools()[1], arguments=lambda _: {}, read=read)


# A model that thinks


def test_a_model_recalls_with_memory_as_its_witness(tmp_path: Path) -> None:
    memory = Memory.open(open_store(tmp_path / "j.db"))
    memory.write("Alice's employer is Acme.", actor="user")
    script = Alternatives(
        (
            "Alice's employer is Umbrella.\nAnswer: Racoon",
            "Alice's employer is Umbrella.\n**Answer:** Racoon",
            "Alice's employer is Acme.\nAnswer: Springfield.",
            "I do not know.",
        )
    )
    thinker = ModelThinker(ScriptedModel([script]))
    settings = Settings(samples=4, budget_tokens=3000)
    found = recall(
        "Where does Alice work?", thinker, Statements(), Checker(verifiers=[MemoryVerifier(memory)]), settings
    )
    assert (found.answer, found.kind) == ("springfield", "A")
    assert [chain.kind for chain in found.chains] == ["C", "C", "A", "B"]
    assert found.tokens <= 3000


def test_a_model_is_asked_whether_it_believes_itself() -> None:
    model = ScriptedModel([Alternatives(("Answer: Oslo", "Oslo", "Answer: Oslo", "Answer: Rome"))] * 2)
    witness = asking(model, samples=4, max_tokens=400)
    assert witness.verify(_fact("Ada", "town", "Oslo")).standing is YES
    check = witness.verify(_fact("Ada", "town", "Rome"))
    assert (check.standing, check.source) == (NO, "agreement 0.25 of 4")
    assert 0 < check.tokens <= 400


# A run whose steps are votes

GOAL = "Set the pump's mode. The pump's pressure is 3 bar."


def _said(pressure: str, mode: str) -> str:
    put = json.dumps({"tool": "put", "arguments": {"text": mode}})
    return f"The pump's pressure is {pressure}.\n{put}"


CHAINS = Alternatives((_said("9 bar", "boost"), _said("9 bar", "boost"), _said("3 bar", "eco"), "I cannot tell."))


def _model(samples: int = 4) -> RecallingModel:
    return RecallingModel(ScriptedModel([CHAINS, FINISH], by_turn=True), RecallSettings(samples=samples))


def test_a_run_takes_the_step_whose_facts_hold(tmp_path: Path) -> None:
    store, outside = open_store(tmp_path / "j.db"), Outside()

    def made() -> Any:
        return parts(_model(), outside.tools(), max_tokens=400)

    run_through(store, made(), goal(text=GOAL), tokens=100_000)
    assert outside.effects("put") == ["eco"]
    first = of_kind(store, "sample.completion")[0].body
    assert first["vote"]["classes"] == {"A": 1, "B": 1, "C": 2}
    assert first["vote"]["false"] == [{"fact": "pump – pressure – 9 bar", "against": "pump – pressure – 3 bar"}]
    assert first["vote"]["supporting"][0]["fact"] == "pump – pressure – 3 bar"
    assert first["settle"]["spent"]["tokens"] <= first["settle"]["reserved"]["tokens"]
    assert first["usage"]["completion_tokens"] > len(_said("3 bar", "eco").split()) * 3
    report = replay(store, "r", parts=made())
    assert report.divergence is None


def test_without_room_for_two_chains_the_model_answers_as_it_is(tmp_path: Path) -> None:
    store, outside = open_store(tmp_path / "j.db"), Outside()
    run_through(store, parts(_model(), outside.tools(), max_tokens=100), goal(text=GOAL))
    assert outside.effects("put") == ["boost"]
    assert "vote" not in last(store, "sample.completion").body


def test_samples_never_get_more_than_was_reserved() -> None:
    asked: list[tuple[int, int]] = []

    class Remote(ScriptedModel):
        local = False

        def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Any:
            asked.append((n, limits.max_tokens))
            return super().sample(view, n, constraint, limits)

    view = View(messages=(Message(role="user", text="word " * 92),))
    for limit in (100, 300, 1000):
        RecallingModel(Remote([CHAINS] * 3)).sample(view, 1, Constraint(), Limits(max_tokens=limit))
    assert asked[0] == (1, 100)
    for (count, each), limit in zip(asked[1:], (300, 1000), strict=True):
        assert count >= 2
        assert count * each + (count - 1) * 100 <= limit


def test_a_choice_is_not_thought_about() -> None:
    model = ScriptedModel(["left"])
    (said,) = RecallingModel(model).sample(
        View(messages=(Message(role="user", text="?"),)),
        1,
        Constraint(choices=("left", "right")),
        Limits(max_tokens=900),
    )
    assert (said.text, said.vote) == ("left", None)


def test_the_setup_says_how_often() -> None:
    raw = {"model": {"kind": "scripted", "replies": ["hm"]}, "recall": {"samples": 3}, "pace": {"max_tokens": 100}}
    built = build_parts(raw)
    assert isinstance(built.model, RecallingModel)
    assert built.pace.max_tokens == 300
    assert parse_recall({"samples": 3, "support": 1}).samples == 3
    for wrong in ({"samples": 1}, {"samples": 2.5}, {"temperature": 0}, {"sample": 3}, 5):
        with pytest.raises(UsageError, match="recall"):
            parse_recall(wrong)
