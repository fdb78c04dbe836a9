"""How the ranker learns: a Plackett-Luce policy over the candidates, moved towards rankings that serve the answer. Needs NumPy.

A ranking is drawn place by place, each candidate in proportion to exp(score) among those left. Six rankings of a question make a group
(GRPO, 2402.03300); groups whose rewards are all equal are dropped; questions are drawn by how nearly they are solved (2603.03379).

    g = Σ_rankings A · ∂ log p(ranking) / ∂ scores        exact, over the places that were rewarded

Three teachers for the same weights: "outcome" and "dcg" reward rankings (`reward`), "supervised" shows which sessions are right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from overwinter.errors import UsageError
from overwinter.memory.sift.features import FEATURES
from overwinter.memory.sift.prompt import TOP
from overwinter.memory.sift.ranker import Weights
from overwinter.memory.sift.reward import anchor_priority, dcg_reward, group_advantages, outcome_reward

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Method = Literal["outcome", "dcg", "supervised"]
METHODS: tuple[Method, ...] = ("outcome", "dcg", "supervised")


@dataclass(kw_only=True)
class Case:
    """One question over its candidates.

    Attributes:
        features: [n, F].
        gold: positions of the sessions that hold the answer, as far as anybody labelled them.
        scored: sorted positions → score in [0, 1] of the working model's answer from those sessions.
    """

    features: Floats
    gold: frozenset[int]
    scored: Callable[[tuple[int, ...]], float]
    known: dict[tuple[int, ...], float] = field(default_factory=dict)

    def score(self, ranking: Sequence[int], k: int) -> float:
        """Of the answer from the first `k`; asked once per set of sessions."""
        key = tuple(sorted(ranking[:k]))
        if key not in self.known:
            self.known[key] = self.scored(key)
        return self.known[key]

    def reward(self, method: Method, ranking: Sequence[int]) -> float:
        if method == "dcg":
            return dcg_reward(ranking, self.gold)
        return outcome_reward(ranking, lambda k: self.score(ranking, k))


@dataclass(frozen=True, kw_only=True)
class Config:
    """Attributes:
    rounds: how often the pool is ranked anew and the questions drawn anew.
    quota: questions of a round, the share of the pool.
    start: weight of the prior feature at the beginning, so that training begins with the order of the stage before.
    anchored: draw by anchor priority; otherwise at random.
    hold: how strongly the first place is held to the starting order (the slope of a KL divergence); what is learnt on made-up
        histories then spoils less on real ones.
    """

    method: Method = "outcome"
    rate: float = 0.01
    rounds: int = 4
    steps_per_round: int = 75
    batch: int = 16
    group: int = 6
    hidden: int = 16
    quota: float = 0.5
    start: float = 1.0
    anchored: bool = True
    weight_decay: float = 1e-3
    hold: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"there is no method {self.method!r}", f"choose from {', '.join(METHODS)}")


class Network:
    """The ranker's weights as arrays, with gradients. `parameters`: linear [F], hidden [H, F], bias [H], out [H]."""

    def __init__(self, mean: Floats, scale: Floats, hidden: int, start: float, rng: np.random.Generator) -> None:
        self.mean, self.scale = mean, scale
        width = len(FEATURES)
        alive = scale < _NEVER  # a feature that never moved in training gets no weight at all
        linear = np.zeros(width)
        linear[FEATURES.index("prior")] = start * float(alive[FEATURES.index("prior")])
        self.parameters = {
            "linear": linear,
            "hidden": rng.normal(0.0, 1.0, (hidden, width)) * alive / np.sqrt(width),
            "bias": np.zeros(hidden),
            "out": np.zeros(hidden),
        }

    def scores(self, features_nF: Floats) -> tuple[Floats, Floats, Floats]:
        """Scores [n], and what `gradient` needs: inputs [n, F], hidden values [n, H]."""
        x_nF = (features_nF - self.mean) / self.scale
        hidden_nH = np.tanh(x_nF @ self.parameters["hidden"].T + self.parameters["bias"])
        return x_nF @ self.parameters["linear"] + hidden_nH @ self.parameters["out"], x_nF, hidden_nH

    def gradient(self, toward_n: Floats, x_nF: Floats, hidden_nH: Floats) -> dict[str, Floats]:
        """Of Σ toward · score in the parameters."""
        inner_nH = toward_n[:, None] * self.parameters["out"] * (1 - hidden_nH**2)
        return {
            "linear": toward_n @ x_nF,
            "hidden": inner_nH.T @ x_nF,
            "bias": inner_nH.sum(0),
            "out": toward_n @ hidden_nH,
        }

    def weights(self) -> Weights:
        p = {name: value.tolist() for name, value in self.parameters.items()}
        return Weights(
            mean=tuple(self.mean.tolist()),
            scale=tuple(self.scale.tolist()),
            linear=tuple(p["linear"]),
            hidden=tuple(tuple(row) for row in p["hidden"]),
            bias=tuple(p["bias"]),
            out=tuple(p["out"]),
        )


_NEVER = 1e6
"""The scale of features that are constant in training: whatever they are later, it comes to nothing."""


def standardise(cases: Sequence[Case]) -> tuple[Floats, Floats]:
    """Mean and scale [F] over all candidates of all cases."""
    rows = np.concatenate([case.features for case in cases])
    deviation = rows.std(0)
    return rows.mean(0), np.where(deviation > 1e-9, np.maximum(deviation, 0.05), _NEVER)


def draw(scores_n: Floats, count: int, rng: np.random.Generator) -> Ints:
    """`count` rankings [count, n] from the Plackett-Luce policy (scores + Gumbel noise, sorted)."""
    return np.argsort(-(scores_n + rng.gumbel(size=(count, len(scores_n)))), axis=1)


def log_probability(scores_n: Floats, ranking: Sequence[int], places: int) -> float:
    """Of the first `places` of a ranking, written plainly; the twin of `toward`."""
    total, left = 0.0, list(range(len(scores_n)))
    for chosen in list(ranking)[:places]:
        among = scores_n[left]
        total += float(scores_n[chosen] - (among.max() + np.log(np.exp(among - among.max()).sum())))
        left.remove(chosen)
    return total


def toward(scores_n: Floats, rankings_gn: Ints, advantages_g: Floats, places: int) -> Floats:
    """Σ_g A_g ∂ log p(first `places` of ranking g) / ∂ scores, [n]."""
    weight_gn = np.exp(scores_n - scores_n.max())[rankings_gn]
    left_gn = np.cumsum(weight_gn[:, ::-1], axis=1)[:, ::-1]
    chances_gn = np.cumsum(np.where(np.arange(weight_gn.shape[1]) < places, 1 / left_gn, 0.0), axis=1)
    slope_gn = (np.arange(weight_gn.shape[1]) < places) - weight_gn * chances_gn
    out = np.zeros(len(scores_n))
    np.add.at(out, rankings_gn, advantages_g[:, None] * slope_gn)
    return out


def shares(scores_n: Floats) -> Floats:
    """Softmax [n]: the chance of each candidate to be placed first."""
    raised_n = np.exp(scores_n - scores_n.max())
    share_n: Floats = raised_n / raised_n.sum()
    return share_n


def supervised(scores_n: Floats, target_n: Floats) -> Floats:
    """Downward slope [n] of the listwise cross-entropy between a distribution and softmax(scores)."""
    return target_n - shares(scores_n)


@dataclass(kw_only=True)
class Trainer:
    """Trains one network. `train` runs through; `on_round` sees (round, network, mean reward of its groups)."""

    cases: Sequence[Case]
    config: Config
    seed: int
    on_round: Callable[[int, Network, float], None] = lambda *_: None

    def __post_init__(self) -> None:
        if self.config.method != "outcome" or self.config.anchored:
            self.cases = [case for case in self.cases if case.gold]
        if not self.cases:
            raise UsageError(
                "there is nothing to train on", "give questions with gold sessions, or train without anchors"
            )
        self._rng = np.random.default_rng(self.seed)
        mean, scale = standardise(self.cases)
        self.network = Network(mean, scale, self.config.hidden, self.config.start, self._rng)
        self._adam = Adam(self.config.rate, self.config.weight_decay)

    def train(self, network: Network | None = None) -> Network:
        """From `network`, where given, else from the start of the configuration."""
        if network is not None:
            self.network = network
        for number in range(self.config.rounds):
            pool = self._pool()
            rewards = [self._step(pool) for _ in range(self.config.steps_per_round)]
            self.on_round(number, self.network, float(np.mean(rewards)))
        return self.network

    def _pool(self) -> list[Case]:
        """The questions of a round: those that are almost solved, by the ranking of the network as it is."""
        if not self.config.anchored:
            return list(self.cases)
        scores = [dcg_reward(greedy(self.network, case)[:TOP], case.gold) for case in self.cases]
        order = sorted(range(len(scores)), key=lambda i: (-anchor_priority(scores[i]), self._rng.random()))
        return [self.cases[i] for i in order[: max(self.config.batch, int(self.config.quota * len(order)))]]

    def _step(self, pool: Sequence[Case]) -> float:
        """One update on a batch; the mean reward of its rankings (0 for the supervised teacher)."""
        total: dict[str, Floats] = {}
        rewards = []
        for index in self._rng.integers(0, len(pool), self.config.batch):
            case = pool[index]
            scores_n, x_nF, hidden_nH = self.network.scores(case.features)
            slope_n, reward = self._slope(case, scores_n)
            rewards.append(reward)
            if self.config.hold:
                held_n = self.config.hold * supervised(scores_n, self._start_shares(case))
                slope_n = held_n if slope_n is None else slope_n + held_n
            if slope_n is not None:
                for name, value in self.network.gradient(slope_n, x_nF, hidden_nH).items():
                    total[name] = total.get(name, 0.0) + value / self.config.batch
        if total:
            self._adam.step(self.network.parameters, total)
        return float(np.mean(rewards))

    def _start_shares(self, case: Case) -> Floats:
        place = FEATURES.index("prior")
        return shares(
            self.config.start * (case.features[:, place] - self.network.mean[place]) / self.network.scale[place]
        )

    def _slope(self, case: Case, scores_n: Floats) -> tuple[Floats | None, float]:
        if self.config.method == "supervised":
            target_n = np.zeros(len(scores_n))
            target_n[list(case.gold)] = 1 / len(case.gold)
            return supervised(scores_n, target_n), 0.0
        rankings = draw(scores_n, self.config.group, self._rng)
        rewards = [case.reward(self.config.method, ranking[:TOP].tolist()) for ranking in rankings]
        advantages = group_advantages(rewards)
        mean = sum(rewards) / len(rewards)
        if advantages is None:
            return None, mean
        return toward(scores_n, rankings, np.array(advantages) / self.config.group, TOP), mean


class Adam:
    """Adam (1412.6980) with decoupled weight decay, upwards."""

    def __init__(self, rate: float, weight_decay: float) -> None:
        self.rate, self.weight_decay, self._steps = rate, weight_decay, 0
        self._mean: dict[str, Floats] = {}
        self._square: dict[str, Floats] = {}

    def step(self, parameters: dict[str, Floats], gradient: dict[str, Floats]) -> None:
        self._steps += 1
        for name, slope in gradient.items():
            self._mean[name] = 0.9 * self._mean.get(name, np.zeros_like(slope)) + 0.1 * slope
            self._square[name] = 0.99 * self._square.get(name, np.zeros_like(slope)) + 0.01 * slope**2
            mean = self._mean[name] / (1 - 0.9**self._steps)
            square = self._square[name] / (1 - 0.99**self._steps)
            parameters[name] *= 1 - self.rate * self.weight_decay
            parameters[name] += self.rate * mean / (np.sqrt(square) + 1e-8)


def greedy(network: Network, case: Case) -> list[int]:
    """Positions, best first."""
    order: list[int] = np.argsort(-network.scores(case.features)[0], kind="stable").tolist()
    return order


def warmed(cases: Sequence[Case], config: Config, seed: int, first: Method = "dcg") -> Network:
    """The paper's order of stages in the same number of steps: a third of the rounds by `first`, the rest by `config.method`."""
    early = max(1, config.rounds // 3)
    start = Trainer(cases=cases, config=replace(config, method=first, rounds=early), seed=seed)
    rest = Trainer(cases=cases, config=replace(config, rounds=config.rounds - early), seed=seed + 10_000)
    return rest.train(start.train())


def as_arrays(rows: Sequence[Sequence[float]]) -> Any:
    return np.asarray(rows, dtype=np.float64).reshape(-1, len(FEATURES))
