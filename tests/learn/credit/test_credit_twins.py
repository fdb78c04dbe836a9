"""Fast and plain say the same, and so do NumPy and Torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from credit_kit import ACTIONS, NAMES, of, random_batch, three_rollouts

from overwinter.errors import UsageError
from overwinter.learn.credit import ESTIMATORS, Config, advantages, plain
from overwinter.learn.credit.arrays import Frame, NumpyArrays
from overwinter.learn.credit.graph import graph_credit
from overwinter.learn.credit.memory import remember
from overwinter.learn.credit.potentials import Graph, solve
from overwinter.learn.credit.torch_backend import TorchArrays, tensor_advantages

SEEDS = range(6)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def options(estimator: str, **changes: Any) -> Any:
    return Config(estimator=estimator, options=changes).resolved()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("estimator", "changes"),
    [
        ("grpo", {}),
        ("grpo", {"ddof": 0, "clip": 0.7}),
        ("gae_turn", {}),
        ("gigpo", {}),
        ("gigpo", {"over": "trajectories", "normalise": "mean", "omega": 0.4}),
        ("hgpo", {}),
        ("hgpo", {"history": 4, "alpha": 2.0, "base": False}),
        ("graphhca", {}),
        ("graphhca", {"open_end": "sink", "order": 5.0, "omega": 0.5}),
        ("graphhca", {"order": math.inf}),
        ("graphgpo", {}),
        ("hcapo", {}),
        ("hcapo", {"smoothing": 0.5, "do_no_harm": False}),
    ],
)
def test_the_fast_path_is_the_plain_one(estimator: str, changes: dict[str, Any], seed: int) -> None:
    batch = random_batch(seed)
    slow = getattr(plain, estimator)(batch, options(estimator, **changes))
    np.testing.assert_allclose(of(estimator, batch, **changes), slow, atol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_rloo_is_the_plain_one(seed: int) -> None:
    batch = random_batch(seed, size=3)
    np.testing.assert_allclose(of("rloo", batch), plain.rloo(batch), atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_graph_credit_before_it_is_standardised(seed: int) -> None:
    batch = random_batch(seed)
    for open_end in ("graph", "sink"):
        chosen = options("graphhca", open_end=open_end)
        fast = graph_credit(Frame(batch, NumpyArrays()), chosen)[0]
        np.testing.assert_allclose(fast, plain.graph_credit(batch, chosen), atol=1e-7)


def test_pg_remembers_as_the_plain_one_does() -> None:
    memory, slow_memory = None, None
    for seed in range(9):
        # The same tasks again, other walks; after some batches the first counts are forgotten.
        batch = random_batch(seed, groups=2, size=3)
        credit = advantages(batch, Config(estimator="pg"), memory)
        slow, slow_memory = plain.pg(batch, options("pg"), slow_memory)
        memory = credit.memory
        np.testing.assert_allclose(credit.advantages, slow, atol=1e-6)
    assert len(memory.count) == len(slow_memory[0])
    assert memory.count.sum() == pytest.approx(sum(slow_memory[0].values()))
    assert memory.goal.sum() == pytest.approx(sum(goal for goal, _ in slow_memory[1].values()))


def test_potentials_with_cycles_leaks_and_stochastic_actions() -> None:
    rng = np.random.default_rng(5)
    source, action, target = rng.integers(0, 6, 40), rng.integers(0, 2, 40), rng.integers(0, 8, 40)
    weight, leak = rng.uniform(0.1, 2, 40), rng.uniform(0, 1, 8)
    fixed = np.arange(8) >= 6
    given = np.where(np.arange(8) == 7, 1.0, 0.0)
    graph = Graph(
        nodes=8,
        source=source,
        target=target,
        action=action,
        weight=weight,
        end=np.zeros(40),
        leak=leak,
        fixed=fixed,
        given=given,
    )
    edges: dict[Any, float] = {}
    for s, a, t, w in zip(source.tolist(), action.tolist(), target.tolist(), weight.tolist(), strict=True):
        edges[s, a, t] = edges.get((s, a, t), 0.0) + w
    for order in (1.0, 2.0, math.inf):
        phi, _ = solve(graph, NumpyArrays(), gamma=0.9, order=order)
        slow = plain.potentials(edges, {6: 0.0, 7: 1.0}, dict(enumerate(leak.tolist())), 0.9, order)
        np.testing.assert_allclose(phi, [slow.get(node, 0.0) for node in range(8)], atol=1e-8)


EXACT = {
    "grpo", "rloo", "dr_grpo", "batch_normalised", "maxrl", "gae_turn", "gae_token", "gigpo", "hgpo", "graphgpo", "hca_state",
    "trace", "rho_one", "random",
}  # fmt: skip
"""No exp, log or power on the way, and only short sums, whose order no library changes: the same bits."""


@pytest.mark.parametrize("estimator", NAMES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_torch_agrees_with_numpy(estimator: str, seed: int) -> None:
    batch, config = random_batch(seed), Config(estimator=estimator)
    here, there = advantages(batch, config), tensor_advantages(batch, config)
    assert there.advantages.dtype == torch.float64
    if estimator in EXACT:
        np.testing.assert_array_equal(there.advantages.numpy(), here.advantages)
    else:
        # 1e-12 of absolute error in a credit that standardisation may divide by a small deviation.
        np.testing.assert_allclose(there.advantages.numpy(), here.advantages, rtol=1e-11, atol=1e-11)
    assert there.diagnostics == pytest.approx(here.diagnostics, abs=1e-9)
    for name in ("tokens", "candidates"):
        assert (getattr(here, name) is None) == (getattr(there, name) is None)


@pytest.mark.parametrize("order", [2.0, math.inf])
def test_torch_agrees_for_other_power_means(order: float) -> None:
    batch, config = random_batch(3), Config(estimator="graphhca", options={"order": order, "standardise": "none"})
    there = tensor_advantages(batch, config).advantages.numpy()
    np.testing.assert_allclose(there, advantages(batch, config).advantages, rtol=1e-11, atol=1e-11)


def test_every_row_of_the_table_is_tested_here() -> None:
    assert set(NAMES) == set(ESTIMATORS)
    assert set(NAMES) >= EXACT


def test_the_torch_backend_takes_a_memory() -> None:
    first, second = random_batch(0), random_batch(1)
    memory = remember(None, first, decay=0.6, forget=0.05)
    config = Config(estimator="pg")
    there = tensor_advantages(second, config, memory)
    np.testing.assert_allclose(there.advantages.numpy(), advantages(second, config, memory).advantages, atol=1e-10)
    with pytest.raises(UsageError, match="no memory"):
        tensor_advantages(second, Config(estimator="grpo"), memory)


@pytest.mark.parametrize("successor", ["realised", "average"])
@pytest.mark.parametrize("evidence", [0.0, 0.7])
def test_torch_agrees_on_calibrated_credit_over_batches(successor: str, evidence: float) -> None:
    config = Config(estimator="calibrated", options={"successor": successor, "evidence": evidence})
    memories: tuple[Any, Any] = (None, None)
    for seed in range(4):
        batch = random_batch(seed)
        here, there = advantages(batch, config, memories[0]), tensor_advantages(batch, config, memories[1])
        np.testing.assert_allclose(there.advantages.numpy(), here.advantages, rtol=1e-10, atol=1e-10)
        assert there.diagnostics == pytest.approx(here.diagnostics, abs=1e-9)
        assert ("head_temperature" in there.diagnostics) == (evidence > 0)
        memories = here.memory, there.memory


def test_backends_do_not_write_into_what_they_were_given() -> None:
    for x in (NumpyArrays(), TorchArrays()):
        column = np.zeros(3)
        x.put(x.of(column), np.array([1]), x.of(np.ones(1)))
        assert column.sum() == 0


def test_an_empty_batch_has_no_credit() -> None:
    batch = three_rollouts()
    nothing = {name: getattr(batch, name)[:0] for name in ("group", "trajectory", "state", "next_state", "action")}
    nothing |= {name: getattr(batch, name)[:0] for name in ("reward", "terminated", "truncated", "success")}
    credit = advantages(type(batch)(**nothing))
    assert credit.advantages.shape == (0,)
    assert credit.diagnostics == {}
    assert ACTIONS == 3
