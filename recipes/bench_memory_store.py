"""What memory's index costs and survives: writes, reads, kills, damaged files, foreign namespaces; beside peers.

    python recipes/bench_memory_store.py --write    # ten minutes on two quiet cores; writes the tables into docs/benchmarks.md
    python recipes/bench_memory_store.py --quick    # a smoke run of a minute: prints, writes nothing

Every measurement is a process of its own on the same disk (`out/` of the repository). Writers take turns, and ratios are formed
within one turn. Besides the wall clock, which a busy machine stretches, seconds of processor are counted.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bench_journal
from bench_journal import PAGE, ROOT, environment, progress, table, write_between

WORK = ROOT / "out" / "bench-memory-store"
WRITERS = {
    "ours": "overwinter, the index",
    "floor": "bare SQLite: a row and an FTS5 row (the floor)",
    "langgraph": "LangGraph, SqliteStore (no text search)",
    "chroma": "Chroma, with given vectors",
    "sync": "overwinter, `Memory.sync` from the journal",
}
_PACKAGES = {"langgraph": "langgraph.store.sqlite", "chroma": "chromadb"}


@dataclass(frozen=True, kw_only=True)
class Scale:
    single: int
    batched: int
    turns: int
    units: int
    kills: int
    damages: int
    reads: int


FULL = Scale(single=300, batched=6000, turns=3, units=100_000, kills=200, damages=600, reads=1_000_000)
QUICK = Scale(single=30, batched=400, turns=2, units=2000, kills=3, damages=9, reads=4000)


def measure(case: str, count: int) -> Any:
    folder = WORK / case.replace(":", "-")
    shutil.rmtree(folder, ignore_errors=True)
    return bench_journal.run_case("bench_memory_store_cases.py", case, folder, count)


def _installed(writer: str) -> bool:
    package = _PACKAGES.get(writer)
    if package is None:
        return True
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def write_table(scale: Scale, batch: int, count: int) -> str:
    names = [name for name in WRITERS if _installed(name) and not (name == "sync" and batch == 1)]
    runs: dict[str, list[Any]] = {name: [] for name in names}
    for turn in range(scale.turns):
        for name in names if turn % 2 == 0 else names[::-1]:
            progress(f"writing {batch} at a time: turn {turn + 1} of {scale.turns}, {name}")
            runs[name].append(measure(f"{name}:{batch}", count))
    rows = []
    for name in names:
        wall = [run["count"] / run["wall_s"] for run in runs[name]]
        cpu = [run["count"] / run["cpu_s"] for run in runs[name]]
        ratios = [mine / floor["count"] * floor["wall_s"] for mine, floor in zip(wall, runs["floor"], strict=True)]
        size = runs[name][0]["bytes"] / count
        rows.append([WRITERS[name], spread(wall), spread(cpu), spread(ratios, ".2f"), f"{size:,.0f}"])
    return table(["store", "per second", "per second of processor", "of the floor's rate", "bytes per unit"], rows)


def read_table(scale: Scale) -> str:
    progress(f"reading at {scale.units:,} units")
    measured = measure("read", scale.units)["ms"]
    names = {
        "lexical": "`lexical`, 4 words, the 200 best",
        "lexical_filtered": "the same of the newer half",
        "document_frequency": "`document_frequency` of 4 words",
        "session_scores": "`session_scores`, whole sessions, the 50 best",
        "neighbours": "`neighbours` of 200 rows",
        "units": "`units`, 200 rows read and checked",
    }
    rows = [[names[name], f"{median:.2f}", f"{high:.2f}"] for name, (median, high) in measured.items()]
    return table([f"at {scale.units:,} units", "ms of processor, median", "95 %"], rows)


def survival_table(scale: Scale) -> str:
    progress("kills")
    kills = measure("kill", scale.kills)
    progress("damage")
    damage = measure("damage", scale.damages)
    progress("isolation")
    isolation = measure("isolation", scale.reads)
    rows = [
        [
            f"kill -9, {kills['rounds']} rounds, {kills['acknowledged']:,} entries acknowledged as derived",
            f"{kills['lost']} lost, {kills['corrupt']} corrupt, {kills['incomplete']} incomplete after the next sync, "
            f"{kills['differs']} differences after a rebuild",
        ]
    ]
    for kind, counted in sorted(damage["outcomes"].items()):
        total = sum(counted.values())
        shown = ", ".join(f"{counted.get(name, 0)} {name}" for name in OUTCOMES)
        rows.append([f"{DAMAGES[kind]}, {total} cases", shown])
    rows.append(
        [
            f"{isolation['reads']:,} random reads over {isolation['namespaces']} namespaces, half of the ids of others",
            f"{isolation['foreign']} foreign units among {isolation['returned']:,} returned",
        ]
    )
    return table(["what was done", "what came of it"], rows)


OUTCOMES = ("harmless", "noticed and rebuilt", "found by check", "wrong until checked", "wrong")
DAMAGES = {
    "flip file": "one bit of the file flipped",
    "flip log": "one bit of its log flipped",
    "cut log": "its log cut",
}


def writing(scale: Scale) -> str:
    return "\n\n".join(
        [
            f"{environment()} Medians of {scale.turns} turns, smallest and largest in brackets.",
            f"**Durable single commits**, {scale.single:,} units of about 350 characters, each on disk before the next:",
            write_table(scale, 1, scale.single),
            f"**Batched**, {scale.batched:,} units, 2,000 to a transaction:",
            write_table(scale, 2000, scale.batched),
        ]
    )


def reading(scale: Scale) -> str:
    return "**Reading**, one process, one thread:\n\n" + read_table(scale)


def surviving(scale: Scale) -> str:
    return "**What it survives**:\n\n" + survival_table(scale)


PARTS = {"writing": writing, "reading": reading, "surviving": surviving}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run: small, and docs/ is left alone")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be repeated")
    flags = parser.parse_args()
    for name in flags.only or PARTS:
        try:
            text = PARTS[name](QUICK if flags.quick else FULL)
        finally:
            shutil.rmtree(WORK, ignore_errors=True)
        print(text, end="\n\n", flush=True)
        if flags.write and not flags.quick:
            mark = f"bench_memory_store {name}"
            write_between(PAGE, f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->", text)


if __name__ == "__main__":
    main()
