"""Sampling: reserve, write the intent, ask the model, write what it said. A journalled answer is never asked for again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

from overwinter.errors import BudgetExhausted, ModelError
from overwinter.journal import Draft, Entry, Packer
from overwinter.loop.confidence import record_of
from overwinter.loop.memory.recall import before_step
from overwinter.loop.memory.view import runtime_handle
from overwinter.loop.model import Completion, Constraint, Limits, Model, View
from overwinter.loop.parse import read_calls
from overwinter.loop.session import Parts, Session
from overwinter.loop.state import ACTING
from overwinter.loop.tokens import token_record
from overwinter.loop.view import Measured
from overwinter.loop.world import ACT
from overwinter.tools import idempotency_key

LOST = "the process ended before the answer came"
MIN_COMPLETION_TOKENS = 16
"""With less room than this an answer is not worth asking for."""


def next_view(session: Session) -> Iterator[Entry]:
    """Write the compactions that the next view needs."""
    left, world = session.left(), session.parts.world
    legal = world.legal_actions() if world is not None else ()
    while True:
        packer = Packer()
        draft = session.view.compaction(session.state, packer, left, legal)
        if draft is None:
            return
        made = [] if session.view.memory is None else [runtime_handle(session.store, session.state, draft)]
        yield from session.append([*made, draft], packer)


def take_step(session: Session) -> Iterator[Entry]:
    """Ask the actor for its next step: sample.intent, then sample.completion or sample.failed.

    Raises:
        BudgetExhausted: what is left does not hold the view and a useful answer; nothing was written.
        ModelError: the model cannot answer; the failure is journalled.
    """
    yield from before_step(session)
    yield from next_view(session)
    left = session.left()
    legal = session.parts.world.legal_actions() if session.parts.world is not None else ()
    observation = session.parts.world.observation.data if session.parts.world is not None else {}
    measured = session.view.build(session.state, left, observation, legal)
    yield from ask(
        session, session.parts.model, measured, left=left, constraint=actor_constraint(session.parts, measured)
    )


def actor_constraint(parts: Parts, measured: Measured) -> Constraint:
    """Only the world's legal actions may be uttered, where nothing else can be called: with other tools at hand, the constraint
    would put them (finish and sleep too) out of reach. There, whoever called nothing last time has to call something now."""
    if parts.only_acts:
        return Constraint(choices=measured.view.legal_actions)
    return Constraint(call=measured.needs_call)


def sample_key(run: str, intent: int, purpose: str) -> str:
    """The idempotency key of the question that entry `intent` journals."""
    return idempotency_key(run, intent, "sample", {"purpose": purpose})


def ask(
    session: Session,
    model: Model,
    measured: Measured,
    *,
    left: dict[str, int],
    constraint: Constraint,
    purpose: str = ACTING,
) -> Iterator[Entry]:
    """One journalled question to a model."""
    state, pace, view = session.state, session.parts.pace, measured.view
    reserve = _reservation(model, measured.tokens, pace.max_tokens, pace.sample_timeout_s, left)
    limits = Limits(
        max_tokens=reserve["tokens"] - measured.tokens,
        temperature=pace.temperature,
        seed=pace.seed,
        top_logprobs=pace.top_logprobs,
        timeout_s=reserve["wall_ms"] / 1000,
        idempotency_key=sample_key(session.run, state.head_seq + 1, purpose),
    )
    intent = Draft(
        kind="sample.intent", body=_intent_body(session, measured, left, limits, constraint, reserve, purpose)
    )
    yield from session.append([intent])
    began = time.monotonic()
    try:
        completion = model.sample(view, 1, constraint, limits)[0]
    except ModelError as error:
        yield from _failed(session, error, began)
        raise
    yield from _completed(session, view, completion, purpose, began)


def settle_lost(session: Session) -> Iterator[Entry]:
    """A sample.intent without an answer: the process died while the model was asked. It may have been billed, so the whole
    reservation of tokens and money counts as spent; the question is then asked anew."""
    state = session.state
    reserved = dict(state.sample_reserve)
    elapsed_ms = max(0, (session.now_us() - state.sample_time_us) // 1000)
    spent = reserved | {"wall_ms": min(reserved.get("wall_ms", 0), elapsed_ms)}
    asked = session.parts.model if state.sample_purpose == ACTING else session.parts.judge
    if asked is not None and asked.local:
        # It died with the process: nobody bills for the answer.
        spent |= {"tokens": 0, "micro_usd": 0}
    body = {
        "intent": state.sample,
        "error": LOST,
        "settle": {"reserved": reserved, "spent": spent},
    }
    yield from session.append([Draft(kind="sample.failed", body=body)])


def _reservation(model: Model, tokens: int, max_tokens: int, timeout_s: float, left: dict[str, int]) -> dict[str, int]:
    """What one question may cost at most: a shorter answer when the budget is short, and never more than is left."""
    useful = min(MIN_COMPLETION_TOKENS, max_tokens)
    fits = min(max_tokens, model.context_tokens - tokens)
    if fits < useful:
        raise ModelError(
            f"the question needs {tokens} tokens, {model.name} holds {model.context_tokens} with the answer",
            "use a model with a longer context, or shorten goal and tool descriptions",
        )
    room = min(fits, left.get("tokens", 1 << 62) - tokens)
    if room < useful:
        raise BudgetExhausted(
            f"the next question needs {tokens + useful} tokens, {left.get('tokens')} are left",
            "go on with `overwinter resume --add-budget tokens=AMOUNT`",
        )
    price = model.price_micro_usd(tokens, room)
    wall_ms = min(round(timeout_s * 1000), left.get("wall_ms", 1 << 62))
    if wall_ms <= 0:
        raise BudgetExhausted("no working time is left", "go on with `overwinter resume --add-budget wall=AMOUNT`")
    return {"tokens": tokens + room, "micro_usd": price, "wall_ms": wall_ms}


def _intent_body(
    session: Session,
    measured: Measured,
    left: dict[str, int],
    limits: Limits,
    constraint: Constraint,
    reserve: dict[str, int],
    purpose: str,
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "step": session.state.step + (purpose == ACTING),
        "view": {
            "shown": [list(r) for r in measured.view.shown],
            "hidden": measured.view.hidden,
            "left": left,
            "digest": measured.digest,
            "tokens": measured.tokens,
            **_memory_shown(session),
        },
        "limits": {"max_tokens": limits.max_tokens, "temperature": limits.temperature, "seed": limits.seed},
        "constraint": {
            "choices": len(constraint.choices),
            "json_schema": constraint.json_schema is not None,
            **({"call": True} if constraint.call else {}),
        },
        "reserve": reserve,
    }
    if purpose != ACTING:
        body["purpose"] = purpose
    return body


def _memory_shown(session: Session) -> dict[str, Any]:
    """What the journal says of working memory beside the ranges shown: the window that `tokens` is a part of, core and pins."""
    if session.view.memory is None:
        return {}
    state = session.state
    return {"window": session.view.window_tokens, "core": state.core, "pinned": list(state.pinned)}


def _completed(session: Session, view: View, completion: Completion, purpose: str, began: float) -> Iterator[Entry]:
    packer = Packer()
    usage = completion.usage
    spent = {"tokens": usage.tokens, "micro_usd": usage.micro_usd, "wall_ms": round((time.monotonic() - began) * 1000)}
    body: dict[str, Any] = {
        "intent": session.state.sample,
        "text": packer.text(completion.text),
        "calls": read_calls(completion, view.legal_actions, ACT, f"s{session.state.sample}")
        if purpose == ACTING
        else [],
        "text_only": completion.text_only,
        "finish_reason": completion.finish_reason,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
            "lost_tokens": usage.lost_tokens,
            "micro_usd": usage.micro_usd,
            "attempts": usage.attempts,
        },
        "model": completion.model,
        "confidence": confidence(completion),
        "settle": {"reserved": dict(session.state.sample_reserve), "spent": spent},
    }
    if completion.success_chance is not None:
        body["success_chance"] = completion.success_chance
    if completion.vote is not None:
        body["vote"] = dict(completion.vote)
    if completion.reasoning:
        body["reasoning"] = packer.text(completion.reasoning)
    if purpose == ACTING:
        body["confidence_record"] = record_of(session, completion, body["calls"])
    tokens = token_record(completion, session.prompts)
    if tokens:
        body["tokens"] = packer.json(tokens)
    if purpose != ACTING:
        body["purpose"] = purpose
    entries = session.append([Draft(kind="sample.completion", body=body, refs=packer.take_refs())], packer)
    if completion.prompt_token_ids is not None and completion.token_ids is not None:
        session.prompts.advance(entries[0].seq, completion.prompt_token_ids, completion.token_ids)
    yield from entries


def _failed(session: Session, error: ModelError, began: float) -> Iterator[Entry]:
    # The whole loss is booked, even where several billed attempts cost more than was reserved: a budget must not lie.
    spent = {
        "tokens": error.lost_tokens,
        "micro_usd": error.lost_micro_usd,
        "wall_ms": round((time.monotonic() - began) * 1000),
    }
    settle = {"reserved": dict(session.state.sample_reserve), "spent": spent}
    body = {"intent": session.state.sample, "error": error.problem, "settle": settle}
    yield from session.append([Draft(kind="sample.failed", body=body)])


def confidence(completion: Completion) -> float | None:
    """Of a choice, its probability among the choices; else the geometric mean of the chosen tokens' probabilities. 0..1; None where
    neither is known. Not calibrated."""
    if completion.choice_probability is not None:
        return completion.choice_probability
    if not completion.logprobs:
        return None
    mean = sum(completion.logprobs) / len(completion.logprobs)
    return None if math.isnan(mean) else math.exp(min(mean, 0.0))
