"""Critics: what a node of a search is worth, asked as a model is asked, so that its answers are journalled and charged.

    chance    the acting model's own stated chance of success (models that state one; calibrated for their world)
    outcome   the imagined world's own score, as it stands at the node; costs nothing, says little before the end
    prompt    a language model is asked how much the last step brought: -2 … 2, with a quote of what is new. A quote that does
              not stand in what was seen last counts for nothing: a weak critic likes whatever it reads
    none      every node is worth as much as its parent

A value is in (0, 1]. `prompt` is the residual critic of BAVT: it scores the step, and V(child) = Φ(V(parent) + δ). The others score
the state; their δ is the difference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from overwinter.errors import ModelError, UsageError
from overwinter.loop.model import Completion, Constraint, Limits, Message, Model, Usage, View
from overwinter.loop.session import Parts
from overwinter.loop.view import Measured
from overwinter.loop.world import WorldSession

PURPOSE = "critic"
STEP = 0.15
"""What one point of the scale adds to a value."""
QUESTION = (
    "You are the critic now, not the actor; call nothing. How much nearer to the goal did the last step bring the work? "
    "Judge only what the last result newly shows.\nAnswer in one line: a number from -2 (it did harm) over 0 (nothing new) to 2 "
    '(a great step), a colon, and a quote, word for word, of what is new, as\n1: "the exact words"'
)
ANSWER = re.compile(r"(-?[0-2])\s*:\s*\"?(.*?)\"?\s*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """Attributes:
    value: of the node.
    why: the critic's words, or what it went by.
    """

    value: float
    why: str


class ChanceCritic:
    """The acting model's stated chance, behind the Model protocol."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self.name = f"chance:{actor.name}"
        self.context_tokens: int = actor.context_tokens
        self.local: bool = actor.local

    def count_tokens(self, text: str) -> int:
        return int(self._actor.count_tokens(text))

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:  # noqa: ARG002
        chance, usage = self._actor.chance(view)
        if chance is None:
            raise ModelError(
                f"{self._actor.name} states no chance in this world", "search with --search-critic outcome"
            )
        return [Completion(text=f"{chance:.6f}", success_chance=chance, usage=usage, model=self._actor.name)] * n

    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:  # noqa: ARG002
        raise ModelError("a critic has no probabilities", "ask the model")

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        return int(self._actor.price_micro_usd(prompt_tokens, completion_tokens))

    def close(self) -> None:
        """It holds nothing."""


class PromptCritic:
    """A language model with the critic's question behind the view."""

    def __init__(self, actor: Model) -> None:
        self._actor = actor
        self.name = f"prompt:{actor.name}"
        self.context_tokens = actor.context_tokens
        self.local = actor.local

    def count_tokens(self, text: str) -> int:
        return self._actor.count_tokens(text)

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:  # noqa: ARG002
        asked = replace(
            view, messages=(*view.messages, Message(role="user", text=QUESTION)), tools=(), legal_actions=()
        )
        return self._actor.sample(asked, n, Constraint(), replace(limits, temperature=0.0))

    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:
        return self._actor.score(view, continuations)

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        return self._actor.price_micro_usd(prompt_tokens, completion_tokens)

    def close(self) -> None:
        """The model is the actor's."""


def critic_name(wanted: str, parts: Parts) -> str:
    """The critic that "auto" means here.

    Raises:
        UsageError: the one that is wanted cannot work here.
    """
    can_state = callable(getattr(parts.model, "chance", None))
    if wanted == "chance" and not can_state:
        raise UsageError(f"{parts.model.name} states no chance of success", "use --search-critic outcome or prompt")
    if wanted == "outcome" and parts.world is None:
        raise UsageError("only a world has an outcome of its own", "use --search-critic prompt")
    if wanted != "auto":
        return wanted
    if parts.world is not None:
        return "chance" if can_state and parts.model.states_chance else "outcome"  # type: ignore[attr-defined]
    return "prompt"


def make_critic(name: str, actor: Model) -> Model | None:
    """The model to ask; None for critics that nobody has to be asked for."""
    if name == "chance":
        return ChanceCritic(actor)
    return PromptCritic(actor) if name == "prompt" else None


def extra_tokens(name: str, measured: Measured, actor: Model) -> Measured:
    """The view as the critic's question makes it."""
    if name == "chance":
        return replace(measured, tokens=2 * measured.tokens, needs_call=False)  # one bet each way
    return replace(measured, tokens=measured.tokens + actor.count_tokens(QUESTION), needs_call=False)


def of_world(world: WorldSession, critic: str = "outcome") -> Judgement:
    """By the world's own score; for a critic that states chances, by success, which is what its chances are of. In a branch the world is
    an imagined one, so this tells nothing of the real one."""
    outcome = world.outcome()
    if critic == "chance" and outcome.success is not None:
        return Judgement(
            value=float(outcome.success), why=f"the imagined world ended {'well' if outcome.success else 'badly'}"
        )
    best = float(getattr(world.world, "best_score", 1.0))
    ended = "ended" if world.done else "stands"
    return Judgement(value=outcome.score / best, why=f"the imagined world {ended} at {outcome.score:g}")


def read_progress(text: str, seen: str, before: float) -> Judgement:
    """What a prompted critic said, as a value. An answer that cannot be read, or quotes what was not seen, adds nothing."""
    found = ANSWER.search(text)
    if found is None:
        return Judgement(value=before, why=f"no score in the critic's answer: {text[:60]!r}")
    points, quote = int(found[1]), " ".join(found[2].split())
    if points > 0 and (not quote or quote not in " ".join(seen.split())):
        return Judgement(value=before, why=f"{points:+d}, but its quote is not there: {quote[:60]!r}")
    return Judgement(value=before + STEP * points, why=f"{points:+d}: {quote[:80]}")


__all__ = ["PURPOSE", "Judgement", "Usage", "critic_name", "make_critic", "of_world", "read_progress"]
