"""The credit benchmark: its player learns, records what estimators may see and no more, and its cells resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RECIPES = str(Path(__file__).parents[2] / "recipes")


@pytest.fixture(autouse=True)
def _recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RECIPES)


def player(**changes: Any) -> Any:
    from credit_worlds import Setting, TabularPlayer
    from overwinter.worlds.tabular import GridConfig

    world = GridConfig(size=3, decoys=1, horizon=20)
    setting = replace(Setting(name="tiny", world=world, tasks=2, group=8), **changes)
    return TabularPlayer(setting, 3, 2.0)


def test_exact_advantages_teach_the_policy() -> None:
    one = player()
    before = one.truth().success
    for _ in range(15):
        batch = one.play()
        values = one.true_advantages(batch, one.truth())
        one.learn(batch, values / (values.std() + 1e-6))
    assert before < 0.5
    assert one.truth().success > 0.9


def test_sampled_gradients_agree_with_the_exact_one() -> None:
    one = player(group=400)
    while one.truth().success < 0.3:
        batch = one.play()
        values = one.true_advantages(batch, one.truth())
        one.learn(batch, values / (values.std() + 1e-6))
    truth = one.truth()
    batch = one.sample(np.random.default_rng(0))
    sampled = one.gradient(batch, one.true_advantages(batch, truth)).ravel() / batch.trajectories
    exact = truth.gradient.ravel()
    assert sampled @ exact / np.linalg.norm(sampled) / np.linalg.norm(exact) > 0.95
    assert np.linalg.norm(sampled) == pytest.approx(np.linalg.norm(exact), rel=0.2)
    assert batch.success.mean() == pytest.approx(truth.success, abs=0.06)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("noise", [1, 30])
def test_batches_are_sound(fresh: bool, noise: int) -> None:
    one = player(fresh=fresh, noise=noise)
    first, second = one.play(), one.play()
    inside = first.trajectory[:-1] == first.trajectory[1:]
    assert (first.next_state[:-1] == first.state[1:])[inside].all()
    assert np.array_equal(first.total_reward, first.success)
    assert not (first.terminated & first.truncated).any()
    assert np.allclose(np.exp(np.asarray(first.policy)).sum(1), 1.0)
    assert bool(set(first.group.tolist()) & set(second.group.tolist())) is not fresh
    repeats = len(np.unique(first.state)) / len(first)
    assert repeats > 0.5 if noise > 1 else repeats < 0.5


def test_critics_and_heads_have_not_seen_the_batch() -> None:
    one = player()
    first = one.play()
    assert not np.asarray(first.value).any()
    assert np.allclose(np.asarray(first.hindsight), np.asarray(first.policy))
    one.learn(first, np.zeros(len(first)))
    if first.success.any():
        assert np.asarray(one.sample(np.random.default_rng(1)).value).any()


def test_cells_resume_after_half_a_line(tmp_path: Path) -> None:
    import bench_credit as bench
    from credit_report import report

    path = tmp_path / "cells.jsonl"
    cells = bench.Cells(path=path)
    keys = [bench.Key("small", name, 2.0, seed) for name in ("grpo", "calibrated") for seed in (100, 101)]
    assert bench.run_all(cells, [(key, 3) for key in keys], 1, float("inf"))
    path.write_text(path.read_text() + '{"setting": "small", "estim')
    again = bench.Cells(path=path)
    assert again.done == cells.done
    again.add(replace(next(iter(again.done.values())), seed=102))
    assert len(bench.Cells(path=path).done) == 5
    text = report(list(again.done.values()), {}, ["small"], ["grpo", "calibrated"])
    assert "| small (3) |" in text


def test_a_run_depends_on_its_seed_alone() -> None:
    import bench_credit as bench

    key = bench.Key("small noise fresh", "calibrated", 2.0, 7)
    one, two, other = bench.run_cell(key, 3), bench.run_cell(key, 3), bench.run_cell(key._replace(seed=8), 3)
    assert (one.success, one.steps) == (two.success, two.steps)
    assert one.steps != other.steps


def test_steps_to_a_level_are_counted_once_it_is_reached() -> None:
    from credit_report import Cell, interval

    cell = Cell(
        setting="s",
        estimator="e",
        rate=1.0,
        seed=0,
        updates=8,
        success=[0, 0, 0.5, 0.5, 1, 1, 1, 1],
        steps=[10] * 8,
        credit_s=0.0,
        cpu_s=0.0,
    )
    assert cell.steps_to(0.6) == 60  # the mean of the third to the seventh update is the first above
    assert cell.steps_to(0.95) == float("inf")
    assert cell.area == 0.625
    mean, half = interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.303 / np.sqrt(3), rel=1e-4))
