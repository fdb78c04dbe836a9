"""What an estimator hands back, and what a caller gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from overwinter.learn.batch import Floats
from overwinter.learn.credit.arrays import Array, Buckets

if TYPE_CHECKING:
    from overwinter.learn.credit.memory import GraphMemory


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """An estimator's answer before diagnostics, in the arrays of its backend.

    Attributes:
        advantages: [S]
        macro: [S] the part that is the same for the whole trajectory, where there are two.
        micro: [S] the part that tells the steps apart, weighted as it was added.
        ratio: [S] hindsight ratio rho of the taken actions, after clipping.
        raw_ratio: [S] the same before clipping.
        states: the buckets that steps were compared in.
        memory: what to pass in next time.
        tokens: [N] advantages of single tokens, where they differ within a step.
        candidates: [S, A] advantages of all candidates, where the estimator has them.
        figures: what it has to say beside the usual diagnostics.
    """

    advantages: Array
    macro: Array | None = None
    micro: Array | None = None
    ratio: Array | None = None
    raw_ratio: Array | None = None
    states: Buckets | None = None
    memory: GraphMemory | None = None
    tokens: Array | None = None
    candidates: Array | None = None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Credit:
    """Advantages of a batch, and what to log beside them.

    Attributes:
        advantages: [S] one for each row of the batch; broadcast it to the tokens of the step, under the step's own mask.
        diagnostics: figures worth a curve; their names and meaning stand in diagnostics.py.
        memory: the state of estimators that remember (pg, calibrated); pass it to the next call. None of all others.
        tokens: [N] advantages of single tokens (gae_token alone).
        candidates: [S, A] advantages of all candidates (hca_state alone).
    """

    advantages: Floats
    diagnostics: dict[str, float] = field(default_factory=dict)
    memory: Any = None
    tokens: Floats | None = None
    candidates: Floats | None = None
