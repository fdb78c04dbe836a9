"""The engine: from token ids to token ids, for many sequences at once; and what stands between logits and tokens.

    engine = Engine.load("path/to/model")
    results = engine.run([Request(prompt_ids=ids, max_tokens=64)])

Invariants
    What a sequence says does not depend on company: alone, in any batch, after preemption, from a remembered prefix, after
    suspend and resume it says the same; on a CPU in float32 to the last bit of its log-probabilities, where `probe` says so.
    Nothing is cut silently: what does not fit is an error that names both lengths.
    A row always has a finite logit left, or its own sequence ends with a fault and no other.
    A snapshot of a trie never changes; rows in flight finish on the one they began with.

Reading order
    `request`, `engine`   what is asked and answered; submit, step, run, stream, score, suspend
    `scheduler`, `sequence`   who computes what next; all that is known of one sequence
    `memory`, `recurrent`, `blocks`, `paged`, `prefix`   whose tokens lie where, who shares them, how a step sees them
    `capacity`, `linear`, `probe`   limits; packed weights; whether this machine keeps the bits
    `choosing`, `sampling`   the next token
    `constraint`, `trie`, `vocabulary`, `grammar`, `tool_calls`   what may be said
    `detokenize`, `stopping`   from ids to text that may be shown
    `suspending`, `worker`   a sequence in a file; an engine in a thread
    `compiling`, `facts`, `speed`   what a caller wants as a constraint; what there is to know of a model; how fast it is here

Names load when first used, so that looking at one module does not load torch. Guides: docs/engine.md, docs/kv.md,
docs/sampling.md, docs/constraints.md
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overwinter.engine.capacity import Config
    from overwinter.engine.engine import Engine, Stats
    from overwinter.engine.request import Event, Request, Result, TokenLogprob
    from overwinter.engine.sampling import SamplingParams

_HOMES = {
    "Config": "capacity",
    "Engine": "engine",
    "Event": "request",
    "Request": "request",
    "Result": "request",
    "SamplingParams": "sampling",
    "Stats": "engine",
    "TokenLogprob": "request",
}

__all__ = ["Config", "Engine", "Event", "Request", "Result", "SamplingParams", "Stats", "TokenLogprob"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'overwinter.engine' has no attribute {name!r}")
    return getattr(import_module(f"overwinter.engine.{_HOMES[name]}"), name)
