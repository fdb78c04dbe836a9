"""POST /v1/chat/completions against a worker that says what it is told: messages, calls, formats, streams."""

from __future__ import annotations

from typing import Any

import pytest
from serve_kit import CHATML, NAME, TOOLS, FakeWorker, chat, client_of, sse, text_format

from overwinter.engine.grammar import GrammarConstraint

PATH = "/v1/chat/completions"
CALL = '<tool_call>\n{"name": "heat", "arguments": {"hours": 3}}\n</tool_call>'


def post(worker: FakeWorker, body: dict[str, Any], **limits: Any) -> Any:
    with client_of(worker, **limits) as client:
        return client.post(PATH, json=body)


def streamed(worker: FakeWorker, body: dict[str, Any]) -> list[Any]:
    with client_of(worker) as client:
        return sse(client.post(PATH, json={**body, "stream": True}).text)


def put_together(parts: list[Any], index: int = 0) -> dict[str, Any]:
    """What a client makes of a stream."""
    message: dict[str, Any] = {"content": "", "tool_calls": [], "logprobs": [], "token_ids": [], "finish": []}
    for part in parts:
        for choice in part["choices"] if isinstance(part, dict) else ():
            if choice["index"] != index:
                continue
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            for piece in delta.get("tool_calls", ()):
                if piece["index"] == len(message["tool_calls"]):
                    message["tool_calls"].append(
                        {key: value for key, value in piece.items() if key != "index"}
                        | {"function": dict(piece["function"])}
                    )
                else:
                    message["tool_calls"][piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
            message["logprobs"] += (choice["logprobs"] or {}).get("content", [])
            message["token_ids"] += choice.get("token_ids", [])
            message["finish"] += [choice["finish_reason"]] if choice["finish_reason"] else []
    return message


def test_a_chat_is_written_by_its_template() -> None:
    worker = FakeWorker("Yes.")
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Is it "}, {"type": "text", "text": "cold?"}], "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "heat", "arguments": '{"hours": 3}'}}], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": "warm"},
    ]  # fmt: skip
    answer = post(worker, {"model": NAME, "messages": messages}).json()
    assert text_format().decode(worker.requests[0].prompt_ids, skip_special=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nIs it cold?<|im_end|>\n<|im_start|>assistant\n"
        '<tool_call>{"name": "heat", "arguments": {"hours": 3}}</tool_call><|im_end|>\n'
        "<|im_start|>tool\nwarm<|im_end|>\n<|im_start|>assistant\n"
    )
    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "Yes.", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert answer["object"] == "chat.completion"
    assert answer["usage"]["completion_tokens"] == 4


def test_the_output_may_fill_the_context() -> None:
    worker = FakeWorker()
    post(worker, chat("x"))
    request = worker.requests[0]
    assert request.max_tokens == 700 - len(request.prompt_ids)
    post(worker, chat("x", max_tokens=5, max_completion_tokens=7))
    assert worker.requests[1].max_tokens == 7
    post(worker, chat("x"), max_output_tokens=9)
    assert worker.requests[2].max_tokens == 9
    error = post(worker, chat("x" * 800)).json()["error"]
    assert error["code"] == "context_length_exceeded"


def test_logprobs() -> None:
    choice = post(FakeWorker("ä"), chat(logprobs=True, top_logprobs=1)).json()["choices"][0]
    first = choice["logprobs"]["content"][0]
    assert (first["token"], first["logprob"], first["bytes"]) == ("bytes:\\xc3", -0.5, [0xC3])
    assert first["top_logprobs"] == [{"token": "bytes:\\xc3", "logprob": -0.5, "bytes": [0xC3]}]
    choice = post(FakeWorker("a"), chat(logprobs=True)).json()["choices"][0]
    assert choice["logprobs"]["content"][0]["top_logprobs"] == []
    assert post(FakeWorker("a"), chat()).json()["choices"][0]["logprobs"] is None


def test_auto_reads_calls_out_of_the_text() -> None:
    worker = FakeWorker(f"Cold.{CALL}")
    choice = post(worker, chat(tools=list(TOOLS))).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Cold."
    call = choice["message"]["tool_calls"][0]
    assert call["function"] == {"name": "heat", "arguments": '{"hours": 3}'}
    assert call["id"].startswith("call_")
    assert worker.requests[0].constraint is None
    assert '"name": "heat"' in text_format().decode(worker.requests[0].prompt_ids)
    choice = post(FakeWorker(CALL), chat(tools=list(TOOLS))).json()["choices"][0]
    assert choice["message"]["content"] is None


def test_without_tools_the_same_text_is_text() -> None:
    worker = FakeWorker(CALL)
    for fields in ({}, {"tools": list(TOOLS), "tool_choice": "none"}, {"tools": []}):
        choice = post(worker, chat(**fields)).json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (CALL, "stop")
    assert b"heat" not in text_format().decode(worker.requests[1].prompt_ids).encode()


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "heat"}}])
def test_a_demanded_call_is_enforced_and_read(choice: Any) -> None:
    worker = FakeWorker(CALL)
    answer = post(worker, chat(tools=list(TOOLS), tool_choice=choice)).json()["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    constraint = worker.requests[0].constraint
    assert isinstance(constraint, GrammarConstraint)
    state = constraint.start()
    for token in text_format().encode(CALL, add_special=False):
        state = constraint.advance(state, token)
    assert constraint.is_complete(state)


def test_one_call_ends_the_answer() -> None:
    worker = FakeWorker(CALL + CALL)
    body = chat(tools=list(TOOLS), parallel_tool_calls=False, return_token_ids=True)
    answer = post(worker, body).json()["choices"][0]
    assert [call["function"]["name"] for call in answer["message"]["tool_calls"]] == ["heat"]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["token_ids"] == text_format().encode(CALL, add_special=False)
    both = post(FakeWorker(CALL + CALL), chat(tools=list(TOOLS))).json()["choices"][0]
    assert len(both["message"]["tool_calls"]) == 2
    parts = streamed(FakeWorker(CALL + CALL), body)
    assert len(put_together(parts)["tool_calls"]) == 1


STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "text": ("It is cold, and dark.", {}),
    "unicode": ("Kälte ❄", {}),
    "nothing": ("", {}),
    "logprobs": ("cold", {"logprobs": True, "top_logprobs": 2}),
    "calls": (f"Well.\n{CALL}\n{CALL}", {"tools": list(TOOLS)}),
    "bare call": ('{"name": "wait", "parameters": {}}', {"tools": list(TOOLS), "logprobs": True}),
    "no call": ('{"name": "cool", "arguments": {}}', {"tools": list(TOOLS)}),
    "cut call": (CALL, {"tools": list(TOOLS), "max_tokens": 45}),
    "n": ("cold", {"n": 3}),
    "ids": (CALL, {"tools": list(TOOLS), "return_token_ids": True, "logprobs": True}),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_says_the_same_as_a_whole_answer(case: str) -> None:
    text, fields = STREAMS[case]
    body = chat(stream_options={"include_usage": True}, **fields)
    whole = post(FakeWorker(text), {key: value for key, value in body.items() if key != "stream_options"}).json()
    parts = streamed(FakeWorker(text), body)
    assert parts.pop() == "[DONE]"
    assert parts[-1]["usage"] == whole["usage"]
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}
    assert len({part["id"] for part in parts}) == 1
    for choice in whole["choices"]:
        made, message = put_together(parts, choice["index"]), choice["message"]
        assert made["content"] == (message["content"] or "")
        assert made["finish"] == [choice["finish_reason"]]
        named = [{**call, "id": ""} for call in made["tool_calls"]]
        assert named == [{**call, "id": ""} for call in message.get("tool_calls", [])]
        assert made["logprobs"] == (choice["logprobs"] or {}).get("content", [])
        assert made["token_ids"] == choice.get("token_ids", [])
    first = parts[0]["choices"][0]["delta"]
    assert first == {"role": "assistant", "content": ""}
    assert parts[0].get("prompt_token_ids") == whole.get("prompt_token_ids")


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORMATS: dict[str, tuple[dict[str, Any], str, str]] = {
    "json_object": ({"response_format": {"type": "json_object"}}, '{"x": [1]}', "[1]"),
    "json_schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}},
        '{"a": 1}',
        '{"b": 1}',
    ),
    "regex": ({"regex": "a+"}, "aa", "b"),
    "grammar": ({"grammar": 'start: "x" "y"'}, "xy", "yx"),
    "choices": ({"choices": ["heat", "wait"]}, "wait", "cool"),
    "structured_outputs": ({"structured_outputs": {"choice": ["heat"]}}, "heat", "wait"),
    "schema or call": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}, "tools": list(TOOLS)},
        '{"name": "wait", "arguments": {}}',
        '{"name": "cool", "arguments": {}}',
    ),
}


@pytest.mark.parametrize("case", FORMATS)
def test_formats_become_constraints(case: str) -> None:
    fields, allowed, refused = FORMATS[case]
    worker = FakeWorker(allowed)
    assert post(worker, chat(**fields)).status_code == 200
    constraint = worker.requests[0].constraint
    assert constraint is not None

    def takes(text: str) -> bool:
        from overwinter.errors import ModelError

        state = constraint.start()
        try:
            for token in text_format().encode(text, add_special=False):
                state = constraint.advance(state, token)
        except ModelError:
            return False
        return True

    assert takes(allowed)
    assert not takes(refused)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "messages"),
    "a role": ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
    "no content": ({"messages": [{"role": "user"}]}, "content"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages.0.content",
    ),
    "a strange field": ({"messages": [{"role": "user", "content": "x", "mood": "bad"}]}, "messages.0.mood"),
    "tool without id": ({"messages": [{"role": "tool", "content": "x"}]}, "tool_call_id"),
    "top without logprobs": ({"top_logprobs": 2}, "top_logprobs"),
    "required without tools": ({"tool_choice": "required"}, "tool_choice needs tools"),
    "an unknown tool": (
        {"tools": list(TOOLS), "tool_choice": {"type": "function", "function": {"name": "cool"}}},
        "cool",
    ),
    "tools twice": ({"tools": [TOOLS[0], TOOLS[0]]}, "same name"),
    "an odd name": ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
    "a broken schema": (
        {
            "tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "x"}}}],
            "tool_choice": "required",
        },
        "tool 'a'",
    ),
    "a format without schema": ({"response_format": {"type": "json_schema"}}, "json_schema"),
    "an invalid schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "strange"}}}},
        "schema",
    ),
    "a format and a call": (
        {"response_format": {"type": "json_object"}, "tools": list(TOOLS), "tool_choice": "required"},
        "both asked for",
    ),
    "functions": ({"functions": [{"name": "x"}]}, "functions"),
    "audio": ({"modalities": ["text", "audio"]}, "modalities"),
    "store": ({"store": True}, "store"),
    "effort": ({"reasoning_effort": "high"}, "reasoning_effort"),
    "one at most": ({"n": 0}, "n"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_obeyed_is_refused(case: str) -> None:
    fields, word = REFUSED[case]
    worker = FakeWorker()
    answer = post(worker, chat(**fields))
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert word in error["message"]
    assert not worker.requests


def test_fields_without_effect_are_accepted_at_their_defaults() -> None:
    harmless = {
        "store": False, "modalities": ["text"], "audio": None, "reasoning_effort": None, "verbosity": "medium", "user": "me",
        "metadata": {}, "parallel_tool_calls": True, "service_tier": "default", "functions": None, "top_logprobs": None,
    }  # fmt: skip
    assert post(FakeWorker(), chat(**harmless)).status_code == 200


def test_a_template_that_refuses_is_the_clients_error() -> None:
    worker = FakeWorker()
    worker.text = text_format(CHATML + "{% if messages | length > 1 %}{{ raise_exception('one message') }}{% endif %}")
    message = {"role": "user", "content": "x"}
    answer = post(worker, {"model": NAME, "messages": [message, message]})
    assert answer.status_code == 400
    assert "one message" in answer.json()["error"]["message"]


def test_template_variables() -> None:
    worker = FakeWorker()
    worker.text = text_format("{{ mood }}{{ bos_token }}")
    post(worker, chat(chat_template_kwargs={"mood": "calm", "bos_token": "x"}))
    assert worker.text.decode(worker.requests[0].prompt_ids, skip_special=False) == "calm<s>"


def test_a_model_without_template_ends_its_turn() -> None:
    worker = FakeWorker()
    worker.text = text_format(None)
    with pytest.warns(UserWarning, match="no chat template"):
        post(worker, chat("Is it cold?", stop=["x"]))
    assert worker.text.decode(worker.requests[0].prompt_ids) == "user: Is it cold?\nassistant:"
    assert worker.requests[0].stop[0] == "x"
    assert "\nuser:" in worker.requests[0].stop


def test_a_call_that_is_cut_says_length() -> None:
    written = CALL[: CALL.index("3")]
    choice = post(FakeWorker(CALL), chat(tools=list(TOOLS), max_tokens=len(written))).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"hours": '
