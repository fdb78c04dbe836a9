"""Who holds which block of the paged KV memory: numbers only, no tensors.

The idea: KV memory is cut into blocks of 16 tokens. A sequence owns a table of block numbers instead of a stretch of
memory, so sequences can share blocks, grow without moving and give memory back block by block. A block is

    free        nobody refers to it and its content means nothing
    referenced  at least one table holds it; `references` counts them
    cached      no table holds it, but it is published: a later sequence with the same prefix may take it up again

A published block is never written to. Writing into a block that others can see copies it first (copy-on-write).

Invariant 1, the prefix rule: two tables that share a block share every block before it. So whoever holds a block holds
its ancestors, and no ancestor is cached while a descendant is referenced.
Invariant 2 follows: tables release their blocks from the tail, so plain least-recently-used order meets a published
block's children before the block itself. Eviction takes leaves first without ever looking for them, every cached block
can be had, and `available` is exact.

Running out of blocks is an answer (`Exhausted`), not an exception: the scheduler preempts or waits. Errors are for callers
that break the rules, such as releasing twice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from overwinter.errors import UsageError

ROOT = -1
"""The parent of a sequence's first block."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Size of the pool.

    Args:
        blocks: how many blocks there are.
        block_size: tokens per block.
        watermark_blocks: blocks that `can_admit` keeps back, so that running sequences can grow before new ones start.
    """

    blocks: int
    block_size: int = 16
    watermark_blocks: int = 0

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.block_size < 1:
            raise UsageError(
                f"a pool of {self.blocks} blocks of {self.block_size} tokens cannot hold anything",
                "give at least one block and one token per block",
            )
        if not 0 <= self.watermark_blocks < self.blocks:
            raise UsageError(
                f"a watermark of {self.watermark_blocks} does not fit a pool of {self.blocks} blocks",
                "keep it at zero or above, and below the number of blocks",
            )


class Exhausted(NamedTuple):
    """There are not enough blocks; nothing was changed. Preempt a sequence, or wait until one ends."""

    needed: int
    available: int


class Copy(NamedTuple):
    """Copy-on-write, to be carried out by the storage: in the order given, before anything is written."""

    source: int
    target: int


class Growth(NamedTuple):
    """What `BlockTable.append` made room for: one slot (block × block_size + offset) per token."""

    slots: list[int]
    copies: list[Copy]


class BlockPool:
    """Counts references, remembers what is published, evicts what nobody holds."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.evictions = 0
        self.on_withdraw: list[Callable[[int], None]] = []
        """Called with a block's number when its content stops being published: evicted, or about to be written."""
        self._free = list(range(config.blocks - 1, -1, -1))
        self._references = [0] * config.blocks
        self._cached: OrderedDict[int, None] = OrderedDict()  # oldest first
        self._parent: dict[int, int] = {}  # of published blocks
        self._children = [0] * config.blocks  # published ones

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def cached(self) -> int:
        return len(self._cached)

    @property
    def available(self) -> int:
        """Blocks that `allocate` can hand out now: free ones, then cached ones by eviction."""
        return len(self._free) + len(self._cached)

    @property
    def referenced(self) -> int:
        return self.config.blocks - self.available

    def references(self, block: int) -> int:
        return self._references[block]

    def is_published(self, block: int) -> bool:
        return block in self._parent

    def is_leaf(self, block: int) -> bool:
        """No published block continues this one."""
        return self._children[block] == 0

    def can_allocate(self, count: int) -> bool:
        """Whether a running sequence may have `count` more blocks."""
        return count <= self.available

    def can_admit(self, count: int) -> bool:
        """Whether a new sequence may have `count` blocks and the watermark still stays for those that run."""
        return count + self.config.watermark_blocks <= self.available

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.config.block_size)

    def open(self, namespace: bytes = b"") -> BlockTable:
        """An empty table. `namespace` is where its content hashes start (prefix.py); empty: it shares with nobody."""
        return BlockTable(self, namespace)

    def allocate(self, count: int) -> list[int] | Exhausted:
        """`count` blocks with one reference each, or `Exhausted` and nothing changed."""
        if not self.can_allocate(count):
            return Exhausted(count, self.available)
        while len(self._free) < count:
            self._evict()
        blocks = [self._free.pop() for _ in range(count)]
        for block in blocks:
            self._references[block] = 1
        return blocks

    def acquire(self, block: int) -> None:
        """One more reference to a block that is referenced or cached."""
        if not self._references[block]:
            if block not in self._cached:
                raise UsageError(f"block {block} is free, nothing to share", "acquire only what a table or index names")
            del self._cached[block]
        self._references[block] += 1

    def release(self, block: int) -> None:
        """One reference less. The last one leaves the block cached if it is published, else free."""
        if not self._references[block]:
            raise UsageError(f"block {block} is released twice", "release each table once, and only through its table")
        self._references[block] -= 1
        if self._references[block]:
            return
        if block in self._parent:
            self._cached[block] = None
        else:
            self._free.append(block)

    def publish(self, block: int, parent: int) -> None:
        """From now on the block's content may be found by others and is not written any more."""
        if not self._references[block] or block in self._parent:
            raise UsageError(f"block {block} is published already or nobody holds it", "publish a held block, once")
        if parent != ROOT and parent not in self._parent:
            raise UsageError(f"the parent {parent} of block {block} is not published", "publish from the front")
        self._parent[block] = parent
        if parent != ROOT:
            self._children[parent] += 1

    def withdraw(self, block: int) -> None:
        """The block's content may no longer be found. Only a leaf can go: its children would hang in the air."""
        if self._children[block]:
            raise UsageError(f"block {block} has published children", "withdraw those first")
        parent = self._parent.pop(block)
        if parent != ROOT:
            self._children[parent] -= 1
        if block in self._cached:
            del self._cached[block]
            self._free.append(block)
        for tell in self.on_withdraw:
            tell(block)

    def clear(self) -> int:
        """Forgets everything cached (new weights, say). Returns how many blocks that freed."""
        count = len(self._cached)
        for _ in range(count):
            self._evict()
        return count

    def _evict(self) -> None:
        oldest = next(iter(self._cached))
        assert not self._children[oldest], "a block was evicted before its children: the prefix rule is broken"
        self.withdraw(oldest)
        self.evictions += 1


class BlockTable:
    """One sequence's blocks, in order. Make it with `BlockPool.open` or `fork`; end it with `release`.

    `hashes` are the content hashes of the leading blocks that the prefix index knows (prefix.py keeps them).
    """

    def __init__(self, pool: BlockPool, namespace: bytes) -> None:
        self.pool = pool
        self.namespace = namespace
        self.blocks: list[int] = []
        self.hashes: list[bytes] = []
        self.length = 0
        self.is_open = True

    def needs(self, count: int) -> int:
        """How many blocks `append(count)` would take from the pool."""
        new = self.pool.blocks_for(self.length + count) - len(self.blocks)
        return new + (count > 0 and self._must_copy_tail())

    def append(self, count: int) -> Growth | Exhausted:
        """Room for `count` more tokens, all or nothing. Carry out the copies, then write to the slots."""
        self._check_open()
        if count < 0:
            raise UsageError(f"{count} tokens cannot be appended", "use truncate to take tokens back")
        if not count:
            return Growth([], [])
        must_copy = self._must_copy_tail()  # asked before allocating, which may evict the children that it depends on
        fresh = self.pool.allocate(self.needs(count))
        if isinstance(fresh, Exhausted):
            return fresh
        copies = [self._copy_tail(fresh.pop(0))] if must_copy else []
        if not must_copy:
            self._withdraw_tail()
        self.blocks += fresh
        start, self.length = self.length, self.length + count
        return Growth(self.slots(start, self.length), copies)

    def slots(self, start: int, stop: int) -> list[int]:
        """Where the tokens `start` to `stop` lie."""
        size = self.pool.config.block_size
        return [self.blocks[at // size] * size + at % size for at in range(start, stop)]

    def fork(self) -> BlockTable:
        """A second table over the same blocks. Costs no memory until one of the two writes."""
        self._check_open()
        twin = BlockTable(self.pool, self.namespace)
        twin.blocks, twin.hashes, twin.length = self.blocks.copy(), self.hashes.copy(), self.length
        for block in self.blocks:
            self.pool.acquire(block)
        return twin

    def truncate(self, length: int) -> int:
        """Takes back the tokens from `length` on, such as rejected drafts. Returns how many blocks the table gave up."""
        self._check_open()
        if not 0 <= length <= self.length:
            raise UsageError(f"{self.length} tokens cannot be cut to {length}", "give a length between zero and that")
        kept = self.pool.blocks_for(length)
        dropped = self.blocks[kept:]
        for block in reversed(dropped):  # tail first: invariant 2
            self.pool.release(block)
        del self.blocks[kept:]
        del self.hashes[length // self.pool.config.block_size :]
        self.length = length
        return len(dropped)

    def release(self) -> None:
        """Gives everything back; published blocks stay cached until their room is needed."""
        self._check_open()
        self.truncate(0)
        self.is_open = False

    def _tail(self) -> int | None:
        """The block that the next token would be written into, if it is there already."""
        size = self.pool.config.block_size
        return self.blocks[-1] if self.length % size else None

    def _must_copy_tail(self) -> bool:
        tail = self._tail()
        if tail is None:
            return False
        # A published leaf that only we hold is withdrawn and written in place: rolled-back tokens need no copy. With
        # published children it is worth keeping, and evicting those pays for the copy if need be.
        is_ours = self.pool.references(tail) == 1
        return not is_ours or (self.pool.is_published(tail) and not self.pool.is_leaf(tail))

    def _copy_tail(self, target: int) -> Copy:
        source, self.blocks[-1] = self.blocks[-1], target
        self.pool.release(source)
        return Copy(source, target)

    def _withdraw_tail(self) -> None:
        tail = self._tail()
        if tail is not None and self.pool.is_published(tail):
            self.pool.withdraw(tail)

    def _check_open(self) -> None:
        if not self.is_open:
            raise UsageError("this block table was released", "open a new one, or fork before releasing")
