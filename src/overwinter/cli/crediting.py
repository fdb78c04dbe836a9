"""`credit`: which entries of a run earned its outcome, and which cost it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import Common, RunName
from overwinter.cli.output import note
from overwinter.cli.workplace import Workplace, workplace
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.journal import RunInfo
    from overwinter.learn.appraisal import Appraisal, Appraiser, Trace
    from overwinter.learn.counterfactual import WhatIf


@dataclass(frozen=True, kw_only=True)
class Judging:
    """Who judges, and what is shown."""

    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FOLDER", help="The player's model that judges; default: the bundled one."),
    ] = None
    top: Annotated[int, typer.Option("--top", metavar="NUMBER", min=1, help="How many entries of each kind.")] = 5
    what_if: Annotated[
        int,
        typer.Option(
            "--what-if",
            metavar="NUMBER",
            min=0,
            help="Put the world back at so many of the costliest entries, do the other thing, and play on.",
        ),
    ] = 0
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the curve of the chance.")
    ] = None


def credit(run: RunName, *, judging: Judging, common: Common) -> None:
    """Which entries of a run earned its outcome, and which cost it."""
    from overwinter.learn.advantage import MODEL
    from overwinter.learn.appraisal import played, retrace
    from overwinter.loop.session import load_state

    with workplace(common, read_only=True) as at:
        info = at.resolve(run)
        done = played(at.store, info.run)
        trace = retrace(done.world, done.seed, done.actions)
        judge = open_judge(judging.model, trace.world)
        model = load_state(at.store, info.run).setup.get("model", {})
        if model.get("kind") != "player":
            note("the judge knows its own play best: of another player's run its chances are rough")
        read = judge.read(trace, model["policy"] if model.get("kind") == "policy" else MODEL)
        found = []
        if judging.what_if:
            note(f"playing on from {min(judging.what_if, len(read.moments))} entries, twice each")
            worst = read.mistakes(judging.what_if)
            found = _played_on(model, trace, [(row, read.moments[row].better) for row in worst], judge)
        _tell(at, info, done.entries, read, found, judging)


def _played_on(
    model: Mapping[str, Any], trace: Trace, questions: list[tuple[int, str]], judge: Appraiser
) -> list[WhatIf]:
    """By the script that made the run, where one did; else by the model that judges."""
    from overwinter.learn.counterfactual import scripted_what_if, what_if
    from overwinter.worlds import open_policy

    if model.get("kind") == "policy":
        return scripted_what_if(trace, questions, lambda: open_policy(trace.world, model["policy"]))
    return what_if(trace, questions, judge.choose)


def open_judge(model: str | None, world: str) -> Appraiser:
    """The model that judges: a folder, or the bundled one of the world.

    Raises:
        UsageError: there is none.
    """
    from overwinter.learn.appraisal import Appraiser
    from overwinter.worlds.player import BUNDLED, is_player, player_folder

    folder = player_folder(model or f"{BUNDLED}:{world.partition(':')[0]}")
    if not is_player(folder):
        raise UsageError(f"there is no model that knows {world}", "name a player's folder with --model, or train one")
    return Appraiser(folder)


def _tell(
    at: Workplace, info: RunInfo, entries: Sequence[int], read: Appraisal, found: Sequence[WhatIf], judging: Judging
) -> None:
    trace, moments = read.trace, read.moments
    for row, moment in enumerate(moments):
        at.out.record(moment_record(entries[row], moment))
    for each in found:
        at.out.record({"what_if": entries[each.at], "instead": each.instead, "gain": each.gain, **_ends(each)})
    at.out.line(
        f"run {info.run}: {_outcome_words(trace)}; chance of success at its start {moments[0].before:.0%}", "bold"
    )
    best = sorted(range(len(moments)), key=lambda row: -moments[row].credit)[: judging.top]
    worst = sorted(range(len(moments)), key=lambda row: moments[row].credit)[: judging.top]
    _table(at, "What raised the chance most", entries, read, best)
    _table(at, "What lowered it most (choice and luck together)", entries, read, worst)
    _blame(at, entries, read, read.mistakes(judging.top))
    if found:
        at.out.line("\nWhat would have come of it, played on to the end both ways", "bold")
        at.out.table(
            ["entry", "did", "score", "instead", "score then"],
            [
                [str(entries[w.at]), moments[w.at].look.action, f"{w.actual:.1f}", w.instead, f"{w.other:.1f}"]
                for w in found
            ],
            right=["entry", "score", "score then"],
        )
    if judging.html is not None:
        from overwinter.cli.page.credit import write_credit_page

        write_credit_page(judging.html, info.run, entries, read, found)
        at.out.line(f"\nwrote {judging.html}")


def _blame(at: Workplace, entries: Sequence[int], read: Appraisal, rows: Sequence[int]) -> None:
    """The mistakes, in points where a head expects them, else in chances by hindsight."""
    at.out.line("\nChoices that cost most, whatever luck followed", "bold")
    moments = [(row, read.moments[row]) for row in rows]
    if read.is_advised:
        at.out.table(
            ["entry", "did", "instead", "expected gain", "chance that it is better"],
            [
                [str(entries[row]), m.look.action, m.advice.action, f"{m.advice.points:+.1f}", f"{m.advice.sure:.0%}"]
                for row, m in moments
                if m.advice is not None
            ],
            right=["entry", "expected gain", "chance that it is better"],
        )
        return
    at.out.table(
        ["entry", "did", "worth", "instead", "would be worth"],
        [
            [str(entries[row]), m.look.action, f"{m.choice:+.1%}", m.instead, f"{m.choice + m.gain:+.1%}"]
            for row, m in moments
        ],
        right=["entry", "worth", "would be worth"],
    )


def _table(at: Workplace, title: str, entries: Sequence[int], read: Appraisal, rows: Sequence[int]) -> None:
    at.out.line(f"\n{title}", "bold")
    at.out.table(
        ["entry", "did", "before", "after", "credit"],
        [
            [str(entries[row]), m.look.action, f"{m.before:.0%}", f"{m.after:.0%}", f"{m.credit:+.1%}"]
            for row, m in ((row, read.moments[row]) for row in rows)
        ],
        right=["entry", "before", "after", "credit"],
    )


def moment_record(entry: int, moment: Any) -> dict[str, Any]:
    """One decision as a JSON record."""
    advice = moment.advice and {
        "action": moment.advice.action,
        "points": round(moment.advice.points, 3),
        "sure": round(moment.advice.sure, 4),
    }
    return {
        "entry": entry,
        "action": moment.look.action,
        "before": round(moment.before, 6),
        "after": round(moment.after, 6),
        "credit": round(moment.credit, 6),
        "choice": round(moment.choice, 6),
        "probability": round(moment.chosen, 6),
        "instead": moment.instead,
        "gain": round(moment.gain, 6),
        "advice": advice,
    }


def _ends(each: WhatIf) -> dict[str, Any]:
    return {"actual": each.actual, "other": each.other}


def _outcome_words(trace: Trace) -> str:
    if not trace.is_over:
        return f"still open, score {trace.score:.1f} so far"
    if trace.success != trace.success:
        return f"cut short, score {trace.score:.1f}"
    return f"{'goal met' if trace.success else 'goal not met'}, score {trace.score:.1f}"
