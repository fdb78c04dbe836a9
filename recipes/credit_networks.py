"""Networks as players of the credit benchmark: the greenhouse, the household, TextWorldExpress and BabyAI.

The policy is a scorer of listed actions (credit_drrn.py), updated by PPO's clipped loss with Adam; success is known at the end alone,
whatever the world itself would pay on the way. Every update plays new tasks, a group of trajectories on each. Since chance alone hardly
ever succeeds, a run begins with a policy that has imitated some episodes of a simple player; it is the same for all estimators.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from credit_drrn import Critic, Page, Pages, Scorer, read
from overwinter.learn.batch import Batch, Floats, Ints
from overwinter.learn.reinforce.decision import padded
from overwinter.learn.reinforce.seat import Seat, Seen, open_seat
from overwinter.worlds import open_world
from overwinter.worlds.gold import GoldPolicy
from overwinter.worlds.greenhouse.policies import RulesPolicy as GreenhouseRules
from overwinter.worlds.household.policies import RulesPolicy as HouseholdRules
from overwinter.worlds.minigrid_policy import ExplorerPolicy
from overwinter.worlds.notebook import open_notebook, page

torch.set_num_threads(1)  # runs go side by side
CLIP, EPOCHS, MINIBATCHES, MOST_ADVANTAGE, MOST_GRADIENT = 0.2, 2, 4, 5.0, 1.0
HEAD_RATE, CRITIC_GAMMA = 1e-3, 0.99
FIRST_TASK = 1_000_000
"""Seeds of worlds: those of imitation lie below, each run has a million of its own above."""


@dataclass(frozen=True, kw_only=True)
class NetworkSetting:
    """A world and how it is played.

    Attributes:
        name: as the tables print it.
        world: as `overwinter worlds` names it.
        key: what makes two states the same to an estimator (`overwinter.learn.reinforce.Seat`).
        max_steps: decisions after which an episode is cut short.
        teacher: of imitation; its actions are replaced by chance in a share `noise` of the cases. None begins with a fresh network.
        lessons: episodes that are imitated.
        updates, tasks, group: as for tables.
    """

    name: str
    world: str
    key: Literal["seen", "world"] = "world"
    max_steps: int = 50
    teacher: Callable[[], Any] | None = None
    noise: float = 0.0
    lessons: int = 0
    updates: int = 25
    tasks: int = 6
    group: int = 8
    rates: tuple[float, ...] = (3e-3, 1e-2)

    def player(self, seed: int, rate: float) -> NetworkPlayer:
        return NetworkPlayer(self, seed, rate)


TWC = "textworld-express:twc,numLocations=1,numItemsToPutAway=3,includeDoors=0"
BABYAI = "minigrid:BabyAI-GoToLocal-v0"

NETWORKS = [
    NetworkSetting(
        name="greenhouse",
        world="greenhouse:days=20",
        key="seen",
        max_steps=60,
        teacher=GreenhouseRules,
        noise=0.3,
        lessons=8,
    ),
    NetworkSetting(name="household", world="household:family=pick", teacher=HouseholdRules, noise=0.1, lessons=40),
    NetworkSetting(name="twc", world=TWC, teacher=partial(GoldPolicy, partial(open_world, TWC)), lessons=150),
    NetworkSetting(name="babyai", world=BABYAI, teacher=ExplorerPolicy, lessons=100),
]


@dataclass(kw_only=True)
class _Game:
    """One episode on its way."""

    seat: int
    group: int
    seen: Seen
    done: Counter[str] = field(default_factory=Counter)
    last: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)


@lru_cache(maxsize=8)
def _seats(world: str, key: Literal["seen", "world"], max_steps: int, count: int) -> list[Seat]:
    """Worlds that take a process of their own to start are kept for the next run."""
    return [open_seat(world, key=key, max_steps=max_steps) for _ in range(count)]


class NetworkPlayer:
    """A network in a text world, with a critic and an outcome-conditioned head beside it.

    The heads learn after the columns of a batch are taken, so no column has seen the outcome it is to predict.

    Attributes:
        wants_hindsight: whether to pay for the outcome-conditioned head and its columns.
    """

    def __init__(self, setting: NetworkSetting, seed: int, rate: float) -> None:
        self.setting, self.seed = setting, seed
        self.rng = np.random.default_rng((seed, 7))
        self.updates = 0
        self.wants_hindsight = False
        self.policy = copy.deepcopy(begin(setting, seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critic, self.lean = Critic(), Scorer(outcomes=2)
        self.optimiser = torch.optim.Adam(self.policy.parameters(), lr=rate)
        self.head_optimiser = torch.optim.Adam([*self.critic.parameters(), *self.lean.parameters()], lr=HEAD_RATE)
        self._pages: list[Page] = []
        self._chosen: Ints = np.zeros(0, np.int64)

    # --- play -----------------------------------------------------------------------------------------------------

    def play(self) -> Batch:
        setting = self.setting
        first = FIRST_TASK * (1 + self.seed) + self.updates * setting.tasks
        self.updates += 1
        games = [(task, first + task) for task in range(setting.tasks) for _ in range(setting.group)]
        seats = _seats(setting.world, setting.key, setting.max_steps, len(games))
        playing = [
            _Game(seat=place, group=seed, seen=seats[place].reset(seed)) for place, (_, seed) in enumerate(games)
        ]
        whole = list(playing)
        while playing:
            pages = [read(game.seen, game.done, game.last) for game in playing]
            for game, shown, (choice, logprobs) in zip(playing, pages, self._draw(pages), strict=True):
                self._advance(game, seats[game.seat], shown, choice, logprobs)
            playing = [game for game in playing if not game.seen.is_over]
        return self._batch(whole)

    @torch.no_grad()
    def _draw(self, pages: Sequence[Page]) -> list[tuple[int, Floats]]:
        flat = Pages.of(pages)
        values = np.split(self.policy(flat)[:, 0].double().numpy(), flat.first.numpy()[1:])
        return [(_drawn(logprobs, self.rng), logprobs) for logprobs in values]

    @staticmethod
    def _advance(game: _Game, seat: Seat, shown: Page, choice: int, logprobs: Floats) -> None:
        action = game.seen.actions[choice]
        after = seat.step(action)
        game.rows.append(
            {"page": shown, "choice": choice, "policy": logprobs, "state": game.seen.state, "next_state": after.state}
        )
        game.done[action] += 1
        game.seen, game.last = after, action

    def _batch(self, games: Sequence[_Game]) -> Batch:
        rows = [row for game in games for row in game.rows]
        length = np.array([len(game.rows) for game in games])
        ends = np.cumsum(length) - 1
        trajectory = np.repeat(np.arange(len(games)), length)
        success = np.array([float(game.seen.success == 1.0) for game in games])
        terminated = np.array([game.seen.terminated for game in games])
        reward, stopped, cut = np.zeros(len(rows)), np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        reward[ends], stopped[ends], cut[ends] = success, terminated, ~terminated
        policy = padded([row["policy"] for row in rows])
        self._pages = [row["page"] for row in rows]
        self._chosen = np.array([row["choice"] for row in rows], np.int64)
        heads = self._heads(success[trajectory])
        probability = np.exp(policy)
        return Batch(
            group=np.array([game.group for game in games])[trajectory],
            trajectory=trajectory,
            state=np.array([row["state"] for row in rows], np.int64),
            next_state=np.array([row["next_state"] for row in rows], np.int64),
            action=self._chosen,
            reward=reward,
            terminated=stopped,
            truncated=cut,
            success=success,
            logprob=policy[np.arange(len(rows)), self._chosen],
            # The critic of what stands after a cut is that of the last page: nothing more is known of it.
            end_value=np.where(terminated, 0.0, heads["value"][ends]),
            entropy=-np.where(probability > 0, probability * np.maximum(policy, -1e9), 0.0).sum(1),
            policy=policy,
            tokens=np.ones(len(rows), np.int64),
            **heads,
        )

    @torch.no_grad()
    def _heads(self, won: Floats) -> dict[str, Floats]:
        flat = Pages.of(self._pages)
        value, chance = torch.sigmoid(self.critic(flat)).double().numpy().T
        found = {"value": value, "success_chance": chance}
        if self.wants_hindsight:
            lean = self.lean(flat).double().numpy()
            split = np.split(lean, flat.first.numpy()[1:])
            found["hindsight"] = padded([rows[:, int(end)] for rows, end in zip(split, won, strict=True)])
            found["hindsight_score"] = lean[flat.first.numpy() + self._chosen, 1]
        return found

    # --- learn ----------------------------------------------------------------------------------------------------

    def learn(self, batch: Batch, advantages: Floats) -> None:
        assert batch.logprob is not None
        self._learn_heads(batch)
        advantage = torch.from_numpy(np.clip(advantages, -MOST_ADVANTAGE, MOST_ADVANTAGE)).float()
        old = torch.from_numpy(batch.logprob).float()
        for rows, flat in (part for _ in range(EPOCHS) for part in self._minibatches()):
            log_N = self.policy(flat)[:, 0]
            taken_B = log_N[flat.first + torch.from_numpy(self._chosen[rows])]
            ratio_B = (taken_B - old[rows]).exp()
            gain_B = torch.minimum(ratio_B * advantage[rows], ratio_B.clamp(1 - CLIP, 1 + CLIP) * advantage[rows])
            _step(self.optimiser, self.policy, -gain_B.mean())

    def _learn_heads(self, batch: Batch) -> None:
        left = batch.length[batch.trajectory] - 1 - batch.step
        won = batch.success[batch.trajectory]
        targets = torch.from_numpy(np.stack([CRITIC_GAMMA**left * won, won], 1)).float()
        outcome = torch.from_numpy((won > 0.5).astype(np.int64))
        for rows, flat in self._minibatches():
            loss = nn.functional.binary_cross_entropy_with_logits(self.critic(flat), targets[rows])
            if self.wants_hindsight:
                taken = flat.first + torch.from_numpy(self._chosen[rows])
                loss = loss - self.lean(flat)[taken, outcome[rows]].mean()
            _step(self.head_optimiser, self.critic, loss)

    def _minibatches(self) -> list[tuple[Ints, Pages]]:
        order = self.rng.permutation(len(self._pages))
        return [(rows, Pages.of([self._pages[row] for row in rows])) for rows in np.array_split(order, MINIBATCHES)]


def _step(optimiser: torch.optim.Optimizer, module: nn.Module, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), MOST_GRADIENT)
    optimiser.step()


def _drawn(logprobs: Floats, rng: np.random.Generator) -> int:
    return int(np.argmax(logprobs + rng.gumbel(size=len(logprobs))))


# --- where runs begin ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def begin(setting: NetworkSetting, seed: int) -> Scorer:
    """The policy of a seed before its first update; the same for all estimators."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = Scorer()
    if setting.teacher is not None:
        _imitate(policy, *_lessons(setting, seed), seed)
    return policy


def _lessons(setting: NetworkSetting, seed: int) -> tuple[list[Page], Ints]:
    """Pages and the teacher's choices."""
    assert setting.teacher is not None
    rng = np.random.default_rng((seed, 11))
    world, notebook, teacher = open_world(setting.world), open_notebook(setting.world), setting.teacher()
    pages, chosen = [], []
    for lesson in range(setting.lessons):
        number = seed * setting.lessons + lesson
        teacher.reset(number)
        notebook.reset()
        done: Counter[str] = Counter()
        observation, last = world.reset(number), ""
        notebook.take_in(None, observation)
        while actions := tuple(world.actions()):
            pages.append(read(Seen(text=page(notebook.lines()), actions=actions, state=0), done, last))
            chosen.append(actions.index(teacher.act(observation, actions)))
            last = actions[chosen[-1] if rng.random() >= setting.noise else int(rng.integers(len(actions)))]
            observation = world.step(last).observation
            notebook.take_in(last, observation)
            done[last] += 1
    return pages, np.array(chosen)


def _imitate(policy: Scorer, pages: Sequence[Page], chosen: Ints, seed: int, epochs: int = 3) -> None:
    optimiser = torch.optim.Adam(policy.parameters(), lr=1e-3)
    rng = np.random.default_rng((seed, 12))
    for _ in range(epochs):
        order = rng.permutation(len(pages))
        for rows in np.array_split(order, max(1, len(pages) // 64)):
            flat = Pages.of([pages[row] for row in rows])
            _step(optimiser, policy, -policy(flat)[flat.first + torch.from_numpy(chosen[rows]), 0].mean())
