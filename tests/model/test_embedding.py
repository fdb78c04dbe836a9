"""Embeddings: the thin table on an orthonormal basis is the dense one, keeps its geometry, and stays on its constraint."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit import SHAPE, relative_error, some_ids, tiny
from torch import Tensor, nn

from overwinter.errors import UsageError
from overwinter.model import (
    Config,
    LowrankConfig,
    export,
    fresh,
    load,
    parameter_groups,
    retractions,
    save,
    torch_groups,
)
from overwinter.model.embedding import LowrankOrthogonalEmbedding, PlainEmbedding, build_embedding


def off_constraint(basis_DR: Tensor) -> float:
    """‖BᵀB − I‖_max."""
    basis_DR = basis_DR.detach().double()
    return float((basis_DR.T @ basis_DR - torch.eye(basis_DR.shape[1], dtype=torch.float64)).abs().max())


def drawn(
    vocab_size: int = 50, d_model: int = 24, rank: int = 6, *, seed: int = 0, std: float = 0.02
) -> LowrankOrthogonalEmbedding:
    embedding = LowrankOrthogonalEmbedding(vocab_size, d_model, rank)
    embedding.draw(torch.Generator().manual_seed(seed), std)
    return embedding


def test_plain_is_torchs_own() -> None:
    torch.manual_seed(1)
    ours = build_embedding(50, 24, None)
    torch.manual_seed(1)
    theirs, ids_BL, h_BLD = nn.Embedding(50, 24), torch.arange(12).view(2, 6), torch.randn(2, 6, 24)
    assert torch.equal(ours(ids_BL), theirs(ids_BL))
    assert torch.equal(ours.logits(h_BLD), nn.functional.linear(h_BLD, theirs.weight))


@given(rank=st.integers(1, 24), seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_it_is_the_dense_table_with_the_geometry_of_the_thin_one(rank: int, seed: int) -> None:
    embedding = drawn(rank=rank, seed=seed, std=1.0)
    generator = torch.Generator().manual_seed(seed)
    ids_BL, h_BLD = torch.randint(0, 50, (3, 7), generator=generator), torch.randn(3, 7, 24, generator=generator)
    with torch.no_grad():
        dense_VD = embedding.dense()
        assert relative_error(embedding(ids_BL), dense_VD[ids_BL]) <= 1e-6
        assert relative_error(embedding.logits(h_BLD), h_BLD @ dense_VD.T) <= 1e-5
        assert off_constraint(embedding.basis) <= 1e-6
        apart_VV, thin_VV = (
            torch.cdist(dense_VD.double(), dense_VD.double()),
            torch.cdist(*[embedding.table.double()] * 2),
        )
        assert relative_error(apart_VV, thin_VV) <= 1e-5
        values_R, thin_R = torch.linalg.svdvals(dense_VD)[:rank], torch.linalg.svdvals(embedding.table)
        assert relative_error(values_R, thin_R) <= 1e-5


@pytest.mark.parametrize("rank", [16, 64, 256])
def test_rows_start_as_large_as_those_of_a_plain_table(rank: int) -> None:
    dense_VD = drawn(2000, 256, rank).dense().detach()
    assert float(dense_VD.square().mean().sqrt()) == pytest.approx(0.02, rel=0.03)


def test_parameters() -> None:
    assert sum(each.numel() for each in drawn(50, 24, 6).parameters()) == 50 * 6 + 24 * 6


@pytest.mark.parametrize("tied", [True, False])
def test_a_hundred_optimiser_steps_stay_on_the_constraint(tied: bool) -> None:
    distances = []
    for retracted in (True, False):
        decoder = fresh(Config(**SHAPE, tied=tied, lowrank_orthogonal=LowrankConfig(rank=8)), seed=2)
        groups = torch_groups(decoder, parameter_groups(decoder), lr=2e-3, weight_decay=0.1)
        optimiser, losses = torch.optim.AdamW(groups), []
        for step in range(100):
            ids_BL = some_ids(4, 8, seed=step % 4)
            loss = nn.functional.cross_entropy(decoder(ids_BL[:, :-1]).flatten(0, 1), ids_BL[:, 1:].flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            for each in retractions(decoder) if retracted else ():
                each.call()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.8 * losses[0]
        assert isinstance(decoder.embed, LowrankOrthogonalEmbedding)
        distances.append(off_constraint(decoder.embed.basis))
    kept, left = distances
    print(f"after 100 steps, tied {tied}: ‖BᵀB − I‖_max {kept:.1e} with retraction, {left:.1e} without")
    assert kept < 1e-3 < left


@given(scale=st.floats(0.0, 3.0), seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_retraction_is_the_nearest_basis_when_near_and_a_basis_when_far(scale: float, seed: int) -> None:
    embedding = drawn(d_model=16, rank=5, seed=seed)
    with torch.no_grad():
        noise_DR = torch.randn(16, 5, generator=torch.Generator().manual_seed(seed + 1))
        embedding.basis += scale * noise_DR / torch.linalg.matrix_norm(noise_DR)
        before_DR = embedding.basis.clone()
        embedding.retract()
        assert off_constraint(embedding.basis) < 1e-5
        if scale <= 0.2:
            u_DR, _, vt_RR = torch.linalg.svd(before_DR, full_matrices=False)
            assert float((embedding.basis - u_DR @ vt_RR).abs().max()) <= 1e-5
        once_DR = embedding.basis.clone()
        embedding.retract()
        assert float((embedding.basis - once_DR).abs().max()) <= 1e-5


def test_far_away_the_basis_does_not_flip() -> None:
    """QR leaves signs open; a basis twice as long must come back as itself, not as its mirror image."""
    embedding = drawn()
    with torch.no_grad():
        kept_DR = embedding.basis * torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0, 1.0])
        embedding.basis.copy_(2.0 * kept_DR)
        embedding.retract()
    assert float((embedding.basis.detach() - kept_DR).abs().max()) <= 1e-5


def test_retractions_are_data() -> None:
    decoder = tiny(lowrank_orthogonal=LowrankConfig(rank=8))
    (retraction,) = retractions(decoder)
    assert retraction.parameter in dict(decoder.named_parameters())
    assert off_constraint(decoder.get_parameter(retraction.parameter)) > 0.1
    retraction.call()
    assert off_constraint(decoder.get_parameter(retraction.parameter)) < 1e-5
    assert [each.parameter for each in retractions(drawn())] == ["basis"]
    assert retractions(tiny()) == ()


@pytest.mark.parametrize("tied", [True, False])
def test_a_decoder_with_it_is_the_decoder_with_the_dense_table(tied: bool) -> None:
    thin, plain = tiny(tied=tied, lowrank_orthogonal=LowrankConfig(rank=8)), tiny(tied=tied)
    weights = thin.state_dict()
    dense_VD = weights.pop("embed.table") @ weights.pop("embed.basis").T
    plain.load_state_dict({**weights, "embed.weight": dense_VD})
    with torch.no_grad():
        assert relative_error(thin(some_ids(2, 9)), plain(some_ids(2, 9))) <= 1e-5


def test_it_is_on_its_constraint_from_the_start_and_after_loading(tmp_path: Path) -> None:
    decoder = fresh(Config(**SHAPE, lowrank_orthogonal=LowrankConfig(rank=8)), seed=4)
    save(decoder, tmp_path / "thin")
    again = load(tmp_path / "thin")
    assert off_constraint(again.embed.basis) < 1e-6
    assert torch.equal(again.embed.basis, decoder.embed.basis)
    assert float(decoder.embed.dense().detach().square().mean().sqrt()) == pytest.approx(0.02, rel=0.1)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="width 32 cannot have rank 33"):
        fresh(Config(**SHAPE, lowrank_orthogonal=LowrankConfig(rank=33)))
    for rank in (0, 1.5, True):
        with pytest.raises(UsageError, match="rank cannot be"):
            LowrankConfig(rank=rank)
    values = Config(**SHAPE, lowrank_orthogonal=LowrankConfig(rank=4)).to_dict()
    for change, words in (({"rang": 4}, "no 'rang'"), ({}, "needs rank")):
        with pytest.raises(UsageError, match=words):
            Config.from_dict({**values, "lowrank_orthogonal": change})
    with pytest.raises(UsageError, match="cannot be 8"):
        Config.from_dict({**values, "lowrank_orthogonal": 8})
    with pytest.raises(UsageError, match="no published family"):
        export(tiny(lowrank_orthogonal=LowrankConfig(rank=4)), tmp_path / "out")


def test_the_head_costs_what_the_page_says() -> None:
    """r·(D + V) multiply-adds per token: the largest product that `logits` forms has V·r, never V·D."""
    shapes: list[tuple[int, ...]] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func is torch.ops.aten.mm.default:
                shapes.append((*args[0].shape, args[1].shape[1]))
            return func(*args, **(kwargs or {}))

    embedding = drawn(50, 24, 6)
    with Watch(), torch.no_grad():
        embedding.logits(torch.ones(1, 24))
    assert sum(math.prod(shape) for shape in shapes) == 6 * (24 + 50)
    assert isinstance(build_embedding(9, 8, None), PlainEmbedding)
