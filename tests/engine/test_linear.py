"""Packed weights give the plain linear's numbers, and a row's result does not depend on the other rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_kit import decoder_of, shape
from torch import nn

from overwinter.engine import Config as EngineConfig
from overwinter.engine.fused import fuse_attention
from overwinter.engine.linear import PackedLinear, can_pack, pack
from overwinter.engine.probe import is_exact
from overwinter.model import Config, LowrankConfig, NobleConfig, YarnScaling
from overwinter.model.decoder import SwiGLU

SIZES = ((12, 20), (64, 172), (384, 300), (1536, 64))


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
@pytest.mark.parametrize("bias", [False, True])
def test_packed_linear_is_the_plain_one(inputs: int, outputs: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(inputs, outputs, bias=bias)
    packed = PackedLinear(plain.weight, plain.bias)
    for leading in ((1,), (3, 5), (2, 1, 4), (0,)):
        x = torch.randn(*leading, inputs)
        with torch.no_grad():
            torch.testing.assert_close(packed(x), plain(x), atol=1e-5, rtol=1e-5)


def _swiglu(inputs: int, hidden: int, bias: bool) -> SwiGLU:
    torch.manual_seed(0)
    config = Config(
        vocab_size=3, d_model=inputs, n_layers=1, n_heads=1, n_kv_heads=1, d_head=2, d_mlp=hidden, mlp_bias=bias
    )
    return SwiGLU(config)


@pytest.mark.parametrize("bias", [False, True])
def test_packed_swiglu_is_the_plain_one(bias: bool) -> None:
    decoder = decoder_of(shape(mlp_bias=bias))
    plain, x = _swiglu(48, 52, bias), torch.randn(2, 7, 48)
    decoder.blocks[0].mlp = plain  # type: ignore[union-attr]
    with torch.no_grad():
        expected = plain(x)
        pack(decoder)
        torch.testing.assert_close(decoder.blocks[0].mlp(x), expected, atol=1e-5, rtol=1e-5)  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_rows_do_not_see_each_other(inputs: int, outputs: int, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(1)
        decoder = decoder_of()
        decoder.blocks[0].mlp = _swiglu(inputs, 4 * outputs + 4, bias=True)  # type: ignore[union-attr]
        pack(decoder)
        x = torch.randn(70, inputs)
        for module in (PackedLinear(torch.randn(outputs, inputs)), decoder.blocks[0].mlp):  # type: ignore[union-attr]
            with torch.no_grad():
                whole = module(x)  # type: ignore[operator]
                for start, rows in ((0, 1), (0, 2), (7, 1), (3, 5), (11, 33), (60, 10), (69, 1)):
                    assert torch.equal(module(x[start : start + rows]), whole[start : start + rows])  # type: ignore[operator]
    finally:
        torch.set_num_threads(before)


def test_packing_takes_all_linears_and_the_head_and_leaves_nothing_to_train() -> None:
    for tied in (True, False):
        decoder = decoder_of(shape(tied=tied))
        assert pack(decoder) == 2 * 7 + 1
        assert not any(isinstance(module, nn.Linear) for module in decoder.modules())
        assert pack(decoder) == 0


BENT = {
    "noble": {"noble": NobleConfig(rank=5)},
    "noble_silu": {"noble": NobleConfig(rank=5, activation="silu", targets=("q", "up"))},
    "lowrank": {"lowrank_orthogonal": LowrankConfig(rank=12)},
    "lowrank_untied": {"lowrank_orthogonal": LowrankConfig(rank=12), "tied": False},
}


@pytest.mark.parametrize("switches", BENT.values(), ids=BENT.keys())
def test_branches_and_thin_tables_are_packed_too(switches: dict[str, Any]) -> None:
    """The same logits, every product packed, and a sequence's bits the same alone, in company and from prefixes."""
    decoder, ids_BL = decoder_of(shape(**switches)), torch.arange(14).view(2, 7)
    with torch.no_grad():
        expected_BLV = decoder(ids_BL)
        assert pack(decoder) > 2 * 7 + 1
        assert not any(isinstance(module, nn.Linear) for module in decoder.modules())
        torch.testing.assert_close(decoder(ids_BL), expected_BLV, atol=1e-5, rtol=1e-5)
    assert pack(decoder) == 0
    assert is_exact(decoder, EngineConfig())


def test_other_number_formats_stay_plain() -> None:
    assert not can_pack(torch.zeros(4, 4, dtype=torch.float64))
    decoder = decoder_of().double()
    assert pack(decoder) == 0


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"qk_norm": True, "qkv_bias": True, "out_bias": True, "n_kv_heads": 1},
        {"rope_base": None, "attention_scale": 0.3},
        {"rope_fraction": 0.5, "attn_softcap": 4.0},
        {"pattern": "AW", "window": 7, "n_kv_heads": 4},
        {"rope_scaling": YarnScaling(factor=4.0, original_context=16)},
    ],
)
def test_fused_attention_is_the_plain_one(switches: dict[str, object]) -> None:
    config = shape(**switches)
    plain, fused = decoder_of(config), decoder_of(config)
    assert fuse_attention(fused) == 4 * config.n_layers
    ids, cache, other = torch.arange(40)[None], plain.new_cache(), fused.new_cache()
    with torch.no_grad():
        torch.testing.assert_close(fused(ids), plain(ids), atol=1e-4, rtol=1e-4)
        for piece in (ids[:, :17], ids[:, 17:18], ids[:, 18:]):
            torch.testing.assert_close(fused(piece, other), plain(piece, cache), atol=1e-4, rtol=1e-4)


def test_layers_that_turn_alike_share_their_angles() -> None:
    decoder = decoder_of(shape(n_layers=3))
    fuse_attention(decoder)
    angles = {id(block.mixer.angles) for block in decoder.blocks}  # type: ignore[union-attr]
    assert len(angles) == 1


def test_attention_with_branches_is_left_alone() -> None:
    assert fuse_attention(decoder_of(shape(noble=NobleConfig(rank=4, targets=("q",))))) == 0
