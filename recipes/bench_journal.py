"""What the journal costs: durable steps per second, bytes per run, seconds to read a long run; beside LangGraph and DBOS.

    python recipes/bench_journal.py            # about ten minutes; prints the tables and writes them into docs/benchmarks.md
    python recipes/bench_journal.py --quick    # a smoke run of seconds: prints, writes nothing

Every measurement is a process of its own on the same disk (`out/` of the repository). The writers take turns, forwards and
backwards, and ratios are formed within one turn: the machine's mood then hits all of them alike. Figures are medians with the
smallest and largest of the repetitions. Peers that are not installed are left out: `pip install --group bench` brings them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WORK = ROOT / "out" / "bench-journal"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- bench_journal: begin -->", "<!-- bench_journal: end -->"

WRITERS = {
    "overwinter": "overwinter",
    "overwinter_loop": "overwinter, a whole run (view, model, gate, tool; four synced appends)",
    "sqlite_floor": "bare SQLite inserts (the floor)",
    "langgraph": "LangGraph, SqliteSaver",
    "langgraph_delta": "LangGraph, DeltaChannel (beta)",
    "langgraph_small": "LangGraph, no history kept",
    "dbos": "DBOS, as it comes (rollback journal)",
    "dbos_wal": "DBOS on a write-ahead log",
}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured."""

    steps: int
    repetitions: int
    size_steps: tuple[int, ...]
    peer_size_steps: tuple[int, ...]
    long_steps: int


FULL = Scale(
    steps=1000, repetitions=5, size_steps=(2500, 5000, 10_000), peer_size_steps=(100, 200, 400), long_steps=33_334
)
QUICK = Scale(steps=20, repetitions=2, size_steps=(50, 100), peer_size_steps=(10, 20), long_steps=200)


def measure(case: str, steps: int, *, keep: Path | None = None) -> Any:
    """Run one case in a fresh process and an empty folder (or in `keep`, which is left as it is)."""
    folder = keep or WORK / case
    if keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    script = "bench_journal_loop.py" if case.endswith("_loop") else "bench_journal_cases.py"
    measured = run_case(script, case, folder, steps)
    if keep is None:
        shutil.rmtree(folder)
    return measured


def run_case(script: str, case: str, folder: Path, steps: int) -> Any:
    """What a recipe's script says of a case, as its last line of JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(Path(__file__).with_name(script)), case, str(folder), str(steps)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "BENCH_STARTED": str(time.time())}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Median and range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


# Steps per second


def lap_rates(seconds: Sequence[float], steps: int) -> list[float]:
    """Steps per second within each lap."""
    lap = steps / len(seconds)
    return [lap / (end - start) for start, end in zip([0.0, *seconds], seconds, strict=False)]


def step_tables(scale: Scale) -> str:
    writers = [name for name in WRITERS if _installed(name)]
    laps: dict[str, list[list[float]]] = {name: [] for name in writers}
    for turn in range(scale.repetitions):
        for name in writers if turn % 2 == 0 else writers[::-1]:
            progress(f"steps: turn {turn + 1} of {scale.repetitions}, {name}")
            laps[name].append(lap_rates(measure(name, scale.steps), scale.steps))
    rows = []
    for name in writers:
        overall = [len(run) / sum(1 / rate for rate in run) for run in laps[name]]
        last = [run[-1] for run in laps[name]]
        ratios = [ours[-1] / other[-1] for ours, other in zip(laps["overwinter"], laps[name], strict=True)]
        ratio = "1" if name == "overwinter" else spread(ratios, ".2f")
        rows.append([WRITERS[name], spread(overall), spread(last), ratio])
    every = scale.steps // len(laps["overwinter"][0])
    head = ["store", "steps/s, all", f"steps/s, last {every}", f"overwinter is faster by (last {every})"]
    curve_head = ["steps/s up to step", *(f"{every * (i + 1):,}" for i in range(len(laps["overwinter"][0])))]
    curve = [
        [WRITERS[name], *(f"{statistics.median(lap):,.0f}" for lap in zip(*laps[name], strict=True))]
        for name in writers
    ]
    return f"{table(head, rows)}\n\nMedian of each {every} steps:\n\n{table(curve_head, curve)}"


def _installed(writer: str) -> bool:
    if writer.startswith("langgraph"):
        return importlib.util.find_spec("langgraph") is not None
    return not writer.startswith("dbos") or importlib.util.find_spec("dbos") is not None


# Sizes


def size_table(scale: Scale) -> str:
    steps = scale.size_steps
    last, measured = steps[-1], scale.peer_size_steps
    ours = _sizes("overwinter_bytes", steps)
    twin = _sizes("twin_bytes", steps)
    packed = _sizes("twin_zlib_bytes", measured)
    rows = [
        _size_row("overwinter", ours, last, ours[last]),
        _size_row("a checkpoint per write", twin, last, ours[last]),
    ]
    rows.append(_size_row("the same, each compressed", packed, last, ours[last]))
    rows.append(_size_row("one checkpoint per step", _sizes("twin_step_bytes", steps), last, ours[last]))
    if _installed("langgraph"):
        rows.append(_size_row("LangGraph, SqliteSaver", _sizes("langgraph_bytes", measured), last, ours[last]))
    head = ["store", "measured: MB at steps", f"MB at {last:,} steps", "kB per step", "overwinter takes"]
    return table(head, rows)


def _sizes(case: str, steps: Sequence[int]) -> dict[int, int]:
    progress(f"sizes: {case}")
    return {count: measure(case, count) for count in steps}


def _size_row(name: str, sizes: dict[int, int], last: int, ours: int) -> list[str]:
    """Where the last size was not measured, it is continued in a straight line from the last two that were."""
    (before, last_but_one), (count, size) = list(sizes.items())[-2:]
    per_step = (size - last_but_one) / (count - before)
    total = size + (last - count) * per_step
    shown = ", ".join(f"{size / 1e6:,.1f} at {count:,}" for count, size in sizes.items())
    note = "" if last in sizes else " (extrapolated)"
    share = "1" if total == ours else f"1/{total / ours:,.0f}"
    return [name, shown, f"{total / 1e6:,.1f}{note}", f"{per_step / 1e3:,.1f}", share]


# Reading


def resume_table(scale: Scale) -> str:
    folder = WORK / "long"
    shutil.rmtree(folder, ignore_errors=True)
    progress("reading: writing the run")
    size = measure("long_run", scale.long_steps, keep=folder)
    progress("reading")
    runs = [measure("resume", 0, keep=folder) for _ in range(2 * scale.repetitions)]
    entries = runs[0]["entries"]
    rows = [
        [f"open, read the last {runs[0]['tail']}", spread([run["tail_s"] for run in runs], ".3f"), ""],
        [
            f"read all {entries:,} ({size / 1e6:,.0f} MB)",
            spread([run["read_s"] for run in runs], ".2f"),
            spread([run["entries"] / run["read_s"] for run in runs]),
        ],
        ["peak memory of the process, MB", spread([run["peak_mb"] for run in runs]), ""],
    ]
    return table(["in a fresh process", "seconds (or MB)", "entries/s"], rows)


def resume_run_table(scale: Scale) -> str:
    folder = WORK / "long-loop"
    shutil.rmtree(folder, ignore_errors=True)
    progress("resuming: writing the run")
    size = measure("long_loop", 3 * scale.long_steps, keep=folder)
    rows = []
    for with_cache, name in ((1, "with the cached state"), (0, "without it, every entry folded")):
        progress(f"resuming: {name}")
        runs = [measure("resume_loop", with_cache, keep=folder) for _ in range(scale.repetitions)]
        entries = f"{runs[0]['entries']:,} ({size / 1e6:,.0f} MB)"
        seconds, peak = (
            spread([run[key] for run in runs], form) for key, form in (("seconds", ".2f"), ("peak_mb", ".0f"))
        )
        rows.append([name, entries, seconds, peak])
    return table(["resume", "entries", "s from process start to the first new completion", "peak MB"], rows)


def environment() -> str:
    peers = ["langgraph", "langgraph-checkpoint-sqlite", "dbos"]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in peers if _has(name)]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{machine}, SQLite {sqlite3.sqlite_version}; {', '.join(versions) or 'no peers installed'}."


def _has(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def report(scale: Scale) -> str:
    parts = [
        f"{environment()} Medians of {scale.repetitions} turns, smallest and largest in brackets.",
        f"**Durable steps per second**, {scale.steps:,} steps, three synced records each:",
        step_tables(scale),
        "**Size of a run** whose view is always the last 50 kB of text, three durable writes per step:",
        size_table(scale),
        "**Reading a long run**, every hash checked, file in the page cache:",
        resume_table(scale),
        "**Resuming a long run**, in a fresh process, imports included:",
        resume_run_table(scale),
    ]
    return "\n\n".join(parts)


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Put a table into a page, between its two marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run: small, and docs/ is left alone")
    quick = parser.parse_args().quick
    try:
        text = report(QUICK if quick else FULL)
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    print(text)
    if not quick:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
