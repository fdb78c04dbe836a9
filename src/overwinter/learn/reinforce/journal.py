"""From journals to episodes: runs that were done are what is learned from.

    reading = read_episodes(store, ["winter-1", "winter-2"])
    reading.episodes, reading.models, reading.refused

A decision is a completion of the actor: its prompt's ids put together along the chain, the ids it said, the log-probabilities that came
with them, and what the world paid for the action it led to. Token ids are taken from the journal alone. An entry without them
(a server that gives text only) teaches nothing here: to tokenise its text would invent ids and log-probabilities.

What our engine journals are log-probabilities of the model alone. Where a run was kept to a list of choices, or drew at another
temperature, those are not of the distribution it drew from; such decisions are marked `is_raw`, and are learned from with
`UpdateConfig(old="recomputed")`. The choices themselves are not in the journal, so the decisions are of the free kind
(`TokenPolicy`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from overwinter.errors import UsageError
from overwinter.journal import ERASED, Entry, Store
from overwinter.journal.canonical import canonical
from overwinter.journal.tokens import PromptReader, read_tokens
from overwinter.journal.tombstone import kind_of
from overwinter.learn.reinforce.decision import Decision, Episode, key_of
from overwinter.learn.reinforce.policy import OutcomeIds

KINDS = (
    "run.started", "run.forked", "sample.intent", "sample.completion", "effect.intent", "effect.receipt", "world.saved",
    "verdict", "run.ended", ERASED,
)  # fmt: skip
ACTING = "act"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Attributes:
    episodes: one per run, in the order given.
    models: how many decisions each model's weights made, by the name and hash the journal holds.
    refused: run → why it is not among the episodes; only where refusals are allowed.
    """

    episodes: tuple[Episode, ...]
    models: Mapping[str, int]
    refused: Mapping[str, str]

    @property
    def is_mixed(self) -> bool:
        """Whether several models or weights are in it: their log-probabilities do not compare."""
        return len(self.models) > 1


def read_episodes(
    store: Store,
    runs: Sequence[str],
    *,
    weights: str | None = None,
    version: int = 0,
    outcome: OutcomeIds | None = None,
    allow_refusals: bool = False,
    penalty: Callable[[Iterable[Entry]], float] | None = None,
) -> Reading:
    """The runs as episodes.

    Args:
        weights: name and hash of the model that is trained, as the journal writes them. Decisions it made get `version`, others -1.
        outcome: tokens of the outcome line, where prompts have one: its last place in a prompt becomes the decision's slot.
        allow_refusals: leave out runs that cannot be learned from, and say why, instead of raising.
        penalty: what a run's entries cost, taken off the reward of its last decision: all of an episode's decisions, and so all the
            segments between its compressions, share it. `overwinter.memory.working.reward.cost_of` is Memex's.

    Raises:
        UsageError: a run has an answer without token ids, prompt ids or log-probabilities, or no answer at all.
        StoreError: the journal is damaged.
    """
    episodes, refused, models = [], {}, Counter[str]()
    for run in runs:
        try:
            reader = _RunReader(store, run, weights, version, outcome)
            episodes.append(_charged(reader.episode(), penalty(store.read(run)) if penalty is not None else 0.0))
        except UsageError as error:
            if not allow_refusals:
                raise
            refused[run] = error.problem
            continue
        models.update(reader.models)
    return Reading(episodes=tuple(episodes), models=dict(models), refused=refused)


def _charged(episode: Episode, cost: float) -> Episode:
    if not cost:
        return episode
    last = episode.decisions[-1]
    return replace(episode, decisions=(*episode.decisions[:-1], replace(last, reward=last.reward - cost)))


@dataclass(kw_only=True)
class _Answer:
    """A completion while its consequences are read."""

    seq: int
    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    is_raw: bool
    is_cut: bool
    version: int
    reward: float = 0.0


class _RunReader:
    """Goes through one run's entries once."""

    def __init__(self, store: Store, run: str, weights: str | None, version: int, outcome: OutcomeIds | None) -> None:
        self.store, self.run, self.weights, self.version, self.outcome = store, run, weights, version, outcome
        self.models: Counter[str] = Counter()
        self._prompts = PromptReader(store)
        self._intents: dict[int, Mapping[str, Any]] = {}
        self._caused: dict[int, int] = {}
        self._answers: dict[int, _Answer] = {}
        self._group, self._seed = key_of(run), 0
        self._has_world = self._is_over = self._is_cut = False
        self._success, self._score = math.nan, math.nan

    def episode(self) -> Episode:
        for entry in self.store.read(self.run, kinds=KINDS):
            handler = getattr(self, "_on_" + entry.kind.replace(".", "_"), None)
            if handler is not None:
                handler(entry)
        answers = list(self._answers.values())
        if not answers:
            raise UsageError(f"run {self.run!r} has no answer of a model", "leave it out")
        if not self._has_world and not math.isnan(self._success):
            answers[-1].reward += self._success  # without a world, the verdict is what is paid
        states = [key_of(*answer.prompt) for answer in answers] + [key_of(self.run, "end")]
        decisions = tuple(
            Decision(
                prompt=answer.prompt,
                ids=answer.ids,
                logprobs=answer.logprobs,
                slot=self._slot(answer.prompt),
                version=answer.version,
                state=state,
                next_state=following,
                reward=answer.reward,
                is_cut=answer.is_cut,
                is_raw=answer.is_raw,
            )
            for answer, state, following in zip(answers, states[:-1], states[1:], strict=True)
        )
        terminated = self._is_over and not self._is_cut
        return Episode(
            group=self._group,
            seed=self._seed,
            decisions=decisions,
            terminated=terminated,
            truncated=not terminated,
            success=self._success,
            score=self._score,
            source=self.run,
        )

    def _slot(self, prompt: tuple[int, ...]) -> int | None:
        if self.outcome is None or self.outcome.unknown not in prompt[1:]:
            return None
        return len(prompt) - 1 - prompt[::-1].index(self.outcome.unknown)

    def _on_erased(self, entry: Entry) -> None:
        if kind_of(entry) in KINDS:
            raise UsageError(
                f"entry {entry.seq} of run {self.run!r} was erased ({entry.body['kind']})", "leave the run out"
            )

    # --- entries --------------------------------------------------------------------------------------------------

    def _on_run_started(self, entry: Entry) -> None:
        # The same goal, criteria, world and seed are the same task, whoever worked on it.
        world = entry.body["setup"].get("world") or {}
        task = canonical({"goal": entry.body["goal"], "acceptance": entry.body["acceptance"], "world": world})
        self._group, self._seed = key_of(task.decode()), int(world.get("seed", 0))

    def _on_sample_intent(self, entry: Entry) -> None:
        self._intents[entry.seq] = entry.body

    def _on_sample_completion(self, entry: Entry) -> None:
        record = read_tokens(self.store, entry)
        prompt = self._prompts.read(entry, record)
        if entry.body.get("purpose", ACTING) != ACTING:
            return  # a checker's question
        missing = [name for name in ("ids", "logprobs", "prompt") if not record.get(name)]
        if missing:
            lacks = {"ids": "token ids", "logprobs": "log-probabilities", "prompt": "prompt ids"}
            raise UsageError(
                f"entry {entry.seq} of run {self.run!r} by {entry.body['model']} has no"
                f" {', '.join(lacks[name] for name in missing)}: its server gave text only, and text is not tokenised again",
                "do such runs with a model folder (overwinter run --model PATH), or leave them out with allow_refusals",
            )
        intent = self._intents.get(entry.body["intent"], {})
        constraint = intent.get("constraint", {})
        self.models[entry.body["model"]] += 1
        self._answers[entry.seq] = _Answer(
            seq=entry.seq,
            prompt=tuple(prompt or ()),
            ids=tuple(record["ids"]),
            logprobs=tuple(record["logprobs"]),
            is_raw=any(constraint.values()) or intent.get("limits", {}).get("temperature") != 1.0,
            is_cut=entry.body["finish_reason"] == "length",
            version=self.version if entry.body["model"] == self.weights else -1,
        )

    def _on_effect_intent(self, entry: Entry) -> None:
        self._caused[entry.seq] = entry.body["completion"]

    def _on_effect_receipt(self, entry: Entry) -> None:
        data = entry.body["data"]
        if not (entry.body["ok"] and data.get("world")):
            return
        self._has_world = True
        answer = self._answers.get(self._caused.get(entry.body["intent"], -1))
        if answer is not None:
            answer.reward += data["reward"]
        self._is_over |= data["terminated"] or data["truncated"]
        self._is_cut |= data["truncated"] and not data["terminated"]

    def _on_world_saved(self, entry: Entry) -> None:
        outcome = entry.body["outcome"]
        self._success = math.nan if outcome["success"] is None else float(outcome["success"])
        self._score = float(outcome["score"])

    def _on_verdict(self, entry: Entry) -> None:
        if not self._has_world and entry.body["status"] in ("verified", "rejected"):
            self._success = float(entry.body["status"] == "verified")

    def _on_run_ended(self, entry: Entry) -> None:
        self._is_over = True
        self._is_cut |= entry.body["status"] == "cancelled"
