"""What another choice would have added to the score: a head that was taught by counterfactuals of other episodes.

    head = AdvantageHead.read(folder, "rules")         # `advantage-rules.safetensors` beside the player's model
    told = head.told(trace)                            # of a whole episode
    told.points[12], told.sure[12]                     # of decision 12, by action

A world that can be put back answers what would have come of another action in the same weather (`counterfactual`). Asked about decisions
of episodes on many seeds, it gives examples of

    A(t, a') = score(a' at t, played on) - score(as it was done, played on)

and a small network learns to expect them for episodes it was not taught by, without playing anything. It reads the page, what was done,
and *what came after*: blame is given once an episode has been seen, and the weather that came would have come after the other action
too (future-conditional credit, Counterfactual Credit Assignment, arXiv 2011.09464; no policy is trained by it here, so the future may
tell of the action as well). What a choice costs depends on who goes on after it, so a player has a head of its own: taught by
the seasons of one script, a head named the mistakes of another worse than a lot does.

Nothing in it knows a world: a line of a page is words and numbers (`PageColumns`), actions are a list.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from overwinter.errors import UsageError
from overwinter.learn.batch import Floats

if TYPE_CHECKING:
    from overwinter.learn.appraisal import Trace

MODEL = "model"
"""The player's name for the head of the judging model; a script's head has the name of the script."""
NAME = re.compile(r"[A-Za-z0-9_-]+")
FORMAT = 1
WINDOWS = ((-20, -1), (1, 2), (3, 6), (7, 12), (13, 20), (21, 32), (33, 60), (61, 100), (101, 240))
"""Decisions before and after the one in question, first and last: of the pages there the means, least and greatest values are read."""
SPREAD = 5.0
"""Columns are cut at so many deviations: what was never met in training must not shout."""
NUMBER = re.compile(r"~?-?\d+(?:\.\d+)?")
Rows = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PageColumns:
    """Pages as numbers: of each kind of line whether it stands there, and the numbers in it.

    Attributes:
        kinds: lines with "#" for each number, as "north aphids # mould #", in order.
    """

    kinds: tuple[str, ...]

    @classmethod
    def of(cls, pages: Iterable[str], least: int = 20) -> PageColumns:
        """The kinds of lines that stand on at least `least` of the pages."""
        seen = Counter(_parsed(line)[0] for page in pages for line in page.splitlines())
        return cls(kinds=tuple(kind for kind, count in sorted(seen.items()) if count >= least))

    @property
    def width(self) -> int:
        return sum(1 + kind.count("#") for kind in self.kinds)

    def rows(self, pages: Sequence[str]) -> Rows:
        """[pages, width]; a line of another kind is left out."""
        starts, place = {}, 0
        for kind in self.kinds:
            starts[kind] = place
            place += 1 + kind.count("#")
        found = np.zeros((len(pages), self.width), np.float32)
        for row, page in zip(found, pages, strict=True):
            for line in page.splitlines():
                kind, numbers = _parsed(line)
                if kind in starts:
                    at = starts[kind]
                    row[at : at + 1 + len(numbers)] = (1.0, *numbers)
        return found


def head_files(folder: Path) -> list[Path]:
    """The files of the heads in a player's folder."""
    return sorted(folder.glob("advantage-*.safetensors"))


def _file(folder: Path, player: str) -> Path:
    return folder / f"advantage-{player}.safetensors"


@lru_cache(maxsize=65536)
def _parsed(line: str) -> tuple[str, tuple[float, ...]]:
    words = line.split(" ")
    is_number = [NUMBER.fullmatch(word) is not None for word in words]
    kind = " ".join("#" if number else word for word, number in zip(words, is_number, strict=True))
    return kind, tuple(float(word.lstrip("~")) for word, number in zip(words, is_number, strict=True) if number)


def episode_rows(trace: Trace, columns: PageColumns, actions: Sequence[str], windows: Sequence[Sequence[int]]) -> Rows:
    """[decisions, D] what the head reads of each decision: the page, the windows around it, what was done, and the player's habits."""
    index = {action: i for i, action in enumerate(actions)}
    count, done = len(trace.looks), np.zeros((len(trace.looks) + 1, len(actions)), np.float32)
    for row, look in enumerate(trace.looks):
        if look.action in index:
            done[row, index[look.action]] = 1.0
    seen = columns.rows([*(look.page for look in trace.looks), trace.end_page])
    around = [_window(seen, done, first, last) for first, last in windows]
    habits = np.repeat(done[:count].mean(0, keepdims=True), count, axis=0)
    gone_by = np.linspace(0.0, 1.0, count, endpoint=False, dtype=np.float32)[:, None]
    score = np.full((count, 1), trace.score, np.float32)
    return np.concatenate([seen[:count], *around, done[:count], habits, score, gone_by], axis=1)


def _window(seen: Rows, done: Rows, first: int, last: int) -> Rows:
    """[decisions, 3 · width + actions]; the first and the last page of the episode stand for what lies beyond them."""
    end, parts = len(seen) - 1, []
    for at in range(end):
        low, high = max(0, min(at + first, end)), max(0, min(at + last, end)) + 1
        pages = seen[low:high]
        parts.append(np.concatenate([pages.mean(0), pages.min(0), pages.max(0), done[low:high].sum(0)]))
    return np.stack(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """Another action, the points of score it is expected to add, and the chance that it adds the head's margin."""

    action: str
    points: float
    sure: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """Attributes:
    points: [decisions, actions] what the action is expected to add to the score; NaN for what could not be done, looks only, or was done.
    sure: [decisions, actions] the chance that it adds at least the head's margin; NaN likewise.
    """

    actions: tuple[str, ...]
    points: Floats
    sure: Floats

    def best(self, at: int) -> Advice | None:
        """The other action at a decision that is surest to be better; None where there is none.

        By the chance and not by the points: what was named so was confirmed no less often, whatever the head (docs/log.md).
        """
        if np.isnan(self.sure[at]).all():
            return None
        action = int(np.nanargmax(self.sure[at]))
        return Advice(
            action=self.actions[action], points=float(self.points[at, action]), sure=float(self.sure[at, action])
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class AdvantageHead:
    """Some networks of two hidden layers, each with its own first weights; their mean is what is told.

    Attributes:
        world: the kind of world it was taught in.
        margin: points of score from which another choice counts as better.
        unit: points of score that the networks call 1.
        free: how actions begin that only look; they mend nothing and are never named.
        centre, scale: [D] of the columns in training.
        weights: "NAME.weight" [E, in, out] and "NAME.bias" [E, 1, out] of the layers first, second, points, sure, of E networks.
    """

    world: str
    columns: PageColumns
    actions: tuple[str, ...]
    windows: tuple[tuple[int, int], ...]
    margin: float
    unit: float
    free: tuple[str, ...]
    centre: Rows
    scale: Rows
    weights: Mapping[str, Rows]

    def told(self, trace: Trace) -> Told:
        """What every other action at every decision would have added.

        Raises:
            UsageError: the episode is of another kind of world.
        """
        if trace.world.partition(":")[0] != self.world:
            raise UsageError(f"this head knows {self.world}, and the run was in {trace.world}", "name its own world")
        points, sure = self.expect(episode_rows(trace, self.columns, self.actions, self.windows))
        index, is_asked = {action: i for i, action in enumerate(self.actions)}, np.zeros(points.shape, np.bool_)
        for row, look in enumerate(trace.looks):
            other = [a for a in look.actions if a != look.action and a in index and not a.startswith(self.free)]
            is_asked[row, [index[action] for action in other]] = True
        points[~is_asked], sure[~is_asked] = np.nan, np.nan
        return Told(actions=self.actions, points=points, sure=sure)

    def expect(self, rows: Rows) -> tuple[Floats, Floats]:
        """(points, sure) [N, actions] from rows [N, D]."""
        hidden_END = np.repeat(self.standardised(rows)[None], len(self.weights["first.bias"]), axis=0)
        for name in ("first", "second"):
            hidden_END = np.maximum(self._layer(name, hidden_END), 0.0)
        points = self.unit * self._layer("points", hidden_END).mean(0)
        sure = (1.0 / (1.0 + np.exp(-self._layer("sure", hidden_END)))).mean(0)
        return points.astype(np.float64), sure.astype(np.float64)

    def standardised(self, rows: Rows) -> Rows:
        found: Rows = np.clip((rows - self.centre) / self.scale, -SPREAD, SPREAD)
        return found

    def _layer(self, name: str, rows_END: Rows) -> Rows:
        found: Rows = rows_END @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return found

    def write(self, folder: Path, player: str) -> None:
        """Write the file beside the model, all of it or nothing; a head that was there is replaced."""
        from safetensors.numpy import save

        notes = {
            "format": FORMAT, "world": self.world, "columns": asdict(self.columns), "actions": self.actions, "windows": self.windows,
            "margin": self.margin, "unit": self.unit, "free": self.free,
        }  # fmt: skip
        tensors = {
            "centre": self.centre,
            "scale": self.scale,
            **{k: v.astype(np.float16) for k, v in self.weights.items()},
        }
        path = _file(folder, player)
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            file.write(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, {"advantage": json.dumps(notes)}))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    @classmethod
    def read(cls, folder: Path, player: str) -> AdvantageHead | None:
        """The head for the episodes of `player`, beside the model that judges; None where there is none.

        Raises:
            UsageError: the file is damaged, or of a version this one does not know.
        """
        from safetensors import SafetensorError, safe_open

        path = _file(folder, player)
        if NAME.fullmatch(player) is None or not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                notes = json.loads(file.metadata()["advantage"])
                tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
            if notes.pop("format") != FORMAT:
                raise UsageError(f"{path} is of another version", "install the version of overwinter that wrote it")
            return cls(
                world=notes["world"],
                columns=PageColumns(kinds=tuple(notes["columns"]["kinds"])),
                actions=tuple(notes["actions"]),
                windows=tuple((int(first), int(last)) for first, last in notes["windows"]),
                margin=float(notes["margin"]),
                unit=float(notes["unit"]),
                free=tuple(notes["free"]),
                centre=tensors.pop("centre"),
                scale=tensors.pop("scale"),
                weights=tensors,
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error!r}", "copy the folder again") from error
