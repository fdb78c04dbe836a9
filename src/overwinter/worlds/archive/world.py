"""The archive as a World. Its state is a place in the story and what was done so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from overwinter.errors import UsageError

from ..world import Observation, Outcome, Transition, text_key
from .story import DOCUMENT, LETTER, VISITOR, Config, Event, make_story

FILED_SHARE = 0.95
"""Documents that must be filed well; answers must all be right."""


class Archive:
    """One episode: read the letters, file the documents, answer the visitors."""

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config()
        self.name = "archive"
        if self._config != Config():
            self.name = f"archive:letters={self._config.letters},documents={self._config.documents}"
        self.goal = (
            "Keep the archive of Lindholm: read the letters, file every document by the subject it records, and give every visitor what "
            "the letters say. Visitors come late, and every answer has to be right."
        )
        self._story: list[Event] = []
        self._seed = self._place = self._filed = self._answered = 0

    def reset(self, seed: int) -> Observation:
        self._story = make_story(seed, self._config)
        self._seed, self._place, self._filed, self._answered = seed, 0, 0, 0
        return self._see()

    def step(self, action: str) -> Transition:
        """Deal with the paper or person at hand. Raises UsageError for an action that is not listed."""
        if action not in self.actions():
            raise UsageError(f"{action!r} is not possible now", f"do one of: {'; '.join(self.actions())}")
        event = self._story[self._place]
        right = action == event.right
        self._filed += right and event.kind == DOCUMENT
        self._answered += right and event.kind == VISITOR
        self._place += 1
        over = self._place == len(self._story)
        reward = float(bool(self.outcome().success)) if over else 0.0
        return Transition(observation=self._see(), reward=reward, terminated=over)

    def actions(self) -> Sequence[str]:
        return self._story[self._place].actions if self._place < len(self._story) else ()

    def effect(self, action: str) -> str:  # noqa: ARG002  # whatever is done, the next paper comes
        return "keyed"

    def outcome(self) -> Outcome:
        letters, documents = self._config.letters, self._config.documents
        over = self._place == len(self._story) and self._place > 0
        good = self._answered == letters and self._filed >= FILED_SHARE * documents
        facts = {
            "answers": letters,
            "right_answers": self._answered,
            "documents": documents,
            "well_filed": self._filed,
            "papers_seen": self._place,
        }
        return Outcome(success=good if over else None, score=100.0 * self._answered / letters, facts=facts)

    def snapshot(self) -> dict[str, Any]:
        return {"seed": self._seed, "place": self._place, "filed": self._filed, "answered": self._answered}

    def restore(self, snapshot: dict[str, Any]) -> Observation:
        self.reset(snapshot["seed"])
        self._place, self._filed, self._answered = snapshot["place"], snapshot["filed"], snapshot["answered"]
        return self._see()

    def state_key(self) -> int:
        return text_key(f"{self._seed}/{self._place}/{self._filed}/{self._answered}")

    def _see(self) -> Observation:
        if self._place == len(self._story):
            return Observation(text="The archive closes for the winter.", data={"kind": "end"})
        event = self._story[self._place]
        opening = "You keep the archive of Lindholm. " if self._place == 0 and event.kind == LETTER else ""
        text = opening + event.text
        return Observation(text=text, data={"kind": event.kind, "number": event.number, "text": text})
