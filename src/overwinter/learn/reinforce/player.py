"""Players: from prompts to drawn actions, with the log-probabilities of the distribution that was drawn from.

`EnginePlayer` asks our engine, which batches as it likes and takes candidates of any length, or free text. `DirectPlayer` is the
fast path for candidates of one token: one padded forward pass of the decoder and a gather, without the engine's memory of
prefixes, its queue and its sampler. Both draw by the same noise, a hash of the decision's seed, so they draw the same.

The engine reports log-probabilities of the model alone, before the constraint and the temperature (engine/request.py). What
training needs are those of the distribution drawn from. `Witness` is a constraint that lets another constraint work, and writes
down what came out of it.

Shapes: R decisions, L columns, A candidates, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from overwinter.engine import Config as EngineConfig
from overwinter.engine import Engine, Request, Result, SamplingParams
from overwinter.engine.constraint import Constraint, TrieConstraint
from overwinter.engine.noise import noise_key, uniforms
from overwinter.engine.trie import Trie
from overwinter.errors import ModelError, UsageError
from overwinter.learn.reinforce.collate import is_one_token, left_padded, pieces, spelled
from overwinter.learn.reinforce.decision import Candidates
from overwinter.learn.reinforce.ends import hidden_at
from overwinter.learn.reinforce.policy import Policy, entropy_of

TOKENS_AT_ONCE, REMEMBERED = 2_048, 16_384
CANDIDATE_SETS = 256
"""Tries that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One decision to be drawn.

    Attributes:
        seed: of the noise; the same seed draws the same.
        candidates: None for free text, of at most `max_tokens`.
        temperature: 0 takes the best.
    """

    prompt: tuple[int, ...]
    candidates: Candidates | None
    seed: int
    temperature: float = 1.0
    max_tokens: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What came of an `Ask`; the fields are those of a `Decision`.

    At temperature 0, log-probabilities are those at temperature 1: a certain choice teaches nothing.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    choice: int
    entropy: float
    policy: tuple[float, ...] | None
    is_cut: bool = False


class Player(Protocol):
    """Draws decisions."""

    @property
    def version(self) -> int:
        """Of the weights it plays with."""
        ...

    def draw(self, asks: Sequence[Ask]) -> list[Drawn]: ...


# --- the fast path ----------------------------------------------------------------------------------------------------


class DirectPlayer:
    """Candidates of one token each, straight from the decoder that is being trained. A prompt that comes again under the same weights
    is not computed again.

    Args:
        tokens: computed at once, padding included.
        remembered: of how many prompts the candidates' logits are kept.
    """

    def __init__(self, policy: Policy, *, tokens: int = TOKENS_AT_ONCE, remembered: int = REMEMBERED) -> None:
        self._policy, self._tokens, self._remembered = policy, tokens, remembered
        self._known: dict[tuple[tuple[int, ...], Candidates], Tensor] = {}
        self._known_version: int | None = None

    @property
    def version(self) -> int:
        return self._policy.version

    @torch.inference_mode()
    def draw(self, asks: Sequence[Ask]) -> list[Drawn]:
        """See the protocol.

        Raises:
            UsageError: free text, or a candidate of several tokens.
        """
        if any(ask.candidates is None or not is_one_token(ask.candidates) for ask in asks):
            raise UsageError("a decision whose candidates are not one token each", "play it with EnginePlayer")
        if not asks:
            return []
        self._compute(asks)
        return self._draw(asks)

    def forget(self) -> None:
        """The weights have changed, and the policy's version has not."""
        self._known_version = None

    def _compute(self, asks: Sequence[Ask]) -> None:
        """The candidates' logits of each ask, as far as they are not known."""
        if self._known_version != self._policy.version or len(self._known) > self._remembered:
            self._known, self._known_version = {}, self._policy.version
        new = [key for key in dict.fromkeys(map(_key, asks)) if key not in self._known]
        decoder = self._policy.decoder
        device = decoder.embed.weight.device
        for part in pieces(np.array([len(prompt) for prompt, _ in new], np.int64), self._tokens):
            ids, positions = left_padded([new[row][0] for row in part])
            last_R1 = torch.full((len(ids), 1), ids.shape[1] - 1, device=device)
            hidden_R1D = hidden_at(
                decoder, torch.from_numpy(ids).to(device), torch.from_numpy(positions).to(device), last_R1
            )
            logits_RV = decoder.logits(hidden_R1D)[:, 0].float().cpu()
            for row, logits_V in zip(part, logits_RV, strict=True):
                self._known[new[row]] = logits_V[[candidate[0] for candidate in new[row][1]]]

    def _draw(self, asks: Sequence[Ask]) -> list[Drawn]:
        rows = [self._known[_key(ask)] for ask in asks]
        widths = [len(row) for row in rows]
        scores_RA = pad_sequence(rows, batch_first=True, padding_value=-torch.inf).double()
        tokens = [torch.tensor([candidate[0] for candidate in ask.candidates or ()]) for ask in asks]
        tokens_RA = pad_sequence(tokens, batch_first=True)
        if not bool((scores_RA.max(-1).values < torch.inf).all()):
            raise ModelError("the logits hold NaN or +inf", "go back to a checkpoint, or check weights and dtype")
        heat_R1 = torch.tensor([[ask.temperature] for ask in asks], dtype=torch.float64)
        log_RA = (scores_RA / torch.where(heat_R1 > 0, heat_R1, 1.0)).log_softmax(-1)
        chosen = _chosen(scores_RA, tokens_RA, heat_R1, [ask.seed for ask in asks])
        entropy = entropy_of(log_RA)
        found = zip(chosen, entropy.tolist(), log_RA.tolist(), widths, asks, strict=True)
        return [
            Drawn(
                ids=(ask.candidates or ())[choice],
                logprobs=(row[choice],),
                choice=choice,
                entropy=spread,
                policy=tuple(row[:width]),
            )
            for choice, spread, row, width, ask in found
        ]


def _key(ask: Ask) -> tuple[tuple[int, ...], Candidates]:
    return ask.prompt, ask.candidates or ()


def _chosen(scores_RA: Tensor, tokens_RA: Tensor, heat_R1: Tensor, seeds: Sequence[int]) -> list[int]:
    """The engine's draw: best of score over temperature + Gumbel noise of (seed, position 0, token)."""
    keys = torch.tensor([_signed(noise_key(seed, 0)) for seed in seeds])
    noise_RA = uniforms(keys[:, None], tokens_RA).log_().neg_().log_().neg_()
    best_R1 = scores_RA.max(-1, keepdim=True).values
    noisy_RA = (scores_RA - best_R1) / heat_R1 + noise_RA
    chosen: list[int] = torch.where(heat_R1 > 0, noisy_RA, scores_RA).argmax(-1).tolist()
    return chosen


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


# --- through the engine -----------------------------------------------------------------------------------------------


class EnginePlayer:
    """Any candidates, or free text, through our engine.

    Args:
        engine: its weights are those of `version`.
        end_id: ends a candidate that begins another one.
    """

    def __init__(self, engine: Engine, *, end_id: int | None = None, version: int = 0) -> None:
        self._engine, self._end_id, self.version = engine, end_id, version
        self._tries: dict[Candidates, TrieConstraint] = {}

    @classmethod
    def of(cls, policy: Policy, config: EngineConfig | None = None) -> EnginePlayer:
        """Of a copy of the policy's weights as they are now: an engine packs its weights and remembers prompts, so new weights
        need a new one."""
        decoder = copy.deepcopy(policy.decoder).requires_grad_(False)
        ends = () if policy.end_id is None else (policy.end_id,)
        return cls(Engine(decoder, None, config, end_ids=ends), end_id=policy.end_id, version=policy.version)

    def draw(self, asks: Sequence[Ask]) -> list[Drawn]:
        """See the protocol.

        Raises:
            ModelError: the engine could not go on with one of them.
        """
        witnesses = [Witness(self._constraint(ask), self._engine.vocab_size, ask.temperature) for ask in asks]
        requests = [self._request(ask, witness) for ask, witness in zip(asks, witnesses, strict=True)]
        results = self._engine.run(requests)
        return [self._drawn(*each) for each in zip(asks, witnesses, results, strict=True)]

    def _request(self, ask: Ask, witness: Witness) -> Request:
        longest = ask.max_tokens if ask.candidates is None else 1 + max(map(len, ask.candidates))
        return Request(
            prompt_ids=ask.prompt,
            max_tokens=longest,
            sampling=SamplingParams(temperature=ask.temperature, seed=ask.seed),
            constraint=witness,
        )

    def _constraint(self, ask: Ask) -> Constraint | None:
        if ask.candidates is None:
            return None
        made = self._tries.get(ask.candidates)
        if made is None:
            # A trie needs an end token that no candidate holds; where none begins another one it is never drawn.
            end = self._end_id
            if end is None:
                used = {token for candidate in ask.candidates for token in candidate}
                end = next(token for token in range(self._engine.vocab_size) if token not in used)
                for choice in range(len(ask.candidates)):
                    spelled(ask.candidates, choice, None)  # refuses a candidate that begins another one
            trie = Trie.build(ask.candidates, vocab_size=self._engine.vocab_size, end_token=end)
            made = self._tries[ask.candidates] = TrieConstraint(trie)
            if len(self._tries) > CANDIDATE_SETS:
                del self._tries[next(iter(self._tries))]
        return made

    def _drawn(self, ask: Ask, witness: Witness, result: Result) -> Drawn:
        if result.finish not in ("stop", "length"):
            raise ModelError(
                f"the engine could not draw an action: {result.problem or result.finish}",
                "go back to a checkpoint, or check the weights",
            )
        logprobs, ids = witness.logprobs(result.output_ids), result.output_ids
        choice, policy = -1, None
        if ask.candidates is not None:
            spellings = [spelled(ask.candidates, each, self._end_id) for each in range(len(ask.candidates))]
            choice = spellings.index(ids)
            if is_one_token(ask.candidates):
                policy = tuple(witness.first[candidate[0]] for candidate in ask.candidates)
        return Drawn(
            ids=ids,
            logprobs=logprobs,
            choice=choice,
            entropy=sum(witness.entropies) / len(witness.entropies),
            policy=policy,
            is_cut=ask.candidates is None and result.finish == "length",
        )


class AnyPlayer:
    """The fast path for what it can take, and an engine, made when it is first needed, for the rest."""

    def __init__(self, policy: Policy, config: EngineConfig | None = None) -> None:
        self._policy, self._config = policy, config
        self._direct = DirectPlayer(policy)
        self._engine: EnginePlayer | None = None

    @property
    def version(self) -> int:
        return self._policy.version

    def draw(self, asks: Sequence[Ask]) -> list[Drawn]:
        is_direct = [ask.candidates is not None and is_one_token(ask.candidates) for ask in asks]
        direct = iter(self._direct.draw([ask for ask, yes in zip(asks, is_direct, strict=True) if yes]))
        others = iter(self._through_engine([ask for ask, yes in zip(asks, is_direct, strict=True) if not yes]))
        return [next(direct if yes else others) for yes in is_direct]

    def _through_engine(self, asks: Sequence[Ask]) -> list[Drawn]:
        if not asks:
            return []
        if self._engine is None or self._engine.version != self._policy.version:
            self._engine = EnginePlayer.of(self._policy, self._config)
        return self._engine.draw(asks)


class Witness:
    """A constraint that masks as another one does (None: not at all), for one sequence, and keeps the log-probabilities of what is
    drawn under it.

    Attributes:
        first: token → log-probability at the first step, of what could be drawn there; empty without a constraint.
        entropies: of each step, in nats.
    """

    def __init__(self, inner: Constraint | None, vocab_size: int, temperature: float) -> None:
        self.vocab_size = vocab_size
        self.first: dict[int, float] = {}
        self.entropies: list[float] = []
        self._inner, self._heat = inner, temperature if temperature > 0 else 1.0
        self._taken: list[float] = []
        self._open: Tensor | None = None

    def start(self) -> Any:
        return None if self._inner is None else self._inner.start()

    def constrain_(self, logits_RV: Tensor, states: Sequence[Any]) -> None:
        if self._inner is not None:
            self._inner.constrain_(logits_RV, states)
        # In float64 from here on, as the sampler; a masked token's share is exactly 0.
        log_V = (logits_RV[0].double() / self._heat).log_softmax(-1).cpu()
        if self._inner is not None and not self._taken:
            tokens_N = (log_V > -torch.inf).nonzero()[:, 0]
            self.first = dict(zip(tokens_N.tolist(), log_V[tokens_N].tolist(), strict=True))
        self.entropies.append(float(-(log_V.exp() * log_V.masked_fill(log_V == -torch.inf, 0.0)).sum()))
        self._open = log_V

    def advance(self, state: Any, token: int) -> Any:
        self._take(token)
        return state if self._inner is None else self._inner.advance(state, token)

    def is_complete(self, state: Any) -> bool:
        return False if self._inner is None else self._inner.is_complete(state)

    def logprobs(self, output_ids: Sequence[int]) -> tuple[float, ...]:
        """Of the drawn tokens. An engine does not tell a constraint of the end token, so it is looked up here."""
        if len(self._taken) < len(output_ids):
            self._take(output_ids[-1])
        return tuple(self._taken)

    def _take(self, token: int) -> None:
        assert self._open is not None, "a token is drawn from a row that was seen"
        self._taken.append(float(self._open[token]))
        self._open = None
