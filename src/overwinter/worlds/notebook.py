"""The Notebook protocol: what a careful player keeps in mind, written down from observations alone.

A world goes on for longer than a small model can read, and some facts are told once and matter weeks later. A notebook takes in each
action and what was seen after it, and writes a page: one line per fact. It knows the public rules of its world (so it may do
arithmetic, such as the error of a sensor from the fuel that was burned) and never the hidden state. The page is a function of what was
seen, so it is rebuilt from a journal like everything else.

A policy that reads the page needs no memory of its own.
"""

from __future__ import annotations

from typing import Protocol

from overwinter.errors import UsageError

from .world import Observation


class Notebook(Protocol):
    """One episode's notes."""

    def reset(self) -> None:
        """Forget everything: a new episode begins."""
        ...

    def take_in(self, action: str | None, observation: Observation) -> None:
        """Note what was seen after `action`; None for an episode's first observation."""
        ...

    def lines(self) -> list[str]:
        """The page, one fact a line, without line ends."""
        ...


OUTCOMES = ("?", "well", "badly")
"""What may stand in the outcome slot of a page: not said, or how the episode ends."""


def page(lines: list[str], outcome: str = "") -> str:
    """The page as the prompt of a small model. Behind it stands how the episode ends, and behind that the action.

        day 32⏎ … did nothing⏎            the model's next line is its bet: `outcome well` or `outcome badly`
        day 32⏎ … did nothing⏎outcome ?⏎   the model's next line is what it does
        …⏎outcome well⏎                    what it does in episodes that end well

    Asking with the outcome filled in is the hindsight of outcome-conditioned credit (arXiv 1912.02503): one network gives the policy,
    the chance of success, and the policy given success.
    """
    return "".join(f"{line}\n" for line in (*lines, *([outcome_line(outcome)] if outcome else [])))


def outcome_line(outcome: str) -> str:
    if outcome not in OUTCOMES:
        raise UsageError(f"{outcome!r} is no outcome", f"use one of {', '.join(OUTCOMES)}")
    return f"outcome {outcome}"


class LastSeen:
    """The notebook of worlds that have none of their own: the last `kept` actions, and the observation's text.

    Args:
        kept: how many past actions are listed before the last observation.
    """

    def __init__(self, kept: int = 4) -> None:
        self._kept = kept
        self.reset()

    def reset(self) -> None:
        self._actions: list[str] = []
        self._text = ""

    def take_in(self, action: str | None, observation: Observation) -> None:
        if action is not None:
            self._actions = [*self._actions, action][-self._kept :] if self._kept else []
        self._text = observation.text

    def lines(self) -> list[str]:
        return [*(f"did {action}" for action in self._actions), *self._text.splitlines()]


def open_notebook(world_name: str) -> Notebook:
    """The notebook of the world called `world_name`."""
    kind, _, _ = world_name.partition(":")
    if not kind:
        raise UsageError("a world without a name has no notebook", "name a world, as greenhouse")
    if kind == "greenhouse":
        from . import _greenhouse_config
        from .greenhouse.notebook import GreenhouseNotebook

        return GreenhouseNotebook(_greenhouse_config(world_name))
    return LastSeen()
