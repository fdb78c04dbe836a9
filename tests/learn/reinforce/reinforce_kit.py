"""A corridor with a key and a door, small decoders, and a tokenizer of its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch, Floats
from overwinter.learn.reinforce.form import TextForm
from overwinter.learn.reinforce.policy import CandidatePolicy, TokenPolicy
from overwinter.learn.reinforce.seat import LocalSeats, Seat
from overwinter.model import Config, Decoder, TextFormat, fresh
from overwinter.worlds import Observation, Outcome, Transition

WORDS = (
    "[UNK] <end> \n outcome ? well badly at key held door did left right take open"
    " p0 p1 p2 p3 p4 p5 p6 p7 yes no walk to the"
).replace("\n", "⏎")


class Corridor:
    """Places 0 to `length` − 1, a key at the left end, a door at the right one; who opens it with the key has won."""

    name = "corridor"
    goal = "Take the key and open the door."

    def __init__(self, length: int = 4, limit: int = 16, *, wordy: bool = False) -> None:
        self.length, self.limit, self.wordy = length, limit, wordy

    def reset(self, seed: int) -> Observation:
        self.place, self.has_key, self.steps, self.won = 1 + seed % (self.length - 2), False, 0, False
        return self._see()

    def actions(self) -> Sequence[str]:
        names = ["left", "right", "take", "open"]
        return [f"walk to the {name}" if self.wordy and name in ("left", "right") else name for name in names]

    def step(self, action: str) -> Transition:
        if action not in self.actions():
            raise UsageError(f"{action!r} is not possible", "choose a listed action")
        self.steps += 1
        if action.endswith("left"):
            self.place = max(0, self.place - 1)
        elif action.endswith("right"):
            self.place = min(self.length - 1, self.place + 1)
        elif action == "take":
            self.has_key |= self.place == 0
        elif self.place == self.length - 1 and self.has_key:
            self.won = True
        over = self.won or self.steps >= self.limit
        return Transition(observation=self._see(), reward=float(self.won), terminated=over)

    def effect(self, action: str) -> str:
        return "pure"

    def outcome(self) -> Outcome:
        return Outcome(success=self.won, score=float(self.won))

    def snapshot(self) -> dict[str, Any]:
        return dict(vars(self))

    def restore(self, snapshot: dict[str, Any]) -> Observation:
        vars(self).update(snapshot)
        return self._see()

    def _see(self) -> Observation:
        return Observation(text=f"at p{self.place}\nkey {'held' if self.has_key else 'no'}")


def corridor_seat(length: int = 4, limit: int = 16, wordy: bool = False) -> Seat:
    return Seat(Corridor(length, limit, wordy=wordy))


def corridor_seats(count: int, **settings: Any) -> LocalSeats:
    return LocalSeats(lambda: corridor_seat(**settings), count)


def text_format() -> TextFormat:
    """Words split at blanks; a line end is a word."""
    vocabulary = {word.replace("⏎", "\n"): number for number, word in enumerate(WORDS.split(" "))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", behavior="removed"),
            pre_tokenizers.Split("\n", behavior="isolated"),
        ]
    )
    return TextFormat(tokenizer, end_ids=(vocabulary["<end>"],), name="words")


def form(*, outcome: bool = True) -> TextForm:
    return TextForm(text_format(), outcome=outcome)


def decoder(seed: int = 0, *, std: float = 0.3, **switches: Any) -> Decoder:
    """Weights large enough for a distribution that is far from even, unless `std` is 0, which leaves the usual start."""
    shape: dict[str, Any] = {
        "vocab_size": len(WORDS.split(" ")),
        "d_model": 32,
        "n_layers": 1,
        "n_heads": 2,
        "n_kv_heads": 2,
        "d_head": 16,
        "d_mlp": 64,
        "context": 64,
        "tied": True,
    }
    made = fresh(Config(**{**shape, **switches}), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters() if std else ():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, std, generator=generator)
    return made


def candidate_policy(seed: int = 0, **settings: Any) -> CandidatePolicy:
    made = form()
    heat = settings.pop("temperature", 1.0)
    return CandidatePolicy(decoder(seed, **settings), outcome=made.outcome, end_id=made.end_id, temperature=heat)


def token_policy(seed: int = 0, **settings: Any) -> TokenPolicy:
    made = form()
    heat = settings.pop("temperature", 1.0)
    return TokenPolicy(decoder(seed, **settings), outcome=made.outcome, end_id=made.end_id, temperature=heat)


@dataclass(frozen=True)
class Simple:
    """A credit estimator's answer."""

    advantages: Floats
    diagnostics: dict[str, float]
    memory: Any = None


def grouped(batch: Batch, memory: Any) -> Simple:
    """Rewards less their group's mean, over its spread."""
    reward_T, group_T = batch.total_reward, batch.trajectory_group
    advantage_T = np.zeros(len(reward_T))
    for group in np.unique(group_T):
        mine = group_T == group
        advantage_T[mine] = (reward_T[mine] - reward_T[mine].mean()) / (reward_T[mine].std() + 1e-3)
    return Simple(advantages=advantage_T[batch.trajectory], diagnostics={}, memory=memory)
