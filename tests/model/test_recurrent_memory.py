"""What an engine builds on: a core whose rows keep their bits in any batch, and states that are stacked, split and stored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model import MambaConfig, MambaState
from overwinter.model.cache import Core, LayerCache, RecurrentMemory
from overwinter.model.mamba2 import Mamba2
from overwinter.model.mamba_state import MambaSnapshot
from overwinter.model.pointwise import silu, softplus

SHAPES = {
    "odd": MambaConfig(n_heads=3, head_dim=5, d_state=7, chunk_size=6),
    "small": MambaConfig(n_heads=8, head_dim=8, d_state=16, n_groups=2, chunk_size=16),
    "usual": MambaConfig(n_heads=4, head_dim=64, d_state=128),
}
each_shape = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


@pytest.fixture(params=[1, 2], ids=["one-thread", "two-threads"])
def _threads(request: pytest.FixtureRequest, _inference: None) -> None:
    torch.set_num_threads(request.param)


any_threads = pytest.mark.usefixtures("_threads")


def block(config: MambaConfig) -> Mamba2:
    torch.manual_seed(0)
    return Mamba2(12, config)


def projected(config: MambaConfig, rows: int, length: int, seed: int = 0) -> Tensor:
    width = config.d_conv_channels + config.n_heads
    return torch.randn(rows, length, width, generator=torch.Generator().manual_seed(seed))


def state_after(core: Core, config: MambaConfig, fed_BLX: Tensor, rollback: int = 0) -> MambaState:
    state = MambaState(config, rollback=rollback)
    core(fed_BLX, state)
    return state


def same(one: MambaState, two: MambaState) -> bool:
    return torch.equal(one.conv, two.conv) and torch.equal(one.matrix, two.matrix) and one.lengths == two.lengths


@any_threads
@each_shape
def test_a_row_alone_has_the_bits_of_a_row_among_others(config: MambaConfig) -> None:
    """Decoding, in every batch from 1 to 9, each sequence at its own length."""
    core = block(config).core
    texts = [projected(config, 1, 3 + 5 * row, seed=row) for row in range(9)]
    alone = [state_after(core, config, text) for text in texts]
    rows = list(alone)
    for step in range(4):
        new_BLX = projected(config, 9, 1, seed=100 + step)
        alone = [MambaState.stack([state]) for state in alone]
        expected = [core(new_BLX[row : row + 1], alone[row]) for row in range(9)]
        for order in ([0], [8, 0], [3, 1, 2], [*range(9)], [*reversed(range(9))]):
            stacked = MambaState.stack([rows[row] for row in order])
            found_BLI = core(new_BLX[order], stacked)
            after = stacked.unstack()
            assert all(torch.equal(found_BLI[i], expected[row][0]) for i, row in enumerate(order))
            assert all(same(after[i], alone[row]) for i, row in enumerate(order))
        rows = [after[order.index(row)] for row in range(9)]


@any_threads
@each_shape
def test_prefill_in_a_batch_has_the_bits_of_prefill_alone(config: MambaConfig) -> None:
    core, text_BLX = block(config).core, projected(config, 5, 3 * config.chunk_size + 5)
    stacked = MambaState(config)
    found_BLI = core(text_BLX, stacked)
    for row, state in enumerate(stacked.unstack()):
        alone = MambaState(config)
        assert torch.equal(core(text_BLX[row : row + 1], alone)[0], found_BLI[row])
        assert same(alone, state)


@any_threads
@each_shape
def test_pieces_cut_at_chunk_borders_have_the_bits_of_the_text_at_once(config: MambaConfig) -> None:
    chunk = config.chunk_size
    core, text_BLX = block(config).core, projected(config, 1, 4 * chunk + 5)
    at_once, free_BLI = MambaState(config), core(text_BLX)
    whole_BLI = core(text_BLX, at_once)
    assert torch.equal(free_BLI, whole_BLI)
    for pieces in ([chunk, 3 * chunk + 5], [2 * chunk, chunk, chunk + 5], [chunk] * 4 + [5]):
        state = MambaState(config)
        found_BLI = torch.cat([core(piece, state) for piece in text_BLX.split(pieces, dim=1)], dim=1)
        assert torch.equal(found_BLI, whole_BLI)
        assert same(state, at_once)


@settings(max_examples=20, deadline=None)
@given(pieces=st.lists(st.integers(1, 20), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_other_pieces_differ_by_rounding_alone(pieces: list[int], seed: int) -> None:
    config = SHAPES["small"]
    core, text_BLX = block(config).core, projected(config, 2, sum(pieces), seed)
    whole_BLI, state = core(text_BLX), MambaState(config)
    found_BLI = torch.cat([core(piece, state) for piece in text_BLX.split(pieces, dim=1)], dim=1)
    assert float((found_BLI - whole_BLI).abs().max()) <= 1e-5 * float(whole_BLI.abs().max())


@each_shape
def test_drafts_of_a_batch_are_taken_back_row_by_row(config: MambaConfig) -> None:
    core = block(config).core
    texts = [projected(config, 1, 4 + row, seed=row) for row in range(4)]
    stacked = MambaState.stack([state_after(core, config, text) for text in texts], rollback=3)
    drafts_BLX = projected(config, 4, 4, seed=50)
    core(drafts_BLX, stacked)
    for row, (state, accepted) in enumerate(zip(stacked.unstack(), (1, 2, 3, 4), strict=True)):
        straight = state_after(core, config, texts[row])
        for token in range(accepted):
            core(drafts_BLX[row : row + 1, token : token + 1], straight)
        assert state.lengths == (8 + row,)
        state.truncate(4 + row + accepted)
        assert torch.allclose(state.matrix, straight.matrix, atol=1e-6)
        assert torch.equal(state.conv, straight.conv)
        assert state.lengths == straight.lengths
    with pytest.raises(UsageError, match="unstack"):
        stacked.truncate(7)


def test_a_snapshot_goes_through_a_file(tmp_path: object) -> None:
    from safetensors.torch import load, save

    config = SHAPES["odd"]
    core = block(config).core
    stacked = MambaState.stack([state_after(core, config, projected(config, 1, n, seed=n)) for n in (4, 9)])
    row = stacked.unstack()[1]
    for state in (stacked, row):
        snapshot = state.snapshot()
        assert snapshot is not None
        assert snapshot.matrix.untyped_storage().nbytes() == snapshot.matrix.nbytes  # a row keeps no batch alive
        again = MambaState(config, rollback=2)
        again.restore(MambaSnapshot.of(load(save(snapshot.tensors()))))
        assert same(again, state)
        new_BLX = projected(config, state.batch, 1, seed=70)
        assert torch.equal(core(new_BLX, again), core(new_BLX, state))


def test_what_cannot_be_stacked_is_said() -> None:
    core = block(SHAPES["odd"]).core
    fed = state_after(core, SHAPES["odd"], projected(SHAPES["odd"], 1, 3))
    for states in ([], [fed, MambaState(SHAPES["odd"])], [fed, MambaState(SHAPES["small"])]):
        with pytest.raises(UsageError, match="stacked"):
            MambaState.stack(states)


def test_a_state_is_both_kinds_of_memory() -> None:
    state = MambaState(SHAPES["odd"])
    assert isinstance(state, RecurrentMemory)
    assert isinstance(state, LayerCache)


@any_threads
@pytest.mark.parametrize("function", [silu, softplus], ids=["silu", "softplus"])
def test_a_number_has_its_bits_at_every_place(function: object) -> None:
    assert callable(function)
    x = 6 * torch.randn(70_001, generator=torch.Generator().manual_seed(1))
    whole = function(x)
    for width in (1, 3, 7, 31, 33, 4097):
        count = width * min(300, len(x) // width)
        assert torch.equal(torch.cat([function(part) for part in x[:count].split(width)]), whole[:count])
    theirs = {silu: torch.nn.functional.silu, softplus: torch.nn.functional.softplus}[function]  # type: ignore[index]
    assert torch.allclose(whole, theirs(x), rtol=1e-6, atol=1e-7)
    extremes = torch.tensor([-200.0, -80.0, 0.0, 80.0, 200.0, 1e30])
    assert torch.allclose(function(extremes), theirs(extremes), atol=1e-30)
    with torch.enable_grad():
        extremes.requires_grad_()
        function(extremes).sum().backward()
    assert extremes.grad is not None
    assert extremes.grad.isfinite().all()
