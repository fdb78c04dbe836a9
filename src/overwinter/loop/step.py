"""The loop: look at the state, do the one next thing, write it down, look again.

`next_action` is a pure function of the state, and every action ends in entries that change the state. So there is no
difference between going on and resuming: a process that was killed anywhere is followed by one that asks the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from overwinter.errors import BudgetExhausted, ModelError
from overwinter.journal import Draft, Entry, Packer
from overwinter.loop import effects, sampling, verdict
from overwinter.loop.session import Session
from overwinter.loop.stall import find_stall
from overwinter.loop.state import OpenCall, RunState


class Next(StrEnum):
    """What a run does next, in the order in which it is looked for."""

    SETTLE_LOST = "settle_lost"  # a question to a model that died with its process
    WAIT_DOUBT = "wait_doubt"  # a person has to say whether an effect happened
    SETTLE_DOUBT = "settle_doubt"  # an intent without a receipt
    WAIT_APPROVAL = "wait_approval"
    DENY = "deny"
    CALL = "call"
    JUDGE = "judge"
    WAIT_SLEEP = "wait_sleep"
    WAKE = "wake"
    CLAIM = "claim"  # the world is over, so the outcome can be judged
    GIVE_UP = "give_up"  # too many stalls or rejected claims: a person should look
    STALL = "stall"
    SAMPLE = "sample"
    NOTHING = "nothing"  # the run has ended


WAITS: Mapping[Next, str] = {
    Next.WAIT_DOUBT: "in_doubt",
    Next.WAIT_APPROVAL: "approval",
    Next.WAIT_SLEEP: "sleep",
    Next.GIVE_UP: "stalled",
}
"""Actions that end the process's work until something comes from outside, and the reason they are journalled under."""
ANSWERED_BY_RESUMING = frozenset({"stalled", "budget", "model", "stopped"})
"""Reasons for waiting that are over when a person resumes the run; the others wait for something of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What `next_action` needs to know beside the state."""

    now_us: int
    world_over: bool = False
    max_stalls: int = 3
    max_rejections: int = 5


def next_action(state: RunState, at: Circumstances) -> Next:
    """The one next thing to do. Pure: the same state and circumstances give the same action in any process."""
    if state.ended:
        return Next.NOTHING
    if state.sample is not None:
        return Next.SETTLE_LOST
    if state.calls:
        return _next_for_call(state.calls[0])
    if state.claim is not None:
        return Next.JUDGE
    if state.sleeping is not None:
        return Next.WAKE if _wake_cause(state, at.now_us) else Next.WAIT_SLEEP
    if at.world_over:
        return Next.CLAIM
    if state.stalls >= at.max_stalls or state.rejections >= at.max_rejections:
        return Next.GIVE_UP
    return Next.STALL if find_stall(state.recent_turns()) is not None else Next.SAMPLE


def _next_for_call(call: OpenCall) -> Next:
    if call.intent is not None:
        return Next.WAIT_DOUBT if call.doubt is not None and call.happened is None else Next.SETTLE_DOUBT
    if call.decision == "ask":
        return Next.WAIT_APPROVAL
    return Next.DENY if call.decision == "deny" else Next.CALL


def _wake_cause(state: RunState, now_us: int) -> str:
    assert state.sleeping is not None
    event, until_us = state.sleeping.get("event"), state.sleeping.get("until_us")
    if event is not None and event in state.events:
        return f"event {event}"
    return "time" if until_us is not None and now_us >= until_us else ""


def work(session: Session) -> Iterator[Entry]:
    """Go on until the run ends or has to wait. Yields each entry once it is on disk.

    Stopping the iteration, at any entry, is the same as being killed there: resume goes on.
    """
    if session.state.ended:
        return
    yield from take_letters(session)
    yield from _pick_up(session)
    while True:
        action = next_action(session.state, circumstances(session))
        if action is Next.NOTHING:
            return
        if action in WAITS:
            yield from _suspend(session, WAITS[action], **_waits_for(session, action))
            letters = list(take_letters(session))
            yield from letters
            if not letters:
                return
            # The answer came while the run lay down to wait for it.
            continue
        if session.state.waiting is not None:
            yield from session.append([_resumed(session)])
        try:
            yield from DO[action](session)
        except BudgetExhausted as error:
            yield from _suspend(session, "budget", detail=error.problem)
            return
        except ModelError as error:
            yield from _suspend(session, "model", detail=str(error))
            return
        yield from take_letters(session)
        if session.state.waiting is not None:
            # Somebody asked the run to stop.
            return


def take_letters(session: Session) -> Iterator[Entry]:
    """Take what came from outside into the journal: approvals, events, messages, a request to stop."""
    letters = session.store.letters(session.run)
    if letters and not session.state.ended:
        yield from session.append([letter.draft for letter in letters], letters=[letter.id for letter in letters])


def circumstances(session: Session) -> Circumstances:
    """As they are now."""
    world, pace = session.parts.world, session.parts.pace
    return Circumstances(
        now_us=session.now_us(),
        world_over=world is not None and world.done,
        max_stalls=pace.max_stalls,
        max_rejections=pace.max_rejections,
    )


def _suspend(session: Session, reason: str, *, detail: str, **more: Any) -> Iterator[Entry]:
    waiting = session.state.waiting
    if waiting is not None and waiting["reason"] == reason and waiting["detail"] == detail:
        return  # it waits for the same thing already; waiting costs nothing, not even an entry
    drafts = [Draft(kind="run.suspended", body={"reason": reason, "detail": detail, **more})]
    world = session.parts.world
    if world is not None and world.unsaved:
        packer = Packer()
        yield from session.append([world.save(packer), *drafts], packer)
    else:
        yield from session.append(drafts)


def _waits_for(session: Session, action: Next) -> dict[str, Any]:
    state = session.state
    if action is Next.WAIT_APPROVAL:
        call = state.calls[0]
        return {"detail": f"{call.tool}({call.arguments}) needs an approval", "waits_for": call.gate}
    if action is Next.WAIT_DOUBT:
        call = state.calls[0]
        detail = f"nobody can tell whether {call.tool}({call.arguments}) took place"
        return {"detail": detail, "waits_for": call.doubt}
    if action is Next.WAIT_SLEEP:
        assert state.sleeping is not None
        more: dict[str, Any] = {key: state.sleeping[key] for key in ("until_us", "event") if key in state.sleeping}
        return {"detail": state.sleeping["reason"], **more}
    if state.rejections >= session.parts.pace.max_rejections:
        return {"detail": f"{state.rejections} claims of being done were sent back by the checker"}
    return {"detail": f"{state.stalls} stalls in a row; the last one is entry {state.stall_at}"}


def _pick_up(session: Session) -> Iterator[Entry]:
    """Note that this process goes on where another stopped, unless the run waits for something that has not come."""
    state = session.state
    interrupted = state.waiting is None and not state.ended and not session.fresh
    answered_by_resuming = state.waiting is not None and state.waiting["reason"] in ANSWERED_BY_RESUMING
    session.fresh = True
    if interrupted or answered_by_resuming:
        yield from session.append([_resumed(session)])
    world = session.parts.world
    if world is not None and not state.items and state.compacted is None:
        # A fork from before the first observation: nobody has been shown the world yet.
        packer = Packer()
        yield from session.append([world.first_observation(packer)], packer)


def _resumed(session: Session) -> Draft:
    state = "interrupted" if session.state.waiting is None else session.state.waiting["reason"]
    return Draft(kind="run.resumed", body={"fence": session.fence, "owner": session.owner, "state": state})


def _call(session: Session) -> Iterator[Entry]:
    yield from effects.begin_call(session, session.state.calls[0])


def _deny(session: Session) -> Iterator[Entry]:
    yield from effects.deny(session, session.state.calls[0])


def _settle_doubt(session: Session) -> Iterator[Entry]:
    yield from effects.settle_doubt(session, session.state.calls[0])


def _wake(session: Session) -> Iterator[Entry]:
    cause = _wake_cause(session.state, session.now_us())
    yield from session.append([Draft(kind="sleep.ended", body={"started": session.state.sleeping_seq, "cause": cause})])


def _claim(session: Session) -> Iterator[Entry]:
    body = {"completion": session.state.completion, "call_id": "", "summary": "the world has reached its end"}
    yield from session.append([Draft(kind="done.claimed", body=body)])


def _stall(session: Session) -> Iterator[Entry]:
    stall = find_stall(session.state.recent_turns())
    assert stall is not None
    body = {"pattern": stall.pattern, "detail": stall.detail, "count": stall.count}
    yield from session.append([Draft(kind="stall.noticed", body=body)])


def _sample(session: Session) -> Iterator[Entry]:
    if session.parts.search is None:
        yield from sampling.take_step(session)
        return
    from overwinter.loop.search.decision import decide

    yield from decide(session)


DO: Mapping[Next, Callable[[Session], Iterator[Entry]]] = {
    Next.SETTLE_LOST: sampling.settle_lost,
    Next.SETTLE_DOUBT: _settle_doubt,
    Next.DENY: _deny,
    Next.CALL: _call,
    Next.JUDGE: verdict.judge,
    Next.WAKE: _wake,
    Next.CLAIM: _claim,
    Next.STALL: _stall,
    Next.SAMPLE: _sample,
}
