"""Whether the weights themselves are in doubt, whatever the batch at hand made of them.

Three witnesses, none of which needs the batch: a weight that is no number; a step in which the norm of all weights moved by far more than
usual, through whatever cause (a huge update, a flipped bit, somebody's assignment); and the loop's own probe, the loss of a
batch that is known to be good, if it gives one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from overwinter.learn.stability.config import GuardConfig
from overwinter.learn.stability.ladder import Weights

USUAL = 10.0
"""Times the usual movement."""
FORGIVEN = 20
"""Taken steps without an alarm after which a movement is no reason for doubt any more."""


class Doubt:
    """Judges the weights before each step."""

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.state: dict[str, float] = {}

    def judge(self, step: int, norm: float) -> Weights:
        """What speaks against the weights that a step's loss was computed with, by the norm of all of them."""
        if not math.isfinite(norm):
            return Weights(finite=False, since=step - 1)
        before, usual = self.state.get("norm"), self.state.get("usual")
        if before is not None:
            moved = abs(norm - before) / max(before, 1e-30)
            if usual is not None and moved > max(self.config.weight_jump, USUAL * usual):
                self.state |= {"since": step - 1, "moved": moved}
            else:
                # Of some fifty steps; the first movement begins it.
                self.state["usual"] = moved if usual is None else 0.98 * usual + 0.02 * moved
        self.state["norm"] = norm
        if "since" not in self.state:
            return Weights()
        doubt = f"weights that moved by {self.state['moved']:.1%} in a step"
        return Weights(doubt=doubt, since=int(self.state["since"]))

    def settle(self, step: int) -> None:
        """A step without an alarm was taken: what moved long ago has done no harm."""
        if "since" in self.state and step - self.state["since"] > FORGIVEN:
            del self.state["since"], self.state["moved"]

    def remember(self, value: float | None) -> None:
        """The present weights are healthy, and this is what the probe gives."""
        if value is not None:
            self.state["probe"] = value

    def ask(self, step: int, weights: Weights, value: float | None) -> Weights:
        """With the probe's word on weights that refusals put in doubt."""
        healthy = self.state.get("probe")
        if value is None or healthy is None:
            return weights
        margin = self.config.loss_margin if self.config.loss_margin is not None else 0.5 * abs(healthy)
        if value <= healthy + margin:
            return Weights(cleared=True)
        return Weights(doubt=f"a probe of {value:.4g} after {healthy:.4g}", since=min(weights.since or step, step) - 1)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state = dict(state)
