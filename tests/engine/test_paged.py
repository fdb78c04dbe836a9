"""Paged storage against its twin: every sequence with contiguous tensors of its own. Equality is bitwise throughout.

Shapes as in paged.py: L layers, T tokens, H kv heads, D head width.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import Tensor

from overwinter.engine import blocks, paged
from overwinter.engine.blocks import BlockPool, BlockTable, Exhausted, Growth
from overwinter.engine.paged import PagedStore, read_tensors, write_tensors
from overwinter.errors import StoreError, UsageError

L, H, D, SIZE, BLOCKS = 2, 2, 3, 4, 8


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(size: int = SIZE, count: int = BLOCKS, dtype: torch.dtype = torch.float32) -> tuple[BlockPool, PagedStore]:
    pool = BlockPool(blocks.Config(blocks=count, block_size=size))
    shape = paged.Config(layers=L, blocks=count, block_size=size, kv_heads=H, head_dim=D, dtype=dtype)
    return pool, PagedStore(shape)


def same_bits(one: Tensor, two: Tensor) -> bool:
    """NaN payloads and the sign of zero included."""
    if (one.shape, one.dtype) != (two.shape, two.dtype):
        return False
    return torch.equal(one.contiguous().view(torch.uint8), two.contiguous().view(torch.uint8))


def random_bits(seed: int, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """K and V of `count` tokens, (2, L, count, H, D): any bit pattern at all, infinities and NaN too."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randint(0, 256, (2, L, count, H, D * dtype.itemsize), dtype=torch.uint8, generator=generator)
    return raw.view(dtype)


def write(store: PagedStore, growth: Growth, new_SLTHD: Tensor) -> None:
    store.carry_out(growth.copies)
    places = store.places(growth.slots)
    for layer in range(L):
        store.write(layer, places, new_SLTHD[0, layer], new_SLTHD[1, layer])


def read(store: PagedStore, table: BlockTable) -> Tensor:
    index = store.index(table.blocks)
    layers = [torch.stack(store.gather(layer, index, table.length)) for layer in range(L)]
    return torch.stack(layers, dim=1)


class StoreMachine(RuleBasedStateMachine):
    """Random histories; the twin of each table is a plain tensor that is concatenated, cloned and cut."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.store = make()
        self.pairs: list[tuple[BlockTable, Tensor]] = []
        self.seed = 0

    def pick(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.pairs) - 1))

    @precondition(lambda self: len(self.pairs) < 4)
    @rule()
    def open(self) -> None:
        self.pairs.append((self.pool.open(), torch.empty(2, L, 0, H, D)))

    @precondition(lambda self: self.pairs)
    @rule(data=st.data(), count=st.integers(1, 9))
    def append(self, data: st.DataObject, count: int) -> None:
        at = self.pick(data)
        table, twin = self.pairs[at]
        growth = table.append(count)
        if isinstance(growth, Growth):
            self.seed += 1
            new = random_bits(self.seed, count)
            write(self.store, growth, new)
            self.pairs[at] = table, torch.cat([twin, new], dim=2)

    @precondition(lambda self: 0 < len(self.pairs) < 4)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        table, twin = self.pairs[self.pick(data)]
        self.pairs.append((table.fork(), twin.clone()))

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        at = self.pick(data)
        table, twin = self.pairs[at]
        length = data.draw(st.integers(0, table.length))
        table.truncate(length)
        self.pairs[at] = table, twin[:, :, :length]

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.pairs.pop(self.pick(data))[0].release()

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def suspend_and_resume(self, data: st.DataObject) -> None:
        at = self.pick(data)
        table, twin = self.pairs.pop(at)
        kept = self.store.export(table)
        table.release()
        table_again = self.store.restore(self.pool, kept)
        if isinstance(table_again, BlockTable):
            self.pairs.append((table_again, twin))

    @invariant()
    def paged_is_contiguous(self) -> None:
        for table, twin in self.pairs:
            assert same_bits(read(self.store, table), twin)

    def teardown(self) -> None:
        for table, _ in self.pairs:
            table.release()
        assert self.pool.free == BLOCKS


StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestStore = StoreMachine.TestCase


def test_bytes_are_counted_and_a_block_is_one_stretch() -> None:
    _, store = make(dtype=torch.bfloat16)
    assert store.size_bytes == BLOCKS * store.block_bytes == BLOCKS * SIZE * store.token_bytes
    assert store.token_bytes == 2 * L * H * D * 2
    assert store.data_NLSTHD[3].is_contiguous()
    assert store.k_LNTHD.shape == (L, BLOCKS, SIZE, H, D)
    assert store.k_LNTHD.data_ptr() == store.data_NLSTHD.data_ptr()


def test_a_batch_is_gathered_like_its_rows() -> None:
    pool, store = make()
    tables = [pool.open(), pool.open()]
    for seed, (table, count) in enumerate(zip(tables, (9, 5), strict=True)):
        growth = table.append(count)
        assert isinstance(growth, Growth)
        write(store, growth, random_bits(seed, count))
    index_BN = store.index([*tables[0].blocks, *tables[1].blocks, 0]).view(2, 3)
    k_BTHD, v_BTHD = store.gather(1, index_BN, 9)
    assert k_BTHD.shape == (2, 9, H, D)
    for row, table in enumerate(tables):
        k_THD, v_THD = store.gather(1, store.index(table.blocks), table.length)
        assert k_THD.is_contiguous()
        assert same_bits(k_BTHD[row, : table.length], k_THD)
        assert same_bits(v_BTHD[row, : table.length], v_THD)
    with pytest.raises(UsageError, match="do not hold"):
        store.gather(0, store.index([0]), SIZE + 1)


@given(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]), st.integers(0, 14), st.sampled_from([1, 3, 16]))
@settings(max_examples=40)
def test_a_suspended_sequence_comes_back_anywhere(
    tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype, count: int, other_size: int
) -> None:
    path = tmp_path_factory.mktemp("suspend") / "a.kv"
    pool, store = make(dtype=dtype)
    table = pool.open()
    growth = table.append(count)
    assert isinstance(growth, Growth)
    written = random_bits(count, count, dtype)
    write(store, growth, written)
    size_bytes = write_tensors(path, store.export(table), {"ids": "1 2"})
    assert size_bytes == path.stat().st_size < count * store.token_bytes + 1000
    tensors, notes = read_tensors(path)
    assert notes == {"ids": "1 2"}
    pool_2, store_2 = make(size=other_size, count=20, dtype=dtype)
    pool_2.open().append(2 * other_size)
    again = store_2.restore(pool_2, tensors, b"n")
    assert isinstance(again, BlockTable)
    assert same_bits(read(store_2, again), written)
    assert again.namespace == b"n"


def test_restoring_into_a_full_pool_is_an_answer() -> None:
    pool, store = make()
    table = pool.open()
    table.append(SIZE * 5)
    kept = store.export(table)
    assert store.restore(pool, kept) == Exhausted(needed=5, available=3)
    assert pool.free == 3


def test_what_does_not_fit_the_model_is_refused() -> None:
    pool, store = make()
    good = torch.zeros(L, 3, H, D)
    wrongs = [
        {"k": good},
        {"k": good, "v": good[:, :, :1]},
        {"k": good, "v": good.double()},
        {"k": good, "v": good[:1]},
    ]
    for wrong in wrongs:
        with pytest.raises(UsageError, match="resume with the model"):
            store.restore(pool, wrong)
    with pytest.raises(UsageError, match="differ in length"):
        store.restore(pool, {"k": good, "v": good[:, :2]})
    assert pool.free == BLOCKS


def test_every_damage_to_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.kv"
    write_tensors(path, {"k": torch.arange(50.0), "part": torch.arange(9).view(3, 3)[:, 1]}, {"n": "x"})
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="another copy"):
            read_tensors(path)
    for at in range(8, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            tensors, notes = read_tensors(path)
        except StoreError:
            continue
        assert (torch.equal(tensors["k"], torch.arange(50.0)), notes) == (True, {"n": "x"}), at
    with pytest.raises(StoreError):
        read_tensors(tmp_path / "missing.kv")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.kv"
    write_tensors(path, {"k": torch.zeros(3)}, {})
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="free disk space"):
            write_tensors(path, {"k": torch.ones(3)}, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StoreError):
        write_tensors(tmp_path / "no folder" / "a.kv", {"k": torch.ones(3)}, {})


PAGE = Path(__file__).parents[2] / "docs" / "kv.md"


def test_the_page_s_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) >= 3
    names: dict[str, Any] = {"__name__": "kv_page"}
    for number, example in enumerate(examples, 1):
        exec(compile(example, f"docs/kv.md, example {number}", "exec", dont_inherit=True), names)
