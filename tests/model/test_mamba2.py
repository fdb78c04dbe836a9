"""Mamba-2: chunks, steps and the plain recurrence are one function; the published block is met; the state goes back and forth."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model.mamba2 import GatedRMSNorm, Mamba2
from overwinter.model.mamba_state import MambaConfig, MambaState
from overwinter.model.ssd import ScanInput, ssd_chunked, ssd_sequential, ssd_step

SMALL = MambaConfig(n_heads=8, d_state=8, head_dim=4, n_groups=2, chunk_size=8, bias=True)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def off(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value where that is above 1."""
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1.0))


def block(config: MambaConfig = SMALL, seed: int = 0) -> Mamba2:
    torch.manual_seed(seed)
    return Mamba2(16, config)


def text(length: int, *, batch: int = 2, seed: int = 1, width: int = 16) -> Tensor:
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(seed))


def scan_of(
    length: int, *, batch: int, groups: int, per_group: int, seed: int, width: int = 3, size: int = 5
) -> ScanInput:
    generator = torch.Generator().manual_seed(seed)
    heads = groups * per_group
    decay = -2.0 * torch.rand(batch, length, heads, generator=generator) ** 3  # from almost nothing to e⁻²
    b, c = (torch.randn(batch, length, groups, size, generator=generator) for _ in range(2))
    return ScanInput(torch.randn(batch, length, heads, width, generator=generator), decay, b, c)


scans = st.builds(
    scan_of,
    st.integers(1, 70),
    batch=st.integers(1, 3),
    groups=st.integers(1, 3),
    per_group=st.integers(1, 3),
    seed=st.integers(0, 2**16),
    width=st.integers(1, 5),
    size=st.integers(1, 6),
)


def by_steps(scan: ScanInput, state_BHPN: Tensor) -> tuple[Tensor, Tensor]:
    outputs = []
    for t in range(scan.x.shape[1]):
        y_BHP, state_BHPN = ssd_step(scan.at(t), state_BHPN)
        outputs.append(y_BHP)
    return torch.stack(outputs, dim=1), state_BHPN


def some_state(scan: ScanInput, present: bool) -> Tensor | None:
    batch, _, heads, width = scan.x.shape
    generator = torch.Generator().manual_seed(heads)
    return torch.randn(batch, heads, width, scan.b.shape[-1], generator=generator) if present else None


# --- the scan -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(scan=scans, chunk=st.integers(1, 80), with_state=st.booleans())
def test_chunks_steps_and_the_plain_recurrence_agree(scan: ScanInput, chunk: int, with_state: bool) -> None:
    initial = some_state(scan, with_state)
    y, final = ssd_sequential(scan, initial_BHPN=initial)
    y_chunked, final_chunked = ssd_chunked(scan, chunk=chunk, initial_BHPN=initial)
    y_steps, final_steps = by_steps(scan, torch.zeros_like(final) if initial is None else initial)
    assert max(off(y_chunked, y), off(final_chunked, final), off(y_steps, y), off(final_steps, final)) < 1e-5


@settings(max_examples=40, deadline=None)
@given(scan=scans, chunk=st.integers(1, 40), with_state=st.booleans(), seed=st.integers(0, 999))
def test_packed_documents_do_not_see_each_other(scan: ScanInput, chunk: int, with_state: bool, seed: int) -> None:
    starts = torch.rand(scan.x.shape[:2], generator=torch.Generator().manual_seed(seed)) < 0.15
    initial = some_state(scan, with_state)
    y, final = ssd_sequential(scan, initial_BHPN=initial, starts_BL=starts)
    y_chunked, final_chunked = ssd_chunked(scan, chunk=chunk, initial_BHPN=initial, starts_BL=starts)
    assert max(off(y_chunked, y), off(final_chunked, final)) < 1e-5


@settings(max_examples=30, deadline=None)
@given(scan=scans, chunk=st.integers(1, 20), cut=st.floats(0, 1))
def test_a_scan_may_be_cut_anywhere(scan: ScanInput, chunk: int, cut: float) -> None:
    length = scan.x.shape[1]
    at = 1 + int(cut * (length - 1))
    y, final = ssd_chunked(scan, chunk=chunk)
    first, state = ssd_chunked(scan.between(0, at), chunk=chunk)
    rest = []
    if at < length:
        second, state = ssd_chunked(scan.between(at, length), chunk=chunk, initial_BHPN=state)
        rest = [second]
    assert max(off(torch.cat([first, *rest], dim=1), y), off(state, final)) < 1e-5


@pytest.mark.parametrize("per_token", [-60.0, -1e4])
def test_strong_decay_is_neither_overflow_nor_nan(per_token: float) -> None:
    scan = scan_of(70, batch=1, groups=1, per_group=2, seed=3)
    decay = torch.full_like(scan.decay, per_token).requires_grad_()
    y, final = ssd_chunked(scan._replace(decay=decay), chunk=32)
    (y.sum() + final.sum()).backward()
    assert off(y, ssd_sequential(scan._replace(decay=decay))[0]) < 1e-5
    assert decay.grad is not None
    assert decay.grad.isfinite().all()


def test_long_sums_of_decay_stay_exact() -> None:
    """In one chunk of 1,024 tokens the sum reaches −1,600, where float32 is coarser than 1e-4; differences of it are what counts."""
    scan = scan_of(1024, batch=1, groups=1, per_group=2, seed=4)
    scan = scan._replace(decay=torch.full_like(scan.decay, -1.6) * torch.rand(scan.decay.shape).round())
    exact = ScanInput(*(tensor.double() for tensor in scan))
    assert off(ssd_chunked(scan, chunk=1024)[0].double(), ssd_sequential(exact)[0]) < 2e-6


# --- the block ------------------------------------------------------------------------------------------------------------

CONFIGS = {
    "small": SMALL,
    "norm_before_gate": MambaConfig(n_heads=8, d_state=8, head_dim=4, n_groups=2, chunk_size=8, norm_before_gate=True),
    "one_group_no_conv_bias": MambaConfig(n_heads=4, d_state=8, head_dim=8, chunk_size=7, conv_bias=False, d_conv=2),
    "dt_limit": MambaConfig(
        n_heads=8, d_state=8, head_dim=4, n_groups=4, chunk_size=8, dt_lowest=0.004, dt_highest=0.02
    ),
    "odd_width_conv1": MambaConfig(n_heads=6, d_state=3, head_dim=5, n_groups=3, chunk_size=8, d_conv=1),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@torch.no_grad()
def test_prefill_pieces_and_steps_agree(config: MambaConfig) -> None:
    model, x = block(config), text(29)  # more than three chunks
    whole = model(x)
    for pieces, rollback in (
        ([29], 0),
        ([10, 1, 18], 0),
        ([10, 1, 18], 4),
        ([1] * 29, 0),
        ([1] * 29, 3),
        ([2, 3, 24], 30),
    ):
        state = model.new_cache(rollback=rollback)
        found = torch.cat([model(piece, cache=state) for piece in x.split(pieces, dim=1)], dim=1)
        assert off(found, whole) < 1e-5
        assert state.length == x.shape[1]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_gradients_are_finite_and_do_not_depend_on_the_chunk(config: MambaConfig) -> None:
    def gradients(chunk: int) -> dict[str, Tensor]:
        model, x = block(MambaConfig(**{**vars(config), "chunk_size": chunk})), text(29).requires_grad_()
        model(x).square().sum().backward()
        assert x.grad is not None
        return {"x": x.grad} | {name: each.grad for name, each in model.named_parameters() if each.grad is not None}

    expected = gradients(1)
    assert set(expected) == {"x", *(name for name, _ in block(config).named_parameters())}
    for chunk in (4, 8, 64):
        for name, found in gradients(chunk).items():
            assert found.isfinite().all()
            assert float((found - expected[name]).abs().max() / expected[name].abs().max()) < 1e-4, name


@torch.no_grad()
def test_no_token_sees_a_later_one() -> None:
    """Longer than three chunks and at every chunk border: shorter tests pass on code that leaks."""
    model, x = block(), text(3 * SMALL.chunk_size + 5)
    before = model(x)
    for k in (0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 28):
        changed = x.clone()
        changed[:, k] += 1.0
        after = model(changed)
        assert torch.equal(after[:, :k], before[:, :k])
        assert not torch.equal(after[:, k], before[:, k])


@torch.no_grad()
def test_left_padding_changes_nothing() -> None:
    model, x = block(), text(20)
    padded = torch.cat([torch.full((2, 5, 16), 9.0), x], dim=1)
    positions = torch.arange(-5, 20).expand(2, 25)
    assert off(model(padded, positions)[:, 5:], model(x)) < 1e-5

    state, bare = model.new_cache(rollback=2), model.new_cache(rollback=2)
    model(padded, positions, state)
    model(x, cache=bare)
    more = text(1, seed=2)
    assert off(model(more, cache=state), model(more, cache=bare)) < 1e-5


@torch.no_grad()
def test_packed_rows_equal_separate_rows() -> None:
    model, parts = block(), [text(n, batch=1, seed=n) for n in (9, 1, 2, 17)]
    row = torch.cat(parts, dim=1)
    starts = torch.zeros(1, row.shape[1], dtype=torch.bool)
    starts[0, [0, 9, 10, 12]] = True
    assert off(model(row, starts_BL=starts), torch.cat([model(part) for part in parts], dim=1)) < 1e-5


def test_initialisation_is_the_published_one() -> None:
    model = block(MambaConfig(n_heads=512, head_dim=2))
    dt, a = torch.nn.functional.softplus(model.dt_bias.detach()), model.A_log.detach().exp()
    assert 0.00099 < dt.min() < 0.0012
    assert 0.085 < dt.max() < 0.101
    assert abs(float(dt.log().mean()) - math.log(0.01)) < 0.2  # log-uniform: the mean of the logarithm is in the middle
    assert 1.0 <= a.min() < 1.5
    assert 15.5 < a.max() <= 16.0
    assert torch.equal(model.D, torch.ones(512))
    assert {name for name, _ in model.named_parameters()} >= Mamba2.NO_DECAY


def test_the_norm_of_one_group_is_rms_norm_of_the_gated_value() -> None:
    config = MambaConfig(n_heads=8, head_dim=4)
    y, z = torch.randn(2, 3, 32), torch.randn(2, 3, 32)
    gate = torch.nn.functional.silu(z)
    after = GatedRMSNorm(config)(y, z)
    assert off(after, torch.nn.functional.rms_norm(y * gate, (32,), eps=1e-5)) < 1e-6
    before = GatedRMSNorm(MambaConfig(n_heads=8, head_dim=4, norm_before_gate=True))(y, z)
    assert off(before, torch.nn.functional.rms_norm(y, (32,), eps=1e-5) * gate) < 1e-6


@torch.no_grad()
def test_bfloat16_stays_near_float32() -> None:
    model, x = block(), text(29)
    exact = model(x)
    half = model.bfloat16()
    state = half.new_cache()
    found = half(x.bfloat16(), cache=state)
    assert found.dtype == torch.bfloat16
    assert state.matrix.dtype == torch.float32
    assert off(found.float(), exact) < 0.05


# --- the published block --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"n_groups": 1, "use_bias": True}, {"time_step_limit": (0.004, 0.05)}], ids=str
)
@torch.no_grad()
def test_the_same_weights_give_what_transformers_gives(options: dict[str, Any]) -> None:
    """The whole Mamba2Model of transformers, with our blocks between its embedding and its norms, against itself."""
    transformers = pytest.importorskip("transformers")
    shape = {
        "hidden_size": 32,
        "state_size": 16,
        "num_heads": 8,
        "head_dim": 8,
        "n_groups": 2,
        "chunk_size": 8,
    } | options
    torch.manual_seed(5)
    theirs = transformers.Mamba2Model(transformers.Mamba2Config(**shape, vocab_size=50, num_hidden_layers=3)).eval()
    lowest, highest = options.get("time_step_limit", (0.0, None))
    config = MambaConfig(
        n_heads=8,
        d_state=16,
        head_dim=8,
        n_groups=shape["n_groups"],
        chunk_size=16,
        bias=options.get("use_bias", False),
        dt_lowest=lowest,
        dt_highest=highest,
    )
    blocks = []
    for layer in theirs.layers:
        for each in layer.mixer.parameters():
            each.add_(0.1 * torch.randn_like(each))
        blocks.append(Mamba2(32, config))
        blocks[-1].load_state_dict(layer.mixer.state_dict())
    ids = torch.randint(50, (2, 45))

    def ours(piece: Tensor, states: list[MambaState]) -> Tensor:
        h_BLD = theirs.embeddings(piece)
        for layer, mixer, state in zip(theirs.layers, blocks, states, strict=True):
            h_BLD = h_BLD + mixer(layer.norm(h_BLD), cache=state)
        return theirs.norm_f(h_BLD)

    expected = theirs(ids).last_hidden_state
    for pieces in ([45], [20, 25], [40, 1, 1, 1, 1, 1]):
        states = [mixer.new_cache() for mixer in blocks]
        found = torch.cat([ours(piece, states) for piece in ids.split(pieces, dim=1)], dim=1)
        assert off(found, expected) < 1e-4


HYBRIDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Bamba": ("bamba.modeling_bamba.BambaMixer", {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16}),
    "GraniteMoeHybrid": (
        "granitemoehybrid.modeling_granitemoehybrid.GraniteMoeHybridMambaLayer",
        {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16},
    ),
    "NemotronH": (
        "nemotron_h.modeling_nemotron_h.NemotronHMamba2Mixer",
        {"mamba_num_heads": 6, "mamba_head_dim": 8, "ssm_state_size": 16, "n_groups": 2, "chunk_size": 8},
    ),
}


@pytest.mark.parametrize("family", HYBRIDS)
@torch.no_grad()
def test_the_mixers_of_published_hybrids_are_this_block(family: str) -> None:
    """Their weights load by the same names; in Nemotron-H the inner width need not be twice the model's."""
    transformers = pytest.importorskip("transformers")
    path, shape = HYBRIDS[family]
    module, _, name = path.rpartition(".")
    if family != "NemotronH":
        shape = {**shape, "mamba_n_groups": 2, "mamba_chunk_size": 8, "num_hidden_layers": 2}
    torch.manual_seed(6)
    settings_of = getattr(transformers, f"{family}Config")(hidden_size=32, vocab_size=50, **shape)
    theirs = getattr(importlib.import_module(f"transformers.models.{module}"), name)(settings_of, 0).eval()
    for each in theirs.parameters():
        each.add_(0.1 * torch.randn_like(each))
    heads = shape.get("mamba_num_heads", 8)
    eps = theirs.norm.variance_epsilon
    ours = Mamba2(32, MambaConfig(n_heads=heads, d_state=16, head_dim=8, n_groups=2, norm_eps=eps))
    ours.load_state_dict(theirs.state_dict())
    x, expected = text(45, width=32), theirs(text(45, width=32))
    assert float((ours(x) - expected).abs().max() / expected.abs().max()) < 1e-4


# --- the state ------------------------------------------------------------------------------------------------------------


def contents(state: MambaState) -> tuple[Tensor, Tensor]:
    return state.conv, state.matrix


@settings(max_examples=40, deadline=None)
@given(prefix=st.integers(1, 20), drafted=st.integers(1, 6), accepted=st.integers(0, 6), spare=st.integers(0, 3))
@torch.no_grad()
def test_rejected_tokens_are_taken_back(prefix: int, drafted: int, accepted: int, spare: int) -> None:
    accepted = min(accepted, drafted)
    model, x, wrong = block(), text(prefix + accepted + 3), text(drafted, seed=7)
    drafts = torch.cat([x[:, prefix : prefix + accepted], wrong[:, accepted:]], dim=1)
    state, straight = model.new_cache(rollback=drafted + spare), model.new_cache()
    model(x[:, :prefix], cache=state)
    model(drafts, cache=state)
    state.truncate(prefix + accepted)
    model(x[:, : prefix + accepted], cache=straight)
    assert state.length == straight.length
    assert max(off(found, expected) for found, expected in zip(contents(state), contents(straight), strict=True)) < 1e-5
    for t in range(prefix + accepted, x.shape[1]):
        assert off(model(x[:, t : t + 1], cache=state), model(x[:, t : t + 1], cache=straight)) < 1e-5


@torch.no_grad()
def test_going_back_and_forth_gives_the_same_bits() -> None:
    model, x = block(), text(30)
    state = model.new_cache(rollback=6)
    model(x[:, :12], cache=state)
    at_12 = [each.clone() for each in contents(state)]
    for wrong in (1, 3, 6):
        for t in range(wrong):
            model(text(1, seed=50 + t), cache=state)
        state.truncate(12)
        assert all(torch.equal(now, then) for now, then in zip(contents(state), at_12, strict=True))


@torch.no_grad()
def test_how_far_back_a_state_goes() -> None:
    model, x = block(), text(20)
    state = model.new_cache(rollback=4)
    model(x[:, :10], cache=state)
    assert state.shortest == 6
    for n in (5, -1, 11):
        with pytest.raises(UsageError, match="can go back to token 6"):
            state.truncate(n)
    state.truncate(10)  # nothing to do
    state.truncate(8)
    assert state.shortest == 6  # what is left of the four
    state.truncate(6)
    with pytest.raises(UsageError, match="rollback above 4"):
        state.truncate(5)

    bare = model.new_cache()
    model(x, cache=bare)
    with pytest.raises(UsageError, match="restore an earlier snapshot"):
        bare.truncate(19)


@torch.no_grad()
def test_a_snapshot_outlives_what_happens_after_it() -> None:
    model, x = block(), text(24)
    state = model.new_cache(rollback=3)
    model(x[:, :11], cache=state)
    snapshot = state.snapshot()
    first = [model(x[:, t : t + 1], cache=state) for t in range(11, 24)]

    other = model.new_cache(rollback=3)
    for again in (state, other):
        again.restore(snapshot)
        assert again.length == again.shortest == 11
        found = [model(x[:, t : t + 1], cache=again) for t in range(11, 24)]
        assert all(torch.equal(one, two) for one, two in zip(found, first, strict=True))
    other.truncate(21)
    with pytest.raises(UsageError, match="shapes"):
        MambaState(MambaConfig(n_heads=8, d_state=9, head_dim=4)).restore(snapshot)


@torch.no_grad()
def test_bytes_do_not_grow_with_the_text() -> None:
    model = block()
    channels, matrix = SMALL.d_conv_channels, SMALL.d_inner * SMALL.d_state
    for rollback in (0, 3):
        state = model.new_cache(rollback=rollback)
        expected = 4 * 2 * ((3 + rollback) * channels + (1 + rollback) * matrix)
        assert state.bytes == 0
        for length in (1, 40, 1, 400):
            model(text(length), cache=state)
            held = state._conv_BTC.untyped_storage().nbytes()
            held += sum(each.untyped_storage().nbytes() for each in state._matrices)
            assert held <= state.bytes == expected
        assert held == expected
        snapshot = state.snapshot()
        assert snapshot.bytes == 4 * 2 * (3 * channels + matrix)
        assert snapshot.conv.untyped_storage().nbytes() == snapshot.conv.nbytes  # no view of a longer history


def test_gradients_end_at_the_state() -> None:
    model, state = block(), MambaState(SMALL, rollback=2)
    model(text(9).requires_grad_(), cache=state)
    assert not state.conv.requires_grad
    assert not state.matrix.requires_grad
    model(text(1), cache=state).sum().backward()


# --- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"d_state": 0},
        {"d_state": True},
        {"d_state": "8"},
        {"n_groups": 3},
        {"n_heads": 0},
        {"bias": 1},
        {"dt_lowest": 0.2, "dt_highest": 0.1},
        {"dt_lowest": -1.0},
        {"dt_highest": math.inf},
        {"dt_min": 0.0},
        {"a_min": -1.0},
        {"a_max": 0.5},
    ],
    ids=str,
)
def test_impossible_configs_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        MambaConfig(**{"n_heads": 8, "head_dim": 4, "d_state": 8, **changes})


def test_impossible_calls_are_refused() -> None:
    model, x, positions = block(), text(6), torch.arange(6).expand(2, 6)
    started = model.new_cache()
    model(x, cache=started)
    padded, late, first = positions - 1, -positions, positions == 0
    three = model.new_cache()
    model(text(1, batch=3), cache=three)
    calls: list[tuple[str, Tensor, dict[str, Any]]] = [
        ("shape", x[0], {}),
        ("at least one token", x[:, :0], {}),
        ("16", x[..., :5], {}),
        ("batch of 3, the new tokens a batch of 2", x, {"cache": three}),
        ("packed", x, {"cache": model.new_cache(), "starts_BL": first}),
        ("padding after a token", x, {"positions_BL": late}),
        ("padding after a token", x, {"positions_BL": late, "cache": started}),
        ("middle of a text", x, {"cache": started, "positions_BL": padded}),
        ("the mask", x, {"positions_BL": positions[:, :2]}),
        ("starts_BL", x, {"starts_BL": first[:, :3]}),
        ("starts_BL", x, {"starts_BL": first.float()}),
    ]
    for message, given_x, keywords in calls:
        with pytest.raises(UsageError, match=message):
            model(given_x, **keywords)
    assert started.length == 6  # a refused call moves nothing
    with pytest.raises(UsageError):
        MambaState(SMALL, rollback=-1)
    with pytest.raises(UsageError):
        ssd_chunked(scan_of(3, batch=1, groups=1, per_group=1, seed=0), chunk=0)


def test_the_example_of_the_page_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "mamba2.md"
    for example in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(example, {})
