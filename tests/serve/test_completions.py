"""POST /v1/completions against a worker that says what it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serve_kit import NAME, FakeWorker, client_of, completion, sse, text_format

PATH = "/v1/completions"


def post(worker: FakeWorker, body: dict[str, Any], **limits: Any) -> Any:
    with client_of(worker, **limits) as client:
        return client.post(PATH, content=json.dumps(body))  # escapes whatever is no text


def test_prompts_of_every_kind() -> None:
    text = text_format()
    ids = text.encode("Ho")
    for prompt, count in (("Hi", 1), (["Hi", "Ho"], 2), (ids, 1), ([ids, ids[:1]], 2), (["one"], 1)):
        worker = FakeWorker("fine")
        answer = post(worker, completion(prompt)).json()
        assert [choice["text"] for choice in answer["choices"]] == ["fine"] * count
        assert [choice["index"] for choice in answer["choices"]] == list(range(count))
        assert len(worker.requests) == count
    assert worker.requests[0].prompt_ids == tuple(text.encode("one"))
    assert answer["object"] == "text_completion"
    assert answer["model"] == NAME
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {
        "prompt_tokens": 4,
        "completion_tokens": 4,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def test_the_default_length_is_the_apis() -> None:
    worker = FakeWorker("x" * 40)
    choice = post(worker, completion()).json()["choices"][0]
    assert (worker.requests[0].max_tokens, choice["finish_reason"], choice["text"]) == (16, "length", "x" * 16)


def test_logprobs_are_parallel_lists() -> None:
    lists = post(FakeWorker("ab"), completion("Hi", logprobs=2)).json()["choices"][0]["logprobs"]
    assert lists["tokens"] == ["a", "b"]
    assert lists["token_logprobs"] == [-0.5, -0.5]
    assert lists["top_logprobs"] == [{"a": -0.5, "b": -1.5}, {"b": -0.5, "c": -1.5}]
    assert lists["text_offset"] == [2, 3]
    lists = post(FakeWorker("ab"), completion("Hi", logprobs=0)).json()["choices"][0]["logprobs"]
    assert lists["top_logprobs"] == [{"a": -0.5}, {"b": -0.5}]


def test_half_characters_are_spelled_by_their_bytes() -> None:
    lists = post(FakeWorker("ä"), completion("Hi", logprobs=1)).json()["choices"][0]["logprobs"]
    assert lists["tokens"] == ["bytes:\\xc3", "bytes:\\xa4"]


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_echo_scores_the_prompt(max_tokens: int) -> None:
    worker = FakeWorker("!" if max_tokens else "")
    answer = post(worker, completion("Hi", echo=True, logprobs=1, max_tokens=max_tokens)).json()
    choice, lists = answer["choices"][0], answer["choices"][0]["logprobs"]
    assert choice["text"] == "Hi" + "!" * max_tokens
    assert lists["tokens"] == ["<s>", "H", "i", *["!"] * max_tokens]
    assert lists["token_logprobs"][:3] == [None, -0.5, -0.5]
    assert lists["top_logprobs"][0] is None
    request = worker.requests[0]
    assert (request.max_tokens, request.prompt_logprobs, request.prompt_logprobs_from) == (max_tokens, 1, 0)


def test_echo_without_logprobs() -> None:
    choice = post(FakeWorker(""), completion("Hi", echo=True, max_tokens=0)).json()["choices"][0]
    assert (choice["text"], choice["logprobs"], choice["finish_reason"]) == ("Hi", None, "stop")
    ids = text_format().encode("Hi")
    assert post(FakeWorker("!"), completion(ids, echo=True)).json()["choices"][0]["text"] == "<s>Hi!"


def test_n_counts_its_prompt_once_and_draws_apart() -> None:
    worker = FakeWorker("ab")
    answer = post(worker, completion(["Hi", "Ho"], n=3, seed=5)).json()
    assert len(answer["choices"]) == 6
    assert answer["usage"]["prompt_tokens"] == 6
    assert answer["usage"]["completion_tokens"] == 12
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
    assert [request.sampling.seed for request in worker.requests] == [5, 6, 7, 5, 6, 7]
    worker = FakeWorker("ab")
    post(worker, completion(n=2))
    first, second = (request.sampling.seed for request in worker.requests)
    assert first != second


def test_token_ids_on_request() -> None:
    text = text_format()
    choice = post(FakeWorker("ab"), completion("Hi", return_token_ids=True)).json()["choices"][0]
    assert choice["token_ids"] == text.encode("ab", add_special=False)
    assert choice["prompt_token_ids"] == text.encode("Hi")
    with client_of(FakeWorker("ab")) as client:
        parts = sse(client.post(PATH, json=completion("Hi", return_token_ids=True, stream=True)).text)
    assert [part["choices"][0].get("token_ids") for part in parts[:-1]] == [[id_] for id_ in choice["token_ids"]]
    assert parts[0]["choices"][0]["prompt_token_ids"] == choice["prompt_token_ids"]


def test_a_stream_says_the_same_as_a_whole_answer() -> None:
    body = completion(["Hi", "Ho"], n=2, echo=True, logprobs=1, max_tokens=3)
    with client_of(FakeWorker("abcdef")) as client:
        whole = client.post(PATH, json=body).json()
        parts = sse(client.post(PATH, json={**body, "stream": True, "stream_options": {"include_usage": True}}).text)
    assert parts.pop() == "[DONE]"
    last = parts.pop()
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert all(part["usage"] is None for part in parts)
    for choice in whole["choices"]:
        mine = [part["choices"][0] for part in parts if part["choices"][0]["index"] == choice["index"]]
        assert "".join(part["text"] for part in mine) == choice["text"]
        assert [part["finish_reason"] for part in mine if part["finish_reason"]] == [choice["finish_reason"]]
        for name, values in choice["logprobs"].items():
            assert [value for part in mine for value in (part["logprobs"] or {}).get(name, [])] == values


def test_sampling_reaches_the_engine() -> None:
    worker = FakeWorker()
    fields = {
        "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "repetition_penalty": 1.5, "presence_penalty": -1,
        "frequency_penalty": 1, "logit_bias": {"5": -100, "6": 2.5}, "seed": -3,
    }  # fmt: skip
    assert (
        post(
            worker, completion(stop=["a", "b"], include_stop_str_in_output=True, ignore_eos=True, **fields)
        ).status_code
        == 200
    )
    request = worker.requests[0]
    expected = {**fields, "logit_bias": ((5, -100), (6, 2.5))}
    assert {name: getattr(request.sampling, name) for name in expected} == expected
    assert (request.stop, request.include_stop, request.ignore_end) == (("a", "b"), True, True)
    post(worker, completion(top_p=0, temperature=1, exit_threshold=0.5, top_k=-1))
    request = worker.requests[1]
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.top_k) == (0, 1, 0)
    assert request.exit_threshold == 0.5
    post(worker, completion(stop="x"))
    assert worker.requests[2].stop == ("x",)
    assert worker.requests[2].sampling.temperature == 1


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "best_of": ({"best_of": 3}, "best_of"),
    "suffix": ({"suffix": " end"}, "suffix"),
    "unknown": ({"foo": None}, "unknown field 'foo'"),
    "temperature": ({"temperature": 2.5}, "temperature"),
    "text for a number": ({"temperature": "1"}, "temperature"),
    "logprobs": ({"logprobs": 21}, "logprobs"),
    "max_tokens": ({"max_tokens": -1}, "max_tokens"),
    "nothing asked": ({"max_tokens": 0}, "echo"),
    "no prompt": ({"prompt": []}, "prompt"),
    "no tokens": ({"prompt": [[]]}, "no tokens"),
    "strange ids": ({"prompt": [1.5]}, "prompt"),
    "stop": ({"stop": ["a", ""]}, "stop"),
    "bias": ({"logit_bias": {"a": 1}}, "logit_bias"),
    "stream options": ({"stream_options": {"include_usage": True}}, "stream"),
    "two constraints": ({"regex": "a", "choices": ["b"]}, "both constrain"),
    "bad regex": ({"regex": "("}, "regular expression"),
    "bad schema": ({"structured_outputs": {"json": {"type": "nothing"}}}, "schema"),
    "many": ({"n": 300}, "300"),
    "exit": ({"exit_threshold": 0}, "exit_threshold"),
    "half a character": ({"prompt": "\ud800"}, "JSON"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_obeyed_is_refused(case: str) -> None:
    fields, word = REFUSED[case]
    worker = FakeWorker()
    answer = post(worker, completion(**fields))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert word in error["message"]
    assert not worker.requests


def test_fields_without_effect_are_accepted_at_their_defaults() -> None:
    harmless = {
        "best_of": 1, "suffix": None, "user": "me", "service_tier": "auto", "metadata": {"a": "b"}, "min_tokens": 0,
        "length_penalty": 1.0, "temperature": None, "stop": None, "logit_bias": None, "stream": False,
    }  # fmt: skip
    assert post(FakeWorker(), completion(**harmless)).status_code == 200


def test_a_prompt_that_does_not_fit_names_both_lengths() -> None:
    worker = FakeWorker()
    error = post(worker, completion("x" * 699, max_tokens=1)).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert all(number in error["message"] for number in ("700 tokens", "701", "700;"))
    assert post(worker, completion("x" * 698, max_tokens=1)).status_code == 200
    error = post(worker, completion(max_tokens=11), max_output_tokens=10).json()["error"]
    assert error["code"] == "output_limit_exceeded"
    assert not worker.requests[1:]


def test_ids_that_do_not_exist_are_refused_by_the_engine() -> None:
    from serve_kit import engine_of

    from overwinter.engine.worker import EngineWorker

    worker = EngineWorker(engine_of())
    try:
        with client_of(worker) as client:
            answer = client.post(PATH, json=completion([5, 9999]))
            assert answer.status_code == 400
            assert "vocabulary" in answer.json()["error"]["message"]
            answer = client.post(PATH, json=completion([[5], [-1]]))
            assert answer.status_code == 400
    finally:
        worker.close()
    assert worker.stats().blocks_referenced == 0
