"""Sessions: what is ranked. A session is a list of turns with a time; its text is MemSifter's format (2603.03379, the authors' code).

    <session3><date>2031-04-07</date>
    <user1>I work as a florist now.</user1>
    <assistant1>How lovely.</assistant1>
    </session>

Each role counts its own turns from 1; the session's number is its position, from 0, in the list that is shown. A single unit is a
session of one turn, so one ranker serves both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from overwinter.memory.unit import Unit, rough_tokens

CountTokens = Callable[[str], int]

_NOT_A_TAG = re.compile(r"[^a-z_]+")
_TAG = re.compile(r"<(/?(?:session|date|think|ranking|history|question|user|assistant)\d*)>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody said.

    Attributes:
        role: "user", "assistant", or any other word.
        speaker: the speaker's name where there is one.
        valid: whether the claims that rest on it still hold; None where there are none.
    """

    role: str
    text: str
    speaker: str = ""
    valid: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One candidate.

    Attributes:
        key: names it to the caller.
        happened_us: microseconds since 1970; sessions are shown and numbered in its order. None: no date is shown.
        score: of the stage before (fused, or BM25), any scale; higher is better.
        similarity: cosine to the question, None without an embedder.
    """

    key: str
    turns: tuple[Turn, ...]
    happened_us: int | None = None
    score: float = 0.0
    similarity: float | None = None
    before: tuple[Turn, ...] = field(default=())
    """Turns just before and after it, where it is a piece of something: they are read for context, never shown."""
    after: tuple[Turn, ...] = field(default=())


def session_text(session: Session, number: int) -> str:
    """The session as the ranking prompt shows it, as number `number` of the list.

    Tags inside the turns' own text are made harmless, so that remembered text can close nothing.
    """
    date = f"<date>{date_words(session.happened_us)}</date>" if session.happened_us is not None else ""
    return f"<session{number}>{date}\n{plain_text(session)}\n</session>"


def plain_text(session: Session) -> str:
    """Its turns in their numbered tags, without session and date: what a session's embedding is made of."""
    counts: dict[str, int] = {}
    lines = []
    for turn in session.turns:
        role = _NOT_A_TAG.sub("_", turn.role.lower()) or "other"
        counts[role] = counts.get(role, 0) + 1
        said = f"{turn.speaker}: {turn.text}" if turn.speaker else turn.text
        tag = f"{role}{counts[role]}"
        lines.append(f"<{tag}>{_TAG.sub(_harmless, said)}</{tag}>")
    return "\n".join(lines)


def _harmless(tag: re.Match[str]) -> str:
    return f"[{tag[1]}]"


def date_words(happened_us: int) -> str:
    return datetime.fromtimestamp(happened_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def session_tokens(session: Session, count_tokens: CountTokens = rough_tokens) -> int:
    """Its size in the prompt, tags included."""
    return count_tokens(session_text(session, 999))


def sessions_of(units: Sequence[Unit], valid: dict[str, bool] | None = None) -> list[Session]:
    """Units grouped by their sessions, in order of time.

    Args:
        valid: unit id → whether its claims still hold, for units that have claims.
    """
    grouped: dict[str, list[Unit]] = {}
    for unit in units:
        grouped.setdefault(unit.session, []).append(unit)
    sessions = []
    for name, members in grouped.items():
        members.sort(key=lambda unit: unit.place)
        turns = tuple(_turn(unit, valid) for unit in members)
        sessions.append(Session(key=name, turns=turns, happened_us=min(unit.happened_us for unit in members)))
    return sorted(sessions, key=lambda session: (session.happened_us or 0, session.key))


def session_of_unit(
    unit: Unit, before: Unit | None = None, after: Unit | None = None, *, score: float = 0.0, valid: bool | None = None
) -> Session:
    """A single unit as a candidate, with the neighbours it is read with."""
    known = {} if valid is None else {unit.id: valid}
    return Session(
        key=unit.id,
        turns=(_turn(unit, known),),
        happened_us=unit.happened_us,
        score=score,
        before=(_turn(before, None),) if before else (),
        after=(_turn(after, None),) if after else (),
    )


def _turn(unit: Unit, valid: dict[str, bool] | None) -> Turn:
    role, _, name = unit.actor.partition(":")
    speaker = name if role == "person" else ""
    role = {"agent": "assistant", "person": "user"}.get(role, role)
    return Turn(role, unit.text, speaker, (valid or {}).get(unit.id))
