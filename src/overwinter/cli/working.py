"""`run` and `resume`: start a run or go on with one, a line per step, until it ends or waits."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import By, Common
from overwinter.cli.setup import Acceptance, Actor, GateFlags, Place, SearchFlags, Tools
from overwinter.cli.workplace import ENDED, Workplace, workplace
from overwinter.errors import OverwinterError, UsageError

if TYPE_CHECKING:
    from overwinter.journal import Entry, RunInfo
    from overwinter.loop.run import Run
    from overwinter.loop.state import RunState

WAITING, NOT_VERIFIED = 3, 4
RESPONSE_PREFIX = "resp_"
"""Responses of the server are runs too; going on with them is the server's business."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class Bounds(SearchFlags):
    """How far a new run may go, and how it looks for the way."""

    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="AMOUNTS", help="For example tokens=200k,usd=2.50,wall=2h,calls=500."),
    ] = None
    max_steps: Annotated[
        int | None,
        typer.Option("--max-steps", metavar="NUMBER", min=1, help="Stop cleanly after so many steps; resume goes on."),
    ] = None
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The run's name; made up if not given.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Onward:
    """How to go on with a run."""

    add_budget: Annotated[
        str | None,
        typer.Option("--add-budget", metavar="AMOUNTS", help="Raise its budget first: tokens=100k,calls=50 …"),
    ] = None
    say: Annotated[str | None, typer.Option("--say", metavar="TEXT", help="The answer to what it asked.")] = None
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take it from the process that works on it; that one can write no more.")
    ] = False
    due: Annotated[bool, typer.Option("--due", help="All sleeping runs whose time or event has come.")] = False
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="NUMBER", min=1, help="Stop cleanly after so many steps.")
    ] = None
    by: By = None


def run(
    goal: Annotated[
        str | None, typer.Argument(metavar="[GOAL]", help="What to achieve; without it, a world is played.")
    ] = None,
    *,
    place: Place,
    actor: Actor,
    accepted: Acceptance,
    tools: Tools,
    gates: GateFlags,
    bounds: Bounds,
    common: Common,
) -> None:
    """Start a run; without GOAL, a season in the greenhouse."""
    from overwinter.amounts import parse_budget
    from overwinter.cli.setup import make_plan, search_setup
    from overwinter.loop.run import Run

    flags = {
        "model": actor.model,
        "judge": actor.judge,
        "budget": bounds.budget,
        "world.name": place.world,
        "world.seed": place.seed,
        "world.policy": place.policy,
    }
    with workplace(common, flags=flags) as at:
        plan = make_plan(goal, at.settings, place, actor, accepted, tools, gates)
        caps = parse_budget(at.settings.budget)
        setup = {**plan.setup, **search_setup(bounds, world="world" in plan.setup)}
        started = Run.start(at.store, plan.goal, setup=setup, caps=caps, name=bounds.name, title=plan.title)
        _announce(at, started)
        code = _work(at, started, bounds.max_steps)
    raise typer.Exit(code)


def resume(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Its name; default: the newest unfinished run.")
    ] = None,
    *,
    onward: Onward,
    common: Common,
) -> None:
    """Go on with a run: after a crash, an approval, a pause, or with a new budget."""
    with workplace(common) as at:
        if onward.due:
            if run is not None:
                raise UsageError("--due picks the runs itself", "give either RUN or --due")
            code = _resume_due(at, onward)
        else:
            info = at.resolve(run) if run is not None else _newest_unfinished(at)
            code = _resume(at, info, onward)
    raise typer.Exit(code)


def _announce(at: Workplace, run: Run) -> None:
    state = run.state
    at.out.line(f"run {run.name}: {state.goal}", "bold")
    player = run.session.parts.model.name
    if player.startswith("policy:"):
        player += " (a scripted heuristic, not a trained model)"
    at.out.line(f"acted by {player}; stop with Ctrl-C, go on with `{at.command('resume', run.name)}`", "dim")
    if any(row["check"]["kind"] == "none" for row in state.acceptance) or not state.acceptance:
        at.out.line(
            "nobody is named who can check the result, so it can end unverified at best: --judge names one", "dim"
        )


def _resume(at: Workplace, info: RunInfo, onward: Onward) -> int:
    from overwinter.amounts import parse_budget
    from overwinter.loop.run import Run, send_event

    if info.status in ENDED:
        raise UsageError(
            f"run {info.run!r} has ended: {info.status}",
            f"continue from an earlier entry with `{at.command('fork', f'{info.run}@ENTRY')}`",
        )
    added = parse_budget(onward.add_budget) if onward.add_budget is not None else {}
    if onward.say is not None:
        send_event(at.store, info.run, "answer", {"text": onward.say}, at.who(onward.by))
    opened = Run.open(at.store, info.run, take_over=onward.take_over)
    if added:
        try:
            opened.add_budget(added, at.who(onward.by))
        except BaseException:
            opened.close()
            raise
    at.out.line(f"run {info.run}: {opened.state.goal}", "bold")
    return _work(at, opened, onward.max_steps)


def _resume_due(at: Workplace, onward: Onward) -> int:
    from overwinter.loop.session import load_state

    codes = []
    for info in at.store.runs():
        if info.status == "waiting:sleep" and _is_due(load_state(at.store, info.run), at.store.now_us()):
            try:
                codes.append(_resume(at, info, onward))
            except OverwinterError as error:
                # One broken run must not keep the others asleep.
                at.out.line(f"run {info.run}: {error.problem}", "red")
                codes.append(1)
    if not codes:
        at.out.line("no sleeping run is due")
    return max(codes, default=0)


def _is_due(state: RunState, now_us: int) -> bool:
    sleeping = state.sleeping or {}
    return sleeping.get("event") in state.events or now_us >= sleeping.get("until_us", now_us + 1)


def _newest_unfinished(at: Workplace) -> RunInfo:
    from overwinter.memory.notebook import AT_REST

    unfinished = [
        info
        for info in at.store.runs()
        if info.status not in ENDED
        and info.status != AT_REST
        and not info.is_branch
        and not info.run.startswith(RESPONSE_PREFIX)
    ]
    free = [info for info in unfinished if not at.is_worked_on(info)]
    if free:
        return free[0]
    if unfinished:
        raise UsageError(
            f"every unfinished run is worked on by a living process: {', '.join(info.run for info in unfinished[:5])}",
            "name one and add --take-over to take it from its process",
        )
    raise UsageError("there is no unfinished run", f"start one with `{at.command('run')}`")


def _work(at: Workplace, run: Run, max_steps: int | None) -> int:
    """Work on an open run and say where it stands afterwards; the exit code."""
    from overwinter.cli.live import StepLines
    from overwinter.loop.run import request_stop

    with run, _stop_requests() as stop:
        lines = StepLines(run)
        last_step = None if max_steps is None else run.state.step + max_steps
        asked = False
        try:
            for entry in run.work():
                at.out.record(entry.as_json())
                for parts in lines.of(entry):
                    at.out.parts(parts)
                by = stop.by or ("--max-steps" if _reached(run.state, entry, last_step) else "")
                if by and not asked:
                    # Through the journal, so that the run itself says that it was stopped, and by whom.
                    request_stop(at.store, run.name, by)
                    asked = True
        except KeyboardInterrupt:
            at.out.line("stopped at once; what was under way is settled on resume", "yellow")
        state = run.state
    _conclude(at, state)
    return stop.code or _exit_code(state)


def _reached(state: RunState, entry: Entry, last_step: int | None) -> bool:
    """Whether the last step allowed is done: nothing of it is open any more."""
    done = entry.kind in {"effect.receipt", "sample.completion"} and not state.calls and state.sample is None
    return last_step is not None and state.step >= last_step and done


def _exit_code(state: RunState) -> int:
    if state.ended:
        return 0 if state.ended == "verified" else NOT_VERIFIED
    return WAITING


def _conclude(at: Workplace, state: RunState) -> None:
    from overwinter.cli.looking import run_record
    from overwinter.cli.pauses import next_steps, status_style, status_words, wait_text
    from overwinter.loop.run import status

    info = at.store.info(state.run)
    at.out.record(run_record(at, info))
    now = status(state)
    at.out.line()
    at.out.line(wait_text(state) if state.waiting else status_words(now), status_style(now))
    if state.ended:
        _say_verdict(at, info)
    _say_confidence(at, state)
    for purpose, command in next_steps(at, state):
        at.out.line(f"  {purpose + ':':26} {command}")


def _say_verdict(at: Workplace, info: RunInfo) -> None:
    verdicts = list(at.store.read(info.run, max(0, info.head_seq - 50), kinds=["verdict"]))
    for finding in verdicts[-1].body["findings"] if verdicts else ():
        mark = {True: "met", False: "not met", None: "not checked"}[finding["met"]]
        cited = f" (entries {', '.join(map(str, finding['entries']))})" if finding["entries"] else ""
        at.out.line(f"  {finding['id']} {mark}: {finding['note']}{cited}")


def _say_confidence(at: Workplace, state: RunState) -> None:
    """What the run last said of its success, and what it rests on."""
    from overwinter.journal import ERASED
    from overwinter.think.confidence.record import RUN, read_record

    if state.completion is None:
        return
    [entry] = at.store.read(state.run, state.completion, state.completion + 1)
    last = None if entry.kind == ERASED else read_record(at.store, entry, tokens=False)
    chance = None if last is None else last.chance()
    if last is None or chance is None:
        return
    how = f"calibrated: {last.by[RUN]}" if RUN in last.by else last.refused or "as the model states it"
    at.out.line(f"last stated chance of success {chance:.1%} ({how})", "dim")


class _Stop:
    """What a signal asked for."""

    by = ""
    code = 0

    def __call__(self, number: int, _: Any) -> None:
        if self.by:
            raise KeyboardInterrupt
        self.by, self.code = {signal.SIGINT: "Ctrl-C"}.get(signal.Signals(number), "a termination signal"), 128 + number
        from overwinter.cli.output import note

        note("stopping after the step at hand; once more to stop at once")


@contextmanager
def _stop_requests() -> Iterator[_Stop]:
    """The first signal asks the run to stop, the second interrupts it."""
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
