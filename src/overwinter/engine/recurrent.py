"""Recurrent layers in a step: each sequence goes on from its own state, and states at prefix borders are kept for others.

A state has one size however long the text, and cannot be cut. So it belongs to one sequence, is copied only at the border
of a piece of a prompt (`take`), and comes back with the blocks of the same prefix (`give`). Prompts are cut at multiples of the scan's
chunk and nowhere else, and outputs are computed a token at a time even when they are computed again: then the bits of a
state depend on the tokens alone.

Shapes: T tokens of the step, R sequences that are decoded, X projected width, I inner width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from overwinter.engine.memory import Span
from overwinter.engine.prefix import Snapshot
from overwinter.engine.sequence import LiveSequence
from overwinter.model import MambaState
from overwinter.model.cache import Core
from overwinter.model.mamba_state import MambaConfig, MambaSnapshot


class RecurrentLayer:
    """One recurrent layer's memory for one step: the model's `RecurrentMemory`.

    Args:
        sequences: those of the step, with their states; the state of this layer is replaced by the one after the step.
        spans: where their tokens lie.
        layer: counts the recurrent layers.
    """

    def __init__(self, sequences: Sequence[LiveSequence], spans: Sequence[Span], layer: int) -> None:
        self._layer = layer
        pairs = list(zip(sequences, spans, strict=True))
        self._decoded = [
            (live, span.row) for live, span in pairs if span.length == 1 and live.states[layer].batch
        ]  # those that hold tokens already can be stacked
        self._others = [(live, span) for live, span in pairs if span.length > 1 or not live.states[layer].batch]

    def mix(self, core: Core, projected_BLX: Tensor, positions_BL: Tensor) -> Tensor:
        y_TI: Tensor | None = None
        for rows, piece_RLI in self._pieces(core, projected_BLX):
            if y_TI is None:
                y_TI = piece_RLI.new_zeros(positions_BL.shape[1], piece_RLI.shape[-1])
            y_TI[rows] = piece_RLI.flatten(0, 1)
        assert y_TI is not None, "a step has tokens"
        return y_TI[None]

    def _pieces(self, core: Core, projected_BLX: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Rows of the step and what comes out for them."""
        found = []
        for live, span in self._others:
            stop = span.row + span.length
            y_1LI = core(projected_BLX[:, span.row : stop], live.states[self._layer])
            found.append((torch.arange(span.row, stop), y_1LI))
        if self._decoded:
            rows_R = torch.tensor([row for _, row in self._decoded])
            together = MambaState.stack([live.states[self._layer] for live, _ in self._decoded])
            y_R1I = core(projected_BLX[0, rows_R][:, None], together)
            for (live, _), state in zip(self._decoded, together.unstack(), strict=True):
                live.states[self._layer] = state
            found.append((rows_R, y_R1I))
        return found


def fresh_states(configs: Sequence[MambaConfig]) -> list[MambaState]:
    """The states of a sequence without tokens, one per recurrent layer."""
    return [MambaState(config) for config in configs]


def take(live: LiveSequence) -> Snapshot:
    """The sequence's states as they are now, to be kept beside the block that ends here."""
    states = [state.snapshot() for state in live.states]
    return Snapshot(states, sum(state.bytes for state in states if state is not None))


def give(live: LiveSequence, snapshot: Snapshot) -> None:
    """Let the sequence go on from kept states."""
    kept = snapshot.state
    assert isinstance(kept, list), "a snapshot of `take`"
    for state, past in zip(live.states, kept, strict=True):
        state.restore(past)


def to_tensors(live: LiveSequence) -> dict[str, Tensor]:
    """For a file: the states' tensors by layer."""
    found: dict[str, Tensor] = {}
    for layer, state in enumerate(live.states):
        snapshot = state.snapshot()
        if snapshot is not None:
            found |= {f"state.{layer}.{name}": tensor for name, tensor in snapshot.tensors().items()}
    return found


def from_tensors(live: LiveSequence, tensors: dict[str, Tensor]) -> None:
    """The states of `to_tensors`, into a sequence that has fresh ones."""
    for layer, state in enumerate(live.states):
        prefix = f"state.{layer}."
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if own:
            state.restore(MambaSnapshot.of(own))
