"""Rollouts: many games at once, each step of all of them asked together.

    episodes = rollout(player, seats, form, tasks, Config())

Games are played in lock-step; a seat that is free takes the next game, so the batch stays full until the last ones. The noise of a
decision is a hash of (seed of the rollout, group, member, step): who else plays, and how many seats there are, changes nothing but
the rounding of the fast path's batch. What is drawn, its ids and its log-probabilities come from the player as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from overwinter.errors import UsageError
from overwinter.learn.reinforce.decision import Decision, Episode, Prompt, key_of
from overwinter.learn.reinforce.form import Form
from overwinter.learn.reinforce.player import Ask, Drawn, Player
from overwinter.learn.reinforce.seat import Seats, Seen


@dataclass(frozen=True, kw_only=True)
class Config:
    """How games are played.

    Args:
        seed: of all draws.
        temperature: 0 plays the best action; log-probabilities are then those at 1.
        max_tokens: of a free text.
        is_free: say any text instead of one of the listed actions. A text that is none of them is not carried out: it costs
            `invalid_penalty`, and the same state is asked again.
        invalid_penalty: where success pays 1, a hundredth; ALFWorld's 0.1 belongs to a success of 10.
        max_invalid: such texts in a row after which a game is cut short.
    """

    seed: int = 0
    temperature: float = 1.0
    max_tokens: int = 64
    is_free: bool = False
    invalid_penalty: float = 0.01
    max_invalid: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A game to be played `times` times from the same start."""

    group: int
    seed: int
    times: int = 1


Progress = Callable[[int, int, int], None]
"""Called with games over, games in all, and decisions so far."""


@dataclass(kw_only=True)
class _Game:
    task: Task
    member: int
    seen: Seen
    decisions: list[Decision]
    invalid: int = 0


def rollout(
    player: Player,
    seats: Seats,
    form: Form,
    tasks: Sequence[Task],
    config: Config | None = None,
    progress: Progress | None = None,
) -> list[Episode]:
    """Play all tasks; the episodes come in their order.

    Raises:
        UsageError: there is nothing to play, or a candidate list that this player cannot take.
    """
    config = config or Config()
    queue = [(task, member) for task in tasks for member in range(task.times)]
    if not queue:
        raise UsageError("there are no games to play", "give at least one task")
    done: dict[int, Episode] = {}
    playing: dict[int, tuple[int, _Game]] = {}
    free, following, count = list(range(seats.count - 1, -1, -1)), 0, 0
    while len(done) < len(queue):
        begun = [(free.pop(), number) for number in range(following, min(len(queue), following + len(free)))]
        following += len(begun)
        starts = seats.reset([(seat, queue[number][0].seed) for seat, number in begun])
        for (seat, number), seen in zip(begun, starts, strict=True):
            task, member = queue[number]
            playing[seat] = number, _Game(task=task, member=member, seen=seen, decisions=[])
        order = sorted(playing)
        _advance([playing[seat][1] for seat in order], order, player, seats, form, config)
        count += len(order)
        for seat in order:
            number, game = playing[seat]
            if game.seen.is_over or game.invalid >= config.max_invalid:
                done[number] = _episode(game, form)
                del playing[seat]
                free.append(seat)
        if progress is not None:
            progress(len(done), len(queue), count)
    return [done[number] for number in range(len(queue))]


def _advance(
    games: Sequence[_Game], places: Sequence[int], player: Player, seats: Seats, form: Form, config: Config
) -> None:
    """One decision of every game."""
    prompts = [form.prompt(game.seen.text) for game in games]
    asks = [_ask(game, prompt, form, config) for game, prompt in zip(games, prompts, strict=True)]
    drawn = player.draw(asks)
    words = [_action(*each, form) for each in zip(games, drawn, strict=True)]
    valid = [(place, word) for place, word in zip(places, words, strict=True) if word is not None]
    seen = dict(zip([place for place, _ in valid], seats.step(valid), strict=True))
    for place, game, prompt, ask, one in zip(places, games, prompts, asks, drawn, strict=True):
        after = seen.get(place)
        game.invalid = 0 if after is not None else game.invalid + 1
        game.decisions.append(
            Decision(
                prompt=prompt.ids,
                slot=prompt.slot,
                ids=one.ids,
                logprobs=one.logprobs,
                candidates=ask.candidates,
                choice=one.choice,
                policy=one.policy,
                entropy=one.entropy,
                temperature=config.temperature or 1.0,
                version=player.version,
                state=game.seen.state,
                next_state=(after or game.seen).state,
                reward=-config.invalid_penalty if after is None else after.reward,
                is_cut=one.is_cut,
                is_valid=after is not None,
            )
        )
        game.seen = after or game.seen


def _ask(game: _Game, prompt: Prompt, form: Form, config: Config) -> Ask:
    step = len(game.decisions)
    return Ask(
        prompt=prompt.ids,
        candidates=None if config.is_free else form.candidates(game.seen.actions),
        seed=key_of(config.seed, game.task.group, game.member, step),
        temperature=config.temperature,
        max_tokens=config.max_tokens,
    )


def _action(game: _Game, drawn: Drawn, form: Form) -> str | None:
    """The action in words; None for a text that is none of the possible ones."""
    if drawn.choice >= 0:
        return game.seen.actions[drawn.choice]
    word = form.action(drawn.ids)
    return word if word in game.seen.actions else None


def _episode(game: _Game, form: Form) -> Episode:
    seen = game.seen
    return Episode(
        group=game.task.group,
        seed=game.task.seed,
        decisions=tuple(game.decisions),
        terminated=seen.terminated,
        truncated=not seen.terminated,
        success=seen.success,
        score=seen.score,
        end_prompt=None if seen.terminated else form.prompt(seen.text),
    )
