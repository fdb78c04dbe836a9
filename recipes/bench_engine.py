"""The engine beside transformers, on one machine, with the same weights: one stream, many requests, shared prefixes, hybrids.

python recipes/bench_engine.py                      # all cases; prints the tables and writes them into docs/benchmarks.md
python recipes/bench_engine.py --cases stream batch # some of them, each into its own place there
python recipes/bench_engine.py --quick              # a smoke run: small shapes, and docs/ is left alone

Weights are random; both sides read the same ones and have to say the same tokens (greedy), which is counted in the tables. Runs
alternate, their order turns from one repetition to the next, and the ratio is taken pair by pair: median (minimum–maximum).
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
from collections.abc import Callable

import torch

from bench_engine_cases import BATCH_SIZES, batch_rows, hybrid_rows, prefix_rows, stream_rows
from bench_journal import ROOT, table, write_between


def stream(quick: bool) -> str:
    sizes = ["tiny"] if quick else ["25M", "100M", "500M"]
    rows = [
        row for size in sizes for dtype in (torch.float32, torch.bfloat16) for row in stream_rows(size, dtype, quick)
    ]
    head = ["shape", "number format", "engine, tokens/s", "transformers eager, tokens/s", "ratio", "same tokens"]
    return "**One stream**, 256 tokens of prompt, then decoding:\n\n" + table(head, rows)


def batch(quick: bool) -> str:
    rows = batch_rows("tiny" if quick else "25M", quick)
    head = ["64 requests, 16 at a time", "tokens/s", "seconds"]
    (short, long), (few, many) = BATCH_SIZES["prompt"], BATCH_SIZES["output"]
    title = f"prompts of {short}–{long}, outputs of {few}–{many} tokens"
    return f"**Many requests of mixed lengths**, 25M, float32, {title}:\n\n" + table(head, rows)


def prefix(quick: bool) -> str:
    rows = prefix_rows("tiny" if quick else "25M", quick)
    head = ["64 sessions, 90 % of each prompt shared", "engine", "each session by itself", "share"]
    return "**Shared prefixes** (counts, not times):\n\n" + table(head, rows)


def hybrid(quick: bool) -> str:
    rows = hybrid_rows(quick)
    head = ["equal parameters, float32", "A", "MMMA", "MMMA / A"]
    return "**Mamba-2 in three layers of four**:\n\n" + table(head, rows)


CASES: dict[str, Callable[[bool], str]] = {"stream": stream, "batch": batch, "prefix": prefix, "hybrid": hybrid}


def machine() -> str:
    threads = torch.get_num_threads()
    return f"{os.cpu_count()} cores, {threads} threads, {platform.machine()}, torch {torch.__version__.split('+')[0]}, transformers eager."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    chosen = parser.parse_args()
    for name in chosen.cases:
        text = f"{CASES[name](chosen.quick)}\n\n{machine()}"
        print(text, "\n", flush=True)
        gc.collect()
        if not chosen.quick:
            begin, end = f"<!-- bench_engine {name}: begin -->", f"<!-- bench_engine {name}: end -->"
            write_between(ROOT / "docs" / "benchmarks.md", begin, end, text)


if __name__ == "__main__":
    main()
