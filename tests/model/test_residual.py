"""Attention residuals: the formula, its two-phase form, and what they are at the start."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit import MAMBA, SHAPE, relative_error, some_ids, tiny
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model import AttnResConfig, Config, Decoder, LoopConfig, fresh
from overwinter.model.residual import Additive, DepthAttention, build_stack

D = 16
FULL = AttnResConfig(kind="full")


def a_stack(n_sublayers: int, *, seed: int = 0, scale: float = 0.3, n_all: int | None = None, **options: Any) -> Any:
    config = Config(**{**SHAPE, "d_model": D}, attnres=AttnResConfig(**options))
    stack = build_stack(config, n_sublayers=n_sublayers, n_all=n_all or n_sublayers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in stack.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, scale, generator=generator)
    return stack


def some_sublayers(count: int, seed: int = 0) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    matrices = [torch.randn(D, D, generator=generator) / D**0.5 for _ in range(count)]
    return [lambda h, matrix=matrix: torch.tanh(h @ matrix) for matrix in matrices]


def some_stream(seed: int = 0) -> Tensor:
    return torch.randn(2, 5, D, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(
    n_sublayers=st.integers(1, 9),
    blocks=st.integers(1, 9),
    kind=st.sampled_from(["full", "block"]),
    key_norm=st.booleans(),
    final_mix=st.booleans(),
    scale=st.sampled_from([0.0, 0.3, 30.0]),
    seed=st.integers(0, 3),
)
def test_two_phases_are_the_formula(n_sublayers: int, scale: float, seed: int, **options: Any) -> None:
    stack = a_stack(n_sublayers, seed=seed, scale=scale, **options)
    sublayers, h_BLD = some_sublayers(n_sublayers, seed), some_stream(seed)
    with torch.no_grad():
        fast_BLD, direct_BLD = stack(h_BLD, sublayers), stack.in_order(h_BLD, sublayers)
    assert torch.isfinite(fast_BLD).all()
    # Logits in the hundreds round in the fifth decimal, and the softmax shows it.
    assert relative_error(fast_BLD, direct_BLD) <= (1e-5 if scale < 1 else 1e-2)


def test_the_formula_written_out() -> None:
    """Six sub-layers in blocks of four and two, one token, one number at a time."""
    stack = a_stack(6, blocks=2, n_all=8)
    assert stack.block_size == 4
    sublayers, h_D = some_sublayers(6), some_stream()[0, 0]
    blocks, inside = [h_D], []
    for place, sublayer in enumerate(sublayers):
        sources = blocks + ([sum(inside)] if inside else [])
        inside.append(sublayer(written_out(sources, stack.mixes[place - 1], stack.eps) if place else h_D))
        if len(inside) == 4 or place == 5:
            blocks.append(sum(inside))
            inside = []
    expected_D = written_out(blocks, stack.final, stack.eps)
    assert len(blocks) == 3
    for form in (stack.in_order, stack.in_phases):
        assert relative_error(form(h_D[None, None], sublayers)[0, 0].detach(), expected_D.detach()) <= 1e-5


def written_out(sources: list[Tensor], mix: Any, eps: float) -> Tensor:
    scores = [
        sum(w * g * v for w, g, v in zip(mix.depth_query, mix.depth_key_norm, source, strict=True))
        / (sum(v * v for v in source) / D + eps).sqrt()
        for source in sources
    ]
    total = sum(score.exp() for score in scores)
    return sum(score.exp() / total * source for score, source in zip(scores, sources, strict=True))


def test_the_start_is_uniform() -> None:
    config = Config(**SHAPE, attnres=FULL)
    decoder, seen = fresh(config), []
    stack = decoder.stacks["middle"]
    stack.in_order(torch.randn(1, 4, 32), some_of(decoder), seen=seen)
    assert [alpha.shape[-1] for alpha in seen] == [2, 3, 4, 5, 6, 7]
    for alpha_BLI in seen:
        assert torch.allclose(alpha_BLI, torch.full_like(alpha_BLI, 1 / alpha_BLI.shape[-1]))


def some_of(decoder: Decoder) -> list[Any]:
    positions_BL = torch.arange(4)[None]
    return [part for block in decoder.blocks for part in block.sublayers(positions_BL, None)]


@pytest.mark.parametrize("norm", ["pre", "sandwich"])
@pytest.mark.parametrize("final_mix", [True, False])
def test_at_the_start_it_computes_the_plain_network(norm: str, final_mix: bool) -> None:
    """A mean in place of a sum is nothing to a part that begins with a norm, but for the norm's ε."""
    plain = tiny(norm=norm, norm_eps=1e-12)
    mixed = fresh(Config(**SHAPE, norm=norm, norm_eps=1e-12, attnres=AttnResConfig(kind="full", final_mix=final_mix)))
    missing, unexpected = mixed.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all("depth_" in name for name in missing)
    ids_BL = some_ids(2, 20)
    with torch.no_grad():
        assert relative_error(mixed(ids_BL), plain(ids_BL)) <= 1e-4


def test_blocks_of_one_are_the_full_form() -> None:
    n_sublayers = 2 * SHAPE["n_layers"]
    full, ids_BL = tiny(attnres=FULL), some_ids(2, 20)
    for blocks in (n_sublayers, 100):
        block = tiny(attnres=AttnResConfig(kind="block", blocks=blocks))
        assert block.state_dict().keys() == full.state_dict().keys()
        with torch.no_grad():
            assert torch.equal(block(ids_BL), full(ids_BL))
    coarse = tiny(attnres=AttnResConfig(kind="block", blocks=2))
    with torch.no_grad():
        assert relative_error(coarse(ids_BL), full(ids_BL)) > 1e-3


@pytest.mark.parametrize(
    ("layers", "blocks", "size"), [(3, 8, 1), (3, 4, 2), (3, 2, 3), (3, 1, 6), (27, 9, 6), (64, 8, 16)]
)
def test_the_size_of_a_block_follows_from_their_number(layers: int, blocks: int, size: int) -> None:
    config = Config(**{**SHAPE, "n_layers": layers, "d_model": 8}, attnres=AttnResConfig(blocks=blocks))
    stack = build_stack(config, n_sublayers=2 * layers, n_all=2 * layers)
    assert isinstance(stack, DepthAttention)
    assert stack.block_size == size


def test_the_whole_network_by_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    ids_BL = some_ids(2, 20)
    for options in (FULL, AttnResConfig(blocks=3), AttnResConfig(blocks=2, key_norm=False, final_mix=False)):
        decoder = tiny(attnres=options, loop=LoopConfig(n_loops=2, prelude=1), norm="sandwich")
        with torch.no_grad():
            fast_BLV = decoder(ids_BL)
            with monkeypatch.context() as patch:
                patch.setattr(DepthAttention, "forward", DepthAttention.in_order)
                error = relative_error(fast_BLV, decoder(ids_BL))
        print(f"two phases against the formula, {options}: {error:.1e}")
        assert error <= 1e-5


@pytest.mark.parametrize("options", [FULL, AttnResConfig(blocks=2)], ids=["full", "block"])
def test_the_first_step_reaches_every_query(options: AttnResConfig) -> None:
    decoder = fresh(Config(**SHAPE, attnres=options))
    decoder(some_ids(2, 12)).logsumexp(-1).sum().backward()
    stack = decoder.stacks["middle"]
    assert len(stack.mixes) == 2 * SHAPE["n_layers"] - 1
    for mix in [*stack.mixes, stack.final]:
        assert float(mix.depth_query.grad.abs().max()) > 0


def test_one_token_gets_the_bits_that_it_gets_among_others() -> None:
    stack, h_BLD = a_stack(6, blocks=2), some_stream()
    sublayers = [lambda h, factor=factor: factor * h.roll(1, -1) for factor in (0.5, -1.5, 2.0, 0.7, -0.3, 1.1)]
    with torch.no_grad():
        together_BLD = stack(h_BLD, sublayers)
        for length in (1, 2, 3):
            assert torch.equal(stack(h_BLD[:1, :length], sublayers), together_BLD[:1, :length])


def test_a_source_is_stored_once_for_the_gradient() -> None:
    """Memory for the backward pass grows with the sub-layers, not with their square."""
    sizes = []
    for n_sublayers in (8, 16):
        stack, sublayers, seen = a_stack(n_sublayers, kind="full"), some_sublayers(n_sublayers), {}

        def note(tensor: Tensor, seen: dict[int, int] = seen) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            stack(torch.randn(2, 50, D, requires_grad=True), sublayers)
        sizes.append(sum(seen.values()))
    assert sizes[1] < 2.5 * sizes[0]


PATTERNS: tuple[dict[str, Any], ...] = (
    {"pattern": "A"},
    {"pattern": "AW", "window": 4},
    {"pattern": "MAm", "mamba": MAMBA},
)
LOOPS = (None, LoopConfig(n_loops=2), LoopConfig(n_loops=3, prelude=1, reinject="add", loop_norm=False))
COMBINATIONS = [
    {"attnres": attnres, "loop": loop, "norm": norm, "tied": norm == "pre", **pattern}
    for attnres, loop, norm, pattern in itertools.product(
        (FULL, AttnResConfig(blocks=3)), LOOPS, ("pre", "sandwich"), PATTERNS
    )
]


@pytest.mark.parametrize(
    "switches", COMBINATIONS, ids=lambda s: "-".join(str(v) for v in s.values() if isinstance(v, str))
)
def test_with_every_other_switch_it_is_causal_and_the_same_however_fed(switches: dict[str, Any]) -> None:
    decoder, ids_BL = tiny(**switches), some_ids(1, 23)
    changed_BL = ids_BL.clone()
    changed_BL[0, 13] = (changed_BL[0, 13] + 1) % SHAPE["vocab_size"]
    cache = decoder.new_cache()
    with torch.no_grad():
        whole_BLV, after_BLV = decoder(ids_BL), decoder(changed_BL)
        fed_BLV = torch.cat([decoder(piece, cache) for piece in ids_BL.split([9, 1, 1, 7, 5], dim=1)], dim=1)
    assert torch.equal(after_BLV[:, :13], whole_BLV[:, :13])
    assert not torch.equal(after_BLV[:, 13:], whole_BLV[:, 13:])
    # Chunks and steps of Mamba-2 round differently, and each loop carries that on.
    assert relative_error(fed_BLV, whole_BLV) <= (5e-5 if "mamba" in switches else 1e-5)


def test_half_precision_keeps_its_dtype_and_mixes_in_float32() -> None:
    decoder, ids_BL = tiny(attnres=FULL), some_ids(1, 12)
    with torch.no_grad():
        exact_BLV = decoder(ids_BL)
        half_BLV = decoder.to(torch.bfloat16)(ids_BL)
    assert half_BLV.dtype == torch.bfloat16
    assert relative_error(half_BLV.float(), exact_BLV) < 0.1


def test_off_is_the_sum_to_the_last_bit() -> None:
    decoder, ids_BL = tiny(norm="sandwich"), some_ids(2, 9)
    positions_BL = torch.arange(9).expand(2, 9)
    with torch.no_grad():
        h_BLD = decoder.embed(ids_BL)
        for block in decoder.blocks:
            mixed_BLD = block.mixer(block.mixer_norm(h_BLD), positions_BL, None)
            h_BLD = h_BLD + block.mixer_post(mixed_BLD)
            h_BLD = h_BLD + block.mlp_post(block.mlp(block.mlp_norm(h_BLD)))
        assert torch.equal(decoder.hidden(ids_BL), decoder.norm(h_BLD))


def test_off_has_no_parameters() -> None:
    assert isinstance(tiny().stacks["middle"], Additive)
    assert not list(tiny().stacks.parameters())


@pytest.mark.parametrize(
    "wrong", [{"kind": "global"}, {"blocks": 0}, {"blocks": 2.5}, {"key_norm": 1}, {"final_mix": None}]
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        AttnResConfig(**wrong)
    with pytest.raises(UsageError):
        Config.from_dict({**SHAPE, "attnres": wrong})


def test_a_scaled_residual_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"residual_scale 0\.5"):
        tiny(attnres=FULL, residual_scale=0.5)
