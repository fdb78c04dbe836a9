"""`ls`, `log` and `why`: what runs there are, what is in a journal, and why an entry is there. They write nothing."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import Common, RunName
from overwinter.cli.workplace import Workplace, workplace
from overwinter.errors import StoreError, UsageError

if TYPE_CHECKING:
    from overwinter.cli.output import Output
    from overwinter.journal import Entry, Report, RunInfo
    from overwinter.loop.why import Explanation, Reason

SHOWN_RUNS = 20
SHOWN_PROBLEMS = 40


@dataclass(frozen=True, kw_only=True)
class Check:
    """Options of `log` that check instead of list."""

    verify: Annotated[
        bool,
        typer.Option("--verify", help="Recompute every hash; name the changed entry and byte. Damage exits with 1."),
    ] = False
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect", metavar="HASH", help="With --verify: a head hash noted earlier, which must be in the chain."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Options of `log` that choose what is listed and how."""

    kind: Annotated[
        list[str] | None, typer.Option("--kind", metavar="KIND", help="Only entries of this kind, e.g. effect.receipt.")
    ] = None
    start: Annotated[int, typer.Option("--from", metavar="ENTRY", min=0, help="Begin with this entry.")] = 0
    full: Annotated[bool, typer.Option("--full", help="Texts whole instead of one line each.")] = False
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the run as one self-contained page.")
    ] = None


def ls(
    *,
    every: Annotated[bool, typer.Option("--all", help=f"All runs, not the newest {SHOWN_RUNS}.")] = False,
    branches: Annotated[bool, typer.Option("--branches", help="The branches of searches too.")] = False,
    common: Common,
) -> None:
    """List the runs, newest first."""
    from overwinter.amounts import amount_text, duration_text
    from overwinter.cli.pauses import status_words

    with workplace(common, read_only=True) as at:
        found = at.store.runs()
        infos = [info for info in found if branches or not info.is_branch]
        rows = []
        for info in infos if every else infos[:SHOWN_RUNS]:
            record = run_record(at, info)
            at.out.record(record)
            spent = [
                (r, line["spent"]) for own in record["budget"].values() for r, line in own.items() if line["spent"]
            ]
            age = duration_text(max(0.0, at.store.now_us() - info.head_time_us) / 1e6)
            shared = "" if info.run in info.budgets else "shared: "
            words = shared + "; ".join(amount_text(*each) for each in dict(spent).items())
            step = "?" if record["step"] is None else str(record["step"])
            rows.append([info.run, status_words(at.standing(info)), step, words, age, info.title])
        at.out.table(["RUN", "STATUS", "STEPS", "SPENT", "AGE", "TITLE"], rows, right=["STEPS"])
        if len(infos) > len(rows):
            at.out.line(f"{len(infos) - len(rows)} older runs: `{at.command('ls', '--all')}`", "dim")
        if len(found) > len(infos):
            hidden = f"{len(found) - len(infos)} branches of searches"
            at.out.line(f"{hidden}: `{at.command('ls', '--branches')}`, or `{at.command('why', 'RUN')}`", "dim")
        if not infos:
            at.out.line(f"no run yet; start one with `{at.command('run')}`")


def log(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's name, or the beginning of one.")] = "last",
    *,
    listing: Listing,
    check: Check,
    common: Common,
) -> None:
    """Print a run's journal, one line per entry; or check it; or write it as a page."""
    if check.expect is not None and not check.verify:
        raise UsageError("--expect is checked by --verify", "add --verify")
    if check.verify:
        _verify(common, run, check.expect)
        return
    with workplace(common, read_only=True) as at:
        info = at.resolve(run)
        if listing.html is not None:
            _write_page(at, info, listing.html)
            return
        for entry in at.store.read(info.run, listing.start, kinds=_known_kinds(listing.kind)):
            at.out.record(entry.as_json())
            if not common.json:
                _print_entry(at, entry, full=listing.full)


def why(
    run: RunName,
    entry: Annotated[
        int | None, typer.Argument(metavar="[ENTRY]", help="Default: its end, its wait, or its last decision.")
    ] = None,
    *,
    common: Common,
) -> None:
    """Name the entries behind a decision, back to what the model was shown."""
    from overwinter.loop.why import why as explain

    with workplace(common, read_only=True) as at:
        explanation = explain(at.store, at.resolve(run).run, entry)
        at.out.record(_as_record(at, explanation))
        _print_explanation(at, explanation)


def run_record(at: Workplace, info: RunInfo) -> dict[str, Any]:
    """A run as a JSON record: its row, the step it is at, and the budgets it draws on."""
    from overwinter.loop.session import load_state

    try:
        step: int | None = load_state(at.store, info.run).step
    except StoreError:
        step = None  # damaged: `log --verify` says where
    row = dataclasses.asdict(info)
    del row["budgets"], row["expires_us"]
    budgets = {
        name: {resource: dataclasses.asdict(line) for resource, line in at.store.budget(name).items()}
        for name in info.budgets
    }
    return {**row, "step": step, "budget": budgets}


def clock_text(time_us: int) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.localtime(time_us / 1e6))


def _known_kinds(kinds: list[str] | None) -> list[str] | None:
    from overwinter.journal import ERASED
    from overwinter.journal.entry import BODIES

    unknown = [kind for kind in kinds or () if kind not in BODIES and kind != ERASED]
    if unknown:
        raise UsageError(f"there is no kind of entry {unknown[0]!r}", f"use one of: {', '.join(BODIES)}")
    return kinds


def _print_entry(at: Workplace, entry: Entry, *, full: bool) -> None:
    from overwinter.cli.live import entry_line, payload_text

    at.out.parts(entry_line(at.store, entry, clock=clock_text(entry.time_us)))
    if full:
        for name in ("text", "reasoning", "summary"):
            payload = entry.body.get(name)
            if isinstance(payload, dict):
                for line in payload_text(at.store, payload).splitlines():
                    at.out.line(f"        {line}")


def _write_page(at: Workplace, info: RunInfo, path: Path) -> None:
    from overwinter.cli.output import Progress
    from overwinter.cli.page import write_page

    progress = Progress("entries read")
    try:
        size = write_page(at.store, info, path, progress=progress)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error}", "name another file with --html") from error
    finally:
        progress.done()
    at.out.record({"run": info.run, "html": str(path), "bytes": size})
    at.out.line(f"wrote {path} ({size / 1024:.0f} KiB, self-contained)")


def _verify(common: Common, name: str, expect: str | None) -> None:
    from overwinter.cli.output import Output, note
    from overwinter.journal import Problem, Report, verify

    out = Output(as_json=common.json)
    run = name
    try:
        with workplace(common, read_only=True) as at:
            run = _resolve_in_damage(at, name)
            if not common.json and at.store.info(run).head_seq > 20_000:
                note("checking; a journal of this size takes a while")
            report = verify(at.store, run, expect_head=expect)
    except StoreError as error:
        # So damaged that not even the list of runs, or of entries, can be read to its end.
        report = Report(
            run=run, entries=0, blobs=0, collected=0, head="", problems=(Problem(seq=None, what=error.problem),)
        )
    _print_report(out, report)
    if not report.ok:
        raise typer.Exit(1)


def _resolve_in_damage(at: Workplace, name: str) -> str:
    try:
        return at.resolve(name).run
    except StoreError:
        return name


def _print_report(out: Output, report: Report) -> None:
    problems = [dataclasses.asdict(problem) for problem in report.problems]
    out.record({**dataclasses.asdict(report), "problems": problems, "ok": report.ok})
    collected = f", {report.collected} of them collected" if report.collected else ""
    erased = f" ({report.erased} of them erased)" if report.erased else ""
    out.line(f"run {report.run}: {report.entries} entries{erased}, {report.blobs} blobs{collected}")
    out.line(f"head {report.head or 'unknown'}")
    for problem in report.problems[:SHOWN_PROBLEMS]:
        where = "database" if problem.seq is None else f"entry {problem.seq}"
        out.line(f"DAMAGED  {where}: {problem.what}", "bold red")
    if len(report.problems) > SHOWN_PROBLEMS:
        out.line(f"and {len(report.problems) - SHOWN_PROBLEMS} more; --json lists all")
    if report.ok:
        out.line("ok: every hash fits, no entry is missing, changed or moved", "bold green")
        out.line("keep the head elsewhere: --verify --expect HEAD also notices a journal whose end was cut", "dim")


def _as_record(at: Workplace, explanation: Explanation) -> dict[str, Any]:
    from overwinter.cli.branches import search_record
    from overwinter.cli.live import describe_safely
    from overwinter.loop.why import hits_of

    def reasons(rows: Iterable[Reason]) -> Iterator[dict[str, Any]]:
        for row in rows:
            text = describe_safely(at.store, row.entry)
            yield {"seq": row.entry.seq, "kind": row.entry.kind, "how": row.how, "text": text, "depth": row.depth}

    return {
        "run": explanation.entry.run,
        "seq": explanation.entry.seq,
        "kind": explanation.entry.kind,
        "reasons": list(reasons(explanation.reasons)),
        "shown": list(reasons(explanation.shown)),
        "shown_ranges": [list(each) for each in explanation.shown_ranges],
        "hidden": explanation.hidden,
        "recalled": [{"seq": row.entry.seq, "hits": hits_of(row.entry)} for row in explanation.recalled],
        "searches": [search_record(each) for each in explanation.searches],
    }


def _print_explanation(at: Workplace, explanation: Explanation) -> None:
    from overwinter.cli.branches import print_search
    from overwinter.cli.live import describe_safely
    from overwinter.loop.why import hit_words, hits_of

    entry = explanation.entry
    at.out.parts([(f"#{entry.seq} {entry.kind}  ", "bold"), (describe_safely(at.store, entry), "")])
    for reason in explanation.reasons:
        indent = "  " * reason.depth
        at.out.parts(
            [
                (f"{indent}← {reason.how} ", "dim"),
                (f"#{reason.entry.seq} {reason.entry.kind}  ", "cyan"),
                (describe_safely(at.store, reason.entry), ""),
            ]
        )
    for search in explanation.searches:
        print_search(at, search)
    if not explanation.shown_ranges:
        at.out.line("no model was asked on the way to this entry", "dim")
        return
    ranges = ", ".join(f"{first}–{last}" for first, last in explanation.shown_ranges)
    at.out.line(f"shown to the model: entries {ranges}; not shown: {explanation.hidden}; the latest of them:")
    for seen in explanation.shown:
        at.out.parts(
            [(f"    #{seen.entry.seq} {seen.entry.kind:18} ", "dim"), (describe_safely(at.store, seen.entry), "")]
        )
    if explanation.recalled:
        at.out.line("from memory, in that view:")
    for row in explanation.recalled:
        for hit in hits_of(row.entry):
            at.out.parts([(f"    #{row.entry.seq} {row.how:18} ", "dim"), (hit_words(hit), "")])
