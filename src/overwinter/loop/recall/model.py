"""The actor of a run as a vote of its own chains: several samples of each step, and the one is taken whose facts hold.

    {"model": {…}, "recall": {"samples": 8}}

Each sample's thinking is read for facts, and these are checked against what the view states: goal, observations, results of tools, what
memory brought up. So the choice follows from the journal alone and a replay makes it again. Samples agree when they make the same calls, or
say the same; the best class of chains votes (`think.recall.decide`). The tokens of all samples count, and are never more than
were reserved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overwinter.errors import UsageError
from overwinter.journal.canonical import canonical
from overwinter.loop.model import Completion, Constraint, Limits, Model, Usage, View
from overwinter.loop.parse import read_calls
from overwinter.loop.recall.statements import Statements, view_tokens
from overwinter.loop.recall.verifiers import TextVerifier
from overwinter.loop.world import ACT
from overwinter.think.recall import Chain, Checker, Recalled, Thought, admissible, classify, settle
from overwinter.think.vote import normalise

LEAST_TOKENS = 64
"""A chain shorter than this is not worth voting with: fewer samples are taken."""
_OPTIONAL = ("count_view", "turn_tokens", "stateless", "identity")
"""What only some models have, and the loop asks for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecallSettings:
    """How the actor recalls.

    Attributes:
        samples: of each step, where the room allows so many.
        temperature: of the samples, where the run itself asks greedily.
        support: share of a chain's facts that the view must support for it to be preferred; what contradicts the view is put last anyway.
    """

    samples: int = 8
    temperature: float = 0.8
    support: float = 0.5


def parse_recall(raw: Any) -> RecallSettings:
    """Of a setup's field `recall`. Raises UsageError for an unknown field or a value that cannot be."""
    known = [field.name for field in dataclasses.fields(RecallSettings)]
    if not isinstance(raw, Mapping) or set(raw) - set(known):
        raise UsageError(f"recall is {raw!r}", f"give a table with: {', '.join(known)}")
    bounds = {"samples": (2, 64), "temperature": (0.01, 2.0), "support": (0.0, 1.0)}
    for name, value in raw.items():
        least, most = bounds[name]
        wrong_kind = isinstance(value, bool) or not isinstance(value, int if name == "samples" else int | float)
        if wrong_kind or not least <= value <= most:
            raise UsageError(f"recall has {name}={value!r}", f"give a number from {least:g} to {most:g}")
    return RecallSettings(**raw)


class RecallingModel:
    """A `Model` that answers with the sample that its checked chains voted for. What only the wrapped model has is asked of it."""

    def __init__(self, model: Model, settings: RecallSettings | None = None) -> None:
        self._model, self.settings = model, settings or RecallSettings()
        self.name, self.context_tokens, self.local = model.name, model.context_tokens, model.local
        self._extractor = Statements()
        for name in _OPTIONAL:
            # As attributes of its own: a check for a protocol does not look behind `__getattr__`.
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def count_tokens(self, text: str) -> int:
        return self._model.count_tokens(text)

    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:
        return self._model.score(view, continuations)

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        return self._model.price_micro_usd(prompt_tokens, completion_tokens)

    def close(self) -> None:
        self._model.close()

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:
        """The chosen completion, with the usage of all samples. Where nothing but a listed text may be said, or there is no room for two
        chains, or several completions are asked for, the model answers as it is."""
        count, each = self._room(view, limits)
        if n != 1 or constraint.choices or constraint.json_schema is not None or count < 2:
            return self._model.sample(view, n, constraint, limits)
        asked = dataclasses.replace(
            limits, max_tokens=each, temperature=limits.temperature or self.settings.temperature
        )
        made = self._model.sample(view, count, constraint, asked)
        texts = [(message.role, message.text) for message in view.messages if message.role != "assistant"]
        checker = Checker(verifiers=[TextVerifier(texts)])
        question = next((message.text for message in reversed(view.messages) if message.role == "user"), "")
        chains = [self._chain(completion, view, question, checker) for completion in made]
        decided = settle(chains)
        # Of the winner's samples the one with most behind it, of these the first.
        place = max(
            range(len(made)),
            key=lambda k: (_votes(chains[k], decided), chains[k].weight, -k),
        )
        return [dataclasses.replace(made[place], usage=_summed(made), vote=vote_of(decided, len(made)))]

    def _room(self, view: View, limits: Limits) -> tuple[int, int]:
        """How many samples of how many tokens stay within the reservation, which is for one prompt and `limits.max_tokens`."""
        # A remote may bill the prompt for every sample; ours computes it once.
        again = 0 if self.local else view_tokens(self._model, view)
        for count in range(self.settings.samples, 1, -1):
            each = (limits.max_tokens - (count - 1) * again) // count
            if each >= LEAST_TOKENS:
                return count, each
        return 1, limits.max_tokens

    def _chain(self, completion: Completion, view: View, question: str, checker: Checker) -> Chain:
        calls = read_calls(completion, view.legal_actions, ACT, "")
        if calls:
            answer: str | None = canonical([[call["tool"], call["arguments"]] for call in calls]).decode()
            said = [value for call in calls for value in _strings(call["arguments"])]
        else:
            answer = normalise(completion.text.strip().rpartition("\n")[2])
            said = [] if answer is None else [answer]
        if completion.finish_reason == "length":
            answer = None
        trace = "\n".join(filter(None, (completion.reasoning, completion.text)))
        facts = admissible(self._extractor.extract(trace)[0], question=question, answers=said, trace=trace)
        checks = [checker.check(fact) for fact in facts]
        thought = Thought(trace=trace, answer=answer, tokens=completion.usage.completion_tokens)
        return classify(thought, facts, checks, support=self.settings.support)


def _votes(chain: Chain, decided: Recalled) -> bool:
    return chain.kind == decided.kind and chain.thought.answer == decided.best


def _strings(arguments: Any) -> list[str]:
    return [value for value in arguments.values() if isinstance(value, str)] if isinstance(arguments, Mapping) else []


def _summed(made: Sequence[Completion]) -> Usage:
    fields = [field.name for field in dataclasses.fields(Usage)]
    return Usage(**{name: sum(getattr(each.usage, name) for each in made) for name in fields})


def vote_of(decided: Recalled, samples: int) -> dict[str, Any]:
    """What the journal keeps of a vote: who voted, what was false, what supports the answer."""
    false = {str(fact): check.source for chain in decided.chains for fact, check in _false(chain)}
    return {
        "rule": "recall",
        "samples": samples,
        "class": decided.kind,
        "share": round(decided.share, 6),
        "classes": {kind: sum(chain.kind == kind for chain in decided.chains) for kind in "ABC"},
        "false": [{"fact": fact, "against": source} for fact, source in false.items()],
        "supporting": [{"fact": str(fact), "by": check.source} for fact, check in decided.supporting],
    }


def _false(chain: Chain) -> list[tuple[Any, Any]]:
    return [(fact, check) for fact, check in zip(chain.facts, chain.checks, strict=True) if fact in chain.false_facts]
