"""Numbers worked out beforehand, to the digits they were printed with: three rollouts of one task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from credit_kit import GOAL, of, three_rollouts

from overwinter.learn.batch import Batch
from overwinter.learn.credit import Config, advantages
from overwinter.learn.credit.arrays import Frame, NumpyArrays
from overwinter.learn.credit.graph import graph_credit, rollout_graph
from overwinter.learn.credit.potentials import solve
from overwinter.learn.credit.table import estimate

BATCH = three_rollouts()
POPULATION = {"ddof": 0, "eps": 1e-6}


def close(values: Any, printed: list[float], digits: int = 6) -> None:
    np.testing.assert_allclose(values, printed, rtol=0, atol=1.01 * 10.0**-digits)


@pytest.mark.parametrize(
    ("estimator", "options", "printed"),
    [
        ("grpo", POPULATION, [0.7071, -1.4142, 0.7071]),
        ("grpo", {"ddof": 1, "eps": 1e-6}, [0.5773, -1.1547, 0.5773]),
        ("rloo", {}, [0.5, -1, 0.5]),
        ("dr_grpo", {}, [0.3333, -0.6667, 0.3333]),
        ("maxrl", {}, [0.5, -1, 0.5]),
        ("batch_normalised", {"eps": 0.0}, [0.7071, -1.4142, 0.7071]),
        ("batch_normalised", {"eps": 0.0, "centre": False, "scale_of": "rewards"}, [0.7071, -1.4142, 0.7071]),
    ],
)
def test_outcome_estimators(estimator: str, options: dict[str, Any], printed: list[float]) -> None:
    close(of(estimator, BATCH, **options), np.repeat(printed, [3, 3, 4]), 4)


@pytest.mark.parametrize(
    ("normalise", "printed"),
    [
        ("std", [0.909837, 0.577349, 0, -0.865455, -1.154698, -0.865455, 0.821073, 0, 0.577349, 0]),
        ("mean", [0.462531, 0.316667, 0, -0.439969, -0.633333, -0.439969, 0.417406, 0, 0.316667, 0]),
    ],
)
def test_gigpo(normalise: str, printed: list[float]) -> None:
    config = Config(estimator="gigpo", options={"normalise": normalise, "eps": 1e-6})
    close(estimate(BATCH, config, None, NumpyArrays())[1].micro, printed)


def test_gigpo_step_returns() -> None:
    returns = Frame(BATCH, NumpyArrays()).backwards(BATCH.reward, 0.95)
    close(returns, [0.9025, 0.95, 1, 0, 0, 0, 0.857375, 0.9025, 0.95, 1])


STANDARDISED = [1, 0.707107, 0, 1, -1.414214, -1, -1, 0, 0.707107, 0]


@pytest.mark.parametrize(
    ("open_end", "phi", "credit"),
    [
        (
            "graph",
            {0: 0.7886, 1: 0.85139, 2: 0.95, 3: 0.80882},
            [0.076611, 0.109592, 0.051293, 0.076611, -0.076611, 0.025318, 0.025318, 0.051293, 0.109592, 0.051293],
        ),
        (
            "sink",
            {0: 0.33639, 1: 0.70819, 3: 0},
            [0.74444, 0.293749, 0.051293, 0.74444, -0.74444, -3.515687, -3.515687, 4.260128, 0.293749, 0.051293],
        ),
    ],
)
def test_graphhca(open_end: str, phi: dict[int, float], credit: list[float]) -> None:
    frame = Frame(BATCH, NumpyArrays())
    config = Config(estimator="graphhca", options={"open_end": open_end})
    close(graph_credit(frame, config.resolved())[0], credit, 5)
    rollouts = rollout_graph(BATCH, sinks=open_end == "sink", by_action=False)
    values, _ = solve(rollouts.graph, NumpyArrays(), gamma=0.95, order=1.0)
    for state, value in phi.items():
        close(values[rollouts.source[BATCH.state == state][0]], value, 4)
    close(estimate(BATCH, config, None, NumpyArrays())[1].micro, STANDARDISED)


SCORES = np.array([-0.40, -1.20, -0.10, -0.9, -0.3, -0.5, -0.2, -2.0, -0.6, -0.1])
PAPER = {"eps": 0.0, "macro": {"ddof": 0, "eps": 0.0, "clip": float("inf")}}


def test_hcapo_ratios() -> None:
    batch = three_rollouts(hindsight_score=SCORES)
    _, parts = estimate(batch, Config(estimator="hcapo", options=PAPER), None, NumpyArrays())
    close(
        parts.ratio,
        [1.029520, 0.877299, 1.093182, 0.934351, 1.053478, 1.012171, 1.098601, 0.8, 1.014137, 1.120794],
    )
    likelihood = [0.923116, 0.786628, 0.980199, 0.835270, 0.941765, 0.904837, 0.960789, 0.670320, 0.886920, 0.980199]
    close(np.exp(SCORES / 5), likelihood)


@pytest.mark.parametrize(
    ("smoothing", "printed"),
    [
        (1.0, [1.310369, 1.095536, 1.678587, *[-2.896577] * 3, 1.339038, 0.845403, 1.387336, 1.740569]),
        (0.5, [1.156722, 1.337714, 1.624304, *[-2.909316] * 3, 1.047864, 1.071605, 1.51161, 1.685236]),
    ],
)
def test_hcapo(smoothing: float, printed: list[float]) -> None:
    batch = three_rollouts(hindsight_score=SCORES)
    close(of("hcapo", batch, smoothing=smoothing, **PAPER), printed)


def turns(**columns: Any) -> Batch:
    rows: dict[str, Any] = {
        "group": np.zeros(3, dtype=np.int64),
        "trajectory": np.zeros(3, dtype=np.int64),
        "state": np.arange(3),
        "next_state": np.array([1, 2, GOAL]),
        "action": np.zeros(3, dtype=np.int64),
        "reward": np.array([0.0, 0.0, 1.0]),
        "terminated": np.array([False, False, True]),
        "truncated": np.zeros(3, dtype=bool),
        "success": np.array([1.0]),
        "value": np.array([0.2, 0.5, 0.7]),
    }
    return Batch(**(rows | columns))


def test_turn_gae() -> None:
    close(of("gae_turn", turns()), [0.741879, 0.47515, 0.3])


def test_token_gae_of_one_token_each_is_turn_gae() -> None:
    batch = turns(tokens=np.ones(3, dtype=np.int64), token_value=np.array([0.2, 0.5, 0.7]))
    close(of("gae_token", batch, gamma=0.99), [0.741879, 0.47515, 0.3])


def test_token_gae_spreads_over_tokens() -> None:
    batch = turns(tokens=np.array([2, 1, 1]), token_value=np.array([0.2, 0.4, 0.5, 0.7]))
    credit = advantages(batch, Config(estimator="gae_token", options={"lam": 0.0}))
    assert credit.tokens is not None
    close(credit.tokens, [0.2, 0.1, 0.2, 0.3])
    close(credit.advantages, [0.15, 0.2, 0.3])


def test_hgpo_weighs_longer_histories_more() -> None:
    # Rows 1 and 4 share state 1 and the state before; row 8 shares state 1 alone. History 1: levels 1 and 2, weights 2 and 3.
    values = of("hgpo", BATCH, history=1, base=False, normalise="mean", gamma=1.0)
    returns = np.array([1.0, 0.0, 1.0])
    level1 = returns - returns.mean()
    close(values[[1, 4]], [(2 * level1[0] + 3 * 0.5) / 5, (2 * level1[1] - 3 * 0.5) / 5])
    close(values[8], level1[2])


def test_graphgpo_prefers_the_shorter_way() -> None:
    # From s0: a0 leads to s1 (2 from the goal), b0 to s3 (3 from it); rewards 0.1^2 and 0.1^3, two rows each.
    _, parts = estimate(BATCH, Config(estimator="graphgpo", options={"eps": 0.0}), None, NumpyArrays())
    half = np.sqrt(3) / 2
    close(np.asarray(parts.micro)[[0, 3, 5, 6]], [half, half, -half, -half])


def test_empg() -> None:
    batch = three_rollouts(entropy=np.linspace(0, 1, 10))
    gain = np.exp(-np.linspace(0, 1, 10))
    clear = np.append(gain[1:], 0.0)
    clear[[2, 5, 9]] = 0.0
    modulated = of("grpo", BATCH) * gain / gain.mean() + 0.05 * clear
    close(of("empg", batch), modulated - modulated.mean())


def test_igpo_sums_what_turns_earned() -> None:
    value = np.array([0.1, 0.3, 0.6, 0.1, 0.2, 0.1, 0.1, 0.2, 0.4, 0.8])
    rewards = np.array([0.2, 0.3, 1, 0.1, -0.1, 0, 0.1, 0.2, 0.4, 1])
    scaled = (rewards - rewards.mean()) / (rewards.std() + 1e-3)
    printed = np.concatenate([np.cumsum(part[::-1])[::-1] for part in np.split(scaled, [3, 6])])
    close(of("igpo", three_rollouts(value=value)), printed)


def test_trace_adds_each_turn_s_own_difference() -> None:
    value = np.array([0.1, 0.3, 0.6, 0.1, 0.2, 0.1, 0.1, 0.2, 0.4, 0.8])
    earned = np.array([0.2, 0.3, 0, 0.1, -0.1, 0, 0.1, 0.2, 0.4, 0])
    scaled = (earned - earned.mean()) / (earned.std() + 1e-3)
    close(of("trace", three_rollouts(value=value)), of("grpo", BATCH) + scaled)
