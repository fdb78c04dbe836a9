"""Every fault a server can show: how many requests are sent, what is waited, what is thought lost.

Each attempt must carry the same idempotency key; a request that may have been billed must be charged, one that cannot
have been must not.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import pytest
from fake_server import (
    LIMITS,
    VIEW,
    FakeServer,
    FakeTime,
    Reply,
    chat_answer,
    chunk,
    json_reply,
    sse_reply,
)

from overwinter.errors import ModelError
from overwinter.loop.model import Completion, Constraint, Limits
from overwinter.loop.models.endpoint import Config, EndpointModel
from overwinter.loop.models.faults import read_retry_after

GOOD = json_reply(chat_answer())


def sample(model: EndpointModel, n: int = 1, limits: Limits = LIMITS) -> Completion:
    completion = model.sample(VIEW, n, Constraint(), limits)[0]
    assert isinstance(completion, Completion)
    return completion


def fails(model: EndpointModel, words: str, limits: Limits = LIMITS, n: int = 1) -> ModelError:
    with pytest.raises(ModelError, match=words) as caught:
        sample(model, n, limits)
    return caught.value


def prompt_estimate(model: EndpointModel) -> int:
    return model._begin(VIEW, 1.0, "").prompt_tokens


@pytest.fixture(autouse=True)
def one_idempotency_key(server: FakeServer) -> Any:
    yield
    keys = {r.headers.get("idempotency-key") for r in server.requests if r.path.endswith("completions")}
    assert keys <= {"run7-entry12"}


def test_down(server: FakeServer) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        time = FakeTime()
        config = Config(base_url=f"http://127.0.0.1:{held.getsockname()[1]}/v1", model="m", max_attempts=3)
        error = fails(EndpointModel(config, time.timing()), "no connection to .*after 3 attempts")
    assert error.lost_tokens == 0
    assert time.sleeps_s == [1.0, 2.0]


@pytest.mark.parametrize("status", [429, 503])
def test_busy_is_free_and_retry_after_is_honoured(server: FakeServer, status: int) -> None:
    server.replies = [json_reply({"error": "busy"}, status, Retry_After="17"), json_reply({}, status), GOOD]
    usage = sample(server.model()).usage
    assert (usage.attempts, usage.lost_tokens) == (3, 0)
    assert server.time.sleeps_s == [17.0, 2.0]


def test_a_wait_longer_than_the_deadline_is_not_begun(server: FakeServer) -> None:
    server.replies = [json_reply({"error": "busy"}, 429, Retry_After="3600")]
    fails(server.model(), "asks to wait 3600 s; the call's 100 s leave no time")
    assert server.time.sleeps_s == []
    assert len(server.requests) == 1


def test_a_used_up_quota_is_final(server: FakeServer) -> None:
    server.replies = [json_reply({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, 429)]
    fails(server.model(), "quota and billing")
    assert len(server.requests) == 1


def test_retry_after_in_its_forms() -> None:
    now = datetime(2026, 11, 23, 14, 0, 0, tzinfo=UTC)
    assert read_retry_after({"retry-after": "1.5"}) == 1.5
    assert read_retry_after({"retry-after": "Mon, 23 Nov 2026 14:00:30 GMT"}, now) == 30.0
    assert read_retry_after({"retry-after": "Mon, 23 Nov 2026 13:00:00 GMT"}, now) == 0.0
    assert read_retry_after({"retry-after": "soon"}) is None
    assert read_retry_after({}) is None


@pytest.mark.parametrize("status", [500, 502, 504, 408, 520])
def test_a_server_error_may_have_been_billed(server: FakeServer, status: int) -> None:
    server.replies = [Reply(status=status, pieces=[b"<html>oops</html>"]), GOOD]
    model = server.model(usd_per_million_prompt=1.0, usd_per_million_completion=2.0)
    usage = sample(model).usage
    estimate = prompt_estimate(model)
    assert (usage.attempts, usage.lost_tokens) == (2, estimate + 50)
    assert usage.micro_usd == (20 + 2 * 5) + (estimate + 2 * 50)
    assert server.time.sleeps_s == [1.0]


def test_attempts_come_to_an_end_and_the_error_carries_the_loss(server: FakeServer) -> None:
    server.replies = [json_reply({"error": {"message": "engine died"}}, 500)] * 4
    model = server.model(usd_per_million_completion=1.0)
    error = fails(model, "the server answered 500: engine died .after 4 attempts")
    assert len(server.requests) == 4
    assert server.time.sleeps_s == [1.0, 2.0, 4.0]
    assert error.lost_tokens == 4 * (prompt_estimate(model) + 50)
    assert error.lost_micro_usd == 4 * 50


def test_jitter_halves_the_wait_at_most(server: FakeServer) -> None:
    server.replies = [Reply(status=503), GOOD]
    model = server.model()
    object.__setattr__(model._transport._timing, "jitter", lambda: 0.0)
    sample(model)
    assert server.time.sleeps_s == [0.5]


@pytest.mark.parametrize(
    ("status", "message", "advice"),
    [
        (400, "bad top_p", "refuses this request"),
        (401, "no", "check --api-key-env"),
        (403, "no", "check --api-key-env"),
        (404, "Not Found", "check the base URL"),
        (422, "bad", "refuses this request"),
        (402, "pay", "billing"),
    ],
)
def test_refusals_are_final_and_free(server: FakeServer, status: int, message: str, advice: str) -> None:
    server.replies = [json_reply({"error": {"message": message}}, status)]
    assert fails(server.model(), advice).lost_tokens == 0
    assert len([r for r in server.requests if r.path.endswith("completions")]) == 1


def test_a_redirect_is_not_followed(server: FakeServer) -> None:
    server.replies = [Reply(status=307, headers={"Location": "http://elsewhere/v1"})]
    fails(server.model(), "redirects: http://elsewhere/v1")


OPENAI = "This model's maximum context length is 512 tokens. However, you requested 2408 tokens."
VLLM = "This model's maximum context length is 512 tokens and your request has 2408 input tokens"
VLLM_DECODER = "The decoder prompt (length 2408) is longer than the maximum model length of 512."
LLAMA_CPP = {
    "type": "exceed_context_size_error",
    "message": "too long",
    "n_prompt_tokens": 2408,
    "n_ctx": 512,
    "code": 400,
}


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": OPENAI}},
        {"object": "error", "message": VLLM, "code": 400},
        {"error": {"message": VLLM_DECODER}},
        {"error": LLAMA_CPP},
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_a_prompt_too_long_is_reported_with_both_lengths(server: FakeServer, body: Any, status: int) -> None:
    server.replies = [json_reply(body, status)]
    error = fails(server.model(), "takes 512 tokens, the request has 2408")
    assert "set context_tokens to 512" in error.next_step
    assert (len(server.requests), error.lost_tokens) == (1, 0)


def test_a_server_that_hangs_is_cut_at_the_deadline(server: FakeServer) -> None:
    server.replies = [Reply(pieces=[server.hang], cut="close")]
    model = EndpointModel(Config(base_url=server.url, model="m", mode="chat", stream=False))  # real time
    error = fails(
        model,
        "no whole answer from .* within 0.2 s",
        Limits(max_tokens=50, timeout_s=0.2, idempotency_key="run7-entry12"),
    )
    assert error.lost_tokens == prompt_estimate(model) + 50
    assert len(server.requests) == 1


def test_headers_that_drip_for_ever_are_cut_at_the_deadline(server: FakeServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):  # the client shuts the line
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not stop.wait(0.02):
                    connection.sendall(b"a")

        dripping = threading.Thread(target=drip)
        dripping.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        began_s = monotonic()
        error = fails(
            EndpointModel(Config(base_url=url, model="m", mode="chat")), "no whole answer", Limits(timeout_s=0.3)
        )
        took_s = monotonic() - began_s
        stop.set()
        dripping.join()
    assert took_s < 3.0
    assert error.lost_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_dripping_server_is_cut_at_the_deadline(server: FakeServer, stream: bool) -> None:
    drips = [part for byte in b'data: {"choices"' for part in (server.time.pass_(30.0), bytes([byte]))]
    kind = "text/event-stream" if stream else "application/json"
    server.replies = [Reply(headers={"Content-Type": kind}, pieces=drips)]
    error = fails(server.model(stream=stream), "no whole answer from .* within 100 s")
    assert error.lost_tokens > 50
    assert len(server.requests) == 1


@pytest.mark.parametrize("cut", ["close", "reset"])
def test_a_cut_stream_may_have_been_billed(server: FakeServer, cut: str) -> None:
    server.replies = [sse_reply(chunk("Wat"), cut=cut), sse_reply(chunk("Water", "stop"), "data: [DONE]\n\n")]
    model = server.model(stream=True)
    completion = sample(model)
    assert completion.text == "Water"
    assert completion.usage.lost_tokens == prompt_estimate(model) + 50


def test_a_stream_that_ends_early_without_a_broken_line(server: FakeServer) -> None:
    server.replies = [sse_reply(chunk("Wat"))] * 4
    error = fails(server.model(stream=True), "ended before the answer did")
    assert len(server.requests) == 4
    assert error.lost_tokens > 4 * 50


def test_a_stream_cut_inside_a_character(server: FakeServer) -> None:
    whole = 'data: {"choices": [{"index": 0, "delta": {"content": "🌱"}}]}'.encode()
    server.replies = [Reply(headers={"Content-Type": "text/event-stream"}, pieces=[whole[: whole.index(b"\xf0") + 2]])]
    fails(server.model(stream=True, max_attempts=1), "not UTF-8")


def test_an_error_inside_a_stream_charges_what_was_received(server: FakeServer) -> None:
    server.replies = [
        sse_reply(chunk("Water "), chunk("zone"), {"error": {"message": "out of memory", "code": 500}}),
        sse_reply(chunk("ok", "stop"), "data: [DONE]\n\n"),
    ]
    model = server.model(stream=True)
    lost = sample(model).usage.lost_tokens
    assert prompt_estimate(model) + 2 <= lost < prompt_estimate(model) + 50


def test_an_error_event_of_the_old_llama_cpp(server: FakeServer) -> None:
    server.replies = [sse_reply('error: {"code":500,"message":"slot died"}\n\n')]
    fails(server.model(stream=True, max_attempts=1), "slot died")


def test_an_error_with_status_200(server: FakeServer) -> None:
    server.replies = [json_reply({"error": {"message": "provider down", "code": 502}}), GOOD]
    assert sample(server.model()).usage.attempts == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{'single': 1}", "not JSON"),
        (b'{"choices": [', "not JSON"),
        (b'"\xff"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_an_unreadable_body_is_tried_again_and_charged(server: FakeServer, content: bytes, words: str) -> None:
    server.replies = [Reply(pieces=[content])] * 2
    error = fails(server.model(max_attempts=2), words)
    assert len(server.requests) == 2
    assert error.lost_tokens > 2 * 50


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "a JSON list"),
        ({}, "`choices` is NoneType"),
        ({"choices": 5}, "`choices` is int"),
        ({"choices": ["text"]}, "a choice is str"),
        ({"choices": [{"index": 0}]}, "neither `message` nor `text`"),
        ({"choices": [{"message": {"content": 5}}]}, "`content` is int"),
        ({"choices": [{"message": {"tool_calls": [{"function": {}}]}}]}, "a tool call's name"),
        (chat_answer(logprobs={"content": [{"token": "a", "logprob": "x"}]}), "a log-probability is 'x'"),
    ],
)
def test_a_wrong_shape_is_final_and_charged(server: FakeServer, body: Any, words: str) -> None:
    server.replies = [json_reply(body)]
    error = fails(server.model(), words)
    assert len(server.requests) == 1
    assert error.lost_tokens > 0


@pytest.mark.parametrize(
    "event",
    ["[]", '{"choices": 5}', '{"choices": [5]}', '{"choices": [{"delta": {"tool_calls": [{"index": 99999}]}}]}'],
)
def test_a_wrong_shape_in_a_stream(server: FakeServer, event: str) -> None:
    server.replies = [sse_reply(f"data: {event}\n\n", "data: [DONE]\n\n")]
    fails(server.model(stream=True), "no completion")
    assert len(server.requests) == 1


def test_empty_choices_are_tried_again_and_charged_as_the_server_counts(server: FakeServer) -> None:
    server.replies = [json_reply({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}), GOOD]
    model = server.model()
    assert sample(model).usage.lost_tokens == prompt_estimate(model) + 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_huge_answer_is_given_up(server: FakeServer, stream: bool) -> None:
    kind = "text/event-stream" if stream else "application/json"
    server.replies = [Reply(headers={"Content-Type": kind}, pieces=[b" " * 100_000] * 30)]
    fails(server.model(stream=stream, max_response_bytes=200_000), "longer than max_response_bytes")
    assert len(server.requests) == 1


def test_a_huge_error_page_is_shortened(server: FakeServer) -> None:
    server.replies = [Reply(status=400, pieces=[b"<p>" * 200_000])]
    assert len(str(fails(server.model(), "answered 400"))) < 800


def test_completions_lost_with_a_failed_rest_are_charged(server: FakeServer) -> None:
    server.replies = [GOOD, json_reply({"error": "no"}, 400)]
    with pytest.raises(ModelError) as caught:
        server.model().sample(VIEW, 2, Constraint(), LIMITS)
    assert caught.value.lost_tokens == 25
    assert json.loads(json.dumps(server.requests[1].body)) == server.requests[1].body
    server.requests.clear()  # the second request has its own key by design


def test_a_bad_header_value_from_the_server_side_cannot_leak_ours(server: FakeServer) -> None:
    server.replies = [Reply(status=500, pieces=[b"Bearer sk-secret-0001 refused"])]
    error = fails(server.model(api_key="sk-secret-0001", max_attempts=1), "refused")
    assert "sk-secret-0001" not in str(error)
