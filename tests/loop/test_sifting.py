"""A model of the loop ranks sessions: the adapter between `loop` and `memory.sift`."""

from __future__ import annotations

from overwinter.loop.model import Completion, Usage
from overwinter.loop.models.scripted import ScriptedModel
from overwinter.loop.sifting import asking
from overwinter.memory.sift import Config, Session, Sifter, Turn

SESSIONS = [Session(key=str(n), turns=(Turn("user", f"Fact {n}."),), happened_us=n, score=-n) for n in range(3)]


def test_a_model_ranks_and_its_cost_is_told() -> None:
    spent: list[Usage] = []
    model = ScriptedModel(["<think>the last</think><ranking>2,1,0</ranking>"])
    sifted = Sifter(asking(model, spend=spent.append), Config(wait_s=60)).sift("Which?", SESSIONS)
    assert [session.key for session in sifted.order] == ["2", "1", "0"]
    assert len(spent) == 1


def test_thinking_that_comes_apart_from_the_text_is_put_back() -> None:
    model = ScriptedModel([Completion(text="<ranking>1,0,2</ranking>", reasoning="hm")])
    assert asking(model)("prompt") == "<think>hm</think><ranking>1,0,2</ranking>"


def test_an_answer_that_was_cut_off_falls_back() -> None:
    model = ScriptedModel([Completion(text="<think>so", finish_reason="length")])
    sifted = Sifter(asking(model), Config(wait_s=60)).sift("Which?", SESSIONS)
    assert sifted.ranked == 0
    assert "cut off" in sifted.problem
    assert [session.key for session in sifted.order] == ["0", "1", "2"]
