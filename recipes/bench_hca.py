"""The three problems of hindsight credit assignment (1912.02503): learning curves of policy gradients and of both hindsight forms.

python recipes/bench_hca.py            # about two minutes on one core; prints the tables and writes them into docs/benchmarks.md
python recipes/bench_hca.py --quick    # a smoke run: prints, writes nothing

shortcut   a chain of five states; one action goes straight to the goal, the other to the next state, and one time in ten any action
           jumps to the goal. A step costs 1, the goal pays 1.
delayed    the first action alone decides whether the last reward is 1 or -1; the states between do not show which, and pay noise.
bandit     two actions lead to two states with rewards N(1, s²) and N(2, s²), and one time in ten to the other one.

All learners are tables and learn from one episode at a time; h starts as the policy and is fitted by cross-entropy. A number of runs go
side by side. The learning rate of each method and case is the best of a grid on other seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench_journal import ROOT, table, write_between

Ints, Floats = NDArray[np.int64], NDArray[np.float64]
BEGIN, END = "<!-- bench_hca: begin -->", "<!-- bench_hca: end -->"
FULL = 10**6
"""Steps before bootstrapping: more than any episode has, that is the whole return."""
RATES = (0.1, 0.3, 1.0)
VALUE_RATE, HINDSIGHT_RATE, BINS, RATIO_CLIP = 0.3, 0.4, 10, 10.0
METHODS = ("policy gradient", "state HCA", "return HCA")


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """One episode of each run: [R, L] states, actions, rewards, states after; alive where the step took place."""

    state: Ints
    action: Ints
    reward: Floats
    after: Ints
    alive: NDArray[np.bool_]


Act = Callable[[Ints], Ints]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem that many runs play side by side.

    Attributes:
        states: number of states; the last is the end.
        returns: range that returns are sorted into bins within.
        best: the right action in state 0.
        play: (choose actions in states [R], generator, runs) → episodes.
    """

    states: int
    returns: tuple[float, float]
    best: int
    play: Callable[[Act, np.random.Generator, int], Episodes]


def shortcut(length: int = 5, jump: float = 0.1) -> Problem:
    def play(act: Act, rng: np.random.Generator, runs: int) -> Episodes:
        goal = length - 1
        state, rows = np.zeros(runs, np.int64), []
        for _ in range(goal):
            alive = state < goal
            action = act(state)
            direct = (action == 0) | (rng.random(runs) < jump)
            after = np.where(alive, np.where(direct, goal, state + 1), state)
            rows.append((state, action, np.where(after == goal, 1.0, -1.0) * alive, after, alive))
            state = after
        return _episodes(rows)

    return Problem(states=length, returns=(-float(length), 1.0), best=0, play=play)


def delayed(middle: int, noise: float) -> Problem:
    """States: 0 the choice, 1 to `middle` the blind ones, then two that tell the outcome."""

    def play(act: Act, rng: np.random.Generator, runs: int) -> Episodes:
        rows, first = [], np.zeros(runs, np.int64)
        for step in range(middle + 1):
            state = np.full(runs, step)
            action = act(state)
            first = action if step == 0 else first
            is_last = step == middle
            after = middle + 1 + first if is_last else state + 1
            reward = 2.0 * first - 1.0 if is_last else noise * rng.standard_normal(runs)
            rows.append((state, action, reward, after, np.ones(runs, bool)))
        return _episodes(rows)

    reach = 1.0 + 2.0 * noise * np.sqrt(middle)
    return Problem(states=middle + 3, returns=(-reach, reach), best=1, play=play)


def bandit(noise: float, slip: float = 0.1) -> Problem:
    def play(act: Act, rng: np.random.Generator, runs: int) -> Episodes:
        state = np.zeros(runs, np.int64)
        action = act(state)
        reached = np.where(rng.random(runs) < slip, 1 - action, action)
        reward = 1.0 + reached + noise * rng.standard_normal(runs)
        return _episodes([(state, action, reward, 1 + reached, np.ones(runs, bool))])

    return Problem(states=3, returns=(1.5 - 2.5 * noise - 0.5, 1.5 + 2.5 * noise + 0.5), best=1, play=play)


def _episodes(rows: Sequence[tuple[Ints, Ints, Floats, Ints, NDArray[np.bool_]]]) -> Episodes:
    state, action, reward, after, alive = (np.stack(column, axis=1) for column in zip(*rows, strict=True))
    return Episodes(state=state, action=action, reward=reward, after=after, alive=alive)


def softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


class Learner:
    """Tables of many runs: a policy of two actions, values, and h as an offset to the policy's logits."""

    def __init__(self, problem: Problem, method: str, *, runs: int, rate: float, bootstrap: int, seed: int) -> None:
        self.problem, self.method, self.rate, self.bootstrap = problem, method, rate, bootstrap
        self.rng, self.runs = np.random.default_rng(seed), np.arange(runs)
        self.logits = np.zeros((runs, problem.states, 2))
        self.value = np.zeros((runs, problem.states))
        given = problem.states if method == "state HCA" else BINS
        self.offset = np.zeros((runs, problem.states, given, 2))

    def act(self, state: Ints) -> Ints:
        chance = softmax(self.logits[self.runs, state])[:, 1]
        return (self.rng.random(len(state)) < chance).astype(np.int64)

    def episode(self) -> float:
        """Play and learn; the mean chance of the right first action before it."""
        chance = float(softmax(self.logits[:, 0])[:, self.problem.best].mean())
        played = self.problem.play(self.act, self.rng, len(self.runs))
        steps = played.state.shape[1]
        pulls = [self._pull(played, step) for step in range(steps)]
        for step, pull in enumerate(pulls):
            self.logits[self.runs, played.state[:, step]] += self.rate * pull * played.alive[:, step, None]
        for step in range(steps):
            goal = self._return(played, step)
            error = (goal - self.value[self.runs, played.state[:, step]]) * played.alive[:, step]
            self.value[self.runs, played.state[:, step]] += VALUE_RATE * error
            self._fit(played, step)
        return chance

    def _return(self, played: Episodes, step: int) -> Floats:
        """[R] rewards up to the bootstrap, and the value of the state there unless the episode is over."""
        end = min(step + self.bootstrap, played.state.shape[1])
        total = (played.reward[:, step:end] * played.alive[:, step:end]).sum(1)
        return total + self._rest(played, end)

    def _rest(self, played: Episodes, end: int) -> Floats:
        if end == played.state.shape[1]:
            return np.zeros(len(self.runs))
        return self.value[self.runs, played.state[:, end]] * played.alive[:, end]

    def _pull(self, played: Episodes, step: int) -> Floats:
        """[R, 2] gradient of the logits of the step's state."""
        state, action = played.state[:, step], played.action[:, step]
        policy = softmax(self.logits[self.runs, state])
        taken = np.eye(2)[action]
        if self.method == "policy gradient":
            return (taken - policy) * (self._return(played, step) - self.value[self.runs, state])[:, None]
        if self.method == "return HCA":
            outcome = self._return(played, step)
            h = self._hindsight(state, self._bins(outcome))
            ratio = np.minimum(policy[self.runs, action] / h[self.runs, action], RATIO_CLIP)
            return (taken - policy) * ((1.0 - ratio) * outcome)[:, None]
        end = min(step + self.bootstrap, played.state.shape[1])
        pull = np.zeros_like(policy)
        for later in range(step, end):
            gain = played.reward[:, later] * played.alive[:, later]
            pull += (self._hindsight(state, played.after[:, later]) - policy) * gain[:, None]
        if end < played.state.shape[1]:
            pull += (self._hindsight(state, played.state[:, end]) - policy) * self._rest(played, end)[:, None]
        return pull

    def _hindsight(self, state: Ints, given: Ints) -> Floats:
        return softmax(self.logits[self.runs, state] + self.offset[self.runs, state, given])

    def _bins(self, outcome: Floats) -> Ints:
        low, high = self.problem.returns
        return np.clip(((outcome - low) / (high - low) * BINS).astype(np.int64), 0, BINS - 1)

    def _fit(self, played: Episodes, step: int) -> None:
        """One step of cross-entropy for what the step led to."""
        if self.method == "policy gradient":
            return
        state, taken = played.state[:, step], np.eye(2)[played.action[:, step]]
        if self.method == "return HCA":
            givens = [(self._bins(self._return(played, step)), played.alive[:, step])]
        else:
            last = played.state.shape[1]
            givens = [(played.after[:, later], played.alive[:, later]) for later in range(step, last)]
        for given, alive in givens:
            h = self._hindsight(state, given)
            self.offset[self.runs, state, given] += HINDSIGHT_RATE * (taken - h) * alive[:, None]


@dataclass(frozen=True, kw_only=True)
class Scale:
    runs: int
    episodes: int
    tuning_runs: int


def learn(problem: Problem, method: str, scale: Scale, *, bootstrap: int = FULL) -> tuple[float, float, float]:
    """Mean chance of the right first action at the end, half a 95 % interval over runs, and the mean over all episodes."""

    def run(rate: float, runs: int, seed: int) -> tuple[Floats, float]:
        learner = Learner(problem, method, runs=runs, rate=rate, bootstrap=bootstrap, seed=seed)
        curve = [learner.episode() for _ in range(scale.episodes)]
        return softmax(learner.logits[:, 0])[:, problem.best], float(np.mean(curve))

    best = max(RATES, key=lambda rate: run(rate, scale.tuning_runs, 1)[1])
    final, area = run(best, scale.runs, 2)
    return float(final.mean()), float(1.96 * final.std() / np.sqrt(len(final))), area


def _cell(problem: Problem, method: str, scale: Scale, bootstrap: int = FULL) -> str:
    final, half, area = learn(problem, method, scale, bootstrap=bootstrap)
    return f"{area:.2f} ({final:.2f} ± {half:.2f})"


def report(scale: Scale) -> str:
    columns = ["case", *METHODS]
    noises = [
        [f"noise {noise:g}", *(_cell(delayed(5, noise), name, scale) for name in METHODS)]
        for noise in (0.0, 1.0, 2.0, 4.0)
    ]
    steps = [
        [f"{n} steps" if n < FULL else "whole return", *(_cell(delayed(5, 0.0), name, scale, n) for name in METHODS)]
        for n in (1, 3, FULL)
    ]
    short = [
        [f"{n} steps" if n < FULL else "whole return", *(_cell(shortcut(), name, scale, n) for name in METHODS)]
        for n in (1, 3, FULL)
    ]
    pulls = [
        [f"noise {noise:g}", *(_cell(bandit(noise), name, scale) for name in METHODS)] for noise in (0.5, 1.5, 3.0)
    ]
    return "\n\n".join(
        (
            f"Chance of the right first action: mean over {scale.episodes} episodes (in brackets after the last, with its 95 % interval "
            f"over {scale.runs} runs).",
            "**Delayed effect**, five blind states, whole returns:\n\n" + table(columns, noises),
            "**Delayed effect** without noise, bootstrapping after a number of steps:\n\n" + table(columns, steps),
            "**Shortcut**:\n\n" + table(columns, short),
            "**Ambiguous bandit**:\n\n" + table(columns, pulls),
            "**Variance of one episode's gradient** of the first choice, uniform policy, exact h:\n\n" + variances(),
        )
    )


def variances(draws: int = 200_000) -> str:
    """Reference values: the policy gradient (with the exact baseline) and the state form."""
    rng = np.random.default_rng(0)
    rows = []
    action = rng.integers(2, size=draws)
    reached = np.where(rng.random(draws) < 0.1, 1 - action, action)
    reward = 1.0 + reached + 1.5 * rng.standard_normal(draws)
    lift = np.where(reached == 1, 0.4, -0.4)
    rows.append(
        [
            "bandit, noise 1.5",
            _variance((action - 0.5) * (reward - 1.5)),
            _variance(lift * (reward - 1.5)),
            _variance(lift * reward),
        ]
    )
    for middle in (5, 10):
        action = rng.integers(2, size=draws)
        outcome = 2.0 * action - 1.0
        noise = 2.0 * np.sqrt(middle) * rng.standard_normal(draws)
        # Middle states have h = pi; the last one names the action: h - pi = ±1/2.
        state_form = _variance(0.5 * outcome * outcome)
        rows.append(
            [
                f"delayed effect, {middle} states, noise 2",
                _variance((action - 0.5) * (outcome + noise)),
                state_form,
                state_form,
            ]
        )
    return table(["case", "policy gradient", "state HCA with baseline", "state HCA without"], rows)


def _variance(values: Floats) -> str:
    return f"{values.var():.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run: prints, writes nothing")
    quick = parser.parse_args().quick
    text = report(
        Scale(runs=20, episodes=40, tuning_runs=10) if quick else Scale(runs=100, episodes=300, tuning_runs=40)
    )
    print(text)
    if not quick:
        write_between(ROOT / "docs" / "benchmarks.md", BEGIN, END, text)


if __name__ == "__main__":
    main()
