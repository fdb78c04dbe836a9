"""The constraint trie over a million sequences: building, one step, and the same beside dictionaries and a model's step.

python recipes/bench_trie.py              # prints the table and writes it into docs/constraints.md
python recipes/bench_trie.py --quick      # a smoke run: small, and docs/ is left alone

Alternating turns: in each, every case once for each depth, in an order that is reversed from turn to turn. A step is what
one decoded token costs: mask a fresh copy of the logits in place and move the states by the chosen tokens.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench_journal import ROOT, spread, table, write_between
from overwinter.engine.trie import Trie
from overwinter.engine.trie_dict import DictTrie

BEGIN, END_MARK = "<!-- bench_trie: begin -->", "<!-- bench_trie: end -->"
VOCAB, LENGTH, END, CONTEXT = 32_000, 8, 2, 256
Case = Callable[[], object]


def microseconds(case: Case, repeats: int = 1) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        case()
    return (time.perf_counter() - began) * 1e6 / repeats


def build_seconds(sequences: np.ndarray[Any, Any] | list[list[int]], turns: int) -> list[float]:
    def build() -> object:
        return Trie.build(sequences, vocab_size=VOCAB, end_token=END)

    return [microseconds(build) / 1e6 for _ in range(turns)]


def decode_step(batch: int) -> Case:
    """One token for each of `batch` sequences of a random Llama of 25M parameters, transformers eager, float32."""
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval()
    cache = DynamicCache(config=config)

    @torch.inference_mode()
    def step() -> None:
        model(torch.randint(VOCAB, (batch, 1)), past_key_values=cache)
        cache.crop(-1)

    with torch.inference_mode():
        model(torch.randint(VOCAB, (batch, CONTEXT)), past_key_values=cache, logits_to_keep=1)
    return step


class Steps:
    """The same rows in the vectorised trie and in its twin, at one depth."""

    def __init__(self, trie: Trie, twin: DictTrie, paths: np.ndarray[Any, Any], depth: int) -> None:
        self.trie, self.twin = trie, twin
        self.rows = trie.start(len(paths))
        self.nodes = [twin.root] * len(paths)
        for at in range(depth):
            self.rows = self.rows.advance(torch.from_numpy(paths[:, at]))
            self.nodes = [twin.advance(node, int(token)) for node, token in zip(self.nodes, paths[:, at], strict=True)]
        chosen = paths[:, depth] if depth < LENGTH else np.full(len(paths), END)
        self.chosen_R, self.chosen = torch.from_numpy(chosen), chosen.tolist()
        self.logits_RV = torch.randn(len(paths), VOCAB)

    def static(self) -> None:
        self.rows.constrain_(self.logits_RV)
        self.rows.advance(self.chosen_R)

    def dictionary(self) -> None:
        self.twin.constrain_(self.logits_RV, self.nodes)
        for node, token in zip(self.nodes, self.chosen, strict=True):
            self.twin.advance(node, token)

    def candidates(self) -> None:
        self.trie.candidates(self.rows.states_R)
        self.rows.advance(self.chosen_R)


def measure(steps: list[Steps], model: Case | None, turns: int) -> dict[str, list[float]]:
    """Microseconds of one step: for each turn the mean over the given depths."""
    kinds = ["static", "candidates", "dictionary"]
    times: dict[str, list[float]] = {kind: [] for kind in [*kinds, "model"]}
    for turn in range(-2, turns):  # two turns to warm up
        found = {}
        for kind in kinds if turn % 2 else kinds[::-1]:
            found[kind] = statistics.mean(microseconds(getattr(step, kind), 3) for step in steps)
        if model is not None:
            found["model"] = microseconds(model)
        if turn >= 0:
            for kind, value in found.items():
                times[kind].append(value)
    return times


def step_rows(label: str, times: dict[str, list[float]]) -> list[list[str]]:
    ratio = [slow / fast for slow, fast in zip(times["dictionary"], times["static"], strict=True)]
    rows = [
        [f"{label}: mask and advance, µs", spread(times["static"]), ""],
        [f"{label}: candidates and advance, µs", spread(times["candidates"]), ""],
        [f"{label}: dictionaries, mask and advance, µs", spread(times["dictionary"]), ""],
        [f"{label}: dictionaries ÷ trie", f"{spread(ratio, '.1f')}×", "≥ 8×"],
    ]
    if times["model"]:
        share = [100 * part / whole for part, whole in zip(times["static"], times["model"], strict=True)]
        rows.append(
            [f"{label}: decode step of the 25M Llama, ms", spread([t / 1e3 for t in times["model"]], ".1f"), ""]
        )
        rows.append([f"{label}: trie's share of it", f"{spread(share, '.2f')} %", "< 1 %"])
    return rows


def report(count: int, turns: int) -> str:
    rng = np.random.default_rng(0)
    sequences = rng.integers(END + 1, VOCAB, (count, LENGTH))
    lists = sequences.tolist()
    gc.freeze()  # eight million integers of the input are not this benchmark's garbage
    builds = max(3, turns // 8)
    array_s, lists_s = build_seconds(sequences, builds), build_seconds(lists, builds)
    gc.disable()  # it would go through millions of dictionaries again and again
    began = time.perf_counter()
    twin = DictTrie(lists, end_token=END)
    dict_s = time.perf_counter() - began
    gc.enable()
    del lists
    gc.freeze()
    trie = Trie.build(sequences, vocab_size=VOCAB, end_token=END)
    rows = [
        ["build from lists, s", spread(lists_s, ".2f"), "< 3"],
        ["build from an array, s", spread(array_s, ".2f"), "< 3"],
        ["build of the dictionaries, s (once)", f"{dict_s:.1f}", ""],
        ["bytes for each sequence", f"{trie.nbytes / count:.1f}", ""],
    ]
    for batch in (16, 140):
        paths = sequences[rng.integers(0, count, batch)]
        deep = [Steps(trie, twin, paths, depth) for depth in range(1, LENGTH + 1)]
        model = decode_step(batch) if batch == 16 else None
        rows += step_rows(f"batch {batch}, depth 1–8", measure(deep, model, turns))
        if batch == 16:
            first = measure(
                [Steps(trie, twin, paths, 0)], model, max(3, turns // 4)
            )  # dictionaries take their time here
            rows += step_rows("batch 16, first token", first)
    head = (
        f"{count:,} random sequences of {LENGTH} tokens, vocabulary {VOCAB:,}; torch {torch.__version__} on"
        f" {torch.get_num_threads()} CPU threads, load average {os.getloadavg()[0]:.1f};"
        f" {turns} alternating turns; median (range)."
        f" The model is transformers' eager Llama in float32 with {CONTEXT} tokens of context."
    )
    return f"{head}\n\n{table(['measure', 'value', 'target'], rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run: small, and docs/ is left alone")
    parser.add_argument("--turns", type=int, default=40)
    options = parser.parse_args()
    text = report(20_000, 3) if options.quick else report(1_000_000, options.turns)
    print(text)
    if not options.quick:
        write_between(Path(ROOT / "docs" / "constraints.md"), BEGIN, END_MARK, text)


if __name__ == "__main__":
    main()
