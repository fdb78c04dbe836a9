"""How long the command line takes to start, beside an empty Python and the import of the libraries it is made of.

python recipes/bench_startup.py           # alternating runs; prints the table and writes it into docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from bench_journal import ROOT, spread, table, write_between

BEGIN, END = "<!-- bench_startup: begin -->", "<!-- bench_startup: end -->"
CASES = {
    "python, doing nothing": ["-c", "pass"],
    "python, importing typer": ["-c", "import typer"],
    "overwinter --help": ["-m", "overwinter", "--help"],
    "overwinter --version": ["-m", "overwinter", "--version"],
    "overwinter ls (empty folder)": ["-m", "overwinter", "ls", "--store", "no-such-journal.db"],
}


def seconds(arguments: list[str]) -> float:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=False, capture_output=True, env=environment)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=15)
    turns = parser.parse_args().turns
    for arguments in CASES.values():
        seconds(arguments)  # compiles what has to be compiled
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for turn in range(turns):
        for name in list(CASES) if turn % 2 == 0 else list(CASES)[::-1]:
            times[name].append(seconds(CASES[name]))
    rows = [[name, spread(values, ".3f")] for name, values in times.items()]
    text = f"Wall time of whole processes, {turns} alternating turns.\n\n" + table(["command", "seconds"], rows)
    print(text)
    write_between(Path(ROOT / "docs" / "benchmarks.md"), BEGIN, END, text)


if __name__ == "__main__":
    main()
