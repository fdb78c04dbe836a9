"""Votes and questions over a model: a trace that doubts is ended by our engine, and pays less; confidence is asked for and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from local_kit import make_model
from overwinter.errors import ModelError
from overwinter.loop.elicit import ask_confidence, ask_true
from overwinter.loop.model import Completion, Constraint, Limits, Message, View
from overwinter.loop.models import ScriptedModel
from overwinter.loop.models.local import Config, LocalModel
from overwinter.loop.votes import ask_online, trace_of
from overwinter.think.vote.online import Plan

VIEW = View(messages=(Message(role="user", text="How cold was it?"),))
LIMITS = Limits(max_tokens=40, temperature=1.0, idempotency_key="q", top_logprobs=10, timeout_s=1e6)
WINDOW = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel(Config(path=str(make_model(tmp_path_factory.mktemp("m") / "tiny", end=False)), threads=1))


def first_word(text: str) -> str | None:
    return text.split(maxsplit=1)[0] if text.split() else None


def test_our_engine_ends_what_doubts(model: LocalModel) -> None:
    plan = Plan(warm_up=4, most=12, keep=0.4, at_once=4, consensus=1.01, may_change=-1.0, finish_anyway=0.0)
    found = ask_online(model, VIEW, LIMITS, read=first_word, plan=plan, window=WINDOW)
    assert len(found.traces) == 12
    assert found.stopped > 0
    for trace in found.traces[4:]:
        assert trace.stopped == (trace.lowest < found.bar)
        assert trace.answer is None or not trace.stopped
    whole = max(trace.tokens for trace in found.traces)
    assert min(trace.tokens for trace in found.traces if trace.stopped) < whole
    # Every trace has a seed of its own, also over the calls.
    assert len({(trace.lowest, trace.tokens) for trace in found.traces}) == 12


def test_a_stopped_answer_is_the_beginning_of_the_whole_one(model: LocalModel) -> None:
    [full] = model.sample(VIEW, 1, Constraint(), LIMITS)
    at = trace_of(full, first_word, 10, WINDOW).lowest + 1e-6
    [cut] = model.sample(VIEW, 1, Constraint(), replace(LIMITS, stop_below=at, stop_window=WINDOW))
    assert cut.finish_reason == "doubt"
    assert cut.token_ids == full.token_ids[: len(cut.token_ids or ())]  # type: ignore[index]
    assert trace_of(cut, first_word, 10, WINDOW, at).stopped
    # Of a model that cannot stop, the same trace is ended afterwards.
    assert trace_of(full, first_word, 10, WINDOW, at).stopped


def test_without_alternatives_there_is_no_confidence(model: LocalModel) -> None:
    [answer] = model.sample(VIEW, 1, Constraint(), replace(LIMITS, top_logprobs=0))
    with pytest.raises(ModelError, match="no alternatives"):
        trace_of(answer, first_word, 10, WINDOW)


def test_a_second_call_states_a_chance() -> None:
    model = ScriptedModel(["Well.\nConfidence: 70%", "no idea"])
    found = ask_confidence(model, "2+2?", "4")
    assert found.statement is not None
    assert (found.statement.value, found.statement.when) == (0.7, "post")
    assert ask_confidence(model, "2+2?", "4", skeptical=True).statement is None


class Scorer(ScriptedModel):
    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:
        assert "Proposed answer: 4" in view.messages[0].text
        return [[-0.5, -0.5] if text == "True" else [-2.0] for text in continuations]


def test_p_true_is_scored() -> None:
    assert ask_true(Scorer([]), "2+2?", "4") == pytest.approx(1 / (1 + 2.718281828**-1.0), rel=1e-6)


def test_p_true_of_a_real_model_is_a_probability(model: LocalModel) -> None:
    assert 0 < ask_true(model, "2+2?", "4") < 1
    assert isinstance(model.sample(VIEW, 1, Constraint(), LIMITS)[0], Completion)
