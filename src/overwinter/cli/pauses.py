"""Where a run stands and what to type next: shown when it pauses or ends, and by `watch` and `ls`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from overwinter.amounts import budget_flag, duration_text
from overwinter.cli.live import call_text

if TYPE_CHECKING:
    from overwinter.cli.workplace import Workplace
    from overwinter.loop.state import RunState

Step = tuple[str, str]
"""(what for, the command to type)."""


def status_words(status: str) -> str:
    """A status as people say it."""
    return {"unverified": "finished, unverified", "failed": "ended, goal not met", "ready": "not started"}.get(
        status, status.replace("waiting:", "waiting: ").replace("in_doubt", "in doubt")
    )


def status_style(status: str) -> str:
    if status.startswith("waiting"):
        return "bold yellow"
    return {"verified": "bold green", "running": "bold cyan", "failed": "bold red"}.get(status, "bold yellow")


def next_steps(place: Workplace, state: RunState) -> list[Step]:
    """The commands that lead on from here."""
    run = state.run
    if state.ended:
        return [
            ("check the journal", place.command("log", run, "--verify")),
            ("see why it ended so", place.command("why", run)),
        ]
    resume = ("go on", place.command("resume", run))
    reason = "" if state.waiting is None else state.waiting["reason"]
    call = state.calls[0] if state.calls else None
    if reason == "approval" and call is not None and call.gate is not None:
        gate = str(call.gate)
        return [
            ("let it happen", place.command("approve", run, gate)),
            ("refuse", place.command("deny", run, gate, "--reason", "…")),
            ("then go on", resume[1]),
        ]
    if reason == "in_doubt" and call is not None and call.doubt is not None:
        doubt = str(call.doubt)
        return [
            ("it did take place", place.command("approve", run, doubt)),
            ("it did not take place", place.command("deny", run, doubt)),
            ("then go on", resume[1]),
        ]
    if reason == "sleep" and state.sleeping is not None:
        return _from_sleep(place, state)
    if reason == "budget":
        return [("go on with more", place.command("resume", run, "--add-budget", _some_budget(place, run)))]
    return [resume]


def wait_text(state: RunState) -> str:
    """What a suspended run waits for, in one sentence."""
    waiting = state.waiting
    if waiting is None:
        return ""
    call = state.calls[0] if state.calls else None
    match waiting["reason"]:
        case "approval" if call is not None:
            return f"waits for an approval of {call_text(call.tool, call.arguments)} (entry {call.gate})"
        case "in_doubt" if call is not None:
            return f"nobody can tell whether {call_text(call.tool, call.arguments)} took place (entry {call.doubt})"
        case "sleep":
            until_us, event = waiting.get("until_us"), waiting.get("event")
            left_s = 0 if until_us is None else until_us / 1e6 - time.time()
            due = f" until {_clock(until_us or 0)} (in {duration_text(left_s)})" if left_s > 0 else ""
            return f"sleeps{due}{f' for the event {event}' if event else ''}: {waiting['detail']}"
        case "budget":
            return f"the budget is used up: {waiting['detail']}"
        case "stalled":
            return f"makes no progress: {waiting['detail']}"
        case "model":
            return f"the model cannot answer: {waiting['detail']}"
        case _:
            return f"stopped: {waiting['detail']}"


def _from_sleep(place: Workplace, state: RunState) -> list[Step]:
    assert state.sleeping is not None
    event, until_us = state.sleeping.get("event"), state.sleeping.get("until_us")
    resume = ("go on", place.command("resume", state.run))
    if event == "answer":
        return [("answer and go on", place.command("resume", state.run, "--say", "…"))]
    if event is not None and event not in state.events:
        steps = [("tell it that this happened", place.command("send", state.run, event)), ("then go on", resume[1])]
        return steps if until_us is None else [*steps, ("or when its time has come", resume[1])]
    return [("once its time has come", resume[1])]


def _some_budget(place: Workplace, run: str) -> str:
    """More of what is nearly used up: as much again as the cap."""
    lines = [(r, line) for b in place.store.info(run).budgets for r, line in place.store.budget(b).items()]
    short = [(r, line.cap) for r, line in lines if line.cap and (line.left or 0) < line.cap * 0.2]
    if not short:
        short = [(r, line.cap) for r, line in lines if line.cap][:1]
    return budget_flag({resource: cap or 0 for resource, cap in short}) or "tokens=100k"


def _clock(time_us: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_us / 1e6))
