"""The table of estimators: names, what they need, where they come from, and every default constant.

    credit = advantages(batch, Config(estimator="gigpo", options={"omega": 0.5}))
    credit.advantages        # [S]

A row's `options` are its defaults; `Config.options` changes some of them by name, nested ones with a nested mapping. What a
constant means stands at its dataclass, why it has its value in docs/credit.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from math import inf
from typing import Any

import numpy as np

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch
from overwinter.learn.credit.arrays import Arrays, Frame, NumpyArrays
from overwinter.learn.credit.calibrated import Calibrated, calibrated
from overwinter.learn.credit.critic import Gae, gae_token, gae_turn
from overwinter.learn.credit.diagnostics import diagnose
from overwinter.learn.credit.graph import GraphGpo, GraphHca, Pg, graphgpo, graphhca, pg
from overwinter.learn.credit.groups import (
    BatchNormalised,
    Grpo,
    MaxRl,
    NoOptions,
    batch_normalised,
    dr_grpo,
    grpo,
    maxrl,
    rloo,
)
from overwinter.learn.credit.hca import HcaReturn, HcaState, hca_return, hca_state
from overwinter.learn.credit.hindsight import (
    Hcapo,
    HcapoHead,
    Hindsight,
    Random,
    hcapo,
    hcapo_head,
    random,
    rho_one,
)
from overwinter.learn.credit.parts import Credit, Parts
from overwinter.learn.credit.shaping import Empg, Potential, empg, potential
from overwinter.learn.credit.steps import Gigpo, Hgpo, gigpo, hgpo


@dataclass(frozen=True, kw_only=True)
class Row:
    """One estimator.

    Attributes:
        function: (frame, options) → Parts; with `remembers`, (frame, options, memory) → Parts.
        options: a frozen dataclass that holds its defaults.
        needs: optional columns of the batch that it cannot do without.
        uses: those that it reads where they are there.
        source: paper or repository.
        remembers: whether it reads and returns a memory.
        reads_states: whether it compares states, so that their keys must mean something.
    """

    function: Callable[..., Parts]
    options: Any
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    source: str
    remembers: bool = False
    reads_states: bool = False


MACRO = Grpo(ddof=1, eps=1e-3, clip=5.0)
"""The trajectory term of all estimators that add one; exactly the row "grpo"."""

ESTIMATORS: dict[str, Row] = {
    # One outcome for the whole trajectory.
    "grpo": Row(function=grpo, options=MACRO, source="2402.03300; ddof as in verl and TRL"),
    "rloo": Row(function=rloo, options=NoOptions(), source="2402.14740"),
    "dr_grpo": Row(function=dr_grpo, options=NoOptions(), source="2503.20783"),
    "batch_normalised": Row(
        function=batch_normalised,
        options=BatchNormalised(over="trajectories", centre=True, scale_of="centred", eps=1e-3),
        source="REINFORCE++-baseline 2501.03262; LitePPO 2508.08221 with centre=False, scale_of='rewards'",
    ),
    "maxrl": Row(function=maxrl, options=MaxRl(eps=1e-6, clip=5.0), source="prime-rl"),
    # A critic.
    "gae_turn": Row(
        function=gae_turn, options=Gae(gamma=0.99, lam=0.95), needs=("value",), source="1506.02438, a turn a step"
    ),
    "gae_token": Row(
        function=gae_token,
        options=Gae(gamma=1.0, lam=0.95),
        needs=("tokens", "token_value"),
        source="1506.02438, a token a step",
    ),
    # Steps that started from the same state.
    "gigpo": Row(
        function=gigpo,
        options=Gigpo(gamma=0.95, omega=1.0, normalise="std", over="steps", similarity=1.0, ddof=1, eps=1e-3),
        source="2505.10978",
        reads_states=True,
    ),
    "hgpo": Row(
        function=hgpo,
        options=Hgpo(gamma=0.95, history=2, alpha=1.0, base=True, normalise="std", eps=1e-3),
        source="2602.22817",
        reads_states=True,
    ),
    # The graph of pooled rollouts.
    "graphgpo": Row(
        function=graphgpo,
        options=GraphGpo(gamma=0.1, omega=1.0, ddof=1, eps=1e-6, macro=MACRO),
        source="2605.26684",
        reads_states=True,
    ),
    "graphhca": Row(
        function=graphhca,
        options=GraphHca(
            gamma=0.95,
            order=1.0,
            floor=1e-2,
            omega=1.0,
            standardise="state",
            open_end="graph",
            successor="realised",
            macro=MACRO,
        ),
        source="2609.35084",
        reads_states=True,
    ),
    "pg": Row(
        function=pg,
        options=Pg(gamma=0.95, decay=0.6, forget=0.05, floor=1e-2, clip=3.0, omega=1.0, potential="log", macro=MACRO),
        source="ours: a graph potential that persists",
        remembers=True,
        reads_states=True,
    ),
    "calibrated": Row(
        function=calibrated,
        options=Calibrated(),
        uses=("value",),
        source="ours: the weight of evidence that an action gives for success",
        remembers=True,
        reads_states=True,
    ),
    # Hindsight: how much likelier an action is once its outcome is known.
    "hcapo": Row(
        function=hcapo,
        options=Hcapo(
            gamma=0.95,
            omega=1.0,
            smoothing=1.0,
            statistics="cross_state",
            do_no_harm=True,
            recentre=inf,
            eps=1e-3,
            temperature=5.0,
            clip_low=0.8,
            clip_high=1.2,
            macro=MACRO,
        ),
        needs=("hindsight_score",),
        source="2603.08754",
    ),
    "hcapo_head": Row(
        function=hcapo_head,
        options=HcapoHead(
            gamma=0.95,
            omega=1.0,
            smoothing=1.0,
            statistics="cross_state",
            do_no_harm=True,
            recentre=0.1,
            eps=1e-3,
            clip_low=0.8,
            clip_high=1.2,
            macro=MACRO,
        ),
        needs=("policy", "hindsight"),
        source="2603.08754 with h and pi over candidates",
    ),
    "hca_state": Row(
        function=hca_state,
        options=HcaState(gamma=0.99, reward_at="state", pool="state", clip=inf),
        needs=("policy",),
        source="1912.02503, state-conditional",
        reads_states=True,
    ),
    "hca_return": Row(
        function=hca_return,
        options=HcaReturn(gamma=0.99, clip=10.0),
        needs=("policy", "hindsight"),
        source="1912.02503, return-conditional",
    ),
    # What a model measures along the way.
    "empg": Row(
        function=empg,
        options=Empg(k=1.0, k_next=1.0, zeta=0.05, macro=MACRO),
        needs=("entropy",),
        source="2509.09265; constants of one port",
    ),
    "trace": Row(
        function=potential,
        options=Potential(gamma=0.0, omega=1.0, outcome="macro", eps=1e-3, macro=MACRO),
        needs=("value",),
        source="2607.13988, from its abstract",
    ),
    "igpo": Row(
        function=potential,
        options=Potential(gamma=1.0, omega=1.0, outcome="last", eps=1e-3, macro=MACRO),
        needs=("value",),
        source="2510.14967",
    ),
    # Controls: an estimator that does not beat both has shown nothing.
    "rho_one": Row(
        function=rho_one,
        options=Hindsight(
            gamma=0.95,
            omega=1.0,
            smoothing=1.0,
            statistics="cross_state",
            do_no_harm=True,
            recentre=inf,
            eps=1e-3,
            macro=MACRO,
        ),
        source="hcapo without its ratio",
    ),
    "random": Row(function=random, options=Random(omega=1.0, seed=0, macro=MACRO), source="noise at every step"),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which estimator, and what it shall do differently from its row in `ESTIMATORS`.

    Args:
        estimator: a name of `estimator_names()`.
        options: changed constants by name; a nested mapping for a nested group of them, as in {"macro": {"ddof": 0}}.
    """

    estimator: str = "grpo"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.estimator not in estimator_names():
            raise UsageError(
                f"there is no estimator {self.estimator!r}", f"choose one of {', '.join(estimator_names())}"
            )
        self.resolved()

    def resolved(self) -> Any:
        """The estimator's options dataclass with the changes in; raises UsageError for an unknown or impossible one."""
        return changed(ESTIMATORS[self.estimator].options, self.options, self.estimator)


def changed(defaults: Any, changes: Mapping[str, Any], owner: str) -> Any:
    """A dataclass with some fields replaced; mappings go into nested dataclasses."""
    names = [option.name for option in fields(defaults)]
    unknown = sorted(set(changes) - set(names))
    if unknown:
        has = f"it has {', '.join(names)}" if names else "it has none"
        raise UsageError(f"{owner} has no option {', '.join(unknown)}", f"correct the name; {has}")
    resolved = {}
    for name, value in changes.items():
        old = getattr(defaults, name)
        nested = is_dataclass(old) and isinstance(value, Mapping)
        resolved[name] = changed(old, value, f"{owner}.{name}") if nested else value
    return replace(defaults, **resolved)


def estimator_names() -> list[str]:
    """Names that `Config` accepts, in the order of the table."""
    return list(ESTIMATORS)


def remembers(estimator: str) -> bool:
    """Whether `Credit.memory` of an estimator should go into its next call."""
    return ESTIMATORS[estimator].remembers


def advantages(batch: Batch, config: Config | None = None, memory: Any = None) -> Credit:
    """Advantages of every row of a batch.

    Args:
        batch: trajectories; the columns that the estimator needs must be there.
        config: which estimator; GRPO without it.
        memory: `Credit.memory` of the previous call, for estimators that remember; others refuse it.

    Raises:
        UsageError: a missing column, a reward that is not a number, a memory where none is read.
    """
    config = config or Config()
    frame, parts = estimate(batch, config, memory, NumpyArrays())
    x = frame.x
    return Credit(
        advantages=x.numpy(parts.advantages),
        diagnostics=diagnose(frame, parts) if len(batch) else {},
        memory=parts.memory,
        tokens=None if parts.tokens is None else x.numpy(parts.tokens),
        candidates=None if parts.candidates is None else x.numpy(parts.candidates),
    )


def estimate(batch: Batch, config: Config, memory: Any, x: Arrays) -> tuple[Frame, Parts]:
    """The work of `advantages` on the arrays of any backend."""
    row = ESTIMATORS[config.estimator]
    if memory is not None and not row.remembers:
        raise UsageError(f"{config.estimator} has no memory", "pass none, or choose pg or calibrated")
    batch.need(*row.needs)
    demand_numbers(batch, (*row.needs, *(name for name in row.uses if getattr(batch, name) is not None)))
    frame = Frame(batch, x)
    if not len(batch):
        return frame, Parts(advantages=x.of(np.zeros(0)), memory=memory)
    options = config.resolved()
    parts = row.function(frame, options, memory) if row.remembers else row.function(frame, options)
    return frame, parts


def demand_numbers(batch: Batch, columns: tuple[str, ...]) -> None:
    """Raises UsageError where a reward, or a column that will be read, is NaN or infinite (log-probabilities may be -inf)."""
    for name in ("reward", *columns):
        values = np.asarray(getattr(batch, name), dtype=np.float64)
        wrong = np.isnan(values) | (values == inf) | ((values == -inf) & (name not in ("policy", "hindsight")))
        if wrong.any():
            rows = np.unique(np.nonzero(wrong)[0])[:5].tolist()
            raise UsageError(
                f"{name} is not a finite number in rows {rows}{' …' if wrong.sum() > 5 else ''}",
                "find out why (a verifier that failed is not a reward of 0), or leave the trajectories out with "
                "filters.keep(batch, filters.finite(batch))",
            )
