"""A benchmark as training data: each answer with its prompt's and its own token ids, their log-probabilities, and its score as reward.

The samples of a question are a group, as group-relative credit wants it: same prompt, different answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from overwinter.bench.plan import setup_of
from overwinter.bench.running import is_judging, item_of_purpose
from overwinter.errors import UsageError
from overwinter.journal import Entry, Store, unpack_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One question to the model: prompt ids [P], answer ids [A], log-probabilities [A] under the policy that sampled them."""

    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    entry: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One sample of one question.

    Attributes:
        group: the question: samples of a group share their first prompt.
        reward: the score, 0..1, of the whole; on the last turn.
    """

    group: str
    sample: int
    turns: tuple[Turn, ...]
    reward: float


def rollouts(store: Store, run: str) -> Iterator[Rollout]:
    """The answered and scored questions of a benchmark's run, in the order in which they ended.

    Raises:
        UsageError: the run is no benchmark, or answers hold no token ids (a remote model's text alone cannot be trained on).
    """
    setup_of(store, run)
    turns: dict[tuple[str, int], list[Turn]] = {}
    for entry in store.read(run, kinds=["sample.completion", "verdict"]):
        if is_judging(entry):
            continue
        if entry.kind == "sample.completion":
            turns.setdefault(item_of_purpose(entry.body["purpose"]), []).append(_turn(store, run, entry))
            continue
        finding = entry.body["findings"][0]
        told = turns.pop((finding["id"], finding["sample"]), [])
        if told and finding.get("score") is not None:
            yield Rollout(
                group=finding["id"], sample=finding["sample"], turns=tuple(told), reward=float(finding["score"])
            )


def _turn(store: Store, run: str, entry: Entry) -> Turn:
    record = unpack_json(store, entry.body["tokens"]) if "tokens" in entry.body else {}
    prompt = record.get("prompt", {})
    if not {"ids", "logprobs"} <= record.keys() or "ids" not in prompt:
        raise UsageError(
            f"entry {entry.seq} of run {run!r} is text alone: it has no token ids to learn from",
            "ask a model of this process, or a server that returns token ids",
        )
    return Turn(
        prompt_ids=tuple(prompt["ids"]),
        ids=tuple(record["ids"]),
        logprobs=tuple(map(float, record["logprobs"])),
        entry=entry.seq,
    )
