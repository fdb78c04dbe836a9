"""Several samples of one question as one answer, asked for until the answer is settled: DeepConf online over any model.

    settled = ask_online(model, view, limits, read=last_number, plan=Plan(most=64))
    settled.outcome.answer, settled.tokens, settled.why

A model of our own engine ends a doubtful trace at the token where its confidence sinks below the bar (`Limits.stop_below`); of another one
the whole trace is paid for, and has no say if it sank. Only its confidence decides, so that both give the same vote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from overwinter.errors import ModelError
from overwinter.loop.model import Completion, Constraint, Limits, Model, View
from overwinter.think.confidence.signals import TOP_K, WINDOW, token_confidence, windows
from overwinter.think.vote.online import Plan, Settled, Trace, ask_until_settled

Read = Callable[[str], str | None]
"""The answer in a text, in normal form (`think.vote.normalise`); None where there is none."""


def ask_online(
    model: Model, view: View, limits: Limits, *, read: Read, plan: Plan | None = None, window: int = WINDOW
) -> Settled:
    """Ask until the vote is settled.

    Args:
        limits: of one answer; its temperature has to be above 0, or all answers are the same.
        window: tokens of the running confidence; one that no answer fills stops nothing.

    Raises:
        ModelError: the model gives no alternatives beside its tokens.
    """
    asked = 0
    k = limits.top_logprobs or TOP_K

    def draw(bars: Sequence[float | None]) -> list[Trace]:
        nonlocal asked
        made: dict[int, Trace] = {}
        for at in dict.fromkeys(bars):
            places = [place for place, bar in enumerate(bars) if bar == at]
            # Another question, not another attempt: a seed of its own.
            key = f"{limits.idempotency_key}/{asked}"
            seed = None if limits.seed is None else limits.seed + asked
            more = replace(limits, top_logprobs=k, stop_below=at, stop_window=window, idempotency_key=key, seed=seed)
            asked += len(places)
            answers = model.sample(view, len(places), Constraint(), more)
            made |= {
                place: trace_of(answer, read, k, window, at) for place, answer in zip(places, answers, strict=True)
            }
        return [made[place] for place in range(len(bars))]

    return ask_until_settled(draw, plan or Plan())


def trace_of(answer: Completion, read: Read, k: int, window: int, at: float | None = None) -> Trace:
    """A completion as a trace; `at` is the bar it was drawn with."""
    if not answer.top_logprobs or not all(answer.top_logprobs):
        raise ModelError(
            f"{answer.model} gives no alternatives beside its tokens, so its answers have no confidence",
            "ask a server that returns top_logprobs, or vote by majority",
        )
    found = [token_confidence(list(row.values()), k) for row in answer.top_logprobs]
    means = windows(found, window)
    lowest = min(means)
    # As the engine would have: never before the window is full.
    stopped = answer.finish_reason == "doubt" or (at is not None and len(found) >= window and lowest < at)
    return Trace(
        answer=None if stopped else read(answer.text),
        lowest=lowest,
        confidence=lowest,
        tokens=answer.usage.completion_tokens or len(found),
        stopped=stopped,
    )
