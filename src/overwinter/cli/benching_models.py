"""The models of the loop as the bench asks them, and its runs as the bench plays them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from overwinter.bench.asking import Asked, Played, Reply

if TYPE_CHECKING:
    from overwinter.journal import Store
    from overwinter.loop.model import Model, View


class LoopAsker:
    """Any model of the loop. Of an endpoint it may be called from several threads; a local one answers one question at a time."""

    def __init__(self, model: Model, *, top_logprobs: int = 0) -> None:
        self.model = model
        self.name, self.local, self.context_tokens = model.name, model.local, model.context_tokens
        self.top_logprobs = top_logprobs

    def count(self, said: Sequence[tuple[str, str]]) -> int:
        from overwinter.loop.model import CountsViews

        if isinstance(self.model, CountsViews):
            return self.model.count_view(_view(said))
        # A chat template adds some tokens to each turn, which no server tells.
        return sum(self.model.count_tokens(text) + 8 for _, text in said)

    def ask(self, asked: Asked) -> Reply:
        from overwinter.loop.model import Constraint, Limits
        from overwinter.loop.sampling import confidence
        from overwinter.loop.tokens import PromptChain, token_record

        limits = Limits(
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            seed=asked.seed,
            top_logprobs=self.top_logprobs,
            timeout_s=asked.timeout_s,
            idempotency_key=asked.key,
        )
        made = self.model.sample(_view(asked.said), 1, Constraint(choices=asked.choices), limits)[0]
        return Reply(
            text=made.text,
            finish_reason=made.finish_reason,
            reasoning=made.reasoning,
            usage=asdict(made.usage),
            model=made.model or self.name,
            confidence=confidence(made),
            tokens=token_record(made, PromptChain()),
        )

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        return self.model.price_micro_usd(prompt_tokens, completion_tokens)


def _view(said: Sequence[tuple[str, str]]) -> View:
    from overwinter.loop.model import Message, View

    return View(messages=tuple(Message(role=role, text=text) for role, text in said))  # type: ignore[arg-type]


class LoopPlayer:
    """Plays each episode as a run of the loop, in the same journal: it can be looked at, replayed and learned from by itself."""

    def __init__(self, store: Store, spec: Mapping[str, Any], name: str) -> None:
        self.store, self.spec, self.name = store, dict(spec), name

    def play(self, world: str, seed: int, run: str) -> Played:
        from overwinter.errors import UsageError
        from overwinter.loop.goal import Criterion, Goal
        from overwinter.loop.run import Run
        from overwinter.worlds import open_world

        began = time.monotonic()
        try:
            unborn = self.store.info(run).unborn
        except UsageError:
            unborn = True
        if unborn:
            goal = open_world(world).goal
            wanted = Criterion(id="a1", text=goal, check={"kind": "world"})
            setup: dict[str, Any] = {"world": {"name": world, "seed": seed}, "model": self.spec}
            if self.spec["kind"] in {"player", "local"}:
                setup["controls"] = []  # no tool but the world's actions
            work = Run.start(
                self.store, Goal(text=goal, acceptance=(wanted,)), setup=setup, name=run, title=f"{world}, seed {seed}"
            )
        else:
            work = Run.open(self.store, run)
        with work:
            work.finish()
            state, session = work.state, work.session.parts.world
        assert session is not None, "its setup names a world"
        outcome = session.world.outcome()
        return Played(
            run=run,
            entry=state.head_seq,
            success=outcome.success,
            score=outcome.score,
            seconds=time.monotonic() - began,
            **_cost(self.store, run),
        )


def _cost(store: Store, run: str) -> dict[str, Any]:
    """What an episode took, by its journal: also of what a process did that was killed."""
    found = {"steps": 0, "tokens_in": 0, "tokens_out": 0, "tool_calls": 0}
    stated: float | None = None
    for entry in store.read(run, kinds=["sample.completion", "effect.receipt"]):
        if entry.kind == "effect.receipt":
            found["tool_calls"] += 1
            continue
        usage = entry.body["usage"]
        found["steps"] += 1
        found["tokens_in"] += usage["prompt_tokens"]
        found["tokens_out"] += usage["completion_tokens"] + usage["lost_tokens"]
        if stated is None:
            # The chance it gave itself before it began: later ones know more than a forecast does.
            stated = entry.body.get("success_chance")
    return {**found, "stated": stated}
