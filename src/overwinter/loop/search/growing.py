"""Growing one node: the first step, what follows from it, the score; each on disk before the next.

The node's journal says how far it got, so this is also how a node is gone on with whose process was killed in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from overwinter.errors import StoreError
from overwinter.journal import Draft, Entry, Packer, Store, unpack
from overwinter.loop import sampling, step
from overwinter.loop.fork import adopted
from overwinter.loop.model import Constraint
from overwinter.loop.search.branch import BranchSession
from overwinter.loop.search.critics import PURPOSE, Judgement, extra_tokens, of_world, read_progress
from overwinter.loop.session import witness
from overwinter.loop.state import is_visible
from overwinter.think.search.settings import SearchSettings
from overwinter.think.search.tree import Tree, bounded
from overwinter.worlds.imagination import Imagination

DECISIONS_MAX = 600
"""Decisions of one node at most: looking may be free, and a model may look for ever."""
STOPS = frozenset(
    {
        step.Next.WAIT_DOUBT,
        step.Next.WAIT_APPROVAL,
        step.Next.WAIT_SLEEP,
        step.Next.GIVE_UP,
        step.Next.JUDGE,
        step.Next.CLAIM,
        step.Next.NOTHING,
    }
)
"""Where a branch ends: what comes next is a person's, the clock's, or the verdict's. The verdict is not asked: it knows the answer."""


def label_of(completion: Entry, store: Store) -> str:
    """The first step in words: equal words are one option."""
    calls = completion.body["calls"]
    if not calls:
        return " ".join(unpack(store, completion.body["text"]).split())[:200]
    return "; ".join(_call_words(call) for call in calls)[:200]


def _call_words(call: dict[str, Any]) -> str:
    arguments = call["arguments"]
    if call["tool"] == "act" and isinstance(arguments, dict) and set(arguments) == {"action"}:
        return str(arguments["action"])
    if not isinstance(arguments, dict):
        return f"{call['tool']}({arguments})"
    return f"{call['tool']}({', '.join(f'{key}={value!r}' for key, value in sorted(arguments.items()))})"


def scenario_seed(settings: SearchSettings, step_number: int, scenario: int) -> int:
    """The number an imagined world is drawn by: of the search's seed, the step and the scenario, and of nothing of the real world."""
    words = f"{settings.seed}/{step_number}/{scenario}"
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=6).digest(), "big")


class Growing:
    """One node at work.

    Args:
        tree: so far, this node not among it.
        began: the entry the search began with.
        imagination: what the run has seen of its world; None where branches go on in a copy, or do nothing.
        plays: whether what follows from the first step is looked at.
    """

    def __init__(
        self, branch: BranchSession, tree: Tree, began: Entry, imagination: Imagination | None, *, plays: bool
    ) -> None:
        self.branch, self.tree, self.imagination, self.plays = branch, tree, imagination, plays
        self.settings = SearchSettings(**began.body["settings"])
        self.critic: str = began.body["critic"]
        self.step_number: int = began.body["step"]
        self.is_unknown = False
        self.about: dict[str, Any] = branch.state.setup["branch"]
        self.why = ""

    def grow(self) -> Entry:
        """Until it is scored; the branch.scored entry.

        Raises:
            BudgetExhausted, ModelError: as for any run; it can be gone on with.
        """
        first = self._own_completion()
        if first is None and self.about["node"]:
            first = self._first_step()
        if first is None:
            return self._score(None, over=False)
        label = label_of(first, self.branch.store)
        twin = self._twin(label)
        if twin is not None:
            worth = Judgement(value=self.tree.worth(twin), why=f"the same step as node {twin}")
            return self._score(first, over=True, judgement=worth)
        if not self.plays:
            return self._score(first, over=True)
        if self._is_sure(first):
            self.why = "the model is sure"
            return self._score(first, over=True, judgement=Judgement(value=self._before(), why=""))
        if self.about["of"] == 0 and self.imagination is not None:
            self._imagine(label, self.imagination)
        over = self._play()
        judgement = Judgement(value=self._before(), why="") if self.is_unknown else None
        return self._score(first, over=over, judgement=judgement)

    # --- the first step -------------------------------------------------------------------------------------------

    def _own_completion(self) -> Entry | None:
        state = self.branch.state
        found = self.branch.store.read(self.branch.run, state.forked_at + 1, kinds=["sample.completion"])
        return next((entry for entry in found if is_visible(entry)), None)

    def _first_step(self) -> Entry:
        branch = self.branch
        repeat = self.about["repeat"]
        if repeat:
            done = first_completion(branch.store, repeat)
            draft = adopted(repeat, done)[1]
            [entry] = branch.append([draft])
            witness(branch.parts, entry)
            return entry
        self._settle_lost()
        pace = branch.parts.pace
        own = self.about["own"]
        branch.parts.pace = dataclasses.replace(
            pace,
            temperature=pace.temperature if own else self.settings.temperature,
            seed=None if pace.seed is None else pace.seed + self.about["node"],
        )
        try:
            for _ in sampling.take_step(branch):
                pass
        finally:
            branch.parts.pace = pace
        branch.parts.without = ()
        found = self._own_completion()
        assert found is not None
        return found

    def _settle_lost(self) -> None:
        if self.branch.state.sample is not None:
            for _ in sampling.settle_lost(self.branch):
                pass

    def _twin(self, label: str) -> int | None:
        """A sibling that did the same: without luck it comes out the same. For votes it is not asked what comes of it."""
        if self.tree.luck or not self.plays:
            return None
        siblings = self.tree.nodes[self.about["of"]].children
        return next((n for n in siblings if self.tree.nodes[n].label == label), None)

    def _is_sure(self, first: Entry) -> bool:
        """The model's own choice leaves no probability worth looking into: there is nothing to compare it with."""
        prior = self._prior(first) if self.about["own"] and self.about["node"] else None
        return prior is not None and 1.0 - prior < self.settings.sure

    def _scenario(self, label: str) -> int:
        """Tries of one step meet the worlds 0, 1, 2 … in this order, whoever asked for them."""
        if self.about["scenario"] is not None:
            return int(self.about["scenario"])
        return sum(self.tree.nodes[n].label == label for n in self.tree.nodes[0].children)

    def _imagine(self, label: str, imagination: Imagination) -> None:
        branch, world = self.branch, self.branch.parts.world
        assert world is not None
        state = branch.state
        if state.world_saved is not None and state.world_saved > state.forked_at:
            return
        number = scenario_seed(self.settings, self.step_number, self._scenario(label))
        world.go_on_in(imagination.draw(number))
        packer = Packer()
        branch.append([world.save(packer, imagined=number)], packer)

    # --- what follows ---------------------------------------------------------------------------------------------

    def _play(self) -> bool:
        """Go on until the stride is done. True where nothing can come after."""
        branch, world = self.branch, self.branch.parts.world
        stride = self.settings.stride or DECISIONS_MAX
        decisions = self._decisions()
        while True:
            action = step.next_action(branch.state, step.circumstances(branch))
            if action in STOPS:
                self.why = str(action)
                return True
            if action is step.Next.DENY:
                # A branch may only look. What the step would bring is not known, which is neither good nor bad.
                self.why, self.is_unknown = "its effect is not a branch's to have", True
                return True
            if action is step.Next.SAMPLE:
                if decisions >= stride:
                    return decisions >= DECISIONS_MAX
                decisions += 1
            for _ in step.DO[action](branch):
                pass
            if world is not None and world.done and not branch.state.calls:
                return True

    def _decisions(self) -> int:
        own = self.branch.store.read(self.branch.run, self.branch.state.forked_at + 1, kinds=["sample.completion"])
        return sum(is_visible(entry) for entry in own)

    # --- the score ------------------------------------------------------------------------------------------------

    def _before(self) -> float:
        return self.tree.nodes[self.about["of"]].value if self.about["node"] else 0.5

    def _score(self, first: Entry | None, *, over: bool, judgement: Judgement | None = None) -> Entry:
        before = self._before()
        found = judgement or self._judge(before)
        value = bounded(found.value)
        label = "" if first is None else label_of(first, self.branch.store)
        body: dict[str, Any] = {
            "node": self.about["node"],
            "of": self.about["of"],
            "label": label,
            "value": value,
            "delta": value - before,
            "scenario": self._scenario(label)
            if self.about["of"] == 0 and first is not None
            else self.about["scenario"] or 0,
            "tokens": self._tokens(),
            "over": over,
            "critic": self.critic,
            "why": "; ".join(filter(None, (found.why, self.why))),
        }
        prior = self._prior(first)
        if prior is not None:
            body["prior"] = prior
        rest = {"reason": "branch", "detail": "a branch of a search: what comes of it is its parent's to say"}
        entries = self.branch.append([Draft(kind="branch.scored", body=body), Draft(kind="run.suspended", body=rest)])
        return entries[0]

    def _judge(self, before: float) -> Judgement:
        branch, world = self.branch, self.branch.parts.world
        if world is not None and world.done:
            return of_world(world, self.critic)
        if self.critic == "none":
            return Judgement(value=before, why="")
        if self.critic == "outcome":
            # Before anything is done every branch stands where the run stands, which says nothing.
            return of_world(world) if world is not None and self.about["node"] else Judgement(value=0.5, why="")
        if self.critic == "prompt" and not self.about["node"]:
            return Judgement(value=0.5, why="before anything is done")
        answer = self._ask_critic()
        text = unpack(branch.store, answer.body["text"])
        if self.critic == "chance":
            return Judgement(value=float(answer.body["success_chance"]), why=f"stated chance {float(text):.3f}")
        return read_progress(text, self._last_result(), before)

    def _ask_critic(self) -> Entry:
        branch = self.branch
        self._settle_lost()
        own = branch.store.read(branch.run, branch.state.forked_at + 1, kinds=["sample.completion"])
        asked = [entry for entry in own if entry.body.get("purpose") == PURPOSE]
        if asked:
            return asked[-1]
        world, left = branch.parts.world, branch.left()
        legal = world.legal_actions() if world is not None else ()
        measured = branch.view.build(branch.state, left, world.observation.data if world is not None else {}, legal)
        measured = extra_tokens(self.critic, measured, branch.parts.model)
        assert branch.parts.judge is not None
        entries = list(
            sampling.ask(branch, branch.parts.judge, measured, left=left, constraint=Constraint(), purpose=PURPOSE)
        )
        return entries[-1]

    def _last_result(self) -> str:
        branch = self.branch
        for seq in reversed(branch.state.items):
            if seq <= branch.state.forked_at:
                return ""
            entry = next(branch.store.read(branch.run, seq, seq + 1))
            if entry.kind in {"effect.receipt", "observed"}:
                return unpack(branch.store, entry.body["text"])
        return ""

    def _prior(self, first: Entry | None) -> float | None:
        """The model's probability of the step among all it could take: known where it chose from a list, and what was left out before
        is taken into account."""
        if first is None or self.about["of"] != 0 or not self.branch.parts.only_acts:
            return None
        if self.about["repeat"]:
            return self._prior_of(self.about["repeat"])
        chosen = first.body.get("confidence")
        return None if chosen is None else float(chosen) * float(self.about.get("unexplored", 1.0))

    def _prior_of(self, name: str) -> float | None:
        scored = scored_entry(self.branch.store, name)
        return None if scored is None else scored.body.get("prior")

    def _tokens(self) -> int:
        own = self.branch.store.read(self.branch.run, self.branch.state.forked_at)
        return sum(entry.body["settle"]["spent"].get("tokens", 0) for entry in own if "settle" in entry.body)


def scored_entry(store: Store, name: str) -> Entry | None:
    """What a branch was found worth, if it is finished."""
    info = store.info(name)
    return next(store.read(name, info.fork_seq + 1, kinds=["branch.scored"]), None)


def first_completion(store: Store, name: str) -> Entry:
    """What a branch decided first. Raises StoreError where it has decided nothing."""
    found = store.read(name, store.info(name).fork_seq + 1, kinds=["sample.completion"])
    first = next((entry for entry in found if is_visible(entry)), None)
    if first is None:
        raise StoreError(f"branch {name!r} has decided nothing", f"look at it with `overwinter log {name} --verify`")
    return first


__all__ = ["DECISIONS_MAX", "Growing", "first_completion", "label_of", "scenario_seed", "scored_entry"]
