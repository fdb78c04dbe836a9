"""What would have come of another choice: the world is put back, the other action taken, and the episode played on.

    found = what_if(trace, [(31, "order fuel 400")], choose)
    found[0].actual, found[0].other                     # scores of both ends, played on by the same player

A seeded world meets both arms with the same weather, so their difference is what the choice was worth in this episode to whoever plays on:
a model (`what_if`), or the script that made the run (`scripted_what_if`). The player goes on in both arms; the recorded actions after the
choice are not used, since they were answers to what came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from overwinter.learn.appraisal import Trace
from overwinter.learn.reinforce.seat import Seat, Seen
from overwinter.worlds import Outcome, Policy, open_world
from overwinter.worlds.notebook import open_notebook

PATIENCE = 300
"""Decisions beyond the trace's own number after which an arm is given up: looking is free, and a greedy model may look for ever."""
Choose = Callable[[list[tuple[str, tuple[str, ...]]]], list[str]]
"""What the player does on each (page, legal actions)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WhatIf:
    """Both ends of one question.

    Attributes:
        at: which decision of the trace.
        instead: the other action.
        actual, other: the judge's scores when the player goes on after what was done, and after the other action.
        actual_success, other_success: whether the goal was met.
    """

    at: int
    instead: str
    actual: float
    other: float
    actual_success: bool
    other_success: bool

    @property
    def gain(self) -> float:
        """What the other action would have added to the score."""
        return self.other - self.actual


def what_if(trace: Trace, questions: Sequence[tuple[int, str]], choose: Choose) -> list[WhatIf]:
    """Answer questions of the form (decision, other action).

    Raises:
        UsageError: the other action was not possible there.
    """
    [found] = what_ifs([(trace, questions)], choose)
    return found


def what_ifs(asked: Sequence[tuple[Trace, Sequence[tuple[int, str]]]], choose: Choose) -> list[list[WhatIf]]:
    """The same for many traces at once, all arms in lock-step: the model answers a hundred pages as fast as ten."""
    arms = [
        arm_after(trace, at, action)
        for trace, questions in asked
        for at, instead in questions
        for action in (trace.looks[at].action, instead)
    ]
    ends = iter([_end(seat, seen) for seat, seen in play_on(arms, choose)])
    return [[_compared(at, instead, next(ends), next(ends)) for at, instead in questions] for _, questions in asked]


def _end(seat: Seat, seen: Seen) -> Outcome:
    """The judge's word; an arm that was given up has earned nothing."""
    return Outcome(success=False, score=0.0) if seen.truncated else seat.world.outcome()


def arm_after(trace: Trace, at: int, action: str) -> tuple[Seat, Seen]:
    """A seat for `play_on`: the world put back before decision `at`, and `action` done."""
    seat = Seat(open_world(trace.world), open_notebook(trace.world), max_steps=len(trace.looks) + PATIENCE)
    seat.reset(trace.seed)
    for before in trace.actions[:at]:
        seat.step(before)
    return seat, seat.step(action)


def _compared(at: int, instead: str, actual: Outcome, other: Outcome) -> WhatIf:
    return WhatIf(
        at=at,
        instead=instead,
        actual=actual.score,
        other=other.score,
        actual_success=bool(actual.success),
        other_success=bool(other.success),
    )


def scripted_what_if(
    trace: Trace, questions: Sequence[tuple[int, str]], make_policy: Callable[[], Policy]
) -> list[WhatIf]:
    """The same, played on by a scripted player that has lived through the episode up to the question."""
    ends = [
        _scripted_end(trace, at, action, make_policy())
        for at, instead in questions
        for action in (trace.looks[at].action, instead)
    ]
    pairs = zip(questions, ends[::2], ends[1::2], strict=True)
    return [_compared(at, instead, actual, other) for (at, instead), actual, other in pairs]


def _scripted_end(trace: Trace, at: int, action: str, policy: Policy) -> Outcome:
    world = open_world(trace.world)
    observation = world.reset(trace.seed)
    policy.reset(trace.seed)
    for done in (*trace.actions[:at], action):
        # Asked and overruled: what it keeps in mind, it has from being asked.
        policy.act(observation, world.actions())
        observation = world.step(done).observation
    for _ in range(len(trace.looks) + PATIENCE):
        if not world.actions():
            return world.outcome()
        observation = world.step(policy.act(observation, world.actions())).observation
    return Outcome(success=False, score=0.0)


def play_on(arms: Sequence[tuple[Seat, Seen]], choose: Choose) -> list[tuple[Seat, Seen]]:
    """All episodes to their ends, in lock-step."""
    arms = list(arms)
    while living := [row for row, (_, seen) in enumerate(arms) if not seen.is_over]:
        words = choose([(arms[row][1].text, arms[row][1].actions) for row in living])
        for row, word in zip(living, words, strict=True):
            seat = arms[row][0]
            arms[row] = (seat, seat.step(word))
    return arms
