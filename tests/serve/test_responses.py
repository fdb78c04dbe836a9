"""/v1/responses: turns that go on from each other, the journal behind them, background runs, restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from serve_kit import CHATML, NAME, FakeWorker, backend_of, client_of, engine_of, sse, text_format

from overwinter.engine.worker import EngineWorker
from overwinter.errors import UsageError
from overwinter.journal import open_store, verify
from overwinter.loop.run import Run
from overwinter.loop.session import load_state
from overwinter.serve.keys import Tenant
from overwinter.serve.schemas.responses import ResponseBody

PATH = "/v1/responses"
CALL = '<tool_call>\n{"name": "heat", "arguments": {"hours": 3}}\n</tool_call>'
TOOL = {
    "type": "function",
    "name": "heat",
    "parameters": {"type": "object", "properties": {"hours": {"type": "integer"}}, "required": ["hours"]},
}


def ask(said: Any = "Is it cold?", **fields: Any) -> dict[str, Any]:
    return {"model": NAME, "input": said, **fields}


def shown(worker: FakeWorker, at: int = -1) -> str:
    return text_format().decode(worker.requests[at].prompt_ids, skip_special=False)


def test_an_answer_and_its_record(tmp_path: Path) -> None:
    with client_of(FakeWorker("Yes."), tmp_path) as client:
        made = client.post(PATH, json=ask(metadata={"a": "b"}, instructions="Be brief.", temperature=0.5)).json()
        assert made["status"] == "completed"
        assert made["output"] == [
            {
                "type": "message", "id": made["output"][0]["id"], "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "Yes.", "annotations": [], "logprobs": []}],
            }
        ]  # fmt: skip
        assert made["usage"]["output_tokens"] == 4
        assert (made["metadata"], made["instructions"], made["temperature"]) == ({"a": "b"}, "Be brief.", 0.5)
        assert client.get(f"{PATH}/{made['id']}").json() == made
        assert client.get(f"{PATH}/resp_none").json()["error"]["code"] == "response_not_found"
    store = open_store(str(tmp_path / "serve.db"))
    kinds = [entry.kind for entry in store.read(made["id"])]
    assert kinds == ["run.started", "observed", "sample.intent", "sample.completion", "run.ended"]
    assert verify(store, made["id"]).ok
    assert store.budget(made["id"])["tokens"].spent == made["usage"]["total_tokens"]
    assert load_state(store, made["id"]).ended == "unverified"
    with pytest.raises(UsageError, match="a response of the server"):
        Run.open(store, made["id"])
    store.close()


def test_a_server_after_it_shows_the_same(tmp_path: Path) -> None:
    fields = {"tools": [TOOL], "top_logprobs": 2, "return_token_ids": True, "max_output_tokens": 60}
    with client_of(FakeWorker(f"Hm.\n{CALL}ä"), tmp_path) as client:
        made = [client.post(PATH, json=ask(**fields)).json(), client.post(PATH, json=ask(max_output_tokens=2)).json()]
    assert [item["type"] for item in made[0]["output"]] == ["message", "function_call", "message"]
    assert made[1]["status"] == "incomplete"
    assert made[1]["incomplete_details"] == {"reason": "max_output_tokens"}
    with client_of(FakeWorker(), tmp_path) as client:
        assert [client.get(f"{PATH}/{each['id']}").json() for each in made] == made


def test_turns_go_on_from_each_other(tmp_path: Path) -> None:
    worker = FakeWorker(lambda _: CALL if len(worker.requests) == 1 else "Done.")
    with client_of(worker, tmp_path) as client:
        first = client.post(PATH, json=ask("Heat!", tools=[TOOL], instructions="One.")).json()
        call = first["output"][0]
        assert (call["type"], call["name"], call["arguments"]) == ("function_call", "heat", '{"hours": 3}')
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "warm"}
        second = client.post(PATH, json=ask([result], previous_response_id=first["id"], instructions="Two.")).json()
        third = client.post(PATH, json=ask("Thanks", previous_response_id=second["id"])).json()
        assert third["previous_response_id"] == second["id"]
    assert shown(worker, 1) == (
        "<|im_start|>system\nTwo.<|im_end|>\n<|im_start|>user\nHeat!<|im_end|>\n<|im_start|>assistant\n"
        '<tool_call>{"name": "heat", "arguments": {"hours": 3}}</tool_call><|im_end|>\n'
        "<|im_start|>tool\nwarm<|im_end|>\n<|im_start|>assistant\n"
    )
    assert shown(worker, 2).endswith(
        "assistant\nDone.<|im_end|>\n<|im_start|>user\nThanks<|im_end|>\n<|im_start|>assistant\n"
    )
    assert "One." not in shown(worker, 2)
    store = open_store(str(tmp_path / "serve.db"))
    assert [entry.run for entry in store.read(third["id"]) if entry.kind == "run.ended"] == [
        first["id"], second["id"], third["id"],
    ]  # fmt: skip
    assert verify(store, third["id"]).ok
    store.close()


def test_a_conversation_takes_linear_space(tmp_path: Path) -> None:
    def bytes_of(run: str) -> int:
        entries = [entry for entry in store.read(run) if entry.run == run]
        blobs = sum(len(store.get_blob(ref)) for entry in entries for ref in entry.refs)
        return blobs + sum(len(str(entry.body)) for entry in entries)

    with client_of(FakeWorker("x" * 100), tmp_path) as client:
        ids: list[str] = []
        for _ in range(3):
            before = {"previous_response_id": ids[-1]} if ids else {}
            ids.append(client.post(PATH, json=ask("y" * 20, max_output_tokens=100, **before)).json()["id"])
    store = open_store(str(tmp_path / "serve.db"))
    sizes = [bytes_of(run) for run in ids]
    assert sizes[2] < 1.1 * sizes[1], "the prompt has grown by 100 tokens, what is stored of it has not"
    store.close()


def test_items_of_an_input(tmp_path: Path) -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Heat "}, {"type": "input_text", "text": "now"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I do.", "annotations": []}], "id": "msg_1"},
        {"type": "function_call", "call_id": "c1", "name": "heat", "arguments": '{"hours":1}', "id": "fc_1"},
        {"type": "function_call", "call_id": "c2", "name": "heat", "arguments": "soon"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "no"}]},
    ]  # fmt: skip
    worker = FakeWorker()
    with client_of(worker, tmp_path) as client:
        assert client.post(PATH, json=ask(items)).status_code == 200
    assert shown(worker) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHeat now<|im_end|>\n<|im_start|>assistant\nI do."
        '<tool_call>{"name": "heat", "arguments": {"hours": 1}}</tool_call>'
        '<tool_call>{"name": "heat", "arguments": "soon"}</tool_call><|im_end|>\n'
        "<|im_start|>tool\nno<|im_end|>\n<|im_start|>assistant\n"
    )


STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "text": ("It is cold.", {}),
    "nothing": ("", {}),
    "cut": ("It is cold.", {"max_output_tokens": 3}),
    "calls": (f"Hm.\n{CALL}\n{CALL} So.", {"tools": [TOOL]}),
    "logprobs": ("cold", {"include": ["message.output_text.logprobs"], "top_logprobs": 1, "return_token_ids": True}),
    "not stored": ("cold", {"store": False}),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_tells_the_same(case: str, tmp_path: Path) -> None:
    text, fields = STREAMS[case]
    with client_of(FakeWorker(text), tmp_path) as client:
        whole = client.post(PATH, json=ask(**fields)).json()
        events = sse(client.post(PATH, json=ask(stream=True, **fields)).text)
        last = events[-1]["response"]
        again = client.get(f"{PATH}/{last['id']}")
        assert again.json() == last if last["store"] else again.status_code == 404
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == f"response.{last['status']}"
    assert without_ids(last) == without_ids(whole)
    items = last["output"]
    for at, item in enumerate(items):
        mine = [event for event in events if event.get("output_index") == at]
        assert mine[0]["type"] == "response.output_item.added"
        assert mine[-1] == {**mine[-1], "type": "response.output_item.done", "item": item}
        deltas = "".join(event.get("delta", "") for event in mine)
        if item["type"] == "message":
            assert deltas == item["content"][0]["text"]
            logprobs = [row for event in mine if event["type"].endswith("text.delta") for row in event["logprobs"]]
            assert logprobs == item["content"][0]["logprobs"]
        else:
            assert deltas == item["arguments"]
            assert item["call_id"].startswith("call_")


def without_ids(response: dict[str, Any]) -> dict[str, Any]:
    output = [
        {key: value for key, value in item.items() if key not in ("id", "call_id")} for item in response["output"]
    ]
    return {key: value for key, value in response.items() if key not in ("id", "created_at", "completed_at")} | {
        "output": output
    }


def test_formats_and_choices_are_held(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    worker = FakeWorker("{}")
    with client_of(worker, tmp_path) as client:
        for fields in (
            {"text": {"format": {"type": "json_schema", "name": "a", "schema": schema}}},
            {"text": {"format": {"type": "json_object"}}},
            {"tools": [TOOL], "tool_choice": "required"},
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "heat"}},
            {"choices": ["{}"]},
        ):
            answer = client.post(PATH, json=ask(**fields))
            assert answer.status_code == 200, answer.json()
            assert worker.requests[-1].constraint is not None


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"foo": 1}, "foo"),
    "empty input": ({"input": []}, "input is empty"),
    "an image": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        "input.0.content",
    ),
    "an unknown item": ({"input": [{"type": "reasoning", "summary": []}]}, "input.0"),
    "background without store": ({"background": True, "store": False}, "background needs store"),
    "truncation": ({"truncation": "auto"}, "truncation"),
    "conversation": ({"conversation": "c1"}, "conversation"),
    "reasoning": ({"reasoning": {"effort": "high"}}, "reasoning"),
    "include": ({"include": ["reasoning.encrypted_content"]}, "include"),
    "another tool": ({"tools": [{"type": "web_search"}]}, "tools.0"),
    "required without tools": ({"tool_choice": "required"}, "there are no tools"),
    "an unknown choice": ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
    "a previous one": ({"previous_response_id": "resp_none"}, "resp_none"),
    "a run": ({"previous_response_id": "r1"}, "r1"),
    "too long": ({"input": "x" * 800}, "819 tokens"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_obeyed_is_refused(case: str, tmp_path: Path) -> None:
    fields, word = REFUSED[case]
    worker = FakeWorker()
    with client_of(worker, tmp_path) as client:
        answer = client.post(PATH, json=ask(**fields))
    assert answer.status_code in (400, 404), answer.json()
    assert word in answer.json()["error"]["message"]
    assert not worker.requests
    store = open_store(str(tmp_path / "serve.db"))
    assert store.runs() == []
    store.close()


def test_responses_belong_to_their_key(tmp_path: Path) -> None:
    keys = {"ada": "a" * 20, "bob": "b" * 20}
    headers = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
    with client_of(FakeWorker(), tmp_path, keys) as client:
        made = client.post(PATH, json=ask(), headers=headers["ada"]).json()
        assert client.get(f"{PATH}/{made['id']}", headers=headers["ada"]).status_code == 200
        assert client.get(f"{PATH}/{made['id']}", headers=headers["bob"]).status_code == 404
        assert client.post(f"{PATH}/{made['id']}/cancel", headers=headers["bob"]).status_code == 404
        stolen = client.post(PATH, json=ask(previous_response_id=made["id"]), headers=headers["bob"])
        assert stolen.json()["error"]["code"] == "previous_response_not_found"


def test_without_a_store_there_are_no_responses() -> None:
    with client_of(FakeWorker()) as client:
        assert client.post(PATH, json=ask()).status_code == 501


# --- in the background ------------------------------------------------------------------------------------------------


def test_a_background_response_is_fetched_later(tmp_path: Path) -> None:
    worker = FakeWorker("Yes.", holds=True)
    with client_of(worker, tmp_path) as client:
        made = client.post(PATH, json=ask(background=True)).json()
        assert (made["status"], made["output"], made["background"]) == ("in_progress", [], True)
        assert client.get(f"{PATH}/{made['id']}").json() == made
        early = client.post(PATH, json=ask(previous_response_id=made["id"]))
        assert (early.status_code, "no answer to go on from" in early.text) == (400, True)
        worker.release()
        assert until(client, made["id"], "completed")["output"][0]["content"][0]["text"] == "Yes."
        kept = client.post(f"{PATH}/{made['id']}/cancel").json()
        assert kept["status"] == "completed", "what has ended stays as it is"


def until(client: Any, id_: str, status: str) -> Any:
    for _ in range(500):
        found = client.get(f"{PATH}/{id_}").json()
        if found["status"] == status:
            return found
    raise AssertionError(found)


def test_a_background_response_is_cancelled(tmp_path: Path) -> None:
    worker = FakeWorker(holds=True)
    with client_of(worker, tmp_path) as client:
        made = client.post(PATH, json=ask(background=True)).json()
        assert client.post(f"{PATH}/{made['id']}/cancel").json()["status"] == "cancelled"
        assert worker.cancelled == [1]
        assert client.get(f"{PATH}/{made['id']}").json()["status"] == "cancelled"
        worker.holds = False
        done = client.post(PATH, json=ask()).json()
        refused = client.post(f"{PATH}/{done['id']}/cancel")
        assert (refused.status_code, "only background" in refused.text) == (400, True)


def test_a_background_stream_goes_on_without_its_client(tmp_path: Path) -> None:
    from test_server import post

    from overwinter.serve.app import create_app

    worker = FakeWorker("Yes.", holds=True)
    backend = backend_of(worker, tmp_path)

    async def scenario() -> str:
        gone = asyncio.Event()
        body = ask(background=True, stream=True)
        asked = asyncio.ensure_future(post(create_app(backend), body, PATH, gone))
        while not worker.requests:
            await asyncio.sleep(0.001)
        gone.set()
        await asked
        assert worker.cancelled == []
        assert backend.desk is not None
        (live,) = backend.desk.live.values()
        worker.release()
        await live.until_over()
        pieces = b"".join([piece async for piece in live.stream(after=1)])
        numbers = [event["sequence_number"] for event in sse(pieces.decode())]
        assert numbers == list(range(2, 2 + len(numbers)))
        form = await backend.desk.find(Tenant(), live.turn.id)
        return str(form["status"])

    assert asyncio.run(scenario()) == "completed"


def test_what_a_server_leaves_the_next_one_answers(tmp_path: Path) -> None:
    worker = FakeWorker(holds=True)
    with client_of(worker, tmp_path) as client:
        first = client.post(PATH, json=ask("One", background=True, store=True)).json()
        queued = client.post(PATH, json=ask("Two", background=True, tools=[TOOL], temperature=1)).json()
    assert len(worker.cancelled) == 2, "leaving cancels what is under way"
    store = open_store(str(tmp_path / "serve.db"))
    assert {info.status for info in store.runs()} == {"running"}
    store.close()
    again = FakeWorker(CALL)
    with client_of(again, tmp_path) as client:
        assert until(client, first["id"], "completed")["output"][0]["content"][0]["text"] == CALL
        assert until(client, queued["id"], "completed")["output"][0]["name"] == "heat"
    assert sorted(again.requests, key=hash_of) == sorted(worker.requests, key=hash_of), "asked the same, seeds included"
    store = open_store(str(tmp_path / "serve.db"))
    kinds = [entry.kind for entry in store.read(first["id"])]
    assert kinds == [
        "run.started", "observed", "sample.intent", "run.resumed", "sample.failed", "sample.intent", "sample.completion", "run.ended",
    ]  # fmt: skip
    assert verify(store, first["id"]).ok
    store.close()


def hash_of(request: Any) -> Any:
    return request.prompt_ids


def settled(backend: Any, id_: str) -> Any:
    """A response after a server has started and done what was left to it."""

    async def scenario() -> Any:
        desk = backend.desk
        await desk.start()
        while len(desk._tasks) > 1:  # all but the one that keeps leases
            await asyncio.wait(desk._tasks, return_when=asyncio.FIRST_COMPLETED)
        await desk.stop()
        return await desk.find(Tenant(), id_)

    return asyncio.run(scenario())


@pytest.mark.parametrize("when", [0, 3, 100])
def test_a_response_is_cancelled_while_it_is_taken_up(when: int, tmp_path: Path) -> None:
    with client_of(FakeWorker(holds=True), tmp_path) as client:
        made = client.post(PATH, json=ask(background=True)).json()
    worker = FakeWorker(holds=True)
    backend = backend_of(worker, tmp_path, max_queue=1)
    backend.intake.held = backend.intake.most  # no room: it has to wait for its turn

    async def scenario() -> str:
        desk = backend.desk
        assert desk is not None
        await desk.start()
        for _ in range(when):
            await asyncio.sleep(0)
        form = await desk.cancel(Tenant(), made["id"])
        await desk.stop()
        return str(form["status"])

    assert asyncio.run(scenario()) == "cancelled"
    assert not worker.requests
    store = open_store(str(tmp_path / "serve.db"))
    kinds = [entry.kind for entry in store.read(made["id"])]
    assert kinds.count("run.ended") == 1
    store.close()


@pytest.mark.parametrize("turns", [0, 1, 3, 10, 30, 100])
def test_a_client_that_leaves_at_any_moment_leaves_one_end(turns: int, tmp_path: Path) -> None:
    """Cancelled before, while or after the answer is written down: one end, and a chain that holds."""
    worker = FakeWorker("Yes.")
    backend = backend_of(worker, tmp_path)

    async def scenario() -> str:
        desk = backend.desk
        assert desk is not None
        with backend.intake.place() as place:
            live = await desk.make(Tenant(), ResponseBody.model_validate(ask()), place)
        for _ in range(turns):
            await asyncio.sleep(0)
        live.stop()
        await live.until_over()
        return live.turn.id

    made = asyncio.run(scenario())
    store = open_store(str(tmp_path / "serve.db"))
    kinds = [entry.kind for entry in store.read(made)]
    assert kinds.count("run.ended") == 1
    assert kinds.count("sample.completion") + kinds.count("sample.failed") == 1
    assert verify(store, made).ok
    store.close()


def test_a_restart_with_another_model_or_engine(tmp_path: Path) -> None:
    """Another model leaves it for a server of that model; a template that no longer takes it ends it."""
    with client_of(FakeWorker(holds=True), tmp_path) as client:
        made = client.post(PATH, json=ask(background=True)).json()
    broken = FakeWorker()
    broken.text = text_format(CHATML + "{{ raise_exception('never') }}")
    backend = backend_of(broken, tmp_path)
    other = backend_of(FakeWorker(), tmp_path)
    object.__setattr__(other.served, "name", "other")

    assert settled(other, made["id"])["status"] == "queued"
    assert settled(backend, made["id"])["status"] == "failed"


def test_a_lost_lease_is_not_written_over(tmp_path: Path) -> None:
    worker = FakeWorker("mine", holds=True)
    backend = backend_of(worker, tmp_path)
    thief = open_store(str(tmp_path / "serve.db"))

    async def scenario() -> None:
        desk = backend.desk
        assert desk is not None
        with backend.intake.place() as place:
            live = await desk.make(Tenant(), ResponseBody.model_validate(ask(background=True)), place)
        thief.acquire(live.turn.id, "another/machine/1/1", 60, take_over=True)
        worker.release()
        await live.until_over()
        assert live.refusal is not None
        assert live.refusal.code == "taken_over"
        assert (await desk.find(Tenant(), live.turn.id))["status"] == "in_progress"

    asyncio.run(scenario())
    thief.close()


def test_the_real_engine_answers_alike_after_a_restart(tmp_path: Path) -> None:
    body = ask(seed=11, max_output_tokens=30, return_token_ids=True)
    with client_of(FakeWorker(holds=True), tmp_path) as client:
        made = client.post(PATH, json={**body, "background": True}).json()
    engine = EngineWorker(engine_of())
    try:
        again = settled(backend_of(engine, tmp_path), made["id"])
        with client_of(engine, tmp_path) as client:
            undisturbed = client.post(PATH, json=body).json()
    finally:
        engine.close(5)
    assert again["status"] == "incomplete"
    assert len(again["token_ids"]) == 30
    assert again["token_ids"] == undisturbed["token_ids"]
    assert again["output"][0]["content"] == undisturbed["output"][0]["content"]
