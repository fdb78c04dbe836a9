"""What a person tells a run: approve, deny, send, stop. Each works whether or not a process is at the run."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from overwinter.cli.flags import By, Common, RunName
from overwinter.cli.workplace import ENDED, Workplace, workplace
from overwinter.errors import UsageError

EntryNumber = Annotated[
    int | None, typer.Argument(metavar="[ENTRY]", help="The entry to answer; default: the one it waits for.")
]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; the journal keeps it, and the model reads it.")
]


def approve(run: RunName, entry: EntryNumber = None, *, reason: Reason = "", by: By = None, common: Common) -> None:
    """Approve the call a run waits for.

    Of a call in doubt (nobody knows whether it happened), approve says: it did take place.
    """
    with workplace(common) as at:
        _answer(at, at.resolve(run).run, entry, approved=True, reason=reason, by=at.who(by))


def deny(run: RunName, entry: EntryNumber = None, *, reason: Reason = "", by: By = None, common: Common) -> None:
    """Deny the call a run waits for.

    Of a call in doubt (nobody knows whether it happened), deny says: it did not take place.
    """
    with workplace(common) as at:
        _answer(at, at.resolve(run).run, entry, approved=False, reason=reason, by=at.who(by))


def send(
    run: RunName,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Its name, as the run waits for it.")],
    *,
    data: Annotated[str, typer.Option("--data", metavar="JSON", help="A JSON object that goes with it.")] = "{}",
    by: By = None,
    common: Common,
) -> None:
    """Tell a run that something happened outside."""
    from overwinter.loop.run import send_event

    try:
        parsed = json.loads(data)
    except ValueError as error:
        raise UsageError(f"--data is not JSON: {error}", """write for example --data '{"price": 12}'""") from error
    if not isinstance(parsed, dict):
        raise UsageError("--data is not a JSON object", """write for example --data '{"price": 12}'""")
    with workplace(common) as at:
        info = at.resolve(run)
        if info.status in ENDED:
            raise UsageError(f"run {info.run!r} has ended: {info.status}", "send to a run that is still open")
        send_event(at.store, info.run, event, parsed, at.who(by))
        at.out.record({"run": info.run, "name": event, "data": parsed, "by": at.who(by)})
        at.out.line(f"told run {info.run} of {event}")
        _say_onward(at, info.run)


def stop(run: RunName, *, by: By = None, common: Common) -> None:
    """Ask the process that works on a run to stop after the step at hand."""
    from overwinter.loop.run import request_stop

    with workplace(common) as at:
        info = at.resolve(run)
        if not at.is_worked_on(info):
            raise UsageError(f"no process works on run {info.run!r} ({info.status})", "there is nothing to stop")
        request_stop(at.store, info.run, at.who(by))
        at.out.record({"run": info.run, "reason": "stopped", "by": at.who(by)})
        at.out.line(f"asked run {info.run} to stop; go on later with `{at.command('resume', info.run)}`")


def _answer(at: Workplace, run: str, entry: int | None, *, approved: bool, reason: str, by: str) -> None:
    from overwinter.cli.live import call_text
    from overwinter.loop.run import answer_approval
    from overwinter.loop.session import load_state

    calls = load_state(at.store, run).calls
    answered = answer_approval(at.store, run, approve=approved, by=by, reason=reason, gate=entry)
    record: dict[str, Any] = {"run": run, "by": by, "reason": reason}
    call = next(each for each in calls if answered in (each.gate, each.doubt))
    what = call_text(call.tool, call.arguments)
    if call.doubt == answered:
        record |= {"doubt": answered, "happened": approved}
        at.out.line(f"noted: {what} {'did' if approved else 'did not'} take place (entry {answered})")
    else:
        record |= {"gate": answered, "decision": "approve" if approved else "deny"}
        at.out.line(f"{'approved' if approved else 'denied'}: {what} (entry {answered})")
    at.out.record(record)
    _say_onward(at, run)


def _say_onward(at: Workplace, run: str) -> None:
    info = at.store.info(run)
    if info.status.startswith("waiting"):
        at.out.line(f"go on with `{at.command('resume', run)}`", "dim")
