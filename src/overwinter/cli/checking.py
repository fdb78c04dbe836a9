"""`check`: what a text, or what a run has written, says that cannot both be true."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overwinter.cli.flags import Common
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.cli.output import Output
    from overwinter.think.consistency import Finding, Report
    from overwinter.think.consistency.metrics import Density

FOUND, NOT_ALL_CHECKED = 1, 4
STDIN = "-"
ENOUGH_WORDS = 1000
"""A shorter text has no density worth printing."""


def check(
    what: Annotated[str, typer.Argument(metavar="FILE|RUN", help="A text file, '-' for standard input, or a run.")],
    *,
    kinds: Annotated[
        str | None, typer.Option("--kinds", metavar="NAMES", help="Only these kinds, e.g. age,weekday; see the guide.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="SPEC", help="A model that reads the text too, for what rules cannot see."),
    ] = None,
    common: Common,
) -> None:
    """Find contradictions, with both places quoted; exits with 1 where there are any."""
    from overwinter.cli.output import Output
    from overwinter.think.consistency import chosen_kinds

    wanted = chosen_kinds(None if kinds is None else [name.strip() for name in kinds.split(",") if name.strip()])
    started, out = time.monotonic(), Output(as_json=common.json)
    if what != STDIN and not Path(what).is_file() and not _is_path(what):
        if model is not None:
            raise UsageError("--model reads files, not runs", "write the run's report to a file, or leave --model out")
        _check_run(common, what, wanted, started)
        return
    text = read_text(what)
    report = _by_rules(text, wanted, out)
    if model is not None:
        report = _by_model(common, text, model, report)
    tell(out, what, report, time.monotonic() - started)


def _by_model(common: Common, text: str, spec: str, rules: Report) -> Report:
    """The report of the rules with what a model finds; what failed stands in its problems."""
    from overwinter.cli.output import Output, Progress, note
    from overwinter.cli.setup import model_spec
    from overwinter.cli.workplace import load_settings
    from overwinter.loop.asking import asker, piece_chars
    from overwinter.loop.setup import build_model
    from overwinter.think.consistency.judge import check_by_model, merged

    model = build_model(model_spec(spec, load_settings(common).settings, judge=True), None)
    progress = Progress("questions answered")
    try:
        found, tally = check_by_model(
            text,
            asker(model),
            model=model.name,
            piece_chars=piece_chars(model),
            progress=None if common.json else progress,
        )
    finally:
        progress.done()
        model.close()
    Output(as_json=common.json).record(
        {"type": "model", "name": model.name, "asked": tally.asked, "failed": tally.failed, "quotes": tally.quotes,
         "unverified_quotes": tally.unverified, "unclear": tally.unclear, "pairs_left_out": tally.left_out}
    )  # fmt: skip
    if tally.unverified and not common.json:
        note(
            f"note: {tally.unverified} of {tally.quotes} quotes of the model do not stand in the text and were dropped"
        )
    return merged(rules, found)


def _is_path(what: str) -> bool:
    """Whether the words can only mean a file: runs have no slashes and no endings."""
    return "/" in what or bool(Path(what).suffix)


def _check_run(common: Common, what: str, kinds: Sequence[str], started: float) -> None:
    from overwinter.cli.workplace import workplace
    from overwinter.loop.reported import check_run

    with workplace(common, read_only=True) as at:
        run = at.resolve(what).run
        found = check_run(at.store, run, kinds=kinds)
        if found.drift:
            shares = ", ".join(f"{share:.0%}" for share in found.drift)
            at.out.record({"type": "drift", "goal_words_by_quarter": found.drift})
            at.out.line(f"goal's words in each quarter of what was written: {shares}", "dim")
        at.out.line(f"{found.texts} texts of run {run}", "dim")
        tell(at.out, run, found.report, time.monotonic() - started)


def read_text(what: str) -> str:
    """A file, or standard input, exactly as it stands there: offsets count its characters, line ends as they are.

    Raises:
        UsageError: it cannot be read as UTF-8.
    """
    try:
        raw = sys.stdin.buffer.read() if what == STDIN else Path(what).read_bytes()
        return raw.decode("utf-8")
    except OSError as error:
        raise UsageError(
            f"{what} cannot be read: {error.strerror}", "name a text file, or a run (`overwinter ls`)"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} is not UTF-8 text", "convert it, e.g. `iconv -f latin1 -t utf-8`") from error


def _by_rules(text: str, kinds: Sequence[str], out: Output) -> Report:
    from overwinter.cli.output import Progress
    from overwinter.think.consistency import check_text

    progress = Progress("sentences")
    try:
        return check_text(text, kinds=kinds, progress=None if out.as_json else progress)
    finally:
        progress.done()


def tell(out: Output, what: str, report: Report, seconds: float) -> None:
    """Print the findings and how much was read; exit with 1 for contradictions, 4 where not all could be checked."""
    from overwinter.think.consistency.metrics import density, subtype_count

    for number, finding in enumerate(report.findings, 1):
        out.record({"type": "finding", **finding.as_json()})
        _print_finding(out, number, finding)
    found = density(len(report.findings), report.words) if report.words else None
    figures = None if found is None else {"value": found.value, "low": found.low, "high": found.high}
    out.record(
        {"type": "summary", "what": what, **report.as_json(), "per_10000_words": figures,
         "subtypes": subtype_count(report.findings), "seconds": round(seconds, 3)}
    )  # fmt: skip
    for problem in report.problems:
        out.line(f"{report.status}: {problem}", "yellow")
    if found is not None and report.status != "not checked":
        count = f"{found.errors} contradiction{'s' * (found.errors != 1)}"
        out.line(
            f"{count} in {found.words:,} words{_per_words(found)}; "
            f"{report.claims:,} statements were understood, {len(report.kinds)} kinds looked for, {seconds:.1f} s",
            "dim",
        )
    if report.findings:
        raise typer.Exit(FOUND)
    if report.status != "checked":
        raise typer.Exit(NOT_ALL_CHECKED)


def _per_words(found: Density) -> str:
    """The density, where the text is long enough for one."""
    if found.words < ENOUGH_WORDS:
        return ""
    return f" ({found.value:.2f} per 10,000, 95 % {found.low:.2f}–{found.high:.2f})"


def _print_finding(out: Output, number: int, finding: Finding) -> None:
    out.parts(
        [
            (f"{number}. {finding.kind}", "bold"),
            (f"  {finding.category.value} · {finding.subtype.value}, confidence {finding.confidence:.2f}", "dim"),
        ]
    )
    for quoted in (finding.first, finding.second):
        where = f"{quoted.source}, line {quoted.line}" if quoted.source else f"line {quoted.line}"
        out.line(f"   {where}: “{' '.join(quoted.text.split())}”")
    out.line(f"   → {finding.explanation}")
