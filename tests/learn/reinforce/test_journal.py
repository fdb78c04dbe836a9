"""Real runs of the loop, read back as episodes: the ids of the journal and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reinforce_kit import Corridor

from overwinter.errors import UsageError
from overwinter.journal import Entry
from overwinter.journal.sqlite import SqliteStore
from overwinter.journal.tokens import prompt_ids, read_tokens
from overwinter.learn.reinforce.decision import batch_of, flat
from overwinter.learn.reinforce.journal import read_episodes
from overwinter.learn.reinforce.policy import TokenPolicy
from overwinter.learn.reinforce.update import UpdateConfig, Updater
from overwinter.learn.train.optim import OptimiserConfig, build_optimiser
from overwinter.loop.gates import ALLOW, Gates, Rule
from overwinter.loop.goal import Criterion, Goal
from overwinter.loop.models import ScriptedModel
from overwinter.loop.models.local import Config, LocalModel
from overwinter.loop.run import Run
from overwinter.loop.session import Pace, Parts
from overwinter.loop.world import WorldSession
from overwinter.tools import Toolbox


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "journal.db")
    yield opened
    opened.close()


def work(store: SqliteStore, model: Any, name: str, *, seed: int = 0, **pace: Any) -> None:
    world = WorldSession(Corridor(3, 4), seed)
    parts = Parts(
        model=model,
        toolbox=Toolbox([world.tool()]),
        controls={},
        world=world,
        gates=Gates(rules=(Rule(name="all", decision=ALLOW),)),
        judge=None,
        pace=Pace(max_tokens=16, max_stalls=100, **pace),
    )
    goal = Goal(text=world.world.goal, acceptance=(Criterion(id="a1", text="done", check={"kind": "world"}),))
    with Run.start(store, goal, parts=parts, name=name, caps={}) as run:
        run.finish()


def test_runs_become_episodes(store: SqliteStore, tiny_model: Path) -> None:
    for number in range(2):
        model = LocalModel(Config(path=str(tiny_model)))  # a run closes its model
        work(store, model, f"r{number}", temperature=1.0)
    reading = read_episodes(store, ["r0", "r1"], weights=model.identity, version=7)
    assert not reading.is_mixed
    assert not reading.refused
    first = reading.episodes[0]
    answers = [entry for entry in store.read("r0") if entry.kind == "sample.completion"]
    assert len(first.decisions) == len(answers) == 4
    for decision, entry in zip(first.decisions, answers, strict=True):
        record = read_tokens(store, entry)
        assert list(decision.ids) == record["ids"]
        assert list(decision.logprobs) == record["logprobs"]
        assert list(decision.prompt) == prompt_ids(store, "r0", entry)
        assert decision.is_raw  # the world's actions were all that could be said
        assert decision.version == 7
    assert (first.terminated, first.success, first.total_reward) == (True, 0.0, 0.0)
    assert first.group == reading.episodes[1].group
    assert batch_of(reading.episodes).trajectories == 2
    assert reading.models == {model.identity: 8}


def test_what_was_read_can_be_learned_from(store: SqliteStore, tiny_model: Path) -> None:
    from overwinter.model import load

    model = LocalModel(Config(path=str(tiny_model)))
    work(store, model, "r")
    episodes = read_episodes(store, ["r"]).episodes
    policy = TokenPolicy(load(tiny_model).requires_grad_(True))
    decisions = flat(episodes)
    # The journal's log-probabilities are the model's own, so the same weights see them again.
    drawn = [value for decision in decisions for value in decision.logprobs]
    assert policy.logprobs(decisions) == pytest.approx(np.array(drawn), abs=1e-4)
    optimiser = build_optimiser(policy.decoder, OptimiserConfig(lr=1e-3, weight_decay=0.0))
    with pytest.raises(UsageError, match="recomputed"):
        Updater(policy, UpdateConfig(), optimiser).update(episodes, np.ones(len(decisions)), seed=0)
    config = UpdateConfig(old="recomputed", drops_cut=False, minibatches=1)
    figures = Updater(policy, config, optimiser).update(episodes, np.ones(len(decisions)), seed=0)
    assert figures["optimiser_steps"] == 1
    assert figures["k3_rollout"] == 0
    assert policy.logprobs(decisions).sum() > sum(drawn)


def test_text_only_answers_are_refused_with_the_reason(store: SqliteStore, tiny_model: Path) -> None:
    work(store, ScriptedModel(["left", "left", "left", "left"], by_turn=True, with_token_ids=False), "text")
    model = LocalModel(Config(path=str(tiny_model)))
    work(store, model, "ids")
    with pytest.raises(UsageError, match=r"entry \d+ of run 'text' by .* no token ids") as caught:
        read_episodes(store, ["ids", "text"])
    assert "overwinter run --model" in caught.value.next_step
    reading = read_episodes(store, ["ids", "text"], allow_refusals=True)
    assert list(reading.refused) == ["text"]
    assert "text is not tokenised again" in reading.refused["text"]
    assert len(reading.episodes) == 1


def test_mixed_weights_are_reported(store: SqliteStore, tiny_model: Path, tmp_path: Path) -> None:
    from local_kit import make_model

    one, other = (LocalModel(Config(path=str(path))) for path in (tiny_model, make_model(tmp_path / "other", seed=1)))
    work(store, one, "a")
    work(store, other, "b", seed=1)
    reading = read_episodes(store, ["a", "b"], weights=one.identity)
    assert reading.is_mixed
    assert set(reading.models) == {one.identity, other.identity}
    assert [episode.decisions[0].version for episode in reading.episodes] == [0, -1]


def test_a_runs_cost_is_taken_off_its_last_reward(store: SqliteStore, tiny_model: Path) -> None:
    work(store, LocalModel(Config(path=str(tiny_model))), "r", temperature=1.0)
    plain = read_episodes(store, ["r"]).episodes[0]
    seen: list[int] = []

    def cost(entries: Iterable[Entry]) -> float:
        seen.append(sum(1 for _ in entries))
        return 0.25

    charged = read_episodes(store, ["r"], penalty=cost).episodes[0]
    assert seen == [store.info("r").head_seq + 1]
    assert charged.total_reward == plain.total_reward - 0.25
    assert charged.decisions[:-1] == plain.decisions[:-1]
    assert charged.success == plain.success
