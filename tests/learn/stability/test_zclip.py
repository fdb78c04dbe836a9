"""ZClip against hand computation and its twin."""

from __future__ import annotations

import math
import random

import pytest
import torch

from overwinter.learn.stability import ZClip
from overwinter.learn.stability.signals import parameter_norms, plain_norm, scale_gradients
from overwinter.learn.stability.window import Window, plain_z
from overwinter.learn.stability.zclip import clip_factor, plain_zclip


def test_by_hand() -> None:
    clip = ZClip(alpha=0.5, z=2.0, warmup=2, max_norm=None)
    assert [clip.target(1.0), clip.target(3.0)] == [1.0, 3.0]
    # μ 2, σ 1; z of 10 is 8 (less ε), so the target is 2 + 2·1/(8/2) = 2.5
    assert clip.target(10.0) == pytest.approx(2.5, abs=1e-5)
    # μ 0.5·2 + 0.5·2.5 = 2.25; v 0.5·1 + 0.5·0.25² = 0.53125
    assert (clip.mean, clip.var) == (pytest.approx(2.25, abs=1e-5), pytest.approx(0.53125, abs=1e-5))
    assert clip.target(2.5) == 2.5


def test_a_larger_spike_keeps_less() -> None:
    targets = []
    for spike in (3.0, 5.0, 50.0):
        clip = ZClip(max_norm=None)
        for at in range(25):
            clip.target(1.0 + 0.1 * (at % 2))
        targets.append(clip.target(spike))
    assert targets == sorted(targets, reverse=True)
    assert targets[-1] > 1.04


@pytest.mark.parametrize("max_norm", [None, 1.0])
def test_the_twin_agrees(max_norm: float | None) -> None:
    draw = random.Random(3)
    norms = [draw.lognormvariate(0, 0.3) * (20 if draw.random() < 0.05 else 1) for _ in range(120)]
    clip = ZClip(max_norm=max_norm)
    assert [clip.target(norm) for norm in norms] == pytest.approx(plain_zclip(norms, max_norm=max_norm), rel=1e-9)
    assert any(target < norm for norm, target in zip(norms, plain_zclip(norms), strict=True))


def test_zero_gradients_teach_nothing() -> None:
    clip, other = ZClip(), ZClip()
    for at in range(60):
        clip.target(1.0 + 0.1 * (at % 3))
        other.target(1.0 + 0.1 * (at % 3))
        other.target(0.0)
    assert clip.state_dict() == other.state_dict()


def test_norms_and_factors_agree_with_torch_and_the_twin() -> None:
    torch.manual_seed(0)
    parameters = [
        torch.nn.Parameter(torch.randn(5, 3)),
        torch.nn.Parameter(torch.randn(7)),
        torch.nn.Parameter(torch.zeros(2)),
    ]
    for parameter in parameters[:2]:
        parameter.grad = torch.randn_like(parameter) * 3
    norms, total = parameter_norms([parameter.grad for parameter in parameters])
    assert total == pytest.approx(plain_norm([parameter.grad for parameter in parameters]), rel=1e-6)
    assert norms[2] == 0
    assert math.hypot(*norms) == pytest.approx(total, rel=1e-6)
    expected = [parameter.grad.clone() for parameter in parameters[:2]]
    factor = scale_gradients(parameters, total, 1.0)
    assert factor == pytest.approx(clip_factor(total, 1.0), rel=1e-6)
    assert factor < 1
    for parameter, before in zip(parameters, expected, strict=False):
        torch.testing.assert_close(parameter.grad, before * factor)
    before = [parameter.grad.clone() for parameter in parameters[:2]]
    assert scale_gradients(parameters, 1.0, 1.0) == 1
    assert all(torch.equal(parameter.grad, kept) for parameter, kept in zip(parameters, before, strict=False))
    assert parameter_norms([None, None]) == ([0.0, 0.0], 0.0)


def test_a_window_judges_by_what_came_before() -> None:
    window, seen = Window(8, 3, 100.0), []
    draw = random.Random(0)
    for _ in range(20):
        value = draw.gauss(5, 1)
        z = window.z(value)
        assert z is None if len(seen) < 3 else z == pytest.approx(plain_z(seen[-8:], value))
        window.push(value)
        seen.append(value)
    assert window.values().tolist() == seen[-8:]
    other = Window(8, 3, 100.0)
    other.load_state_dict(window.state_dict())
    assert other.values().tolist() == seen[-8:]
    for each in (window, other):
        each.push(1.0)
    assert other.values().tolist() == window.values().tolist()


def test_a_spike_is_cut_before_it_becomes_usual() -> None:
    window = Window(16, 4, 6.0)
    for at in range(8):
        window.push(1.0 + 0.1 * (at % 2))
    window.push(1e9)
    assert window.values()[-1] == pytest.approx(1.05 + 6 * 0.05)
