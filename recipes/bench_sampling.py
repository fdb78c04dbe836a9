"""What choosing the next token costs, for a batch of 16 over 32,000 ids, one thread.

python recipes/bench_sampling.py          # prints the table and writes it into docs/sampling.md
"""

from __future__ import annotations

import time
from typing import Any

import torch

from bench_journal import ROOT, spread, table, write_between
from overwinter.engine.sampling import SamplerState, SamplingParams, choose

BEGIN, END = "<!-- bench_sampling: begin -->", "<!-- bench_sampling: end -->"
ROWS, VOCABULARY, TURNS = 16, 32_000, 15
CASES: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "top-k 50": {"temperature": 1.0, "top_k": 50},
    "min-p 0.05": {"temperature": 1.0, "min_p": 0.05},
    "temperature 1 alone": {"temperature": 1.0},
    "top-p 0.9 alone": {"temperature": 1.0, "top_p": 0.9},
    "top-k 50, top-p 0.9, repetition penalty": {
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 0.9,
        "repetition_penalty": 1.2,
    },
}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logits_BV = torch.randn(ROWS, VOCABULARY) * 3
    states = {
        name: [SamplerState(SamplingParams(seed=row, **case), VOCABULARY, [1, 2, 3]) for row in range(ROWS)]
        for name, case in CASES.items()
    }
    times_ms: dict[str, list[float]] = {name: [] for name in CASES}
    for turn in range(TURNS + 1):
        for name in CASES:
            began = time.perf_counter()
            choose(logits_BV, states[name])
            if turn:  # the first is a warm-up
                times_ms[name].append((time.perf_counter() - began) * 1e3)
    rows = [[name, spread(values, ".1f")] for name, values in times_ms.items()]
    text = table([f"{ROWS} rows, {VOCABULARY:,} ids, random normal logits of spread 3", "ms"], rows)
    print(text)
    write_between(ROOT / "docs" / "sampling.md", BEGIN, END, text)


if __name__ == "__main__":
    main()
