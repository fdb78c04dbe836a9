"""muP and CompleteP: hyper-parameters found on a small model, carried over to a wide or deep one.

With m = width / base width and m_L = depth / base depth, and σ, η, ε, λ those of the small model:

    tensor             start's std    Adam's rate            decay    Adam's ε            forward
    embedding          σ              η                      λ        ε                   –
    hidden matrices    σ/√m           η·m⁻¹·m_L^(α−1)        λ·m      ε·m⁻¹·m_L^(−α)      –
    head               σ              η                      λ        ε                   logits / m
    norms, biases      1, 0           η·m_L^(α−1)            0        ε                   –
    attention logits                                                                      1/d_head in place of 1/√d_head
    residual branches                                                                     times m_L^(−α)

`mup` (Tensor Programs V, arXiv 2203.03466) is the table with m_L = 1; `completep` (arXiv 2505.01618, α = 1) carries depth too. The
forward factors are switches that the decoder has anyway (`logit_divisor`, `attention_scale`, `residual_scale`), so that a
model trained this way is an ordinary folder. With Muon, hidden matrices need no factor under the `spectral` rule, and 1/√m under the
`rms` rule, whose updates have a norm that grows by √width; this row is derived here, not taken from a paper.

Refused: NOBLE branches and thin embeddings, whose ranks are widths of their own that no row speaks of.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from overwinter.errors import UsageError
from overwinter.learn.train.muon import Scale
from overwinter.model.config import Config
from overwinter.model.initialise import Init


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """From which model hyper-parameters are carried over."""

    kind: Literal["mup", "completep"]
    base_width: int
    base_depth: int | None = None
    """Layers of the small model; of `completep` alone."""
    alpha: float = 1.0
    """Depth exponent of `completep`."""

    def __post_init__(self) -> None:
        if self.kind not in ("mup", "completep") or self.base_width < 1:
            raise UsageError(
                f"scaling cannot be {self.kind!r} from width {self.base_width}", "use mup or completep, and a width"
            )
        if (self.kind == "completep") != (self.base_depth is not None):
            raise UsageError(
                f"{self.kind} and base_depth {self.base_depth} do not fit",
                "give base_depth with completep, and only there",
            )

    def width(self, config: Config) -> float:
        """m."""
        return config.d_model / self.base_width

    def depth(self, config: Config) -> float:
        """m_L; 1 with muP."""
        return 1.0 if self.base_depth is None else config.n_layers / self.base_depth

    def model(self, config: Config, init: Init) -> tuple[Config, Init]:
        """The forward factors and the spread of the start. Call it once, on what the small model's recipe says."""
        if config.noble is not None or config.lowrank_orthogonal is not None:
            raise UsageError("muP has no rule for NOBLE branches and thin embeddings", "train them without scaling")
        if init.matrices != "normal" or init.outputs not in ("same", "zero"):
            raise UsageError(
                f"Init(matrices={init.matrices!r}, outputs={init.outputs!r}) scales with size by itself",
                "use Init(matrices='normal', outputs='same') and its std at the base width",
            )
        m = self.width(config)
        factors = {
            "logit_divisor": config.logit_divisor * m,
            "attention_scale": 1 / config.d_head if config.attention_scale is None else config.attention_scale,
            "residual_scale": config.residual_scale * self.depth(config) ** -self.alpha,
        }
        return dataclasses.replace(config, **factors), dataclasses.replace(init, std=init.std / math.sqrt(m))

    def rates(self, config: Config, kind: str, *, muon: Scale | None = None) -> Rates:
        """Factors on rate, decay and ε for a kind of parameters (model/groups.py).

        Args:
            config: of the model.
            kind: name of the kind.
            muon: the scale rule if Muon moves these, else None for Adam.
        """
        m, m_l = self.width(config), self.depth(config)
        if kind in ("embed", "head"):
            return Rates()
        deep = m_l ** (self.alpha - 1)
        if kind not in HIDDEN:
            return Rates(lr=deep)
        if muon is not None:
            return Rates(lr=1.0 if muon == "spectral" else 1 / math.sqrt(m))
        return Rates(lr=deep / m, weight_decay=m, eps=1 / (m * m_l**self.alpha))


HIDDEN = frozenset({"matrix", "reinjection"})
"""Kinds whose fan-in and fan-out are both widths of the stream."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Factors on what the optimiser is given."""

    lr: float = 1.0
    weight_decay: float = 1.0
    eps: float = 1.0
