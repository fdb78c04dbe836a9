"""The decade test: ten simulated years, 200 events a day, facts that change, promises that fall due years later, kills at random.

    python recipes/decade.py --out out/decade            # under an hour on two cores; goes on where it was stopped
    python recipes/decade.py --out out/decade --write    # and puts table and curves into docs/
    python recipes/decade.py --out out/quick --years 1 --kills 3

The process that lives it is killed with SIGKILL at random moments and started again. At the end: nothing acknowledged is lost, the
chain verifies, the index is what a new derivation gives, the working context never passed 8,000 tokens, and by year: recall of
what fell due, latency, disk.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_journal import PAGE, ROOT, table, write_between
from decade_life import NAMESPACE, WINDOW_TOKENS, Clock, open_journal
from decade_world import EVENTS
from overwinter.journal import verify
from overwinter.memory.memory import Memory
from overwinter.memory.notebook import Notebook
from overwinter.memory.unit import Filter
from overwinter.think.confidence.binomial import wilson

BEGIN, END = "<!-- decade: begin -->", "<!-- decade: end -->"
KINDS = {"promise": "promises", "current": "current value", "as_of": "value back then", "left": "things left"}


def live(folder: Path, arguments: argparse.Namespace) -> None:
    """Start, kill, start again, until a process comes to the end of the decade."""
    rng = random.Random(time.time_ns())
    state = folder / "lives.json"
    lives = json.loads(state.read_text()) if state.exists() else {"kills": 0, "seconds": 0.0, "done": False}
    command = [sys.executable, str(Path(__file__).with_name("decade_life.py")), str(folder)]
    command += ["--seed", str(arguments.seed), "--years", str(arguments.years), "--per-day", str(arguments.per_day)]
    days = 365 * arguments.years
    while not lives["done"]:
        began = time.monotonic()
        process = subprocess.Popen(command)
        due = began + rng.expovariate(1 / arguments.kill_every) if lives["kills"] < arguments.kills else float("inf")
        while process.poll() is None and time.monotonic() < due:
            time.sleep(0.5)
            print(f"\rday {_days_told(folder):,} of {days:,}, killed {lives['kills']} times ", end="", file=sys.stderr)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            lives["kills"] += 1
        code = process.wait()
        lives["seconds"] += time.monotonic() - began
        if code not in {0, -signal.SIGKILL}:
            raise SystemExit(f"the life ended with code {code}")
        lives["done"] = code == 0
        state.write_text(json.dumps(lives))
    print(file=sys.stderr)


def _days_told(folder: Path) -> int:
    path = folder / "acknowledged"
    return len(path.read_bytes().split()) if path.exists() else 0


def after(folder: Path, days: int) -> dict[str, Any]:
    """What is left of ten years: everything that was acknowledged, in a chain that verifies, under an index that fits it."""
    store = open_journal(folder, Clock())
    run = Notebook(store, NAMESPACE).run
    told: dict[str, int] = defaultdict(int)
    for entry in store.read(run, kinds=["observed"]):
        told[entry.body["data"]["session"]] += 1
    acknowledged = {int(line) for line in (folder / "acknowledged").read_text().split()}
    lost = [day for day in acknowledged if told.get(f"day-{day:05d}") != EVENTS]
    memory = Memory.open(store, NAMESPACE)
    memory.sync()
    problems = memory.index.check()
    found = {
        "lost": len(lost),
        "days": len(told),
        "events": sum(told.values()),
        "verified": verify(store, run).ok,
        "index_problems": problems,
        "units": memory.index.count(),
        "claims": len(memory.index.claims(limit=10**7)),
        "flagged": sum(1 for _ in memory.index.scan(Filter(exclude_flags=frozenset()), limit=1)),
    }
    memory.close()
    store.close()
    if len(told) != days:
        raise SystemExit(f"{len(told)} days were told, {days} should have been")
    return found


def by_year(rows: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    years: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        years[row["day"] // 365 + 1].append(row)
    return dict(sorted(years.items()))


def percentile(values: Sequence[float], share: float) -> float:
    order = sorted(values)
    return order[min(int(share * len(order)), len(order) - 1)]


def report(folder: Path, end: dict[str, Any], lives: dict[str, Any]) -> str:
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    sizes = {row["day"] // 365 + 1: row for row in map(json.loads, (folder / "years.jsonl").read_text().splitlines())}
    body = []
    for year, asked in by_year(rows).items():
        right = sum(row["found"] for row in asked)
        low, high = wilson(right, len(asked))
        kinds = []
        for kind in KINDS:
            some = [row["found"] for row in asked if row["kind"] == kind]
            kinds.append(f"{100 * sum(some) / len(some):.1f}" if some else "")
        waits = [row["cpu_ms"] for row in asked]
        size = sizes.get(year)
        body.append(
            [
                str(year),
                str(len(asked)),
                f"{100 * right / len(asked):.1f} ({100 * low:.1f} to {100 * high:.1f})",
                *kinds,
                f"{statistics.median(waits):.1f}",
                f"{percentile(waits, 0.95):.1f}",
                f"{percentile([row['wall_ms'] for row in asked], 0.95):.0f}",
                str(max(row["tokens"] for row in asked)),
                f"{size['bytes'] / 1e6:.0f}" if size else "",
            ]
        )
    head = [
        "year",
        "asked",
        "recall % (95 %)",
        *KINDS.values(),
        "CPU ms p50",
        "CPU ms p95",
        "wall ms p95",
        "context tokens, most",
        "MB",
    ]
    most, problems = max(row["tokens"] for row in rows), end["index_problems"]
    words = [
        f"{end['events']:,} events, {end['units']:,} units, {end['claims']:,} claims, {len(rows):,} questions; "
        f"the process was killed {lives['kills']} times in {lives['seconds'] / 60:.0f} minutes. "
        f"Acknowledged days lost: {end['lost']}. The chain {'verifies' if end['verified'] else 'DOES NOT verify'}. "
        f"The index {'fits the journal' if not problems else 'has problems: ' + '; '.join(problems[:3])}. "
        f"Largest working context: {most:,} of {WINDOW_TOKENS:,} tokens. {trend(rows)}"
    ]
    return table(head, body) + "\n\n" + "\n".join(words)


def trend(rows: Sequence[dict[str, Any]]) -> str:
    """Slope of recall over the years with its 95 % interval, by least squares over the questions."""
    years = [row["day"] / 365 for row in rows]
    right = [float(row["found"]) for row in rows]
    mean_x, mean_y = statistics.fmean(years), statistics.fmean(right)
    spread = sum((x - mean_x) ** 2 for x in years)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(years, right, strict=True)) / spread
    residual = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in zip(years, right, strict=True))
    error = (residual / (len(rows) - 2) / spread) ** 0.5
    low, high = 100 * (slope - 1.96 * error), 100 * (slope + 1.96 * error)
    return f"Trend of recall: {100 * slope:+.2f} points a year ({low:+.2f} to {high:+.2f})."


def draw(folder: Path, path: Path) -> None:
    """Recall, latency and disk by year, as SVG. Needs matplotlib (`pip install --group bench`)."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "overwinter"
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    years = by_year(rows)
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3))
    for kind, label in KINDS.items():
        shares = [[row["found"] for row in asked if row["kind"] == kind] for asked in years.values()]
        axes[0].plot(list(years), [100 * sum(s) / len(s) if s else None for s in shares], marker=".", label=label)
    axes[0].axhline(95, color="grey", lw=0.8, ls="--")
    axes[0].set(title="recall of what fell due, %", ylim=(80, 100.5), xlabel="year")
    axes[0].legend(fontsize=7)
    for share, label in ((0.5, "median"), (0.95, "95 %")):
        axes[1].plot(
            list(years),
            [percentile([r["cpu_ms"] for r in asked], share) for asked in years.values()],
            marker=".",
            label=label,
        )
    axes[1].set(title="search, CPU ms", xlabel="year", ylim=(0, None))
    axes[1].legend(fontsize=7)
    sizes = [json.loads(line) for line in (folder / "years.jsonl").read_text().splitlines()]
    axes[2].plot([row["day"] // 365 + 1 for row in sizes], [row["bytes"] / 1e6 for row in sizes], marker=".")
    axes[2].set(title="disk, MB", xlabel="year", ylim=(0, None))
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "decade")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--per-day", type=int, default=2, help="questions a day, at most")
    parser.add_argument("--kills", type=int, default=60, help="how often the process is killed, at most")
    parser.add_argument("--kill-every", type=float, default=25.0, help="mean seconds between kills")
    parser.add_argument("--fresh", action="store_true", help="start anew instead of going on")
    parser.add_argument("--write", action="store_true", help="put table and curves into docs/")
    arguments = parser.parse_args()
    if arguments.fresh:
        shutil.rmtree(arguments.out, ignore_errors=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    live(arguments.out, arguments)
    lives = json.loads((arguments.out / "lives.json").read_text())
    text = report(arguments.out, after(arguments.out, 365 * arguments.years), lives)
    print(text)
    if arguments.write:
        write_between(PAGE, BEGIN, END, text)
        draw(arguments.out, ROOT / "docs" / "img" / "decade.svg")


if __name__ == "__main__":
    main()
