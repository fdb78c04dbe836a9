"""The page of `overwinter credit --html`: the curve of the chance, and the entries that moved it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from overwinter.cli.output import visible
from overwinter.cli.page.charts import Chart

if TYPE_CHECKING:
    from overwinter.learn.appraisal import Appraisal
    from overwinter.learn.counterfactual import WhatIf

ROWS = 12


def write_credit_page(
    path: Path, run: str, entries: Sequence[int], read: Appraisal, found: Sequence[WhatIf] = ()
) -> None:
    """Write the page; a file that was there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(credit_page(run, entries, read, found), "utf-8")
    partial.replace(path)


def credit_page(run: str, entries: Sequence[int], read: Appraisal, found: Sequence[WhatIf] = ()) -> str:
    """The whole page."""
    css = (files("overwinter.cli.page") / "page.css").read_text("utf-8")
    moments, trace = read.moments, read.trace
    mistakes = read.mistakes(ROWS)
    curve = Chart(
        title="Chance of success",
        now=f"{moments[0].before:.0%} at the start, {moments[-1].after:.0%} at the end",
        points=[*((entries[row], m.before) for row, m in enumerate(moments)), (entries[-1], moments[-1].after)],
        last_seq=entries[-1],
        top=1.0,
        top_words="100 %",
        marks=[entries[row] for row in mistakes[:3]],
        style="b",
    )
    title = escape(visible(f"Credit of run {run}"))
    intro = (
        f"{escape(trace.world)}, seed {trace.seed}, score {trace.score:.1f}. Marks stand at the three choices that cost most. "
        "The chance is the judging model's; credits sum to the outcome less the chance at the start."
    )
    moved = sorted(range(len(moments)), key=lambda row: -abs(moments[row].credit))[:ROWS]
    moves = [
        (entries[row], m.look.action, f"{m.before:.0%}", f"{m.after:.0%}", f"{m.credit:+.1%}")
        for row, m in ((row, moments[row]) for row in sorted(moved))
    ]
    tables = [
        _blamed(entries, read, mistakes),
        _table(
            "What moved the chance most, choice and luck together", ("entry", "did", "before", "after", "credit"), moves
        ),
    ]
    if found:
        ends = [
            (entries[w.at], moments[w.at].look.action, f"{w.actual:.1f}", w.instead, f"{w.other:.1f}") for w in found
        ]
        tables.append(_table("Played on from there", ("entry", "did", "score", "instead", "score then"), ends))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{title}</title><style>{css}{STYLE}</style></head><body><main class="page"><h1>{title}</h1><p>{intro}</p>'
        f"{curve.html()}{''.join(tables)}</main></body></html>\n"
    )


def _blamed(entries: Sequence[int], read: Appraisal, rows: Sequence[int]) -> str:
    """In points where a head expects them, else in chances by hindsight."""
    moments, title = [(entries[row], read.moments[row]) for row in rows], "Choices that cost most"
    if read.is_advised:
        advised = [
            (entry, m.look.action, m.advice.action, f"{m.advice.points:+.1f}", f"{m.advice.sure:.0%}")
            for entry, m in moments
            if m.advice is not None
        ]
        return _table(title, ("entry", "did", "instead", "expected gain", "chance that it is better"), advised)
    by_hindsight = [
        (entry, m.look.action, f"{m.choice:+.1%}", m.instead, f"{m.choice + m.gain:+.1%}") for entry, m in moments
    ]
    return _table(title, ("entry", "did", "worth", "instead", "would be worth"), by_hindsight)


STYLE = "table.credit{border-collapse:collapse;width:100%}table.credit td,table.credit th{padding:.25em .8em .25em 0;text-align:left}"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(visible(str(cell)))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<h2>{escape(title)}</h2><table class="credit"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
