"""The endpoint model against a server that behaves: what is asked, what is read, what is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_server import LIMITS, VIEW, FakeServer, Reply, chat_answer, chunk, json_reply, sse_reply

from overwinter.errors import ModelError, UsageError
from overwinter.loop.model import Completion, Constraint, Limits, Model
from overwinter.loop.models.endpoint import Config, EndpointModel

KEY = "sk-very-secret-key"


def sample(model: EndpointModel, n: int = 1, limits: Limits = LIMITS, **constraint: Any) -> list[Completion]:
    return list(model.sample(VIEW, n, Constraint(**constraint), limits))


def test_a_chat_answer(server: FakeServer) -> None:
    server.replies = [json_reply(chat_answer())]
    model = server.model()
    assert isinstance(model, Model)
    completion = sample(model)[0]
    assert (completion.text, completion.model, completion.text_only) == ("Water zone 1.", "m-2026", True)
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (20, 5)
    assert (completion.usage.lost_tokens, completion.usage.attempts) == (0, 1)
    request = server.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["idempotency-key"] == "run7-entry12"
    assert request.body["max_tokens"] == 50
    assert request.body["messages"][1] == {"role": "user", "content": "Day 1."}
    assert "logprobs" not in request.body


def test_no_key_given_makes_one_per_call(server: FakeServer) -> None:
    server.replies = [json_reply(chat_answer())] * 2
    model = server.model()
    sample(model, limits=Limits())
    sample(model, limits=Limits())
    first, second = (request.headers["idempotency-key"] for request in server.requests)
    assert first != second
    assert len(first) == 32


@pytest.mark.parametrize("piece_bytes", [0, 1, 7])
def test_a_streamed_answer_is_the_same_answer(server: FakeServer, piece_bytes: int) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "water", "arguments": '{"zo'}}
    rest = {"index": 0, "function": {"arguments": 'ne": 1}'}}
    events = [
        ": comment\n\n",
        chunk("Wässere ", model="m-2026"),
        chunk("zone 🌱"),
        {"choices": [{"index": 0, "delta": {"reasoning": "dry"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [rest]}, "finish_reason": "tool_calls"}]},
        {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 9}},
        "data: [DONE]\n\n",
    ]
    server.replies = [sse_reply(*events, piece_bytes=piece_bytes)]
    completion = sample(server.model(stream=True))[0]
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("Wässere zone 🌱", "dry", "tool_calls")
    assert completion.tool_calls[0].arguments == {"zone": 1}
    assert completion.usage.completion_tokens == 9
    assert server.requests[0].body["stream_options"] == {"include_usage": True}


def test_a_stream_without_done_but_with_a_finish_reason_is_whole(server: FakeServer) -> None:
    server.replies = [sse_reply(chunk("hello"), chunk("", "length"))]
    completion = sample(server.model(stream=True))[0]
    assert (completion.text, completion.finish_reason) == ("hello", "length")


def test_a_stream_without_a_count_is_estimated_by_its_pieces_at_least(server: FakeServer) -> None:
    server.replies = [sse_reply(*[chunk("a")] * 30, chunk("", "stop"))]
    assert sample(server.model(stream=True))[0].usage.completion_tokens == 30


def test_a_server_that_does_not_stream_is_read_all_the_same(server: FakeServer) -> None:
    server.replies = [json_reply(chat_answer("whole"))]
    assert sample(server.model(stream=True))[0].text == "whole"


def test_vllm_chat_gives_token_ids(server: FakeServer) -> None:
    entries = [
        {"token": t, "logprob": p, "top_logprobs": [{"token": t, "logprob": p}]} for t, p in (("a", -0.5), ("b", -1.0))
    ]
    answer = chat_answer("ab", token_ids=[11, 12], logprobs={"content": entries}) | {"prompt_token_ids": [1, 2, 3]}
    server.replies = [json_reply(answer)]
    completion = sample(server.model(), limits=Limits(top_logprobs=1))[0]
    assert (completion.token_ids, completion.prompt_token_ids) == ((11, 12), (1, 2, 3))
    assert completion.logprobs == (-0.5, -1.0)
    assert completion.top_logprobs == ({"a": -0.5}, {"b": -1.0})
    assert server.requests[0].body["return_token_ids"] is True
    assert server.requests[0].body["top_logprobs"] == 1


def test_vllm_stream_gives_token_ids_piece_by_piece(server: FakeServer) -> None:
    first = {"prompt_token_ids": [1, 2, 3], "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    second = {"choices": [{"index": 0, "delta": {"content": "ab"}, "token_ids": [11, 12]}]}
    third = {"choices": [{"index": 0, "delta": {}, "token_ids": [2], "finish_reason": "stop"}]}
    server.replies = [sse_reply(first, second, third, "data: [DONE]\n\n")]
    completion = sample(server.model(stream=True))[0]
    assert (completion.token_ids, completion.prompt_token_ids) == ((11, 12, 2), (1, 2, 3))


def test_n_choices_share_one_bill(server: FakeServer) -> None:
    choices = [{"index": i, "message": {"content": text}, "finish_reason": "stop"} for i, text in ((1, "bb"), (0, "a"))]
    usage = {"prompt_tokens": 10, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 8}}
    server.replies = [json_reply({"choices": choices, "usage": usage})]
    model = server.model(usd_per_million_prompt=2.0, usd_per_million_cached=0.5, usd_per_million_completion=10.0)
    first, second = sample(model, n=2)
    assert (first.text, second.text) == ("a", "bb")
    assert (first.usage.prompt_tokens, first.usage.cached_tokens, second.usage.prompt_tokens) == (10, 8, 0)
    assert first.usage.completion_tokens + second.usage.completion_tokens == 7
    assert first.usage.micro_usd + second.usage.micro_usd == 2 * 2 + 8 * 0.5 + 7 * 10
    assert server.requests[0].body["n"] == 2


def test_a_server_that_ignores_n_is_asked_for_the_rest(server: FakeServer) -> None:
    server.replies = [json_reply(chat_answer(text)) for text in "abc"]
    completions = sample(server.model(), n=3, limits=Limits(idempotency_key="k", seed=5, temperature=1.0))
    assert [c.text for c in completions] == ["a", "b", "c"]
    assert [r.headers["idempotency-key"] for r in server.requests] == ["k", "k-1", "k-2"]
    assert [r.body["seed"] for r in server.requests] == [5, 6, 7]
    assert sum(c.usage.prompt_tokens for c in completions) == 60
    assert sum(c.usage.attempts for c in completions) == 3


def test_without_the_servers_count_the_cost_is_estimated(server: FakeServer) -> None:
    answer = chat_answer("Water zone 1.")
    del answer["usage"]
    server.replies = [json_reply(answer)]
    usage = sample(server.model())[0].usage
    assert usage.prompt_tokens > 10
    assert usage.completion_tokens >= 4


def test_a_field_the_server_refuses_by_name_is_left_out_from_then_on(server: FakeServer) -> None:
    refusal = json_reply({"error": {"message": "Unrecognized request argument supplied: return_token_ids"}}, 400)
    server.replies = [refusal, json_reply(chat_answer()), json_reply(chat_answer())]
    model = server.model()
    assert sample(model)[0].usage.attempts == 2
    sample(model)
    assert ["return_token_ids" in request.body for request in server.requests] == [True, False, False]


def test_demanded_token_ids_are_not_given_up(server: FakeServer) -> None:
    server.replies = [json_reply({"error": {"message": "unknown field return_token_ids"}}, 400)]
    with pytest.raises(ModelError, match="return_token_ids"):
        sample(server.model(return_token_ids=True))


def test_the_new_name_of_max_tokens_is_learnt(server: FakeServer) -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    server.replies = [json_reply({"error": {"message": words}}, 400), json_reply(chat_answer())]
    sample(server.model())
    assert server.requests[1].body["max_completion_tokens"] == 50
    assert "max_tokens" not in server.requests[1].body


@pytest.mark.parametrize(
    "refusal",
    [
        json_reply({"detail": "Not Found"}, 404),
        json_reply({"error": {"message": "the tokenizer does not define a chat template"}}, 400),
    ],
)
def test_auto_falls_back_to_completions_and_stays_there(server: FakeServer, refusal: Reply) -> None:
    answer = {"choices": [{"index": 0, "text": " Water."}], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    server.replies = [refusal, json_reply(answer), json_reply(answer)]
    model = server.model(mode="auto")
    assert sample(model)[0].text == " Water."
    sample(model)
    paths = [request.path for request in server.requests]
    assert paths == ["/v1/chat/completions", "/v1/completions", "/v1/completions"]
    assert model.describe()["mode"] == "completions"


def test_extra_body_adds_changes_and_removes(server: FakeServer) -> None:
    server.replies = [json_reply(chat_answer())]
    sample(server.model(extra_body={"top_k": 5, "temperature": None}))
    assert server.requests[0].body["top_k"] == 5
    assert "temperature" not in server.requests[0].body


def test_constraints_in_each_dialect(server: FakeServer) -> None:
    server.replies = [json_reply(chat_answer())] * 6
    schema = {"type": "object"}
    sample(server.model(choices_by="structured_outputs"), choices=("a", "b"))
    sample(server.model(choices_by="guided_choice"), choices=("a", "b"))
    sample(server.model(), choices=("a", "b"))
    sample(server.model(), json_schema=schema)
    sample(server.model(schema_by="json_object"), json_schema=schema)
    sample(server.model(schema_by="text"), json_schema=schema)
    bodies = [request.body for request in server.requests]
    assert bodies[0]["structured_outputs"] == {"choice": ["a", "b"]}
    assert bodies[1]["guided_choice"] == ["a", "b"]
    assert bodies[2]["messages"][-1]["content"].endswith("exactly one of these lines and nothing else:\na\nb")
    assert len(bodies[2]["messages"]) == 2
    assert bodies[3]["response_format"]["json_schema"]["schema"] == schema
    assert bodies[4]["response_format"] == {"type": "json_object", "schema": schema}
    assert "schema and nothing else" in bodies[5]["messages"][-1]["content"]


def test_secrets_show_nowhere(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    words = f"Incorrect API key provided: {KEY}, header header-secret"
    server.replies = [json_reply({"error": {"message": words}}, 401)]
    model = server.model(api_key_env="MY_KEY", headers={"X-Org": "header-secret"}, extra_body={"user": KEY})
    with pytest.raises(ModelError, match="check --api-key-env") as caught:
        sample(model)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    direct = Config(base_url=server.url, model="m", api_key=KEY, headers={"X-Org": "header-secret"})
    shown = [str(caught.value), repr(caught.value), repr(model), repr(model.config), json.dumps(model.describe())]
    for text in [*shown, repr(direct), repr(EndpointModel(direct))]:
        assert KEY not in text
        assert "header-secret" not in text
    assert "$MY_KEY" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "localhost:8000"}, "not an http"),
        ({"base_url": "http://u:p@h/v1"}, "password or a query"),
        ({"base_url": "http://h/v1", "headers": {"X": "a\nb"}}, "header 'X'"),
        ({"base_url": "http://h/v1", "max_attempts": 0}, "at least 1"),
    ],
)
def test_a_wrong_configuration_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Config(model="m", **settings)


def test_a_missing_or_unsendable_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UsageError, match="NO_SUCH_KEY is empty"):
        EndpointModel(Config(base_url="http://h/v1", model="m", api_key_env="NO_SUCH_KEY"))
    with pytest.raises(UsageError) as caught:
        EndpointModel(Config(base_url="http://h/v1", model="m", api_key="clé secrète"))
    assert "clé" not in str(caught.value)


def test_price_is_rounded_up() -> None:
    config = Config(base_url="http://h/v1", model="m", usd_per_million_prompt=0.1, usd_per_million_completion=3.0)
    model = EndpointModel(config)
    assert model.price_micro_usd(30, 0) == 3
    assert model.price_micro_usd(31, 1) == 7
    assert model.price_micro_usd(0, 0) == 0


def test_score_needs_completions_mode(server: FakeServer) -> None:
    with pytest.raises(ModelError, match="chat mode"):
        server.model().score(VIEW, ["yes"])


def test_score_takes_the_tokens_that_spell_the_continuation(server: FakeServer) -> None:
    tokens = ["<s>", "Ass", "istant", ":", " ye", "s", "!"]
    logprobs = {"tokens": tokens, "token_logprobs": [None, -9.0, -9.0, -9.0, -0.25, -0.5, -3.0]}
    answer = {"choices": [{"index": 0, "text": "...", "logprobs": logprobs}]}
    server.replies = [json_reply(answer)]
    model = server.model(mode="completions")
    assert model.score(VIEW, ["yes"]) == [(-0.25, -0.5)]
    body = server.requests[0].body
    assert (body["echo"], body["max_tokens"], body["logprobs"]) == (True, 1, 1)
    assert body["prompt"].endswith("Assistant: yes")


def test_score_says_so_where_the_server_does_not_echo(server: FakeServer) -> None:
    server.replies = [json_reply({"choices": [{"index": 0, "text": "!", "logprobs": None}]})]
    with pytest.raises(ModelError, match="does not echo"):
        server.model(mode="completions").score(VIEW, ["yes"])


def test_exact_counts_are_asked_once_and_the_estimate_serves_otherwise(server: FakeServer) -> None:
    server.replies = [json_reply({"count": 3, "tokens": [1, 2, 3]})]
    model = server.model(count_by="server")
    assert [model.count_tokens("some text"), model.count_tokens("some text")] == [3, 3]
    assert [request.path for request in server.requests] == ["/tokenize"]
    other = server.model(count_by="server")  # the script is used up: the server knows no such route
    assert other.count_tokens("some text") == other.count_tokens("some text") == 3
    assert [request.path for request in server.requests[1:]] == ["/tokenize", "/extras/tokenize/count"]


def test_the_models_name_is_checked_against_what_the_server_has(server: FakeServer) -> None:
    listing = {"data": [{"id": "llama"}, {"id": "qwen"}]}
    server.replies = [json_reply({"error": {"message": "The model `m` does not exist."}}, 404), json_reply(listing)]
    with pytest.raises(ModelError, match="the server knows models: llama, qwen"):
        sample(server.model(mode="auto"))
    assert server.requests[1].path == "/v1/models"
