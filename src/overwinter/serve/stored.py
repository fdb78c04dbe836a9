"""Responses in the journal: each is a run, and one that goes on from another is a fork of it.

    run.started | run.forked    who asked, and the request's settings
    observed                    the input's items
    sample.intent               the prompt's length and digest; written before the engine is asked
    sample.completion           text, token ids, log-probabilities; or sample.failed
    run.ended                   or nothing yet: then the answer is still to come

So a conversation of N turns is one chain, read in one go, and takes O(N) bytes: a fork shares its past, and a prompt is stored as
what it adds to the one before. A response that was under way when its server died is seen by its intent without an answer. Its
seed is among the settings, so asking again gives the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import overwinter
from overwinter.errors import UsageError
from overwinter.journal import ERASED, Draft, Entry, Lease, NewRun, Packer, RunInfo, Store, unpack
from overwinter.journal.canonical import canonical, digest
from overwinter.journal.lease import DEFAULT_TTL_S, this_owner
from overwinter.loop.tokens import PromptChain, prompt_ids, read_tokens

PREFIX = "resp_"
SETUP = "response"
"""The field of a run's setup that marks a response."""
LOST = "the server ended before the answer came"


@dataclass(kw_only=True)
class Turn:
    """One response as its entries tell it.

    Attributes:
        settings: the request without its input, the seed filled in.
        items: the input's items.
        completion: the entry that answered, or None.
        intent: seq of the last sample.intent; -1 before there is one.
        ended: status of the run's end, "" while there is none.
        problem: why it failed.
    """

    id: str
    created_us: int
    tenant: str
    settings: dict[str, Any]
    previous: str | None = None
    items: list[dict[str, Any]] = field(default_factory=list)
    completion: Entry | None = None
    intent: int = -1
    ended: str = ""
    ended_us: int = 0
    problem: str = ""

    @property
    def is_background(self) -> bool:
        return bool(self.settings.get("background"))


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the model said in a turn, read back."""

    text: str
    call_ids: list[str]
    finish: str
    usage: dict[str, Any]
    token_ids: list[int]
    prompt_ids: list[int]
    logprobs: list[float]
    top: list[list[tuple[int, float]]]


class ResponseStore:
    """Reads and writes responses. Its methods wait for the disk: call them off the event loop. Safe on any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owner = this_owner()

    def line(self, id_: str, tenant: str) -> list[Turn]:
        """The turns up to a response, oldest first.

        Raises:
            UsageError: there is none of this tenant's by that id.
        """
        missing = UsageError(f"there is no response {id_!r}", "take the id of a response that was stored")
        if not id_.startswith(PREFIX):
            raise missing
        try:
            entries = list(self._store.read(id_))
        except UsageError:
            raise missing from None
        turns = self._fold(entries)
        # A run that was created and never written reads as its parent.
        if not turns or turns[-1].id != id_ or turns[-1].tenant != tenant:
            raise missing
        return turns

    def said(self, turn: Turn) -> Said:
        """The answer of a turn that has one."""
        entry = turn.completion
        assert entry is not None, "asked for answered turns only"
        tokens, body = read_tokens(self._store, entry), entry.body
        return Said(
            text=unpack(self._store, body["text"]),
            call_ids=[call["id"] for call in body["calls"]],
            finish=body["finish_reason"],
            usage=body["usage"],
            token_ids=tokens["ids"],
            prompt_ids=prompt_ids(self._store, turn.id, entry) or [],
            logprobs=tokens["logprobs"],
            top=[[(token, logprob) for token, logprob in row] for row in tokens.get("top_ids", ())],
        )

    def begin(self, turn: Turn) -> Lease:
        """Write a new response's first entries and hold its lease."""
        parent = None if turn.previous is None else self._store.info(turn.previous)
        new = NewRun(
            run=turn.id,
            title="response",
            caps={},
            parent=turn.previous,
            fork_seq=-1 if parent is None else parent.head_seq,
        )
        self._store.create(new)
        lease = self._store.acquire(turn.id, self._owner, DEFAULT_TTL_S)
        packer = Packer()
        setup = {
            SETUP: {"tenant": turn.tenant, "created_us": turn.created_us, "settings": _in_order(packer, turn.settings)}
        }
        common = {"budgets": [turn.id], "caps": {}, "setup": setup}
        if parent is None:
            body: dict[str, Any] = {"goal": "answer", "acceptance": [], "version": overwinter.__version__, **common}
            first = Draft(kind="run.started", body=body, refs=packer.take_refs())
        else:
            body = {"parent": parent.run, "seq": parent.head_seq, "reason": "previous_response_id", **common}
            first = Draft(kind="run.forked", body=body, refs=packer.take_refs())
        text = _in_order(packer, turn.items)
        observed = Draft(kind="observed", body={"source": "input", "text": text, "data": {}}, refs=packer.take_refs())
        try:
            self._store.append(turn.id, [first, observed], fence=lease.fence, blobs=packer.blobs)
        except BaseException:
            self._store.release(lease)
            raise
        return lease

    def intend(self, turn: Turn, lease: Lease, prompt: Sequence[int], limits: dict[str, Any]) -> None:
        """Write that the engine is about to be asked."""
        head = self._store.info(turn.id).head_seq
        view = {
            "shown": [[0, head]],
            "hidden": 0,
            "left": {},
            "digest": digest(canonical(list(prompt))),
            "tokens": len(prompt),
        }
        body = {"step": 1, "view": view, "limits": limits, "constraint": {}, "reserve": {}}
        entries = self._store.append(turn.id, [Draft(kind="sample.intent", body=body)], fence=lease.fence)
        turn.intent = entries[0].seq

    def complete(self, turn: Turn, lease: Lease, said: Said, calls: list[dict[str, Any]], model: str) -> None:
        """Write the answer and the end, and give the lease back."""
        packer = Packer()
        record: dict[str, Any] = {"ids": said.token_ids, "logprobs": said.logprobs}
        if any(said.top):
            record["top_ids"] = [[[token, logprob] for token, logprob in row] for row in said.top]
        record["prompt"] = self._chain_before(turn).encode(said.prompt_ids)
        spent = {"tokens": said.usage["total_tokens"]}
        body = {
            "intent": turn.intent,
            "text": packer.text(said.text),
            "calls": calls,
            "text_only": False,
            "finish_reason": said.finish,
            "usage": said.usage,
            "model": model,
            "tokens": packer.json(record),
            "settle": {"reserved": {}, "spent": spent},
        }
        drafts = [
            Draft(kind="sample.completion", body=body, refs=packer.take_refs()),
            Draft(kind="run.ended", body={"status": "unverified", "detail": f"answered: {said.finish}"}),
        ]
        entries = self._store.append(turn.id, drafts, fence=lease.fence, blobs=packer.blobs)
        turn.ended, turn.ended_us = "unverified", entries[-1].time_us
        self._store.release(lease)

    def give_up(self, turn: Turn, lease: Lease, status: str, problem: str) -> None:
        """End it without an answer; `status` is "failed" or "cancelled"."""
        drafts = [Draft(kind="run.ended", body={"status": status, "detail": problem})]
        if turn.intent >= 0:
            drafts.insert(0, _failed(turn.intent, problem))
        entries = self._store.append(turn.id, drafts, fence=lease.fence)
        turn.ended, turn.ended_us = status, entries[-1].time_us
        self._store.release(lease)

    def leave(self, lease: Lease) -> None:
        """Let go of a response that is not finished: the next server takes it up."""
        self._store.release(lease)

    def keep(self, lease: Lease) -> Lease:
        """Renew a lease. Raises LeaseLost."""
        return self._store.renew(lease, DEFAULT_TTL_S)

    def unfinished(self) -> list[RunInfo]:
        """Responses without an end, oldest first, whether or not a living server works on them."""
        return [
            info for info in reversed(self._store.runs()) if info.run.startswith(PREFIX) and info.status == "running"
        ]

    def take_up(self, id_: str) -> tuple[Turn, list[Turn], Lease]:
        """Become the writer of an unfinished response; itself, the turns before it, and the lease.

        Raises:
            LeaseLost: a living server works on it.
        """
        lease = self._store.acquire(id_, self._owner, DEFAULT_TTL_S)
        try:
            turns = self._fold(self._store.read(id_))
            if not turns:
                raise UsageError(f"response {id_!r} was erased", "ask again, as a new one")
            turn = turns[-1]
            body = {"fence": lease.fence, "owner": self._owner, "state": "running"}
            drafts = [Draft(kind="run.resumed", body=body)]
            if turn.intent >= 0:
                drafts.append(_failed(turn.intent, LOST))
            self._store.append(id_, drafts, fence=lease.fence)
            turn.intent = -1
        except BaseException:
            self._store.release(lease)
            raise
        return turn, turns[:-1], lease

    def is_held(self, id_: str) -> bool:
        """Whether a living process works on it, as far as can be known."""
        from overwinter.journal.lease import is_dead

        info = self._store.info(id_)
        return bool(info.owner) and info.expires_us > self._store.now_us() and not is_dead(info.owner)

    def close(self) -> None:
        self._store.close()

    def _chain_before(self, turn: Turn) -> PromptChain:
        """The prompt and answer before this one, against which the new prompt is stored."""
        chain = PromptChain()
        for entry in list(self._store.read(turn.id, kinds=["sample.completion"]))[-1:]:
            chain.advance(
                entry.seq, prompt_ids(self._store, turn.id, entry) or [], read_tokens(self._store, entry)["ids"]
            )
        return chain

    def _fold(self, entries: Iterable[Entry]) -> list[Turn]:
        turns: list[Turn] = []
        for entry in entries:
            if entry.kind == ERASED:
                return []  # what is left of it cannot be answered from
            if entry.kind in {"run.started", "run.forked"}:
                about = entry.body["setup"].get(SETUP)
                if about is None:
                    return []  # a run of the loop, whatever its name
                turns.append(
                    Turn(
                        id=entry.run,
                        created_us=about["created_us"],
                        tenant=about["tenant"],
                        settings=json.loads(unpack(self._store, about["settings"])),
                        previous=entry.body.get("parent"),
                    )
                )
            else:
                self._apply(turns[-1], entry)
        return turns

    def _apply(self, turn: Turn, entry: Entry) -> None:
        match entry.kind:
            case "observed":
                turn.items = json.loads(unpack(self._store, entry.body["text"]))
            case "sample.intent":
                turn.intent = entry.seq
            case "sample.completion":
                turn.completion = entry
            case "sample.failed":
                turn.intent = -1
            case "run.ended":
                turn.ended, turn.ended_us = entry.body["status"], entry.time_us
                turn.problem = entry.body["detail"]


def _in_order(packer: Packer, value: Any) -> dict[str, Any]:
    """JSON with its keys in the order in which the client wrote them: they stand so in the prompt, and in a schema's output."""
    return packer.text(json.dumps(value, ensure_ascii=False))


def _failed(intent: int, problem: str) -> Draft:
    settle: dict[str, Any] = {"reserved": {}, "spent": {}}
    return Draft(kind="sample.failed", body={"intent": intent, "error": problem, "settle": settle})
