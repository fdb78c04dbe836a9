"""From ids to vectors, and back to logits: the plain table, and one of low rank on an orthonormal basis.

`lowrank_orthogonal` writes the table as E = A·Bᵀ with V×r numbers A and a D×r basis B whose columns are orthonormal, BᵀB = I. So
‖E_i − E_j‖ = ‖A_i − A_j‖: all of the geometry lives in r dimensions, and the singular values of E are those of A. The tied head
is (h B)·Aᵀ: r·(D + V) multiply-adds per token where the plain one takes D·V.

B leaves the constraint with every optimiser step; `retract` brings it back to the nearest orthonormal basis (the polar factor, by
Newton-Schulz steps; far away, by QR). A trainer calls each of `retractions(decoder)` after each step. The table is a saving
of memory, not an accelerator: nanochat's log has low-rank tables losing quality each time. This is our own design; it is
neither NOBLE (noble.py) nor OLE (ole.py), with which its name is confused.

Shapes: B batch, L tokens, D model width, V vocabulary, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.errors import UsageError
from overwinter.model.checks import check_types

NEWTON_SCHULZ_STEPS, NEAR = 5, 0.5


@dataclass(frozen=True, kw_only=True)
class LowrankConfig:
    """An embedding E = A·Bᵀ with BᵀB = I."""

    rank: int

    def __post_init__(self) -> None:
        check_types(self)


class PlainEmbedding(nn.Embedding):
    """A table with one row per id."""

    def logits(self, h_BLD: Tensor) -> Tensor:
        """The tied head: each row's product with the stream."""
        return functional.linear(h_BLD, self.weight)

    @torch.no_grad()
    def draw(self, generator: torch.Generator | None, std: float) -> None:
        self.weight.normal_(0.0, std, generator=generator)


class LowrankOrthogonalEmbedding(nn.Module):
    """A table of rank r: `table` A [VR] times the transpose of `basis` B [DR]."""

    def __init__(self, vocab_size: int, d_model: int, rank: int) -> None:
        super().__init__()
        if not 1 <= rank <= d_model:
            raise UsageError(
                f"an embedding of width {d_model} cannot have rank {rank}", "give a rank from 1 to d_model"
            )
        self.table = nn.Parameter(torch.empty(vocab_size, rank))
        self.basis = nn.Parameter(torch.empty(d_model, rank))
        self.draw(None, 1.0)

    @property
    def weight(self) -> Tensor:
        """What ids are looked up in [VR]."""
        return self.table

    def dense(self) -> Tensor:
        """The table written out [VD], which is what all of this avoids: for conversions and tests."""
        return self.table @ self.basis.T

    def forward(self, ids_BL: Tensor) -> Tensor:
        return functional.linear(functional.embedding(ids_BL, self.table), self.basis)

    def logits(self, h_BLD: Tensor) -> Tensor:
        """The tied head, without writing the table out."""
        return functional.linear(h_BLD @ self.basis, self.table)

    @torch.no_grad()
    def draw(self, generator: torch.Generator | None, std: float) -> None:
        """B the basis of a Gaussian matrix, A so that rows of E have the RMS `std` that a plain table would have."""
        d_model, rank = self.basis.shape
        self.table.normal_(0.0, std * math.sqrt(d_model / rank), generator=generator)
        self.basis.copy_(_basis_of(self.basis.normal_(generator=generator)))

    @torch.no_grad()
    def retract(self) -> None:
        """Make the basis orthonormal again."""
        basis_DR = self.basis.to(torch.promote_types(self.basis.dtype, torch.float32))
        # Within this distance singular values lie between 0.7 and 1.3, which five steps bring to 1 in float32.
        near = bool(_distance(basis_DR) < NEAR)
        self.basis.copy_(_polar_factor(basis_DR) if near else _basis_of(basis_DR))


class Embedding(Protocol):
    """What a decoder asks of its embedding."""

    @property
    def weight(self) -> Tensor:
        """What ids are looked up in, row by row."""
        ...

    def __call__(self, ids_BL: Tensor) -> Tensor: ...

    def logits(self, h_BLD: Tensor) -> Tensor: ...


def build_embedding(
    vocab_size: int, d_model: int, lowrank: LowrankConfig | None
) -> PlainEmbedding | LowrankOrthogonalEmbedding:
    if lowrank is None:
        return PlainEmbedding(vocab_size, d_model)
    return LowrankOrthogonalEmbedding(vocab_size, d_model, lowrank.rank)


@dataclass(frozen=True, kw_only=True)
class Retraction:
    """A constraint that optimiser steps break, and the call that restores it."""

    parameter: str
    call: Callable[[], None]


def retractions(module: nn.Module) -> tuple[Retraction, ...]:
    """What a trainer calls after each optimiser step; empty where nothing is constrained."""
    found = [(name, each) for name, each in module.named_modules() if isinstance(each, LowrankOrthogonalEmbedding)]
    return tuple(Retraction(parameter=f"{name}.basis".lstrip("."), call=each.retract) for name, each in found)


def _distance(basis_DR: Tensor) -> Tensor:
    """‖BᵀB − I‖_F, no less than the distance of any squared singular value from 1."""
    distance: Tensor = torch.linalg.matrix_norm(basis_DR.T @ basis_DR - torch.eye(basis_DR.shape[1]).to(basis_DR))
    return distance


def _polar_factor(basis_DR: Tensor) -> Tensor:
    for _ in range(NEWTON_SCHULZ_STEPS):
        basis_DR = 1.5 * basis_DR - 0.5 * basis_DR @ (basis_DR.T @ basis_DR)
    return basis_DR


def _basis_of(x_DR: Tensor) -> Tensor:
    """The Q of QR, with signs such that it turns with its argument instead of flipping."""
    q_DR, r_RR = torch.linalg.qr(x_DR.to(torch.promote_types(x_DR.dtype, torch.float32)))
    turned_DR: Tensor = q_DR * torch.where(r_RR.diagonal() < 0, -1.0, 1.0).to(q_DR)
    return turned_DR
