"""A small model that plays a world from a page of notes, and says how it thinks the episode will end.

    page of the notebook → chance of success → `outcome ?` → one of the legal actions

The page (`worlds/notebook.py`) is written from observations alone and holds what matters for the next decision, so a prompt has forty
tokens in the middle of a winter as on its first day. It is the prompt: ids and log-probabilities of every answer are journalled as
they are for any other local model, and the engine lets it utter nothing but a legal action.

A model folder is one of these when it holds `player.json` (`worlds/player.py`), which also says how to read its chance.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from overwinter.errors import ModelError, UsageError
from overwinter.loop.model import Completion, Constraint, Limits, Lived, Usage, View
from overwinter.loop.models.local import Config as LocalConfig
from overwinter.loop.models.local import constraints_of, load, seed_of
from overwinter.worlds.notebook import open_notebook, outcome_line, page
from overwinter.worlds.player import Card, player_folder
from overwinter.worlds.world import Observation, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from overwinter.engine import Engine, Request, Result
    from overwinter.engine.constraint import Constraint as Constraint_


class _Among:
    """Lets a constraint mask one sequence, and keeps the distribution over what was left: a policy's own, for it was trained masked."""

    def __init__(self, inner: Constraint_) -> None:
        self._inner = inner
        self._rows: list[Any] = []

    @property
    def vocab_size(self) -> int:
        return self._inner.vocab_size

    def start(self) -> Any:
        return self._inner.start()

    def constrain_(self, logits_RV: Any, states: Sequence[Any]) -> None:
        self._inner.constrain_(logits_RV, states)
        self._rows.append(logits_RV[0].double().log_softmax(-1))

    def advance(self, state: Any, token: int) -> Any:
        return self._inner.advance(state, token)

    def is_complete(self, state: Any) -> bool:
        return self._inner.is_complete(state)

    def probability(self, ids: Sequence[int]) -> float:
        """Of what was drawn, at temperature 1."""
        return math.exp(sum(float(row[token]) for row, token in zip(self._rows, ids, strict=False)))

    def shape(self) -> dict[str, float]:
        """Of the first token's distribution, at temperature 1: its entropy in nats, and the lead of the likeliest over the next."""
        if not self._rows:
            return {}
        chances = self._rows[0].exp()
        first, second = chances.topk(2).values.tolist()
        entropy = -float((chances * self._rows[0]).nan_to_num(0.0).sum())
        return {"choice_entropy": entropy, "choice_lead": first - second}


class PlayerModel:
    """Plays a world by a small decoder. Keeps the notes of one episode; `catch_up` writes them anew after a resume.

    Args:
        config: as for any local model; its path may be "bundled:WORLD".
        world_name: the world of the run.
        open_world: makes a fresh world of the same kind, to see the episode again.
    """

    local = True
    context_tokens = 1 << 20
    """Of the view, which is not the prompt: that is the page."""

    def __init__(self, config: LocalConfig, world_name: str, open_world: Callable[[], World]) -> None:
        self.config = config
        folder = player_folder(config.path)
        self.card = Card.read(folder)
        if world_name.partition(":")[0] != self.card.world:
            raise UsageError(
                f"the model in {folder.name} plays {self.card.world}, and this run is in {world_name}",
                "choose another model or another world",
            )
        settings = {name: getattr(config, name) for name in config.__dataclass_fields__}
        # So small a model is slower on two threads than on one, and far slower where two runs share two cores.
        settings |= {"path": str(folder), "threads": config.threads or 1}
        engine, self._text = load(LocalConfig(**settings))
        self._loaded: Engine | None = engine
        self._world_name = world_name
        self._open_world = open_world
        self._slots = {name: self._ids(f"{outcome_line(name)}\n") for name in ("?", "well", "badly")}
        self._constraints = constraints_of(engine, self._text)
        self.name = engine.name
        self.identity = f"{engine.name}@{engine.fingerprint.model[:12]}"
        self._begin()

    def __repr__(self) -> str:
        return f"PlayerModel({self.identity!r}, {self._world_name!r})"

    def _begin(self) -> None:
        self.notebook = open_notebook(self._world_name)
        self._seen: Mapping[str, Any] | None = None
        self._pending: str | None = None

    # --- what it has seen -----------------------------------------------------------------------------------------

    def catch_up(self, seed: int, episode: Iterable[Lived]) -> None:
        """Write the notes of a run anew: None where it was asked, the action's words where one was carried out."""
        self._begin()
        world = self._open_world()
        observation = world.reset(seed)
        for action in episode:
            if action is None:
                self._see(observation.data)
            elif isinstance(action, Mapping):
                observation = world.restore(dict(action))
            else:
                self._pending = action
                observation = world.step(action).observation

    def branch(self) -> PlayerModel:
        """The same model with notes of its own from here on. It holds nothing that has to be closed."""
        made = copy.copy(self)
        made.notebook = copy.deepcopy(self.notebook)
        return made

    def witness(self, observation: Mapping[str, Any], legal: Sequence[str], action: str) -> None:  # noqa: ARG002
        """Somebody else decided here, and this was done."""
        self._see(observation)
        self._pending = action

    def chance(self, view: View) -> tuple[float | None, Usage]:
        """Its chance alone, without a decision, and what the two bets cost; None where it states none."""
        self._see(view.observation)
        if not self.states_chance:
            return None, Usage()
        notes = self._prompt()
        bets = [self._bet(notes, self._slots[name]) for name in ("well", "badly")]
        usage = Usage(prompt_tokens=sum(len(bet.prompt_ids) for bet in bets))
        return self._chance(*self._engine.run(bets)), usage

    def _see(self, data: Mapping[str, Any]) -> None:
        """Note an observation. An action after which nothing is different was not carried out."""
        if data == self._seen:
            self._pending = None
            return
        self.notebook.take_in(self._pending, Observation(text="", data=dict(data)))
        self._seen, self._pending = data, None

    # --- the protocol ---------------------------------------------------------------------------------------------

    def count_tokens(self, text: str) -> int:
        """Words: what the view holds is not what the model reads, and costs nothing."""
        return len(text.split())

    turn_tokens = 0

    def count_view(self, view: View) -> int:
        """Tokens of the page that the view's observation adds up to, about: the page itself is written when it is asked."""
        return len(self._prompt()) if view.observation else 0

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:
        if not view.legal_actions:
            raise ModelError(f"{self.name} plays worlds only, and this run has none", "choose a model with --model")
        self._see(view.observation)
        choices = constraint.choices or view.legal_actions
        notes, ask = self._prompt(), self._slots["?"]
        heard = [_Among(self._constraints.choices(choices)) for _ in range(n)]
        requests = [self._request(notes + ask, each, limits, number) for number, each in enumerate(heard)]
        told = ("well", "badly") if self.card.calibrated_for == self._world_name else ()
        results = self._engine.run([*requests, *(self._bet(notes, self._slots[name]) for name in told)])
        results, bets = results[:n], results[n:]
        chance = self._chance(*bets) if bets else None
        self._pending = results[0].text
        return [
            self._completion(result, number, chance, each)
            for number, (result, each) in enumerate(zip(results, heard, strict=True))
        ]

    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:
        """Log-probabilities of the tokens of each continuation after the page as it stands."""
        self._see(view.observation)
        prompt = self._prompt() + self._slots["?"]
        return [self._engine.score(prompt, self._ids(text)) for text in continuations]

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:  # noqa: ARG002
        return 0

    def describe(self) -> dict[str, Any]:
        """Everything that shapes an answer."""
        return {"kind": "player", "model": self.identity, "card": self.card}

    def close(self) -> None:
        self._loaded = None

    # --- the engine -----------------------------------------------------------------------------------------------

    @property
    def states_chance(self) -> bool:
        """Its chance was calibrated in this world."""
        return self.card.calibrated_for == self._world_name

    @property
    def is_exact(self) -> bool:
        return self._engine.is_exact

    @property
    def _engine(self) -> Engine:
        if self._loaded is None:
            raise UsageError(f"the model {self.name} was closed", "make a new one")
        return self._loaded

    def _ids(self, text: str) -> list[int]:
        return self._text.encode(text, add_special=False)

    def _prompt(self) -> list[int]:
        return self._ids(page(self.notebook.lines())) if self._seen is not None else []

    def _request(self, prompt: list[int], among: _Among, limits: Limits, number: int) -> Request:
        from overwinter.engine import Request, SamplingParams

        return Request(
            prompt_ids=tuple(prompt),
            max_tokens=min(limits.max_tokens, self._engine.context_tokens - len(prompt)),
            sampling=SamplingParams(temperature=limits.temperature, top_p=limits.top_p, seed=seed_of(limits, number)),
            constraint=among,
            logprobs=limits.top_logprobs,
        )

    def _bet(self, notes: list[int], outcome: list[int]) -> Request:
        from overwinter.engine import Request

        return Request(
            prompt_ids=tuple(notes + outcome), max_tokens=0, prompt_logprobs=0, prompt_logprobs_from=len(notes)
        )

    def _chance(self, well: Result, badly: Result) -> float:
        good, bad = (sum(row.logprob or 0.0 for row in bet.prompt_logprobs) for bet in (well, badly))
        return self.card.calibrated(good - bad)

    def _completion(self, result: Result, number: int, chance: float | None, heard: _Among) -> Completion:
        if result.finish not in ("stop", "length"):
            raise ModelError(
                f"{self.name} could not go on: {result.problem or result.finish}",
                "check the weights with `overwinter model info`",
            )
        return Completion(
            text=result.text,
            token_ids=result.output_ids,
            prompt_token_ids=result.prompt_ids,
            logprobs=tuple(row.logprob or 0.0 for row in result.logprobs),
            choice_probability=heard.probability(result.output_ids),
            success_chance=chance,
            signals=heard.shape(),
            usage=Usage(
                prompt_tokens=len(result.prompt_ids) if number == 0 else 0,
                completion_tokens=len(result.output_ids),
                attempts=1 if number == 0 else 0,
            ),
            model=self.identity,
        )
