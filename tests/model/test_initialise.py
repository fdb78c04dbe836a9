"""How weights begin: spreads as asked, a switch that leaves all other draws alone, and starts that spoil a switch refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from model_kit import SHAPE

from overwinter.errors import UsageError
from overwinter.model import AttnResConfig, Config, Decoder, Init, LowrankConfig, NobleConfig, fresh

WIDE: dict[str, Any] = {
    **SHAPE, "vocab_size": 500, "d_model": 128, "n_heads": 4, "n_kv_heads": 4, "d_head": 32, "d_mlp": 256,
}  # fmt: skip


def spread(decoder: Decoder, name: str) -> float:
    return float(decoder.get_parameter(name).detach().std(correction=0))


@pytest.mark.parametrize(
    ("init", "q", "o", "down"),
    [
        (Init(), 0.02, 0.02, 0.02),
        (Init(std=0.05), 0.05, 0.05, 0.05),
        (Init(matrices="half"), 0.5 / math.sqrt(128), 0.5 / math.sqrt(128), 0.5 / math.sqrt(256)),
        (Init(outputs="half"), 0.02, 0.5 / math.sqrt(128), 0.5 / math.sqrt(256)),
        (Init(outputs="scaled"), 0.02, 0.02 / math.sqrt(6), 0.02 / math.sqrt(6)),
        (Init(outputs="zero"), 0.02, 0.0, 0.0),
        (Init(matrices="half", outputs="zero"), 0.5 / math.sqrt(128), 0.0, 0.0),
    ],
    ids=str,
)
def test_spreads(init: Init, q: float, o: float, down: float) -> None:
    decoder = fresh(Config(**WIDE), init=init)
    for name, expected in (("mixer.q", q), ("mixer.o", o), ("mlp.down", down)):
        assert spread(decoder, f"blocks.1.{name}.weight") == pytest.approx(expected, rel=0.03)


def test_embedding_and_head_have_their_own() -> None:
    decoder = fresh(Config(**WIDE), init=Init(embed_std=0.5, head_std=0.001, matrices="half", outputs="zero"))
    assert spread(decoder, "embed.weight") == pytest.approx(0.5, rel=0.03)
    assert spread(decoder, "head.weight") == pytest.approx(0.001, rel=0.03)
    thin = fresh(Config(**WIDE, lowrank_orthogonal=LowrankConfig(rank=16)), init=Init(embed_std=0.5))
    assert float(thin.embed.dense().detach().square().mean().sqrt()) == pytest.approx(0.5, rel=0.05)


def test_biases_are_zero_and_gains_one() -> None:
    decoder = fresh(Config(**SHAPE, qkv_bias=True, out_bias=True, mlp_bias=True, qk_norm=True, norm="sandwich"))
    for name, parameter in decoder.named_parameters():
        if parameter.dim() == 1:
            assert torch.equal(parameter, torch.full_like(parameter, 0.0 if name.endswith("bias") else 1.0)), name


@pytest.mark.parametrize(
    "switches",
    [
        {"noble": NobleConfig(rank=4, targets=("q", "gate"))},
        {"qk_norm": True, "qkv_bias": True},
        {"norm": "sandwich"},
        {"tied": True},
        {"lowrank_orthogonal": LowrankConfig(rank=8)},
        {"pattern": "AW", "window": 3},
    ],
    ids=str,
)
def test_a_switch_leaves_the_other_draws_alone(switches: dict[str, Any]) -> None:
    plain, switched = (fresh(Config(**SHAPE, **more), seed=9).state_dict() for more in ({}, switches))
    own = [".q.", ".gate."] if "noble" in switches else []
    shared = [name for name in plain.keys() & switched.keys() if not any(part in name for part in own)]
    assert len(shared) > 10
    assert all(torch.equal(plain[name], switched[name]) for name in shared)


def test_a_branch_leaves_the_draw_of_its_own_layer_alone_but_for_scale() -> None:
    """So runs with and without NOBLE are paired: with equal spreads they differ in the branch alone."""
    plain = fresh(Config(**SHAPE), seed=3, init=Init(matrices="half")).state_dict()
    noble = fresh(Config(**SHAPE, noble=NobleConfig(rank=4)), seed=3, init=Init(matrices="half")).state_dict()
    assert all(
        torch.equal(noble.get(name, noble.get(f"{name[:-7]}.main.weight")), value) for name, value in plain.items()
    )
    assert any(".branch." in name for name in noble)


def test_branches_begin_by_their_own_rule() -> None:
    decoder = fresh(Config(**WIDE, noble=NobleConfig(rank=32)), init=Init(std=3.0, outputs="scaled"))
    for name, d_in in (("mixer.o", 128), ("mlp.up", 128), ("mlp.down", 256)):
        down, up = (f"blocks.1.{name}.branch.{side}.weight" for side in ("down", "up"))
        assert spread(decoder, down) == pytest.approx(1 / math.sqrt(d_in), rel=0.04)
        assert spread(decoder, up) == pytest.approx(0.01 / math.sqrt(32), rel=0.04)


def test_layers_and_seeds_differ() -> None:
    first, other = (fresh(Config(**SHAPE), seed=seed).state_dict() for seed in (0, 1))
    assert not torch.equal(first["blocks.0.mixer.q.weight"], first["blocks.1.mixer.q.weight"])
    assert not torch.equal(first["blocks.0.mixer.q.weight"], first["blocks.0.mlp.gate.weight"][:32])
    assert not torch.equal(first["blocks.0.mixer.q.weight"], other["blocks.0.mixer.q.weight"])


def test_scaled_outputs_reach_layers_with_a_branch_and_spare_the_branch() -> None:
    config = Config(**SHAPE, noble=NobleConfig(rank=4))
    plain, scaled = (fresh(config, init=Init(outputs=outputs)).state_dict() for outputs in ("same", "scaled"))
    for name, value in plain.items():
        output = name.endswith((".o.main.weight", "mlp.down.main.weight"))
        assert torch.allclose(scaled[name], value / math.sqrt(6) if output else value), name


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"noble": NobleConfig(rank=4)}, "NOBLE"),
        ({"norm": "sandwich"}, "sandwich"),
        ({"attnres": AttnResConfig()}, "attnres"),
        ({"noble": NobleConfig(rank=4), "norm": "sandwich"}, "NOBLE branches and norm"),
    ],
)
def test_zero_outputs_are_refused_where_they_spoil_a_switch(switches: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        fresh(Config(**SHAPE, **switches), init=Init(outputs="zero"))
    fresh(Config(**SHAPE, noble=NobleConfig(rank=0)), init=Init(outputs="zero"))


def test_the_stream_is_not_bounded_twice() -> None:
    with pytest.raises(UsageError, match="bounds the stream already"):
        fresh(Config(**SHAPE, attnres=AttnResConfig()), init=Init(outputs="scaled"))
    fresh(Config(**SHAPE, attnres=AttnResConfig()), init=Init(outputs="half"))


@pytest.mark.parametrize(
    "wrong",
    [{"matrices": "zero"}, {"outputs": "none"}, {"std": 0}, {"head_std": math.inf}, {"embed_std": True}],
    ids=str,
)
def test_values_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"Init.{next(iter(wrong))} cannot be"):
        Init(**wrong)
