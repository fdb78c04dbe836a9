"""What training sees is what was drawn: log-probabilities of the engine, of the fast path, of the batch and of the slow twin."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reinforce_kit import Corridor, candidate_policy, corridor_seats, decoder, form, token_policy

from overwinter.engine import Config as EngineConfig
from overwinter.engine import Engine, Request, SamplingParams
from overwinter.errors import UsageError
from overwinter.learn.reinforce.collate import left_padded, path, pieces, spelled
from overwinter.learn.reinforce.decision import Decision, Episode, batch_of, flat
from overwinter.learn.reinforce.ends import hidden_at, hidden_everywhere
from overwinter.learn.reinforce.player import AnyPlayer, Ask, DirectPlayer, EnginePlayer
from overwinter.learn.reinforce.policy import OutcomeIds, Policy, success_loss
from overwinter.learn.reinforce.rollouts import Config, Task, rollout
from overwinter.learn.reinforce.seat import LocalSeats, Seat
from overwinter.model import LoopConfig

TASKS = [Task(group=seed, seed=seed, times=2) for seed in range(3)]


def played(policy: Policy, player: object, *, wordy: bool = False, **settings: object) -> list[Decision]:
    config = Config(seed=5, temperature=policy.temperature, **settings)  # type: ignore[arg-type]
    seats = corridor_seats(4, limit=5, wordy=wordy)
    return flat(rollout(player, seats, form(), TASKS, config))  # type: ignore[arg-type]


def worst(policy: Policy, decisions: list[Decision]) -> float:
    """Largest difference between log-probabilities at play and at training."""
    found = policy.logprobs(decisions)
    drawn = [value for decision in decisions for value in decision.logprobs]
    return max(abs(a - b) for a, b in zip(found, drawn, strict=True))


@pytest.mark.parametrize("heat", [1.0, 0.7])
@pytest.mark.parametrize("wordy", [False, True], ids=["one_token", "several_tokens"])
def test_training_sees_the_engine_s_log_probabilities(heat: float, wordy: bool) -> None:
    policy = candidate_policy(temperature=heat, n_layers=2, std=0.15)
    decisions = played(policy, EnginePlayer.of(policy), wordy=wordy)
    assert len(decisions) > 20
    assert {len(d.ids) for d in decisions} == ({1, 4} if wordy else {1})
    assert worst(policy, decisions) < 1e-5
    # They are those of what could be drawn, not the model's own: other tokens have most of its probability.
    assert all(math.isclose(sum(map(math.exp, d.policy)), 1, abs_tol=1e-9) for d in decisions if d.policy)


def test_free_text_is_scored_as_it_was_drawn() -> None:
    policy = token_policy(temperature=0.8, std=0.12)
    decisions = played(policy, AnyPlayer(policy), is_free=True, max_tokens=3)
    assert len({len(d.ids) for d in decisions}) > 1
    assert all(d.ids[-1] == policy.end_id for d in decisions if len(d.ids) < 3)
    assert worst(policy, decisions) < 1e-5
    assert {d.is_cut for d in decisions} == {True, False}


def test_the_fast_path_draws_what_the_engine_draws() -> None:
    policy = candidate_policy(n_layers=2)
    slow, fast = played(policy, EnginePlayer.of(policy)), played(policy, DirectPlayer(policy, tokens=40))
    assert [d.ids for d in slow] == [d.ids for d in fast]
    for one, other in zip(slow, fast, strict=True):
        assert one.policy == pytest.approx(other.policy, abs=1e-5)
        assert one.entropy == pytest.approx(other.entropy, abs=1e-5)
        assert one.logprob == pytest.approx(other.logprob, abs=1e-5)
        assert one.policy is not None
        assert one.logprob == one.policy[one.choice]
    assert worst(policy, fast) < 1e-5


def test_the_engine_s_own_log_probabilities_are_of_the_whole_vocabulary() -> None:
    # The reason for `Witness`: the day this fails, the engine can be asked directly.
    policy = candidate_policy()
    ask = Ask(prompt=(1, 2, 3), candidates=((4,), (5,)), seed=3, temperature=0.5)
    player = EnginePlayer.of(policy)
    engine, constraint = player._engine, player._constraint(ask)
    request = Request(prompt_ids=ask.prompt, max_tokens=1, sampling=SamplingParams(temperature=0.5, seed=3),
                      constraint=constraint, logprobs=0)  # fmt: skip
    raw = engine.run([request])[0].logprobs[0].logprob
    drawn = player.draw([ask])[0]
    assert raw is not None
    assert raw < drawn.logprobs[0] - 0.1


def test_the_batch_is_its_slow_twin() -> None:
    policy = candidate_policy(n_layers=2)
    decisions = [*played(policy, EnginePlayer.of(policy), wordy=True)[:9], *played(policy, DirectPlayer(policy))[:9]]
    together = policy.score(decisions)
    assert together.success is not None
    alone = [policy.score_slowly(decision) for decision in decisions]
    torch.testing.assert_close(together.logprob, torch.cat([one.logprob for one in alone]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.entropy, torch.cat([one.entropy for one in alone]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        together.success, torch.cat([s for one in alone if (s := one.success) is not None]), atol=1e-5, rtol=1e-4
    )
    single = [d for d in decisions if len(d.ids) == 1 and d.policy is not None][:4]
    table = policy.score(single).policy
    assert table is not None
    for row, decision in zip(table, single, strict=True):
        twin = policy.score_slowly(decision).policy
        assert twin is not None
        torch.testing.assert_close(row, twin[0], atol=1e-5, rtol=1e-4)


def test_the_batch_has_the_gradients_of_its_slow_twin() -> None:
    policy = candidate_policy()
    decisions = played(policy, DirectPlayer(policy))[:6]
    parameters = list(policy.decoder.parameters())

    def gradients(total: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(total, parameters))

    together = policy.score(decisions)
    alone = [policy.score_slowly(decision) for decision in decisions]
    fast = gradients(together.logprob.sum() + together.entropy.sum())
    slow = gradients(torch.stack([one.logprob.sum() + one.entropy.sum() for one in alone]).sum())
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_the_outcome_slot_changes_the_actions_and_not_the_forecast() -> None:
    policy = candidate_policy()
    assert policy.outcome is not None
    decisions = played(policy, DirectPlayer(policy))[:5]
    asked, wished = policy.score(decisions), policy.score(decisions, [policy.outcome.well] * 5)
    assert asked.success is not None
    assert wished.success is not None
    torch.testing.assert_close(asked.success, wished.success)
    assert (asked.logprob - wished.logprob).abs().max() > 1e-3
    twin = policy.score_slowly(decisions[0], policy.outcome.well)
    torch.testing.assert_close(wished.logprob[:1], twin.logprob, atol=1e-5, rtol=1e-4)


def test_columns_of_hindsight_and_of_the_chance_of_success() -> None:
    policy = candidate_policy()
    episodes = rollout(DirectPlayer(policy), corridor_seats(4, limit=5), form(), TASKS, Config(seed=1))
    hindsight, chance = policy.columns(episodes, hindsight=True)
    assert hindsight is not None
    assert chance is not None
    assert policy.outcome is not None
    batch = batch_of(episodes, hindsight=hindsight, success_chance=chance)
    assert batch.policy is not None
    assert hindsight.shape == batch.policy.shape
    row = 7
    outcome = policy.outcome.of(episodes[batch.trajectory[row]].success)
    twin = policy.score_slowly(flat(episodes)[row], outcome)
    assert twin.policy is not None
    assert twin.success is not None
    assert hindsight[row] == pytest.approx(twin.policy[0].tolist(), abs=1e-5)
    assert chance[row] == pytest.approx(float(twin.success.detach().sigmoid()), abs=1e-5)


def test_where_a_limit_struck_the_policy_says_what_might_have_come() -> None:
    policy = candidate_policy()
    seats = LocalSeats(lambda: Seat(Corridor(3, 99), max_steps=5), 4)
    first, *episodes = rollout(DirectPlayer(policy), seats, form(), TASKS, Config(seed=1))
    assert all(episode.truncated for episode in episodes)
    episodes.insert(2, replace(first, truncated=False, terminated=True, end_prompt=None))
    values = policy.end_values(episodes)
    assert values is not None
    for episode, value in zip(episodes, values, strict=True):
        if episode.terminated:
            assert value == 0
            continue
        assert episode.end_prompt is not None
        after = replace(episode.decisions[-1], prompt=episode.end_prompt.ids, slot=episode.end_prompt.slot)
        success = policy.score_slowly(after).success
        assert success is not None
        assert value == pytest.approx(float(success.detach().sigmoid()), abs=1e-5)
    lost = [replace(episode, end_prompt=None) for episode in episodes]
    assert policy.end_values(lost) is None
    assert policy.end_values([episode for episode in lost if episode.terminated]) is not None


def test_a_hybrid_of_both_mixers_is_scored_alike() -> None:
    from overwinter.model import MambaConfig

    policy = candidate_policy(
        n_layers=2, pattern="MA", mamba=MambaConfig(n_heads=4, head_dim=16, d_state=8, chunk_size=4)
    )
    decisions = played(policy, EnginePlayer.of(policy))
    assert worst(policy, decisions) < 1e-4
    assert [d.ids for d in decisions] == [d.ids for d in played(policy, DirectPlayer(policy))]


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"n_layers": 3, "pattern": "AWa", "window": 4},
        {"norm": "sandwich", "qk_norm": True, "n_layers": 2, "residual_scale": 0.5},
        {"attn_softcap": 3.0, "rope_base": None},
        {"pattern": "A", "n_layers": 2, "loop": LoopConfig(n_loops=2)},
    ],
    ids=["plain", "windows", "norms", "softcap", "loop"],
)
def test_hidden_rows_where_they_are_needed(switches: dict[str, Any]) -> None:
    made = decoder(1, **switches)
    ids, positions = map(torch.from_numpy, left_padded([[3, 4, 5, 6, 7, 8, 9], [5, 6, 7], [2, 9, 9, 1, 4]]))
    columns = torch.tensor([[6, 2], [6, 5], [6, 6]])
    some, all_ = hidden_at(made, ids, positions, columns), hidden_everywhere(made, ids, positions, columns)
    torch.testing.assert_close(some, all_, atol=1e-5, rtol=1e-5)
    parameters = [each for each in made.parameters() if each.requires_grad]
    one, other = (torch.autograd.grad(x.square().sum(), parameters, allow_unused=True) for x in (some, all_))
    for mine, theirs in zip(one, other, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


# --- tries ------------------------------------------------------------------------------------------------------------


def test_the_way_along_candidates() -> None:
    candidates = ((1, 2), (1, 3), (4,), (1, 2, 5))
    assert path(candidates, (1, 3), None) == [[1, 4], [2, 3]]
    assert path(candidates, (1, 2, 9), 9) == [[1, 4], [2, 3], [5, 9]]
    assert spelled(candidates, 0, 9) == (1, 2, 9)
    assert spelled(candidates, 2, 9) == (4,)
    with pytest.raises(UsageError, match="end token"):
        spelled(candidates, 0, None)
    with pytest.raises(UsageError, match="no candidate's way"):
        path(candidates, (1, 7), 9)


def test_probabilities_of_all_candidates_sum_to_one() -> None:
    # The product along the trie is a distribution, also where one candidate begins another.
    policy, candidates = candidate_policy(), ((6, 7), (6, 8), (9,), (6, 7, 10))
    decisions = []
    for choice in range(4):
        ids = spelled(candidates, choice, policy.end_id)
        decisions.append(
            Decision(prompt=(3, 4, 5), ids=ids, logprobs=(0.0,) * len(ids), candidates=candidates, choice=choice)
        )
    total = policy.score(decisions).per_decision().exp().sum()
    assert float(total.detach()) == pytest.approx(1, abs=1e-6)
    rows = policy.all_candidates([decisions[2], decisions[0]])
    assert np.exp(rows).sum(1) == pytest.approx([1, 1], abs=1e-6)
    assert rows[0] == pytest.approx(rows[1], abs=1e-5)
    assert rows[0, 2] == pytest.approx(float(policy.score(decisions[2:3]).logprob.detach()), abs=1e-5)


def test_drawn_actions_come_as_often_as_they_should() -> None:
    policy, candidates = candidate_policy(std=0.12), ((6, 7), (6, 8), (9,))
    asks = [Ask(prompt=(3, 4, 5), candidates=candidates, seed=seed) for seed in range(300)]
    engine = EnginePlayer(Engine(policy.decoder, None, EngineConfig(packed=False, max_running=64)), end_id=1)
    drawn = engine.draw(asks)
    for choice in range(3):
        mine = [one for one in drawn if one.choice == choice]
        chance = math.exp(sum(mine[0].logprobs))
        assert abs(len(mine) / 300 - chance) < 4 * math.sqrt(chance * (1 - chance) / 300)
    policy.decoder.requires_grad_(True)


# --- small parts ------------------------------------------------------------------------------------------------------


def test_pieces_hold_every_row_once_and_no_more_than_they_may() -> None:
    lengths = np.array([3, 9, 1, 40, 7, 7, 2])
    parts = list(pieces(lengths, 20))
    assert sorted(itertools.chain(*parts)) == list(range(7))
    assert all(len(part) == 1 or lengths[part].max() * len(part) <= 20 for part in parts)


def test_the_success_head_learns_from_known_outcomes_alone() -> None:
    odds = torch.tensor([0.0, 2.0, float("nan"), 1.0], requires_grad=True)
    loss = success_loss(odds, torch.tensor([1.0, 0.0, 1.0, float("nan")]))
    assert loss.tolist() == pytest.approx([math.log(2), math.log(1 + math.exp(2)), 0, 0])
    (gradient,) = torch.autograd.grad(loss.sum(), odds)
    assert gradient.tolist() == pytest.approx([-0.5, 1 / (1 + math.exp(-2)), 0, 0])


def test_outcomes_have_words() -> None:
    ids = OutcomeIds(unknown=1, well=2, badly=3)
    assert [ids.of(value) for value in (math.nan, 1.0, 0.5, 0.0)] == [1, 2, 2, 3]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="log-probabilities are given"):
        Decision(prompt=(1,), ids=(2, 3), logprobs=(0.0,))
    with pytest.raises(UsageError, match="outcome slot"):
        Decision(prompt=(1,), ids=(2,), logprobs=(0.0,), slot=0)
    decision = Decision(prompt=(1,), ids=(2,), logprobs=(0.0,))
    with pytest.raises(UsageError, match="cut short"):
        Episode(group=0, seed=0, decisions=(decision,), terminated=True, truncated=True, success=1.0)
    with pytest.raises(UsageError, match="TokenPolicy"):
        candidate_policy().score([decision])
    with pytest.raises(UsageError, match="no place for an outcome"):
        token_policy().score([decision], [1])
    with pytest.raises(UsageError, match="EnginePlayer"):
        DirectPlayer(candidate_policy()).draw([Ask(prompt=(1,), candidates=None, seed=0)])
