"""The engine: from token ids to token ids, for many sequences at once.

    engine = Engine.load("path/to/model")
    result = engine.run([Request(prompt_ids=ids, max_tokens=64)])[0]

A step is one forward pass: it takes the scheduler's pieces (the next token of every decoding sequence, parts of prompts), runs
the decoder over all their tokens in one row, chooses a token where a sequence's last known one was computed, and says in
events what became visible. Everything is plain Python and runs in the caller's thread; `worker.py` gives it one of its own.

What a sequence says does not depend on company: the same request gives the same tokens alone, in any batch, after preemption,
with and without a prefix in memory, and after `suspend` and `resume`. In float32 on a CPU the log-probabilities too are the same to the
last bit where `probe.py` says so (`Engine.is_exact`).
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from overwinter.engine import capacity, choosing, recurrent, suspending
from overwinter.engine.blocks import BlockPool, Exhausted
from overwinter.engine.capacity import Config
from overwinter.engine.fused import fuse_attention
from overwinter.engine.linear import MIN_ROWS, pack
from overwinter.engine.memory import PagedLayer, Span, StepMemory
from overwinter.engine.mirror import Mirrors
from overwinter.engine.paged import PagedStore
from overwinter.engine.prefix import Fingerprint, PrefixIndex
from overwinter.engine.request import Event, Request, Result
from overwinter.engine.scheduler import Piece, Scheduler
from overwinter.engine.sequence import LiveSequence
from overwinter.errors import OverwinterError, UsageError
from overwinter.model import Decoder
from overwinter.model.cache import Cache

if TYPE_CHECKING:
    from overwinter.engine.constraint import Constraint
    from overwinter.model import TextFormat


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Counts since the start, and what is held now."""

    running: int
    waiting: int
    steps: int
    prompt_tokens: int
    """Tokens of admitted prompts, those from memory included."""
    prefill_tokens: int
    """Computed tokens of prompts, and outputs computed again after preemption."""
    decode_tokens: int
    loops: int
    """Times that a token went through the looped layers; without loops, tokens computed."""
    prefix_hit_tokens: int
    preemptions: int
    blocks_free: int
    blocks_cached: int
    blocks_referenced: int
    kv_bytes: int
    """Of referenced and cached blocks."""
    mirror_bytes: int
    """Of the copies that decoding sequences read from."""


@dataclass
class _Counters:
    steps: int = 0
    prompt_tokens: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    loops: int = 0
    prefix_hit_tokens: int = 0


class Engine:
    """Serves one decoder.

    Args:
        decoder: its linears are packed in place, unless the config says otherwise; it can only compute afterwards.
        text: the model's tokenizer and end tokens; None works on ids alone.
        config: limits.
        end_ids: tokens that end an output; default is those of `text`.
        clock: seconds, for timeouts.
    """

    def __init__(
        self,
        decoder: Decoder,
        text: TextFormat | None = None,
        config: Config | None = None,
        *,
        end_ids: Iterable[int] | None = None,
        name: str = "model",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config or Config()
        self.decoder = decoder.eval().requires_grad_(False)
        self.text = text
        self.name = name
        self.end_ids = frozenset((() if text is None else text.end_ids) if end_ids is None else end_ids)
        self.vocab_size = decoder.config.vocab_size
        self.context_tokens = self.config.context or decoder.config.context
        self.fingerprint = suspending.fingerprint(decoder, text)
        self.packed_linears = fuse_attention(decoder) + pack(decoder) if self.config.packed else 0
        self._clock = clock
        self._slots = capacity.Slots.of(decoder)
        self._device = decoder.embed.weight.device
        self.store = PagedStore(capacity.store_config(decoder, self._slots, self.config, self.context_tokens))
        self.mirrors = Mirrors(self.store, capacity.mirror_bytes(self.config, self.store.size_bytes))
        self.pool = BlockPool(capacity.pool_config(self.store.config))
        self.prefixes = PrefixIndex(self.pool, snapshot_budget_bytes=self.config.snapshot_bytes)
        self.scheduler = Scheduler(capacity.scheduler_config(self._slots, self.config), self.pool)
        self._live: dict[int, LiveSequence] = {}
        self._numbers = itertools.count(1)
        self._count = _Counters()

    @classmethod
    def load(cls, folder: str | Path, config: Config | None = None, *, dtype: torch.dtype | None = None) -> Engine:
        """An engine for a model folder, its tokenizer and end tokens included."""
        from overwinter.model import TextFormat, load

        text = TextFormat.load(folder)
        return cls(load(folder, dtype=dtype), text, config, name=text.name)

    # --- asking ---------------------------------------------------------------------------------------------------

    def prepare(self, request: Request) -> LiveSequence:
        """A request as a sequence that has a number and is not queued yet; checks all that can be checked before.

        Safe on any thread.
        """
        length, room = len(request.prompt_ids) + request.max_tokens, self.pool.config.blocks * self.config.block_size
        if length > self.context_tokens:
            raise UsageError(
                f"a prompt of {len(request.prompt_ids)} tokens and {request.max_tokens} of output do not fit"
                f" {self.name}'s context of {self.context_tokens}",
                "shorten the prompt or ask for fewer tokens; nothing is cut silently",
            )
        if length > room:
            raise UsageError(
                f"{length} tokens do not fit the {room} tokens that the engine has memory for",
                "give the engine more kv_bytes, or ask for fewer tokens",
            )
        if max(request.prompt_ids) >= self.vocab_size or min(request.prompt_ids) < 0:
            raise UsageError(
                f"the prompt has ids outside the vocabulary of {self.vocab_size}",
                "take ids from this model's tokenizer",
            )
        if request.constraint is not None and request.constraint.vocab_size > self.vocab_size:
            raise UsageError(
                f"the constraint is for {request.constraint.vocab_size} tokens, the model has {self.vocab_size}",
                "build the constraint for this model's vocabulary",
            )
        if request.exit_threshold < 1 and (self.decoder.loop is None or self.decoder.loop.exit_gate is None):
            raise UsageError(f"{self.name} has no loops that a token could leave", "leave exit_threshold at 1")
        if request.stop and self.text is None:
            raise UsageError("stop strings need text, and this engine has no tokenizer", "give it one")
        if request.reflect is not None and (self.text is None or max(request.reflect.ids) >= self.vocab_size):
            raise UsageError("reflect needs text and ids of this model", "take its ids from the engine's tokenizer")
        deadline = None if request.timeout_s is None else self._clock() + request.timeout_s
        decode = None if self.text is None else self.text.decode
        live = LiveSequence(next(self._numbers), request, self.vocab_size, decode, deadline)
        live.namespace = self._namespace(request)
        live.by_step = bool(self._slots.recurrent) or request.exit_threshold < 1
        return live

    def enter(self, live: LiveSequence) -> int:
        """Queue a prepared sequence."""
        self._live[live.number] = live
        self.scheduler.waiting.append(live)
        return live.number

    def submit(self, request: Request) -> int:
        """Queue a request; returns the number under which its events come.

        Raises:
            UsageError: it can never be served: too long, ids that do not exist, a constraint for another vocabulary.
        """
        return self.enter(self.prepare(request))

    def cancel(self, sequence: int) -> None:
        """End a sequence; its last event comes with the next step. One that has ended is left alone."""
        if sequence in self._live:
            self._live[sequence].is_cancelled = True

    @property
    def has_work(self) -> bool:
        return bool(self._live)

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Serve requests to their ends, together. The results come in their order.

        Others that were submitted before go on meanwhile, and their events are lost: use `step` to serve both.
        """
        sequences = [self.prepare(request) for request in requests]
        for sequence in sequences:
            self.enter(sequence)
        try:
            while any(sequence.finish is None for sequence in sequences):
                self.step()
        finally:
            for sequence in sequences:  # an interrupt leaves nothing running
                self.cancel(sequence.number)
        return [sequence.result() for sequence in sequences]

    def stream(self, request: Request) -> Iterator[Event]:
        """Serve one request, event by event. Closing the iterator cancels it."""
        number = self.submit(request)
        try:
            while number in self._live:
                yield from (event for event in self.step() if event.sequence == number)
        finally:
            if number in self._live:
                self.cancel(number)
                self.step()

    def score(self, prompt_ids: Sequence[int], continuation_ids: Sequence[int], *, salt: bytes = b"") -> list[float]:
        """Log-probabilities of given continuation tokens after a prompt."""
        request = Request(
            prompt_ids=(*prompt_ids, *continuation_ids),
            max_tokens=0,
            prompt_logprobs=0,
            prompt_logprobs_from=len(prompt_ids),
            salt=salt,
        )
        if not prompt_ids:
            raise UsageError("a continuation is scored after a prompt, and this one is empty", "give a start token")
        if not continuation_ids:
            return []
        return [cast("float", each.logprob) for each in self.run([request])[0].prompt_logprobs]

    def suspend(self, sequence: int, path: str | Path) -> None:
        """Write a sequence to a file and end it here; `resume` goes on with the same tokens, to the bit."""
        live = self._live.get(sequence)
        if live is None or live.is_cancelled:
            raise UsageError(f"sequence {sequence} is not under way", "suspend what was submitted and has not ended")
        suspending.write(Path(path), live, self.store, self.fingerprint)
        self._leave(live)

    def resume(self, path: str | Path, *, constraint: Constraint | None = None) -> int:
        """Take up a suspended sequence. A constraint is code, so it is given again.

        Raises:
            UsageError: another model wrote the file, or it is too long for this engine.
            StoreError: the file is damaged.
        """
        saved = suspending.read(Path(path), self.fingerprint, constraint)
        live = self.prepare(saved.request)
        suspending.rebuild(live, saved)
        table = self.store.restore(self.pool, saved.memory, live.namespace) if saved.memory else None
        live.table = None if isinstance(table, Exhausted) else table
        if live.table is not None and len(self.scheduler.running) < self.config.max_running:
            live.states = recurrent.fresh_states(self._slots.recurrent)
            recurrent.from_tensors(live, saved.memory)
            self._live[live.number] = live
            self.scheduler.running.append(live)
            return live.number
        self._release(live)  # no room now: what it remembers is computed again when its turn comes
        return self.enter(live)

    @functools.cached_property
    def is_exact(self) -> bool:
        """Whether log-probabilities here do not depend on company, to the last bit (probe.py); measured when first asked."""
        from overwinter.engine.probe import is_exact

        return is_exact(self.decoder, self.config)

    def stats(self) -> Stats:
        return Stats(
            running=len(self.scheduler.running),
            waiting=len(self.scheduler.waiting),
            preemptions=self.scheduler.preemptions,
            blocks_free=self.pool.free,
            blocks_cached=self.pool.cached,
            blocks_referenced=self.pool.referenced,
            kv_bytes=(self.pool.cached + self.pool.referenced) * self.store.block_bytes,
            mirror_bytes=self.mirrors.bytes,
            **vars(self._count),
        )

    # --- a step ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One forward pass, if anything is to be computed. Returns what became visible."""
        events = [self._end(live, reason) for live, reason in self._overdue()]
        self._admit()
        pieces = self._with_room(self.scheduler.plan())
        if not pieces:
            return events
        rows_D, spans = self._compute(pieces)
        self._count.steps += 1
        self._settle(pieces)
        return events + self._choose(pieces, spans, rows_D)

    def _overdue(self) -> list[tuple[LiveSequence, Any]]:
        now = self._clock()
        cancelled = [(live, "cancelled") for live in self._live.values() if live.is_cancelled]
        late = [
            (live, "timeout")
            for live in self._live.values()
            if not live.is_cancelled and live.deadline is not None and now >= live.deadline
        ]
        return cancelled + late

    def _admit(self) -> None:
        scheduler, has_states = self.scheduler, bool(self._slots.recurrent)
        for live in list(scheduler.waiting) if scheduler.has_slot else ():
            hit = self.prefixes.lookup_chain(self._chain(live), needs_snapshot=has_states)
            if self._is_being_computed(live, len(hit.blocks)):
                continue
            needed = self.pool.blocks_for(len(live.ids)) - len(hit.blocks) + hit.revived
            if not (scheduler.has_slot and scheduler.has_room(needed)):
                return
            scheduler.admit(live)
            live.table = self.pool.open(live.namespace)
            live.states = recurrent.fresh_states(self._slots.recurrent)
            self.prefixes.attach_hit(live.table, hit)
            if hit.snapshot is not None and has_states:
                recurrent.give(live, hit.snapshot)
            if live.cached_tokens is None:
                live.cached_tokens = hit.tokens
                self._count.prompt_tokens += live.prompt_length
                self._count.prefix_hit_tokens += hit.tokens

    def _chain(self, live: LiveSequence) -> list[bytes]:
        """Hashes of the blocks that may be taken from others: not of tokens whose log-probabilities are still wanted."""
        wanted = live.wants_prompt_logprob
        known = live.ids if wanted >= live.prompt_length else live.ids[:wanted]
        live.chain = self.prefixes.chain(live.namespace, known, live.chain)
        return live.chain

    def _is_being_computed(self, live: LiveSequence, blocks: int) -> bool:
        """Whether another sequence's prompt is about to bring the block after the first `blocks` ones."""
        if blocks >= len(live.chain) or self.prefixes.is_published(live.chain[blocks]):
            return False
        return any(
            each.waiting > 1 and len(each.chain) > blocks and each.chain[blocks] == live.chain[blocks]
            for each in self.scheduler.running
        )

    def _with_room(self, pieces: list[Piece]) -> list[Piece]:
        """The pieces whose tokens have blocks now. Sequences that came last give theirs up for those that came first."""
        ready: list[Piece] = []
        order = sorted(pieces, key=lambda piece: self.scheduler.running.index(piece.sequence))
        for piece in order:
            table = piece.sequence.table
            while table is not None and piece.sequence in self.scheduler.running:
                growth = table.append(piece.length)
                if not isinstance(growth, Exhausted):
                    self.store.carry_out(growth.copies)
                    ready.append(piece)
                    break
                self._preempt(self.scheduler.victim())
        return [piece for piece in ready if piece.sequence.table is not None]

    def _preempt(self, live: LiveSequence) -> None:
        self._release(live)
        self.scheduler.preempt(live)

    def _compute(self, pieces: Sequence[Piece]) -> tuple[Tensor, list[Span]]:
        """Run the decoder over the pieces' tokens; returns the hidden rows [T, D] and where each piece lies."""
        spans: list[Span] = []
        ids: list[int] = []
        positions: list[int] = []
        thresholds: list[float] = []
        for live, count in pieces:
            assert live.table is not None
            start = live.table.length - count
            spans.append(Span(live.table, len(ids), start, count))
            ids += live.ids[start : start + count]
            positions += range(start, start + count)
            thresholds += [
                live.request.exit_threshold if at >= live.prompt_length else 1.0 for at in positions[-count:]
            ]
        padding = max(0, MIN_ROWS - len(ids))
        ids_1T = torch.tensor([ids + [0] * padding], device=self._device)
        positions_1T = torch.tensor([positions + [-1] * padding], device=self._device)
        step = StepMemory(self.store, spans, ids_1T.shape[1], self.mirrors)
        early_1T = None
        if any(threshold < 1 for threshold in thresholds):
            early_1T = torch.tensor([thresholds + [1e-9] * padding], device=self._device)
        cache = self._cache(step, pieces, spans)
        rows_1TD, depth_1T = self.decoder.hidden_and_depth(ids_1T, cache, positions_1T, early_1T)
        self._count.loops += int(depth_1T[0, : len(ids)].sum())
        return rows_1TD[0], spans

    def _cache(self, step: StepMemory, pieces: Sequence[Piece], spans: Sequence[Span]) -> Cache:
        """The step's memories in the decoder's order."""
        sequences = [piece.sequence for piece in pieces]
        attention, states = itertools.count(), itertools.count()
        layers: list[Any] = [
            PagedLayer(step, next(attention))
            if is_attention
            else recurrent.RecurrentLayer(sequences, spans, next(states))
            for is_attention in self._slots.is_attention
        ]
        return Cache(layers)

    def _settle(self, pieces: Sequence[Piece]) -> None:
        """Count the work, and let others find what is complete."""
        for live, count in pieces:
            decoded = live.waiting == 0 and count == 1 and len(live.ids) > live.prompt_length
            self._count.decode_tokens += count if decoded else 0
            self._count.prefill_tokens += 0 if decoded else count
            if self.config.share_prefixes and live.table is not None:
                self.prefixes.publish(live.table, self._final(live))
                self._keep_states(live)

    def _final(self, live: LiveSequence) -> list[int]:
        """The tokens whose memory others may take: what is shared must not depend on who computed it first. A scan in chunks and one
        step by step round differently, so with recurrent layers only whole chunks of prompts; outputs that left a loop early
        are like no prompt's."""
        align = self.scheduler.config.align
        return live.ids[: live.prompt_length // align * align] if live.by_step else live.ids

    def _keep_states(self, live: LiveSequence) -> None:
        """States at the borders of prompts are kept for whoever comes with the same prefix."""
        border, computed = self.scheduler.config.border, live.computed
        if border is None or computed % border or not 0 < computed <= live.prompt_length:
            return
        hashes, blocks = cast("Any", live.table).hashes, computed // self.config.block_size
        if len(hashes) >= blocks and self.prefixes.get_snapshot(hashes[blocks - 1]) is None:
            self.prefixes.put_snapshot(hashes[blocks - 1], recurrent.take(live))

    def _choose(self, pieces: Sequence[Piece], spans: Sequence[Span], rows_TD: Tensor) -> list[Event]:
        """Log-probabilities of prompts, and the next token of each sequence whose last known one was computed."""
        for piece, span in zip(pieces, spans, strict=True):
            choosing.note_prompt(piece.sequence, span, rows_TD, self.decoder.logits)
        ready = [
            (piece.sequence, span) for piece, span in zip(pieces, spans, strict=True) if not piece.sequence.waiting
        ]
        events = [self._end(live, "length") for live, _ in ready if live.request.max_tokens == 0]
        ready = [(live, span) for live, span in ready if live.request.max_tokens > 0]
        if not ready:
            return events
        last_R = torch.tensor([span.row + span.length - 1 for _, span in ready], device=self._device)
        logits_RV = choosing.logits_of(rows_TD[last_R], self.decoder.logits)
        for live, choice in zip(
            (live for live, _ in ready), choosing.choose_next(logits_RV, [x for x, _ in ready]), strict=True
        ):
            if isinstance(choice, str):
                events.append(self._end(live, "fault", choice))
                continue
            try:
                event = live.accept(choice, self.end_ids)
            except OverwinterError as error:  # a constraint that cannot go on is its own request's trouble alone
                events.append(self._end(live, "fault", error.problem))
                continue
            events.append(event)
            if event.finish is not None:
                self._leave(live)
        return events

    # --- coming and going -----------------------------------------------------------------------------------------

    def _end(self, live: LiveSequence, finish: Any, problem: str = "") -> Event:
        event = live.end(finish, problem)
        self._leave(live)
        return event

    def _leave(self, live: LiveSequence) -> None:
        self._release(live)
        self.scheduler.remove(live)
        del self._live[live.number]

    def _release(self, live: LiveSequence) -> None:
        if live.table is not None:
            live.table.release()
            live.table = None
        live.states = []

    def _namespace(self, request: Request) -> bytes:
        """Where the hashes of its blocks start; the same prefix under another salt is another prefix."""
        if not self.config.share_prefixes:
            return b""
        exits = "" if request.exit_threshold == 1.0 else f"exit {request.exit_threshold!r}"
        mark = Fingerprint(**{**vars(self.fingerprint), "salt": request.salt, "adapter": exits})
        return mark.namespace(self.config.block_size)
