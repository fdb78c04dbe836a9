"""Stop strings in a stream of text pieces, wherever the borders of the pieces fall.

Idea: an automaton (Aho and Corasick 1975) reads characters and knows at each moment the longest end of the text that is the
beginning of a stop string. That end is held back, because it must not be shown if the stop string completes; all before
it can never become part of a match and is released at once.

The stop string that ends first wins; of several that end at the same character, the longest. This depends on the text alone,
not on how it was cut into pieces.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from overwinter.errors import UsageError


@dataclass(frozen=True)
class Release:
    """Text that may be shown now, and the stop string that ended the text, if one did."""

    text: str
    stop: str | None = None


@dataclass(slots=True)
class _Node:
    """A beginning of a stop string: how long it is, where it goes on, where to go on if it does not."""

    depth: int
    children: dict[str, _Node] = field(default_factory=dict)
    fallback: _Node | None = None
    stop: str | None = None
    """The longest stop string that ends here."""


@lru_cache(maxsize=256)
def _automaton(stops: tuple[str, ...]) -> _Node:
    root = _Node(depth=0)
    for stop in stops:
        node = root
        for character in stop:
            node = node.children.setdefault(character, _Node(depth=node.depth + 1))
        node.stop = stop
    waiting = deque(root.children.values())
    for child in waiting:
        child.fallback = root
    while waiting:  # breadth first: a fallback is shorter than its node and so is finished before it
        node = waiting.popleft()
        for character, child in node.children.items():
            child.fallback = _step(node.fallback or root, character)
            child.stop = child.stop or child.fallback.stop
            waiting.append(child)
    return root


def _step(node: _Node, character: str) -> _Node:
    while character not in node.children:
        if node.fallback is None:
            return node
        node = node.fallback
    return node.children[character]


class StopMatcher:
    """Watches one text for stop strings.

    To suspend, keep `held`; a new matcher that is pushed `held` first goes on as this one would.

    Args:
        stops: the stop strings; none at all releases everything at once.
        include: whether the stop string itself is part of the text.
    """

    def __init__(self, stops: Iterable[str], *, include: bool = False) -> None:
        given = (stops,) if isinstance(stops, str) else tuple(stops)
        for stop in given:
            if not isinstance(stop, str) or not stop:
                raise UsageError(f"{stop!r} is no stop string", "give strings of at least one character")
        self._node = _automaton(tuple(sorted(set(given))))
        self._include = include
        self.held = ""
        """The end of the text that may be the beginning of a stop string."""
        self.stopped: str | None = None
        """The stop string that ended the text."""

    def push(self, piece: str) -> Release:
        """Take the next piece of text. What follows a stop string in it is dropped."""
        if self.stopped is not None:
            raise UsageError(
                f"the text has ended at {self.stopped!r}", "end the sequence when a release names its stop"
            )
        text = self.held + piece
        for index in range(len(self.held), len(text)):
            self._node = _step(self._node, text[index])
            if self._node.stop is not None:
                self.held, self.stopped = "", self._node.stop
                end = index + 1
                return Release(text[: end if self._include else end - len(self.stopped)], self.stopped)
        shown = len(text) - self._node.depth
        self.held = text[shown:]
        return Release(text[:shown])

    def finish(self) -> str:
        """The text has ended for another reason: what was held back is text after all."""
        rest, self.held = self.held, ""
        return rest
