"""Sampling: the batch against its slow twin, the promise of the same tokens in any company, and the statistics of the noise."""

from __future__ import annotations

import json
import math
import random
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from overwinter.engine.noise import gumbel_argmax, noise_key, uniform, uniforms
from overwinter.engine.sampling import (
    FIRST_LOOK,
    SamplerState,
    SamplingParams,
    choose,
    choose_slowly,
    faults,
    token_logprobs,
)
from overwinter.errors import ModelError, UsageError

V = 24
IDS = st.integers(0, V - 1)
PARAMS = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 1e-300, 0.3, 1.0, 2.5]),
    top_k=st.sampled_from([0, 1, 3, V, V + 5]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    repetition_penalty=st.sampled_from([0.7, 1.0, 1.3]),
    presence_penalty=st.sampled_from([-1.0, 0.0, 0.6]),
    frequency_penalty=st.sampled_from([0.0, 0.3]),
    logit_bias=st.dictionaries(IDS, st.sampled_from([-100.0, -1.5, 2.0]), max_size=3).map(lambda d: tuple(d.items())),
    banned_ids=st.lists(IDS, max_size=4).map(tuple),
    seed=st.integers(-(2**63), 2**63 - 1),
)
STATES = st.builds(
    SamplerState, PARAMS, st.just(V), prompt_ids=st.lists(IDS, max_size=6), output_ids=st.lists(IDS, max_size=9)
)


def logits_of(seed: int, rows: int, *, ties: bool = False, width: int = V) -> Tensor:
    logits_BV = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * 3
    return logits_BV.round() if ties else logits_BV


def mask_of(seed: int, rows: int) -> Tensor:
    mask_BV = torch.rand(rows, V, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask_BV[:, seed % V] = True
    return mask_BV


@settings(max_examples=50)
@given(st.lists(STATES, min_size=1, max_size=5), st.integers(0, 2**31), st.booleans(), st.booleans())
def test_the_batch_chooses_what_the_slow_twin_chooses(
    states: list[SamplerState], seed: int, ties: bool, masked: bool
) -> None:
    logits_BV = logits_of(seed, len(states), ties=ties)
    allowed_BV = mask_of(seed, len(states)) if masked else None
    blocked = faults(logits_BV, states, allowed_BV)
    for row, state in enumerate(states):
        alone_1V = allowed_BV if allowed_BV is None else allowed_BV[row : row + 1]
        if row in blocked:
            with pytest.raises(UsageError, match="no token is allowed"):
                choose(logits_BV[row : row + 1], [state], alone_1V)
            continue
        chosen = int(choose(logits_BV[row : row + 1], [state], alone_1V))
        assert chosen == choose_slowly(
            logits_BV[row].tolist(), state, None if alone_1V is None else alone_1V[0].tolist()
        )
    if not blocked:
        slow = [
            choose_slowly(logits_BV[row].tolist(), state, None if allowed_BV is None else allowed_BV[row].tolist())
            for row, state in enumerate(states)
        ]
        assert choose(logits_BV, states, allowed_BV).tolist() == slow


@pytest.mark.parametrize("spread", [0.01, 3.0])
def test_the_twins_agree_over_a_wide_vocabulary(spread: float) -> None:
    width = 3 * FIRST_LOOK  # flat logits make top-p look past its first look
    logits_BV = logits_of(5, 4, width=width) * spread
    params = SamplingParams(top_p=0.9, seed=3)
    states = [SamplerState(replace(params, top_k=k), width) for k in (0, 2000, 50, 0)]
    assert choose(logits_BV, states).tolist() == [
        choose_slowly(logits_BV[row].tolist(), state) for row, state in enumerate(states)
    ]


def generate(states: list[SamplerState], steps: int, width: int = 300) -> None:
    """A toy model: the logits of a row depend on its own last token alone."""
    table_VV = logits_of(0, width, width=width)
    for _ in range(steps):
        logits_BV = torch.stack([table_VV[state.output_ids[-1] if state.output_ids else 0] for state in states])
        for state, token in zip(states, choose(logits_BV, states).tolist(), strict=True):
            state.append(token)


MIXED = [
    SamplingParams(seed=1),
    SamplingParams(seed=2, temperature=0.8, top_p=0.9),
    SamplingParams(seed=2, top_k=40, repetition_penalty=1.2),
    SamplingParams(temperature=0.0),
    SamplingParams(seed=5, min_p=0.1, presence_penalty=1.0, frequency_penalty=0.5),
    SamplingParams(temperature=0.0, logit_bias=((7, 3.0),), banned_ids=(1, 2)),
]


def test_the_same_tokens_alone_in_any_batch_and_after_resume() -> None:
    alone = [SamplerState(params, 300) for params in MIXED]
    for state in alone:
        generate([state], 40)
    together = [SamplerState(params, 300) for params in MIXED]
    generate(together, 15)
    resumed = [SamplerState(replace(old.params, seed=old.seed), 300, (), old.output_ids) for old in together]
    random.Random(4).shuffle(resumed)
    generate(resumed[:4], 25)
    generate(resumed[4:], 25)
    by_params = {replace(state.params, seed=None): state.output_ids for state in resumed}
    assert all(by_params[replace(state.params, seed=None)] == state.output_ids for state in alone)


def test_rejected_drafts_leave_no_trace() -> None:
    params = SamplingParams(seed=9, frequency_penalty=0.4, repetition_penalty=1.1)
    plain, drafted = SamplerState(params, 300), SamplerState(params, 300)
    generate([plain], 20)
    generate([drafted], 8)
    for token in (5, 5, 17):
        drafted.append(token)
    drafted.truncate(8)
    generate([drafted], 12)
    assert (drafted.output_ids, drafted.counts) == (plain.output_ids, plain.counts)


def test_log_probabilities_and_noise_are_bitwise_the_same_in_any_batch() -> None:
    logits_BV = logits_of(8, 33, width=4099)
    chosen_B = logits_BV.argmax(dim=-1)
    together = token_logprobs(logits_BV, chosen_B)
    for row in range(33):
        alone = token_logprobs(logits_BV[row : row + 1], chosen_B[row : row + 1])
        assert torch.equal(alone.top[0], together.top[row])
        assert torch.equal(alone.top_ids[0], together.top_ids[row])
    numbers_N = torch.rand(10_007, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for function in (torch.log, torch.exp):
        for start in (0, 1, 3, 10_000):
            assert torch.equal(function(numbers_N)[start : start + 7], function(numbers_N[start : start + 7].clone()))


# --- noise ---


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**40), IDS)
def test_the_two_generators_are_one(seed: int, position: int, token: int) -> None:
    key = noise_key(seed, position)
    signed = key - 2**64 if key >= 2**63 else key
    assert uniforms(torch.tensor([signed]), torch.tensor([token])).tolist() == [uniform(key, token)]


def chi_square(counts: Tensor, expected: Tensor) -> float:
    return float(((counts - expected) ** 2 / expected).sum())


def limit(degrees: int) -> float:
    """Chi-square at about 1 in 10,000 (Wilson and Hilferty)."""
    return degrees * (1 - 2 / (9 * degrees) + 3.719 * math.sqrt(2 / (9 * degrees))) ** 3


@pytest.mark.parametrize("along", ["token", "position", "seed"])
def test_noise_is_uniform_and_neighbours_are_independent(along: str) -> None:
    count, bins = 2**17, 64
    if along == "token":
        numbers_N = uniforms(torch.full((count,), noise_key(11, 3) - 2**64), torch.arange(count))
    else:
        keys = (noise_key(11, n) if along == "position" else noise_key(n, 3) for n in range(count))
        numbers_N = torch.tensor([uniform(key, 17) for key in keys], dtype=torch.float64)
    cells_N = (numbers_N * bins).long()
    even = torch.full((bins,), count / bins)
    assert chi_square(torch.bincount(cells_N, minlength=bins), even) < limit(bins - 1)
    pairs_N = cells_N[0::2] * bins + cells_N[1::2]
    even = torch.full((bins * bins,), count / 2 / bins**2)
    assert chi_square(torch.bincount(pairs_N, minlength=bins * bins), even) < limit(bins * bins - 1)


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        (SamplingParams(), 8),
        (SamplingParams(temperature=1.7), 8),
        (SamplingParams(top_k=4), 4),
        (SamplingParams(top_p=0.8), None),
        (SamplingParams(min_p=0.2), None),
    ],
)
def test_frequencies_are_the_probabilities(params: SamplingParams, kept: int | None) -> None:
    rows, steps = 400, 10
    logits_V = logits_of(3, 1, width=8)[0] / 2
    probabilities_V = (logits_V.double() / params.temperature).softmax(dim=-1)
    order = probabilities_V.argsort(descending=True)
    if params.top_p < 1:
        kept = int((probabilities_V[order].cumsum(0) < params.top_p).sum()) + 1
    if params.min_p > 0:
        kept = int((probabilities_V >= params.min_p * probabilities_V.max()).sum())
    probabilities_V[order[kept:]] = 0
    probabilities_V /= probabilities_V.sum()
    states = [SamplerState(replace(params, seed=seed), 8) for seed in range(rows)]
    for _ in range(steps):
        for state, token in zip(states, choose(logits_V.expand(rows, -1), states).tolist(), strict=True):
            state.append(token)
    counts = torch.bincount(torch.tensor([state.output_ids for state in states]).flatten(), minlength=8)
    possible = probabilities_V > 0
    assert int(counts[~possible].sum()) == 0
    assert chi_square(counts[possible], probabilities_V[possible] * rows * steps) < limit(int(possible.sum()) - 1)


# --- processors, one by one ---

GREEDY = SamplingParams(temperature=0.0)


def test_of_equals_greedy_takes_the_lowest_id() -> None:
    logits_BV = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    assert choose(logits_BV, [SamplerState(GREEDY, 3)] * 2).tolist() == [1, 0]


def test_penalties_by_hand() -> None:
    logits_BV = torch.tensor([[2.0, -1.0, 1.9]])

    def chosen(prompt: list[int], output: list[int], **penalties: float) -> int:
        return int(choose(logits_BV, [SamplerState(replace(GREEDY, **penalties), 3, prompt, output)]))

    assert chosen([0], [], repetition_penalty=1.1) == 2
    assert chosen([0], [], presence_penalty=1.0) == 0, "presence looks at the output alone"
    assert chosen([], [0], presence_penalty=0.2) == 2
    assert chosen([], [0], frequency_penalty=0.06) == 0
    assert chosen([], [0, 0], frequency_penalty=0.06) == 2
    assert chosen([0, 2], [], repetition_penalty=10.0) == 0, "divided, not pushed below zero"


def test_equals_at_the_border_of_top_k_stay_together() -> None:
    logits_1V = torch.tensor([[0.0, 5.0, 5.0, 5.0]])
    states = [SamplerState(SamplingParams(top_k=2, seed=seed), 4) for seed in range(60)]
    assert set(choose(logits_1V.expand(60, -1), states).tolist()) == {1, 2, 3}


def test_rows_without_a_choice_are_named() -> None:
    logits_BV = torch.zeros(4, 3)
    logits_BV[1, 2], logits_BV[3, 0] = math.nan, math.inf
    states = [SamplerState(replace(GREEDY, banned_ids=(0, 1)), 3), *[SamplerState(GREEDY, 3) for _ in range(3)]]
    allowed_BV = torch.ones(4, 3, dtype=torch.bool)
    allowed_BV[0, 2] = allowed_BV[2, :] = False
    assert sorted(faults(logits_BV, states, allowed_BV)) == [0, 1, 2, 3]
    assert sorted(faults(logits_BV, states)) == [1, 3]
    with pytest.raises(UsageError, match="row 0: no token is allowed"):
        choose(logits_BV, states, allowed_BV)
    with pytest.raises(ModelError, match="row 1: the logits hold NaN"):
        choose(logits_BV, states)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_k": -1}, "0 switches it off"),
        ({"top_k": 2.0}, "whole number"),
        ({"top_p": 0.0}, "keeps no token"),
        ({"top_p": 1.5}, "from 0 to 1"),
        ({"min_p": True}, "min_p is True"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
        ({"presence_penalty": 3.0}, "from -2 to 2"),
        ({"logit_bias": ((1, -math.inf),)}, "use banned_ids"),
        ({"logit_bias": ((1, 1.0), (1, 2.0))}, "twice"),
        ({"banned_ids": (-1,)}, "an id in banned_ids is -1"),
        ({"seed": 2**63}, "64-bit"),
    ],
)
def test_wrong_parameters_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SamplingParams(**setting)


def test_wrong_shapes_and_ids_are_refused() -> None:
    state = SamplerState(GREEDY, 3)
    with pytest.raises(UsageError, match="one row of logits per state"):
        choose(torch.zeros(2, 3), [state])
    with pytest.raises(UsageError, match="made for 3 ids, the logits have 4"):
        choose(torch.zeros(1, 4), [state])
    with pytest.raises(UsageError, match="bool mask"):
        choose(torch.zeros(1, 3), [state], torch.ones(1, 3))
    with pytest.raises(UsageError, match="logit_bias holds id 3"):
        SamplerState(SamplingParams(logit_bias=((3, 1.0),)), 3)
    with pytest.raises(UsageError, match="the output holds id -1"):
        state.append(-1)


def test_parameters_survive_json() -> None:
    params = SamplingParams(seed=4, logit_bias=((2, 1.5),), banned_ids=(7,))
    assert SamplingParams(**json.loads(json.dumps(asdict(params)))) == params


# --- log-probabilities ---


def test_log_probabilities_are_of_the_raw_distribution() -> None:
    logits_BV = torch.tensor([[1e4, 1e4, 0.0], [0.0, 1.0, 2.0]])
    result = token_logprobs(logits_BV, torch.tensor([1, 0]), top=2)
    assert result.chosen.tolist() == pytest.approx([-math.log(2), -2.407606], abs=1e-6)
    assert result.top_ids.tolist() == [[0, 1], [2, 1]]
    assert (
        result.chosen.dtype == token_logprobs(logits_BV.bfloat16(), torch.tensor([1, 0])).chosen.dtype == torch.float32
    )
    assert token_logprobs(logits_BV, torch.tensor([1, 0]), top=0).top.shape == (2, 0)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 20))
def test_listed_tokens_are_those_of_a_plain_sort(seed: int, top: int) -> None:
    logits_BV = logits_of(seed, 3, ties=True)
    result = token_logprobs(logits_BV, torch.zeros(3, dtype=torch.long), top=top)
    for row in range(3):
        expected = sorted(range(V), key=lambda token: (-float(logits_BV[row, token]), token))[:top]
        assert result.top_ids[row].tolist() == expected


def test_the_page_is_true() -> None:
    page = Path(__file__).parents[2] / "docs" / "sampling.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/sampling.md, block {number}", "exec", dont_inherit=True), names)


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 30.0])
@pytest.mark.parametrize("kept", [1.0, 0.5, 0.13, 0.01])
def test_the_screen_loses_no_winner(spread: float, kept: float) -> None:
    """Against noise for every token: flat and peaked scores, few and many that cannot be drawn, rows without a lucky token."""
    generator = torch.Generator().manual_seed(int(spread * 10) + int(kept * 100))
    for vocabulary in (3, 500, 6000):
        scores_RV = torch.randn(6, vocabulary, dtype=torch.float64, generator=generator) * spread
        scores_RV[torch.rand(6, vocabulary, generator=generator) > kept] = -math.inf
        scores_RV[:, 1] = 0.0
        keys = [noise_key(seed, 7) for seed in range(6)]
        noise_RV = torch.stack(
            [
                uniforms(torch.full((vocabulary,), key - 2**64 * (key >= 2**63)), torch.arange(vocabulary))
                for key in keys
            ]
        )
        expected_R = (scores_RV - (-noise_RV.log()).log()).max(dim=-1).indices
        assert torch.equal(gumbel_argmax(scores_RV.clone(), keys), expected_R)
