"""`bench calibration`: whether the confidence that runs showed holds, and calibrators fitted on them."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import Common
from overwinter.cli.output import Progress, note
from overwinter.cli.workplace import ENDED, Workplace, workplace
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.bench.calibration import Told

POINT_WORDS = {
    "start": "at the start",
    "turns": "on the way, at ten places",
    "irreversible": "before acts that cannot be taken back",
    "end": "at the end",
}
METHODS = ("platt", "beta", "temperature", "isotonic", "histogram")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is measured, and what is made of it."""

    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="POINT", help="start, turns, irreversible or end; repeat it. Default: all four."),
    ] = None
    draws: Annotated[
        int, typer.Option("--draws", metavar="NUMBER", min=20, help="Bootstrap draws behind each interval.")
    ] = 1000
    fit: Annotated[
        Path | None,
        typer.Option(
            "--fit", metavar="FILE", help="Fit a calibrator on these runs, and write it; measure it on others."
        ),
    ] = None
    method: Annotated[str, typer.Option("--method", metavar="NAME", help=f"Of --fit: {', '.join(METHODS)}.")] = "platt"


def calibration(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUNS...", help="Names, beginnings of one, or patterns as 'winter-*'.")
    ],
    *,
    wanted: Wanted,
    common: Common,
) -> None:
    """Whether the confidence that runs showed is confirmed by how they ended."""
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error}; calibration is measured with NumPy", "pip install 'overwinter[bench]'") from error
    from overwinter.bench.calibration import POINTS, summarise, told

    with workplace(common, read_only=True) as at:
        names = _named(at, runs)
        progress = Progress("runs read")
        read = []
        for number, name in enumerate(names, 1):
            read.append(told(at.store, name, _consequential_in(at, name)))
            progress(number, len(names))
        progress.done()
        if wanted.fit is not None:
            _fit(at, names, read, wanted.fit, wanted.method)
        found = summarise(read, points=tuple(wanted.at or POINTS), draws=wanted.draws)
        at.out.record(found)
        _tell(at, found)


def _named(at: Workplace, words: Sequence[str]) -> list[str]:
    """Runs by name or pattern, each once; of a pattern only those that have ended."""
    names: dict[str, None] = {}
    for word in words:
        if any(mark in word for mark in "*?["):
            found = [
                info.run for info in at.store.runs() if fnmatch.fnmatchcase(info.run, word) and info.status in ENDED
            ]
            if not found:
                raise UsageError(f"no ended run is called {word!r}", f"see what there is with `{at.command('ls')}`")
            names.update(dict.fromkeys(sorted(found)))
        else:
            names[at.resolve(word).run] = None
    return list(names)


def _consequential_in(at: Workplace, run: str) -> Any:
    """The world's own word for which acts cannot be taken back, for journals that were written before they said so."""
    from overwinter.journal import ERASED

    first = next(iter(at.store.read(run, 0, 1)), None)
    name = "" if first is None or first.kind == ERASED else first.body.get("setup", {}).get("world", {}).get("name", "")
    if not name:
        return None
    from overwinter.worlds import open_world

    try:
        ask = getattr(open_world(name), "consequential", None)
    except UsageError:
        return None  # a world of a package that is not installed here
    return None if ask is None else lambda tool, arguments: tool == "act" and bool(ask(arguments.get("action", "")))


def _fit(at: Workplace, names: Sequence[str], read: Sequence[Told], path: Path, method: str) -> None:
    from overwinter.bench.calibration import fitted
    from overwinter.loop.confidence import common_scope
    from overwinter.think.confidence.stored import save

    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}", f"use: {', '.join(METHODS)}")
    made = fitted(read, common_scope(at.store, names), method)
    try:
        save(path, [made])
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error}", "name another file with --fit") from error
    note(
        f"wrote {path}: {made.name}. These runs fitted it; only others can confirm it: "
        f"set calibrator = {str(path)!r} in the table [confidence] and run some"
    )


def _tell(at: Workplace, found: Mapping[str, Any]) -> None:
    out = at.out
    left = ", ".join(f"{count} with {why}" for why, count in found["left_out"].items() if count)
    out.line(f"{found['runs']} runs, {found['well']:.1%} ended well" + (f"; left out: {left}" if left else ""), "bold")
    how = "; ".join(found["by"]) if found["by"] else "none: as the model states it"
    out.line(f"calibrator: {how}" + "".join(f"; not applied: {why}" for why in found["refused"]), "dim")
    rows = [_row(POINT_WORDS[point], row) for point, row in found["points"].items()]
    headings = ["stated", "statements", "mean", "ended well", "ECE", "calibrated: below", "Brier", "AUROC", "AURC"]
    out.table(headings, rows, right=headings[1:])
    out.line(
        "brackets: 95 % over runs; a calibrated confidence shows an ECE below its column in 95 of 100 samples", "dim"
    )
    for point, row in found["points"].items():
        if "reliability" in row:
            bins = ", ".join(f"{b['confidence']:.2f}→{b['accuracy']:.2f} ({b['count']})" for b in row["reliability"])
            out.line(f"  {POINT_WORDS[point]}, stated→came true (statements): {bins}", "dim")
    for tool, row in found["tools"].items():
        out.line(
            f"  calls of {tool}: {row['calls']}, sure {row['stated']:.1%}, went well {row['went_well']:.1%}", "dim"
        )
    verdict = found["confirmed"]
    if verdict is None:
        out.line("not judged: with fewer than 20 runs nearly everything lies within the band", "yellow")
    elif verdict:
        out.line("confirmed: at no point can the stated confidence be told from a calibrated one", "bold green")
    else:
        out.line("NOT confirmed: at some point the error is larger than a calibrated confidence shows", "bold red")


def _row(name: str, row: Mapping[str, Any]) -> list[str]:
    if "metrics" not in row:
        return [name, str(row["statements"]), *[row["note"]], *[""] * 6]
    found = row["metrics"]
    return [
        name,
        str(row["statements"]),
        f"{row['stated']:.3f}",
        _span(found["accuracy"]),
        _span(found["ece"]),
        f"{row['null']['ece_95']:.3f}",
        _span(found["brier"]),
        _span(found["auroc"]),
        _span(found["aurc"]),
    ]


def _span(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "–"
    interval = figure["interval"]
    return f"{figure['value']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval is not None else "")
