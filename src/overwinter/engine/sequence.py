"""One sequence under way: its tokens, where its memory lies, and what decides its next token.

`computed` tokens have their keys, values and states in memory; the others of `ids` are waiting to be computed. While a
sequence is decoded exactly one is waiting: the token that was just chosen. A preempted sequence keeps its tokens and loses
its memory, so that all are waiting again. Nothing else about it changes, hence nothing that it will say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from overwinter.engine.blocks import BlockTable
from overwinter.engine.detokenize import Detokenizer
from overwinter.engine.request import Event, Finish, Request, Result, TokenLogprob
from overwinter.engine.sampling import SamplerState
from overwinter.engine.stopping import StopMatcher
from overwinter.engine.watching import Watches

Decode = Callable[[Sequence[int]], str]


class LiveSequence:
    """A request and everything that has become of it.

    Args:
        number: by which callers know it.
        request: what was asked.
        vocabulary: width of the logits.
        decode: ids to text; None for an engine without a tokenizer, whose events have no text.
        deadline: on the engine's clock.
    """

    def __init__(
        self, number: int, request: Request, vocabulary: int, decode: Decode | None, deadline: float | None = None
    ) -> None:
        self.number = number
        self.request = request
        self.deadline = deadline
        self.ids: list[int] = list(request.prompt_ids)
        self.sampler = SamplerState(request.sampling, vocabulary, request.prompt_ids)
        self.constraint_state: Any = None if request.constraint is None else request.constraint.start()
        self.table: BlockTable | None = None
        self.states: list[Any] = []
        """One memory per recurrent layer of the model."""
        self.by_step = False
        """Its outputs are computed a token at a time, even again, and not shared: in pieces they would round another way, or loop
        more often."""
        self.namespace = b""
        """Where its content hashes start; empty if it shares with nobody."""
        self.chain: list[bytes] = []
        """Content hashes of its first blocks (prefix.py), as far as somebody has asked for them."""
        self.cached_tokens: int | None = None
        self.is_cancelled = False
        self.finish: Finish | None = None
        self.problem = ""
        self.text = ""
        self.logprobs: list[TokenLogprob] = []
        self.prompt_logprobs: list[TokenLogprob] = []
        if request.prompt_logprobs is not None and request.prompt_logprobs_from < 1:
            self.prompt_logprobs.append(TokenLogprob(self.ids[0], None))
        self.watches: Watches | None = None
        if request.stop_below is not None or request.reflect is not None:
            self.watches = Watches(request.stop_below, request.reflect)
        self._decode = decode
        self._detokenizer = None if decode is None else Detokenizer(decode, request.prompt_ids)
        self._stops = StopMatcher(request.stop, include=request.include_stop)

    @property
    def computed(self) -> int:
        return 0 if self.table is None else self.table.length

    @property
    def waiting(self) -> int:
        """Tokens that are known and not computed."""
        return len(self.ids) - self.computed

    @property
    def prompt_length(self) -> int:
        return len(self.request.prompt_ids)

    @property
    def output_ids(self) -> list[int]:
        return self.ids[self.prompt_length :]

    @property
    def is_decoding(self) -> bool:
        return self.waiting == 1 and len(self.ids) > self.prompt_length

    @property
    def wants_prompt_logprob(self) -> int:
        """The next prompt token whose log-probability is wanted, or the prompt's length when none is."""
        if self.request.prompt_logprobs is None:
            return self.prompt_length
        return max(1, self.request.prompt_logprobs_from) + sum(
            each.logprob is not None for each in self.prompt_logprobs
        )

    @property
    def wants_top(self) -> int | None:
        """Alternatives to list beside the next token, for the caller or a watch; None where nobody wants its log-probability."""
        if self.watches is None:
            return self.request.logprobs
        return max(self.request.logprobs or 0, self.watches.k)

    def accept(self, chosen: TokenLogprob, end_ids: frozenset[int]) -> Event:
        """Take the chosen token. The event says what it made visible, and whether it ended the sequence."""
        request, token = self.request, chosen.token_id
        logprob = None if request.logprobs is None else chosen._replace(top=chosen.top[: request.logprobs])
        self.ids.append(token)
        self.sampler.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        ended = token in end_ids and not request.ignore_end
        if request.constraint is not None and not ended:
            self.constraint_state = request.constraint.advance(self.constraint_state, token)
            ended = request.constraint.is_complete(self.constraint_state)
        piece = self._show(token, hidden=token in end_ids and not request.ignore_end)
        doubted = self.watches is not None and self.watches.token([value for _, value in chosen.top], piece)
        if self._stops.stopped is not None:
            self.finish = "stop"
        elif ended or doubted or len(self.ids) - self.prompt_length >= request.max_tokens:
            self.finish = "stop" if ended else "doubt" if doubted else "length"
            piece += self._rest()
        self.text += piece
        return Event(
            sequence=self.number,
            token_ids=(token,),
            text=piece,
            logprobs=() if logprob is None else (logprob,),
            finish=self.finish,
            stop=self._stops.stopped,
            **self._first_facts(len(self.ids) - self.prompt_length == 1),
        )

    def end(self, finish: Finish, problem: str = "") -> Event:
        """End it for a reason of the engine's; the text that was held back is shown."""
        self.finish, self.problem = finish, problem
        rest = self._rest()
        self.text += rest
        facts = self._first_facts(len(self.ids) == self.prompt_length)
        return Event(sequence=self.number, text=rest, finish=finish, problem=problem, **facts)

    def _first_facts(self, is_first: bool) -> dict[str, Any]:
        """What an event says of the prompt, if it is the first one."""
        if not is_first:
            return {}
        return {"prompt_logprobs": tuple(self.prompt_logprobs), "cached_tokens": self.cached_tokens or 0}

    def result(self) -> Result:
        assert self.finish is not None, "a sequence has a result when it has ended"
        return Result(
            sequence=self.number,
            prompt_ids=self.request.prompt_ids,
            output_ids=tuple(self.output_ids),
            text=self.text,
            logprobs=tuple(self.logprobs),
            prompt_logprobs=tuple(self.prompt_logprobs),
            finish=self.finish,
            stop=self._stops.stopped,
            problem=self.problem,
            cached_tokens=self.cached_tokens or 0,
        )

    def retrace(self, output_ids: Sequence[int]) -> None:
        """Walk again over an output that was chosen and shown before (in another process, say)."""
        for token in output_ids:
            self.ids.append(token)
            self.sampler.append(token)
            if self.request.constraint is not None:
                self.constraint_state = self.request.constraint.advance(self.constraint_state, token)
            self.text += self._show(token, hidden=False)

    def _show(self, token: int, *, hidden: bool) -> str:
        if self._detokenizer is None or hidden:
            return ""
        return self._stops.push(self._detokenizer.push([token])).text

    def _rest(self) -> str:
        if self._detokenizer is None or self._stops.stopped is not None:
            return ""
        release = self._stops.push(self._detokenizer.finish())
        return release.text + ("" if release.stop is not None else self._stops.finish())
