"""A benchmark gone through again, without asking anybody or by asking anew: does what stands in the journal still follow?

Offline, each dialogue hears the journal's answers again. What it would ask must be, to the hash, what was asked, and what is read
from the answers must be the verdict that was written: a suite that changed under its figures shows here. With a model, each question
is put again under the seed and limits of its entry, and the answer is compared, token by token where ids were kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from overwinter.bench.asking import Asked, Asker
from overwinter.bench.plan import Plan
from overwinter.bench.running import Attempt, cut, is_judging, item_of_purpose, question_digest, ruled
from overwinter.errors import UsageError
from overwinter.journal import Entry, Store, unpack, unpack_json

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Where the journal and the replay part.

    Attributes:
        what: "question", "answer" or "verdict".
    """

    entry: int
    item: str
    sample: int
    what: str
    then: str
    now: str


class Replay:
    """One pass over a run.

    Attributes:
        checked: entries that were compared.
    """

    def __init__(self, store: Store, run: str, plan: Plan, asker: Asker | None = None) -> None:
        if plan.suite.world:
            raise UsageError(
                f"run {run!r} was played, and each of its episodes is a run of its own",
                f"replay those: `overwinter replay {run}-…`",
            )
        self.store, self.run, self.plan, self.asker = store, run, plan, asker
        self.checked = 0
        self._items = {item.id: item for item in plan.items}
        self._open: dict[tuple[str, int], Attempt] = {}
        self._intents: dict[int, Entry] = {}

    def differences(self, progress: Progress | None = None) -> Iterator[Difference]:
        """Every place where they differ, in order."""
        head = self.store.info(self.run).head_seq
        for entry in self.store.read(self.run):
            if is_judging(entry):
                # A judge is not asked again; what it said counts.
                self._ruled(entry)
            elif entry.kind == "observed":
                yield from self._question(entry)
            elif entry.kind == "sample.intent":
                yield from self._intent(entry)
            elif entry.kind == "sample.completion":
                yield from self._answer(entry)
            elif entry.kind == "verdict":
                yield from self._verdict(entry)
            if progress is not None:
                progress(entry.seq, head)

    def _attempt(self, item: str, sample: int) -> Attempt:
        key = item, sample
        if key not in self._open:
            found = self._items[item]
            self._open[key] = Attempt(
                item=found, sample=sample, dialogue=self.plan.suite.begin(found, self.plan.config.style)
            )
        return self._open[key]

    def _question(self, entry: Entry) -> Iterator[Difference]:
        data = entry.body["data"]
        attempt = self._attempt(data["item"], data["sample"])
        then, now = unpack(self.store, entry.body["text"]), attempt.dialogue.prompt()
        attempt.said.append(("user", then))
        yield from self._compared(entry, attempt, "question", then, now)

    def _intent(self, entry: Entry) -> Iterator[Difference]:
        attempt = self._attempt(*item_of_purpose(entry.body["purpose"]))
        self._intents[entry.seq] = entry
        yield from self._compared(
            entry, attempt, "question", entry.body["view"]["digest"], question_digest(attempt.said)
        )

    def _answer(self, entry: Entry) -> Iterator[Difference]:
        attempt = self._attempt(*item_of_purpose(entry.body["purpose"]))
        text, intent = unpack(self.store, entry.body["text"]), self._intents.pop(entry.body["intent"])
        if self.asker is not None:
            yield from self._asked(self.asker, entry, attempt, intent, text)
        attempt.said.append(("assistant", text))
        attempt.over, attempt.finish = attempt.dialogue.hear(text), entry.body["finish_reason"]

    def _ruled(self, entry: Entry) -> None:
        if entry.kind == "sample.completion":
            self._attempt(*item_of_purpose(entry.body["purpose"])).ruling = unpack(self.store, entry.body["text"])

    def _asked(self, asker: Asker, entry: Entry, attempt: Attempt, intent: Entry, text: str) -> Iterator[Difference]:
        limits = intent.body["limits"]
        choices = tuple(attempt.item.options) if intent.body["constraint"]["choices"] else ()
        reply = asker.ask(
            Asked(
                said=tuple(attempt.said),
                max_tokens=limits["max_tokens"],
                temperature=limits["temperature"],
                seed=limits["seed"],
                choices=choices,
                timeout_s=self.plan.config.timeout_s,
            )
        )
        then = unpack_json(self.store, entry.body["tokens"]) if "tokens" in entry.body else {}
        if "ids" in then and "ids" in reply.tokens:
            yield from self._compared(entry, attempt, "answer", str(list(then["ids"])), str(list(reply.tokens["ids"])))
        else:
            yield from self._compared(entry, attempt, "answer", text, reply.text)

    def _verdict(self, entry: Entry) -> Iterator[Difference]:
        finding: dict[str, Any] = entry.body["findings"][0]
        attempt = self._attempt(finding["id"], finding["sample"])
        self._open.pop(attempt.key)
        if not attempt.over:
            # Nobody was asked: the question did not fit.
            return
        found = ruled(cut(attempt.dialogue.scored(), attempt.finish), attempt.ruling)
        now = f"{found.answer} score {found.correct} stated {found.stated} {found.status}"
        yield from self._compared(entry, attempt, "verdict", _words_of(finding), now)

    def _compared(self, entry: Entry, attempt: Attempt, what: str, then: str, now: str) -> Iterator[Difference]:
        self.checked += 1
        if then != now:
            yield Difference(
                entry=entry.seq, item=attempt.item.id, sample=attempt.sample, what=what, then=then, now=now
            )


def _words_of(finding: dict[str, Any]) -> str:
    """A result on one line."""
    score = finding.get("score")
    return f"{finding.get('answer')} score {None if score is None else float(score)} stated {finding.get('stated')} {finding['status']}"
