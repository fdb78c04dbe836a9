"""How fast decisions are drawn and learned from: the engine, the fast path, and where a rollout's time goes.

    python recipes/bench_rollouts.py [--worlds 64] [--prompt 50] [--rounds 5] [--layers 3] [--width 128]

Seconds of the processor, not of the wall, so that a busy machine disturbs less. Prompts are drawn at random, so nothing is remembered: the
worst case of both players.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from overwinter.engine import Config as EngineConfig
from overwinter.learn.players import line_tokenizer
from overwinter.learn.reinforce import (
    CandidatePolicy,
    Decision,
    DirectPlayer,
    EnginePlayer,
    LocalSeats,
    RolloutConfig,
    Task,
    TextForm,
    open_seat,
    rollout,
)
from overwinter.learn.reinforce.player import Ask, Player
from overwinter.model import Config, Decoder, TextFormat, fresh

VOCABULARY, CANDIDATES = 512, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("worlds", 64), ("prompt", 50), ("rounds", 5), ("layers", 3), ("width", 128)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    torch.set_num_threads(1)
    decoder = _decoder(VOCABULARY, given.layers, given.width)
    print(f"{sum(each.numel() for each in decoder.parameters()):,} parameters, prompts of {given.prompt} tokens")
    rng = np.random.default_rng(0)
    rounds = [_asks(rng, given.worlds, given.prompt) for _ in range(given.rounds)]
    policy = CandidatePolicy(decoder, end_id=1)
    wide = EngineConfig(max_running=given.worlds, step_tokens=given.worlds * given.prompt)
    print("\n| what | decisions per second of one core |\n|---|---|")
    direct = DirectPlayer(policy)
    _show("fast path", _rate(lambda: _draw(direct, rounds, forget=direct.forget), rounds))
    for name, config in (("engine, as it comes", EngineConfig()), ("engine, all in one step", wide)):
        _show(name, _rate(lambda c=config: _draw(EnginePlayer.of(policy, c), rounds), rounds))  # type: ignore[misc]
    decisions = [_decision(ask) for asks in rounds for ask in asks]
    _show("log-probabilities of a batch", _rate(lambda: policy.logprobs(decisions), rounds))
    _show("log-probabilities and gradients", _rate(lambda: _learn(policy, decisions), rounds))
    _world(given.worlds, given.layers, given.width)


def _decoder(vocabulary: int, layers: int, width: int) -> Decoder:
    heads = max(1, width // 32)
    shape = {"n_heads": heads, "n_kv_heads": heads, "d_head": 32, "d_mlp": 8 * width // 3, "context": 512}
    return fresh(Config(vocab_size=vocabulary, d_model=width, n_layers=layers, tied=True, **shape))


def _asks(rng: np.random.Generator, count: int, length: int) -> list[Ask]:
    candidates = tuple((token,) for token in range(2, 2 + CANDIDATES))
    return [
        Ask(prompt=tuple(rng.integers(20, VOCABULARY, length).tolist()), candidates=candidates, seed=seed)
        for seed in range(count)
    ]


def _decision(ask: Ask) -> Decision:
    return Decision(prompt=ask.prompt, ids=(2,), logprobs=(-1.0,), candidates=ask.candidates, choice=0)


def _draw(player: Player, rounds: list[list[Ask]], forget: Callable[[], None] = lambda: None) -> None:
    forget()
    for asks in rounds:
        player.draw(asks)


def _learn(policy: CandidatePolicy, decisions: list[Decision]) -> None:
    for start in range(0, len(decisions), 128):
        policy.score(decisions[start : start + 128]).logprob.sum().backward()
    policy.decoder.zero_grad()


def _rate(work: Callable[[], object], rounds: list[list[Ask]]) -> float:
    """The best of four: what disturbs only ever slows."""
    times = []
    for _ in range(4):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return sum(map(len, rounds)) / min(times)


def _show(name: str, rate: float) -> None:
    print(f"| {name} | {rate:,.0f} |")


def _world(count: int, layers: int, width: int) -> None:
    """A whole rollout in the greenhouse, with pages, prompts and bookkeeping."""
    seat = open_seat("greenhouse:days=20", max_steps=10)
    lines: dict[str, None] = {}
    actions: dict[str, None] = {}
    rng = np.random.default_rng(1)
    for seed in range(count):
        seen = seat.reset(seed)
        while not seen.is_over:
            lines.update(dict.fromkeys(seen.text.splitlines()))
            actions.update(dict.fromkeys(seen.actions))
            seen = seat.step(seen.actions[int(rng.integers(len(seen.actions)))])
    tokenizer = line_tokenizer(lines, actions)
    form = TextForm(TextFormat(tokenizer))
    policy = CandidatePolicy(_decoder(tokenizer.get_vocab_size(), layers, width), outcome=form.outcome)
    player = _Timed(DirectPlayer(policy))
    seats = LocalSeats(lambda: open_seat("greenhouse:days=20", max_steps=10), count)
    began = time.process_time()
    episodes = rollout(player, seats, form, [Task(group=s, seed=s) for s in range(count)], RolloutConfig())
    spent = time.process_time() - began
    decisions = sum(len(episode.decisions) for episode in episodes)
    tokens = np.mean([len(d.prompt) for episode in episodes for d in episode.decisions])
    _show(f"greenhouse, prompts of {tokens:.0f} tokens", decisions / spent)
    print(
        f"\nof which worlds, pages, prompts and bookkeeping: {(spent - player.spent) / decisions * 1e3:.2f} ms a decision"
    )
    print(f"and drawing: {player.spent / decisions * 1e3:.2f} ms a decision")


class _Timed:
    """A player, and the processor's seconds it took."""

    def __init__(self, player: DirectPlayer) -> None:
        self._player, self.spent = player, 0.0

    @property
    def version(self) -> int:
        return self._player.version

    def draw(self, asks: list[Ask]) -> list:  # type: ignore[type-arg]
        began = time.process_time()
        drawn = self._player.draw(asks)
        self.spent += time.process_time() - began
        return drawn


if __name__ == "__main__":
    main()
