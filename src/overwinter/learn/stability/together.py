"""Several processes, one verdict: every rank judges the same numbers, so every rank comes to the same end.

A guard on each rank of a `torchrun` job measures what it can see: the losses differ, a sample that is no number is on one rank alone. One
gather per step makes the measurements the same everywhere: means, and of levels inside the model the worst. What follows is a
function of these numbers and of the guard's state, which has been the same from the beginning; so nobody skips alone, which would leave the
others waiting in the next reduction for ever.

A number that is none on one rank is none on all.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

import torch

from overwinter.errors import UsageError

Gather = Callable[[Sequence[float]], list[list[float]]]
"""From the numbers of this rank to those of all, by rank."""

WORST_IS_HIGH = ("attention_logit", "logsumexp_square", "output_rms", "ssm_state_rms", "ssm_dt_most", "staleness")
WORST_IS_LOW = ("ssm_decay_least", "gate_entropy_share")


def gather_over(device: torch.device | str = "cpu") -> Gather:
    """A gather over the default process group of torch.distributed.

    Args:
        device: where its backend wants tensors: "cpu" for gloo, the rank's GPU for NCCL.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        raise UsageError(
            "there is no process group for ranks to agree in", "call torch.distributed.init_process_group first"
        )

    def gather(numbers: Sequence[float]) -> list[list[float]]:
        # As integers, bit for bit: some accelerators have no float64.
        mine = torch.tensor(list(numbers), dtype=torch.float64)
        packed = mine.view(torch.int32).to(device)
        found = [torch.empty_like(packed) for _ in range(distributed.get_world_size())]
        distributed.all_gather(found, packed)
        return [each.cpu().view(torch.float64).tolist() for each in found]

    return gather


def agreed(values: Mapping[str, float], gather: Gather) -> dict[str, float]:
    """The same measurements on every rank.

    Raises:
        UsageError: the ranks measured different things, on every rank alike.
    """
    names = list(values)
    digest = hashlib.sha256("\n".join(names).encode()).digest()
    marks = [float(len(names)), float(int.from_bytes(digest[:6], "big"))]
    if any(other != marks for other in gather(marks)):
        raise UsageError(
            f"the ranks gave the guard different signals; this one {', '.join(names)}",
            "give the same signals, in the same order, on every rank",
        )
    columns = zip(*gather([values[name] for name in names]), strict=True)
    return {name: _joined(name, column) for name, column in zip(names, columns, strict=True)}


def _joined(name: str, column: Sequence[float]) -> float:
    if any(math.isnan(each) for each in column):
        return math.nan
    if name.startswith(WORST_IS_HIGH):
        return max(column)
    if name.startswith(WORST_IS_LOW):
        return min(column)
    if any(math.isinf(each) for each in column):
        return math.nan if len({each for each in column if math.isinf(each)}) > 1 else next(filter(math.isinf, column))
    return sum(column) / len(column)
