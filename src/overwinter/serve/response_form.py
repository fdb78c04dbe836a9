"""The response object of the API, and the items of its output as they grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from overwinter.engine.request import Event, TokenLogprob
from overwinter.model.text import TextFormat
from overwinter.serve.answer import Answer
from overwinter.serve.logprobs import chat_logprobs
from overwinter.serve.schemas.responses import LOGPROBS, ResponseBody
from overwinter.serve.stored import Turn
from overwinter.serve.tool_text import Argued, CallBegun, Piece, Said

Form = dict[str, Any]


@dataclass
class Items:
    """The output's items, in the order in which they began: messages and calls.

    Args:
        key: makes their ids.
        listed: alternatives of each log-probability; None where none are shown.
    """

    key: str
    answer: Answer
    text: TextFormat
    listed: int | None = None
    done: list[Form] = field(default_factory=list)
    """All but the last are complete."""
    _logprobs: list[TokenLogprob] = field(default_factory=list)

    def read(self, event: Event) -> Iterator[tuple[str, Form]]:
        """Take an event of the engine; the API's events that follow from it, as (type, fields)."""
        pieces = self.answer.read(event)
        rows = list(event.logprobs)
        self._logprobs += rows
        for piece in pieces:
            yield from self._piece(piece, rows)
            rows = []
        if event.finish is not None:
            if not self.done:
                yield from self._begin_message()
            yield from self._end(is_cut=self.answer.finish == "length")

    def _piece(self, piece: Piece, rows: list[TokenLogprob]) -> Iterator[tuple[str, Form]]:
        match piece:
            case Said(text):
                if not self.done or self.done[-1]["type"] != "message":
                    yield from self._end()
                    yield from self._begin_message()
                self.done[-1]["content"][0]["text"] += text
                delta = {**self._place, "content_index": 0, "delta": text, "logprobs": self._shown(rows)}
                yield "response.output_text.delta", delta
            case CallBegun(index, name):
                yield from self._end()
                call = self.answer.calls[index]
                item = {"type": "function_call", "id": f"fc_{self.key}_{len(self.done)}", "call_id": call.id}
                yield from self._begin({**item, "name": name, "arguments": "", "status": "in_progress"})
            case Argued(_, text):
                self.done[-1]["arguments"] += text
                yield "response.function_call_arguments.delta", {**self._place, "delta": text}

    @property
    def _place(self) -> Form:
        return {"item_id": self.done[-1]["id"], "output_index": len(self.done) - 1}

    def _shown(self, rows: list[TokenLogprob]) -> list[Form]:
        return [] if self.listed is None else chat_logprobs(self.text, rows, self.listed)

    def _begin(self, item: Form) -> Iterator[tuple[str, Form]]:
        self.done.append(item)
        empty = {**item, "content": []} if "content" in item else dict(item)
        yield "response.output_item.added", {"output_index": len(self.done) - 1, "item": empty}

    def _begin_message(self) -> Iterator[tuple[str, Form]]:
        part: Form = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        item = {
            "type": "message",
            "id": f"msg_{self.key}_{len(self.done)}",
            "status": "in_progress",
            "role": "assistant",
        }
        yield from self._begin({**item, "content": [part]})
        yield "response.content_part.added", {**self._place, "content_index": 0, "part": dict(part)}

    def _end(self, *, is_cut: bool = False) -> Iterator[tuple[str, Form]]:
        """Close the last item, if there is one."""
        if not self.done:
            return
        item = self.done[-1]
        item["status"] = "incomplete" if is_cut else "completed"
        if item["type"] == "message":
            part = item["content"][0]
            part["logprobs"], self._logprobs = self._shown(self._logprobs), []
            about = {**self._place, "content_index": 0}
            yield "response.output_text.done", {**about, "text": part["text"], "logprobs": part["logprobs"]}
            yield "response.content_part.done", {**about, "part": dict(part)}
        else:
            done = {**self._place, "name": item["name"], "arguments": item["arguments"]}
            yield "response.function_call_arguments.done", done
        yield "response.output_item.done", {"output_index": len(self.done) - 1, "item": dict(item)}


def listed_of(body: ResponseBody) -> int | None:
    """How many alternatives the answer shows beside each token; None for no log-probabilities."""
    if body.top_logprobs is not None or LOGPROBS in (body.include or ()):
        return body.top_logprobs or 0
    return None


def response_form(turn: Turn, body: ResponseBody, model: str) -> Form:
    """A response without an answer."""
    text = body.text.model_dump(by_alias=True, exclude_none=True) if body.text else {}
    choice = (
        body.tool_choice
        if isinstance(body.tool_choice, str) or body.tool_choice is None
        else body.tool_choice.model_dump()
    )
    return {
        "id": turn.id,
        "object": "response",
        "created_at": turn.created_us / 1e6,
        "status": "in_progress",
        "background": bool(body.background),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": turn.previous,
        "reasoning": {"effort": None, "summary": None},
        "store": body.is_stored,
        "temperature": 1.0 if body.temperature is None else body.temperature,
        "text": {"format": {"type": "text"}, **text},
        "tool_choice": choice or "auto",
        "tools": [tool.model_dump() for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": 1.0 if body.top_p is None else body.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }


def answered(form: Form, items: Items, usage: Form, token_ids: tuple[list[int], list[int]] | None) -> Form:
    """The form with its answer. `token_ids` are those of prompt and output, where asked for."""
    cut = items.answer.finish == "length"
    whole = {
        **form,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": items.done,
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {
                "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
                "cache_write_tokens": 0,
            },
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
    }
    if token_ids is not None:
        whole |= {"prompt_token_ids": token_ids[0], "token_ids": token_ids[1]}
    return whole
