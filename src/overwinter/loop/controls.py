"""Tools of the loop itself, as the model is told of them: finish, sleep, ask a person, commitments, reading back.

They act on the journal alone; `deeds` says how.
"""

from __future__ import annotations

from collections.abc import Mapping

from overwinter.tools import Effect, Tool, tool


@tool(effect=Effect.PURE, name="finish", tags=["control"])
def finish(summary: str) -> str:
    """Claim that the goal is met. A checker that is not you verifies it against the acceptance list.

    Args:
        summary: what was achieved and which results show it.
    """
    return summary


@tool(effect=Effect.PURE, name="sleep", tags=["control", "wait"])
def sleep(reason: str, seconds: float = 0.0, event: str = "") -> str:
    """Wait without cost, for a time or for an event from outside, whichever comes first.

    Args:
        reason: what you wait for.
        seconds: how long at most; 0 for no limit.
        event: name of the event to wait for; empty for none.
    """
    return f"{reason}{seconds}{event}"


@tool(effect=Effect.PURE, name="ask_person", tags=["control", "wait"])
def ask_person(question: str) -> str:
    """Ask a person and wait for the answer.

    Args:
        question: what you need to know.
    """
    return question


@tool(effect=Effect.PURE, name="commit_to", tags=["control"])
def commit_to(text: str, due: str = "") -> str:
    """Note a promise or a duty; it stays in view until you fulfil it.

    Args:
        text: what has to be done.
        due: when, in words.
    """
    return f"{text}{due}"


@tool(effect=Effect.PURE, name="fulfil", tags=["control"])
def fulfil(commitment: int, outcome: str) -> str:
    """Close an open commitment.

    Args:
        commitment: its number in the list of open commitments.
        outcome: what became of it.
    """
    return f"{commitment}{outcome}"


@tool(effect=Effect.PURE, name="read_entries", tags=["control"])
def read_entries(first: int, last: int) -> str:
    """Read journal entries that are no longer in view, at most 20 at a time.

    Args:
        first: number of the first entry.
        last: number of the last entry.
    """
    return f"{first}{last}"


CONTROLS: Mapping[str, Tool] = {
    each.name: each for each in (finish, sleep, ask_person, commit_to, fulfil, read_entries)
}
