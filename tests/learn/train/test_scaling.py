"""muP and CompleteP: activations move by the same amount whatever the width and depth; without them they do not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from train_kit import SHAPE, tiny

from overwinter.errors import UsageError
from overwinter.learn.train.optim import OptimiserConfig, build_optimiser
from overwinter.learn.train.scaling import Scaling
from overwinter.model import Config, Init, NobleConfig, fresh

BASE_WIDTH, BASE_DEPTH = 16, 2


def movement(width: int, depth: int, scaling: Scaling | None, **optimiser: Any) -> float:
    """How far the last hidden stream moves in four steps, as RMS."""
    sizes = {"d_model": width, "n_layers": depth, "n_heads": width // 8, "n_kv_heads": width // 8, "d_mlp": 2 * width}
    config, init = Config(**{**SHAPE, **sizes}), Init(std=0.1, embed_std=0.5, head_std=0.1)
    if scaling is not None:
        config, init = scaling.model(config, init)
    decoder = fresh(config, seed=1, init=init)
    moves = build_optimiser(decoder, OptimiserConfig(lr=0.01, muon_lr=0.03, **optimiser), scaling=scaling)
    ids = torch.randint(0, 33, (4, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = stream(decoder, ids)
    for _ in range(4):
        logits = decoder(ids[:, :-1])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        moves.step()
        moves.zero_grad()
    with torch.no_grad():
        return float((stream(decoder, ids) - before).square().mean().sqrt())


def stream(decoder: Any, ids: torch.Tensor) -> torch.Tensor:
    """Before the last norm, which would hide its size."""
    positions = torch.arange(ids.shape[1]).expand(ids.shape)
    h: torch.Tensor = decoder.run("middle", decoder.embedded(ids), positions, [None] * decoder.config.n_layers)
    return h


def slope(small: float, large: float, factor: float) -> float:
    return math.log2(large / small) / math.log2(factor)


@pytest.mark.parametrize("optimiser", [{}, {"name": "muon"}, {"name": "muon", "muon_scale": "rms"}])
def test_width_does_not_matter_with_mup(optimiser: dict[str, Any]) -> None:
    scaling = Scaling(kind="mup", base_width=BASE_WIDTH)
    small, large = (movement(width, 2, scaling, **optimiser) for width in (16, 128))
    assert abs(slope(small, large, 8)) < 0.15
    if not optimiser:
        plain = slope(movement(16, 2, None), movement(128, 2, None), 8)
        assert plain > 0.3, "what muP is for"


def test_depth_does_not_matter_with_completep() -> None:
    scaling = Scaling(kind="completep", base_width=BASE_WIDTH, base_depth=BASE_DEPTH)
    small, large = (movement(16, depth, scaling) for depth in (2, 16))
    assert abs(slope(small, large, 8)) < 0.15
    assert slope(movement(16, 2, None), movement(16, 16, None), 8) > 0.3


def test_the_table() -> None:
    scaling = Scaling(kind="completep", base_width=16, base_depth=2)
    config = Config(**{**SHAPE, "d_model": 64, "n_layers": 8})
    hidden, head, norms = (scaling.rates(config, kind) for kind in ("matrix", "head", "vector"))
    assert (hidden.lr, hidden.weight_decay, hidden.eps) == (1 / 4, 4, 1 / 16)
    assert (head.lr, head.weight_decay, head.eps) == (1, 1, 1)
    assert norms.lr == 1
    made, init = scaling.model(config, Init(std=0.1))
    assert (made.logit_divisor, made.attention_scale, made.residual_scale) == (4, 1 / 8, 1 / 4)
    assert init.std == 0.05
    rms = scaling.rates(config, "matrix", muon="rms")
    assert rms.lr == 0.5
    assert scaling.rates(config, "matrix", muon="spectral").lr == 1


def test_what_has_no_rule_is_refused() -> None:
    with pytest.raises(UsageError, match="NOBLE"):
        Scaling(kind="mup", base_width=16).model(tiny(noble=NobleConfig(rank=2)).config, Init())
    with pytest.raises(UsageError, match="by itself"):
        Scaling(kind="mup", base_width=16).model(tiny().config, Init(outputs="scaled"))
    with pytest.raises(UsageError, match="base_depth"):
        Scaling(kind="completep", base_width=16)
