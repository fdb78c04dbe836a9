"""A small network that scores the listed actions of any text world, for the credit benchmark.

After DRRN (He et al., "Deep Reinforcement Learning with a Natural Language Action Space", ACL 2016, arXiv 1511.04636): text and
action are embedded apart, and each action gets a score. Text is a bag of hashed words, pairs of words and phrases; a word that the task
names is written as `@`, in the text and in the action, so that "take cloth 1" for one task and "take mug 2" for another are the same to
the network.

Shapes: B decisions, N candidates of all of them, D embedding, H hidden.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import log1p
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from overwinter.learn.batch import Ints
from overwinter.learn.reinforce.seat import Seen

BUCKETS, D, H = 8192, 32, 64
TASK = re.compile(r"(?:^|\n)(?:Task|Mission):? ([^\n]*)")
PHRASES = re.compile(r"[.;:\n]")
WORDS = re.compile(r"[a-z]+|-?\d+")
COMMON = frozenset(
    re.findall("[a-z]+", "a an the in to of is and then you your it at on with for that some there look under put")
)
SCALARS = 3


@dataclass(frozen=True, slots=True)
class Page:
    """A decision as numbers: ids of the text, of the last action, and of each candidate, with what is known of it beside its words."""

    text: Ints
    last: Ints
    actions: tuple[Ints, ...]
    scalars: np.ndarray
    """[candidates, SCALARS] log(1 + times it was done), whether it was the last action, how many of the task's words it has."""


def read(seen: Seen, done: Counter[str], last: str) -> Page:
    """What the network is shown: page and actions of `seen`, and what was done before."""
    text, task = _text(seen.text)
    actions = [_action(action, task) for action in seen.actions]
    scalars = [
        (log1p(done[action]), action == last, hits) for action, (_, hits) in zip(seen.actions, actions, strict=True)
    ]
    return Page(
        text=text,
        last=_action(last, task)[0],
        actions=tuple(ids for ids, _ in actions),
        scalars=np.array(scalars, np.float32),
    )


@lru_cache(maxsize=100_000)
def _text(text: str) -> tuple[Ints, str]:
    """Ids, and the sentence that names the task."""
    found = TASK.search(text)
    task = found[1].lower() if found else ""
    named, parts = _named(task), []
    for phrase in PHRASES.split(text.lower()):
        words = ["@" if word in named else word for word in WORDS.findall(phrase)]
        parts += [*words, *map(" ".join, pairwise(words)), "=" + " ".join(words)]
    return _ids(parts), task


@lru_cache(maxsize=1000)
def _named(task: str) -> frozenset[str]:
    return frozenset(WORDS.findall(task)) - COMMON


@lru_cache(maxsize=200_000)
def _action(action: str, task: str) -> tuple[Ints, int]:
    """Ids, and how many words the task has too."""
    named = _named(task)
    words = ["@" if word in named else word for word in WORDS.findall(action.lower()) if not word.isdigit()]
    return _ids([*words, "=" + " ".join(words)]), words.count("@")


_known: dict[str, int] = {}


def _ids(parts: Sequence[str]) -> Ints:
    for part in parts:
        if part not in _known:
            _known[part] = crc32(part.encode()) % BUCKETS
    return np.array([_known[part] for part in parts], np.int64)


@dataclass(frozen=True, slots=True)
class Pages:
    """Many decisions, flat."""

    text: tuple[Tensor, Tensor]
    last: tuple[Tensor, Tensor]
    actions: tuple[Tensor, Tensor]
    scalars: Tensor
    row: Tensor
    """[N] which decision a candidate belongs to."""
    first: Tensor
    """[B] a decision's first candidate."""

    @classmethod
    def of(cls, pages: Sequence[Page]) -> Pages:
        counts = np.array([len(page.actions) for page in pages])
        return cls(
            text=_bags([page.text for page in pages]),
            last=_bags([page.last for page in pages]),
            actions=_bags([ids for page in pages for ids in page.actions]),
            scalars=torch.from_numpy(np.concatenate([page.scalars for page in pages])),
            row=torch.from_numpy(np.repeat(np.arange(len(pages)), counts)),
            first=torch.from_numpy(np.cumsum(counts) - counts),
        )

    def __len__(self) -> int:
        return len(self.first)


def _bags(rows: Sequence[Ints]) -> tuple[Tensor, Tensor]:
    lengths = np.array([len(ids) for ids in rows])
    return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.cumsum(lengths) - lengths)


def _bag() -> nn.EmbeddingBag:
    """Means of embeddings, small enough that a step of Adam moves them."""
    bag = nn.EmbeddingBag(BUCKETS, D, mode="mean")
    nn.init.normal_(bag.weight, std=0.3)
    return bag


class Trunk(nn.Module):
    """From a page to a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.words = _bag()
        self.hidden = nn.Sequential(nn.Linear(2 * D, H), nn.ReLU(), nn.Linear(H, H), nn.ReLU())

    def forward(self, pages: Pages) -> Tensor:
        """[B, H]"""
        found: Tensor = self.hidden(torch.cat([self.words(*pages.text), self.words(*pages.last)], -1))
        return found


class Scorer(nn.Module):
    """Log-probabilities of all candidates.

    Args:
        outcomes: number of policies in one; two for the policy that knows how the episode ends.
    """

    def __init__(self, outcomes: int = 1) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.words = _bag()
        self.of_action, self.of_scalars = nn.Linear(D, H), nn.Linear(SCALARS, H, bias=False)
        self.mix, self.out = nn.Linear(H, H), nn.Linear(H, outcomes)

    def forward(self, pages: Pages) -> Tensor:
        """[N, outcomes] normalised over each decision's candidates."""
        state_NH = self.trunk(pages)[pages.row]
        action_NH = self.of_action(self.words(*pages.actions)) + self.of_scalars(pages.scalars)
        scores_NO = self.out(torch.relu(state_NH * torch.tanh(action_NH) + action_NH + self.mix(state_NH)))
        return log_softmax(scores_NO, pages)


class Critic(nn.Module):
    """Expected return and chance of success of a page, as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.out = Trunk(), nn.Linear(H, 2)

    def forward(self, pages: Pages) -> Tensor:
        """[B, 2]"""
        found: Tensor = self.out(self.trunk(pages))
        return found


def log_softmax(scores_NO: Tensor, pages: Pages) -> Tensor:
    """Over the candidates of each decision."""
    shape = (len(pages), scores_NO.shape[1])
    rows_NO = pages.row[:, None].expand_as(scores_NO)
    most_BO = torch.full(shape, float("-inf")).scatter_reduce(0, rows_NO, scores_NO.detach(), "amax")
    shifted_NO = scores_NO - most_BO[pages.row]
    total_BO = torch.zeros(shape).index_add(0, pages.row, shifted_NO.exp())
    return shifted_NO - total_BO.log()[pages.row]
