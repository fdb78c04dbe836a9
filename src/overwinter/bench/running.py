"""A benchmark as a run in the journal.

    run.started            what is asked, of whom, how: enough to go on on another machine
    observed               the question, or what a dialogue says next          one of these
    sample.intent          what is about to be asked                           for each
    sample.completion      what the model said, token ids and all              turn
    verdict                the answer, and whether it was right
    run.ended

One run holds the whole suite. Each question is a view of its own (`view.shown` names its entries), so nothing of one question
leaks into another, and every (question, answer, verdict) can be learned from. An answered question is never asked again: whoever
goes on reads the journal, lets each dialogue hear what was said, and asks only what is open. An intent without an answer was lost
with its process; it counts as spent where somebody may have billed it, and is asked anew under the same key and seed.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from overwinter.bench.asking import Asked, Asker, Reply
from overwinter.bench.ledger import Ledger, Progress, Result
from overwinter.bench.plan import Plan, modality
from overwinter.bench.suite import Dialogue, Item, Scored
from overwinter.errors import BudgetExhausted, ModelError
from overwinter.journal import Draft, Entry, Packer, Store, unpack
from overwinter.journal.canonical import canonical, digest

PURPOSE = "bench"
LOST = "the process ended before the answer came"


@dataclass(kw_only=True)
class Attempt:
    """One sample of one question under way.

    Attributes:
        shown: its entries so far, as (first, last) ranges.
        said: the conversation so far.
        intent: the entry that waits for an answer; -1 while nothing is asked.
    """

    item: Item
    sample: int
    dialogue: Dialogue
    said: list[tuple[str, str]] = field(default_factory=list)
    shown: list[list[int]] = field(default_factory=list)
    intent: int = -1
    reserve: dict[str, int] = field(default_factory=dict)
    began: float = 0.0
    over: bool = False

    @property
    def key(self) -> tuple[str, int]:
        return self.item.id, self.sample

    def show(self, entry: int) -> None:
        if self.shown and self.shown[-1][1] == entry - 1:
            self.shown[-1][1] = entry
        else:
            self.shown.append([entry, entry])


class AskedRun(Ledger):
    """A benchmark of questions."""

    def __init__(self, store: Store, run: str, plan: Plan, asker: Asker) -> None:
        super().__init__(store, run, plan)
        self.asker = asker
        self._open: dict[tuple[str, int], Attempt] = {}
        self._calls = 0

    # Asking

    def work(self, progress: Progress | None = None) -> Iterator[Result]:
        """Ask what is open; each question's result once it is on disk.

        Raises:
            ModelError, BudgetExhausted: noted in the journal; the run can be resumed.
        """
        waiting = deque(self._attempts())
        try:
            with ThreadPoolExecutor(max_workers=self.config.parallel) as pool:
                yield from self._work(waiting, pool, progress)
        except (ModelError, BudgetExhausted) as error:
            self.suspend("budget" if isinstance(error, BudgetExhausted) else "model", error.problem)
            raise
        except KeyboardInterrupt:
            self.suspend("stopped", "stopped from the keyboard")
            raise
        self.end()

    def _work(self, waiting: deque[Attempt], pool: ThreadPoolExecutor, progress: Progress | None) -> Iterator[Result]:
        flying: dict[Future[Reply], Attempt] = {}
        problem: ModelError | BudgetExhausted | None = None
        while flying or (waiting and problem is None):
            while waiting and problem is None and len(flying) < self.config.parallel:
                attempt = waiting.popleft()
                try:
                    asked = self._ask(attempt)
                except BudgetExhausted as error:
                    problem = error
                    break
                if asked is None:
                    yield self._note(attempt, Scored(answer=None, correct=0.0, status="limit"), progress)
                    continue
                flying[pool.submit(self.asker.ask, asked)] = attempt
            finished, _ = wait(flying, timeout=5.0, return_when=FIRST_COMPLETED)
            self.keep_lease()
            for future in finished:
                attempt = flying.pop(future)
                failure = future.exception()
                if isinstance(failure, ModelError):
                    self._failed(attempt, failure)
                    problem = problem or failure
                    continue
                result = self._hear(attempt, future.result(), progress)
                if result is None:
                    waiting.appendleft(attempt)
                else:
                    yield result
        if problem is not None:
            raise problem

    def _attempts(self) -> Iterator[Attempt]:
        for item in self.items.values():
            for sample in range(self.config.samples):
                if (item.id, sample) not in self.done:
                    yield self._open.get((item.id, sample)) or self._attempt(item, sample)

    def _attempt(self, item: Item, sample: int) -> Attempt:
        return Attempt(item=item, sample=sample, dialogue=self.suite.begin(item, self.config.style))

    def _ask(self, attempt: Attempt) -> Asked | None:
        """Write the question and the intent; None where the model cannot hold them."""
        config, fresh = self.config, not attempt.said or attempt.said[-1][0] == "assistant"
        said = [*attempt.said, ("user", attempt.dialogue.prompt())] if fresh else list(attempt.said)
        tokens = self.asker.count(said)
        room = min(config.max_tokens, self.asker.context_tokens - tokens)
        if room < 1:
            return None
        packer, seq = Packer(), self.head + 1
        drafts = []
        if fresh:
            drafts.append(self._question(attempt, said[-1][1], packer))
        shown = [*map(list, attempt.shown), *([[seq, seq]] if fresh else [])]
        reserve = {
            "tokens": tokens + room,
            "micro_usd": self.asker.price_micro_usd(tokens, room),
            "wall_ms": round(config.timeout_s * 1000),
        }
        choices = tuple(attempt.item.options) if config.constrain and len(said) == 1 else ()
        seed = _seed(config.seed, attempt, len(said)) if config.temperature > 0 else config.seed
        self._calls += 1
        body = {
            "step": self._calls,
            "view": {
                "shown": shown,
                "hidden": seq - sum(last - first + 1 for first, last in shown),
                "left": {},
                "digest": digest(canonical([list(each) for each in said])),
                "tokens": tokens,
            },
            "limits": {"max_tokens": room, "temperature": config.temperature, "seed": seed},
            "constraint": {"choices": len(choices), "json_schema": False},
            "reserve": reserve,
            "purpose": _purpose(attempt.item.id, attempt.sample),
        }
        drafts.append(Draft(kind="sample.intent", body=body))
        written = self.append(drafts, packer)
        if fresh:
            attempt.show(written[0].seq)
            attempt.said = said
        attempt.intent, attempt.reserve, attempt.began = written[-1].seq, reserve, time.monotonic()
        return Asked(
            said=tuple(said),
            max_tokens=room,
            temperature=config.temperature,
            seed=seed,
            choices=choices,
            timeout_s=config.timeout_s,
            key=digest(canonical([self.run, attempt.item.id, attempt.sample, len(said)])),
        )

    def _question(self, attempt: Attempt, text: str, packer: Packer) -> Draft:
        item, turn = attempt.item, sum(role == "user" for role, _ in attempt.said) + 1
        data: dict[str, Any] = {"item": item.id, "sample": attempt.sample, "turn": turn, "modality": modality(item)}
        if turn == 1 and item.slices:
            data["slices"] = dict(item.slices)
        if turn == 1 and item.images:
            data["images"] = [{"name": name, "shown": False} for name in item.images]
        body = {"source": f"{PURPOSE}:{item.suite or self.suite.name}", "text": packer.text(text), "data": data}
        return Draft(kind="observed", body=body, refs=packer.take_refs())

    def _hear(self, attempt: Attempt, reply: Reply, progress: Progress | None) -> Result | None:
        """Write an answer; the result where the question is over with it."""
        packer = Packer()
        drafts = [self._completion(attempt, reply, packer)]
        attempt.over = attempt.dialogue.hear(reply.text)
        attempt.said.append(("assistant", reply.text))
        if not attempt.over:
            attempt.show(self.append(drafts, packer)[0].seq)
            return None
        result = _cut(attempt.dialogue.scored(), reply)
        verdict = self._result(attempt, result, self.head + 1)
        self.append([*drafts, verdict], packer)
        return self.count((attempt.item, attempt.sample, result), progress)

    def _note(self, attempt: Attempt, result: Scored, progress: Progress | None) -> Result:
        """Write a result without an answer."""
        self.append([self._result(attempt, result, -1)])
        return self.count((attempt.item, attempt.sample, result), progress)

    def _result(self, attempt: Attempt, result: Scored, claim: int) -> Draft:
        dialogue = attempt.dialogue
        more: dict[str, Any] = {"asked": dialogue.asked} if dialogue.asked else {}
        if dialogue.turns:
            more["turns"] = [asdict(turn) for turn in dialogue.turns]
        return self.verdict(attempt.item, attempt.sample, result, claim, more)

    def _completion(self, attempt: Attempt, reply: Reply, packer: Packer) -> Draft:
        wall_ms = round((time.monotonic() - attempt.began) * 1000)
        spent = {"tokens": reply.spent_tokens, "micro_usd": reply.usage.get("micro_usd", 0), "wall_ms": wall_ms}
        body: dict[str, Any] = {
            "intent": attempt.intent,
            "text": packer.text(reply.text),
            "calls": [],
            "text_only": "ids" not in reply.tokens,
            "finish_reason": reply.finish_reason,
            "usage": dict(reply.usage),
            "model": reply.model,
            "confidence": reply.confidence,
            "purpose": _purpose(attempt.item.id, attempt.sample),
            "settle": {"reserved": attempt.reserve, "spent": spent},
        }
        if reply.reasoning:
            body["reasoning"] = packer.text(reply.reasoning)
        if reply.tokens:
            body["tokens"] = packer.json(dict(reply.tokens))
        attempt.intent = -1
        return Draft(kind="sample.completion", body=body, refs=packer.take_refs())

    def _failed(self, attempt: Attempt, error: ModelError) -> None:
        wall_ms = round((time.monotonic() - attempt.began) * 1000)
        spent = {"tokens": error.lost_tokens, "micro_usd": error.lost_micro_usd, "wall_ms": wall_ms}
        settle = {"reserved": attempt.reserve, "spent": spent}
        self.append(
            [Draft(kind="sample.failed", body={"intent": attempt.intent, "error": error.problem, "settle": settle})]
        )
        attempt.intent = -1

    # Going on

    def take(self, entry: Entry) -> None:
        super().take(entry)
        body = entry.body
        if entry.kind == "observed":
            attempt = self._known(body["data"]["item"], body["data"]["sample"])
            attempt.said.append(("user", unpack(self.store, body["text"])))
            attempt.show(entry.seq)
        elif entry.kind == "sample.intent":
            self._calls = body["step"]
            attempt = self._known(*item_of_purpose(body["purpose"]))
            attempt.intent, attempt.reserve = entry.seq, dict(body["reserve"])
        elif entry.kind == "sample.completion":
            attempt, text = self._known(*item_of_purpose(body["purpose"])), unpack(self.store, body["text"])
            attempt.intent = -1
            attempt.said.append(("assistant", text))
            attempt.show(entry.seq)
            # The dialogue is a function of what it heard; asking for its prompt keeps it in step.
            attempt.dialogue.prompt()
            attempt.over = attempt.dialogue.hear(text)
        elif entry.kind == "sample.failed":
            for attempt in self._open.values():
                if attempt.intent == body["intent"]:
                    attempt.intent = -1

    def lost(self) -> list[Draft]:
        drafts = []
        for attempt in self._open.values():
            if attempt.intent < 0:
                continue
            # What ran in the dead process was billed by nobody.
            spent = {**attempt.reserve, "wall_ms": 0} | ({"tokens": 0, "micro_usd": 0} if self.asker.local else {})
            settle = {"reserved": attempt.reserve, "spent": spent}
            drafts.append(Draft(kind="sample.failed", body={"intent": attempt.intent, "error": LOST, "settle": settle}))
            attempt.intent = -1
        return drafts

    def _known(self, item: str, sample: int) -> Attempt:
        key = item, sample
        if key not in self._open:
            self._open[key] = self._attempt(self.items[item], sample)
        return self._open[key]


def _seed(base: int, attempt: Attempt, turns: int) -> int:
    """The same in any process, another one for each sample."""
    return zlib.crc32(f"{base}:{attempt.item.id}:{attempt.sample}:{turns}".encode()) & 0x7FFFFFFF


def _purpose(item: str, sample: int) -> str:
    return f"{PURPOSE}:{item}#{sample}"


def item_of_purpose(purpose: str) -> tuple[str, int]:
    """(item, sample) that a question of a benchmark was about."""
    item, _, sample = purpose.removeprefix(f"{PURPOSE}:").rpartition("#")
    return item, int(sample)


def _cut(result: Scored, reply: Reply) -> Scored:
    """An answer that is missing because the text was cut off."""
    cut = reply.finish_reason == "length" and result.status == "unparsed"
    return replace(result, status="limit") if cut else result
