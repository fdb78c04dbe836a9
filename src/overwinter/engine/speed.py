"""How fast an engine is here, and how much of the machine's reading speed that is.

One token of every sequence reads all weights once and the keys and values of each sequence once; at few sequences nothing else
counts. So a decode step is compared with what this machine reads in the same time: torch adding up a long tensor, measured
right beside it, because a shared machine is not the same machine a second later. A fraction near 1 means that only smaller
weights make it faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import torch

from overwinter.engine.engine import Engine
from overwinter.engine.linear import PackedLinear, PackedLowrank
from overwinter.engine.request import Request
from overwinter.engine.sampling import SamplingParams
from overwinter.errors import UsageError

READ_BYTES = 256 << 20
"""Far more than any cache holds."""
READS = 3


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Medians over repetitions at one batch size.

    Attributes:
        prefill_tokens_s: prompt tokens over the time until every sequence had its first token.
        decode_tokens_s: the later tokens of all sequences together.
        step_bytes: weights, keys and values that a decode step has to read.
        read_bytes_s: what a plain read reached beside it.
        read_fraction: the speed at which decode steps read, as a part of that.
    """

    batch: int
    prompt_tokens: int
    new_tokens: int
    repeats: int
    prefill_tokens_s: float
    decode_tokens_s: float
    step_bytes: int
    read_bytes_s: float
    read_fraction: float


def weight_bytes(engine: Engine) -> int:
    """What one forward pass reads of the weights. A table of embeddings is looked up, not read, unless it is the head too."""
    decoder = engine.decoder
    packed = [module for module in decoder.modules() if isinstance(module, PackedLinear)]
    numbers = sum(each.in_features * each.out_features for each in packed)
    looked_up = decoder.head is not None or isinstance(decoder.embed, PackedLowrank)
    plain = sum(
        parameter.nbytes for name, parameter in decoder.named_parameters() if not (looked_up and name == "embed.weight")
    )
    return numbers * decoder.embed.weight.itemsize + plain


def read_speed() -> float:
    """Bytes per second that torch reads from memory with the threads it has; the best of a few tries."""
    long_N = torch.ones(READ_BYTES // 4)
    return max(READ_BYTES / _seconds(long_N.sum) for _ in range(READS))


def measure(
    engine: Engine, *, batch: int, prompt_tokens: int, new_tokens: int, repeats: int, tick: Callable[[], None]
) -> Speed:
    """Serve `batch` sequences of drawn ids to their full length, several times.

    Args:
        engine: without shared prefixes, or the second time would have no prompts to compute.
        tick: called after each repetition.
    """
    if engine.config.share_prefixes:
        raise UsageError("an engine that remembers prompts computes them once", "measure with share_prefixes=False")
    if batch > engine.config.max_running:
        raise UsageError(
            f"{batch} sequences do not run at once, {engine.config.max_running} do", "raise the engine's max_running"
        )
    held = batch * (prompt_tokens + new_tokens // 2) * engine.store.token_bytes
    step_bytes, rows = weight_bytes(engine) + held, []
    for number in range(repeats):
        read_bytes_s = read_speed()
        requests = [_request(engine, prompt_tokens, new_tokens, number * batch + each) for each in range(batch)]
        prefill_s, step_s, decoded, steps = _serve(engine, requests)
        speed = decoded / step_s if step_s else 0.0
        rows.append(
            (
                batch * prompt_tokens / prefill_s,
                speed,
                read_bytes_s,
                step_bytes * steps / max(step_s, 1e-9) / read_bytes_s,
            )
        )
        tick()
    prefill, decode, read, fraction = (median(column) for column in zip(*rows, strict=True))
    return Speed(
        batch=batch,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        repeats=repeats,
        prefill_tokens_s=prefill,
        decode_tokens_s=decode,
        step_bytes=step_bytes,
        read_bytes_s=read,
        read_fraction=fraction,
    )


def sweep(
    engine: Engine, batches: list[int], *, prompt_tokens: int, new_tokens: int, repeats: int, tick: Callable[[], None]
) -> Iterator[Speed]:
    """One row per batch size, after a short warm-up."""
    engine.run([_request(engine, min(prompt_tokens, 16), 2, -1)])
    for batch in batches:
        yield measure(
            engine, batch=batch, prompt_tokens=prompt_tokens, new_tokens=new_tokens, repeats=repeats, tick=tick
        )


def _serve(engine: Engine, requests: list[Request]) -> tuple[float, float, int, int]:
    """Seconds until all have a first token, seconds of the rest, tokens and steps of the rest."""
    waiting = {engine.submit(request) for request in requests}
    began = last = time.perf_counter()
    while waiting:
        waiting -= {event.sequence for event in engine.step() if event.token_ids}
    prefilled = time.perf_counter()
    decoded = steps = 0
    while engine.has_work:
        decoded += sum(len(event.token_ids) for event in engine.step())
        steps += 1
        last = time.perf_counter()
    return prefilled - began, max(0.0, last - prefilled), decoded, steps


def _request(engine: Engine, prompt_tokens: int, new_tokens: int, seed: int) -> Request:
    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(engine.vocab_size, (prompt_tokens,), generator=generator).tolist()
    return Request(
        prompt_ids=tuple(ids), max_tokens=new_tokens, sampling=SamplingParams(temperature=0.0), ignore_end=True
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
