"""Which decisions of one episode earned or cost its outcome, by a model that has seen many.

    trace = retrace("greenhouse", seed=7, actions=[…])            # what a run did, seen again
    read = Appraiser(player_folder("bundled:greenhouse")).read(trace)
    read.moments[12].credit, read.moments[12].instead

A single episode says only whether it ended well. A model trained on many episodes (`reinforce`) says more, from the pages that the
player saw: V(s), the chance of success; and h(a|s, o), what is done in episodes that end with outcome o. By Bayes, the
return-conditional form of Hindsight Credit Assignment (arXiv 1912.02503), knowing the choice changes the odds of success by their ratio:

    logit P(well | s, a) = logit V(s) + log h(a|s, well) - log h(a|s, badly)
    choice = P(well | s, a) - V(s)               what the choice was worth, before its luck was known
    credit = V(s') - V(s)                        what happened, choice and luck together; sums to outcome - V(s₀)

Whose behaviour h was learned from cancels in the ratio, so it may be older than the player that is judged.

Which choices were mistakes is a question of its own, and a head that was taught by counterfactuals answers it best (`advantage`). Where the
model's folder has one for the player, the mistakes of a lost episode are ranked by it, all others by hindsight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from overwinter.errors import UsageError
from overwinter.journal import ERASED, Store
from overwinter.journal.tombstone import kind_of
from overwinter.learn.advantage import MODEL, AdvantageHead, Advice
from overwinter.learn.batch import Floats
from overwinter.learn.players import Student
from overwinter.learn.reinforce.decision import Candidates, Decision
from overwinter.learn.reinforce.seat import Seat
from overwinter.worlds import open_world
from overwinter.worlds.notebook import open_notebook
from overwinter.worlds.player import Card

SENSIBLE = 0.02
"""An alternative is an action that the model itself would take this often: of others its ratios know nothing."""
LOOKS = ("look", "read")
"""Words by which actions begin that only look: they mend nothing."""
EVIDENCE_NATS = 4.0
"""Most that one choice may say for or against an outcome."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One decision as the player met it: the page, what could be done, what was done."""

    page: str
    actions: tuple[str, ...]
    action: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """An episode seen again.

    Attributes:
        end_page: what stood on the page at the end, or where the run stands.
        success: NaN while the episode is open, or where it was cut short.
        score: of the world's judge, as it stands.
    """

    world: str
    seed: int
    looks: tuple[Look, ...]
    end_page: str
    is_over: bool
    success: float
    score: float

    @property
    def actions(self) -> list[str]:
        return [look.action for look in self.looks]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What the model makes of one decision.

    Attributes:
        before, after: chance of success before and after; the last `after` is the outcome, where it is known.
        chosen: π(a|s) of what was done.
        choice: what the choice was worth by hindsight, in chances of success.
        instead: the other sensible action with the best chance.
        gain: how much better its chance is than that of what was done.
        likeliest: what else the model itself would have done first, looks apart.
        regret: log π(likeliest) - log π(done), from 0 to `EVIDENCE_NATS` times three: how strange the choice is to the model.
        advice: what the advantage head would rather have seen done; None without a head, or where nothing else could be done.
    """

    look: Look
    before: float
    after: float
    chosen: float
    choice: float
    instead: str
    gain: float
    likeliest: str
    regret: float
    advice: Advice | None = None

    @property
    def better(self) -> str:
        """What should have been done instead, by the ranking of mistakes."""
        return self.instead if self.advice is None else self.advice.action

    @property
    def credit(self) -> float:
        """Change of the chance of success; the credits of an episode sum to its outcome less the chance it began with."""
        return self.after - self.before


@dataclass(frozen=True, kw_only=True, slots=True)
class Appraisal:
    """An episode with what each decision was worth."""

    trace: Trace
    moments: tuple[Moment, ...]

    @property
    def is_advised(self) -> bool:
        """Whether an advantage head ranks the mistakes."""
        return any(moment.advice is not None for moment in self.moments)

    def mistakes(self, count: int) -> list[int]:
        """The worst decisions first: by how sure the head is of something better, or without one by the chance it promised."""
        if not self.is_advised:
            return sorted(range(len(self.moments)), key=lambda i: -self.moments[i].gain)[:count]
        sure = [-math.inf if m.advice is None else m.advice.sure for m in self.moments]
        return sorted(range(len(sure)), key=lambda i: -sure[i])[:count]


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """What a run did in its world.

    Attributes:
        entries: the receipts of `actions`.
    """

    world: str
    seed: int
    entries: tuple[int, ...]
    actions: tuple[str, ...]


def played(store: Store, run: str) -> Played:
    """The actions of a run that were carried out, from its journal.

    Raises:
        UsageError: the run plays no world, or nothing was done in it.
    """
    started = next(store.read(run, 0, 1))
    world = started.body.get("setup", {}).get("world")
    if not world:
        raise UsageError(f"run {run!r} plays no world", "name a run that plays a world (--world)")
    gone = [entry.seq for entry in store.read(run, kinds=[ERASED]) if kind_of(entry) == "effect.receipt"]
    if gone:
        raise UsageError(f"entry {gone[0]} of run {run!r}, what the world answered, was erased", "name another run")
    done = [
        (entry.seq, str(entry.body["data"]["action"]))
        for entry in store.read(run, kinds=["effect.receipt"])
        if entry.body["ok"] and entry.body["data"].get("world")
    ]
    if not done:
        raise UsageError(f"nothing was done yet in run {run!r}", "let it go on first")
    entries, actions = zip(*done, strict=True)
    return Played(world=world["name"], seed=int(world.get("seed", 0)), entries=entries, actions=actions)


def retrace(world_name: str, seed: int, actions: Iterable[str]) -> Trace:
    """Play recorded actions again.

    Raises:
        UsageError: the world does not allow one of them, so it is not the world (or the version) they were recorded in.
    """
    seat = Seat(open_world(world_name), open_notebook(world_name))
    seen, looks = seat.reset(seed), []
    for action in actions:
        looks.append(Look(page=seen.text, actions=seen.actions, action=action))
        seen = seat.step(action)
    outcome = seat.world.outcome()
    known = seen.terminated and outcome.success is not None
    return Trace(
        world=world_name,
        seed=seed,
        looks=tuple(looks),
        end_page=seen.text,
        is_over=seen.is_over,
        success=float(bool(outcome.success)) if known else math.nan,
        score=outcome.score,
    )


class Appraiser:
    """A player's model as a judge of decisions. Reads pages alone, so it can judge any player of its world.

    Args:
        folder: of a model with player.json, whose actions are one token each.

    Raises:
        UsageError: it is no player.
    """

    def __init__(self, folder: Path) -> None:
        self.card = Card.read(folder)
        self._folder = folder
        student = Student(folder)
        self._form, self._policy = student.form, student.policy
        assert self._form.outcome is not None
        self._outcome = self._form.outcome

    def read(self, trace: Trace, player: str = MODEL) -> Appraisal:
        """Appraise every decision of an episode.

        Args:
            player: who would have gone on after another choice: the name of the script that made the episode, or `MODEL`, this one.

        Raises:
            UsageError: the episode is of another kind of world, or empty.
        """
        if trace.world.partition(":")[0] != self.card.world:
            raise UsageError(
                f"this model knows {self.card.world}, and the run was in {trace.world}", "name a model of that world"
            )
        if not trace.looks:
            raise UsageError("nothing was done yet", "let the run go on first")
        decisions = [self._decision(look.page, look.actions, look.action) for look in trace.looks]
        plain, odds = self._score(decisions, None)
        well, _ = self._score(decisions, self._outcome.well)
        badly, _ = self._score(decisions, self._outcome.badly)
        chances = [self.card.calibrated(value) for value in odds]
        end = self.chance(trace.end_page) if math.isnan(trace.success) else trace.success
        moments = [
            _moment(look, (before, after), plain[row], (well[row], badly[row]))
            for row, (look, before, after) in enumerate(zip(trace.looks, chances, [*chances[1:], end], strict=True))
        ]
        # Heads are taught by lost episodes: of one that went well, or goes on, they expect too much.
        head = AdvantageHead.read(self._folder, player) if trace.success == 0.0 else None
        if head is not None:
            told = head.told(trace)
            moments = [replace(moment, advice=told.best(row)) for row, moment in enumerate(moments)]
        return Appraisal(trace=trace, moments=tuple(moments))

    def chance(self, page: str) -> float:
        """Calibrated chance of success from a page."""
        _, odds = self._score([self._decision(page, ("",), "")], None)
        return self.card.calibrated(float(odds[0]))

    def shares(self, looks: Sequence[tuple[str, tuple[str, ...]]]) -> list[Floats]:
        """Of each (page, actions), how likely the model is to take each action."""
        plain, _ = self._score([self._decision(page, actions, actions[0]) for page, actions in looks], None)
        found = [np.exp(row[: len(actions)]) for row, (_, actions) in zip(plain, looks, strict=True)]
        return [each / each.sum() for each in found]

    def choose(self, looks: Sequence[tuple[str, tuple[str, ...]]]) -> list[str]:
        """What the model does on each (page, actions): its likeliest action."""
        return [actions[int(np.argmax(row))] for row, (_, actions) in zip(self.shares(looks), looks, strict=True)]

    def _decision(self, page: str, actions: tuple[str, ...], action: str) -> Decision:
        prompt = self._form.prompt(page)
        candidates: Candidates = self._form.candidates(actions) if action else ((self._outcome.unknown,),)
        choice = actions.index(action)
        ids = candidates[choice]
        return Decision(
            prompt=prompt.ids,
            slot=prompt.slot,
            ids=ids,
            logprobs=(0.0,) * len(ids),
            candidates=candidates,
            choice=choice,
        )

    @torch.no_grad()
    def _score(self, decisions: Sequence[Decision], outcome: int | None) -> tuple[list[Floats], Floats]:
        """Log-probabilities of the candidates of each decision, and log-odds of success."""
        rows: list[Floats] = []
        odds: list[float] = []
        for start in range(0, len(decisions), 256):
            part = decisions[start : start + 256]
            scores = self._policy.score(part, None if outcome is None else [outcome] * len(part))
            if scores.policy is None or scores.success is None:
                raise UsageError(
                    "an action of this world is not one token of the model", "train it with `line_tokenizer`"
                )
            rows += list(scores.policy.double().numpy())
            odds += scores.success.double().tolist()
        return rows, np.array(odds)


def _moment(look: Look, chances: tuple[float, float], plain: Floats, then: tuple[Floats, Floats]) -> Moment:
    (before, after), count = chances, len(look.actions)
    evidence = np.clip(then[0][:count] - then[1][:count], -EVIDENCE_NATS, EVIDENCE_NATS)
    odds = math.log(max(before, 1e-6) / max(1.0 - before, 1e-6))
    told = 1.0 / (1.0 + np.exp(-(odds + evidence)))
    done = look.actions.index(look.action)
    likely = plain[:count].copy()
    likely[done] = -np.inf
    sensible = likely >= min(math.log(SENSIBLE), float(likely.max()))
    other = int(np.argmax(np.where(sensible, told, -np.inf))) if count > 1 else done
    acts = np.array([not action.startswith(LOOKS) for action in look.actions])
    wished = int(np.argmax(np.where(acts, likely, -np.inf))) if acts.any() else other
    strange = float(np.clip(plain[wished] - plain[done], 0.0, 3.0 * EVIDENCE_NATS))
    return Moment(
        look=look,
        before=before,
        after=after,
        likeliest=look.actions[wished],
        regret=strange,
        chosen=float(np.exp(plain[done])),
        choice=float(told[done]) - before,
        instead=look.actions[other],
        gain=float(told[other] - told[done]),
    )
