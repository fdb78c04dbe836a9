"""Decisions and episodes: what reinforcement learning remembers of a game, and the columns credit is computed on.

A decision holds token ids alone, those that went into the model and those that were sampled; no text, so nothing can be
tokenised again and come out otherwise. Its log-probabilities are those of the distribution it was drawn from: masked to the
candidates and divided by the temperature, where there were any.

    batch = batch_of(episodes)          # one row per decision, in the form that overwinter.learn.credit reads

Shapes: S decisions, T episodes, A candidates.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch, Floats

Candidates = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """Ids, and the place of the outcome token among them."""

    ids: tuple[int, ...]
    slot: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One action, as it was asked for and drawn.

    Attributes:
        prompt: ids before the action.
        ids: ids of the action, in the order they were drawn.
        logprobs: of `ids`, under the distribution each was drawn from.
        candidates: ids of all that could be done; None where any text could be said.
        choice: which of them was drawn; -1 for free text.
        slot: place in `prompt` of the outcome token, where the prompt has one.
        policy: log-probabilities of all candidates, where the player knew them.
        entropy: mean entropy per drawn token, in nats.
        temperature: by which logits were divided before the draw.
        version: number of the weights that drew it; -1 if it is not known.
        state, next_state: keys of the state it was taken in, and of the one it led to.
        reward: what the step itself paid.
        is_cut: free text that ended by its token limit.
        is_valid: whether it could be carried out; free text need not.
        is_raw: `logprobs` are the model's own, not of the distribution drawn from: ratios cannot be taken to them.
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    candidates: Candidates | None = None
    choice: int = -1
    slot: int | None = None
    policy: tuple[float, ...] | None = None
    entropy: float | None = None
    temperature: float = 1.0
    version: int = -1
    state: int = 0
    next_state: int = 0
    reward: float = 0.0
    is_cut: bool = False
    is_valid: bool = True
    is_raw: bool = False

    def __post_init__(self) -> None:
        if not self.prompt or not self.ids:
            raise UsageError("a decision without a prompt or without an action", "give the ids of both")
        if len(self.logprobs) != len(self.ids):
            raise UsageError(
                f"{len(self.ids)} tokens were drawn and {len(self.logprobs)} log-probabilities are given",
                "record one per drawn token",
            )
        if self.candidates is not None and not 0 <= self.choice < len(self.candidates):
            raise UsageError(
                f"choice {self.choice} is none of {len(self.candidates)} candidates", "give the index of the drawn one"
            )
        if self.slot is not None and not 0 < self.slot < len(self.prompt):
            raise UsageError(
                f"the outcome slot {self.slot} is not inside a prompt of {len(self.prompt)} tokens",
                "give its place; a token has to stand before it, whose logits foretell the outcome",
            )

    @property
    def logprob(self) -> float:
        """Of the whole action."""
        return math.fsum(self.logprobs)

    @property
    def action(self) -> int:
        """The action as a whole number: its index, or for free text a hash of its ids."""
        return self.choice if self.candidates is not None else key_of(*self.ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """A game from its start.

    Attributes:
        group: advantages compare within it; episodes of one group started from the same task.
        seed: of the world.
        terminated, truncated: it came to its own end, or was cut short; one of the two.
        success: 1 or 0, or a share in between; NaN where the end is not known.
        score: the world's own figure.
        end_prompt: what would have been asked next, where the episode was cut short.
        source: where it comes from, such as a run's name.
    """

    group: int
    seed: int
    decisions: tuple[Decision, ...]
    terminated: bool
    truncated: bool
    success: float
    score: float = math.nan
    end_prompt: Prompt | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not self.decisions:
            raise UsageError("an episode without decisions", "leave it out")
        if self.terminated == self.truncated:
            raise UsageError(
                f"an episode with terminated={self.terminated} and truncated={self.truncated}",
                "an episode ended by itself or was cut short: set one of the two",
            )

    @property
    def total_reward(self) -> float:
        return math.fsum(decision.reward for decision in self.decisions)


def key_of(*parts: object) -> int:
    """A 63-bit key, the same in every process."""
    data = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1


def flat(episodes: Sequence[Episode]) -> list[Decision]:
    """All decisions, in the order of the rows of `batch_of`."""
    return [decision for episode in episodes for decision in episode.decisions]


def batch_of(
    episodes: Sequence[Episode],
    *,
    policy: Floats | None = None,
    hindsight: Floats | None = None,
    success_chance: Floats | None = None,
    end_value: Floats | None = None,
) -> Batch:
    """The episodes as columns. `value` is the chance of success, if one is given.

    Args:
        policy: [S, A] log-probabilities of all candidates, where the player did not know them (`Policy.all_candidates`).
        hindsight: [S, A] the same under the outcome that came (`Policy.columns`).
        success_chance: [S] chance of success from each state.
        end_value: [T] the same of the last states of episodes that were cut short; 0 for the others.
    """
    decisions = flat(episodes)
    lengths = [len(episode.decisions) for episode in episodes]
    trajectory = np.repeat(np.arange(len(episodes)), lengths)
    is_last = np.zeros(len(decisions), np.bool_)
    is_last[np.cumsum(lengths) - 1] = True
    group = np.array([episode.group for episode in episodes], np.int64)
    terminated = np.array([episode.terminated for episode in episodes], np.bool_)
    entropies = [decision.entropy for decision in decisions]
    return Batch(
        group=group[trajectory],
        trajectory=trajectory.astype(np.int64),
        state=np.array([decision.state for decision in decisions], np.int64),
        next_state=np.array([decision.next_state for decision in decisions], np.int64),
        action=np.array([decision.action for decision in decisions], np.int64),
        reward=np.array([decision.reward for decision in decisions], np.float64),
        terminated=is_last & terminated[trajectory],
        truncated=is_last & ~terminated[trajectory],
        success=np.array([episode.success for episode in episodes], np.float64),
        logprob=np.array([decision.logprob for decision in decisions], np.float64),
        entropy=None if None in entropies else np.array(entropies, np.float64),
        policy=_policy_columns(decisions) if policy is None else policy,
        hindsight=hindsight,
        success_chance=success_chance,
        value=success_chance,
        end_value=end_value,
        tokens=np.array([len(decision.ids) for decision in decisions], np.int64),
    )


def _policy_columns(decisions: Sequence[Decision]) -> Floats | None:
    rows = [decision.policy for decision in decisions]
    known = [row for row in rows if row is not None]
    return padded(known) if len(known) == len(rows) else None


def padded(rows: Sequence[Sequence[float] | Floats]) -> Floats:
    """[S, A] log-probabilities of lists of unequal length, -inf beyond them."""
    columns = np.full((len(rows), max(map(len, rows))), -np.inf)
    for number, row in enumerate(rows):
        columns[number, : len(row)] = row
    return columns
