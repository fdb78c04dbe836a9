"""Noise without state: a number for each (seed, position, token), and the best token after such noise.

The Gumbel-max trick: with u uniform, the token with the largest score − ln(−ln u) is a draw from softmax(score). Most tokens cannot
be that one, and seeing so takes no logarithm. Call a token lucky if its u is at least LUCKY, which is noise of 6.9 or more. An
unlucky token has less noise than any lucky one; so if it also has a lower score than the best lucky one, it has lost. Logarithms
are for what is left: the lucky ones, one in a thousand, and the few that score higher than the best of them.

Shapes: R rows, V vocabulary, N pairs of a row and a token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LUCKY = 0.999
_LUCKY_BITS = math.ceil(LUCKY * 2**52)
DENSE = 0.125
"""Share of tokens still possible from which noise is made for all of them: picking them one by one costs more."""

_MASK = 2**64 - 1
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _mix(word: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every output bit depends on every input bit."""
    word = ((word ^ (word >> 30)) * _MIX_1) & _MASK
    word = ((word ^ (word >> 27)) * _MIX_2) & _MASK
    return word ^ (word >> 31)


def noise_key(seed: int, position: int) -> int:
    """Start of the SplitMix64 stream that belongs to one step of one sequence."""
    return _mix((_mix((seed + _GOLDEN) & _MASK) + (position + 1) * _GOLDEN) & _MASK)


def uniform(key: int, token: int) -> float:
    """A number strictly between 0 and 1: the token-th of the stream, from its upper 52 bits."""
    return ((_mix((key + (token + 1) * _GOLDEN) & _MASK) >> 12) + 0.5) * 2.0**-52


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


def _shift_xor_(words: Tensor, bits: int) -> Tensor:
    # int64 shifts copy the sign down; the mask makes them the unsigned ones.
    return words.bitwise_xor_((words >> bits).bitwise_and_((1 << (64 - bits)) - 1))


def _bits_(words: Tensor) -> Tensor:
    """The upper 52 bits of `_mix` of each word, in place, for memory is what these operations wait for; int64 arithmetic wraps as
    the unsigned does."""
    _shift_xor_(words, 30).mul_(_signed(_MIX_1))
    _shift_xor_(words, 27).mul_(_signed(_MIX_2))
    return _shift_xor_(words, 31).bitwise_right_shift_(12).bitwise_and_((1 << 52) - 1)


def _uniform_of(bits: Tensor) -> Tensor:
    return (bits.double() + 0.5) * 2.0**-52


def uniforms(keys_N: Tensor, tokens_N: Tensor) -> Tensor:
    """`uniform` for many pairs, bit for bit."""
    return _uniform_of(_bits_(keys_N + (tokens_N + 1) * _signed(_GOLDEN)))


def gumbel_argmax(scores_RV: Tensor, keys: Sequence[int]) -> Tensor:
    """The token with the best score after noise in each row [R]; of equally good ones the lowest id.

    Args:
        scores_RV: float64; -inf for what cannot be drawn, at least one finite in each row.
        keys: of `noise_key`, one per row.
    """
    keys_R = torch.tensor([_signed(key) for key in keys], device=scores_RV.device)
    possible_RV = scores_RV > -math.inf
    if float(possible_RV.sum()) < DENSE * possible_RV.numel():
        rows_N, tokens_N = possible_RV.nonzero(as_tuple=True)
        bits_N = _bits_(keys_R[rows_N] + (tokens_N + 1) * _signed(_GOLDEN))
    else:
        steps_V = torch.arange(1, scores_RV.shape[1] + 1, device=scores_RV.device) * _signed(_GOLDEN)
        bits_RV = _bits_(keys_R[:, None] + steps_V)
        lucky_RV = bits_RV >= _LUCKY_BITS
        best_lucky_R1 = scores_RV.masked_fill(~lucky_RV, -math.inf).amax(dim=-1, keepdim=True)
        rows_N, tokens_N = ((lucky_RV | (scores_RV >= best_lucky_R1)) & possible_RV).nonzero(as_tuple=True)
        bits_N = bits_RV[rows_N, tokens_N]
    noisy_N = scores_RV[rows_N, tokens_N] - _uniform_of(bits_N).log_().neg_().log_()
    best, start = [], 0
    for count in torch.bincount(rows_N, minlength=len(keys)).tolist():
        best.append(start + int(noisy_N[start : start + count].max(dim=0).indices))
        start += count
    return tokens_N[torch.tensor(best, device=tokens_N.device)]
