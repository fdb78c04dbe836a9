"""What the recipes on recall and votes rest on: sums that are right, notes that are true, stopping that saves what it says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

RECIPES = str(Path(__file__).parents[2] / "recipes")


@pytest.fixture(autouse=True)
def _recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RECIPES)


def test_chains_of_sums_are_right_and_read_back() -> None:
    import arithmetic

    for each in arithmetic.sums(3, 200):
        total = int(each.prompt[:2])
        for step in each.chain.rstrip(";").split(";"):
            sum_, _, said = step.partition("=")
            total = eval(f"{total}{sum_[0]}{int(sum_[1:])}") % 100
            assert int(said) == total
        assert each.prompt == each.prompt[:2] + "".join(step.split("=")[0] for step in each.chain.split(";")) + "="
        assert arithmetic.answer_of(each.chain) == each.answer
    assert arithmetic.answer_of("+85=22;*4=8") is None
    assert arithmetic.answer_of("") is None


def test_what_is_read_of_people_is_true_and_the_asked_are_never_asked_in_training() -> None:
    import recall_world as world

    made = world.people(5, count=40)
    facts = {person.name: person.facts for person in made.all}
    known = {person.name for person in made.known}
    kinds = set()
    for each in world.examples(1, 400, made):
        words = each["prompt"].split()
        name = " ".join(words[1:3] if words[0] == "ask" else words[:2])
        if words[0] == "ask":
            assert name in known
            trace, _, answer = each["target"].partition(world.ANSWER)
            assert answer.strip() == facts[name][words[3]]
            assert words[3] not in dict(world.read_trace(trace))
            kinds.add((world.THINK.strip() in each["prompt"], bool(trace)))
        for relation, value in world.read_trace(each["target"].partition(world.ANSWER)[0]):
            assert facts[name][relation] == value
    assert kinds == {(False, False), (False, True), (True, False)}


def test_a_trace_that_sinks_is_stopped_and_its_tokens_are_counted_to_there() -> None:
    import bench_votes_model as votes

    def trace(answer: str, *tokens: float) -> votes.Trace:
        return votes._trace(answer, list(tokens), [-0.1] * len(tokens))

    rng = random.Random(1)
    good = [trace("1", *(10 + rng.random() for _ in range(30))) for _ in range(60)]
    bad = [trace("2", *(10 + rng.random() for _ in range(10)), *[1.0] * 20) for _ in range(4)]
    question = votes.Question(truth="1", traces=tuple(good[:30] + bad + good[30:]))
    answer, tokens = votes.ask_online(question, votes.Setting(keep=0.9, settled=False), seed=0)
    assert answer == "1"
    assert tokens < 64 * 30
    _, whole = votes.ask_online(question, votes.Setting(keep=None, settled=False), seed=0)
    assert whole == 64 * 30
    _, settled = votes.ask_online(question, votes.Setting(keep=None, settled=True), seed=0)
    assert settled == 16 * 30, "sixteen of one mind: the leader can hardly change"
