"""Calibrated hindsight credit: its twin, its identities, and what it falls back on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from credit_kit import every_path, marks, random_batch, reordered, three_rollouts

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch
from overwinter.learn.credit import Config, Credit, advantages
from overwinter.learn.credit.arrays import Frame, NumpyArrays
from overwinter.learn.credit.calibrated import (
    Calibrated,
    calibrated,
    graph_evidence,
    head_evidence,
    shrunk_ends,
    success_chance,
    without_time_limits,
)
from overwinter.learn.credit.graph import memory_graph
from overwinter.learn.credit.memory import remember
from overwinter.learn.credit.plain_calibrated import calibrated as plain
from overwinter.learn.credit.potentials import solve


def credit_of(batch: Batch, memory: Any = None, **options: Any) -> Credit:
    return advantages(batch, Config(estimator="calibrated", options=options), memory)


def bare(batch: Batch) -> Batch:
    """Without optional columns."""
    return replace(batch, value=None, end_value=None, policy=None, hindsight=None, success_chance=None)


@pytest.mark.parametrize("successor", ["realised", "average"])
@pytest.mark.parametrize("evidence", [0.0, 0.7])
@pytest.mark.parametrize("strip", [False, True])
def test_twins_agree_over_batches(successor: Any, evidence: float, strip: bool) -> None:
    options = Calibrated(successor=successor, evidence=evidence)
    memory, dictionaries = None, None
    for seed in range(4):
        batch = bare(random_batch(seed)) if strip else random_batch(seed)
        parts = calibrated(Frame(batch, NumpyArrays()), options, memory)
        slow, dictionaries = plain(batch, options, dictionaries)
        memory = parts.memory
        assert np.allclose(parts.advantages, slow, atol=1e-6)
    assert memory is not None
    assert memory.count.sum() == pytest.approx(sum(dictionaries[0].values()))


def test_step_term_of_the_three_rollouts() -> None:
    """By hand: Phi(2) = .95, and s0, s1, s3 solve three linear equations, since the time limit leaves no mass at s3."""
    batch = bare(three_rollouts())
    memory = remember(None, without_time_limits(batch), decay=0.6, forget=0.05)
    said = graph_evidence(Frame(batch, NumpyArrays()), memory, Calibrated())
    g = 0.95
    #  s0 = g (2 s1 + 2 s3) / 4;  s1 = g (2 s2 + s0) / 3;  s3 = g s1
    system = np.array([[1, -g / 2, -g / 2], [-g / 3, 1, 0], [0, -g, 1]])
    s0, s1, s3 = np.linalg.solve(system, np.array([0, g * 2 * g / 3, 0]))
    phi = {0: s0, 1: s1, 2: g, 3: s3, 1000: 0.99}
    for row in range(len(batch)):
        then, now = phi[int(batch.next_state[row])], phi[int(batch.state[row])]
        assert said.log_success[row] == pytest.approx(np.log(then / now), abs=1e-6)
        assert said.log_odds[row] == pytest.approx(np.log(then / (1 - then)) - np.log(now / (1 - now)), abs=1e-6)


def test_chances_of_a_graph_are_its_potentials_of_order_one() -> None:
    for seed in range(4):
        batch, x = random_batch(seed), NumpyArrays()
        graph, _, _ = memory_graph(remember(None, batch, decay=0.6, forget=0.05), batch)
        assert np.allclose(success_chance(graph, x, 0.95), solve(graph, x, gamma=0.95, order=1.0)[0], atol=1e-6)


def test_mean_of_the_discounted_ratio_is_one_in_every_state() -> None:
    """With an outcome for every path, gamma rho averages to 1 over what left a state where success can be reached."""
    batch = every_path({(0, 0, 0): 1.0, (0, 1, 1): 1.0, (1, 0, 1): 1.0})
    options = Calibrated(floor=1e-9)
    memory = remember(None, batch, decay=options.decay, forget=options.forget)
    ratio = options.gamma * np.exp(graph_evidence(Frame(batch, NumpyArrays()), memory, options).log_success)
    for state in np.unique(batch.state):
        rows = batch.state == state
        if (batch.success[batch.trajectory[rows]] > 0).any():
            assert ratio[rows].mean() == pytest.approx(1.0, abs=1e-6)


def lucky_batch(wins: list[float], ends: list[int]) -> Batch:
    """One step each, from one state to the given ends."""
    count = len(wins)
    done = np.ones(count, dtype=bool)
    return Batch(
        group=np.zeros(count, dtype=np.int64),
        trajectory=np.arange(count),
        state=np.zeros(count, dtype=np.int64),
        next_state=np.array(ends),
        action=np.array(ends) - 1,
        reward=np.array(wins),
        terminated=done,
        truncated=~done,
        success=np.array(wins),
    )


def test_a_lucky_success_is_believed_by_half() -> None:
    """Ends 1 and 2 win one time in four each; end 3 was reached once, and won. By hand: mean 1/3, luck 1 (.99), so k is 99."""
    batch = lucky_batch([1, 0, 0, 0, 1, 0, 0, 0, 1], [1] * 4 + [2] * 4 + [3])
    memory = shrunk_ends(remember(None, batch, decay=0.6, forget=0.05))
    assert memory.goal / (memory.goal + memory.other) == pytest.approx([34 / 103, 34 / 103, 34 / 100])
    options = Calibrated()
    slow, _ = plain(batch, options, None)
    assert np.allclose(credit_of(batch).advantages, slow)


def test_ends_that_decide_the_outcome_are_taken_at_their_word() -> None:
    batch = lucky_batch([1, 1, 0, 0, 1], [1, 1, 2, 2, 3])
    memory = remember(None, batch, decay=0.6, forget=0.05)
    assert shrunk_ends(memory) is memory


def test_failed_trajectories_are_told_apart_by_step() -> None:
    """In the failed rollout, going on was right and turning back wrong."""
    credit = credit_of(bare(three_rollouts()))
    assert credit.advantages[3] > credit.advantages[4] + 0.5


def test_a_time_limit_is_no_failure_and_a_termination_is() -> None:
    cut = bare(three_rollouts())
    died = replace(cut, terminated=marks(10, np.array([2, 5, 9])).astype(bool), truncated=np.zeros(10, dtype=bool))
    assert credit_of(cut).advantages[5] > credit_of(died).advantages[5] + 0.5
    known = credit_of(replace(cut, success=np.array([1.0, 0.0, 1.0])), omega=1.0)
    unknown = credit_of(replace(cut, success=np.array([1.0, np.nan, 1.0])), omega=1.0)
    assert np.array_equal(known.advantages, unknown.advantages)


def test_weight_zero_is_the_outcome_term_alone() -> None:
    batch = bare(random_batch(3))
    assert np.allclose(credit_of(batch, omega=0.0).advantages, advantages(batch).advantages)
    full = random_batch(3)
    critic = advantages(full, Config(estimator="gae_turn")).advantages
    ours = credit_of(full, omega=0.0, macro={"clip": np.inf}).advantages
    assert np.corrcoef(ours, critic)[0, 1] == pytest.approx(1.0)
    assert ours.std() == pytest.approx(1.0, abs=0.01)


def test_states_that_never_come_again_leave_the_outcome_in_charge() -> None:
    """Every key new: failures keep GRPO's advantage, successes get it and a share for how near the goal a step was."""
    batch = bare(random_batch(5))
    lonely = replace(batch, state=np.arange(len(batch)) * 2, next_state=np.arange(len(batch)) * 2 + 1)
    lonely.next_state[:-1][batch.trajectory[:-1] == batch.trajectory[1:]] = lonely.state[1:][
        batch.trajectory[:-1] == batch.trajectory[1:]
    ]
    credit, grpo = credit_of(lonely).advantages, advantages(lonely).advantages
    failed = batch.success[batch.trajectory] == 0
    assert np.allclose(credit[failed], grpo[failed])
    assert (credit[~failed] >= grpo[~failed]).all()
    assert (credit[~failed] > grpo[~failed]).any()


def test_before_the_first_success_nothing_is_said() -> None:
    batch = replace(bare(random_batch(1)), success=np.zeros(12), reward=np.zeros(len(random_batch(1))))
    assert not credit_of(batch).advantages.any()
    assert not credit_of(
        replace(batch, policy=random_batch(1).policy, hindsight=random_batch(1).hindsight), evidence=5.0
    ).advantages.any()


def test_memory_carries_over_and_the_call_is_pure() -> None:
    first, second = bare(random_batch(1)), bare(random_batch(2))
    memory = credit_of(first).memory
    with_memory, again = credit_of(second, memory), credit_of(second, memory)
    assert np.array_equal(with_memory.advantages, again.advantages)
    assert not np.allclose(with_memory.advantages, credit_of(second).advantages)
    assert with_memory.memory.count.sum() == pytest.approx(0.6 * len(first) + len(second))


def test_order_of_trajectories_does_not_matter() -> None:
    batch = random_batch(6)
    shuffled, rows = reordered(batch, np.random.default_rng(0).permutation(batch.trajectories))
    assert np.allclose(credit_of(batch).advantages[rows], credit_of(shuffled).advantages)


def test_tokens_do_not_enter() -> None:
    batch = random_batch(7)
    longer = replace(batch, tokens=np.asarray(batch.tokens) * 9, token_value=None)
    assert np.array_equal(credit_of(batch, evidence=1.0).advantages, credit_of(longer, evidence=1.0).advantages)


def head_batch(knows: float) -> Batch:
    """Two actions from one state; the right one always wins. The head knows that as far as `knows` says; -1 has it backwards."""
    count = 40
    action = np.arange(count) % 2
    success = action.astype(float)
    policy = np.full((count, 2), np.log(0.5))
    under = np.clip(0.5 + 0.5 * knows * np.where(success[:, None] > 0, [-1, 1], [1, -1]), 0.02, 0.98)
    done = np.ones(count, dtype=bool)
    return Batch(
        group=np.zeros(count, dtype=np.int64),
        trajectory=np.arange(count),
        state=np.zeros(count, dtype=np.int64),
        next_state=np.arange(count) + 10,
        action=action,
        reward=success,
        terminated=done,
        truncated=~done,
        success=success,
        policy=policy,
        hindsight=np.log(under),
    )


def test_a_head_is_taken_at_its_worth() -> None:
    knowing, warm = head_evidence(head_batch(0.6))
    wrong, cold = head_evidence(head_batch(-0.6))
    blind, silent = head_evidence(head_batch(0.0))
    assert warm >= 1.0  # it was too modest: the right action always wins
    assert (cold, silent) == (0.0, 0.0)
    assert not wrong.any()
    assert not blind.any()
    assert (knowing[1::2] > 0).all()  # the right action, in successes
    assert (knowing[0::2] < 0).all()  # the wrong one, in failures
    assert credit_of(head_batch(0.6), evidence=1.0).diagnostics["head_temperature"] == warm


def test_an_overconfident_head_is_cooled() -> None:
    batch = head_batch(0.9)
    hindsight = np.asarray(batch.hindsight)
    mixed = hindsight.copy()
    mixed[::5] = hindsight[::5, ::-1]  # wrong once in five, while claiming 0.95
    _, temperature = head_evidence(replace(batch, hindsight=mixed))
    assert 0.0 < temperature < 1.0


def test_bad_options_and_an_empty_batch() -> None:
    with pytest.raises(UsageError, match="no option"):
        credit_of(three_rollouts(), temper=1)
    with pytest.raises(UsageError, match="floor"):
        credit_of(three_rollouts(), floor=0.7)
    with pytest.raises(UsageError, match="successor"):
        credit_of(three_rollouts(), successor="best")
