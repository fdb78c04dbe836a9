"""Weights in the order in which the processor wants them: the same products, several times as fast with few rows.

The idea: decoding multiplies a few rows by large matrices, so it is a matter of reading the matrices once, in long strides.
torch's plain linear stores W row by row and leaves most of the bandwidth unused. oneDNN's packed format, which torch brings
along, does not. `pack` replaces a decoder's linears by packed ones; their plain twin is `torch.nn.Linear`.

What matters as much: in this format a row's result does not depend on the other rows, nor on their number, nor on the threads, to
the last bit, as soon as there are at least two rows (a single one goes another way for long sums). So few rows are sent as four.
A sequence then gets the same logits alone and in any batch, which `engine.py` promises in float32 on a CPU and `probe.py`
checks on the machine at hand.

Shapes: X any leading dimensions, N rows, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.model import Decoder
from overwinter.model.decoder import SwiGLU
from overwinter.model.embedding import LowrankOrthogonalEmbedding
from overwinter.model.noble import PLAIN, NobleLinear, Wave
from overwinter.model.pointwise import silu

MIN_ROWS = 4
"""Two would keep the bits; four are read faster than two or one, by a tenth to a fifth of a decode step."""


def can_pack(weight_OI: Tensor) -> bool:
    """Whether this build of torch packs such a matrix; elsewhere the plain linear stays."""
    return (
        weight_OI.device.type == "cpu"
        and weight_OI.dtype in {torch.float32, torch.bfloat16}
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops, "mkldnn")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and (weight_OI.dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


class PackedLinear(nn.Module):
    """x W^T + b with W [O, I] packed. For inference: no gradient passes, and the weight is not in the state dict."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features = weight_OI.shape[1], weight_OI.shape[0]
        self.packed: Any = torch.ops.mkldnn._reorder_linear_weight(weight_OI.detach().contiguous())
        self.bias = None if bias_O is None else bias_O.detach()

    def forward(self, x_XI: Tensor) -> Tensor:
        linear = torch.ops.mkldnn._linear_pointwise
        rows = x_XI.numel() // self.in_features
        if rows >= MIN_ROWS:
            y_XO: Tensor = linear(x_XI, self.packed, self.bias, "none", [], "")
            return y_XO
        x_NI = _enough_rows(x_XI.reshape(-1, self.in_features))
        y_NO: Tensor = linear(x_NI, self.packed, self.bias, "none", [], "")
        return y_NO[:rows].view(*x_XI.shape[:-1], self.out_features)


class PackedSwiGLU(nn.Module):
    """down(SiLU(gate x) ∘ up x) in three products, SiLU and ∘ done while their results are still in the processor's cache.

    torch's own SiLU rounds the last few numbers of a tensor another way than the rest, so that a row's result would depend on
    how many rows there are; inside the product it does not.
    """

    def __init__(self, plain: SwiGLU) -> None:
        super().__init__()
        self.gate = PackedLinear(plain.gate.weight, plain.gate.bias)
        self.up = PackedLinear(plain.up.weight, plain.up.bias)
        self.down = PackedLinear(plain.down.weight, plain.down.bias)

    def forward(self, x_BLD: Tensor) -> Tensor:
        shape, linear = x_BLD.shape, torch.ops.mkldnn._linear_pointwise
        rows = shape[:-1].numel()
        x = x_BLD if rows >= MIN_ROWS else _enough_rows(x_BLD.reshape(-1, shape[-1]))
        gate = linear(x, self.gate.packed, self.gate.bias, "swish", [], "")
        both = linear.binary(x, gate, self.up.packed, self.up.bias, "mul")
        y: Tensor = linear(both, self.down.packed, self.down.bias, "none", [], "")
        return y if rows >= MIN_ROWS else y[:rows].view(shape)


class PackedNoble(nn.Module):
    """A layer with a NOBLE branch in four products and two cosines, for one row costs what its steps cost, not its sums.

    cos(ω ⊙ (x W + b) + φ) is the cosine of a linear layer, W·ω with the bias ω·b + φ; and the last product adds to the main one's result
    as it goes. float32 only: narrower weights would lose the phase.
    """

    def __init__(self, plain: NobleLinear) -> None:
        super().__init__()
        branch = plain.branch
        self.main = PackedLinear(plain.weight, plain.bias)
        self.down = _waving(branch.down, branch.wave1)
        self.bend = torch.cos if branch.wave1 is not None else PLAIN[plain.noble.activation]
        self.mid = None if branch.mid is None else _waving(branch.mid, branch.wave2)
        self.up = PackedLinear(branch.up.weight)

    def forward(self, x_XI: Tensor) -> Tensor:
        linear = torch.ops.mkldnn._linear_pointwise
        x_NI = _enough_rows(x_XI.reshape(-1, self.main.in_features))
        c_NR = self.bend(linear(x_NI, self.down.packed, self.down.bias, "none", [], ""))
        if self.mid is not None:
            c_NR = torch.cos(linear(c_NR, self.mid.packed, self.mid.bias, "none", [], ""))
        main_NO = linear(x_NI, self.main.packed, self.main.bias, "none", [], "")
        y_NO: Tensor = linear.binary(c_NR, main_NO, self.up.packed, None, "add")
        return y_NO[: x_XI.shape[:-1].numel()].view(*x_XI.shape[:-1], self.main.out_features)


def _waving(plain: nn.Linear, wave: Wave | None) -> PackedLinear:
    if wave is None:
        return PackedLinear(plain.weight, plain.bias)
    return PackedLinear(plain.weight * wave.omega[:, None], plain.bias * wave.omega + wave.phi)


class BentSwiGLU(nn.Module):
    """A SwiGLU whose linears have branches: they stay apart, and SiLU is the one that rounds every number the same way."""

    def __init__(self, plain: SwiGLU) -> None:
        super().__init__()
        self.gate, self.up, self.down = plain.gate, plain.up, plain.down

    def forward(self, x_BLD: Tensor) -> Tensor:
        y_BLD: Tensor = self.down(silu(self.gate(x_BLD)) * self.up(x_BLD))
        return y_BLD


class PackedLowrank(nn.Module):
    """The embedding of low rank with its products packed: r → D after the look-up, and D → r → V as a tied head."""

    def __init__(self, plain: LowrankOrthogonalEmbedding, *, tied: bool) -> None:
        super().__init__()
        self.weight, self.outward = plain.table, PackedLinear(plain.basis)
        self.inward = PackedLinear(plain.basis.T) if tied else None
        self.head = PackedLinear(plain.table) if tied else None

    def forward(self, ids_BL: Tensor) -> Tensor:
        x_BLD: Tensor = self.outward(functional.embedding(ids_BL, self.weight))
        return x_BLD

    def logits(self, h_BLD: Tensor) -> Tensor:
        assert self.inward is not None, "an untied decoder has a head of its own"
        assert self.head is not None
        logits_BLV: Tensor = self.head(self.inward(h_BLD))
        return logits_BLV


def _enough_rows(x_NI: Tensor) -> Tensor:
    return x_NI if x_NI.shape[0] >= MIN_ROWS else functional.pad(x_NI, (0, 0, 0, MIN_ROWS - x_NI.shape[0]))


def _packable(module: nn.Module | None) -> bool:
    return type(module) is nn.Linear and can_pack(module.weight)


def pack(decoder: Decoder) -> int:
    """Replace every plain linear of the decoder, its head included, by a packed one. Returns how many.

    The decoder can still compute, and nothing else: it has no weights to train or save any more. A head that shares the
    embedding's matrix gets a packed copy, for the embedding looks up rows of the plain one.
    """
    count, embed = _pack_children(decoder), decoder.embed
    if not can_pack(embed.weight):
        return count
    if isinstance(embed, LowrankOrthogonalEmbedding):
        decoder.embed = PackedLowrank(embed, tied=decoder.head is None)
        count += 3 if decoder.head is None else 1
    elif isinstance(embed, nn.Embedding) and decoder.head is None:
        decoder.head = PackedLinear(embed.weight)
        count += 1
    return count


def _pack_children(module: nn.Module) -> int:
    count = 0
    for name, child in list(module.named_children()):
        if isinstance(child, SwiGLU) and all(map(_packable, (child.gate, child.up, child.down))):
            setattr(module, name, PackedSwiGLU(child))
            count += 3
        elif isinstance(child, SwiGLU) and can_pack(child.gate.weight):
            bent = BentSwiGLU(child)
            setattr(module, name, bent)
            count += _pack_children(bent)
        elif isinstance(child, NobleLinear) and can_pack(child.weight) and child.weight.dtype == torch.float32:
            setattr(module, name, PackedNoble(child))
            count += sum(isinstance(part, nn.Linear) for part in child.modules())
        elif _packable(child):
            assert isinstance(child, nn.Linear)
            setattr(module, name, PackedLinear(child.weight, child.bias))
            count += 1
        else:
            count += _pack_children(child)
    return count
