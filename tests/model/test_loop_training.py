"""The losses over loops against sums written out, depths per sequence, and how far gradients go."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit import SHAPE, relative_error, some_ids, tiny
from torch import Tensor
from torch.nn import functional

from overwinter.errors import UsageError
from overwinter.model import (
    AttnResConfig,
    Config,
    Decoder,
    LoopConfig,
    fresh,
    gate_loss,
    joint_loss,
    last_loss,
    loop_losses,
    sample_depths,
)
from overwinter.model.loop_training import chunked_cross_entropy

KINDS: dict[str, dict[str, Any]] = {
    "ouro": {"loop": LoopConfig(n_loops=3), "norm": "sandwich"},
    "middle": {"loop": LoopConfig(n_loops=3, prelude=1, coda=1, reinject="parcae", loop_norm=False), "tied": True},
    "attnres": {"loop": LoopConfig(n_loops=2, reinject="concat"), "attnres": AttnResConfig(kind="full")},
}
each_kind = pytest.mark.parametrize("switches", KINDS.values(), ids=KINDS.keys())
each_seed = given(seed=st.integers(0, 200), n_loops=st.integers(2, 5), scale=st.sampled_from([0.1, 1.0, 20.0]))


def some_losses(seed: int, n_loops: int, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ce_BLT = 3 * torch.rand(3, 4, n_loops, generator=generator)
    gates_BLT = scale * torch.randn(3, 4, n_loops, generator=generator)
    depths_B = torch.randint(1, n_loops + 1, (3,), generator=generator)
    valid_BL = torch.rand(3, 4, generator=generator) < 0.7
    valid_BL[0, 0] = True
    return ce_BLT, gates_BLT, depths_B, valid_BL


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


@settings(max_examples=40, deadline=None)
@each_seed
def test_the_joint_loss_written_out(seed: int, n_loops: int, scale: float) -> None:
    ce_BLT, gates_BLT, depths_B, valid_BL = some_losses(seed, n_loops, scale)
    for depths, valid in ((None, None), (depths_B, valid_BL)):
        total, count = 0.0, 0
        for b in range(3):
            for i in range(4):
                if valid is not None and not valid[b, i]:
                    continue
                count += 1
                survive, depth = 1.0, n_loops if depths is None else int(depths[b])
                for t in range(depth):
                    stop = 1.0 if t == depth - 1 else sigmoid(float(gates_BLT[b, i, t]))
                    p = survive * stop
                    survive *= sigmoid(-float(gates_BLT[b, i, t]))
                    total += p * float(ce_BLT[b, i, t]) + (0.05 * p * math.log(p) if p > 0 else 0.0)
        loss = joint_loss(ce_BLT, gates_BLT, beta=0.05, depths_B=depths, valid_BL=valid)
        assert float(loss) == pytest.approx(total / count, rel=1e-5, abs=1e-6)


@settings(max_examples=40, deadline=None)
@each_seed
def test_the_gate_loss_written_out(seed: int, n_loops: int, scale: float) -> None:
    ce_BLT, gates_BLT, _, valid_BL = some_losses(seed, n_loops, scale)
    for shift in (0, 1):
        total, count = 0.0, int(valid_BL.sum())
        for b, i in valid_BL.nonzero().tolist():
            for t in range(1, n_loops):
                gain = max(0.0, float(ce_BLT[b, i, t - 1] - ce_BLT[b, i, t]))
                worth = sigmoid(50 * (gain - 0.005))
                logit = float(gates_BLT[b, i, t - 1 if shift else t])
                log_on, log_off = -math.log1p(math.exp(logit)), -math.log1p(math.exp(-logit))
                total -= (worth * log_on + (1 - worth) * log_off) / (n_loops - 1)
        loss = gate_loss(ce_BLT, gates_BLT, gate_label_shift=shift, valid_BL=valid_BL)
        assert float(loss) == pytest.approx(total / count, rel=1e-4, abs=1e-6)
    with pytest.raises(UsageError, match="gate_label_shift"):
        gate_loss(ce_BLT, gates_BLT, gate_label_shift=2)


def test_the_joint_loss_is_bounded_by_the_best_mixture() -> None:
    """With p free, the minimum is −β·log Σ_t e^(−CE_t/β), at p_t ~ e^(−CE_t/β); the gate can say that p, and nothing is below."""
    ce_BLT, beta = torch.tensor([[[1.0, 0.5, 0.8]]]), 0.3
    best = -beta * float(torch.logsumexp(-ce_BLT / beta, -1))
    p_T = (-ce_BLT[0, 0] / beta).softmax(-1)
    stop_T = p_T / (1 - torch.cat([torch.zeros(1), p_T.cumsum(-1)[:-1]]))
    gates_BLT = torch.logit(stop_T.clamp(max=1 - 1e-6))[None, None]
    assert float(joint_loss(ce_BLT, gates_BLT, beta=beta)) == pytest.approx(best, abs=1e-5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        other_BLT = gates_BLT + torch.randn(1, 1, 3, generator=generator)
        assert float(joint_loss(ce_BLT, other_BLT, beta=beta)) >= best - 1e-6


def test_the_gate_loss_teaches_the_gate_alone() -> None:
    decoder, ids_BL = tiny(**KINDS["ouro"]), some_ids(2, 9)
    with torch.no_grad():
        out = loop_losses(decoder, ids_BL, ids_BL)
    assert out.gates is not None
    ce_BLT, gates_BLT = out.ce.clone().requires_grad_(), out.gates.clone().requires_grad_()
    gate_loss(ce_BLT, gates_BLT).backward()
    assert ce_BLT.grad is None
    assert gates_BLT.grad[..., 1:].abs().min() > 0
    assert not gates_BLT.grad[..., 0].any()


@each_kind
def test_losses_of_all_loops(switches: dict[str, Any]) -> None:
    """The last loop's are those of the decoder itself; the others those of decoders that stop there."""
    decoder, ids_BL, targets_BL = tiny(**switches), some_ids(2, 9), some_ids(2, 9, seed=1)
    targets_BL[0, 3] = -100
    n_loops = decoder.config.loop.n_loops
    with torch.no_grad():
        out = loop_losses(decoder, ids_BL, targets_BL, chunk_tokens=4)
        for t in range(n_loops):
            asked_BL = torch.full(ids_BL.shape, 1.0 if t + 1 == n_loops else 1e-9)
            if 0 < t < n_loops - 1:
                continue
            logits_BLV = decoder(ids_BL, exit_thresholds_BL=asked_BL)
            expected_BL = functional.cross_entropy(
                logits_BLV.transpose(1, 2), targets_BL, reduction="none", ignore_index=-100
            )
            assert torch.allclose(out.ce[..., t], expected_BL, atol=1e-5)
    assert out.ce.shape == (2, 9, n_loops)
    assert out.gates.shape == (2, 9, n_loops)
    assert not out.ce[0, 3].any()
    assert out.valid.sum() == 17
    assert float(last_loss(out.ce, valid_BL=out.valid)) == pytest.approx(float(out.ce[..., -1].sum() / 17), rel=1e-5)


@each_kind
def test_a_sequence_takes_its_own_depth(switches: dict[str, Any]) -> None:
    decoder, ids_BL, targets_BL = tiny(**switches), some_ids(3, 9), some_ids(3, 9, seed=1)
    depths_B = torch.tensor([2, 1, 4])
    with torch.no_grad():
        out = loop_losses(decoder, ids_BL, targets_BL, depths_B=depths_B)
        for b, depth in enumerate(depths_B.tolist()):
            alone = loop_losses(decoder, ids_BL[b : b + 1], targets_BL[b : b + 1], depths_B=depths_B[b : b + 1])
            assert torch.allclose(out.ce[b, :, :depth], alone.ce[0], atol=1e-5)
            assert torch.allclose(out.gates[b, :, :depth], alone.gates[0], atol=1e-5)
            assert not out.ce[b, :, depth:].any()
    expected = torch.cat([out.ce[b, :, depth - 1] for b, depth in enumerate(depths_B.tolist())]).mean()
    assert float(last_loss(out.ce, depths_B=out.depths)) == pytest.approx(float(expected), rel=1e-5)


@each_kind
def test_chunks_change_neither_losses_nor_gradients(switches: dict[str, Any]) -> None:
    ids_BL, targets_BL = some_ids(2, 9), some_ids(2, 9, seed=1)
    results = []
    for chunk in (3, 1000):
        decoder = tiny(**switches)
        out = loop_losses(decoder, ids_BL, targets_BL, chunk_tokens=chunk)
        joint_loss(out.ce, out.gates, beta=0.1).backward()
        results.append((out.ce.detach(), {name: p.grad for name, p in decoder.named_parameters()}))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-5)
    for name, gradient in results[0][1].items():
        assert gradient is not None, name
        assert relative_error(gradient, results[1][1][name]) <= 1e-4, name


def test_logits_of_a_chunk_are_all_that_exists() -> None:
    seen: list[int] = []

    class Counting:
        def logits(self, h_ND: Tensor) -> Tensor:
            seen.append(h_ND.shape[0])
            return h_ND @ weight_DV

    weight_DV = torch.randn(8, 11, requires_grad=True)
    losses_BL = chunked_cross_entropy(Counting(), torch.randn(2, 9, 8), some_ids(2, 9) % 11, chunk_tokens=5)  # type: ignore[arg-type]
    assert seen == [5, 5, 5, 3]
    losses_BL.sum().backward()
    assert sorted(seen[4:]) == [3, 5, 5, 5], "computed again for the gradient, a chunk at a time"
    assert weight_DV.grad is not None


@pytest.mark.parametrize("bptt", [1, 2, 3])
def test_gradients_go_through_the_last_loops_alone(bptt: int) -> None:
    """Against the whole graph cut by hand, for sequences of different depth."""
    options = {"n_loops": 3, "prelude": 1, "coda": 1, "reinject": "add"}
    cut, whole = tiny(loop=LoopConfig(**options, bptt=bptt)), tiny(loop=LoopConfig(**options))
    whole.load_state_dict(cut.state_dict())
    ids_BL, targets_BL, depths_B = some_ids(3, 7), some_ids(3, 7, seed=1), torch.tensor([3, 1, 2])
    out = loop_losses(cut, ids_BL, targets_BL, depths_B=depths_B)
    joint_loss(out.ce, out.gates, beta=0.1, depths_B=depths_B).backward()

    ce, gates = [], []
    for b, depth in enumerate(depths_B.tolist()):
        rows = by_hand(whole, ids_BL[b : b + 1], targets_BL[b : b + 1], depth, bptt)
        ce.append(functional.pad(torch.stack([loss for loss, _ in rows], -1), (0, 3 - depth)))
        gates.append(functional.pad(torch.stack([gate for _, gate in rows], -1), (0, 3 - depth)))
    joint_loss(torch.cat(ce), torch.cat(gates), beta=0.1, depths_B=depths_B).backward()
    for (name, parameter), twin in zip(cut.named_parameters(), whole.parameters(), strict=True):
        assert relative_error(parameter.grad, twin.grad) <= 1e-4, name


def by_hand(decoder: Decoder, ids_BL: Tensor, targets_BL: Tensor, depth: int, bptt: int) -> list[tuple[Tensor, Tensor]]:
    positions_BL = torch.arange(ids_BL.shape[1])[None]

    def through(layer: int, h_BLD: Tensor) -> Tensor:
        for sublayer in decoder.blocks[layer].sublayers(positions_BL, None):
            h_BLD = h_BLD + sublayer(h_BLD)
        return h_BLD

    e_BLD = through(0, decoder.embed(ids_BL))
    state_BLD, rows = e_BLD, []
    for t in range(depth):
        normed_BLD = decoder.norm(through(1, state_BLD))
        if depth - t > bptt:
            normed_BLD = normed_BLD.detach()
        logits_BLV = decoder.logits(decoder.norm(through(2, normed_BLD)))
        loss_BL = functional.cross_entropy(logits_BLV.transpose(1, 2), targets_BL, reduction="none")
        rows.append((loss_BL, decoder.loop.exit_gate(normed_BLD, t)))
        state_BLD = normed_BLD + e_BLD
    return rows


def test_loops_without_gradient_keep_no_graph() -> None:
    decoder = tiny(loop=LoopConfig(n_loops=6, reinject="add", bptt=1))
    saved = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.numel()
        return tensor

    sizes = []
    for n_loops in (2, 6):
        saved = 0
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            decoder.hidden(some_ids(1, 4))
            before = saved
            loop_losses(decoder, some_ids(1, 4), some_ids(1, 4), depths_B=torch.tensor([n_loops]))
        sizes.append(saved - before)
    assert sizes[1] < 1.7 * sizes[0]


def test_depths_are_drawn_per_sequence() -> None:
    options = LoopConfig(n_loops=4, depth_sampling="poisson")
    first_B, again_B = (sample_depths(options, 4000, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first_B, again_B)
    assert 1 == int(first_B.min()) < int(first_B.max()) == 8
    assert float(first_B.float().mean()) == pytest.approx(4.0, abs=0.1)
    assert (sample_depths(LoopConfig(n_loops=4), 5) == 4).all()
    deep = loop_losses(tiny(loop=options), some_ids(2, 5), some_ids(2, 5), depths_B=torch.tensor([7, 2]))
    assert deep.ce.shape == (2, 5, 7)
    assert torch.isfinite(joint_loss(deep.ce, deep.gates, beta=0.1, depths_B=deep.depths))


def test_a_second_loop_learns_what_one_cannot_know_and_the_gate_finds_out() -> None:
    """The token to name stands two places back, and a layer sees one: loop 1 cannot do better than chance, loop 2 can."""
    shape = {**SHAPE, "vocab_size": 8, "n_layers": 1}
    decoder = fresh(Config(**shape, pattern="W", window=2, norm="sandwich", loop=LoopConfig(n_loops=2)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if parameter.dim() > 1 and not name.startswith("loop."):
                parameter.normal_(0.0, 0.1, generator=generator)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(40):
        out = loop_losses(decoder, *two_back(generator))
        optimizer.zero_grad()
        joint_loss(out.ce, out.gates, beta=0.1, valid_BL=out.valid).backward()
        optimizer.step()
    with torch.no_grad():
        out = loop_losses(decoder, *two_back(generator))
    first, second = (out.ce.sum((0, 1)) / out.valid.sum()).tolist()
    assert second < 0.3 < 0.9 * math.log(8) < first
    assert float(torch.sigmoid(out.gates[..., 0])[out.valid].mean()) < 0.2

    # The second stage finds the same from nothing, with the rest of the model frozen.
    decoder.loop.exit_gate.init_own()
    optimizer = torch.optim.AdamW(decoder.loop.exit_gate.parameters(), lr=0.1)
    for _ in range(20):
        out = loop_losses(decoder, *two_back(generator))
        optimizer.zero_grad()
        gate_loss(out.ce, out.gates, gate_label_shift=1, valid_BL=out.valid).backward()
        optimizer.step()
    with torch.no_grad():
        assert float(torch.sigmoid(loop_losses(decoder, *two_back(generator)).gates[..., 0]).mean()) < 0.2


def two_back(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    ids_BL = torch.randint(0, 8, (16, 16), generator=generator)
    return ids_BL, functional.pad(ids_BL[:, :-2], (2, 0), value=-100)


def test_without_a_gate_there_are_losses_and_no_gates() -> None:
    decoder = tiny(loop=LoopConfig(n_loops=2, gate=False))
    out = loop_losses(decoder, some_ids(1, 5), some_ids(1, 5))
    assert out.gates is None
    last_loss(out.ce).backward()


def test_misuse_is_said() -> None:
    with pytest.raises(UsageError, match="no loops"):
        loop_losses(tiny(), some_ids(1, 4), some_ids(1, 4))
    for wrong in (torch.tensor([2]), torch.tensor([0, 2])):
        with pytest.raises(UsageError, match="depths"):
            loop_losses(tiny(**KINDS["ouro"]), some_ids(2, 4), some_ids(2, 4), depths_B=wrong)
