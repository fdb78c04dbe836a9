"""Gradients written out are those of autograd, and values have the same bits with and without them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from overwinter.model import backward

torch.set_num_threads(1)


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return backward.rms_norm(x, weight, 1e-6)


def angles(length: int, pairs: int) -> tuple[Tensor, Tensor]:
    values = torch.randn(length, pairs, generator=torch.Generator().manual_seed(5))
    return values.cos(), values.sin()


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def hidden() -> Tensor:
    return torch.ones(6, 6, dtype=torch.bool).triu(1)


def falling(x: Tensor) -> Tensor:
    """Sums that fall, as those of decays do."""
    return -x.abs().cumsum(-1, dtype=torch.float64)


CASES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "norm": (norm, plain_norm, [(3, 5, 8), (8,)]),
    "relu2": (backward.relu2, lambda x: functional.relu(x).square(), [(4, 9)]),
    "turned": (
        lambda x: backward.turned(x, *angles(7, 3)),
        lambda x: backward._turned(x, *angles(7, 3)),
        [(2, 4, 7, 6)],
    ),
    "turned in part": (
        lambda x: backward.turned(x, *angles(7, 2)),
        lambda x: backward._turned(x, *angles(7, 2)),
        [(2, 4, 7, 6)],
    ),
    "convolution": (backward.tap_convolution, backward._convolved, [(2, 9, 5), (4, 5), (5,)]),
    "decay pairs": (
        lambda x: backward.decay_pairs(falling(x), hidden(), torch.float32),
        lambda x: (falling(x)[..., :, None] - falling(x)[..., None, :]).float().masked_fill(hidden(), -torch.inf).exp(),
        [(2, 3, 6)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_autograd(name: str) -> None:
    fast, plain, shapes = CASES[name]
    tensors = drawn(*shapes)
    value, expected = fast(*tensors), plain(*tensors)
    assert torch.equal(value, expected)
    with torch.no_grad():
        assert torch.equal(fast(*tensors), value), "the same bits without gradients"
    along = torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
    for found, wanted in zip(
        torch.autograd.grad(value, tensors, along), torch.autograd.grad(expected, tensors, along), strict=True
    ):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_module_is_torchs() -> None:
    ours, theirs = backward.RMSNorm(12, eps=1e-6), torch.nn.RMSNorm(12, eps=1e-6)
    (x,) = drawn((4, 7, 12))
    assert torch.equal(ours(x), theirs(x))
    torch.testing.assert_close(
        torch.autograd.grad(ours(x).sin().sum(), [x, ours.weight]),
        torch.autograd.grad(theirs(x).sin().sum(), [x, theirs.weight]),
    )
    half = x.detach().bfloat16()
    assert torch.equal(ours.bfloat16()(half), theirs.bfloat16()(half))


def test_a_turn_of_halves_is_computed_in_whole_numbers() -> None:
    x = torch.randn(2, 3, 7, 6).bfloat16().transpose(1, 2).requires_grad_()
    cos, sin = angles(3, 3)
    found, plain = backward.turned(x, cos, sin), backward._turned(x.detach(), cos, sin)
    assert found.dtype == plain.dtype == torch.float32
    assert torch.equal(found, plain)


def test_a_convolution_without_bias() -> None:
    joined, weight = drawn((2, 9, 5), (4, 5))
    zero = torch.zeros(())
    along = torch.ones(2, 6, 5)
    found = torch.autograd.grad(backward.tap_convolution(joined, weight, zero), [joined, weight], along)
    wanted = torch.autograd.grad(backward._convolved(joined, weight, zero), [joined, weight], along)
    torch.testing.assert_close(found, wanted)
