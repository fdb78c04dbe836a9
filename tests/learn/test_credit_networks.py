"""Networks as players of the credit benchmark: what they read, what they record, and that credit moves them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overwinter.learn.reinforce.seat import Seen

pytest.importorskip("torch", reason="networks need overwinter[local]")

import torch

RECIPES = str(Path(__file__).parents[2] / "recipes")


@pytest.fixture(autouse=True)
def _recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RECIPES)


def player(seed: int = 3, rate: float = 1e-2, **changes: Any) -> Any:
    from credit_networks import NETWORKS

    household = next(setting for setting in NETWORKS if setting.name == "household")
    return replace(household, **{"tasks": 2, "group": 3, "lessons": 3, "max_steps": 12, **changes}).player(seed, rate)


def test_what_the_task_names_reads_alike_for_all_tasks() -> None:
    from credit_drrn import read

    def seen(task: str, thing: str) -> Seen:
        text = f"You see a {thing} 1 and a lamp 1.\nTask: put a clean {task} in drawer. You stand."
        return Seen(text=text, actions=(f"take {thing} 1 from drawer 2", "go to lamp 1"), state=0)

    done = Counter({"go to lamp 1": 3})
    wanted, other, foreign = (
        read(seen(*each), done, "go to lamp 1") for each in (("mug", "mug"), ("cloth", "cloth"), ("mug", "cloth"))
    )
    assert np.array_equal(wanted.text, other.text)
    assert np.array_equal(wanted.actions[0], other.actions[0])
    assert not np.array_equal(wanted.actions[0], foreign.actions[0])
    assert wanted.scalars.tolist() == [[0.0, 0.0, 2.0], [pytest.approx(np.log(4)), 1.0, 0.0]]


def test_batches_are_those_of_the_policy_that_played() -> None:
    one = player()
    one.wants_hindsight = True
    batch = one.play()
    rows = np.arange(len(batch))
    assert batch.trajectories == 6
    assert sorted(Counter(batch.trajectory_group.tolist()).values()) == [3, 3]
    assert np.allclose(np.exp(batch.policy).sum(1), 1.0, atol=1e-6)
    assert np.array_equal(batch.logprob, batch.policy[rows, batch.action])
    assert np.allclose(np.exp(batch.hindsight).sum(1), 1.0, atol=1e-6)
    inside = batch.trajectory[:-1] == batch.trajectory[1:]
    assert (batch.next_state[:-1] == batch.state[1:])[inside].all()
    assert np.array_equal(batch.total_reward, batch.success)
    assert not set(one.play().group.tolist()) & set(batch.group.tolist())


def test_a_run_depends_on_its_seed_alone() -> None:
    def played(seed: int) -> list[Any]:
        one = player(seed)
        batches = []
        for _ in range(2):
            batches.append(one.play())
            one.learn(batches[-1], np.linspace(-1, 1, len(batches[-1])))
        return [(batch.state.tolist(), batch.action.tolist(), batch.value.tolist()) for batch in batches]

    assert played(3) == played(3)
    assert played(3) != played(4)


def test_credit_makes_actions_likelier_and_blame_less_likely() -> None:
    from credit_drrn import Pages

    one = player()
    batch = one.play()
    signs = np.where(np.arange(len(batch)) % 2, 1.0, -1.0)
    pages, chosen = list(one._pages), one._chosen.copy()
    for _ in range(5):
        one.learn(batch, signs)
    with torch.no_grad():
        flat = Pages.of(pages)
        after = one.policy(flat)[flat.first + torch.from_numpy(chosen), 0].double().numpy()
    moved = after - batch.logprob
    assert moved[signs > 0].mean() > 0.05
    assert moved[signs < 0].mean() < -0.05


def test_imitation_is_where_all_estimators_begin() -> None:
    from credit_drrn import Pages
    from credit_networks import _lessons

    one, other = player(lessons=8), player(lessons=8)
    for name, value in one.policy.state_dict().items():
        assert torch.equal(value, other.policy.state_dict()[name])
    pages, chosen = _lessons(one.setting, one.seed)
    flat = Pages.of(pages)
    with torch.no_grad():
        taught, untaught = (
            float(each.policy(flat)[flat.first + torch.from_numpy(chosen), 0].mean())
            for each in (one, player(teacher=None))
        )
    assert taught > untaught + 0.02


def test_the_benchmark_runs_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import bench_credit as bench

    small = replace(player().setting, name="tiny")
    monkeypatch.setattr(bench, "network_families", lambda: [small])
    cell = bench.run_cell(bench.Key("tiny", "hcapo_head", 1e-3, 1), 2)
    assert cell.updates == 2
    assert len(cell.success) == 2
    with pytest.raises(SystemExit, match="unknown settings"):
        bench._named("tiny,nowhere")
