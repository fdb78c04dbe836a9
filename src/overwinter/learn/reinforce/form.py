"""How a policy is asked: the ids of a prompt and of each action.

The small-model form is a notebook's page, an outcome line, and then the action (overwinter/worlds/notebook.py):

    <lines of the page>
    outcome ?                 "outcome well" and "outcome badly" where the end is known, or wished for
    <the action>
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from overwinter.errors import UsageError
from overwinter.learn.reinforce.decision import Candidates, Prompt
from overwinter.learn.reinforce.policy import OutcomeIds
from overwinter.worlds.notebook import OUTCOMES, outcome_line

if TYPE_CHECKING:
    from overwinter.model import TextFormat


class Form(Protocol):
    """Prompts and actions as ids."""

    @property
    def outcome(self) -> OutcomeIds | None: ...

    @property
    def end_id(self) -> int | None: ...

    def prompt(self, text: str) -> Prompt:
        """Of what a policy is shown."""
        ...

    def candidates(self, actions: Sequence[str]) -> Candidates: ...

    def action(self, ids: Sequence[int]) -> str:
        """The text of free ids; candidates are known by their index instead."""
        ...


class TextForm:
    """The form of a model with a tokenizer.

    Args:
        text: of the model.
        outcome: whether prompts have an outcome line. Its three words must then be one token each.
        lead: between prompt and action, as part of the action: a space where the tokenizer writes words with one in front.

    Raises:
        UsageError: a word of the outcome line is not one token of this tokenizer.
    """

    def __init__(self, text: TextFormat, *, outcome: bool = True, lead: str = "") -> None:
        self._text, self._lead = text, lead
        self._known: dict[str, tuple[int, ...]] = {}
        self.end_id = min(text.end_ids) if text.end_ids else None
        self.outcome: OutcomeIds | None = None
        self._from_end = 0
        if outcome:
            self._find_outcome_line()

    def prompt(self, text: str) -> Prompt:
        if self.outcome is None:
            return Prompt(ids=tuple(self._text.encode(text)))
        ids = tuple(self._text.encode(_with(text, OUTCOMES[0])))
        slot = len(ids) - self._from_end
        if ids[slot] != self.outcome.unknown:
            raise UsageError(
                f"the tokenizer of {self._text.name} merges the outcome line with what stands before it",
                "use a tokenizer that splits at line ends, or a form without outcomes",
            )
        return Prompt(ids=ids, slot=slot)

    def candidates(self, actions: Sequence[str]) -> Candidates:
        for action in actions:
            if action not in self._known:
                self._known[action] = tuple(self._text.encode(self._lead + action, add_special=False))
        found = tuple(self._known[action] for action in actions)
        if len(set(found)) < len(found) or not all(found):
            twin = next(action for action, ids in zip(actions, found, strict=True) if not ids or found.count(ids) > 1)
            raise UsageError(
                f"the action {twin!r} has the same tokens as another one, or none",
                "train a tokenizer that knows its words",
            )
        return found

    def action(self, ids: Sequence[int]) -> str:
        return self._text.decode(list(ids)).strip()

    def _find_outcome_line(self) -> None:
        lines = [self._text.encode(_with("day\n", word)) for word in OUTCOMES]
        differing = [place for place, ids in enumerate(zip(*lines, strict=False)) if len(set(ids)) > 1]
        if len({len(line) for line in lines}) > 1 or len(differing) != 1:
            raise UsageError(
                f"the outcomes {', '.join(OUTCOMES)} are not one token each for the tokenizer of {self._text.name}",
                "add them to its vocabulary, or use a form without outcomes",
            )
        unknown, well, badly = (line[differing[0]] for line in lines)
        self.outcome = OutcomeIds(unknown=unknown, well=well, badly=badly)
        self._from_end = len(lines[0]) - differing[0]


def _with(text: str, outcome: str) -> str:
    return f"{text}{outcome_line(outcome)}\n"
