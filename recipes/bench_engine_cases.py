"""The cases of bench_engine.py: what runs, beside what, and the rows of its tables."""

from __future__ import annotations

import gc
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench_journal import spread
from overwinter.engine import Config as Limits
from overwinter.engine import Engine, Request, SamplingParams
from overwinter.model import Config, Decoder, MambaConfig, export, fresh

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"d_model": 64, "d_mlp": 176, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_head": 16},
    "25M": {"d_model": 384, "d_mlp": 1024, "n_layers": 8, "n_heads": 6, "n_kv_heads": 2, "d_head": 64},
    "100M": {"d_model": 768, "d_mlp": 2048, "n_layers": 12, "n_heads": 12, "n_kv_heads": 4, "d_head": 64},
    "500M": {"d_model": 1536, "d_mlp": 4096, "n_layers": 18, "n_heads": 12, "n_kv_heads": 4, "d_head": 128},
}
VOCABULARY, PROMPT = 32_000, 256
STREAM_TOKENS = {"tiny": 16, "25M": 96, "100M": 64, "500M": 32}
BATCH_SIZES = {"prompt": (32, 384), "output": (16, 256)}
LONG = 32_768

torch.set_grad_enabled(False)


def decoder_of(size: str, dtype: torch.dtype = torch.float32, context: int = 2048) -> Decoder:
    decoder = fresh(Config(vocab_size=VOCABULARY, context=context, tied=True, **SHAPES[size]), seed=1)
    for parameter in decoder.parameters():
        parameter.mul_(1.5)  # far enough apart that the two sides' roundings rarely choose differently
    return decoder.to(dtype)


def transformers_of(decoder: Decoder) -> Any:
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        export(decoder, Path(folder) / "model")
        dtype = decoder.embed.weight.dtype
        return AutoModelForCausalLM.from_pretrained(
            Path(folder) / "model", dtype=dtype, attn_implementation="eager"
        ).eval()


def prompt_of(length: int, seed: int) -> tuple[int, ...]:
    draw = random.Random(seed)
    return tuple(draw.randrange(VOCABULARY) for _ in range(length))


def greedy(prompt: tuple[int, ...], tokens: int) -> Request:
    return Request(prompt_ids=prompt, max_tokens=tokens, sampling=SamplingParams(temperature=0.0), ignore_end=True)


def alternate(ours: Callable[[], float], theirs: Callable[[], float], turns: int) -> tuple[list[float], list[float]]:
    """Seconds of both, one after the other, the first of a turn changing from turn to turn; a turn before is thrown away."""
    pairs: list[tuple[float, float]] = []
    for turn in range(turns + 1):
        if turn % 2:
            second, first = theirs(), ours()
        else:
            first, second = ours(), theirs()
        pairs.append((first, second))
    return [first for first, _ in pairs[1:]], [second for _, second in pairs[1:]]


# --- one stream -------------------------------------------------------------------------------------------------------


def stream_rows(size: str, dtype: torch.dtype, quick: bool) -> list[list[str]]:
    """Decoding alone is timed: the prompt is computed before the clock starts, on both sides."""
    tokens, decoder = STREAM_TOKENS[size], decoder_of(size, dtype)
    peer = transformers_of(decoder)
    engine = Engine(decoder, None, Limits(context=1024, max_running=1, share_prefixes=False))
    said: dict[str, list[int]] = {}

    def ours() -> float:
        engine.submit(greedy(prompt_of(PROMPT, 1), tokens + 1))
        events = engine.step()
        began = time.perf_counter()
        while engine.has_work:
            events += engine.step()
        seconds = time.perf_counter() - began
        said["ours"] = [token for event in events for token in event.token_ids]
        return seconds

    def theirs() -> float:
        out = peer(torch.tensor([prompt_of(PROMPT, 1)]), use_cache=True)
        chosen, ids = out.logits[:, -1:].argmax(-1), []
        began = time.perf_counter()
        for _ in range(tokens):
            ids.append(int(chosen))
            out = peer(chosen, past_key_values=out.past_key_values, use_cache=True)
            chosen = out.logits[:, -1:].argmax(-1)
        seconds = time.perf_counter() - began
        said["theirs"] = [*ids, int(chosen)]
        return seconds

    first, second = alternate(ours, theirs, 1 if quick else 7)
    ratios = [theirs_s / ours_s for ours_s, theirs_s in zip(first, second, strict=True)]
    same = sum(a == b for a, b in zip(said["ours"], said["theirs"], strict=True))
    rates = [[tokens / seconds for seconds in side] for side in (first, second)]
    return [
        [
            size,
            str(dtype).removeprefix("torch."),
            spread(rates[0], ".1f"),
            spread(rates[1], ".1f"),
            spread(ratios, ".2f"),
            f"{same} of {tokens + 1}",
        ]
    ]


# --- many requests ----------------------------------------------------------------------------------------------------


def batch_rows(size: str, quick: bool) -> list[list[str]]:
    """Static batches: left-padded prompts, a batch runs until its longest output is done, then the next batch begins."""
    draw = random.Random(5)
    count, together = (8, 4) if quick else (64, 16)
    asked = [
        greedy(prompt_of(draw.randint(*BATCH_SIZES["prompt"]), at), draw.randint(*BATCH_SIZES["output"]))
        for at in range(count)
    ]
    decoder = decoder_of(size)
    peer = transformers_of(decoder)
    engine = Engine(decoder, None, Limits(context=1024, max_running=together, share_prefixes=False, kv_bytes=1 << 29))
    said: dict[str, list[list[int]]] = {}

    def ours() -> float:
        began = time.perf_counter()
        results = engine.run(asked)
        seconds = time.perf_counter() - began
        said["ours"] = [list(result.output_ids) for result in results]
        return seconds

    def theirs() -> float:
        began, said["theirs"] = time.perf_counter(), []
        for start in range(0, count, together):
            said["theirs"] += static_batch(peer, asked[start : start + together])
        return time.perf_counter() - began

    first, second = alternate(ours, theirs, 1 if quick else 3)
    tokens = sum(one.max_tokens for one in asked)
    ratios = [theirs_s / ours_s for ours_s, theirs_s in zip(first, second, strict=True)]
    pairs = [(a, b) for x, y in zip(said["ours"], said["theirs"], strict=True) for a, b in zip(x, y, strict=True)]
    same = sum(a == b for a, b in pairs)
    return [
        ["engine, continuous batching", spread([tokens / s for s in first], ".0f"), spread(first, ".1f")],
        ["transformers eager, static batches", spread([tokens / s for s in second], ".0f"), spread(second, ".1f")],
        ["ratio", spread(ratios, ".2f"), f"same tokens: {same:,} of {len(pairs):,}"],
    ]


def static_batch(peer: Any, asked: list[Request]) -> list[list[int]]:
    longest = max(len(one.prompt_ids) for one in asked)
    ids_BL = torch.zeros(len(asked), longest, dtype=torch.long)
    mask_BL = torch.zeros_like(ids_BL)
    for row, one in enumerate(asked):
        ids_BL[row, longest - len(one.prompt_ids) :] = torch.tensor(one.prompt_ids)
        mask_BL[row, longest - len(one.prompt_ids) :] = 1
    positions_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
    chosen_BN: list[Tensor] = []
    cache = None
    for _ in range(max(one.max_tokens for one in asked)):
        out = peer(
            ids_BL,
            attention_mask=mask_BL,
            position_ids=positions_BL,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, ids_BL = out.past_key_values, out.logits[:, -1:].argmax(-1)
        chosen_BN.append(ids_BL)
        mask_BL = torch.cat([mask_BL, torch.ones(len(asked), 1, dtype=torch.long)], dim=1)
        positions_BL = positions_BL[:, -1:] + 1
    outputs_BN = torch.cat(chosen_BN, dim=1).tolist()
    return [output[: one.max_tokens] for output, one in zip(outputs_BN, asked, strict=True)]


# --- shared prefixes --------------------------------------------------------------------------------------------------


def prefix_rows(size: str, quick: bool) -> list[list[str]]:
    sessions, shared, own, tokens = (8, 90, 10, 4) if quick else (64, 900, 100, 16)
    beginning = prompt_of(shared, 1)
    asked = [greedy(beginning + prompt_of(own, 100 + at), tokens) for at in range(sessions)]
    decoder = decoder_of(size)
    blocks = Engine(decoder, None, Limits(context=64, max_running=1)).store.block_bytes
    pool = blocks * (sessions * (own + tokens + 32) + shared) // 16
    engine = Engine(decoder, None, Limits(context=1024, max_running=sessions, kv_bytes=pool))
    for one in asked:
        engine.submit(one)
    resident = 0
    while engine.has_work:
        engine.step()
        stats = engine.stats()
        resident = max(resident, stats.blocks_referenced * engine.store.block_bytes + stats.mirror_bytes)
    stats = engine.stats()
    naive_tokens = sessions * (shared + own)
    naive_bytes = sessions * -(-(shared + own + tokens) // 16) * engine.store.block_bytes
    return [
        [
            "prompt tokens computed",
            f"{stats.prefill_tokens:,}",
            f"{naive_tokens:,}",
            f"{100 * stats.prefill_tokens / naive_tokens:.1f} %",
        ],
        [
            "most memory for keys and values, copies included, MB",
            f"{resident / 1e6:.1f}",
            f"{naive_bytes / 1e6:.1f}",
            f"{100 * resident / naive_bytes:.1f} %",
        ],
        ["preemptions", str(stats.preemptions), "", ""],
    ]


# --- hybrids ----------------------------------------------------------------------------------------------------------


def hybrid_shapes(quick: bool) -> tuple[Config, Config]:
    """A and MMMA at the same number of parameters, within one in a hundred: the MLP of the hybrid is the narrower one."""
    base: dict[str, Any] = {
        **SHAPES["tiny" if quick else "25M"],
        "vocab_size": VOCABULARY,
        "tied": True,
        "context": LONG + 512,
    }
    layers = 4 if quick else 8
    mamba = MambaConfig(n_heads=2 * base["d_model"] // 64, d_state=64)
    plain = Config(**{**base, "n_layers": layers})
    wanted = parameters(plain)
    mixed = {**base, "n_layers": layers, "pattern": "MMMA", "mamba": mamba}
    width = min(
        range(16, plain.d_mlp, 8), key=lambda d_mlp: abs(parameters(Config(**{**mixed, "d_mlp": d_mlp})) - wanted)
    )
    return plain, Config(**{**mixed, "d_mlp": width})


def parameters(config: Config) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Decoder(config).parameters())


def hybrid_rows(quick: bool) -> list[list[str]]:
    length = 1024 if quick else LONG
    shapes = hybrid_shapes(quick)
    found = [_long_context(shape, length, quick) for shape in shapes]
    counts = [parameters(shape) / 1e6 for shape in shapes]
    rows = [["parameters, millions", f"{counts[0]:.2f}", f"{counts[1]:.2f}", f"{counts[1] / counts[0]:.3f}"]]
    for name, unit in (
        ("cache", f"cache at {length:,} tokens, bytes a token"),
        ("file", f"suspended at {length:,} tokens, MB"),
        ("prefill", f"prompt of {length:,} tokens, tokens/s"),
    ):
        a, b = (each[name] for each in found)
        rows.append([unit, f"{a:,.1f}", f"{b:,.1f}", f"{b / a:.2f}"])
    a, b = (each["decode"] for each in found)
    ratios = [y / x for x, y in zip(a, b, strict=True)]
    rows.append([f"decoding at {length:,} tokens, tokens/s", spread(a, ".1f"), spread(b, ".1f"), spread(ratios, ".2f")])
    return rows


def _long_context(shape: Config, length: int, quick: bool) -> dict[str, Any]:
    decoder = fresh(shape, seed=1)
    engine = Engine(decoder, None, Limits(max_running=1, share_prefixes=False, kv_bytes=None))
    tokens, turns = (4, 2) if quick else (16, 5)
    number = engine.submit(greedy(prompt_of(length, 3), tokens * (turns + 1) + 2))
    began = time.perf_counter()
    while not engine.step():
        pass
    prefill = length / (time.perf_counter() - began)
    with tempfile.TemporaryDirectory() as folder:
        engine.suspend(number, Path(folder) / "sequence")
        file = (Path(folder) / "sequence").stat().st_size / 1e6
        engine.resume(Path(folder) / "sequence")
    rates = []
    for _ in range(turns + 1):
        began = time.perf_counter()
        for _ in range(tokens):
            engine.step()
        rates.append(tokens / (time.perf_counter() - began))
    cache = decoder.new_cache()
    decoder.hidden(torch.tensor([prompt_of(512, 3)]), cache)
    states = sum(layer.bytes for layer in cache.layers if not hasattr(layer, "attend"))
    per_token = engine.store.token_bytes + states / length
    del engine, decoder, cache
    gc.collect()
    return {"cache": per_token, "file": file, "prefill": prefill, "decode": rates[1:]}
