"""Replay: go through a run again, offline, and name the first place where today's code would have done something else.

Nothing outside is touched and no remote model is asked. What is checked, entry by entry:

    views        rendered anew from the journal, compared by digest
    samples      of models in this process (policies, scripts, our engine): asked again; texts, token ids and
                 log-probabilities compared to the last bit, prompts too;
                 of remote models: their recorded text is read again, and must mean the same calls
    gates        asked again about the same call
    worlds       stepped again, observations compared
    keys         idempotency keys computed again

Behind an entry that was erased there is nothing to render, ask or step from: only gates, keys and the reading of recorded answers
go on, and the report says from where.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from overwinter.errors import ModelError, OverwinterError, UsageError
from overwinter.journal import ERASED, Entry, Store, unpack, unpack_json
from overwinter.journal.canonical import canonical
from overwinter.loop.gates import Gates, Question, speculative_rules
from overwinter.loop.model import Completion, Constraint, Limits, View
from overwinter.loop.parse import read_calls
from overwinter.loop.sampling import LOST, actor_constraint, sample_key
from overwinter.loop.session import Parts, episode, view_builder, witness
from overwinter.loop.setup import build_parts
from overwinter.loop.state import ACTING, RunState, is_visible
from overwinter.loop.tokens import PromptReader, first_difference, read_tokens
from overwinter.loop.world import ACT
from overwinter.tools import idempotency_key
from overwinter.worlds.imagination import imagine


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergence:
    """The first entry that today's code would not have written, and how it differs."""

    seq: int
    kind: str
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayReport:
    """What was gone through.

    Attributes:
        views, samples, calls: how many were compared: renderings, model answers asked for again, actions and gates.
        tokens: tokens of those answers that were compared by id and log-probability, not only as text.
        read_only_samples: answers of models that cannot be asked again here.
        erased_at: the first erased entry that something was shown or done by, None if there is none.
    """

    run: str
    entries: int
    views: int
    samples: int
    read_only_samples: int
    calls: int
    tokens: int
    divergence: Divergence | None
    erased_at: int | None = None

    @property
    def ok(self) -> bool:
        return self.divergence is None


def replay(
    store: Store, run: str, *, parts: Parts | None = None, progress: Callable[[int, int], None] | None = None
) -> ReplayReport:
    """Replay `run` from its first entry to its last, or to the first divergence.

    Args:
        parts: for runs started with parts made in code.
        progress: called with (entries done, entries in all).
    """
    replayer: _Replayer | None = None
    total, done = store.info(run).head_seq + 1, 0
    divergence: Divergence | None = None
    state = RunState(run=run)
    try:
        for entry in store.read(run):
            if replayer is None:
                if entry.kind == ERASED:
                    raise UsageError(
                        f"the beginning of run {run!r} was erased", "there is nothing left to replay it from"
                    )
                replayer = _Replayer(store, parts or build_parts(entry.body["setup"]), parts_in_code=parts is not None)
            what = replayer.check(entry, state)
            if what:
                divergence = Divergence(seq=entry.seq, kind=entry.kind, what=what)
                break
            state.apply(entry)
            replayer.taken(entry, state)
            done += 1
            if progress is not None:
                progress(done, total)
    finally:
        if replayer is not None:
            replayer.parts.close()
    counts = replayer or _Counts()
    return ReplayReport(
        run=run,
        entries=done,
        views=counts.views,
        samples=counts.samples,
        read_only_samples=counts.read_only,
        calls=counts.calls,
        tokens=counts.tokens,
        divergence=divergence,
        erased_at=counts.erased_at,
    )


class _Counts:
    views = samples = read_only = calls = tokens = 0
    erased_at: int | None = None


class _Replayer(_Counts):
    """Does again what each entry says was done. Each `_check_*` returns the difference in words, "" if there is none."""

    def __init__(self, store: Store, parts: Parts, *, parts_in_code: bool) -> None:
        self._store = store
        self.parts = parts
        self._view = view_builder(store, parts)
        self._in_code = parts_in_code
        self._prompts = PromptReader(store)
        self._asked: tuple[View, Constraint, Limits] | None = None
        self._checks: dict[str, Callable[[Entry, RunState], str]] = {
            "observed": self._check_observed,
            "sample.intent": self._check_intent,
            "sample.completion": self._check_completion,
            "sample.failed": self._check_failed,
            "gate.decision": self._check_gate,
            "effect.intent": self._check_call,
            "effect.receipt": self._check_receipt,
            "world.saved": self._check_saved,
        }

    def check(self, entry: Entry, state: RunState) -> str:
        if entry.kind == ERASED and self.erased_at is None and (is_visible(entry) or entry.body["kind"] == "compacted"):
            self.erased_at = entry.seq
        if self.erased_at is not None:
            self._asked = None
            if self.parts.world is not None or entry.kind == "sample.intent":
                return ""
        check = self._checks.get(entry.kind)
        if check is None or entry.body.get("purpose", ACTING) != ACTING:
            return ""
        try:
            return check(entry, state)
        except OverwinterError as error:
            return error.problem

    def taken(self, entry: Entry, state: RunState) -> None:
        """The entry is in the state now."""
        if is_visible(entry) or entry.kind == "compacted":
            self._view.add(entry)
        if entry.kind == "compacted":
            self._view.forget(entry.body["last"])
        if entry.kind == "sample.completion" and is_visible(entry):
            self.parts.without = ()
        if entry.kind == "run.forked":
            if entry.body.get("setup") and not self._in_code:
                self._rebuild(state)
            if state.setup.get("speculative"):
                self.parts.gates = Gates(rules=speculative_rules(ACT if self.parts.world is not None else ""))

    def _rebuild(self, state: RunState) -> None:
        """A fork may have changed the parts; the world goes on from where it stands."""
        world = self.parts.world
        self.parts.close()
        self.parts = build_parts(state.setup)
        if world is not None and self.parts.world is not None:
            self.parts.world.observation = self.parts.world.world.restore(world.world.snapshot())
            self.parts.world.done = world.done
            catch_up = getattr(self.parts.model, "catch_up", None)
            if catch_up is not None:
                catch_up(world.seed, episode(self._store, state.run, state.head_seq + 1))
        self._view = view_builder(self._store, self.parts)

    def _check_observed(self, entry: Entry, _: RunState) -> str:
        world = self.parts.world
        if world is None or entry.body["source"] != world.name:
            return ""
        now = world.reset().text
        return _differ("the world's first observation", unpack(self._store, entry.body["text"]), now)

    def _check_intent(self, entry: Entry, state: RunState) -> str:
        world, recorded, legal = self.parts.world, entry.body["view"], self._legal_actions()
        observation = world.observation.data if world is not None else {}
        measured = self._view.build(state, recorded["left"], observation, legal)
        self.views += 1
        if measured.digest != recorded["digest"]:
            return "the view renders differently"
        limits = entry.body["limits"]
        settings = Limits(
            max_tokens=limits["max_tokens"],
            temperature=limits["temperature"],
            seed=limits["seed"],
            top_logprobs=self.parts.pace.top_logprobs,
            timeout_s=math.inf,  # how long it took then, or takes now, is not the journal's matter
            idempotency_key=sample_key(entry.run, entry.seq, ACTING),
        )
        # Asked when the answer is due: a question that was lost with its process got none, and a policy has a memory.
        self._asked = (measured.view, actor_constraint(self.parts, measured), settings)
        return ""

    def _legal_actions(self) -> tuple[str, ...]:
        return self.parts.world.legal_actions() if self.parts.world is not None else ()

    def _check_failed(self, entry: Entry, _: RunState) -> str:
        """A model with a memory that failed then is asked as it was then. Whether it fails again is not the journal's matter."""
        remembers = self.parts.model.local and not getattr(self.parts.model, "stateless", False)
        if entry.body["error"] != LOST and remembers and self._asked is not None:
            view, constraint, limits = self._asked
            with suppress(ModelError):
                self.parts.model.sample(view, 1, constraint, limits)
        self._asked = None
        return ""

    def _check_completion(self, entry: Entry, _: RunState) -> str:
        text = unpack(self._store, entry.body["text"])
        if entry.body["intent"] < 0:
            # Taken over from a branch: replaying the branch asks for it again.
            self.read_only += 1
            witness(self.parts, entry)
            return self._check_reading(entry, text)
        if self._asked is None or not self.parts.model.local:
            self.read_only += 1
            return self._check_reading(entry, text)
        self.samples += 1
        view, constraint, limits = self._asked
        answer = self.parts.model.sample(view, 1, constraint, limits)[0]
        record = read_tokens(self._store, entry)
        found = first_difference(record, self._prompts.read(entry, record), answer)
        if "ids" in record and answer.token_ids is not None:
            self.tokens += len(record["ids"])
        return self._of_model(
            entry,
            answer,
            found
            or _differ("the model's answer", text, answer.text)
            or _differ_in_calls(entry, read_calls(answer, view.legal_actions, ACT, "")),
        )

    def _of_model(self, entry: Entry, answer: Completion, found: str) -> str:
        """A difference, with what may explain it."""
        if not found:
            return ""
        if entry.body["model"] != answer.model:
            return f"{found}; asked now is {answer.model}, then it was {entry.body['model']}"
        if not getattr(self.parts.model, "is_exact", True):
            return f"{found}; the last bits do not keep on this machine (see `overwinter model info`)"
        return found

    def _check_reading(self, entry: Entry, text: str) -> str:
        """A remote model is not asked; where its calls were read out of its text, they must still read the same."""
        if not text or entry.body["finish_reason"] == "tool_calls":
            return ""
        return _differ_in_calls(entry, read_calls(Completion(text=text), self._legal_actions(), ACT, ""))

    def _check_gate(self, entry: Entry, _: RunState) -> str:
        self.calls += 1
        body, arguments = entry.body, entry.body["call"]["arguments"]
        world = self.parts.world
        consequential = body["call"]["tool"] == ACT and world is not None and world.consequential(arguments["action"])
        tool = self.parts.toolbox.get(body["call"]["tool"])
        answer = self.parts.gates.answer(
            Question(
                tool=tool.name,
                arguments=arguments,
                effect=body["effect"],
                confidence=body.get("confidence"),
                consequential=consequential or "consequential" in tool.tags,
            )
        )
        return _differ(
            "the gate's decision", f"{body['decision']} by {body['rule']}", f"{answer.decision} by {answer.rule}"
        )

    def _check_call(self, entry: Entry, _: RunState) -> str:
        self.calls += 1
        body = entry.body
        tool = self.parts.toolbox.get(body["call"]["tool"])
        if tool.validate(body["call"]["arguments"]) != body["call"]["arguments"]:
            return f"the arguments of {tool.name!r} are read differently"
        if body["attempt"] == 1:
            return _differ(
                "the idempotency key",
                body["key"],
                idempotency_key(entry.run, entry.seq, tool.name, body["call"]["arguments"]),
            )
        return ""

    def _check_saved(self, entry: Entry, state: RunState) -> str:
        """The world that a branch went on in is drawn again, from what had been shown."""
        world, number = self.parts.world, entry.body.get("imagined")
        if world is None or number is None:
            return ""
        actions = [each for each in episode(self._store, state.run, entry.seq) if isinstance(each, str)]
        drawn = imagine(world.world, world.seed, actions).draw(number)
        then = unpack_json(self._store, entry.body["state"])["state"]
        world.go_on_in(drawn)
        now = world.world.snapshot()
        return _differ("the imagined world", canonical(then).decode(), canonical(now).decode())

    def _check_receipt(self, entry: Entry, _: RunState) -> str:
        if self.parts.world is not None and entry.body["data"].get("world"):
            self.parts.world.redo(self._store, entry)
        return ""


def _differ_in_calls(entry: Entry, calls: list[dict[str, Any]]) -> str:
    then, now = ([(call["tool"], call["arguments"]) for call in each] for each in (entry.body["calls"], calls))
    return "" if now == then else f"its answer now reads as {now}, then as {then}"


def _differ(what: str, then: str, now: str) -> str:
    if then == now:
        return ""
    place = next((i for i, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), min(len(then), len(now)))
    return (
        f"{what} differs from character {place} on: then {then[place : place + 60]!r}, now {now[place : place + 60]!r}"
    )
