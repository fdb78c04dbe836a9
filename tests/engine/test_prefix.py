"""Content hashes and the prefix index: what is found is right, is the longest there is, and is nobody else's."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from overwinter.engine.blocks import BlockPool, BlockTable, Config, Exhausted
from overwinter.engine.prefix import Fingerprint, PrefixIndex, Snapshot, block_hash
from overwinter.errors import UsageError

PRINT = Fingerprint(model="m", dtype="float32", rope="10000", tokenizer="t")
SIZE, BLOCKS = 2, 10
TENANTS = [replace(PRINT, salt=salt).namespace(SIZE) for salt in (b"one", b"two")]

tokens_few = st.lists(st.integers(0, 1), min_size=0, max_size=7)


class IndexMachine(RuleBasedStateMachine):
    """Sequences of two tenants over a tiny alphabet, so that prefixes meet; memory is a dict from slot to what was written.

    What a slot holds is the whole past of its token, tenant included, as K and V do. So reading one's own past back is
    proof that no hit, move, copy or eviction mixed anything up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(Config(blocks=BLOCKS, block_size=SIZE))
        self.index = PrefixIndex(self.pool, snapshot_budget_bytes=30)
        self.tables: list[tuple[BlockTable, list[int]]] = []
        self.memory: dict[int, tuple[bytes, tuple[int, ...]]] = {}
        self.hash_of: dict[tuple[bytes, tuple[int, ...]], bytes] = {}

    def write(self, table: BlockTable, tokens: list[int], new: list[int]) -> bool:
        growth = table.append(len(new))
        if isinstance(growth, Exhausted):
            return False
        for source, target in growth.copies:
            for offset in range(SIZE):
                self.memory[target * SIZE + offset] = self.memory.get(source * SIZE + offset, (b"", ()))
        for slot, token in zip(growth.slots, new, strict=True):
            tokens.append(token)
            self.memory[slot] = (table.namespace, tuple(tokens))
        return True

    def pick(self, data: st.DataObject) -> tuple[BlockTable, list[int]]:
        return self.tables[data.draw(st.integers(0, len(self.tables) - 1))]

    @precondition(lambda self: len(self.tables) < 5)
    @rule(tenant=st.sampled_from(TENANTS), prompt=tokens_few, needs_snapshot=st.booleans())
    def start(self, tenant: bytes, prompt: list[int], needs_snapshot: bool) -> None:
        table = self.pool.open(tenant)
        expected = self.longest(tenant, prompt, needs_snapshot)
        available = self.pool.available
        hit = self.index.attach(table, prompt, needs_snapshot=needs_snapshot)
        assert hit.tokens == table.length == expected
        assert self.pool.available == available - hit.revived
        if needs_snapshot and hit.tokens:
            assert hit.snapshot is not None
            assert hit.snapshot.state == (tenant, tuple(prompt[: hit.tokens]))
        done = prompt[: hit.tokens]
        if self.write(table, done, prompt[hit.tokens :]):
            self.tables.append((table, done))
        else:
            table.release()

    def longest(self, tenant: bytes, prompt: list[int], needs_snapshot: bool) -> int:
        """Brute force: every published block's chain of content, as memory tells it."""
        found = {self.memory[block * SIZE + SIZE - 1] for block in range(BLOCKS) if self.pool.is_published(block)}
        length = usable = 0
        while length + SIZE < len(prompt) and (tenant, tuple(prompt[: length + SIZE])) in found:
            length += SIZE
            content = self.hash_of[tenant, tuple(prompt[:length])]
            if not needs_snapshot or self.index.get_snapshot(content):
                usable = length
        return usable

    @precondition(lambda self: self.tables)
    @rule(data=st.data(), new=tokens_few)
    def extend(self, data: st.DataObject, new: list[int]) -> None:
        table, tokens = self.pick(data)
        self.write(table, tokens, new)

    @precondition(lambda self: self.tables)
    @rule(data=st.data(), size_bytes=st.integers(1, 31))
    def publish(self, data: st.DataObject, size_bytes: int) -> None:
        table, tokens = self.pick(data)
        count = self.index.publish(table, tokens)
        assert count == len(table.hashes) <= len(tokens) // SIZE
        for at, content in enumerate(table.hashes, 1):
            self.hash_of[table.namespace, tuple(tokens[: at * SIZE])] = content
        if count:
            state = (table.namespace, tuple(tokens[: count * SIZE]))
            assert self.index.put_snapshot(table.hashes[-1], Snapshot(state, size_bytes)) == (size_bytes <= 30)

    @precondition(lambda self: 0 < len(self.tables) < 5)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        table, tokens = self.pick(data)
        self.tables.append((table.fork(), tokens.copy()))

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        table, tokens = self.pick(data)
        length = data.draw(st.integers(0, len(tokens)))
        table.truncate(length)
        del tokens[length:]

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.tables.pop(data.draw(st.integers(0, len(self.tables) - 1)))[0].release()

    @invariant()
    def everybody_reads_their_own_past(self) -> None:
        for table, tokens in self.tables:
            read = [self.memory[slot] for slot in table.slots(0, table.length)]
            assert read == [(table.namespace, tuple(tokens[: at + 1])) for at in range(len(tokens))]

    @invariant()
    def counts_fit(self) -> None:
        held = {block for table, _ in self.tables for block in table.blocks}
        published = sum(self.pool.is_published(block) for block in range(BLOCKS))
        assert (self.pool.referenced, len(self.index)) == (len(held), published)
        kept = list(self.index._snapshots.values())
        assert self.index.snapshot_bytes == sum(snapshot.size_bytes for snapshot in kept) <= 30
        assert set(self.index._snapshots) <= set(self.index._block_of)

    @invariant()
    def who_shares_a_block_shares_all_before_it(self) -> None:
        before: dict[int, list[int]] = {}
        for table, _ in self.tables:
            for at, block in enumerate(table.blocks):
                assert before.setdefault(block, table.blocks[:at]) == table.blocks[:at]

    def teardown(self) -> None:
        for table, _ in self.tables:
            table.release()
        assert self.pool.available == BLOCKS
        self.pool.clear()
        assert (self.pool.free, len(self.index), self.index.snapshot_bytes) == (BLOCKS, 0, 0)


IndexMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestIndex = IndexMachine.TestCase


def filled(pool: BlockPool, index: PrefixIndex, tokens: list[int], namespace: bytes) -> BlockTable:
    table = pool.open(namespace)
    table.append(len(tokens))
    index.publish(table, tokens)
    return table


@given(st.data(), st.sampled_from([field.name for field in fields(Fingerprint)]))
@settings(max_examples=60)
def test_whatever_changes_the_numbers_changes_the_hash(data: st.DataObject, name: str) -> None:
    value = st.binary(max_size=8) if name == "salt" else st.text(max_size=8)
    one, two = data.draw(value), data.draw(value)
    spaces = [replace(PRINT, **{name: each}).namespace(16) for each in (one, two)]
    assert (spaces[0] == spaces[1]) == (one == two)
    assert spaces[0] != replace(PRINT, **{name: one}).namespace(32)


def test_values_do_not_run_into_each_other() -> None:
    assert replace(PRINT, model="ab", dtype="c").namespace(16) != replace(PRINT, model="a", dtype="bc").namespace(16)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=5), st.lists(st.integers(0, 2**32 - 1), max_size=5))
def test_a_hash_is_its_tokens_and_its_past(one: list[int], two: list[int]) -> None:
    root = PRINT.namespace(16)
    assert (block_hash(root, one) == block_hash(root, two)) == (one == two)
    assert block_hash(block_hash(root, one), two) != block_hash(root, two)


@pytest.mark.parametrize("wrong", [-1, 2**32, 1.5])
def test_a_token_id_that_is_none_is_refused(wrong: int) -> None:
    with pytest.raises(UsageError, match="whole numbers"):
        block_hash(PRINT.namespace(16), [wrong])


def test_every_process_makes_the_same_hash() -> None:
    code = (
        "from overwinter.engine.prefix import Fingerprint, block_hash;"
        "print(block_hash(Fingerprint(model='m', dtype='float32', rope='10000', tokenizer='t').namespace(16),"
        "range(16)).hex())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert told == block_hash(PRINT.namespace(16), list(range(16))).hex()
    assert told == "caa51eb34d69444c61c9fbcb5ed09c62504d282b5efba4973d60e9614273e490"


@given(st.lists(st.integers(0, 1), min_size=1, max_size=12), st.binary(max_size=3), st.binary(max_size=3))
@settings(max_examples=60)
def test_two_tenants_never_share(tokens: list[int], one: bytes, two: bytes) -> None:
    pool = BlockPool(Config(blocks=16, block_size=SIZE))
    index = PrefixIndex(pool)
    spaces = [replace(PRINT, salt=salt).namespace(SIZE) for salt in (one, two)]
    filled(pool, index, tokens, spaces[0])
    hit = index.lookup(spaces[1], tokens)
    assert hit.tokens == ((len(tokens) - 1) // SIZE * SIZE if one == two else 0)


def test_there_is_always_a_token_left_to_compute() -> None:
    pool = BlockPool(Config(blocks=4, block_size=4))
    index = PrefixIndex(pool)
    table = filled(pool, index, list(range(8)), b"n")
    assert len(table.hashes) == 2
    assert [index.lookup(b"n", list(range(count))).tokens for count in (0, 4, 5, 8, 9)] == [0, 0, 4, 4, 8]


def test_prefixes_computed_side_by_side_become_one() -> None:
    pool = BlockPool(Config(blocks=6, block_size=4))
    index = PrefixIndex(pool)
    one, two = (filled(pool, index, list(range(10)), b"n") for _ in range(2))
    assert one.blocks[:2] == two.blocks[:2]
    assert one.blocks[2] != two.blocks[2]
    assert pool.free == 2


def test_a_block_that_forks_share_is_not_moved_under_them() -> None:
    pool = BlockPool(Config(blocks=8, block_size=4))
    index = PrefixIndex(pool)
    filled(pool, index, list(range(4)), b"n")
    one = pool.open(b"n")
    one.append(8)
    two, own = one.fork(), one.blocks.copy()
    assert index.publish(one, list(range(8))) == 0
    assert one.blocks == two.blocks == own
    two.release()
    assert index.publish(one, list(range(8))) == 2


def test_without_a_namespace_nothing_is_shared() -> None:
    pool = BlockPool(Config(blocks=4, block_size=4))
    index = PrefixIndex(pool)
    assert not filled(pool, index, list(range(8)), b"").hashes
    assert index.lookup(b"", list(range(9))).tokens == 0


def test_a_hit_for_a_hybrid_ends_where_there_is_state() -> None:
    pool = BlockPool(Config(blocks=8, block_size=4))
    index = PrefixIndex(pool, snapshot_budget_bytes=100)
    table = filled(pool, index, list(range(16)), b"n")
    state = object()
    assert index.put_snapshot(table.hashes[1], Snapshot(state, 60))
    hit = index.lookup(b"n", list(range(17)), needs_snapshot=True)
    assert (hit.tokens, hit.snapshot) == (8, Snapshot(state, 60))
    assert index.lookup(b"n", list(range(17))).tokens == 16


def test_snapshots_stay_in_their_budget_oldest_out_first() -> None:
    pool = BlockPool(Config(blocks=8, block_size=4))
    index = PrefixIndex(pool, snapshot_budget_bytes=100)
    table = filled(pool, index, list(range(16)), b"n")
    first, second, third, _ = table.hashes
    assert index.put_snapshot(first, Snapshot("a", 40))
    assert index.put_snapshot(second, Snapshot("b", 40))
    assert index.get_snapshot(first) == ("a", 40)
    assert index.put_snapshot(third, Snapshot("c", 40))
    assert index.get_snapshot(second) is None
    assert index.put_snapshot(first, Snapshot("a, again", 10))
    assert index.snapshot_bytes == 50
    assert not index.put_snapshot(second, Snapshot("too large", 101))
    assert not index.put_snapshot(b"unknown", Snapshot("x", 1))
    table.release()
    pool.clear()
    assert index.snapshot_bytes == 0


def test_only_an_empty_table_can_take_a_prefix() -> None:
    pool = BlockPool(Config(blocks=4, block_size=4))
    table = pool.open(b"n")
    table.append(1)
    with pytest.raises(UsageError, match="empty"):
        PrefixIndex(pool).attach(table, [1, 2])
