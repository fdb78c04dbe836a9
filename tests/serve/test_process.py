"""The server as users run it: a process, the official client, kill, restart, drain; and the guide's examples."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from process_kit import KEY, Process, served
from serve_kit import TOOLS

from overwinter.journal import open_store, verify
from overwinter.loop.model import Constraint, Limits, Message, View
from overwinter.loop.models.endpoint import Config, EndpointModel

MODEL = "tiny"
GUIDE = Path(__file__).parents[2] / "docs" / "serve.md"
CHAT: Any = [{"role": "user", "content": "Is it cold?"}]
SCHEMA: Any = {
    "type": "object",
    "properties": {"action": {"enum": ["heat", "wait"]}, "hours": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["action", "hours"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    yield from served(tmp_path_factory.mktemp("process"))


@pytest.fixture
def client(process: Process) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{process.url}/v1", api_key=KEY, max_retries=0, timeout=60) as made:
        yield made


def test_it_says_where_it_is(process: Process, client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert process.ready["pid"] == process.process.pid
    assert (process.ready["model"], process.ready["context_tokens"]) == (MODEL, 8192)
    assert client.models.retrieve(MODEL).owned_by == "overwinter"


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL, prompt=["Once", "upon"], max_tokens=5, n=2, logprobs=2, echo=True, seed=1
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    lists = answer.choices[0].logprobs
    assert lists is not None
    assert lists.tokens is not None
    assert lists.token_logprobs is not None
    assert lists.tokens[:5] == ["<s>", *"Once"]
    assert lists.token_logprobs[0] is None
    assert len(lists.tokens) == len(lists.token_logprobs) == 10
    again = client.completions.create(model=MODEL, prompt=["Once", "upon"], max_tokens=5, n=2, echo=True, seed=1)
    assert [choice.text for choice in again.choices] == [choice.text for choice in answer.choices]
    scored = client.completions.create(model=MODEL, prompt="Once", max_tokens=0, echo=True, logprobs=0)
    assert scored.choices[0].logprobs is not None
    first_logprobs = scored.choices[0].logprobs.token_logprobs
    assert first_logprobs == lists.token_logprobs[:5]


def test_a_streamed_completion(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "prompt": "Once", "max_tokens": 12, "seed": 3}
    whole = client.completions.create(**asked)
    parts = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(part.choices[0].text for part in parts if part.choices) == whole.choices[0].text
    assert parts[-1].usage is not None
    assert whole.usage is not None
    assert parts[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_chat(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": MODEL,
        "messages": CHAT,
        "max_completion_tokens": 12,
        "seed": 2,
        "logprobs": True,
        "top_logprobs": 3,
    }
    whole = client.chat.completions.create(**asked, n=2)
    assert len(whole.choices) == 2
    choice = whole.choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert whole.usage is not None
    assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content)
    assert (
        sum(len(each.logprobs.content or ()) for each in whole.choices if each.logprobs)
        == whole.usage.completion_tokens
    )
    parts = list(client.chat.completions.create(**asked, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == choice.message.content
    assert parts[-1].choices[0].finish_reason == choice.finish_reason
    ids = client.chat.completions.create(**asked, extra_body={"return_token_ids": True, "top_k": 1}).model_extra
    assert ids is not None
    assert all(isinstance(token, int) for token in ids["prompt_token_ids"])


def test_a_json_schema_is_kept(client: openai.OpenAI) -> None:
    for seed in range(3):
        answer = client.chat.completions.create(
            model=MODEL, messages=CHAT, seed=seed, max_completion_tokens=300,
            response_format={"type": "json_schema", "json_schema": {"name": "act", "schema": SCHEMA, "strict": True}},
        )  # fmt: skip
        said = json.loads(answer.choices[0].message.content or "")
        assert said["action"] in ("heat", "wait")
        assert 0 <= said["hours"] <= 9
    with pytest.raises(openai.BadRequestError, match="schema"):
        client.chat.completions.create(
            model=MODEL, messages=CHAT,
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "strange"}}},
        )  # fmt: skip


def test_tools(client: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "messages": CHAT, "tools": list(TOOLS), "seed": 4, "max_completion_tokens": 400}
    answer = client.chat.completions.create(**asked, tool_choice="required").choices[0]
    assert answer.finish_reason == "tool_calls"
    (call,) = answer.message.tool_calls or ()
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    assert call.function.name in ("heat", "wait")
    assert (1 <= arguments["hours"] <= 9) if call.function.name == "heat" else arguments == {}
    named: Any = {"type": "function", "function": {"name": "wait"}}
    pieces = [
        piece
        for part in client.chat.completions.create(**asked, tool_choice=named, stream=True)
        for piece in part.choices[0].delta.tool_calls or ()
    ]
    functions = [piece.function for piece in pieces if piece.function]
    assert "".join(function.name or "" for function in functions) == "wait"
    assert json.loads("".join(function.arguments or "" for function in functions)) == {}


def test_responses(client: openai.OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="Is it cold?", max_output_tokens=8, temperature=0)
    assert first.status in ("completed", "incomplete")
    assert client.responses.retrieve(first.id).output_text == first.output_text
    asked: Any = {
        "model": MODEL,
        "input": "And now?",
        "previous_response_id": first.id,
        "max_output_tokens": 8,
        "temperature": 0,
    }
    second = client.responses.create(**asked)
    events = list(client.responses.create(**asked, stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == second.output_text
    assert events[-1].type in ("response.completed", "response.incomplete")
    formed = client.responses.create(
        model=MODEL,
        input="Act.",
        max_output_tokens=300,
        text={"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
    )
    assert set(json.loads(formed.output_text)) == {"action", "hours"}
    flat: Any = [{"type": "function", **TOOLS[0]["function"]}]
    called = client.responses.create(
        model=MODEL, input="Act.", tools=flat, tool_choice="required", max_output_tokens=400
    )
    assert called.output[0].type == "function_call"


def test_errors_have_the_clients_types(process: Process, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="other", messages=CHAT)
    with pytest.raises(openai.BadRequestError, match="8192"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x" * 9000}])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="w" * 24).models.list()
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_none")
    assert KEY not in (process.folder / "stderr").read_text()


@pytest.mark.parametrize("mode", ["chat", "completions"])
def test_our_own_loop_is_a_client_too(process: Process, mode: Any) -> None:
    config = Config(
        base_url=f"{process.url}/v1",
        model=MODEL,
        api_key=KEY,
        mode=mode,
        choices_by="structured_outputs",
        count_by="server",
    )
    with contextlib.closing(EndpointModel(config)) as model:
        view = View(messages=(Message(role="user", text="Is it cold?"),))
        limits = Limits(max_tokens=12, temperature=0.0, top_logprobs=2, timeout_s=60)
        chosen = model.sample(view, 1, Constraint(choices=("heat", "wait")), limits)[0]
        assert chosen.text in ("heat", "wait")
        free = model.sample(view, 1, Constraint(), limits)[0]
        assert not free.text_only
        assert free.token_ids is not None
        assert free.prompt_token_ids is not None
        assert free.logprobs is not None
        assert len(free.token_ids) == len(free.logprobs) == free.usage.completion_tokens


def examples() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return [command for block in blocks for command in re.split(r"\n(?=curl )", block.strip())]


@pytest.mark.parametrize("command", examples(), ids=lambda command: re.search(r":8000(\S+)", command)[1])
def test_the_examples_of_the_guide(process: Process, command: str) -> None:
    words = shlex.split(command)
    url = next(word for word in words if word.startswith("http")).replace("http://127.0.0.1:8000", process.url)
    data = words[words.index("-d") + 1].replace('"greenhouse"', f'"{MODEL}"') if "-d" in words else None
    headers = {"Authorization": f"Bearer {KEY}"}
    method = "POST" if data is not None or "-X" in words else "GET"
    with httpx.Client(timeout=60) as client:
        if "resp_" in url:
            body = {"model": MODEL, "input": "Hi", "background": True, "max_output_tokens": 2}
            made = client.post(f"{process.url}/v1/responses", json=body, headers=headers).json()
            url = re.sub(r"resp_\w+", made["id"], url)
        answer = client.request(method, url, content=data, headers=headers)
    assert answer.status_code == 200, answer.text


def test_killed_restarted_drained(process: Process) -> None:
    """SIGKILL loses no background response; SIGTERM refuses the new, finishes the old and ends with 0."""
    headers, long, short = {"Authorization": f"Bearer {KEY}"}, 8000, 5
    with httpx.Client(timeout=60, headers=headers) as client:

        def ask(tokens: int) -> str:
            body = {"model": MODEL, "input": "Hi", "background": True, "max_output_tokens": tokens, "ignore_eos": True}
            return str(client.post(f"{process.url}/v1/responses", json=body).json()["id"])

        blockers, waiting = [ask(long) for _ in range(2)], ask(short)
        process.process.kill()
        process.process.wait()
        url = process.url  # the next server on the same store
        for blocker in blockers:
            assert client.post(f"{url}/v1/responses/{blocker}/cancel").json()["status"] == "cancelled"
        while (found := client.get(f"{url}/v1/responses/{waiting}").json())["status"] != "incomplete":
            assert found["status"] in ("queued", "in_progress")
        assert found["usage"]["output_tokens"] == short
        drain(process, client, url)
    store = open_store(str(process.folder / "serve.db"))
    kinds = [entry.kind for entry in store.read(waiting)]
    assert kinds.count("run.resumed") == 1
    assert all(verify(store, run).ok for run in (*blockers, waiting))
    store.close()


def drain(process: Process, client: httpx.Client, url: str) -> None:
    body: dict[str, Any] = {"model": MODEL, "messages": CHAT, "stream": True, "ignore_eos": True}
    with (
        client.stream("POST", f"{url}/v1/chat/completions", json={**body, "max_tokens": 8000}) as blocker,
        client.stream("POST", f"{url}/v1/chat/completions", json={**body, "max_tokens": 30}) as old,
    ):
        next(blocker.iter_lines())
        process.process.send_signal(signal.SIGTERM)
        while client.get(f"{url}/health").status_code == 200:
            pass
        refused = client.post(f"{url}/v1/completions", json={"model": MODEL, "prompt": "Hi"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "draining"
        assert old.read().decode().strip().endswith("data: [DONE]")
    assert process.process.wait(timeout=60) == 0
