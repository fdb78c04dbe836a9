"""`bench score`, `bench compare`, `bench import`: answers that are there already; and how figures are told, whatever they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from overwinter.cli.flags import Common
from overwinter.cli.output import Output, Progress
from overwinter.cli.workplace import Workplace, workplace
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.bench.answers import Recording
    from overwinter.bench.suite import Suite

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The folder that holds the suites' data; searched below, too."),
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also a report as one page.")]
Draws = Annotated[int, typer.Option("--draws", metavar="NUMBER", min=20, help="Bootstrap draws of each interval.")]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What becomes of the figures."""

    html: Html = None
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Also the answers, as a file (.jsonl or .jsonl.gz).")
    ] = None
    draws: Draws = 1000


@dataclass(frozen=True, kw_only=True)
class Rescoring:
    """Scoring what is not scored yet."""

    suite: Annotated[
        str | None, typer.Option("--suite", metavar="NAME", help="The suite that scores; default: the one it names.")
    ] = None
    data: Data = None
    anew: Annotated[bool, typer.Option("--anew", help="Score again what is scored already.")] = False


def score(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Files of recorded answers, or runs of `bench`.")
    ],
    *,
    rescoring: Rescoring,
    report: Report,
    common: Common,
) -> None:
    """Figures of recorded answers: score, calibration, cost, slices, with intervals."""
    need_figures()
    with workplace(common, read_only=True) if _any_run(sources) else no_store(common) as at:
        say_figures(at, [read_source(at, source, rescoring) for source in sources], report)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A file of recorded answers, or a run of `bench`.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another, with answers to the same questions.")],
    *,
    by: Annotated[
        str, typer.Option("--by", metavar="WHAT", help="score, or brier:SIGNAL (the error of a confidence).")
    ] = "score",
    effect: Annotated[
        float, typer.Option("--effect", metavar="NUMBER", help="The smallest difference that would matter.")
    ] = 0.03,
    rescoring: Rescoring,
    html: Html = None,
    common: Common,
) -> None:
    """Compare two systems question by question: difference, interval, p, and how many questions it would take."""
    need_figures()
    from overwinter.bench.report import compared, summarise
    from overwinter.cli.benching_words import say_comparison

    with workplace(common, read_only=True) if _any_run([first, second]) else no_store(common) as at:
        a, b = (read_source(at, source, rescoring)[0] for source in (first, second))
        found = compared(a, b, by=by, effect=effect)
        at.out.record(found)
        say_comparison(at.out, found)
        if html is not None:
            from overwinter.cli.page.bench import write_bench_page

            write_bench_page(html, [summarise(each, draws=200) for each in (a, b)], [found])
            at.out.line(f"report written to {html}", "dim")


def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="The log of another harness.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Recorded answers (.jsonl or .jsonl.gz).")],
    *,
    form: Annotated[
        str | None, typer.Option("--form", metavar="NAME", help="Its form; default: seen from the file.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="PART", help="Of files with several systems: which one.")
    ] = None,
    common: Common,
) -> None:
    """Turn a log of lm-eval or Inspect into recorded answers."""
    from overwinter.bench.answers import write_answers
    from overwinter.bench.imports import read_log

    found = read_log(source, form=form, only=only)
    write_answers(target, found.header, found.answers)
    out = Output(as_json=common.json)
    out.record(
        {"answers": len(found.answers), "suite": found.header.suite, "model": found.header.model, "to": str(target)}
    )
    out.line(f"{len(found.answers)} answers of {found.header.model or 'an unnamed model'} written to {target}")


import_.__name__ = "import"  # a word of Python, but the right one for the command


# What all commands share


def need_figures() -> None:
    """Raises UsageError where the package for figures is missing: before anybody is asked, not after."""
    from importlib.util import find_spec

    if find_spec("numpy") is None:
        raise UsageError("figures of benchmarks need NumPy", "pip install 'overwinter[bench]'")


def say_figures(at: Workplace, read: Sequence[tuple[Recording, Suite | None]], report: Report) -> None:
    """Figures to the terminal, and to the files that were asked for."""
    from overwinter.bench.answers import write_answers
    from overwinter.bench.report import summarise
    from overwinter.cli.benching_words import say

    made = []
    for found, suite in read:
        progress = Progress(f"intervals of {found.name}")
        summary = summarise(found, draws=report.draws, progress=progress)
        progress.done()
        made.append(summary)
        figures = suite.figures if suite is not None else None
        summary["extra"] = {} if figures is None else dict(figures(found.answers))
        summary["caution"] = suite.caution if suite is not None else ""
    if report.save is not None:
        write_answers(report.save, read[0][0].header, read[0][0].answers)
    if report.html is not None:
        from overwinter.cli.page.bench import write_bench_page

        write_bench_page(report.html, made)
    for summary in made:
        at.out.record(summary)
        say(at.out, summary)
    for written in filter(None, (report.save, report.html)):
        at.out.line(f"written: {written}", "dim")


def with_suite(found: Recording, name: str = "") -> tuple[Recording, Suite | None]:
    """A recording and the suite that it names, where there is such a suite."""
    from overwinter.bench.suite import find

    try:
        return found, find(name or found.header.suite)
    except UsageError:
        return found, None


def _any_run(sources: Sequence[str]) -> bool:
    return any(not _is_file(source) for source in sources)


def _is_file(source: str) -> bool:
    """A run's name never looks like a file of answers."""
    return Path(source).exists() or source.endswith((".jsonl", ".jsonl.gz"))


@contextmanager
def no_store(common: Common) -> Iterator[Workplace]:
    """A workplace for what reads files only: scoring a file must not make a journal."""
    from overwinter.cli.workplace import load_settings
    from overwinter.journal import open_store

    with TemporaryDirectory(prefix="overwinter-") as folder:
        effective, store = load_settings(common), open_store(str(Path(folder) / "none.db"))
        try:
            yield Workplace(common=common, effective=effective, store=store, out=Output(as_json=common.json))
        finally:
            store.close()


def read_source(at: Workplace, source: str, rescoring: Rescoring) -> tuple[Recording, Suite | None]:
    """A file of answers or a run, scored where its suite can."""
    from overwinter.bench.answers import read_answers
    from overwinter.bench.recorded import recording
    from overwinter.bench.rescoring import rescored
    from overwinter.bench.suite import find

    found = read_answers(Path(source)) if _is_file(source) else recording(at.store, at.resolve(source).run)
    named = rescoring.suite or found.header.suite
    found, suite = with_suite(found, named)
    if rescoring.suite and suite is None:
        find(rescoring.suite)
    if suite is not None and (rescoring.anew or any(answer.correct is None for answer in found.answers)):
        found = rescored(found, suite, rescoring.data, anew=rescoring.anew)
    return found, suite
