"""What a switch of the decoder costs: parameters and time against the plain decoder, one thread, plain PyTorch, random weights.

    python recipes/bench_switches.py          # about two minutes; prints the table and writes it into docs/model.md

All decoders take turns, and a ratio is formed within one turn, so that the machine's mood hits both of its sides alike. Figures are
medians with the smallest and largest. A further switch is one more row of `SWITCHES`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench_journal import ROOT, spread, table, write_between
from overwinter.engine.linear import pack
from overwinter.model import AttnResConfig, Config, Decoder, LoopConfig, LowrankConfig, NobleConfig, fresh

BEGIN, END = "<!-- bench_switches: begin -->", "<!-- bench_switches: end -->"
SHAPE: dict[str, Any] = {
    "vocab_size": 4096, "d_model": 384, "n_layers": 4, "n_heads": 6, "n_kv_heads": 6, "d_head": 64, "d_mlp": 1024,
    "context": 1024, "qk_norm": True,
}  # fmt: skip
PROMPT, BATCH, TEXT, TURNS = 256, 2, 128, 9

SWITCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "NOBLE, rank 16": {"noble": NobleConfig(rank=16)},
    "NOBLE, rank 16, recomputed": {"noble": NobleConfig(rank=16, recompute=True)},
    "NOBLE, rank 16, one cosine": {"noble": NobleConfig(rank=16, activation="cos")},
    "as many parameters in a wider MLP": {"d_mlp": 1127},
    "lowrank_orthogonal, rank 96": {"lowrank_orthogonal": LowrankConfig(rank=96)},
    "tied": {"tied": True},
    "tied, lowrank_orthogonal, rank 96": {"tied": True, "lowrank_orthogonal": LowrankConfig(rank=96)},
    "attention residuals, 4 blocks": {"attnres": AttnResConfig(blocks=4)},
    "attention residuals, full": {"attnres": AttnResConfig(kind="full")},
    "2 loops": {"loop": LoopConfig(n_loops=2)},
    "4 loops": {"loop": LoopConfig(n_loops=4)},
    "4 loops, decoding stops after the first": {"loop": LoopConfig(n_loops=4, exit=0.01)},
    "1 + 2 × 2 + 1 layers, parcae": {"loop": LoopConfig(n_loops=2, prelude=1, coda=1, reinject="parcae")},
}
"""Name → switches of `Config`. The first row is what all others are compared with."""


def prompt(decoder: Decoder, ids_BL: Tensor) -> Callable[[], object]:
    """The logits of a prompt's last token."""

    def measure() -> object:
        with torch.no_grad():
            return decoder.logits(decoder.hidden(ids_BL[:1, :PROMPT], decoder.new_cache())[:, -1:])

    return measure


def token(decoder: Decoder, ids_BL: Tensor) -> Callable[[], object]:
    """One token more after a prompt."""
    cache = decoder.new_cache()
    with torch.no_grad():
        decoder(ids_BL[:1, :PROMPT], cache)

    def measure() -> object:
        with torch.no_grad():
            for _ in range(8):
                decoder(ids_BL[:1, -1:], cache)
                cache.truncate(PROMPT)
        return None

    return measure


def token_packed(decoder: Decoder, ids_BL: Tensor) -> Callable[[], object]:
    """The same with the weights in the engine's order."""
    decoder = copy.deepcopy(decoder)
    pack(decoder)
    return token(decoder, ids_BL)


def training(decoder: Decoder, ids_BL: Tensor) -> Callable[[], object]:
    """Forward and backward of a small batch, without the optimiser."""

    def measure() -> object:
        decoder.zero_grad()
        logits_BLV = decoder(ids_BL[:, :TEXT])
        torch.nn.functional.cross_entropy(logits_BLV.flatten(0, 1), ids_BL[:, 1 : TEXT + 1].flatten()).backward()  # type: ignore[no-untyped-call]
        return None

    return measure


MEASURED = {
    f"prompt of {PROMPT}": prompt,
    "one token": token,
    "one token, packed": token_packed,
    f"training, {BATCH} × {TEXT}": training,
}


def seconds(measure: Callable[[], object]) -> float:
    """Processor time: with one thread it is the time taken, less what other programs took meanwhile."""
    began = time.process_time()
    measure()
    return time.process_time() - began


def main() -> None:
    torch.set_num_threads(1)
    ids_BL = torch.randint(0, SHAPE["vocab_size"], (BATCH, PROMPT + 1), generator=torch.Generator().manual_seed(0))
    decoders = {name: fresh(Config(**{**SHAPE, **switches})) for name, switches in SWITCHES.items()}
    plain = next(iter(SWITCHES))
    sizes = {name: sum(each.numel() for each in decoder.parameters()) for name, decoder in decoders.items()}
    rows = {name: [name, f"{sizes[name] / 1e6:.2f} M", f"{sizes[name] / sizes[plain] - 1:+.1%}"] for name in SWITCHES}
    for make in MEASURED.values():
        measures = {name: make(decoder, ids_BL) for name, decoder in decoders.items()}
        for measure in measures.values():
            measure()  # a warm-up
        turns = [{name: seconds(measure) for name, measure in measures.items()} for _ in range(TURNS)]
        for name, row in rows.items():
            row.append("1" if name == plain else spread([turn[name] / turn[plain] for turn in turns], ".2f"))
    width, layers = SHAPE["d_model"], SHAPE["n_layers"]
    text = table([f"{layers} layers of width {width}", "parameters", "", *MEASURED], list(rows.values()))
    print(text)
    write_between(ROOT / "docs" / "model.md", BEGIN, END, text)


if __name__ == "__main__":
    main()
