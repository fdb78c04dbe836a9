"""The loop learns, can be killed, and keeps its promises about steps, weights and seeds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reinforce_kit import Corridor, candidate_policy, corridor_seats, form, grouped, token_policy

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch
from overwinter.learn.credit import Config as CreditConfig
from overwinter.learn.credit import Credit, advantages
from overwinter.learn.reinforce.corrections import CorrectionConfig
from overwinter.learn.reinforce.decision import Episode, batch_of, flat
from overwinter.learn.reinforce.losses import EntropyConfig, LossConfig
from overwinter.learn.reinforce.player import AnyPlayer, DirectPlayer
from overwinter.learn.reinforce.policy import CandidatePolicy
from overwinter.learn.reinforce.rollouts import Config as RolloutConfig
from overwinter.learn.reinforce.rollouts import Task, rollout
from overwinter.learn.reinforce.seat import LocalSeats, Seat
from overwinter.learn.reinforce.trainer import Config, EvaluateConfig, evaluate, reinforce
from overwinter.learn.reinforce.update import UpdateConfig, Updater
from overwinter.learn.stability import Guard, GuardConfig
from overwinter.learn.train.optim import OptimiserConfig, build_optimiser

FAST = OptimiserConfig(lr=1e-2, weight_decay=0.0)
NO_EVALUATION = EvaluateConfig(every=0)


def weights(policy: CandidatePolicy) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in policy.decoder.parameters()]


def test_it_learns_the_corridor() -> None:
    policy = candidate_policy(std=0)
    seats, seeds = corridor_seats(48, length=3, limit=10), range(1000, 1064)

    def success() -> float:
        episodes = evaluate(DirectPlayer(policy), seats, form(), seeds, RolloutConfig(seed=3))
        return float(np.mean([episode.success for episode in episodes]))

    before = success()
    config = Config(
        iterations=13,
        tasks=2,
        group_size=24,
        optimiser=OptimiserConfig(lr=3e-3, weight_decay=0.0),
        update=UpdateConfig(epochs=2),
        evaluate=NO_EVALUATION,
    )
    report = reinforce(config, policy, seats, form(), credit=grouped)
    after = success()
    assert before < 0.3
    assert after > 0.8
    assert report.metrics[-1]["entropy"] < report.metrics[0]["entropy"]


def small(**changes: Any) -> Config:
    base = Config(
        iterations=4,
        tasks=2,
        group_size=4,
        seed=3,
        optimiser=FAST,
        update=UpdateConfig(
            minibatches=2, success_coef=0.1, entropy=EntropyConfig(coef=0.01, target=1.0), kl_coef=0.01
        ),
        play=RolloutConfig(),
        evaluate=EvaluateConfig(every=2, games=2),
        checkpoint_every=1,
    )
    return dataclasses.replace(base, **changes)


def seats(count: int = 8) -> Any:
    return corridor_seats(count, length=3, limit=6)


class Killed(Exception):
    pass


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, killed, resumed = (candidate_policy() for _ in range(3))
    reinforce(small(), whole, seats(), form(), credit=grouped, folder=tmp_path / "whole")

    def kill(figures: Any) -> None:
        if figures["iteration"] == 2:
            raise Killed

    with pytest.raises(Killed):
        # Killed after the third iteration's metrics, with a checkpoint of the second alone.
        reinforce(
            small(checkpoint_every=2), killed, seats(), form(), credit=grouped, folder=tmp_path / "cut", progress=kill
        )
    report = reinforce(small(checkpoint_every=2), resumed, seats(), form(), credit=grouped, folder=tmp_path / "cut")
    assert all(torch.equal(one, other) for one, other in zip(weights(whole), weights(resumed), strict=True))
    assert [row["iteration"] for row in report.metrics] == [0, 1, 2, 3]
    kept = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    other = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert _timeless(kept) == _timeless(other)
    assert "resumed" in (tmp_path / "cut" / "events.jsonl").read_text()


def _timeless(lines: list[str]) -> list[dict[str, Any]]:
    return [{name: value for name, value in json.loads(line).items() if not name.endswith("_s")} for line in lines]


def test_a_folder_keeps_to_its_config_and_skips_a_damaged_checkpoint(tmp_path: Path) -> None:
    reinforce(small(iterations=2), candidate_policy(), seats(), form(), credit=grouped, folder=tmp_path)
    with pytest.raises(UsageError, match="seed was 3, is 4"):
        reinforce(small(seed=4), candidate_policy(), seats(), form(), credit=grouped, folder=tmp_path)
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    (newest / "optimiser.safetensors").write_bytes(b"no")
    report = reinforce(small(iterations=3), candidate_policy(), seats(), form(), credit=grouped, folder=tmp_path)
    assert [row["iteration"] for row in report.metrics] == [0, 1, 2]
    assert "damaged" in (tmp_path / "events.jsonl").read_text()


def test_a_checkpoint_is_a_model_folder(tmp_path: Path) -> None:
    from overwinter.model import load

    policy = candidate_policy()
    evaluate_each = EvaluateConfig(every=1, games=2, temperatures=(0.0,))
    reinforce(small(iterations=1, evaluate=evaluate_each), policy, seats(), form(), credit=grouped, folder=tmp_path)
    loaded = load(tmp_path / "checkpoints" / "000001")
    load(tmp_path / "best-000001")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), policy.decoder.parameters(), strict=True))


# --- rollouts ---------------------------------------------------------------------------------------------------------


def shape_of(episodes: Sequence[Episode]) -> list[Any]:
    return [[(d.ids, d.reward, d.state) for d in episode.decisions] for episode in episodes]


def test_seats_and_company_do_not_change_a_game() -> None:
    policy, tasks = candidate_policy(), [Task(group=seed, seed=seed, times=3) for seed in range(3)]
    together = rollout(AnyPlayer(policy), seats(9), form(), tasks, RolloutConfig(seed=1))
    few = rollout(AnyPlayer(policy), seats(2), form(), tasks, RolloutConfig(seed=1))
    alone = rollout(AnyPlayer(policy), seats(1), form(), tasks[2:], RolloutConfig(seed=1))
    other = rollout(AnyPlayer(policy), seats(9), form(), tasks, RolloutConfig(seed=2))
    assert shape_of(together) == shape_of(few)
    assert shape_of(together)[6:] == shape_of(alone)
    assert shape_of(together) != shape_of(other)
    assert [episode.group for episode in together] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len({episode.decisions[0].state for episode in together[:3]}) == 1  # a group begins in one state
    assert len({tuple(d.ids for d in episode.decisions) for episode in together[:3]}) > 1


def test_columns_of_a_batch() -> None:
    episodes = rollout(
        AnyPlayer(candidate_policy()), seats(), form(), [Task(group=5, seed=0, times=2)], RolloutConfig()
    )
    batch = batch_of(episodes)
    assert len(batch) == sum(len(episode.decisions) for episode in episodes)
    assert batch.trajectories == 2
    assert batch.logprob is not None
    assert batch.policy is not None
    assert batch.logprob == pytest.approx(batch.policy[np.arange(len(batch)), batch.action])
    follows = ~(batch.terminated | batch.truncated)
    assert (batch.next_state[:-1][follows[:-1]] == batch.state[1:][follows[:-1]]).all()


def test_a_limit_of_steps_is_no_failure() -> None:
    limited = LocalSeats(lambda: Seat(Corridor(3, 99), max_steps=4), 2)
    episode = rollout(AnyPlayer(candidate_policy()), limited, form(), [Task(group=0, seed=0)], RolloutConfig(seed=4))[0]
    assert len(episode.decisions) == 4
    assert episode.truncated
    assert episode.end_prompt is not None


def test_credit_is_given_with_a_critic_although_a_limit_struck() -> None:
    """Without a value of where episodes were cut short, calibrated credit would fall back on GRPO's term."""
    seen: list[Batch] = []

    def credit(batch: Batch, memory: Any) -> Credit:
        seen.append(batch)
        return advantages(batch, CreditConfig(estimator="calibrated"), memory)

    config = Config(iterations=1, tasks=2, group_size=4, update=UpdateConfig(success_coef=0.1), evaluate=NO_EVALUATION)
    limited = LocalSeats(lambda: Seat(Corridor(3, 99), max_steps=6), 4)
    reinforce(config, candidate_policy(), limited, form(), credit=credit)
    (batch,) = seen
    assert batch.truncated.any()
    assert batch.end_value is not None
    cut = batch.truncated[batch.last]
    assert (batch.end_value[cut] > 0).all()
    assert not batch.end_value[~cut].any()


def test_words_that_are_no_action_cost_a_little_and_change_nothing() -> None:
    config = RolloutConfig(is_free=True, max_tokens=2, max_invalid=3, invalid_penalty=0.25)
    episodes = rollout(AnyPlayer(token_policy(std=0.1)), seats(), form(), [Task(group=0, seed=0, times=4)], config)
    invalid = [d for d in flat(episodes) if not d.is_valid]
    assert invalid
    assert all(d.reward == -0.25 and d.state == d.next_state and d.candidates is None for d in invalid)
    assert all(episode.truncated for episode in episodes if not episode.decisions[-1].is_valid)


# --- updates ----------------------------------------------------------------------------------------------------------


def played(policy: CandidatePolicy, times: int = 6) -> list[Episode]:
    tasks = [Task(group=seed, seed=seed, times=times) for seed in range(2)]
    return rollout(AnyPlayer(policy), seats(), form(), tasks, RolloutConfig(seed=1))


def updated(
    config: UpdateConfig, *, guard: Any = None, reference: Any = None, lr: float = 1e-2
) -> tuple[CandidatePolicy, dict[str, float]]:
    policy = candidate_policy()
    episodes = played(policy)
    advantages = np.random.default_rng(0).normal(size=len(flat(episodes)))
    optimiser = build_optimiser(policy.decoder, dataclasses.replace(FAST, lr=lr))
    updater = Updater(policy, config, optimiser, guard=guard, reference=reference)
    return policy, updater.update(episodes, advantages, seed=1)


def test_pieces_do_not_change_a_step() -> None:
    coefficients: dict[str, Any] = {"success_coef": 0.3, "hindsight_coef": 0.2, "entropy": EntropyConfig(coef=0.1)}
    whole, figures = updated(UpdateConfig(minibatches=1, **coefficients))
    pieces, others = updated(UpdateConfig(minibatches=1, micro_tokens=30, **coefficients))
    assert figures["loss"] == pytest.approx(others["loss"], abs=1e-5)
    assert figures["grad_norm"] == pytest.approx(others["grad_norm"], rel=1e-4)
    assert figures["success_loss"] > 0 < figures["hindsight_loss"]
    for one, other in zip(weights(whole), weights(pieces), strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-3)  # Adam's first step is a sign


def test_the_number_of_steps_is_said_and_not_found() -> None:
    for epochs, minibatches in ((1, 1), (1, 5), (2, 3)):
        _, figures = updated(UpdateConfig(epochs=epochs, minibatches=minibatches))
        assert figures["optimiser_steps"] == epochs * minibatches
    assert figures["moved_k3"] > 0


def test_every_token_with_an_advantage_has_a_gradient() -> None:
    policy = candidate_policy()
    episodes = played(policy)
    for index, decision in enumerate(flat(episodes)[:6]):
        advantages = np.zeros(len(flat(episodes)))
        advantages[index] = 1.0
        fresh = candidate_policy()
        figures = Updater(fresh, UpdateConfig(minibatches=1), build_optimiser(fresh.decoder, FAST)).update(
            episodes, advantages, seed=0
        )
        assert figures["active_decisions"] == 1
        assert figures["grad_norm"] > 0
        assert fresh.logprobs([decision])[0] > decision.logprobs[0]


@pytest.mark.parametrize("kind", ["ppo", "gspo", "gmpo", "cispo", "sapo", "reinforce"])
def test_every_loss_makes_good_actions_likelier(kind: Any) -> None:
    policy = candidate_policy()
    episodes = played(policy)
    decisions = flat(episodes)
    advantages = np.where([d.choice == 0 for d in decisions], 1.0, -1.0)
    config = UpdateConfig(loss=LossConfig(kind=kind), epochs=2, minibatches=2)
    Updater(policy, config, build_optimiser(policy.decoder, FAST)).update(episodes, advantages, seed=0)
    gain = policy.logprobs(decisions) - np.array([d.logprob for d in decisions])
    assert (gain * advantages).mean() > 0.05


def test_a_reference_holds_the_policy_back() -> None:
    def distance(coef: float) -> float:
        reference = candidate_policy()
        policy, _ = updated(
            UpdateConfig(epochs=8, minibatches=1, kl_coef=coef), reference=reference if coef else None, lr=2e-3
        )
        decisions = flat(played(reference))
        return float(np.abs(policy.logprobs(decisions) - reference.logprobs(decisions)).mean())

    assert distance(20.0) < 0.8 * distance(0.0)


def test_rollouts_of_other_weights_are_weighed() -> None:
    policy, other = candidate_policy(0), candidate_policy(0)
    with torch.no_grad():
        for parameter in other.decoder.parameters():
            parameter.mul_(1.1)
    episodes = played(other)
    advantages = np.ones(len(flat(episodes)))

    def figures(**rules: Any) -> dict[str, float]:
        made = UpdateConfig(old="recomputed", correction=CorrectionConfig(**rules))
        fresh = candidate_policy(0)
        return Updater(fresh, made, build_optimiser(fresh.decoder, FAST)).update(episodes, advantages, seed=0)

    assert figures()["k3_rollout"] > 1e-3
    assert figures(truncate=2.0)["ess_share"] < 1
    assert figures(geometric=(0.999, 1.001))["tokens_out"] > 0.5
    assert figures(max_staleness=0)["tokens_out"] == 0
    policy.version = 3
    stale = UpdateConfig(correction=CorrectionConfig(max_staleness=2))
    found = Updater(policy, stale, build_optimiser(policy.decoder, FAST)).update(episodes, advantages, seed=0)
    assert (found["tokens_out"], found["optimiser_steps"], found["staleness"]) == (1, 0, 3)


class StubGuard:
    coefficient_scale, clips = 1.0, True

    def __init__(self, *words: str) -> None:
        self.words, self.seen, self.after = list(words), [], 0

    def before_step(self, loss: float, *, signals: Any = None, batch: Any = None) -> Any:
        self.seen.append((loss, signals, batch))
        return type("Verdict", (), {"action": self.words.pop(0) if self.words else "go"})

    def after_step(self) -> None:
        self.after += 1

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None: ...


def test_a_guard_is_asked_and_obeyed() -> None:
    guard = StubGuard("go", "skip")
    _, figures = updated(UpdateConfig(minibatches=4), guard=guard)
    assert (figures["optimiser_steps"], figures["skipped"], guard.after) == (3, 1, 3)
    assert math.isfinite(guard.seen[0][0])
    assert guard.seen[0][1]["grad_norm"] > 0
    policy, figures = updated(UpdateConfig(minibatches=4), guard=StubGuard("stop"))
    assert figures["optimiser_steps"] == 0
    assert all(torch.equal(a, b) for a, b in zip(weights(policy), weights(candidate_policy()), strict=True))


def test_a_dry_guard_leaves_clipping_to_the_updater() -> None:
    config = UpdateConfig(max_grad_norm=1e-4)
    plain, _ = updated(config)
    dry = StubGuard()
    dry.clips = False
    found, _ = updated(config, guard=dry)
    unclipped, _ = updated(config, guard=StubGuard())
    assert all(torch.equal(a, b) for a, b in zip(weights(found), weights(plain), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(unclipped), weights(plain), strict=True))


def by(estimator: str) -> Any:
    chosen = CreditConfig(estimator=estimator)
    return lambda batch, memory: advantages(batch, chosen, memory)


def test_what_estimator_and_guard_remember_survives_a_kill(tmp_path: Path) -> None:
    def train(folder: Path, iterations: int) -> CandidatePolicy:
        def guard(model: Any, optimisers: Any) -> Any:
            return Guard(model, optimisers, GuardConfig(), folder=folder / "guard")

        policy = candidate_policy()
        config = small(repeating=2, iterations=iterations, evaluate=NO_EVALUATION)
        reinforce(config, policy, seats(), form(), credit=by("pg"), folder=folder, guard=guard)
        return policy

    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "cut", 2)
    resumed = train(tmp_path / "cut", 3)
    assert all(torch.equal(one, other) for one, other in zip(weights(whole), weights(resumed), strict=True))
    assert (tmp_path / "cut" / "checkpoints" / "000003" / "memory.safetensors").exists()
    signals = (tmp_path / "cut" / "guard" / "signals.jsonl").read_text().splitlines()
    assert len(signals) == 6
    assert {"zero_variance_share", "entropy", "valid_ratio", "kl"} <= set(json.loads(signals[0])["values"])


@pytest.mark.parametrize("estimator", ["gae_turn", "hca_return", "hcapo_head"])
@pytest.mark.parametrize("wordy", [False, True])
def test_the_columns_that_estimators_need_are_there(estimator: str, wordy: bool) -> None:
    config = small(iterations=1, needs_hindsight=True, evaluate=NO_EVALUATION)
    games = corridor_seats(8, length=3, limit=3 if wordy else 6, wordy=wordy)
    report = reinforce(config, candidate_policy(std=0.1), games, form(), credit=by(estimator))
    assert report.metrics[0]["grad_norm"] > 0


def test_a_guard_that_stops_ends_the_training(tmp_path: Path) -> None:
    guard = StubGuard("go", "go", "go", "stop")
    report = reinforce(
        small(), candidate_policy(), seats(), form(), credit=grouped, folder=tmp_path, guard=lambda *_: guard
    )
    assert report.stopped
    assert len(report.metrics) == 2


def test_a_broken_reward_is_refused() -> None:
    policy = candidate_policy()
    episodes = played(policy)
    updater = Updater(policy, UpdateConfig(), build_optimiser(policy.decoder, FAST))
    with pytest.raises(UsageError, match="finite"):
        updater.update(episodes, np.full(len(flat(episodes)), math.nan), seed=0)
    with pytest.raises(UsageError, match="reference"):
        Updater(policy, UpdateConfig(kl_coef=0.1), build_optimiser(policy.decoder, FAST))
