"""Looks inside the decoder change nothing and see what is there; QK-clip brings logits down to τ."""

from __future__ import annotations

import math

import pytest
import torch
from guard_kit import FAST

from overwinter.errors import UsageError
from overwinter.learn.stability import Guard, GuardConfig, Monitors, clip_attention
from overwinter.learn.stability.monitors import logit_bounds, look_exactly
from overwinter.model import Config, Decoder, LoopConfig, MambaConfig, NobleConfig, fresh, loop_losses

torch.set_num_threads(1)

SHAPE = {"vocab_size": 17, "d_model": 16, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_head": 4, "d_mlp": 24}
MAMBA = MambaConfig(n_heads=4, head_dim=8, d_state=5, chunk_size=4)


def decoder(**switches: object) -> Decoder:
    made = fresh(Config(**{**SHAPE, **switches}))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for name, parameter in made.named_parameters():
            if "norm" not in name and parameter.dim() > 1:
                parameter.normal_(0, 0.5, generator=generator)
    return made


def ids(length: int = 9) -> torch.Tensor:
    return torch.randint(0, 17, (2, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"tied": True, "qk_norm": True, "attn_softcap": 5.0},
        {"pattern": "MA", "mamba": MAMBA},
        {"loop": LoopConfig(n_loops=3)},
    ],
)
def test_a_look_changes_no_bit(switches: dict[str, object]) -> None:
    made = decoder(**switches)
    monitors, drawn = Monitors(made), torch.get_rng_state()
    plain = made(ids())
    plain.square().mean().backward()
    gradients = [None if each.grad is None else each.grad.clone() for each in made.parameters()]
    made.zero_grad()
    monitors.attach()
    watched = made(ids())
    watched.square().mean().backward()
    found = monitors.collect()
    assert torch.equal(plain, watched)
    assert all(
        a is b is None or torch.equal(a, b.grad)
        for a, b in zip(gradients, made.parameters(), strict=True)
        if a is not None
    )
    assert torch.equal(torch.get_rng_state(), drawn)
    assert {"attention_logit", "output_rms", "logsumexp_square"} <= set(found)
    assert ("ssm_state_rms" in found) == ("mamba" in switches)
    assert all(math.isfinite(value) for value in found.values())
    monitors.attach()
    monitors.detach()
    made(ids())
    assert monitors.collect() == {}


def test_logsumexp_and_rms_by_hand() -> None:
    made = decoder()
    monitors = Monitors(made)
    monitors.attach()
    logits_BLV = made(ids())
    found = monitors.collect()
    assert found["logsumexp_square"] == pytest.approx(
        float(logits_BLV.detach().logsumexp(-1).square().mean()), rel=1e-5
    )
    assert found["output_rms"] == max(value for name, value in found.items() if name.startswith("output_rms."))
    assert sum(name.startswith("output_rms.") for name in found) == 4


def test_the_gate_of_a_fresh_loop_is_uniform() -> None:
    monitors = Monitors(made := fresh(Config(**SHAPE, loop=LoopConfig(n_loops=3))))
    monitors.attach()
    loop_losses(made, ids(), ids())
    assert monitors.collect()["gate_entropy_share"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("switches", [{}, {"qk_norm": True}, {"attn_softcap": 3.0}, {"rope_base": None}])
def test_the_bound_is_above_the_exact_logit(switches: dict[str, object]) -> None:
    made = decoder(**switches)
    attention = made.blocks[0].mixer
    x_BLD = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(2)) * 3
    bound_H = logit_bounds(attention, x_BLD)
    exact_H, entropy_H = look_exactly(attention, x_BLD, torch.arange(7).expand(2, 7))
    assert (bound_H >= exact_H - 1e-5).all()
    assert (exact_H > 0.1 * bound_H).all()
    assert ((entropy_H >= 0) & (entropy_H < math.log(7))).all()


def test_qk_clip_brings_each_head_to_its_bound() -> None:
    made = decoder(qkv_bias=True)
    attention = made.blocks[0].mixer
    x_BLD = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(2)) * 3
    positions_BL = torch.arange(7).expand(2, 7)
    with torch.no_grad():
        before_H, _ = look_exactly(attention, x_BLD, positions_BL)
    tau = float(before_H.median())
    clip_attention(attention, before_H, tau=tau)
    after_H, _ = look_exactly(attention, x_BLD, positions_BL)
    # The biases lie in the same rows, so each head shrinks by exactly its own factor; heads below stay.
    torch.testing.assert_close(after_H, before_H.clamp(max=tau), rtol=1e-4, atol=1e-5)
    assert int((before_H > tau).sum()) >= 1


def test_qk_clip_under_qk_norm_scales_the_gains() -> None:
    made = decoder(qk_norm=True)
    attention = made.blocks[0].mixer
    x_BLD = torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(2))
    bound_H = logit_bounds(attention, x_BLD)
    clip_attention(attention, bound_H, tau=float(bound_H.max()) / 4)
    torch.testing.assert_close(logit_bounds(attention, x_BLD), bound_H / 4)
    with pytest.raises(UsageError, match="branch"):
        clip_attention(decoder(noble=NobleConfig(rank=2)).blocks[0].mixer, bound_H, tau=0.1)


def test_the_guard_looks_and_clips() -> None:
    made = decoder()
    optimizer = torch.optim.SGD(made.parameters(), lr=0.0)
    guard = Guard(made, optimizer, GuardConfig(**FAST | {"monitor_every": 2, "qk_clip": 0.5}))
    for _ in range(4):
        loss = made(ids()).square().mean()
        loss.backward()
        if guard.before_step(loss).go:
            optimizer.step()
            guard.after_step()
        optimizer.zero_grad()
    seen = [event["values"] for event in guard.signal_log.events]
    assert "attention_logit" in seen[1]
    assert "output_rms" in seen[2]
    assert "output_rms" not in seen[1]
    assert guard.log.of("qk_clip")
    assert seen[3]["attention_logit"] == pytest.approx(0.5, rel=0.3)
    assert seen[1]["attention_logit"] > 1
