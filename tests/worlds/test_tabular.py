"""Worlds as tables: their rules, and the exactness of what is called exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from overwinter.errors import UsageError
from overwinter.worlds.tabular import CorridorConfig, GridConfig, Table, corridor, exact, grid

TINY = GridConfig(size=3, locks=1, decoys=1, pits=1, slip=0.2, horizon=3)


def uniform(table: Table) -> np.ndarray:
    return np.full((table.states, table.actions), 1 / table.actions)


def by_enumeration(table: Table, policy: np.ndarray, state: int, left: int) -> float:
    """Chance of success by adding up every path."""
    if not np.isnan(table.ending[state]):
        return float(table.ending[state])
    if not left:
        return 0.0
    return sum(
        float(policy[state, action] * table.chance[state, action, k])
        * by_enumeration(table, policy, int(table.successor[state, action, k]), left - 1)
        for action, k in itertools.product(range(table.actions), range(table.chance.shape[2]))
        if table.chance[state, action, k] > 0
    )


@pytest.mark.parametrize("shared", [False, True])
def test_tables_are_sound(shared: bool) -> None:
    for table in (
        grid(GridConfig(shared=shared, slip=0.1, pits=2), seed=1, tasks=3),
        grid(GridConfig(ordered=False, locks=3, shared=shared), seed=2, tasks=2),
        corridor(CorridorConfig(shared=shared), seed=3, tasks=2),
    ):
        assert np.allclose(table.chance.sum(2), 1.0)
        assert ((table.successor >= 0) & (table.successor < table.states)).all()
        assert ((table.features >= 0) & (table.features < table.rows)).all()
        over = ~np.isnan(table.ending)
        assert (table.successor[over] == np.flatnonzero(over)[:, None, None]).all()
        assert not over[table.start].any()


def test_layouts_come_from_the_seed() -> None:
    one, same, other = (grid(GridConfig(), seed=seed, tasks=2) for seed in (4, 4, 5))
    assert np.array_equal(one.successor, same.successor)
    assert not np.array_equal(one.ending, other.ending, equal_nan=True)


def test_exact_values_are_those_of_all_paths() -> None:
    table = grid(TINY, seed=8)
    rng = np.random.default_rng(0)
    policy = rng.dirichlet(np.ones(table.actions), size=table.states)
    truth = exact(table, policy)
    open_states = np.flatnonzero(np.isnan(table.ending))
    for state in rng.choice(open_states, 6, replace=False):
        assert truth.value[1, state] == pytest.approx(by_enumeration(table, policy, int(state), 2))
    assert truth.success == pytest.approx(by_enumeration(table, policy, int(table.start[0]), table.horizon))


def test_advantages_have_mean_zero_and_visits_add_up() -> None:
    table = grid(GridConfig(size=4, slip=0.1, horizon=12), seed=2, tasks=2)
    policy = np.random.default_rng(1).dirichlet(np.ones(table.actions), size=table.states)
    truth = exact(table, policy)
    over = ~np.isnan(table.ending)
    assert np.abs((policy * truth.advantage).sum(2)[:, ~over]).max() < 1e-12
    assert truth.visits[0].sum() == pytest.approx(1.0)
    assert (np.diff(truth.visits.sum(1)) <= 1e-12).all()
    assert not truth.visits[:, over].any()


@pytest.mark.parametrize("shared", [False, True])
def test_the_exact_gradient_is_that_of_the_success(shared: bool) -> None:
    table = corridor(CorridorConfig(length=5, switches=2, actions=3, shared=shared), seed=0, tasks=2)
    weights = np.random.default_rng(2).normal(size=(table.rows, table.actions))

    def success(weights: np.ndarray) -> float:
        logits = weights[table.features].sum(1)
        policy = np.exp(logits - logits.max(1, keepdims=True))
        return exact(table, policy / policy.sum(1, keepdims=True)).success

    logits = weights[table.features].sum(1)
    policy = np.exp(logits - logits.max(1, keepdims=True))
    gradient = exact(table, policy / policy.sum(1, keepdims=True)).gradient
    row, action = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    for place in ((row, action), (row, (action + 1) % 3)):
        up, down = weights.copy(), weights.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        assert gradient[place] == pytest.approx((success(up) - success(down)) / 2e-5, rel=1e-4)


def test_a_key_counts_before_its_door_only_where_order_matters() -> None:
    """A policy that handles everything it stands on, by chance, needs the order in one grid and not in the other."""
    values = [
        exact(table, uniform(table)).success
        for table in (
            grid(GridConfig(size=3, decoys=0, horizon=40), seed=6),
            grid(GridConfig(size=3, decoys=0, horizon=40, ordered=False), seed=6),
        )
    ]
    assert 0 < values[0] < values[1] < 1


def test_only_the_switches_of_a_corridor_matter() -> None:
    table = corridor(CorridorConfig(length=10, switches=2), seed=1)
    truth = exact(table, uniform(table))
    matters = np.abs(truth.advantage).max((0, 2)) > 1e-9
    reached = truth.visits.sum(0) > 0
    places = np.flatnonzero(matters & reached) // 8
    assert len(set(places.tolist())) == 2
    assert truth.success == pytest.approx(0.95 / 16 + 0.05 * 15 / 16)


def test_slipping_and_pits_make_it_harder() -> None:
    plain, slipping, pitted = (
        exact(grid(config, seed=3), uniform(grid(config, seed=3))).success
        for config in (
            GridConfig(size=4, decoys=0),
            GridConfig(size=4, decoys=0, slip=0.5),
            GridConfig(size=4, decoys=0, pits=3),
        )
    )
    assert pitted < plain
    assert slipping != plain


def test_impossible_grids_are_refused() -> None:
    with pytest.raises(UsageError, match="too few cells"):
        GridConfig(size=2, locks=2, decoys=2)
    with pytest.raises(UsageError, match="slip"):
        GridConfig(slip=1.0)
