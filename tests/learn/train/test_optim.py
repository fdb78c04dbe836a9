"""Optimisers do what their formulas say, take the parameters that were made for them, and keep their state by name."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from train_kit import HYBRID, tiny

from overwinter.errors import UsageError
from overwinter.learn.train.muon import Muon, newton_schulz, polar_factor, update_scale
from overwinter.learn.train.optim import OptimiserConfig, build_optimiser, clip_gradients, plain_adamw
from overwinter.model import LowrankConfig, NobleConfig, parameter_groups


def some_gradients(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16)])
def test_newton_schulz_turns_as_the_polar_factor_does(shape: tuple[int, int]) -> None:
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    near, exact = newton_schulz(x), polar_factor(x)
    singular = torch.linalg.svdvals(near)
    assert singular.min() > 0.6
    assert singular.max() < 1.25
    u, _, vt = torch.linalg.svd(x, full_matrices=False)
    turned = u.mT @ near @ vt.mT
    assert (turned - torch.diag_embed(turned.diagonal(dim1=-2, dim2=-1))).abs().max() < 1e-4
    cosine = (near * exact).sum((-1, -2)) / (near.norm(dim=(-1, -2)) * exact.norm(dim=(-1, -2)))
    assert cosine.min() > 0.97


@pytest.mark.parametrize(("nesterov", "scale"), [(True, "spectral"), (False, "rms")])
def test_muon_is_its_formula(nesterov: bool, scale: str) -> None:
    weights = [nn.Parameter(torch.randn(12, 8)), nn.Parameter(torch.randn(8, 12)), nn.Parameter(torch.randn(12, 8))]
    expected = [each.detach().clone() for each in weights]
    momenta = [torch.zeros_like(each) for each in expected]
    muon = Muon(weights, lr=0.1, momentum=0.9, nesterov=nesterov, scale=scale, weight_decay=0.2)  # type: ignore[arg-type]
    for turn in range(3):
        for place, weight in enumerate(weights):
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(9 * turn + place))
            momenta[place] = 0.9 * momenta[place] + weight.grad
            look = weight.grad + 0.9 * momenta[place] if nesterov else momenta[place]
            factor = update_scale(*weight.shape, scale)  # type: ignore[arg-type]
            expected[place] = expected[place] * (1 - 0.1 * 0.2) - 0.1 * factor * newton_schulz(look[None])[0]
        muon.step()
    for weight, wanted in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.detach(), wanted, atol=1e-5, rtol=1e-5)


def test_the_scale_rules() -> None:
    assert update_scale(64, 16, "spectral") == 2.0
    assert update_scale(16, 64, "spectral") == 1.0
    assert update_scale(16, 64, "rms") == pytest.approx(1.6)


def test_muon_refuses_what_is_no_matrix() -> None:
    with pytest.raises(UsageError, match="shape"):
        Muon([nn.Parameter(torch.zeros(3))])


def test_adamw_is_its_formula() -> None:
    decoder = tiny()
    config = OptimiserConfig(lr=0.01, weight_decay=0.3, lr_by_kind={"embed": 2.0})
    optimiser = build_optimiser(decoder, config)
    optimiser.set_factor(0.5)
    groups = {name: group for group in parameter_groups(decoder) for name in group.parameters}
    expected = {name: parameter.detach().clone() for name, parameter in decoder.named_parameters()}
    states: dict[str, dict[str, torch.Tensor]] = {name: {} for name in expected}
    for turn in range(3):
        some_gradients(decoder, turn)
        for name, parameter in decoder.named_parameters():
            assert parameter.grad is not None
            lr = 0.01 * 0.5 * (2.0 if groups[name].kind == "embed" else 1.0)
            decay = 0.3 if groups[name].weight_decay else 0.0
            plain_adamw(
                expected[name], parameter.grad, states[name], lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay
            )
        optimiser.step()
    for name, parameter in decoder.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], atol=1e-6, rtol=1e-5)


def test_muon_takes_only_what_was_made_for_it() -> None:
    decoder = tiny(noble=NobleConfig(rank=2), **HYBRID)
    optimiser = build_optimiser(decoder, OptimiserConfig(name="muon"))
    taken = {name for group in optimiser.parts["muon"].param_groups for name in group["names"]}
    wanted = {name for group in parameter_groups(decoder) if group.optimiser == "muon" for name in group.parameters}
    assert taken == wanted
    assert sorted(name for name, _ in optimiser.parameters()) == sorted(dict(decoder.named_parameters()))
    assert not any("branch" in name or name.startswith(("embed", "head")) or "conv1d" in name for name in taken)


def test_lists_of_what_decays() -> None:
    decoder = tiny()
    config = OptimiserConfig(no_decay=(r"\.o\.weight$",), decay=(r"^embed\.", r"\.o\.weight$"))
    decays = {
        name: group["weight_decay"]
        for group in build_optimiser(decoder, config).param_groups
        for name in group["names"]
    }
    assert decays["embed.weight"] == decays["blocks.0.mixer.q.weight"] == 0.1
    assert decays["blocks.0.mixer.o.weight"] == decays["norm.weight"] == decays["head.weight"] == 0.0


def test_what_is_frozen_is_left_out() -> None:
    decoder = tiny()
    for name, parameter in decoder.named_parameters():
        parameter.requires_grad_(name == "head.weight")
    assert [name for name, _ in build_optimiser(decoder).parameters()] == ["head.weight"]
    decoder.requires_grad_(False)
    with pytest.raises(UsageError, match="no parameter"):
        build_optimiser(decoder)


def test_constraints_hold_after_each_step() -> None:
    decoder = tiny(lowrank_orthogonal=LowrankConfig(rank=4))
    optimiser = build_optimiser(decoder, OptimiserConfig(lr=0.05))
    for turn in range(5):
        some_gradients(decoder, turn)
        optimiser.step()
    basis = decoder.embed.basis  # type: ignore[attr-defined]
    assert (basis.T @ basis - torch.eye(4)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_state_goes_on_to_the_last_bit(name: str) -> None:
    config = OptimiserConfig(name=name)  # type: ignore[arg-type]
    decoder, other = tiny(**HYBRID), tiny(**HYBRID)
    optimiser = build_optimiser(decoder, config)
    for turn in range(4):
        some_gradients(decoder, turn)
        optimiser.step()
        if turn == 1:
            other.load_state_dict({key: value.clone() for key, value in decoder.state_dict().items()})
            state = {key: value.clone() for key, value in optimiser.state_tensors().items()}
    again = build_optimiser(other, config)
    again.load_state_tensors(state)
    for turn in (2, 3):
        some_gradients(other, turn)
        again.step()
    for key, value in decoder.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_a_state_of_something_else_is_refused() -> None:
    decoder = tiny()
    optimiser = build_optimiser(decoder)
    some_gradients(decoder, 0)
    optimiser.step()
    with pytest.raises(UsageError, match="belong to nothing"):
        build_optimiser(tiny(n_layers=1)).load_state_tensors(optimiser.state_tensors())
    with pytest.raises(UsageError, match="shape"):
        build_optimiser(tiny(d_mlp=48)).load_state_tensors(optimiser.state_tensors())


def test_clipping_and_measuring() -> None:
    decoder = tiny()
    some_gradients(decoder, 0)
    whole = torch.cat([each.grad.flatten() for each in decoder.parameters() if each.grad is not None])
    assert clip_gradients(decoder, None) == pytest.approx(float(whole.norm()), rel=1e-5)
    assert clip_gradients(decoder, 0.5) == pytest.approx(float(whole.norm()), rel=1e-5)
    assert clip_gradients(decoder, None) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "sgd"},
        {"lr": -1.0},
        {"betas": (0.9, 1.0)},
        {"lr_by_kind": {"emb": 2.0}},
        {"decay": ("(",)},
        {"newton_schulz_steps": 0},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        dataclasses.replace(OptimiserConfig(), **wrong)  # type: ignore[arg-type]
