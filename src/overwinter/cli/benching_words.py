"""Benchmarks in words, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from overwinter.cli.output import Output

SLICES = 12
"""Rows of a slice that a terminal shows; the page and --json have all."""


def say(out: Output, summary: Mapping[str, Any]) -> None:
    """One recording: the line to report, then calibration, cost and slices."""
    header = summary["header"]
    who = " · ".join(filter(None, (header.get("suite"), header.get("model"), header.get("prompt"))))
    out.line(f"{summary['name']}{f': {who}' if who else ''}", "bold")
    out.line(headline(summary))
    if summary["modal"] is not None:
        out.line(f"majority of each question's samples: {interval(summary['modal'])}")
    if summary.get("value") is not None:
        out.line(f"score on the suite's own scale: {interval(summary['value'], '.2f')}")
    for name, value in summary.get("extra", {}).items():
        out.line(f"{name.replace('_', ' ')}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    _calibration(out, summary["calibration"])
    _votes(out, summary["budget"]["votes"])
    _dialogues(out, summary["dialogues"])
    _slices(out, summary["slices"])
    if summary.get("caution"):
        out.line(summary["caution"], "yellow")


def headline(summary: Mapping[str, Any]) -> str:
    """Score, interval, questions, repeats, what could not be read, cost."""
    found = summary["score"]
    if found is None:
        return "one question is scored: no figure"
    status, cost = summary["status"], summary["cost"]["mean"]
    wrong = ", ".join(f"{count} {name}" for name, count in status.items() if name != "ok")
    parts = [
        f"score {interval(found)}",
        f"{found['questions']} questions",
        f"{found['samples'] / found['questions']:.3g} samples each" if found["samples"] > found["questions"] else "",
        wrong,
        f"{summary['unscored']} not scored" if summary["unscored"] else "",
        f"{cost['tokens_in'] + cost['tokens_out']:.0f} tokens an answer"
        if cost["tokens_in"] + cost["tokens_out"]
        else "",
        f"{cost['tool_calls']:.1f} calls" if cost["tool_calls"] else "",
        f"{cost['seconds']:.2g} s" if cost["seconds"] else "",
    ]
    return ", ".join(filter(None, parts))


def interval(made: Mapping[str, Any], form: str = ".3f") -> str:
    """ "0.712 (0.68 to 0.74)"."""
    return f"{made['value']:{form}} ({made['low']:{form}} to {made['high']:{form}})"


def _calibration(out: Output, signals: Mapping[str, Mapping[str, Any]]) -> None:
    rows = []
    for name, made in signals.items():
        if "note" in made:
            rows.append([name, str(made["samples"]), "", "", "", "", "", made["note"]])
            continue
        metrics = made.get("metrics", {})
        null = made.get("null_ece")
        verdict = "" if null is None else ("off" if null["distinguishable"] else "as a calibrated one")
        after = made.get("recalibrated")
        rows.append(
            [
                name,
                str(made["samples"]),
                figure(metrics.get("ece")),
                "" if null is None else f"{null['p95']:.3f}",
                figure(metrics.get("brier")),
                figure(metrics.get("auroc")) if metrics else _plain(made.get("auroc")),
                figure(metrics.get("aurc")),
                verdict + ("" if after is None else f"; held out {after['metrics']['ece']['value']:.3f}"),
            ]
        )
    if rows:
        columns = ["CONFIDENCE", "N", "ECE", "CHANCE", "BRIER", "AUROC", "AURC", "CALIBRATED?"]
        out.table(columns, rows, right=("N", "ECE", "CHANCE", "BRIER", "AUROC", "AURC"))


def figure(made: Mapping[str, Any] | None) -> str:
    """A metric's value, "-" where it is not defined."""
    return "-" if made is None else _plain(made["value"])


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _votes(out: Output, votes: list[Mapping[str, Any]]) -> None:
    if votes:
        rows = [[str(row["samples"]), interval(row), f"{row['tokens']:.0f}"] for row in votes]
        out.table(["SAMPLES", "MAJORITY", "TOKENS A QUESTION"], rows, right=("SAMPLES",))


def _dialogues(out: Output, found: Mapping[str, Any] | None) -> None:
    if found is None:
        return
    tau = "" if found["tau"] is None else f", confidence rises with the turns by tau {found['tau']:.2f}"
    out.line(f"dialogues: {found['length']:.1f} turns, InfoECE {found['info_ece']:.3f}{tau}")


def _slices(out: Output, slices: Mapping[str, Mapping[str, Any]]) -> None:
    rows = []
    for name, values in slices.items():
        shown = list(values.items())[:SLICES]
        rows += [
            [f"{name}={value}", str(made["questions"]), interval(made) if "value" in made else "too few"]
            for value, made in shown
            if len(values) > 1
        ]
        if len(values) > SLICES:
            rows.append([f"{name}: {len(values) - SLICES} more", "", ""])
    if rows:
        out.table(["SLICE", "N", "SCORE"], rows, right=("N",))


def say_comparison(out: Output, found: Mapping[str, Any]) -> None:
    """Two systems."""
    a, b = found["means"]
    out.line(f"{found['first']} {a:.3f}   {found['second']} {b:.3f}   by {found['by']}", "bold")
    sure = (
        "the interval holds 0: no difference is shown"
        if found["low"] <= 0 <= found["high"]
        else "a difference is shown"
    )
    bounds = f"{found['low']:+.3f} to {found['high']:+.3f}"
    out.line(f"difference {found['difference']:+.3f} ({bounds}), p = {found['p']:.2g} ({found['test']}); {sure}")
    correlation = "" if found["correlation"] is None else f", correlation {found['correlation']:.2f}"
    out.line(
        f"{found['questions']} questions in common: {found['wins']} better, {found['losses']} worse, {found['ties']} alike{correlation}"
    )
    if found["only_first"] or found["only_second"]:
        out.line(
            f"left out: {found['only_first']} that only the first answered, {found['only_second']} only the second",
            "yellow",
        )
    out.line(f"to show a difference of {found['effect']:g} with 80 % power: {found['needed']} questions")
