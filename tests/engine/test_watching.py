"""Confidence while decoding: a trace ends where its twin says, the others say what they would have said, a step that fell is followed
by the forced word, and a suspended watch goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from engine_kit import VOCABULARY, decoder_of, engine_of, request, said

from overwinter.engine import Config, Engine, Request, Result
from overwinter.engine.watching import Reflect, StopBelow
from overwinter.errors import UsageError
from overwinter.think.confidence.signals import StepWatch, token_confidence
from overwinter.think.vote.online import TraceWatch

WINDOW, K = 4, 10
FORCED = (17, 18)
SEED = 7
"""Of a trace whose confidence falls on its way."""


def confidences(result: Result, k: int = K) -> list[float]:
    return [token_confidence([value for _, value in row.top], k) for row in result.logprobs]


def stopped_at(result: Result, at: float) -> int | None:
    """By the twin: after how many tokens a finished trace would have been stopped."""
    watch = TraceWatch(at=at, window=WINDOW)
    return next((n for n, value in enumerate(confidences(result), 1) if watch.token(value)), None)


def bar_between(result: Result) -> float:
    """A bar that the trace first goes under somewhere on its way, not in its first windows and not in its last."""
    found = confidences(result)
    means = [sum(found[i : i + WINDOW]) / WINDOW for i in range(len(found) - WINDOW + 1)]
    lowest = next(i for i in range(3, len(means) - 3) if means[i] < min(means[:i]))
    return (means[lowest] + min(means[:lowest])) / 2


def whole(**fields: Any) -> Request:
    return request(9, 40, seed=SEED, logprobs=20, **fields)


@pytest.mark.parametrize("logprobs", [None, 0, 3, 20])
def test_a_trace_ends_where_its_twin_says(logprobs: int | None) -> None:
    engine = engine_of()
    [full] = engine.run([whole()])
    at = bar_between(full)
    stop = stopped_at(full, at)
    assert stop is not None
    assert WINDOW < stop < 40
    asked = request(9, 40, seed=SEED, logprobs=logprobs, stop_below=StopBelow(at=at, window=WINDOW, k=K))
    decoded = engine.stats().decode_tokens
    [short] = engine.run([asked])
    assert short.finish == "doubt"
    assert short.output_ids == full.output_ids[:stop]
    # The tokens are really saved: the last one is chosen and never computed.
    assert engine.stats().decode_tokens - decoded == stop - 1
    expected = () if logprobs is None else tuple(r._replace(top=r.top[:logprobs]) for r in full.logprobs[:stop])
    assert short.logprobs == expected


def test_a_bar_below_everything_changes_nothing() -> None:
    engine = engine_of()
    plain, watched = engine.run([whole(), whole(stop_below=StopBelow(at=-1.0, window=WINDOW, k=K))])
    assert said(plain) == said(watched)


def test_the_window_has_to_be_full() -> None:
    [short] = engine_of().run([whole(stop_below=StopBelow(at=1e9, window=30, k=K))])
    assert (short.finish, len(short.output_ids)) == ("doubt", 30)


def test_others_say_what_they_would_have_said() -> None:
    others = [request(length, 30, seed=length, logprobs=2) for length in (5, 8, 13)]
    alone = engine_of().run(others)
    engine = engine_of(max_running=4)
    results = engine.run([*others, whole(stop_below=StopBelow(at=1e9, window=WINDOW, k=K))])
    assert [said(each) for each in results[:3]] == [said(each) for each in alone]
    assert engine.stats().blocks_referenced == 0


def test_a_suspended_watch_goes_on(tmp_path: Path) -> None:
    [full] = engine_of().run([whole()])
    at = bar_between(full)
    stop = stopped_at(full, at)
    assert stop is not None
    engine = engine_of()
    number = engine.submit(whole(stop_below=StopBelow(at=at, window=WINDOW, k=K)))
    seen = 0
    while seen < stop - 2:
        seen += sum(len(event.token_ids) for event in engine.step())
    engine.suspend(number, tmp_path / "one")
    other = engine_of()
    number, finish = other.resume(tmp_path / "one"), None
    while other.has_work:
        for event in other.step():
            seen, finish = seen + len(event.token_ids), event.finish
    assert (seen, finish) == (stop, "doubt")


class Letters:
    """A tokenizer of one letter a token, in which some tokens end a step."""

    end_ids = ()
    vocabulary_hash = "letters"

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join("\n\n" if each % 5 == 0 else chr(65 + each % 26) for each in ids)


def reflecting(**fields: Any) -> Result:
    engine = Engine(decoder_of(), Letters(), Config(), end_ids=())  # type: ignore[arg-type]
    [result] = engine.run([request(9, 200, seed=5, logprobs=20, **fields)])
    return result


def triggers(result: Result, drop: float) -> list[int]:
    """By the twin: behind which tokens a reflection has to follow."""
    watch, found, step = StepWatch(drop=drop), [], []
    for place, (token, value) in enumerate(zip(result.output_ids, confidences(result), strict=True)):
        step.append(value)
        if token % 5 == 0:
            if watch.step(sum(step) / len(step)):
                found.append(place + 1)
            step = []
    return found


def test_a_step_that_fell_is_followed_by_the_forced_word() -> None:
    result = reflecting(reflect=Reflect(ids=FORCED, drop=0.99, k=K, most=100))
    found = [place for place in triggers(result, 0.99) if place + len(FORCED) <= len(result.output_ids)]
    assert found
    for place in found:
        assert result.output_ids[place : place + 2] == FORCED
    # Up to the first of them it is what it would have been.
    plain = reflecting()
    assert plain.output_ids[: found[0]] == result.output_ids[: found[0]]
    # The confidence of a forced token is that of the distribution it was forced into.
    forced = result.logprobs[found[0]]
    assert forced.top == plain.logprobs[found[0]].top
    assert forced.token_id == FORCED[0]


def test_reflections_are_limited() -> None:
    result = reflecting(reflect=Reflect(ids=FORCED, drop=0.99, k=K, most=0))
    assert result.output_ids == reflecting().output_ids


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="stop_below"):
        StopBelow(at=float("nan"))
    with pytest.raises(UsageError, match="reflect"):
        Reflect(ids=())
    with pytest.raises(UsageError, match="constraint"):
        request(3, constraint=SimpleNamespace(vocab_size=VOCABULARY), reflect=Reflect(ids=(1,)))
    with pytest.raises(UsageError, match="text"):
        engine_of().submit(request(3, reflect=Reflect(ids=(1,))))
