"""A benchmark as a run in the journal.

    run.started            what is asked, of whom, how: enough to go on on another machine
    observed               the question, or what a dialogue says next          one of these
    sample.intent          what is about to be asked                           for each
    sample.completion      what the model said, token ids and all              turn
    verdict                the answer, and whether it was right; where words do not decide, a judge was asked before it
    run.ended

One run holds the whole suite. Each question is a view of its own (`view.shown` names its entries), so nothing of one question
leaks into another, and every (question, answer, verdict) can be learned from. An answered question is never asked again: whoever
goes on reads the journal, lets each dialogue hear what was said, and asks only what is open. An intent without an answer was lost
with its process; it counts as spent where somebody may have billed it, and is asked anew under the same key and seed.
"""

from __future__ import annotations

import re
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from overwinter.bench.asking import Asked, Asker, Reply
from overwinter.bench.ledger import Ledger, Progress, Result
from overwinter.bench.plan import Plan, modality
from overwinter.bench.suite import Dialogue, Item, OneTurn, Scored
from overwinter.errors import BudgetExhausted, ModelError
from overwinter.journal import Draft, Entry, Packer, Store, unpack
from overwinter.journal.canonical import canonical, digest

PURPOSE, JUDGE = "bench", "judge"
JUDGE_TOKENS = 512
LOST = "the process ended before the answer came"


@dataclass(kw_only=True)
class Attempt:
    """One sample of one question under way.

    Attributes:
        shown: its entries so far, as (first, last) ranges.
        said: the conversation so far.
        intent: the entry that waits for an answer; -1 while nothing is asked.
        over: the model has answered, in entry `answered`; finish: why its last text ended.
        judged_at, ruling: the entry with the question to the judge, and what the judge said; -1 and "" before.
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
    finish: str = "stop"
    answered: int = -1
    judged_at: int = -1
    ruling: str = ""

    @property
    def key(self) -> tuple[str, int]:
        return self.item.id, self.sample

    def show(self, entry: int) -> None:
        if self.shown and self.shown[-1][1] == entry - 1:
            self.shown[-1][1] = entry
        else:
            self.shown.append([entry, entry])


@dataclass(frozen=True, kw_only=True)
class _Put:
    """What is to be asked now, and of whom."""

    asker: Asker
    said: list[tuple[str, str]]
    purpose: str
    fresh: bool
    """Its last turn does not stand in the journal yet."""
    shown: list[list[int]]
    most: int
    temperature: float
    choices: tuple[str, ...] = ()


class AskedRun(Ledger):
    """A benchmark of questions.

    Args:
        judge: of suites whose words do not decide; None to leave their scores the lower bound they are.
    """

    def __init__(self, store: Store, run: str, plan: Plan, asker: Asker, judge: Asker | None = None) -> None:
        super().__init__(store, run, plan)
        self.asker, self.judge = asker, judge
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
                    put = self._put(attempt)
                    asked = self._ask(attempt, put)
                except BudgetExhausted as error:
                    problem = error
                    break
                if asked is None:
                    # Too long for the model: no answer. Too long for the judge: the words decide.
                    known = self._scored(attempt) if attempt.over else Scored(answer=None, correct=0.0, status="limit")
                    yield self._note(attempt, known, progress)
                    continue
                flying[pool.submit(put.asker.ask, asked)] = attempt
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

    def _put(self, attempt: Attempt) -> _Put:
        config = self.config
        if attempt.over:
            assert self.judge is not None, "nothing is left to ask otherwise"
            at = attempt.judged_at
            return _Put(
                asker=self.judge,
                said=[("user", self._judge_question(attempt))],
                purpose=purpose_of(attempt, JUDGE),
                fresh=at < 0,
                shown=[] if at < 0 else [[at, at]],
                most=JUDGE_TOKENS,
                temperature=0.0,
            )
        fresh = not attempt.said or attempt.said[-1][0] == "assistant"
        said = [*attempt.said, ("user", attempt.dialogue.prompt())] if fresh else list(attempt.said)
        return _Put(
            asker=self.asker,
            said=said,
            purpose=purpose_of(attempt),
            fresh=fresh,
            shown=[list(each) for each in attempt.shown],
            most=config.max_tokens,
            temperature=config.temperature,
            choices=tuple(attempt.item.options) if config.constrain and isinstance(attempt.dialogue, OneTurn) else (),
        )

    def _ask(self, attempt: Attempt, put: _Put) -> Asked | None:
        """Write the question and the intent; None where the model cannot hold them."""
        tokens = put.asker.count(put.said)
        room = min(put.most, put.asker.context_tokens - tokens)
        if room < 1:
            return None
        packer, seq = Packer(), self.head + 1
        drafts = [self._question(attempt, put.said[-1][1], packer)] if put.fresh else []
        shown = [*put.shown, *([[seq, seq]] if put.fresh else [])]
        reserve = {
            "tokens": tokens + room,
            "micro_usd": put.asker.price_micro_usd(tokens, room),
            "wall_ms": round(self.config.timeout_s * 1000),
        }
        seed = _seed(self.config.seed, attempt, len(put.said)) if put.temperature > 0 else self.config.seed
        self._calls += 1
        body = {
            "step": self._calls,
            "view": {
                "shown": shown,
                "hidden": seq - sum(last - first + 1 for first, last in shown),
                "left": {},
                "digest": question_digest(put.said),
                "tokens": tokens,
            },
            "limits": {"max_tokens": room, "temperature": put.temperature, "seed": seed},
            "constraint": {"choices": len(put.choices), "json_schema": False},
            "reserve": reserve,
            "purpose": put.purpose,
        }
        written = self.append([*drafts, Draft(kind="sample.intent", body=body)], packer)
        if put.fresh:
            self._shown(attempt, written[0].seq, put)
        attempt.intent, attempt.reserve, attempt.began = written[-1].seq, reserve, time.monotonic()
        return Asked(
            said=tuple(put.said),
            max_tokens=room,
            temperature=put.temperature,
            seed=seed,
            choices=put.choices,
            timeout_s=self.config.timeout_s,
            key=digest(canonical([self.run, put.purpose, len(put.said)])),
        )

    def _shown(self, attempt: Attempt, entry: int, put: _Put) -> None:
        """The question is on disk as `entry`."""
        if attempt.over:
            attempt.judged_at = entry
            return
        attempt.show(entry)
        attempt.said = put.said

    def _question(self, attempt: Attempt, text: str, packer: Packer) -> Draft:
        if attempt.over:
            data: dict[str, Any] = {"item": attempt.item.id, "sample": attempt.sample}
            body = {"source": f"{JUDGE}:{self.suite.name}", "text": packer.text(text), "data": data}
            return Draft(kind="observed", body=body, refs=packer.take_refs())
        item, turn = attempt.item, sum(role == "user" for role, _ in attempt.said) + 1
        data = {"item": item.id, "sample": attempt.sample, "turn": turn, "modality": modality(item)}
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
        if attempt.over:
            attempt.ruling = reply.text or "?"
        else:
            attempt.over, attempt.finish = attempt.dialogue.hear(reply.text), reply.finish_reason
            attempt.said.append(("assistant", reply.text))
            attempt.answered = self.head + 1
            if not attempt.over or self._judge_question(attempt):
                attempt.show(self.append(drafts, packer)[0].seq)
                return None
        result = self._scored(attempt)
        self.append([*drafts, self._result(attempt, result, attempt.answered)], packer)
        return self.count((attempt.item, attempt.sample, result), progress)

    def _judge_question(self, attempt: Attempt) -> str:
        """What the judge has to decide; "" where there is nothing to be decided, or nobody to do it."""
        if self.judge is None or self.suite.judge is None:
            return ""
        return self.suite.judge(attempt.item, attempt.dialogue.scored())

    def _scored(self, attempt: Attempt) -> Scored:
        """The result, by the words or by the judge's ruling."""
        return ruled(cut(attempt.dialogue.scored(), attempt.finish), attempt.ruling)

    def _note(self, attempt: Attempt, result: Scored, progress: Progress | None) -> Result:
        """Write a result without an answer."""
        self.append([self._result(attempt, result, attempt.answered)])
        return self.count((attempt.item, attempt.sample, result), progress)

    def _result(self, attempt: Attempt, result: Scored, claim: int) -> Draft:
        dialogue = attempt.dialogue
        more: dict[str, Any] = {"asked": dialogue.asked} if dialogue.asked else {}
        if dialogue.turns:
            more["turns"] = [asdict(turn) for turn in dialogue.turns]
        if attempt.ruling:
            more["judge"] = {
                "said": attempt.ruling[:200],
                "words_alone": cut(dialogue.scored(), attempt.finish).correct,
            }
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
            "purpose": purpose_of(attempt, JUDGE if attempt.over else PURPOSE),
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
            if attempt.over:
                attempt.judged_at = entry.seq
                return
            attempt.said.append(("user", unpack(self.store, body["text"])))
            attempt.show(entry.seq)
        elif entry.kind == "sample.intent":
            self._calls = body["step"]
            attempt = self._known(*item_of_purpose(body["purpose"]))
            attempt.intent, attempt.reserve = entry.seq, dict(body["reserve"])
        elif entry.kind == "sample.completion":
            attempt, text = self._known(*item_of_purpose(body["purpose"])), unpack(self.store, body["text"])
            attempt.intent = -1
            if attempt.over:
                return
            attempt.said.append(("assistant", text))
            attempt.show(entry.seq)
            # The dialogue is a function of what it heard; asking for its prompt keeps it in step.
            attempt.dialogue.prompt()
            attempt.over, attempt.finish, attempt.answered = (
                attempt.dialogue.hear(text),
                body["finish_reason"],
                entry.seq,
            )
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
            asked = self.judge if attempt.over and self.judge is not None else self.asker
            spent = {**attempt.reserve, "wall_ms": 0} | ({"tokens": 0, "micro_usd": 0} if asked.local else {})
            settle = {"reserved": attempt.reserve, "spent": spent}
            drafts.append(Draft(kind="sample.failed", body={"intent": attempt.intent, "error": LOST, "settle": settle}))
            attempt.intent = -1
        return drafts

    def _known(self, item: str, sample: int) -> Attempt:
        key = item, sample
        if key not in self._open:
            self._open[key] = self._attempt(self.items[item], sample)
        return self._open[key]


def question_digest(said: Sequence[tuple[str, str]]) -> str:
    """The hash of a conversation as it was put to a model."""
    return digest(canonical([list(each) for each in said]))


def _seed(base: int, attempt: Attempt, turns: int) -> int:
    """The same in any process, another one for each sample."""
    return zlib.crc32(f"{base}:{attempt.item.id}:{attempt.sample}:{turns}".encode()) & 0x7FFFFFFF


def purpose_of(attempt: Attempt, kind: str = PURPOSE) -> str:
    """What a question is asked for, as its entries say it."""
    return f"{kind}:{attempt.item.id}#{attempt.sample}"


def item_of_purpose(purpose: str) -> tuple[str, int]:
    """(item, sample) that a question of a benchmark was about."""
    item, _, sample = purpose.partition(":")[2].rpartition("#")
    return item, int(sample)


def is_judging(entry: Entry) -> bool:
    """Whether a question or an answer is the judge's."""
    return str(entry.body.get("purpose", entry.body.get("source", ""))).startswith(f"{JUDGE}:")


def cut(result: Scored, finish_reason: str) -> Scored:
    """An answer that is missing because the text was cut off."""
    missing = finish_reason == "length" and result.status == "unparsed"
    return replace(result, status="limit") if missing else result


def ruled(result: Scored, ruling: str) -> Scored:
    """The result by what a judge said; what is neither yes nor no leaves it as it is."""
    found = re.findall(r"\b(yes|no)\b", ruling.lower())
    return replace(result, correct=float(found[-1] == "yes")) if found else result
