"""A small ranker of our own: the features of a session through a few weights into a score. Pure Python, no model, no NumPy.

    score = w · x + v · tanh(W x + b)        x: standardised features

Trained by what a reader could do with its rankings (`policy`); the shipped weights and their card stand in `bundled/sifter/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import tanh
from pathlib import Path
from typing import Any

from overwinter.errors import StoreError, UsageError
from overwinter.memory.sift.features import FEATURES, features
from overwinter.memory.sift.session import Session
from overwinter.memory.sift.words import Haystack

FORMAT = 1
BUNDLED_FILE = Path(__file__).parents[2] / "bundled" / "sifter" / "ranker.json"

Row = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Attributes:
    mean, scale: [F] of the features in training; x = (feature - mean) / scale.
    linear: [F].
    hidden: [H][F], `bias` [H], `out` [H]; empty for a linear ranker.
    """

    mean: Row
    scale: Row
    linear: Row
    hidden: tuple[Row, ...] = ()
    bias: Row = ()
    out: Row = ()

    def __post_init__(self) -> None:
        width = len(self.linear)
        rows_fit = all(len(row) == width for row in (self.mean, self.scale, *self.hidden))
        if not rows_fit or len(self.bias) != len(self.hidden) or len(self.out) != len(self.hidden):
            raise UsageError(
                "the ranker's weights do not fit each other", "train it again with recipes/train_sifter.py"
            )

    def score(self, row: Sequence[float]) -> float:
        x = [(value - mean) / scale for value, mean, scale in zip(row, self.mean, self.scale, strict=True)]
        total = sum(w * value for w, value in zip(self.linear, x, strict=True))
        for weights, bias, out in zip(self.hidden, self.bias, self.out, strict=True):
            total += out * tanh(bias + sum(w * value for w, value in zip(weights, x, strict=True)))
        return total


class Ranker:
    """See the module docstring. A `Reranker`.

    Attributes:
        about: what the file says of its training.
    """

    def __init__(self, weights: Weights, about: Mapping[str, Any] | None = None) -> None:
        if len(weights.linear) != len(FEATURES):
            raise UsageError(
                f"the weights are for {len(weights.linear)} features, there are {len(FEATURES)}",
                "train it again with recipes/train_sifter.py",
            )
        self.weights, self.about = weights, dict(about or {})

    def scores(self, question: str, candidates: Sequence[Session]) -> list[float]:
        """One score per candidate, comparable within the list."""
        return [self.weights.score(row) for row in features(question, Haystack(candidates))]

    def rank(self, question: str, candidates: Sequence[Session]) -> list[int]:
        scores = self.scores(question, candidates)
        return sorted(range(len(scores)), key=lambda number: -scores[number])

    def as_json(self) -> str:
        """With the names of the features, so that a ranker for other features is refused."""
        weights = {name: _rounded(getattr(self.weights, name)) for name in Weights.__dataclass_fields__}
        return json.dumps(
            {"format": FORMAT, "features": FEATURES, "weights": weights, "about": self.about},
            indent=None,
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str, source: str = "the ranker") -> Ranker:
        """Raises StoreError where it is of another format or for other features."""
        again = "install a matching overwinter, or train it again with recipes/train_sifter.py"
        try:
            data = json.loads(text)
            if data["format"] != FORMAT or tuple(data["features"]) != FEATURES:
                raise StoreError(f"{source} is of format {data['format']} or for other features", again)
            stored = data["weights"]
            rows = {name: tuple(stored[name]) for name in Weights.__dataclass_fields__ if name != "hidden"}
            hidden = tuple(tuple(row) for row in stored["hidden"])
            return cls(Weights(hidden=hidden, **rows), data["about"])
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise StoreError(f"{source} cannot be read: {error!r}", again) from error

    @classmethod
    def load(cls, path: Path) -> Ranker:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise StoreError(
                f"{path} cannot be read: {error.strerror}", "train one with recipes/train_sifter.py"
            ) from error
        return cls.from_json(text, str(path))


def _rounded(value: Any) -> Any:
    return [_rounded(part) for part in value] if isinstance(value, tuple) else round(float(value), 5)


def bundled() -> Ranker:
    """The ranker that is shipped."""
    return Ranker.load(BUNDLED_FILE)
