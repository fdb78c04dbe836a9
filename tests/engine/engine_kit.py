"""Tiny decoders, requests, and the slow clear twin of the engine."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from overwinter.engine import Config, Engine, Request, Result, SamplingParams
from overwinter.engine.sampling import SamplerState, choose, token_logprobs
from overwinter.model import Config as Shape
from overwinter.model import Decoder, fresh

torch.set_num_threads(1)  # the suite runs on all cores as it is; probe.py is asked with more

VOCABULARY = 120


def shape(**switches: Any) -> Shape:
    plain = {
        "vocab_size": VOCABULARY, "d_model": 48, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_head": 12, "d_mlp": 52,
        "context": 400, "tied": True,
    }  # fmt: skip
    return Shape(**{**plain, **switches})


@cache
def _made(config: Shape, seed: int) -> Decoder:
    decoder = fresh(config, seed=seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(2.5)  # logits far enough apart that chosen tokens vary with the context
    return decoder


def decoder_of(config: Shape | None = None, seed: int = 1) -> Decoder:
    """A decoder of its own for each caller: an engine packs what it is given."""
    return copy.deepcopy(_made(config or shape(), seed))


def engine_of(config: Shape | None = None, seed: int = 1, **limits: Any) -> Engine:
    return Engine(decoder_of(config, seed), None, Config(**limits))


def request(length: int, max_tokens: int = 6, *, seed: int = 0, **fields: Any) -> Request:
    ids = tuple(random.Random(1000 * length + seed).randrange(VOCABULARY) for _ in range(length))
    sampling = fields.pop("sampling", SamplingParams(temperature=1.0 if seed % 2 else 0.0, seed=seed))
    return Request(prompt_ids=ids, max_tokens=max_tokens, sampling=sampling, **fields)


def said(result: Result) -> Result:
    """A result without what may differ between two ways of serving it."""
    return replace(result, sequence=0, cached_tokens=0)


@torch.no_grad()
def serve_slowly(decoder: Decoder, asked: Request) -> tuple[list[int], list[float]]:
    """The twin: the whole text through the plain decoder for every token. Output ids and their log-probabilities."""
    ids, logprobs = list(asked.prompt_ids), []
    state = SamplerState(asked.sampling, decoder.config.vocab_size, asked.prompt_ids)
    for _ in range(asked.max_tokens):
        logits_1V: Tensor = decoder(torch.tensor([ids]))[:, -1].float()
        chosen = choose(logits_1V, [state])
        logprobs.append(float(token_logprobs(logits_1V, chosen, 0).chosen[0]))
        ids.append(int(chosen[0]))
        state.append(int(chosen[0]))
    return ids[len(asked.prompt_ids) :], logprobs
