"""A session: one process working on one run. It holds the lease, the state and the parts, and is the only way to append."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from overwinter.errors import BudgetExhausted, LeaseLost, OverwinterError, StoreError, UsageError
from overwinter.journal import ERASED, Draft, Entry, Lease, Packer, Store
from overwinter.journal.canonical import canonical, parse_object
from overwinter.journal.lease import DEFAULT_TTL_S, this_owner
from overwinter.loop.confidence import Confidence
from overwinter.loop.controls import CONTROLS
from overwinter.loop.gates import Gates, speculative_rules
from overwinter.loop.memory.recaller import Recaller
from overwinter.loop.memory.settings import MemorySettings
from overwinter.loop.model import Model
from overwinter.loop.state import RunState, is_visible
from overwinter.loop.tokens import PromptChain
from overwinter.loop.view import ViewBuilder
from overwinter.loop.world import ACT, WorldSession
from overwinter.tools import Tool, Toolbox

if TYPE_CHECKING:
    from overwinter.loop.memory.finder import Finder

CACHE = "state"
CACHE_EVERY = 1000
"""Entries between cached states: a resume folds at most this many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How a run works: limits per step, not for the run (that is its budget).

    Attributes:
        max_tokens: most tokens of one completion.
        temperature, seed: sampling.
        window_tokens: largest view; 0 takes what the model's context leaves.
        sample_timeout_s: most wall time of one model call, retries included.
        max_stalls: stalls noticed in a row before the run is suspended.
        max_rejections: claims of being done that a checker sends back before the run is suspended.
        max_attempts: how often a repeatable call is tried again after the process died in it.
    """

    max_tokens: int = 1024
    temperature: float = 0.0
    seed: int | None = None
    window_tokens: int = 0
    sample_timeout_s: float = 120.0
    top_logprobs: int = 0
    max_stalls: int = 3
    max_rejections: int = 5
    max_attempts: int = 3


@dataclass(kw_only=True)
class Parts:
    """What a run works with, built from its setup or handed over in code.

    Attributes:
        judge: the model that judges claims; None where no criterion needs one. Not the actor.
        controls: the tools of the loop itself (finish, sleep, …), by name; all of them unless chosen.
        memory: working memory and recall; None for a run without. Its tools have to be among the controls
            (`loop.memory.tools.controls_with`).
        recaller: where recall looks; None opens the index of the run's namespace when it is needed.
        confidence: calibrators of the run's scope.
    """

    model: Model
    toolbox: Toolbox = field(default_factory=Toolbox)
    controls: Mapping[str, Tool] = field(default_factory=lambda: CONTROLS)
    world: WorldSession | None = None
    gates: Gates = field(default_factory=Gates)
    judge: Model | None = None
    pace: Pace = field(default_factory=Pace)
    memory: MemorySettings | None = None
    recaller: Recaller | None = None
    confidence: Confidence = field(default_factory=Confidence)

    def __post_init__(self) -> None:
        shared = sorted(name for name in self.controls if name in self.toolbox)
        if shared:
            raise UsageError(f"tools bear the names of controls: {shared}", "rename them with @tool(name=…)")

    @property
    def only_acts(self) -> bool:
        """Nothing can be called but the actions of the world."""
        return self.world is not None and not self.controls and all(tool.name == ACT for tool in self.toolbox)

    def close(self) -> None:
        """Close tools, models and memory's index, the later ones also when an earlier one fails."""
        with ExitStack() as stack:
            for each in (self.judge, self.model, self.toolbox, self.recaller):
                if each is not None:
                    stack.callback(each.close)


class Session:
    """Open with `Session.open`, use as a context manager; the lease is given back when it ends."""

    def __init__(self, store: Store, lease: Lease, state: RunState, parts: Parts) -> None:
        self.store = store
        self.state = state
        self.parts = parts
        self.budgets = store.info(lease.run).budgets
        self.fresh = False
        """True once this process has written to the run: then going on is not resuming."""
        self.prompts = PromptChain()
        self.listeners: list[Callable[[Entry], None]] = []
        self._lease = lease
        self._lost = threading.Event()
        self._broken = False
        self._closing = threading.Event()
        self._renewer = threading.Thread(target=self._renew_forever, name=f"lease-{lease.run}", daemon=True)
        self.view = view_builder(store, parts)
        self._cached_at = state.head_seq
        self.memory_problem = ""
        """Why memory could not be asked last time; said once, not with every step."""
        self._finder: Finder | None = None

    @classmethod
    def open(cls, store: Store, run: str, build: Callable[[RunState], Parts], *, take_over: bool = False) -> Session:
        """Become the run's writer and bring the state up to date.

        Args:
            build: makes the parts once the setup is known from the journal.
            take_over: take the lease from a living owner, which can then append no more.

        Raises:
            LeaseLost: another living process works on the run.
        """
        lease = store.acquire(run, this_owner(), DEFAULT_TTL_S, take_over=take_over)
        parts: Parts | None = None
        try:
            state = load_state(store, run)
            parts = build(state)
            if state.setup.get("speculative"):
                # Also where the parts were made in code, by somebody who may not know that this is a branch.
                parts.gates = Gates(rules=speculative_rules(ACT if parts.world is not None else ""))
            session = cls(store, lease, state, parts)
            restore_world(store, state, parts.world, parts.model)
        except BaseException:
            store.release(lease)
            if parts is not None:
                parts.close()
            raise
        session._renewer.start()
        return session

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def run(self) -> str:
        return self._lease.run

    @property
    def fence(self) -> int:
        return self._lease.fence

    @property
    def owner(self) -> str:
        return self._lease.owner

    @property
    def recaller(self) -> Recaller | None:
        """Where recall looks; the index of the run's namespace, opened when it is first needed. None in a run without memory.

        The namespace is the one the line began with: a fork's setup cannot name another.
        """
        if self.parts.memory is not None and self.parts.recaller is None:
            from overwinter.loop.memory.index import open_recaller
            from overwinter.memory.namespace import namespace_of

            namespace = namespace_of(self.store, self.run)
            if namespace is not None:
                models = self.parts.memory.embedder, self.parts.memory.previous_embedder
                self.parts.recaller = open_recaller(self.store, namespace, *models)
        return self.parts.recaller

    @property
    def finder(self) -> Finder:
        """Words of this run, for `find`."""
        if self._finder is None:
            from overwinter.loop.memory.finder import Finder

            self._finder = Finder(self.store)
        return self._finder

    def owner_of(self, seq: int) -> str:
        """The run that owns an entry of this run's line: itself, or a parent it was forked from."""
        info = self.store.info(self.run)
        while info.parent is not None and seq <= info.fork_seq:
            info = self.store.info(info.parent)
        return info.run

    def append(
        self, drafts: Iterable[Draft], packer: Packer | None = None, letters: Collection[str] = ()
    ) -> list[Entry]:
        """Write entries and take them into the state. Raises what `Store.append` raises, with the state unchanged.

        After any failure but an exhausted budget the session can write no more: a world or a tool may be ahead of the journal,
        and only opening the run again brings them back to one.
        """
        if self._lost.is_set():
            raise LeaseLost(f"run {self.run!r} was taken over", "see who owns it with `overwinter ls`")
        if self._broken:
            raise StoreError(f"run {self.run!r}: an earlier entry could not be written", "open the run again")
        blobs = packer.blobs if packer is not None else None
        try:
            entries = self.store.append(self.run, list(drafts), fence=self._lease.fence, blobs=blobs, letters=letters)
        except BudgetExhausted:
            raise
        except LeaseLost:
            self._lost.set()
            raise
        except BaseException:
            self._broken = True
            raise
        for entry in entries:
            self.state.apply(entry)
            if is_visible(entry) or entry.kind == "compacted":
                self.view.add(entry)
            if entry.kind == "compacted":
                self.view.forget(entry.body["last"])
        if self.state.head_seq - self._cached_at >= CACHE_EVERY:
            self._cached_at = self.state.head_seq
            with suppress(StoreError):  # the entries are on disk; a cache is not worth failing for
                self.save_state()
        for entry in entries:
            for listener in self.listeners:
                listener(entry)
        return entries

    def left(self) -> dict[str, int]:
        """What remains of each limited resource, over all budgets the run draws on."""
        left: dict[str, int] = {}
        for budget in self.budgets:
            for resource, line in self.store.budget(budget).items():
                if line.left is not None:
                    left[resource] = max(0, min(line.left, left.get(resource, line.left)))
        return left

    def now_us(self) -> int:
        """The clock that entries are stamped by; it never runs behind the journal."""
        return max(self.store.now_us(), self.state.time_us)

    def save_state(self) -> None:
        """Keep the state beside the journal. Losing it costs time, nothing else."""
        self.store.save_cache(self.run, CACHE, self.state.head_seq, canonical(self.state.to_json()))
        self._cached_at = self.state.head_seq

    def close(self) -> None:
        """Stop renewing, give the lease back, close tools and models. Closing twice is allowed."""
        if self._closing.is_set():
            return
        self._closing.set()
        if self._renewer.ident is not None:
            self._renewer.join()
        try:
            # A store that cannot be written any more has said so already. A lease that stays runs out by itself.
            if not self._lost.is_set():
                with suppress(StoreError):
                    self.save_state()
                with suppress(StoreError):
                    self.store.release(self._lease)
        finally:
            self.parts.close()

    def _renew_forever(self) -> None:
        while not self._closing.wait(DEFAULT_TTL_S / 3):
            try:
                self._lease = self.store.renew(self._lease, DEFAULT_TTL_S)
            except LeaseLost:
                self._lost.set()
                return
            except OverwinterError:
                # A busy or unreachable store: the fence still guards every append, so try again at the next turn.
                continue


def load_state(store: Store, run: str) -> RunState:
    """The state of a run: from its cache where that fits the journal, else folded from the start."""
    state = _cached_state(store, run) or RunState(run=run)
    for entry in store.read(run, state.head_seq + 1):
        state.apply(entry)
    return state


def fold(run: str, entries: Iterable[Entry]) -> RunState:
    """The slow, clear twin of `load_state`: every entry, from the first."""
    state = RunState(run=run)
    for entry in entries:
        state.apply(entry)
    return state


def _cached_state(store: Store, run: str) -> RunState | None:
    cached = store.load_cache(run, CACHE)
    if cached is None:
        return None
    try:
        state = RunState.from_json(parse_object(cached[1]))
    except (ValueError, TypeError, KeyError):
        return None
    if state is None or state.run != run:
        return None
    # A cache is believed only if the journal holds exactly the entry it ends with.
    last = next(store.read(run, state.head_seq, state.head_seq + 1), None)
    return state if last is not None and last.hash == state.head_hash else None


def restore_world(store: Store, state: RunState, world: WorldSession | None, model: Model) -> None:
    """Bring the world of a run, and a policy that plays it, to where the journal stands."""
    if world is None or state.head_seq < 0:
        return
    catch_up = getattr(model, "catch_up", None)
    if catch_up is not None:
        # A scripted policy keeps beliefs of its own; it sees the whole episode again.
        catch_up(world.seed, episode(store, state.run))
    saved, start = None, 0
    if state.world_saved is not None:
        saved = next(store.read(state.run, state.world_saved, state.world_saved + 1))
        start = state.world_saved + 1
        if saved.kind == ERASED:
            raise StoreError(
                f"the state of the world at entry {saved.seq} was erased by {saved.body['by']}",
                "fork the run at another entry",
            )
    try:
        world.restore(store, saved, store.read(state.run, start, kinds=["effect.receipt"]))
    except KeyError as error:
        raise StoreError(
            f"the saved state of world {world.world.name!r} lacks {error}",
            "install the version of overwinter the run was started with",
        ) from error


def episode(store: Store, run: str, stop: int | None = None) -> Iterator[str | None]:
    """What a policy lived through before entry `stop`: None where it was asked, the action's words where one was carried out."""
    for entry in store.read(run, 0, stop, kinds=["sample.completion", "effect.receipt"]):
        if entry.kind == "sample.completion":
            if is_visible(entry):
                yield None
        elif entry.body["ok"] and entry.body["data"].get("world"):
            yield entry.body["data"]["action"]


def room_for_view(model: Model, pace: Pace) -> int:
    """What the model's context leaves beside the completion; at least half, or there would be no room for a question."""
    return model.context_tokens - min(pace.max_tokens, model.context_tokens // 2)


def view_builder(store: Store, parts: Parts) -> ViewBuilder:
    """The view of a run with these parts: the window is what the model's context leaves beside the completion."""
    room = room_for_view(parts.model, parts.pace)
    schemas = [*parts.toolbox.schemas(), *Toolbox(parts.controls.values()).schemas()] if not parts.only_acts else []
    memory = None
    if parts.memory is not None:
        from overwinter.loop.memory.view import MemoryView

        memory = MemoryView(store, parts.memory, parts.model.count_tokens)
    return ViewBuilder(store, parts.model, min(parts.pace.window_tokens or room, room), schemas, memory)
