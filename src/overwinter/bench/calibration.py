"""Does the confidence that runs showed hold? Their statements at chosen points, against how they ended.

    report(store, ["greenhouse-1", "greenhouse-2", …])["points"]["start"]

A run is one cluster: it says many things about its one outcome, so that intervals draw whole runs. Every run weighs the same, but at
`irreversible`, where each such act counts once. The null band draws one number u a run, and lets a statement c of it come true where
u < c: each statement then is calibrated by construction and those of a run share their luck. An observed error below the band's 95th
percentile cannot be told from calibrated; an error above it is not what a calibrated run shows.

Points: `start` (first statement), `turns` (at ten places of the way through), `irreversible` (before acts that cannot be taken back), `end`
(last statement before the outcome was known). Runs without a checked outcome are counted and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overwinter.errors import UsageError
from overwinter.journal import Store
from overwinter.think.confidence import metrics
from overwinter.think.confidence.calibrators import Scope, fit
from overwinter.think.confidence.record import CALL, RUN, Record, records
from overwinter.think.confidence.stored import Stored

Floats = NDArray[np.float64]
POINTS = ("start", "turns", "irreversible", "end")
PLACES = 10
"""Of the way through a run at which `turns` takes a statement: information level by turn / length (arXiv 2601.02179)."""
REPORTED = ("accuracy", "ece", "ace", "signed_gap", "brier", "log_loss", "auroc", "aurc", "coverage_at_risk_5")
MIN_RUNS = 2
MIN_JUDGED = 20
"""Runs below which nothing is confirmed or refuted: the band is then so wide that everything is within."""
CURVE_POINTS = 50
BAND = 95.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What one run said.

    Attributes:
        outcome: 1.0 ended verified, 0.0 failed, None open or unchecked.
        chances: as shown, of each turn that stated one; `raw` as the model stated them. `calibrated`: all of them were.
        irreversible: which of these turns led to acts that cannot be taken back.
        calls: tool, probability that the call is sound, and whether it went well.
        modalities: kinds of all that came in.
    """

    run: str
    outcome: float | None
    chances: tuple[float, ...]
    calibrated: bool
    irreversible: tuple[int, ...]
    by: str = ""
    refused: str = ""
    raw: tuple[float, ...] = ()
    calls: tuple[tuple[str, float, bool], ...] = ()
    modalities: frozenset[str] = frozenset()


def told(store: Store, run: str, is_consequential: Callable[[str, Any], bool] | None = None) -> Told:
    """Read one run.

    Args:
        is_consequential: (tool, arguments) → whether the call cannot be taken back, for runs whose journal does not say.
    """
    found: list[Record] = []
    chances: list[float] = []
    irreversible: list[int] = []
    for record in records(store, run, tokens=False):
        chance = record.chance()
        if chance is None:
            continue
        if any(_weighty(deed, is_consequential) for deed in record.deeds):
            irreversible.append(len(chances))
        chances.append(chance)
        found.append(record)
    last = found[-1] if found else None
    return Told(
        run=run,
        outcome=last.outcome if last is not None else _outcome(store, run),
        chances=tuple(chances),
        calibrated=bool(found) and all(RUN in record.by for record in found),
        irreversible=tuple(irreversible),
        by=last.by.get(RUN, "") if last is not None else "",
        refused=last.refused if last is not None else "",
        raw=tuple(record.signals.get("stated", chance) for record, chance in zip(found, chances, strict=True)),
        calls=tuple(_calls(found)),
        modalities=frozenset(kind for record in found for kind in record.modalities),
    )


def _weighty(deed: Any, is_consequential: Callable[[str, Any], bool] | None) -> bool:
    if deed.consequential is not None or is_consequential is None:
        return bool(deed.consequential) or deed.effect == "irreversible"
    return is_consequential(deed.tool, deed.arguments)


def _outcome(store: Store, run: str) -> float | None:
    return next((record.outcome for record in records(store, run, tokens=False)), None)


def _calls(found: Sequence[Record]) -> Iterable[tuple[str, float, bool]]:
    """(tool, probability that the call is sound, whether it went well) of calls with both."""
    for record in found:
        sure = record.calibrated.get(CALL)
        for deed in record.deeds:
            if sure is not None and deed.ok is not None:
                yield deed.tool, sure, deed.ok


def report(
    store: Store,
    runs: Sequence[str],
    *,
    points: Sequence[str] = POINTS,
    draws: int = metrics.BOOTSTRAP_DRAWS,
    is_consequential: Callable[[str, Any], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """What the stated confidence of runs is worth, as plain JSON.

    Raises:
        UsageError: fewer than two runs with an outcome and a statement, or an unknown point.
    """
    read = []
    for number, run in enumerate(runs, 1):
        read.append(told(store, run, is_consequential))
        if progress is not None:
            progress(number, len(runs))
    return summarise(read, points=points, draws=draws)


def summarise(
    read: Sequence[Told], *, points: Sequence[str] = POINTS, draws: int = metrics.BOOTSTRAP_DRAWS
) -> dict[str, Any]:
    """`report` of runs that were read."""
    unknown = sorted(set(points) - set(POINTS))
    if unknown:
        raise UsageError(f"there is no point {unknown[0]!r}", f"use: {', '.join(POINTS)}")
    used = [each for each in read if each.outcome is not None and each.chances]
    if len(used) < MIN_RUNS:
        silent = sum(not each.chances for each in read)
        raise UsageError(
            f"{len(used)} of {len(read)} runs have both a checked outcome and a stated chance"
            f" ({silent} state none, {sum(each.outcome is None for each in read)} have no outcome)",
            "name runs that ended verified or failed, of a model that states its chances (the bundled one does)",
        )
    found = {point: _at(used, point, draws) for point in points}
    return {
        "runs": len(used),
        "left_out": {
            "no outcome": sum(each.outcome is None for each in read),
            "no statement": sum(each.outcome is not None and not each.chances for each in read),
        },
        "well": float(np.mean([each.outcome for each in used])),
        "calibrated": sum(each.calibrated for each in used),
        "by": sorted({each.by for each in used if each.by}),
        "refused": sorted({each.refused for each in used if each.refused}),
        "points": found,
        "confirmed": confirmed(found),
        "tools": _by_tool(used),
        "modalities": _by_modality(used),
    }


def confirmed(found: Mapping[str, Mapping[str, Any]]) -> bool | None:
    """Whether no point's error lies above its band; None where no point could be judged."""
    judged = [row["null"]["within"] for row in found.values() if row.get("runs", 0) >= MIN_JUDGED]
    return all(judged) if judged else None


def _at(used: Sequence[Told], point: str, draws: int) -> dict[str, Any]:
    rows = [_statements(each, point) for each in used]
    said = np.array([chance for row in rows for chance in row])
    if len(said) < MIN_RUNS:
        return {"statements": len(said), "note": "too few statements"}
    right = np.array([each.outcome for each, row in zip(used, rows, strict=True) for _ in row], dtype=np.float64)
    runs = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    found = metrics.summarise(said, right, groups=runs, metrics=REPORTED, draws=draws)
    observed, null = metrics.ece(said, right), cluster_null(said, runs)
    band = float(np.percentile(null, BAND))
    curve = metrics.risk_coverage(said, right)
    places = np.unique(np.linspace(0, len(curve) - 1, CURVE_POINTS).astype(int))
    # The band of `summarise` takes statements as independent; those of a run are not.
    found.pop("null_ece")
    return {
        "statements": len(said),
        "runs": len(set(runs.tolist())),
        "stated": float(said.mean()),
        **found,
        "null": {"ece_95": band, "ece_mean": float(null.mean()), "within": bool(observed <= band)},
        "risk_coverage": [[float((place + 1) / len(curve)), float(curve[place])] for place in places],
    }


def _statements(each: Told, point: str) -> list[float]:
    chances = each.chances
    match point:
        case "start":
            return [chances[0]]
        case "end":
            return [chances[-1]]
        case "irreversible":
            return [chances[turn] for turn in each.irreversible]
        case _:
            return [chances[round(place * (len(chances) - 1) / (PLACES - 1))] for place in range(PLACES)]


def cluster_null(said: Floats, runs: NDArray[np.int64], draws: int = metrics.NULL_DRAWS, seed: int = 0) -> Floats:
    """[draws] calibration errors that calibrated statements of these runs would show: see the module's first lines."""
    rng = np.random.default_rng(seed)
    place = metrics.equal_width(said)
    width = int(place.max()) + 1
    mean = np.bincount(place, weights=said, minlength=width)
    found = np.empty(draws)
    for draw in range(draws):
        luck = rng.random(int(runs.max()) + 1)[runs]
        came = np.bincount(place, weights=luck < said, minlength=width)
        found[draw] = np.abs(came - mean).sum() / len(said)
    return found


def _by_tool(used: Sequence[Told]) -> dict[str, Any]:
    """Of calls with a calibrated probability: how many, how sure, how many went well."""
    rows: dict[str, list[tuple[float, bool]]] = {}
    for each in used:
        for tool, sure, ok in each.calls:
            rows.setdefault(tool, []).append((sure, ok))
    return {
        tool: {
            "calls": len(found),
            "stated": float(np.mean([sure for sure, _ in found])),
            "went_well": float(np.mean([ok for _, ok in found])),
        }
        for tool, found in rows.items()
    }


def _by_modality(used: Sequence[Told]) -> dict[str, Any]:
    """Runs by the kinds of what came in: their number, mean last statement, and share that ended well."""
    rows: dict[str, list[Told]] = {}
    for each in used:
        rows.setdefault("+".join(sorted(each.modalities)), []).append(each)
    return {
        kinds: {
            "runs": len(found),
            "stated": float(np.mean([each.chances[-1] for each in found])),
            "well": float(np.mean([each.outcome for each in found])),
        }
        for kinds, found in rows.items()
    }


def fitted(read: Sequence[Told], scope: Scope, method: str = "platt") -> Stored:
    """A calibrator of the chance that a run ends well, from what runs stated at ten places of their way.

    The labels are runs, not statements: their number is what the calibrator carries, and what is asked of it.

    Raises:
        UsageError: too few runs for the method, or all ended alike.
    """
    used = [each for each in read if each.outcome is not None and each.raw]
    ends = [each.outcome or 0.0 for each in used]
    fit(method, [each.raw[0] for each in used], ends, scope)  # refuses too few runs, and runs that all ended alike
    said, right = [], []
    for each in used:
        for place in range(PLACES):
            said.append(each.raw[round(place * (len(each.raw) - 1) / (PLACES - 1))])
            right.append(each.outcome or 0.0)
    made = fit(method, said, right, scope)
    made = replace(made, labels=len(used), base_rate=float(np.mean(ends)))
    return Stored(of=RUN, signal="stated", calibrator=made)
