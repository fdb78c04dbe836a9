"""`overwinter memory refit` and `vectors`: what retrieval is tuned by, and which vectors answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from overwinter.cli.flags import Common
from overwinter.cli.remembering import remembering
from overwinter.errors import UsageError


def refit(
    uses: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines: a question and what it turned out to need.")
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and keep nothing.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what was fitted before, then fit.")] = False,
    common: Common,
) -> None:
    """Fit ranking and abstention to what questions of this namespace turned out to need; never below plain word search."""
    import dataclasses

    from overwinter.memory.retrieve import refit as fitting
    from overwinter.memory.retrieve.uses import read_uses

    with remembering(common) as (at, memory):
        searcher = memory.searcher()
        if reset and not dry_run:
            fitting.forget(memory.index)
        read = read_uses(memory, uses)
        fit = fitting.refit_weights(searcher, read)
        calibration, why_not = None, ""
        try:
            calibration = fitting.refit_calibration(searcher, read)
        except UsageError as error:
            why_not = str(error.problem)
        if not dry_run:
            weights = fit.weights if fit.reason in {"fitted", "words alone"} else None
            fitting.keep(memory.index, weights=weights, calibration=calibration)
        at.out.record(
            {
                "uses": len(read),
                "weights": fit.reason,
                "recall_before": fit.before,
                "recall_after": fit.after,
                "recall_words": fit.words,
                "fitted": dataclasses.asdict(fit.weights),
                "threshold": None if calibration is None else calibration.threshold,
                "kept": not dry_run,
            }
        )
        at.out.line(f"{len(read)} uses; weights: {fit.reason}")
        if fit.reason != "too few uses":
            at.out.line(
                f"mean recall at 5, 10 and 20 on a third held out: {fit.before:.3f} before, {fit.after:.3f} now, "
                f"{fit.words:.3f} with words alone"
            )
        at.out.line(
            f"abstains below {calibration.threshold:.2f} of relevance"
            if calibration
            else f"abstention as before: {why_not}"
        )
        if dry_run:
            at.out.line("nothing was kept; leave out --dry-run to keep it")


def vectors(
    *,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Delete all vectors but those in use, once they are complete.")
    ] = False,
    common: Common,
) -> None:
    """Say which embedder's vectors answer, how many units wait for one, and drop older generations."""
    with remembering(common) as (at, memory):
        generations = memory.generations()
        if generations is None:
            raise UsageError(
                "no embedder is configured", "set embedder in [memory]; docs/memory.md says which there are"
            )
        current = generations.refresh()
        dropped = generations.drop_old() if drop_old else []
        found: dict[str, Any] = {
            "wanted": generations.embedder.name,
            "in_use": None if current is None else current[0].name,
            "waiting": len(memory.index.without_vector(generations.embedder.name, memory.index.count())),
            "stored": {name: count for name, (_, count) in memory.index.vector_models().items()},
            "dropped": dropped,
        }
        at.out.record(found)
        at.out.line(f"wanted   {found['wanted']}")
        at.out.line(f"in use   {found['in_use'] or 'none yet'}")
        at.out.line(f"waiting  {found['waiting']} units have no vector of the wanted one")
        for name, count in found["stored"].items():
            at.out.line(f"stored   {count} of {name}")
        for name in dropped:
            at.out.line(f"dropped  {name}")
        if drop_old and not dropped and len(found["stored"]) > 1:
            at.out.line("nothing was dropped: the wanted vectors are not complete yet", "yellow")
