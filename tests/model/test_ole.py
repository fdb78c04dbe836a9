"""OLE: its gradient against finite differences and autograd, its two thresholds, and what its minimum is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model import ole_loss
from overwinter.model.ole import nuclear_norm


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(features_ND: Tensor, classes_N: Tensor, **options: float) -> Tensor:
    features_ND = features_ND.clone().requires_grad_()
    ole_loss(features_ND, classes_N, **options).backward()
    assert features_ND.grad is not None
    return features_ND.grad


def plain_loss(features_ND: Tensor, classes_N: Tensor, weight: float, floor: float) -> Tensor:
    """The formula with torch's own nuclear norm, whose gradient exists where no singular value is zero."""
    norms = [
        torch.linalg.matrix_norm(features_ND[classes_N == label], "nuc") for label in sorted(set(classes_N.tolist()))
    ]
    excess = sum(torch.maximum(norm, torch.tensor(floor, dtype=norm.dtype)) for norm in norms)
    return weight / len(features_ND) * (excess - torch.linalg.matrix_norm(features_ND, "nuc"))


@pytest.mark.parametrize(("count", "width"), [(9, 5), (4, 11), (6, 6)])
def test_the_gradient_against_finite_differences(count: int, width: int) -> None:
    features_ND, classes_N = drawn(count, width).requires_grad_(), torch.arange(count) % 3
    assert torch.autograd.gradcheck(lambda x_ND: ole_loss(x_ND, classes_N, weight=0.7), features_ND, atol=1e-6)


@given(count=st.integers(2, 12), width=st.integers(2, 8), classes=st.integers(1, 4), seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_loss_and_gradient_against_autograd(count: int, width: int, classes: int, seed: int) -> None:
    features_ND = drawn(count, width, seed=seed)
    classes_N = torch.randint(-2, classes, (count,), generator=torch.Generator().manual_seed(seed))
    twin_ND = features_ND.clone().requires_grad_()
    twin = plain_loss(twin_ND, classes_N, 0.3, 1.0)
    twin.backward()
    assert float(ole_loss(features_ND, classes_N, weight=0.3)) == pytest.approx(float(twin.detach()), abs=1e-9)
    assert torch.allclose(gradient(features_ND, classes_N, weight=0.3), twin_ND.grad, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_values_of_zero_have_no_share(dtype: torch.dtype) -> None:
    """Rank 2 of 6, large: what rounding leaves of the other four must not enter as directions of full size."""
    left_N2, right_D2 = torch.linalg.qr(drawn(8, 2))[0], torch.linalg.qr(drawn(6, 2, seed=1))[0]
    x_ND = (
        (left_N2 @ torch.diag(torch.tensor([700.0, 300.0], dtype=torch.float64)) @ right_D2.T)
        .to(dtype)
        .requires_grad_()
    )
    norm = nuclear_norm(x_ND)
    norm.backward()
    assert float(norm.detach()) == pytest.approx(1000.0, rel=1e-5)
    assert torch.allclose(x_ND.grad.double(), left_N2 @ right_D2.T, atol=1e-5)
    nothing_ND = torch.zeros(3, 4, dtype=dtype, requires_grad=True)
    nuclear_norm(nothing_ND).backward()
    assert torch.equal(nothing_ND.grad, torch.zeros(3, 4, dtype=dtype))


def test_a_singular_value_just_above_the_threshold_counts() -> None:
    for smallest, counted in ((1.1e-6, 2.0), (0.9e-6, 1.0)):
        x_ND = torch.diag(torch.tensor([1.0, smallest], dtype=torch.float64)).requires_grad_()
        nuclear_norm(x_ND).backward()
        assert float(x_ND.grad.trace()) == pytest.approx(counted)


def test_a_small_class_is_not_pressed_to_nothing() -> None:
    features_ND, classes_N = drawn(6, 5), torch.tensor([0, 0, 0, 1, 1, 1])
    features_ND[:3] *= 0.1 / torch.linalg.matrix_norm(features_ND[:3], "nuc")
    small = gradient(features_ND, classes_N)
    whole_ND = features_ND.clone().requires_grad_()
    (-torch.linalg.matrix_norm(whole_ND, "nuc") / 6).backward()
    assert torch.allclose(small[:3], whole_ND.grad[:3], atol=1e-9), "the class's own term pushes nowhere"
    assert not torch.allclose(gradient(features_ND, classes_N, floor=0.05)[:3], whole_ND.grad[:3], atol=1e-3)
    assert float(ole_loss(features_ND, classes_N)) > float(ole_loss(features_ND, classes_N, floor=0.05))


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_orthogonal_classes_are_the_minimum(sizes: list[int], seed: int) -> None:
    """Zero for mutually orthogonal row spaces, above zero as soon as two classes share a direction, never below."""
    width = sum(sizes) + 1
    basis_DD = torch.linalg.qr(drawn(width, width, seed=seed))[0]
    rows, classes, start = [], [], 0
    for label, size in enumerate(sizes):
        rows.append(3 * drawn(5, size, seed=seed + label) @ basis_DD[start : start + size])
        classes += [label] * 5
        start += size
    features_ND, classes_N = torch.cat(rows), torch.tensor(classes)
    assert abs(float(ole_loss(features_ND, classes_N, floor=1e-9))) <= 1e-9
    anything = float(ole_loss(drawn(len(classes), width, seed=seed), classes_N, floor=1e-9))
    assert anything >= -1e-9
    if len(sizes) > 1:
        features_ND[0] += features_ND[-1]
        assert float(ole_loss(features_ND, classes_N, floor=1e-9)) > 1e-4


def test_descent_makes_classes_orthogonal() -> None:
    features_ND, classes_N = drawn(12, 8, seed=3).float(), torch.arange(12) // 4

    def overlap() -> float:
        unit_ND = features_ND / features_ND.norm(dim=1, keepdim=True)
        cosines_NN = (unit_ND @ unit_ND.T).abs()
        return float(cosines_NN[classes_N[:, None] != classes_N].mean())

    before = overlap()
    for _ in range(400):
        features_ND = features_ND - 0.2 * gradient(features_ND, classes_N)
    assert before > 0.2
    assert overlap() < 0.05


def test_the_loss_is_float32_under_narrow_features() -> None:
    features_ND, classes_N = drawn(6, 4).to(torch.bfloat16), torch.arange(6) % 2
    assert ole_loss(features_ND, classes_N).dtype == torch.float32
    assert gradient(features_ND, classes_N).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("features", "classes", "words"),
    [
        (torch.ones(2, 3, 4), torch.zeros(2, dtype=torch.long), "flatten batches"),
        (torch.ones(2, 3), torch.zeros(3, dtype=torch.long), "classes of shape"),
        (torch.ones(0, 3), torch.zeros(0, dtype=torch.long), "N at least 1"),
        (torch.ones(2, 3), torch.zeros(2), "whole numbers"),
    ],
)
def test_what_does_not_fit_is_said(features: Tensor, classes: Tensor, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ole_loss(features, classes)
