"""The same estimators on Torch tensors: the trainer's rewards never leave the device, and neither do the advantages.

    result = tensor_advantages(batch, Config(estimator="gigpo"), device="cuda")
    result.advantages        # [S] float64 on that device

On a CPU the bits are those of NumPy wherever no exp, log or power is taken, and within 1e-12 elsewhere. On a GPU, sums over
segments add in no fixed order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overwinter.learn.batch import Batch, Floats, Ints
from overwinter.learn.credit.arrays import Array
from overwinter.learn.credit.diagnostics import diagnose
from overwinter.learn.credit.table import Config, estimate


class TorchArrays:
    """`Arrays` over float64 tensors of one device."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    def of(self, column: NDArray[Any]) -> Array:
        kind = np.bool_ if column.dtype == np.bool_ else np.float64
        return torch.from_numpy(np.array(column, dtype=kind)).to(self.device)

    def _index(self, index: Ints) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(index, dtype=np.int64)).to(self.device)

    def take(self, values: Array, index: Ints) -> Array:
        return values[self._index(index)]

    def segment_sum(self, values: Array, index: Ints, count: int) -> Array:
        return torch.bincount(self._index(index), weights=values, minlength=count)

    def segment_max(self, values: Array, index: Ints, count: int) -> Array:
        zeros = torch.zeros(count, dtype=torch.float64, device=self.device)
        return zeros.scatter_reduce(0, self._index(index), values, "amax")

    def put(self, values: Array, index: Ints, rows: Array) -> Array:
        changed = values.clone()
        changed[self._index(index)] = rows
        return changed

    def join(self, pieces: list[Array]) -> Array:
        return torch.cat(pieces)

    def where(self, condition: Array, yes: Array, no: Array) -> Array:
        return torch.where(condition, yes, no)

    def clip(self, values: Array, low: float, high: float) -> Array:
        return torch.clamp(values, low, high)

    def exp(self, values: Array) -> Array:
        return torch.exp(values)

    def log(self, values: Array) -> Array:
        return torch.log(values)

    def sqrt(self, values: Array) -> Array:
        return torch.sqrt(values)

    def largest(self, values: Array) -> float:
        return float(values.abs().max()) if len(values) else 0.0

    def numpy(self, values: Array) -> Floats:
        host: Floats = values.detach().cpu().numpy()
        return host


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorCredit:
    """`Credit` with tensors in place of arrays; the fields mean the same."""

    advantages: Tensor
    diagnostics: dict[str, float] = field(default_factory=dict)
    memory: Any = None
    tokens: Tensor | None = None
    candidates: Tensor | None = None


def tensor_advantages(
    batch: Batch, config: Config | None = None, memory: Any = None, *, device: str | torch.device = "cpu"
) -> TensorCredit:
    """`advantages` on a device; same arguments, same errors."""
    config = config or Config()
    frame, parts = estimate(batch, config, memory, TorchArrays(device))
    return TensorCredit(
        advantages=parts.advantages,
        diagnostics=diagnose(frame, parts) if len(batch) else {},
        memory=parts.memory,
        tokens=parts.tokens,
        candidates=parts.candidates,
    )
