"""What a Mamba-2 block costs on one CPU thread, and what a hybrid's cache costs per token.

python recipes/bench_mamba.py          # prints the tables and writes them into docs/mamba2.md; transformers is the peer
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench_journal import ROOT, spread, table, write_between
from overwinter.model import Config, MambaConfig, fresh
from overwinter.model.mamba2 import Mamba2

BEGIN, END = "<!-- bench_mamba: begin -->", "<!-- bench_mamba: end -->"
CACHE_BEGIN, CACHE_END = "<!-- bench_mamba cache: begin -->", "<!-- bench_mamba cache: end -->"
WIDTH, LENGTH, TURNS, STEPS = 512, 1024, 7, 20
SIZES: dict[str, Any] = {"n_heads": 16, "head_dim": 64, "d_state": 128}
MODEL_25M: dict[str, Any] = {
    "vocab_size": 32000,
    "d_model": 384,
    "n_layers": 8,
    "n_heads": 6,
    "n_kv_heads": 2,
    "d_head": 64,
    "d_mlp": 1024,
}
MAMBA_25M = MambaConfig(n_heads=12, head_dim=64, d_state=64)


def timed_ms(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1e3


def medians(cases: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Alternating runs; the first of each is a warm-up."""
    times_ms: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(TURNS + 1):
        for name, run in cases.items():
            took = timed_ms(run)
            if turn:
                times_ms[name].append(took)
    return times_ms


def peer(chunk: int) -> Any:
    """The block of transformers without kernels, of the same sizes."""
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    sizes = {"state_size": SIZES["d_state"], "num_heads": SIZES["n_heads"], "head_dim": SIZES["head_dim"]}
    return Mamba2Mixer(Mamba2Config(hidden_size=WIDTH, n_groups=1, chunk_size=chunk, **sizes), 0).eval()


def prefill() -> str:
    x_BLD, chunks = torch.randn(1, LENGTH, WIDTH), (16, 32, 64, 128, 256)
    rows = []
    for name, build in (
        ("this block", lambda chunk: Mamba2(WIDTH, MambaConfig(chunk_size=chunk, **SIZES))),
        ("transformers", peer),
    ):
        cases = {str(chunk): partial(build(chunk), x_BLD) for chunk in chunks}
        rows.append([name, *(spread(values, ".0f") for values in medians(cases).values())])
    return table([f"{LENGTH:,} tokens, ms, by chunk", *map(str, chunks)], rows)


def decode() -> str:
    block = Mamba2(WIDTH, MambaConfig(**SIZES))

    def steps(batch: int, rollback: int) -> Callable[[], None]:
        state, x_BLD = block.new_cache(rollback=rollback), torch.randn(batch, 1, WIDTH)

        def run() -> None:
            for _ in range(STEPS):
                block(x_BLD, cache=state)

        return run

    cases = {"1 row": steps(1, 0), "1 row, rollback=8": steps(1, 8), "16 rows": steps(16, 0)}
    rows = [[name, spread([value / STEPS for value in values], ".2f")] for name, values in medians(cases).items()]
    return table(["one decoding step", "ms"], rows)


def cache() -> str:
    """Bytes per token of four layers, from caches of real decoders."""

    def measured(pattern: str, length: int) -> int:
        mamba = MAMBA_25M if "M" in pattern else None
        decoder = fresh(Config(**{**MODEL_25M, "vocab_size": 2, "n_layers": 4}, pattern=pattern, mamba=mamba))
        held = decoder.new_cache()
        ids_BL: Tensor = torch.zeros(1, 64, dtype=torch.long)
        decoder(ids_BL, held)
        before = held.bytes
        decoder(ids_BL, held)
        growth = (held.bytes - before) // 64
        return held.bytes + growth * (length - 128)  # a state stays, keys and values grow evenly

    rows = []
    for length in (1024, 4096, 32768):
        attention, mixed = measured("A", length), measured("MMMA", length)
        each = [f"{length:,}", f"{attention / length:,.0f}", f"{mixed / length:,.0f}"]
        rows.append([*each, f"{100 * mixed / attention:.1f} %"])
    return table(["tokens", "AAAA, bytes per token", "MMMA, bytes per token", "share"], rows)


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    page = ROOT / "docs" / "mamba2.md"
    for text, begin, end in ((cache(), CACHE_BEGIN, CACHE_END), (f"{prefill()}\n\n{decode()}", BEGIN, END)):
        print(text)
        write_between(page, begin, end, text)


if __name__ == "__main__":
    main()
