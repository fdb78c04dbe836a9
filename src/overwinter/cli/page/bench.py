"""The page of `overwinter bench … --html`: figures with their intervals, reliability, risk and coverage, budgets, slices."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import overwinter
from overwinter.cli.output import visible
from overwinter.cli.page import bench_charts as charts

Summary = Mapping[str, Any]
SLICES = 40
DIAGRAMS = 4
METRICS = (
    ("ece", "ECE"),
    ("brier", "Brier"),
    ("auroc", "AUROC"),
    ("aurc", "AURC"),
    ("coverage_at_risk_5", "answered at 5 % errors"),
    ("signed_gap", "too sure by"),
)
STATUS = {"unparsed": "no answer found", "limit": "cut off", "refused": "refused", "error": "no text came"}


def write_bench_page(path: Path, summaries: Sequence[Summary], comparisons: Sequence[Summary] = ()) -> None:
    """Write the page; a file that was there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(bench_page(summaries, comparisons), "utf-8")
    partial.replace(path)


def bench_page(summaries: Sequence[Summary], comparisons: Sequence[Summary] = ()) -> str:
    """The whole page."""
    folder = files("overwinter.cli.page")
    css = (folder / "page.css").read_text("utf-8") + (folder / "bench.css").read_text("utf-8")
    names = [summary["name"] for summary in summaries]
    title = names[0] if len(names) == 1 else f"{len(names)} recordings"
    parts = [
        *(_comparison(each) for each in comparisons),
        _overview(summaries) if len(summaries) > 1 else "",
        *(_recording(summary, alone=len(summaries) == 1) for summary in summaries),
        _reading(),
    ]
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<title>{_safe(title)}</title><style>{css}</style></head><body><div class="page">'
        f'<div class="brand">overwinter bench</div><h1>{_safe(title)}</h1>'
        f"{''.join(parts)}<footer><p>overwinter {overwinter.__version__}, {made}. Intervals are 95 %, over questions.</p></footer>"
        "</div></body></html>"
    )


def _safe(text: object) -> str:
    return escape(visible(str(text)))


def _overview(summaries: Sequence[Summary]) -> str:
    rows = [(s["name"], f"{s['score']['questions']}" if s["score"] else "", s["score"]) for s in summaries]
    low, high = _bounds([made for _, _, made in rows if made])
    costs = [
        (s["name"], s["cost"]["mean"]["tokens_in"] + s["cost"]["mean"]["tokens_out"], s["score"])
        for s in summaries
        if s["score"]
    ]
    drawn = [charts.price(costs), *charts.together([(s["name"], s["budget"]["caps"]) for s in summaries])]
    shown = "".join(drawn)
    more = f'<section class="drawings">{shown}</section>' if shown else ""
    return f"<section><h2>Score</h2>{charts.forest(rows, low=low, high=high)}</section>{more}"


def _bounds(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The axis of a forest: 0..1, closer where all lie together."""
    if not rows:
        return 0.0, 1.0
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    return max(0.0, low - 0.05 - 0.1 * (high - low)), min(1.0, high + 0.05 + 0.1 * (high - low))


def _comparison(found: Summary) -> str:
    a, b = found["means"]
    reach = 1.15 * max(abs(found["low"]), abs(found["high"]), found["effect"], 1e-6)
    shown = "a difference is shown" if not found["low"] <= 0 <= found["high"] else "no difference is shown"
    rows = [(f"{found['second']} − {found['first']}", str(found["questions"]), {**found, "value": found["difference"]})]
    correlation = "" if found["correlation"] is None else f" Correlation of the two {found['correlation']:.2f}."
    left = found["only_first"] + found["only_second"]
    counts = f"{found['wins']} questions better, {found['losses']} worse, {found['ties']} alike."
    notes = [
        f"{found['first']} {a:.3f}, {found['second']} {b:.3f}: {shown}.",
        f"p = {found['p']:.2g} ({found['test']}); {counts}{correlation}",
        f"To show a difference of {found['effect']:g} with 80 % power takes {found['needed']} questions.",
        f"Left out: {left} questions that only one has answered." if left else "",
    ]
    words = "".join(f'<p class="note">{_safe(note)}</p>' for note in notes if note)
    bars = charts.forest(rows, low=-reach, high=reach, zero=True)
    return f"<section><h2>Compared question by question, by {_safe(found['by'])}</h2>{bars}{words}</section>"


def _recording(summary: Summary, *, alone: bool) -> str:
    header = summary["header"]
    about = " · ".join(
        _safe(header[name]) for name in ("suite", "model", "revision", "prompt", "run") if header.get(name)
    )
    title = "" if alone else f'<h2 class="big">{_safe(summary["name"])}</h2>'
    caution = f'<p class="waits">{_safe(summary["caution"])}</p>' if summary.get("caution") else ""
    return "".join(
        [
            f'{title}<p class="meta">{about}</p>{caution}',
            _tiles(summary),
            _extra(summary),
            _diagrams(summary, alone),
            _signals(summary["calibration"]),
            _slices(summary["slices"]),
        ]
    )


def _tiles(summary: Summary) -> str:
    score, cost = summary["score"], summary["cost"]["mean"]
    tiles = []
    if score is not None:
        tiles.append((f"{score['value']:.3f}", f"score, {score['low']:.3f} to {score['high']:.3f}"))
        tiles.append(
            (
                f"{score['questions']:,}",
                "questions"
                + (
                    f", {score['samples'] / score['questions']:.3g} samples each"
                    if score["samples"] > score["questions"]
                    else ""
                ),
            )
        )
    modal = summary["modal"]
    if modal is not None:
        tiles.append((f"{modal['value']:.3f}", f"majority, {modal['low']:.3f} to {modal['high']:.3f}"))
    value = summary.get("value")
    if value is not None:
        tiles.append((f"{value['value']:.2f}", f"own scale, {value['low']:.2f} to {value['high']:.2f}"))
    tokens = cost["tokens_in"] + cost["tokens_out"]
    for amount, words in (
        (tokens, "tokens an answer"),
        (cost["tool_calls"], "calls an answer"),
        (cost["seconds"], "seconds an answer"),
    ):
        if amount:
            tiles.append((charts.amount(amount), words))
    if summary["cost"]["tokens_per_right"]:
        tiles.append((charts.amount(summary["cost"]["tokens_per_right"]), "tokens a right answer"))
    tiles += [(f"{count:,}", STATUS[name]) for name, count in summary["status"].items() if name != "ok"]
    if summary["unscored"]:
        tiles.append((f"{summary['unscored']:,}", "not scored"))
    return f'<section class="tiles">{"".join(f"<div><b>{_safe(a)}</b><span>{_safe(b)}</span></div>" for a, b in tiles)}</section>'


def _extra(summary: Summary) -> str:
    rows = summary.get("extra") or {}
    if not rows:
        return ""
    cells = "".join(
        f"<tr><th>{_safe(name.replace('_', ' '))}</th><td>{_safe(f'{value:.3f}' if isinstance(value, float) else value)}</td></tr>"
        for name, value in rows.items()
    )
    return f'<section><h2>Of this suite</h2><div class="wide"><table class="figures">{cells}</table></div></section>'


def _diagrams(summary: Summary, alone: bool) -> str:
    signals = {name: made for name, made in summary["calibration"].items() if made.get("probability")}
    drawn = [charts.reliability(name, made) for name, made in list(signals.items())[:DIAGRAMS]]
    drawn.append(charts.risk_coverage(signals))
    drawn.append(charts.votes(summary["budget"]["votes"]))
    drawn += charts.caps(summary["budget"]["caps"]) if alone else []
    if summary["dialogues"] is not None:
        drawn.append(charts.over_turns(summary["dialogues"]))
    shown = [each for each in drawn if each]
    return f'<section class="drawings">{"".join(shown)}</section>' if shown else ""


def _signals(calibration: Mapping[str, Summary]) -> str:
    if not calibration:
        return ""
    head = "".join(f"<th>{title}</th>" for _, title in METRICS)
    rows = []
    for name, made in calibration.items():
        if "note" in made:
            rows.append(
                f'<tr><th>{_safe(name)}</th><td>{made["samples"]}</td><td colspan="{len(METRICS) + 2}">{_safe(made["note"])}</td></tr>'
            )
            continue
        found = made.get("metrics", {"auroc": {"value": made.get("auroc"), "interval": None}})
        cells = "".join(f"<td>{_cell(found.get(key))}</td>" for key, _ in METRICS)
        null = made.get("null_ece")
        after = made.get("recalibrated")
        chance = "no probability" if null is None else f"{null['p95']:.3f}"
        again = (
            "–"
            if after is None
            else f"{after['metrics']['ece']['value']:.3f} / {after['metrics']['brier']['value']:.3f}"
        )
        missing = f"<small>{made['missing']} without</small>" if made["missing"] else ""
        rows.append(
            f"<tr><th>{_safe(name)}</th><td>{made['samples']:,}{missing}</td>{cells}<td>{chance}</td><td>{again}</td></tr>"
        )
    return (
        f'<section><h2>Confidences</h2><div class="wide"><table class="figures"><tr><th>signal</th><th>answers</th>{head}'
        f"<th>ECE of a calibrated one</th><th>recalibrated, held out: ECE / Brier</th></tr>{''.join(rows)}</table></div></section>"
    )


def _cell(made: Mapping[str, Any] | None) -> str:
    if made is None or made["value"] is None:
        return "–"
    interval = made.get("interval")
    return f"{made['value']:.3f}" + (f"<small>{interval[0]:.3f} to {interval[1]:.3f}</small>" if interval else "")


def _slices(slices: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for name, values in slices.items():
        if len(values) < 2:
            continue
        rows = [
            (value, str(made["questions"]), made if "value" in made else None)
            for value, made in list(values.items())[:SLICES]
        ]
        low, high = _bounds([made for _, _, made in rows if made])
        rest = f'<p class="note">{len(values) - SLICES} more.</p>' if len(values) > SLICES else ""
        parts.append(f"<h3>{_safe(name)}</h3>{charts.forest(rows, low=low, high=high)}{rest}")
    if not parts:
        return ""
    note = "Of many slices some lie apart by chance: fix the one that matters before looking."
    return f'<section><h2>Slices</h2>{"".join(parts)}<p class="note">{note}</p></section>'


READING = (
    "Score: mean over samples of a question first, then over questions; Wilson's interval for one answer of 0 or 1 each, else Student's t.",
    "ECE: mean gap between confidence and share right, ten bins of equal width. Below what a calibrated confidence shows it says nothing.",
    "Brier: mean squared error of the confidence, lower is better.",
    "AUROC: chance that a right answer has more confidence than a wrong one; 0.5 is none.",
    "AURC: mean error over all coverages, lower is better. Too sure by: mean confidence less share right.",
    "Recalibrated, held out: by a calibrator fitted on other questions, five folds. It holds for this model, prompt and suite only.",
)


def _reading() -> str:
    lines = "".join(f"<p>{_safe(line)}</p>" for line in READING)
    return f"<section><details><summary>How to read this page</summary>{lines}</details></section>"
