"""The block pool against a slow clear model: dicts of lists, every count made anew after every step."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from overwinter.engine.blocks import ROOT, BlockPool, BlockTable, Config, Exhausted, Growth
from overwinter.errors import UsageError

SIZE, BLOCKS = 3, 9


class PoolMachine(RuleBasedStateMachine):
    """Tables grow, fork, roll back and end; some publish. The model knows what each must read, and who is evicted."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(Config(blocks=BLOCKS, block_size=SIZE))
        self.withdrawn: list[int] = []
        self.pool.on_withdraw.append(self.withdrawn.append)
        self.tables: list[BlockTable] = []
        self.written: list[list[int]] = []  # beside `tables`: the tokens each must read
        self.memory: dict[int, int] = {}  # slot → token
        self.published: dict[int, int] = {}  # block → parent
        self.cached: list[int] = []  # oldest first
        self.clock = 0

    def holders(self, block: int) -> int:
        return sum(table.blocks.count(block) for table in self.tables)

    def children(self, block: int) -> list[int]:
        return [child for child, parent in self.published.items() if parent == block]

    def evict(self) -> int:
        """The slow way: the oldest cached block that no published block continues."""
        leaf = next(block for block in self.cached if not self.children(block))
        self.cached.remove(leaf)
        del self.published[leaf]
        return leaf

    def free_blocks(self) -> int:
        return BLOCKS - len(self.cached) - len({block for table in self.tables for block in table.blocks})

    def note_released(self, before: list[int]) -> None:
        for block in reversed(before):
            if block in self.published and not self.holders(block):
                self.cached.append(block)

    @precondition(lambda self: len(self.tables) < 5)
    @rule()
    def open(self) -> None:
        self.tables.append(self.pool.open())
        self.written.append([])

    @precondition(lambda self: self.tables)
    @rule(data=st.data(), count=st.integers(0, 8))
    def append(self, data: st.DataObject, count: int) -> None:
        at = data.draw(st.integers(0, len(self.tables) - 1))
        table, tokens = self.tables[at], self.written[at]
        before, length = table.blocks.copy(), table.length
        tail = before[-1] if count and length % SIZE else None
        is_shared = tail is not None and (self.holders(tail) > 1 or bool(self.children(tail)))
        needed = -(-(length + count) // SIZE) - len(before) + is_shared
        assert table.needs(count) == needed
        del self.withdrawn[:]
        growth = table.append(count)
        if needed > self.free_blocks_with(before, table) + len(self.cached):
            assert isinstance(growth, Exhausted)
            assert (growth.needed, table.blocks, table.length) == (needed, before, length)
            return
        assert isinstance(growth, Growth)
        self.settle(table, before, needed, tail if is_shared else None, growth)
        if tail is not None and not is_shared and tail in self.published:
            del self.published[tail]
            assert self.withdrawn.pop() == tail
        assert self.withdrawn == self.expected_evictions
        for slot in growth.slots:
            self.clock += 1
            self.memory[slot] = self.clock
            tokens.append(self.clock)

    def free_blocks_with(self, before: list[int], table: BlockTable) -> int:
        """Free blocks as they were while `table` still held `before`."""
        held = {block for other in self.tables if other is not table for block in other.blocks} | set(before)
        return BLOCKS - len(self.cached) - len(held)

    def settle(self, table: BlockTable, before: list[int], needed: int, copied: int | None, growth: Growth) -> None:
        free = self.free_blocks_with(before, table)
        self.expected_evictions = [self.evict() for _ in range(max(0, needed - free))]
        assert [copy.source for copy in growth.copies] == ([] if copied is None else [copied])
        for source, target in growth.copies:
            for offset in range(SIZE):
                self.memory[target * SIZE + offset] = self.memory.get(source * SIZE + offset, 0)
            self.note_released([source])

    @precondition(lambda self: 0 < len(self.tables) < 5)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.tables) - 1))
        self.tables.append(self.tables[at].fork())
        self.written.append(self.written[at].copy())

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.tables) - 1))
        table, tokens = self.tables[at], self.written[at]
        length, before = data.draw(st.integers(0, len(tokens))), table.blocks.copy()
        kept = -(-length // SIZE)
        assert table.truncate(length) == len(before) - kept
        del tokens[length:]
        self.note_released(before[kept:])

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.tables) - 1))
        table = self.tables.pop(at)
        before = table.blocks.copy()
        del self.written[at]
        table.release()
        self.note_released(before)
        with pytest.raises(UsageError, match="released"):
            table.release()

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        table = self.tables[data.draw(st.integers(0, len(self.tables) - 1))]
        parent = ROOT
        for block in table.blocks[: table.length // SIZE]:
            if block not in self.published:
                self.pool.publish(block, parent)
                self.published[block] = parent
            parent = block

    @rule()
    def clear(self) -> None:
        assert self.pool.clear() == len(self.cached)
        self.published = {block: parent for block, parent in self.published.items() if block not in self.cached}
        del self.cached[:]

    @invariant()
    def everybody_reads_what_they_wrote(self) -> None:
        for table, tokens in zip(self.tables, self.written, strict=True):
            assert table.length == len(tokens)
            assert [self.memory[slot] for slot in table.slots(0, table.length)] == tokens

    @invariant()
    def nothing_leaks(self) -> None:
        counts = Counter(block for table in self.tables for block in table.blocks)
        assert [self.pool.references(block) for block in range(BLOCKS)] == [counts[block] for block in range(BLOCKS)]
        assert (self.pool.referenced, self.pool.cached) == (len(counts), len(self.cached))
        assert self.pool.free == self.free_blocks() == BLOCKS - self.pool.referenced - self.pool.cached
        assert {block for block in range(BLOCKS) if self.pool.is_published(block)} == set(self.published)

    @invariant()
    def who_shares_a_block_shares_all_before_it(self) -> None:
        before: dict[int, list[int]] = {}
        for table in self.tables:
            for at, block in enumerate(table.blocks):
                assert before.setdefault(block, table.blocks[:at]) == table.blocks[:at]

    def teardown(self) -> None:
        for table in self.tables:
            table.release()
        assert self.pool.available == BLOCKS
        self.pool.clear()
        assert self.pool.free == BLOCKS


PoolMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestPool = PoolMachine.TestCase


def make(blocks: int = 4, size: int = 4, watermark: int = 0) -> BlockPool:
    return BlockPool(Config(blocks=blocks, block_size=size, watermark_blocks=watermark))


def publish_all(pool: BlockPool, table: BlockTable) -> None:
    for parent, block in zip([ROOT, *table.blocks], table.blocks, strict=False):
        pool.publish(block, parent)


def test_exhaustion_is_an_answer_and_changes_nothing() -> None:
    pool = make()
    table = pool.open()
    assert isinstance(table.append(9), Growth)
    assert table.append(8) == Exhausted(needed=2, available=1)
    assert (table.length, pool.free) == (9, 1)
    assert isinstance(table.append(7), Growth)
    assert not pool.can_allocate(1)


def test_the_watermark_is_for_newcomers_only() -> None:
    pool = make(watermark=1)
    assert pool.can_admit(3)
    assert not pool.can_admit(4)
    assert pool.can_allocate(4)


def test_the_oldest_goes_first_and_within_it_the_last_block() -> None:
    pool = make(blocks=4)
    gone: list[int] = []
    pool.on_withdraw.append(gone.append)
    old, new = pool.open(), pool.open()
    for table in (old, new):
        table.append(8)
        publish_all(pool, table)
    expected = [*reversed(old.blocks), *reversed(new.blocks)]
    old.release()
    new.release()
    pool.open().append(16)
    assert gone == expected
    assert pool.evictions == 4


def test_a_fork_copies_only_the_block_it_writes() -> None:
    pool = make()
    first = pool.open()
    first.append(6)
    second = first.fork()
    growth = second.append(1)
    assert isinstance(growth, Growth)
    assert growth.copies == [(first.blocks[1], second.blocks[1])]
    assert first.blocks[0] == second.blocks[0]
    again = first.append(1)
    assert isinstance(again, Growth)
    assert not again.copies, "the last holder writes in place"


def test_rolling_back_into_a_published_block_needs_no_memory_if_nobody_else_has_it() -> None:
    pool = make(blocks=2)
    table = pool.open()
    table.append(8)
    publish_all(pool, table)
    table.truncate(6)
    growth = table.append(2)
    assert isinstance(growth, Growth)
    assert not growth.copies
    assert not pool.is_published(table.blocks[1])


def test_breaking_the_rules_is_an_error() -> None:
    pool = make()
    table = pool.open()
    table.append(4)
    block = table.blocks[0]
    table.release()
    with pytest.raises(UsageError, match="released twice"):
        pool.release(block)
    with pytest.raises(UsageError, match="free"):
        pool.acquire(block)
    with pytest.raises(UsageError, match="nobody holds"):
        pool.publish(block, ROOT)
    for deed in (table.fork, lambda: table.append(1), lambda: table.truncate(0)):
        with pytest.raises(UsageError, match="was released"):
            deed()
    fresh = pool.open()
    fresh.append(8)
    with pytest.raises(UsageError, match="cannot be cut"):
        fresh.truncate(9)
    with pytest.raises(UsageError, match="truncate"):
        fresh.append(-1)
    with pytest.raises(UsageError, match="from the front"):
        pool.publish(fresh.blocks[1], fresh.blocks[0])
    publish_all(pool, fresh)
    with pytest.raises(UsageError, match="children"):
        pool.withdraw(fresh.blocks[0])


@pytest.mark.parametrize("wrong", [{"blocks": 0}, {"blocks": 2, "block_size": 0}, {"blocks": 2, "watermark_blocks": 2}])
def test_a_pool_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Config(**wrong)
