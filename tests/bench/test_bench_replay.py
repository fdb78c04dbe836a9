"""A benchmark gone through again, and read as training data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from bench_kit import GUESS, SUMS, Solver, begin, plan, total

from overwinter.bench.asking import Asked, Reply
from overwinter.bench.replaying import Replay
from overwinter.bench.rollouts import rollouts
from overwinter.bench.suite import Item, Scored, Suite
from overwinter.errors import UsageError
from overwinter.journal import open_store


@pytest.fixture
def store(tmp_path: Path):
    made = open_store(str(tmp_path / "bench.db"))
    yield made
    made.close()


def _suite(**changed: object) -> Suite:
    return replace(SUMS, **changed)  # type: ignore[arg-type]


def test_a_replay_finds_nothing_where_nothing_changed(store) -> None:
    def guess(asked: Asked) -> str:
        return str(2 * sum(role == "user" for role, _ in asked.said))

    for name, suite, solver in (("b", SUMS, Solver()), ("g", GUESS, Solver(guess))):
        made = plan(suite, samples=2, temperature=0.5)
        with begin(store, made, solver, run=name) as run:
            list(run.work())
        asked = len(solver.asked)
        whole = Replay(store, name, made)
        assert list(whole.differences()) == []
        assert whole.checked >= 36
        again = Replay(store, name, made, solver)
        assert list(again.differences()) == []
        assert len(solver.asked) == 2 * asked
        assert [a.seed for a in solver.asked[:asked]] == [a.seed for a in solver.asked[asked:]]
        assert [a.said for a in solver.asked[:asked]] == [a.said for a in solver.asked[asked:]]


def test_a_replay_notices_another_prompt_scorer_and_model(store) -> None:
    with begin(store, plan(), Solver()) as run:
        list(run.work())

    def ask(item: Item, style: str) -> str:
        return f"Please: {item.question}"

    found = list(Replay(store, "b", plan(_suite(ask=ask))).differences())
    assert [each.what for each in found] == ["question"] * 6
    assert found[0].now.startswith("Please: ")

    def lenient(item: Item, text: str) -> Scored:
        return Scored(answer="yes", correct=0.5)

    found = list(Replay(store, "b", plan(_suite(score=lenient))).differences())
    assert [each.what for each in found] == ["verdict"] * 6
    assert found[0].then == "3 score 1.0 stated 0.8 ok"
    liar = Solver(lambda asked: total(asked).replace("Confidence", "Doubt"))
    assert [each.what for each in Replay(store, "b", plan(), liar).differences()] == ["answer"] * 6


def test_a_question_that_did_not_fit_is_replayed_too(store) -> None:
    solver = Solver()
    solver.context_tokens = 5
    with begin(store, plan(), solver) as run:
        list(run.work())
    assert list(Replay(store, "b", plan()).differences()) == []


class Tokens(Solver):
    """Gives token ids, as an engine does."""

    def ask(self, asked: Asked) -> Reply:
        prompt = [len(text) for _, text in asked.said]
        record = {
            "ids": [7, asked.seed or 0],
            "logprobs": [-0.5, -1.0],
            "prompt": {"after": None, "keep": 0, "ids": prompt},
        }
        return replace(super().ask(asked), tokens=record)


def test_samples_of_a_question_are_a_group_to_learn_from(store) -> None:
    wrong = iter([False, True] * 6)
    with begin(
        store, plan(samples=2, temperature=0.5), Tokens(lambda asked: "Answer: 999" if next(wrong) else total(asked))
    ) as run:
        list(run.work())
    found = list(rollouts(store, "b"))
    assert len(found) == 12
    assert {each.reward for each in found} == {0.0, 1.0}
    first, second = (each for each in found if each.group == "q0")
    assert first.turns[0].prompt_ids == second.turns[0].prompt_ids
    assert first.turns[0].ids != second.turns[0].ids
    assert first.turns[0].logprobs == (-0.5, -1.0)
    assert store.info("b").head_seq > first.turns[0].entry


def test_turns_of_a_dialogue_are_one_rollout(store) -> None:
    with begin(store, plan(GUESS), Tokens(lambda asked: "0")) as run:
        list(run.work())
    found = list(rollouts(store, "b"))
    assert [len(each.turns) for each in found] == [3] * 6
    assert [len(turn.prompt_ids) for turn in found[0].turns] == [1, 3, 5]


def test_text_alone_is_not_learned_from(store) -> None:
    with begin(store, plan(), Solver()) as run:
        list(run.work())
    with pytest.raises(UsageError, match="text alone"):
        list(rollouts(store, "b"))
