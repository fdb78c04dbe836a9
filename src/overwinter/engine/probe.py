"""Is this machine exact? Whether company, pieces and memory leave a sequence's log-probabilities the same to the last bit.

The engine chooses shapes at which the sums inside oneDNN and MKL keep their order (linear.py, memory.py). That order is the
libraries' affair and may differ on another processor or build, so it is measured, not assumed: a few sequences are served alone,
together, in small pieces and from remembered prefixes, and every log-probability is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from overwinter.engine.request import Request, Result
from overwinter.engine.sampling import SamplingParams

if TYPE_CHECKING:
    from overwinter.engine.capacity import Config
    from overwinter.model import Decoder

LENGTHS = (1, 6, 21, 45)
STEPS = 4


def is_exact(decoder: Decoder, config: Config) -> bool:
    """Serve a handful of sequences in several ways with engines of their own. Takes about two hundred tokens of computing."""
    from dataclasses import replace

    from overwinter.engine.engine import Engine

    room = max(LENGTHS) + STEPS
    small = replace(config, context=room, kv_bytes=None, step_tokens=config.max_running + 16 * 4)
    requests = [_request(decoder.config.vocab_size, length) for length in LENGTHS]

    def engine() -> Engine:
        return Engine(decoder, None, small)

    alone = [_bits(engine().run([each])[0]) for each in requests]
    shared = engine()
    return alone == [_bits(each) for each in shared.run(requests)] == [_bits(each) for each in shared.run(requests)]


def _request(vocabulary: int, length: int) -> Request:
    ids = tuple((7919 * at + 31 * length) % vocabulary for at in range(1, length + 1))
    return Request(prompt_ids=ids, max_tokens=STEPS, sampling=SamplingParams(seed=length), logprobs=0)


def _bits(result: Result) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    return result.output_ids, tuple(each.logprob for each in result.logprobs)
