"""What all routes have in common: keys, limits, queue, disconnects, drain, errors, metrics."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from serve_kit import CHATML, NAME, FakeWorker, backend_of, chat, client_of, completion, engine_of, text_format

from overwinter.engine.worker import EngineWorker
from overwinter.errors import UsageError
from overwinter.serve.app import create_app
from overwinter.serve.errors import Refusal
from overwinter.serve.keys import ENVIRONMENT, Keys

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
KEYS = {"ada": "a" * 20, "bob": "b" * 20}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_models_and_health() -> None:
    with client_of(FakeWorker()) as client:
        listed = client.get("/v1/models").json()
        assert [model["id"] for model in listed["data"]] == [NAME]
        assert client.get(f"/v1/models/{NAME}").json() == listed["data"][0]
        missing = client.get("/v1/models/other/name")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
        assert client.post(CHAT, json={**chat(), "model": "other"}).status_code == 404
        assert client.get("/health").json() == {"status": "ok"}
        assert client.post("/tokenize", json={"prompt": "Hi", "model": NAME}).json() == {
            "count": 3, "tokens": text_format().encode("Hi"), "max_model_len": 700,
        }  # fmt: skip
        assert client.post("/tokenize", json={"content": "Hi", "add_special": False}).json()["count"] == 2


def test_errors_are_always_json() -> None:
    with client_of(FakeWorker()) as client:
        for method, path, status in (("GET", "/nowhere", 404), ("GET", CHAT, 405), ("POST", CHAT, 400)):
            answer = client.request(method, path)
            assert answer.status_code == status
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        for content in (b"{", b"[]", b"\xff", b'{"a": NaN}', b"[" * 100_000, b"1" * 5000):
            answer = client.post(CHAT, content=content)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


def test_an_error_nobody_foresaw_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    worker = FakeWorker()
    worker.submit = lambda request, listener: 1 // 0  # type: ignore[method-assign]
    with client_of(worker) as client:
        answer = client.post(CHAT, json=chat("my secret"))
    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "message": "the server failed on this request; its log says why",
        "type": "server_error", "param": None, "code": "internal_error",
    }  # fmt: skip
    assert "ZeroDivisionError" in caplog.text
    assert "my secret" not in caplog.text


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_open_the_api_and_nothing_else_does(caplog: pytest.LogCaptureFixture) -> None:
    worker = FakeWorker()
    caplog.set_level(logging.DEBUG)
    with client_of(worker, keys=KEYS) as client:
        for path in ("/v1/models", f"/v1/models/{NAME}", "/v1/responses/resp_1"):
            assert client.get(path).status_code == 401
        for headers in ({}, bearer(""), bearer("c" * 20), bearer("a" * 19), {"Authorization": "a" * 20}):
            answer = client.post(CHAT, json=chat(), headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
            assert client.post("/tokenize", json={"prompt": "x"}, headers=headers).status_code == 401
        assert client.get("/health").status_code == client.get("/metrics").status_code == 200
        for key in KEYS.values():
            assert client.post(CHAT, json=chat(), headers=bearer(key)).status_code == 200
    salts = [request.salt for request in worker.requests]
    assert len(set(salts)) == 2
    assert all(len(salt) == 32 for salt in salts)
    assert not any(key in caplog.text for key in (*KEYS.values(), "c" * 20))


def test_keys_are_read_from_a_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\nada {'a' * 20}\n\n{'b' * 20}   # without a name\n")
    file.chmod(0o600)
    keys = Keys.load(file, {ENVIRONMENT: f"{'c' * 20},{'d' * 20}"})
    assert keys.tenant_of(f"Bearer {'a' * 20}").name == "ada"
    names = {keys.tenant_of(f"bearer {letter * 20}").name for letter in "abcd"}
    assert len(names) == 4
    assert keys.named("ada") == keys.tenant_of(f"Bearer {'a' * 20}")
    assert keys.named("gone").salt != keys.named("ada").salt
    assert Keys.load(None, {}).is_open
    with pytest.raises(Refusal):
        keys.tenant_of(f"Bearer {'ä' * 20}")


BAD_FILES = {
    "empty": ("# nothing\n", 0o600, "holds no key"),
    "short": ("abc\n", 0o600, "3 characters"),
    "twice": (f"{'a' * 20}\n{'a' * 20}\n", 0o600, "used twice"),
    "two names": (f"ada {'a' * 20}\nbob {'a' * 20}\n", 0o600, "listed twice"),
    "many words": (f"ada of team {'a' * 20}\n", 0o600, "more than a name"),
    "for everyone": (f"{'a' * 20}\n", 0o644, "chmod 600"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_key_files_that_will_not_do(tmp_path: Path, case: str) -> None:
    content, mode, word = BAD_FILES[case]
    file = tmp_path / "keys"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(UsageError, match=word):
        Keys.load(file, {})
    with pytest.raises(UsageError, match="cannot be read"):
        Keys.load(tmp_path / "none", {})


# --- limits and queue -------------------------------------------------------------------------------------------------


def test_large_bodies_are_refused() -> None:
    def pieces() -> Any:
        yield b'{"model": "'
        for _ in range(20):
            yield b"x" * 100

    with client_of(FakeWorker(), max_body_bytes=1000) as client:
        for content in (b"x" * 1001, pieces()):
            answer = client.post(CHAT, content=content)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_a_full_queue_says_when_to_come_again() -> None:
    worker = FakeWorker(holds=True, slots=1)
    backend = backend_of(worker, max_queue=2)

    async def scenario() -> None:
        app = create_app(backend)
        first = [asyncio.ensure_future(post(app, chat())) for _ in range(3)]
        while len(worker.requests) < 3:
            await asyncio.sleep(0)
        status, headers, data = await post(app, chat())
        assert status == 429
        assert data["error"]["code"] == "queue_full"
        assert 1 <= int(headers[b"retry-after"]) <= 60
        assert (await post(app, chat(n=3)))[0] == 429
        worker.release()
        assert [(await each)[0] for each in first] == [200, 200, 200]
        worker.holds = False
        assert (await post(app, chat(n=2)))[0] == 200
        assert (await post(app, chat(n=4)))[0] == 429, "all of them or none"

    asyncio.run(scenario())
    assert backend.intake.open == 0
    assert b"overwinter_refused_total 3.0" in backend.metrics.text()


async def post(app: Any, body: dict[str, Any], path: str = CHAT, gone: asyncio.Event | None = None) -> Any:
    """One request straight into the application; `gone` disconnects its client."""
    sent: list[Any] = []
    bodies = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Any:
        if bodies:
            return bodies.pop()
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": [],
        "root_path": "", "scheme": "http", "http_version": "1.1", "server": ("test", 80), "client": ("test", 1),
    }  # fmt: skip
    await app(scope, receive, send)
    data = b"".join(message.get("body", b"") for message in sent)
    is_json = dict(sent[0]["headers"]).get(b"content-type") == b"application/json"
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(data) if is_json else data


def test_ten_thousand_requests_at_once_on_the_real_engine() -> None:
    engine = engine_of(max_running=4)
    worker = EngineWorker(engine)
    backend = backend_of(worker, max_queue=32)
    free = engine.stats().blocks_free

    async def scenario() -> list[int]:
        app = create_app(backend)
        body = completion("Once upon", max_tokens=3, temperature=0)
        answers = await asyncio.gather(*(post(app, body, COMPLETIONS) for _ in range(10_000)))
        return [status for status, _, _ in answers]

    statuses = asyncio.run(scenario())
    worker.close(30)
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 32
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.blocks_referenced) == (0, 0, 0)
    assert stats.blocks_free + stats.blocks_cached == free
    assert backend.intake.open == 0


# --- clients that leave, and the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_leaves_nothing_running(path: str, stream: bool) -> None:
    worker = FakeWorker(holds=True)
    backend = backend_of(worker)
    body = {**(chat(n=2) if path == CHAT else completion(n=2)), "stream": stream}

    async def scenario() -> None:
        gone = asyncio.Event()
        asked = asyncio.ensure_future(post(create_app(backend), body, path, gone))
        while len(worker.requests) < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone.set()
        await asked
        await backend.intake.until_idle(5)

    asyncio.run(scenario())
    assert sorted(worker.cancelled) == [1, 2]
    assert backend.intake.open == 0


def test_draining_refuses_the_new_and_finishes_the_old() -> None:
    worker = FakeWorker(holds=True)
    backend = backend_of(worker)

    async def scenario() -> None:
        app = create_app(backend)
        old = asyncio.ensure_future(post(app, chat()))
        while not worker.requests:
            await asyncio.sleep(0)
        backend.intake.drain()
        status, headers, data = await post(app, chat())
        assert (status, data["error"]["code"]) == (503, "draining")
        assert b"retry-after" in headers
        worker.release()
        assert (await old)[0] == 200
        assert await backend.intake.until_idle(5)

    asyncio.run(scenario())


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_cut_off_is_told_so(stream: bool) -> None:
    worker = FakeWorker(holds=True)
    backend = backend_of(worker)

    async def scenario() -> Any:
        asked = asyncio.ensure_future(post(create_app(backend), chat(stream=stream)))
        while not worker.requests:
            await asyncio.sleep(0)
        assert not await backend.intake.until_idle(0.01)
        backend.intake.cancel_all()
        return await asked

    status, _, data = asyncio.run(scenario())
    if stream:
        last = json.loads(data.decode().strip().splitlines()[-1].removeprefix("data: "))
        assert last["error"]["code"] == "stopped"
    else:
        assert (status, data["error"]["code"]) == (503, "stopped")


def test_a_failed_engine_is_told_and_seen() -> None:
    worker = FakeWorker()
    worker.is_alive = False
    with client_of(worker) as client:
        answer = client.post(CHAT, json=chat())
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_failed")
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "failed")


@pytest.mark.parametrize(("finish", "status", "code"), [("fault", 500, "engine_fault"), ("timeout", 504, "timeout")])
def test_sequences_that_do_not_end_by_themselves(finish: Any, status: int, code: str) -> None:
    from overwinter.engine import Event

    worker = FakeWorker()
    worker.events = lambda number, request: [Event(sequence=number, finish=finish, problem="NaN")]  # type: ignore[method-assign]
    with client_of(worker) as client:
        for path, body in ((CHAT, chat()), (COMPLETIONS, completion())):
            answer = client.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_metrics_count() -> None:
    with client_of(FakeWorker("four")) as client:
        client.post(CHAT, json=chat(n=2))
        client.post(CHAT, json=chat(stream=True))
        client.post(CHAT, json=chat(n=0))
        client.get("/nowhere")
        text = client.get("/metrics").text
    for line in (
        'overwinter_http_requests_total{route="/v1/chat/completions",status="200"} 2.0',
        'overwinter_http_requests_total{route="/v1/chat/completions",status="400"} 1.0',
        'overwinter_http_requests_total{route="other",status="404"} 1.0',
        'overwinter_sequences_total{finish="stop"} 3.0',
        "overwinter_output_tokens_total 12.0",
        "overwinter_first_token_seconds_count 3.0",
        "overwinter_next_token_seconds_count 9.0",
        "overwinter_running 0.0",
        "overwinter_engine_blocks_free 7.0",
    ):
        assert f"\n{line}\n" in text


def test_the_form_of_calls_follows_the_template() -> None:
    forms = {}
    for name, template in (("tags", CHATML), ("llama", '{"name": x, "parameters": y}'), ("bare", "{{ messages }}")):
        worker = FakeWorker()
        worker.text = text_format(template)
        forms[name] = backend_of(worker).served.call_form
    assert forms["tags"].begin == "<tool_call>\n"
    assert (forms["llama"].begin, forms["llama"].arguments_key) == ("", "parameters")
    assert (forms["bare"].begin, forms["bare"].arguments_key) == ("", "arguments")
