"""A world as part of a run: its actions become the tool `act`, its state is saved in the journal and rebuilt from it.

The simulator lives in this process and dies with it. What survives is the journal: a saved state every few actions and the
receipts after it. `restore` puts the saved state back and takes the later actions again, comparing each observation with the
one that was journalled, so a changed simulator is noticed and not silently mixed into an old run.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from overwinter.errors import StoreError, UsageError
from overwinter.journal import Draft, Entry, Packer, Store, unpack, unpack_json
from overwinter.tools import Effect, Tool, ToolContext, ToolResult, failure, tool
from overwinter.worlds.imagination import Imagination, imagine
from overwinter.worlds.world import Observation, Outcome, World

SAVE_EVERY = 25
"""Actions between saved states: a resume takes at most this many actions again."""
ACT = "act"


class WorldSession:
    """One episode of a world, bound to a run."""

    def __init__(self, world: World, seed: int, name: str = "") -> None:
        self.world = world
        self.name = name or world.name
        self.seed = seed
        self.observation = Observation(text="")
        self.done = False
        self.unsaved = 0
        self.imagination: Imagination | None = None

    def branch(self) -> WorldSession:
        """The same episode once more, to be gone on with apart."""
        made = WorldSession(copy.deepcopy(self.world), self.seed, self.name)
        # What was shown may be noted on by who plays there (a policy crosses out news): a branch's marks are its own.
        made.observation, made.done, made.unsaved = copy.deepcopy(self.observation), self.done, self.unsaved
        return made

    def reset(self) -> Observation:
        self.observation = self.world.reset(self.seed)
        self.done, self.unsaved = False, 0
        return self.observation

    def first_observation(self, packer: Packer) -> Draft:
        """Start the episode, as an observed draft."""
        body = {"source": self.name, "text": packer.text(self.reset().text), "data": {"seed": self.seed}}
        return Draft(kind="observed", body=body, refs=packer.take_refs())

    def legal_actions(self) -> tuple[str, ...]:
        return () if self.done else tuple(self.world.actions())

    def outcome(self) -> Outcome:
        return self.world.outcome()

    def act(self, action: str) -> ToolResult:
        """Carry out one action. An action that is not legal now is a failed result that lists what is."""
        legal = self.legal_actions()
        if action not in legal:
            return failure(
                "arguments",
                f"{action!r} is not possible now. Possible: {'; '.join(legal) or 'nothing, the episode is over'}",
            )
        transition = self.world.step(action)
        self.observation, self.done = transition.observation, transition.done
        self.unsaved += 1
        if self.imagination is not None:
            self.imagination.take_in(action, self.observation)
        data: dict[str, Any] = {
            "world": True,
            "action": action,
            "reward": transition.reward,
            "terminated": transition.terminated,
            "truncated": transition.truncated,
        }
        return ToolResult(ok=True, text=transition.observation.text, data=data)

    def tool(self) -> Tool:
        """The tool `act`. What an action does to the outside is the world's to say, action by action."""

        def effect(arguments: dict[str, Any]) -> Effect:
            action = str(arguments["action"])
            return Effect(self.world.effect(action)) if action in self.legal_actions() else Effect.PURE

        def act(action: str, context: ToolContext) -> ToolResult:  # noqa: ARG001 — keyed tools must take their key
            return self.act(action)

        return dataclasses.replace(_declared(), effect=effect, function=act)

    def consequential(self, action: str) -> bool:
        """Whether the world calls this action one that cannot be taken back (an order, say)."""
        ask = getattr(self.world, "consequential", None)
        return bool(ask(action)) if callable(ask) and action in self.legal_actions() else False

    def imagine(self, actions: Iterable[str]) -> Imagination:
        """What is known of this episode, for drawing worlds that may be. Read once, then kept up to date.

        Args:
            actions: taken in it so far; asked for the first time only.
        """
        if self.imagination is None:
            self.imagination = imagine(self.world, self.seed, actions)
        return self.imagination

    def go_on_in(self, snapshot: dict[str, Any]) -> None:
        """Be another world from here on: one that was drawn."""
        self.observation, self.imagination = self.world.restore(snapshot), None

    def save(self, packer: Packer, imagined: int | None = None) -> Draft:
        """A world.saved draft of the state as it is now; `imagined` is the number it was drawn by."""
        outcome = self.world.outcome()
        self.unsaved = 0
        state = packer.json({"state": self.world.snapshot(), "done": self.done})
        body: dict[str, Any] = {
            "world": self.name,
            "state": state,
            "outcome": {"success": outcome.success, "score": outcome.score, "facts": outcome.facts},
        }
        if imagined is not None:
            body["imagined"] = imagined
        return Draft(kind="world.saved", body=body, refs=packer.take_refs())

    def restore(self, store: Store, saved: Entry | None, receipts: Iterable[Entry]) -> None:
        """Rebuild the state from a world.saved entry (None: from the seed) and the receipts after it.

        Raises:
            StoreError: the world no longer gives the observations that the journal holds.
        """
        if saved is None:
            self.reset()
        else:
            raw = unpack_json(store, saved.body["state"])
            self.observation, self.done, self.unsaved = self.world.restore(raw["state"]), raw["done"], 0
        for receipt in receipts:
            self.redo(store, receipt)

    def redo(self, store: Store, receipt: Entry) -> None:
        """Take one journalled action again and compare what it shows."""
        data = receipt.body["data"]
        if not (receipt.body["ok"] and data.get("world")):
            return
        result = self.act(data["action"])
        if not result.ok or result.text != unpack(store, receipt.body["text"]):
            raise StoreError(
                f"entry {receipt.seq}: the world {self.world.name!r} no longer answers {data['action']!r} as it did then",
                "install the version of overwinter (or of the world) that the run was started with",
            )


@lru_cache(maxsize=1)
def _declared() -> Tool:
    """The tool `act` without its world: reading a function's types takes milliseconds, and every branch of a search has a world."""

    @tool(effect=Effect.KEYED, name=ACT, timeout_s=60.0, tags=["world"])
    def act(action: str, context: ToolContext) -> ToolResult:  # noqa: ARG001
        """Do one of the possible actions.

        Args:
            action: exactly one of the actions listed with the last observation.
        """
        raise AssertionError("replaced by the session's own")

    return act


def open_world_session(setup: dict[str, Any]) -> WorldSession:
    """The session of a run's setup: `{"name": …, "seed": …}`."""
    from overwinter.worlds import open_world

    if setup.keys() - {"name", "seed"}:
        raise UsageError(
            f"world setup has unknown fields {sorted(setup.keys() - {'name', 'seed'})}", "use name and seed"
        )
    return WorldSession(open_world(setup["name"]), int(setup.get("seed", 0)), setup["name"])
