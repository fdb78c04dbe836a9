"""Bodies in both directions, apart from any connection: the dialects of servers, and what a view becomes.

The files in fixtures/ are answers of llama-cpp-python 0.3.36 serving the 260,000-parameter stories model, as they came,
with the model's name and one traceback's path shortened.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_server import LIMITS, VIEW, FakeServer, Reply, chat_answer, json_reply

from overwinter.errors import ModelError
from overwinter.loop.model import Completion, Constraint, Limits, Message, ToolCall, View
from overwinter.loop.models.answer import LEAST_LOGPROB, Choice, parse_arguments, read_answer
from overwinter.loop.models.request import chat_messages, encode, transcript
from overwinter.loop.models.scoring import continuation_logprobs
from overwinter.loop.models.stream import StreamAssembler
from overwinter.loop.models.tokens import ServerTokenizer, estimate_tokens

FIXTURES = Path(__file__).parent / "fixtures"
GREEDY = Limits(max_tokens=40, temperature=0.0, top_logprobs=2, timeout_s=100.0, idempotency_key="k")


def recorded(name: str, status: int = 200) -> Reply:
    kind = "application/json" if name.endswith(".json") else "text/event-stream; charset=utf-8"
    return Reply(status=status, headers={"Content-Type": kind}, pieces=[(FIXTURES / name).read_bytes()])


def ask(server: FakeServer, reply: Reply, limits: Limits = GREEDY, **settings: Any) -> Completion:
    server.requests.clear()
    server.replies = [reply]
    return server.model(**settings).sample(VIEW, 1, Constraint(), limits)[0]


def choice_of(body: dict[str, Any]) -> Choice:
    return read_answer(body).choices[0]


# --- llama-cpp-python, recorded
# -------------------------------------------------------------------------------------------


def test_llamacpp_completions(server: FakeServer) -> None:
    completion = ask(server, recorded("llamacpp_completions.json"), mode="completions")
    assert completion.text == ", there was a little g"
    assert completion.text_only
    assert completion.logprobs is not None
    assert completion.logprobs[0] == pytest.approx(-0.03175, abs=1e-5)
    assert list(completion.top_logprobs[0]) == [",", " there"]
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (5, 6)
    assert (completion.finish_reason, completion.model) == ("length", "stories260K")


def test_llamacpp_chat(server: FakeServer) -> None:
    completion = ask(server, recorded("llamacpp_chat.json"))
    assert completion.text == '"Here'
    assert completion.logprobs is not None
    assert len(completion.logprobs) == len(completion.top_logprobs) == 4
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (65, 4)


@pytest.mark.parametrize(
    ("name", "mode", "text", "logprobs"),
    [
        ("llamacpp_chat_stream.txt", "chat", '"He', 3),
        ("llamacpp_completions_stream.txt", "completions", ", there was a", 4),
    ],
)
def test_llamacpp_streams_carry_no_count(server: FakeServer, name: str, mode: str, text: str, logprobs: int) -> None:
    completion = ask(server, recorded(name), mode=mode, stream=True)
    assert (completion.text, completion.finish_reason) == (text, "length")
    assert completion.logprobs is not None
    assert len(completion.logprobs) == completion.usage.completion_tokens == logprobs
    assert completion.usage.prompt_tokens > 0  # our estimate, as the server counts none in a stream


def test_llamacpp_log_probabilities_of_other_tokens_are_not_recorded(server: FakeServer) -> None:
    """With an empty prompt this server shifts its numbers by one; at temperature 0 they contradict themselves."""
    shifted = recorded("llamacpp_completions_shifted.json")
    completion = ask(server, shifted, mode="completions")
    assert completion.text.startswith("Once upon a time")
    assert completion.logprobs is None
    assert completion.top_logprobs == ()
    sampled = ask(server, shifted, limits=Limits(temperature=1.0, top_logprobs=1), mode="completions")
    assert sampled.text.startswith("Once")


def test_llamacpp_echo_scores_a_continuation() -> None:
    choice = choice_of(json.loads((FIXTURES / "llamacpp_echo.json").read_text()))
    assert continuation_logprobs(choice, " a time") == pytest.approx((-0.0121, -0.00072), abs=1e-4)
    assert continuation_logprobs(choice, "never said") is None
    assert continuation_logprobs(choice, "") == ()


def test_llamacpp_cut_arguments_stay_raw(server: FakeServer) -> None:
    completion = ask(server, recorded("llamacpp_tool_call.json"))
    assert completion.tool_calls[0].arguments == '{ "zone" : -30000000'
    assert completion.finish_reason == "tool_calls"


def test_llamacpp_context_error(server: FakeServer) -> None:
    with pytest.raises(ModelError, match="takes 512 tokens, the request has 2408"):
        ask(server, recorded("llamacpp_context_error.json", 400))


def test_llamacpp_refuses_a_request_with_500(server: FakeServer) -> None:
    with pytest.raises(ModelError, match="1 validation error") as caught:
        ask(server, recorded("llamacpp_validation_error.json", 500))
    assert "schema_by" in caught.value.next_step
    assert (len(server.requests), caught.value.lost_tokens) == (1, 0)


# --- other dialects
# -------------------------------------------------------------------------------------------------------


def test_llama_cpps_own_server_names_ids_in_the_log_probabilities() -> None:
    entries = [{"id": 7, "token": "a", "logprob": -0.1, "top_logprobs": []}, {"id": 9, "token": "b", "logprob": -0.2}]
    choice = choice_of(chat_answer(logprobs={"content": entries}))
    assert (choice.token_ids, choice.logprobs, choice.top_logprobs) == ((7, 9), (-0.1, -0.2), ())


def test_vllm_spells_ids_as_tokens() -> None:
    logprobs = {"tokens": ["token_id:5", "token_id:6"], "token_logprobs": [-1.0, -2.0]}
    choice = choice_of({"choices": [{"text": "ab", "logprobs": logprobs, "prompt_token_ids": [1]}]})
    assert (choice.token_ids, choice.prompt_token_ids) == ((5, 6), (1,))


def test_log_probabilities_that_do_not_line_up_with_ids_are_dropped() -> None:
    choice = choice_of(chat_answer(token_ids=[1, 2], logprobs={"content": [{"token": "a", "logprob": -1.0}]}))
    assert (choice.token_ids, choice.logprobs) == ((1, 2), None)


def test_infinite_log_probabilities_become_a_number_json_can_hold() -> None:
    body = json.loads('{"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-Infinity]}}]}')
    assert choice_of(body).logprobs == (LEAST_LOGPROB,)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thinking_text_under_either_name(field: str) -> None:
    assert choice_of({"choices": [{"message": {"content": "a", field: "hm"}}]}).reasoning == "hm"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "cancelled"), ("abort", "cancelled"), (None, "stop")],
)
def test_finish_reasons(reason: str | None, expected: str) -> None:
    assert choice_of(chat_answer(finish_reason=reason)).finish_reason == expected


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None}, ""),
        ({"content": None, "refusal": "I cannot"}, "I cannot"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]}, "ab"),
    ],
)
def test_forms_of_content(message: dict[str, Any], text: str) -> None:
    assert choice_of({"choices": [{"message": message}]}).text == text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("", {}),
        (None, {}),
        ('{"a": ', '{"a": '),
        ("[1]", "[1]"),
        ([1], "[1]"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_forms_of_arguments(arguments: Any, expected: Any) -> None:
    assert parse_arguments(arguments) == expected


def test_calls_without_or_with_the_same_id_get_one() -> None:
    function = {"name": "water", "arguments": "{}"}
    calls = [{"function": function}, {"id": "x", "function": function}, {"id": "x", "function": function}]
    body = {"choices": [{"message": {"content": "", "tool_calls": calls}, "finish_reason": "stop"}]}
    choice = read_answer(body, "call_k").choices[0]
    assert [call.id for call in choice.tool_calls] == ["call_k_0", "x", "call_k_2"]
    assert choice.finish_reason == "tool_calls"


def test_streamed_calls_without_index() -> None:
    assembler = StreamAssembler()
    for call_id, name in (("a", "water"), ("b", "vent")):
        call = {"id": call_id, "function": {"name": name, "arguments": {"zone": 1}}}
        assembler.add({"choices": [{"delta": {"tool_calls": [call]}}]})
    calls = choice_of(assembler.body()).tool_calls
    assert [(call.id, call.tool, call.arguments) for call in calls] == [
        ("a", "water", {"zone": 1}),
        ("b", "vent", {"zone": 1}),
    ]


# --- requests
# -------------------------------------------------------------------------------------------------------------

CALLS = (ToolCall(id="c1", tool="water", arguments={"zone": 1}), ToolCall(id="c2", tool="vent", arguments="{bad"))
TURNS = (
    Message(role="system", text="Keep them alive."),
    Message(role="user", text="Day 1."),
    Message(role="assistant", text="", tool_calls=CALLS),
    Message(role="tool", text="41 %", tool_call_id="c1"),
    Message(role="tool", text="no such vent", tool_call_id="c2"),
    Message(role="tool", text="from long ago", tool_call_id="c0"),
)


def test_chat_messages() -> None:
    wire = chat_messages(TURNS)
    assert [message["role"] for message in wire] == ["system", "user", "assistant", "tool", "tool", "user"]
    functions = [call["function"] for call in wire[2]["tool_calls"]]
    assert functions[0] == {"name": "water", "arguments": '{"zone": 1}'}
    assert json.loads(functions[1]["arguments"]) == {"malformed_arguments": "{bad"}
    assert wire[3] == {"role": "tool", "tool_call_id": "c1", "content": "41 %"}
    assert wire[5]["content"].endswith("from long ago")


def test_transcript() -> None:
    tool = {"type": "function", "function": {"name": "water"}}
    text = transcript(View(messages=TURNS, tools=(tool,)), "labelled")
    assert text.startswith(f"System: Keep them alive.\n\nSystem: Tools:\n{json.dumps(tool)}\n\nUser: Day 1.\n\n")
    assert 'Assistant: [calls water {"zone": 1}]\n' in text
    assert text.endswith("Tool: from long ago\n\nAssistant:")
    assert transcript(VIEW, "plain") == "Keep the plants alive.\n\nDay 1."


def test_completions_stop_before_playing_the_user(server: FakeServer) -> None:
    ask(server, json_reply({"choices": [{"text": "a"}]}), limits=LIMITS, mode="completions")
    assert server.requests[0].body["stop"] == ["\nUser:", "\nSystem:", "\nTool:"]
    ask(server, json_reply({"choices": [{"text": "a"}]}), limits=LIMITS, mode="completions", transcript="plain")
    assert "stop" not in server.requests[0].body


def test_tools_and_stop_strings_reach_the_chat_body(server: FakeServer) -> None:
    server.replies = [json_reply(chat_answer())]
    tool = {"type": "function", "function": {"name": "water", "parameters": {"type": "object"}}}
    view = View(messages=VIEW.messages, tools=(tool,))
    server.model().sample(view, 1, Constraint(), Limits(stop=("END",), seed=3))
    body = server.requests[0].body
    assert (body["tools"], body["stop"], body["seed"]) == ([tool], ["END"], 3)


def test_a_lone_surrogate_does_not_stop_a_request() -> None:
    assert json.loads(encode({"text": "a\ud83cb"})) == {"text": "a?b"}


# --- token counts
# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [  # true counts of the GPT-NeoX tokenizer
        ("Once upon a time, there was a little girl named Lily.", 13),
        ("| 80.4+-2.7 | 81.4/68.7 |\n| RLOO | 69.7+-2.5 | 73.9/52.1 |", 38),
        ("for token_id, (piece, _) in enumerate(pieces):\n    tokens.append(piece)", 23),
        ("日本語のテキスト", 7),
        ("", 0),
    ],
)
def test_the_estimate_is_not_too_small(text: str, tokens: int) -> None:
    assert tokens <= estimate_tokens(text) <= 3 * tokens


def test_a_tokenizer_of_llama_cpp_and_a_full_cache() -> None:
    asked: list[str] = []

    def post(path: str, body: Any) -> Any:
        asked.append(path)
        return {"tokens": [0] * len(body["content"].split())} if path == "/tokenize" else None

    tokenizer = ServerTokenizer(post, "m")
    assert [tokenizer.count(f"word {i}") for i in range(4097)] == [2] * 4097
    assert tokenizer.count("word 4096") == 2
    assert len(asked) == 4097
    tokenizer.count("word 0")  # the oldest has left the cache
    assert len(asked) == 4098
