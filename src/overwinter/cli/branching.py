"""`fork` and `replay`: go on differently from an entry, and go through a run again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import Common
from overwinter.cli.workplace import workplace
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.config import Settings


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a fork does differently."""

    model: Annotated[str | None, typer.Option("--model", metavar="SPEC", help="Who acts from here on.")] = None
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="NAME", help="A scripted player; short for --model policy:…")
    ] = None
    judge: Annotated[str | None, typer.Option("--judge", metavar="SPEC", help="Who checks the result.")] = None
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="AMOUNTS", help="A budget of its own, besides the parent's, which it shares."),
    ] = None
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="The fork's name.")] = None
    speculative: Annotated[bool, typer.Option("--speculative", help="Only look ahead: nothing but pure tools.")] = False
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the journal keeps it.")] = ""


def fork(
    where: Annotated[str, typer.Argument(metavar="RUN@ENTRY", help="The run, and its last entry to keep.")],
    *,
    changes: Changes,
    common: Common,
) -> None:
    """Start a run that shares another's past up to an entry; the parent stays as it is."""
    from overwinter.amounts import parse_budget
    from overwinter.loop.fork import fork as make_fork

    name, at_sign, number = where.rpartition("@")
    if not at_sign or not number.isascii() or not number.isdigit():
        raise UsageError(f"{where!r} does not say where to fork", "write RUN@ENTRY, for example last@120")
    with workplace(common, flags={"judge": changes.judge}) as at:
        parent = at.resolve(name)
        made = make_fork(
            at.store,
            parent.run,
            int(number),
            setup=_setup(at.settings, changes),
            caps=parse_budget(changes.budget) if changes.budget is not None else None,
            name=changes.name,
            speculative=changes.speculative,
            reason=changes.reason,
        )
        at.out.record({"run": made, "parent": parent.run, "seq": int(number), "reason": changes.reason})
        at.out.line(f"run {made} continues {parent.run} after entry {number}", "bold")
        at.out.line(f"  go on with it:             {at.command('resume', made)}")


def replay(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's name, or the beginning of one.")] = "last",
    *,
    common: Common,
) -> None:
    """Go through a run again, offline, and name the first entry that would be different today (exit code 1)."""
    from overwinter.cli.output import Progress
    from overwinter.loop.replay import replay as replay_run

    with workplace(common, read_only=True) as at:
        progress = Progress("entries replayed")
        try:
            report = replay_run(at.store, at.resolve(run).run, progress=progress)
        finally:
            progress.done()
        at.out.record({**dataclasses.asdict(report), "ok": report.ok})
        compared = f"{report.views} views, {report.samples} answers asked for again, {report.calls} calls and gates"
        unasked = f"; {report.read_only_samples} answers only read, their model is not here" * bool(
            report.read_only_samples
        )
        tokens = f"; {report.tokens} tokens by id and log-probability" * bool(report.tokens)
        at.out.line(f"run {report.run}: {report.entries} entries, {compared}{tokens}{unasked}")
        if report.divergence is not None:
            found = report.divergence
            at.out.line(f"DIFFERENT from entry {found.seq} ({found.kind}) on: {found.what}", "bold red")
            raise typer.Exit(1)
        if report.erased_at is not None:
            at.out.line(f"from entry {report.erased_at} on only gates and keys were compared: it was erased", "yellow")
        at.out.line("ok: today's code does the same at every entry", "bold green")


def _setup(settings: Settings, changes: Changes) -> dict[str, Any]:
    from overwinter.cli.setup import model_spec

    if changes.model is not None and changes.policy is not None:
        raise UsageError("--policy and --model both say who acts", "give one of them")
    setup: dict[str, Any] = {}
    if changes.policy is not None:
        setup["model"] = {"kind": "policy", "policy": changes.policy}
    if changes.model is not None:
        setup["model"] = model_spec(changes.model, settings)
    if changes.judge is not None:
        setup["judge"] = model_spec(changes.judge, settings, judge=True)
    return setup
