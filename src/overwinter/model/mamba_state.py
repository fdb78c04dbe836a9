"""The sizes of a Mamba-2 block and its memory: a matrix per head and the last inputs of a short convolution.

A recurrent state cannot be cut as keys and values can. What can be taken back is decided beforehand (`rollback`), everything
else is a snapshot. Rows of a batch are independent, so states of many sequences are stacked for one step and split again.

Shapes: B batch, T inputs of conv history, C conv channels, H heads, P head width, N state size, L new tokens, X = C + H.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.model.cache import Core


@dataclass(frozen=True, kw_only=True)
class MambaConfig:
    """Sizes and switches of a block, but for the width of the model around it."""

    n_heads: int
    head_dim: int = 64
    """n_heads · head_dim is the inner width, usually twice that of the model."""
    d_state: int = 128
    """N, numbers per channel that are remembered."""
    d_conv: int = 4
    n_groups: int = 1
    """B and C are shared by the heads of a group; the gated norm is per group too."""
    chunk_size: int = 64
    """Changes the speed, not the result. 64 suits a CPU; checkpoints often say 256, which suits a GPU."""
    norm_before_gate: bool = False
    norm_eps: float = 1e-5
    bias: bool = False
    """On in_proj and out_proj."""
    conv_bias: bool = True
    dt_min: float = 0.001
    dt_max: float = 0.1
    dt_init_floor: float = 1e-4
    """dt_min, dt_max and dt_init_floor say where the time steps begin; training may leave that range."""
    dt_lowest: float = 0.0
    dt_highest: float | None = None
    """dt_lowest and dt_highest clamp the time step in every forward pass; None does not."""
    a_min: float = 1.0
    a_max: float = 16.0
    """Where A begins."""

    def __post_init__(self) -> None:
        self._check_types()
        if self.n_heads % self.n_groups:
            raise UsageError(
                f"{self.n_heads} Mamba-2 heads, {self.n_groups} groups", "let n_groups divide the number of heads"
            )
        highest = math.inf if self.dt_highest is None else self.dt_highest
        if not (self.dt_lowest <= highest and self.dt_min <= self.dt_max and self.a_min <= self.a_max):
            problem = f"dt from {self.dt_min} to {self.dt_max} in [{self.dt_lowest}, {highest}], A from {self.a_min} to {self.a_max}"
            raise UsageError(f"Mamba-2 cannot have {problem}", "give each range its smaller number first")

    def _check_types(self) -> None:
        for field in fields(self):
            given, annotation = getattr(self, field.name), str(field.type)
            if given is None and "None" in annotation:
                continue
            if annotation == "bool":
                right = isinstance(given, bool)
            elif annotation == "int":
                right = isinstance(given, int) and not isinstance(given, bool) and given >= 1
            else:
                real = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
                right = real and (given > 0 or (given == 0 and field.name == "dt_lowest"))
            if not right:
                raise UsageError(
                    f"MambaConfig.{field.name} cannot be {given!r}", "see docs/mamba2.md for the sizes and switches"
                )

    @property
    def d_inner(self) -> int:
        return self.n_heads * self.head_dim

    @property
    def d_conv_channels(self) -> int:
        return self.d_inner + 2 * self.n_groups * self.d_state


@dataclass(frozen=True, kw_only=True)
class MambaSnapshot:
    """The memory of a block at one place of each row's text. Its tensors are never written to; save them as they are."""

    lengths: tuple[int, ...]
    """Tokens seen, row by row."""
    conv: Tensor
    """BTC: the last d_conv − 1 inputs of the convolution."""
    matrix: Tensor
    """BHPN: the recurrent matrix, float32."""

    @property
    def bytes(self) -> int:
        return self.conv.nbytes + self.matrix.nbytes

    def tensors(self) -> dict[str, Tensor]:
        """What to write to a file; `of` reads it back."""
        return {"lengths": torch.tensor(self.lengths, dtype=torch.int64), "conv": self.conv, "matrix": self.matrix}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> MambaSnapshot:
        lengths = tuple(int(length) for length in tensors["lengths"])
        return cls(lengths=lengths, conv=tensors["conv"], matrix=tensors["matrix"])


class MambaState:
    """What a block remembers of the tokens so far: the last inputs of its convolution and its recurrent matrix (float32).

    It takes its batch and dtype from the first tokens it meets. A recurrent state cannot be cut, so the matrices before each
    of the last `rollback` tokens are kept; drafted tokens that were rejected are taken back with `truncate`. Tensors are
    replaced, never written to in place, which is why snapshots and rows need no copy. Gradients end at its border.

    Args:
        config: of the block.
        rollback: how many tokens `truncate` can take back. Each one costs a matrix.
    """

    def __init__(self, config: MambaConfig, *, rollback: int = 0) -> None:
        if rollback < 0:
            raise UsageError(f"a state that goes {rollback} tokens back", "give a rollback of 0 or more")
        self.config, self.rollback = config, rollback
        self.lengths: tuple[int, ...] = ()
        """Tokens seen, row by row; they differ only after `stack`."""
        self._conv_BTC = torch.empty(0)  # T = d_conv − 1 + rollback
        self._matrices: deque[Tensor] = deque(maxlen=rollback + 1)  # oldest first; the last is the present

    @property
    def batch(self) -> int:
        """Rows; 0 before the first token."""
        return len(self.lengths)

    @property
    def length(self) -> int:
        """Tokens seen by the longest row, padding included."""
        return max(self.lengths, default=0)

    @property
    def bytes(self) -> int:
        """Memory when `rollback` tokens are past, whatever the length: (rollback + 1) matrices and the conv history."""
        return self._conv_BTC.nbytes + (self.rollback + 1) * self._matrices[-1].nbytes if self.lengths else 0

    @property
    def shortest(self) -> int:
        """The smallest length that `truncate` can go back to."""
        return self.length - len(self._matrices) + 1 if self.lengths else 0

    @property
    def conv(self) -> Tensor:
        """BTC: the last d_conv − 1 inputs of the convolution."""
        return self._conv_BTC[:, self._conv_BTC.shape[1] - self.config.d_conv + 1 :]

    @property
    def matrix(self) -> Tensor:
        """BHPN: the recurrent matrix now."""
        return self._matrices[-1]

    def mix(self, core: Core, projected_BLX: Tensor, positions_BL: Tensor) -> Tensor:
        """Run a block's core on new tokens and remember them; negative positions are padding (see cache.py)."""
        mask_BL = positions_BL >= 0
        return core(projected_BLX, self, None if bool(mask_BL.all()) else mask_BL)

    def begin(self, batch: int, like: Tensor) -> None:
        """Be a state of so many rows, with the device and dtype of these activations; an error if it is one of others."""
        if self.lengths:
            if len(self.lengths) != batch:
                problem = f"this cache holds a batch of {len(self.lengths)}, the new tokens a batch of {batch}"
                raise UsageError(problem, "make one cache per batch with decoder.new_cache()")
            return
        config = self.config
        self.lengths = (0,) * batch
        self._conv_BTC = like.new_zeros(batch, config.d_conv - 1 + self.rollback, config.d_conv_channels)
        matrix = (batch, config.n_heads, config.head_dim, config.d_state)
        self._matrices.append(like.new_zeros(matrix, dtype=torch.float32))

    def append(self, conv_BLC: Tensor, matrices: Sequence[Tensor]) -> None:
        """Take in L tokens: their inputs of the convolution, and the matrices after the last min(L, rollback + 1) of them."""
        assert len(matrices) == min(conv_BLC.shape[1], self.rollback + 1)
        history = self._conv_BTC.shape[1]
        joined_BTC = torch.cat([self._conv_BTC, conv_BLC.detach().to(self._conv_BTC.dtype)], dim=1)
        # Cloned, for a view would keep the whole chunk alive.
        self._conv_BTC = joined_BTC[:, joined_BTC.shape[1] - history :].clone()
        self._matrices.extend(each.detach() for each in matrices)
        self.lengths = tuple(length + conv_BLC.shape[1] for length in self.lengths)

    def truncate(self, length: int) -> None:
        """Go back to the first `length` tokens, as if the later ones had never come."""
        if len(set(self.lengths)) > 1:
            raise UsageError("rows of different lengths cannot be cut to one", "unstack() the state, and cut each row")
        if not self.shortest <= length <= self.length:
            problem = f"a recurrent state at token {self.length} can go back to token {self.shortest}, not to {length}"
            raise UsageError(
                problem, f"make the state with a rollback above {self.rollback}, or restore an earlier snapshot"
            )
        back = self.length - length
        if not back:
            return
        for _ in range(back):
            self._matrices.pop()
        kept = self._conv_BTC.shape[1] - back
        # The zeros in front keep the size; nothing can reach them any more.
        self._conv_BTC = functional.pad(self._conv_BTC[:, :kept], (0, 0, back, 0))
        self.lengths = (length,) * self.batch

    def snapshot(self) -> MambaSnapshot | None:
        """The present alone, to be kept or saved; None before the first token."""
        if not self.lengths:
            return None
        return MambaSnapshot(lengths=self.lengths, conv=self.conv.clone(), matrix=_alone(self.matrix))

    def restore(self, snapshot: MambaSnapshot | None) -> None:
        """Continue from a snapshot; `truncate` reaches back to it and no further."""
        if snapshot is None:
            self.lengths, self._conv_BTC = (), torch.empty(0)
            self._matrices.clear()
            return
        config, batch = self.config, len(snapshot.lengths)
        given = (tuple(snapshot.conv.shape), tuple(snapshot.matrix.shape))
        own = (
            (batch, config.d_conv - 1, config.d_conv_channels),
            (batch, config.n_heads, config.head_dim, config.d_state),
        )
        if given != own:
            raise UsageError(
                f"the snapshot's shapes {given} are not the state's {own}", "restore it into a state of the same config"
            )
        self.lengths = snapshot.lengths
        self._matrices.clear()
        self._conv_BTC = functional.pad(snapshot.conv, (0, 0, self.rollback, 0))
        self._matrices.append(snapshot.matrix.float())

    @classmethod
    def stack(cls, states: Sequence[MambaState], *, rollback: int = 0) -> MambaState:
        """One state whose rows are those of the given ones, at their own lengths; its way back begins here.

        The given states stay as they are. They have met tokens, and are of one config, dtype and device.
        """
        if not states or any(state.config != states[0].config or not state.lengths for state in states):
            raise UsageError("only states of one config that hold tokens can be stacked", "feed each sequence first")
        stacked = cls(states[0].config, rollback=rollback)
        stacked.lengths = tuple(length for state in states for length in state.lengths)
        conv_BTC = torch.cat([state.conv for state in states])
        stacked._conv_BTC = functional.pad(conv_BTC, (0, 0, rollback, 0)) if rollback else conv_BTC
        stacked._matrices.append(torch.cat([state.matrix for state in states]))
        return stacked

    def unstack(self) -> list[MambaState]:
        """Each row as a state of its own, which can be cut as far back as this one. Rows are views, not copies."""
        rows = []
        for row, length in enumerate(self.lengths):
            state = MambaState(self.config, rollback=self.rollback)
            state.lengths = (length,)
            state._conv_BTC = self._conv_BTC[row : row + 1]
            state._matrices.extend(matrix[row : row + 1] for matrix in self._matrices)
            rows.append(state)
        return rows


def _alone(tensor: Tensor) -> Tensor:
    """The tensor, copied only where it is a part of something larger, which it would keep alive."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()
