"""MCP tools against a real server written with the SDK, over stdio and over streamable HTTP on loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overwinter.errors import ToolError, UsageError
from overwinter.tools import Effect, Toolbox, ToolContext
from overwinter.tools.mcp import McpServer, effect_of_hints

pytest.importorskip("mcp")

SERVER = str(Path(__file__).with_name("mcp_server.py"))
CONTEXT = ToolContext(run="r", entry=1, idempotency_key="key-1")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stdio server did."""
    return tmp_path_factory.mktemp("mcp") / "log"


@pytest.fixture(scope="module")
def over_stdio(log: Path) -> Iterator[Toolbox]:
    with Toolbox(McpServer("shop", command=[sys.executable, SERVER, str(log)], timeout_s=20).tools()) as box:
        yield box


@contextlib.contextmanager
def http_server(log: Path, port: int) -> Iterator[str]:
    process = subprocess.Popen([sys.executable, SERVER, str(log), str(port)], stderr=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + 20
        while time.monotonic() < until_s:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_tools_are_listed_with_names_schemas_and_effects(over_stdio: Toolbox) -> None:
    effects = {each.name: each.effect for each in over_stdio}
    assert effects == {
        "shop.look": Effect.PURE,
        "shop.set_price": Effect.IDEMPOTENT,
        "shop.discard": Effect.IRREVERSIBLE,
        "shop.order": Effect.IRREVERSIBLE,
        "shop.die": Effect.IRREVERSIBLE,
        "shop.hang": Effect.IRREVERSIBLE,
    }
    look = over_stdio.get("shop__look")
    assert look.description == "Look at a shelf."
    assert look.parameters["required"] == ["shelf"]
    assert "mcp" in look.tags


@pytest.mark.parametrize(
    ("hints", "effect"),
    [
        (None, Effect.IRREVERSIBLE),
        ((None, None, None), Effect.IRREVERSIBLE),
        ((True, None, None), Effect.PURE),
        ((True, True, True), Effect.PURE),
        ((False, True, None), Effect.IDEMPOTENT),
        ((None, True, True), Effect.IDEMPOTENT),
        ((None, None, False), Effect.IRREVERSIBLE),
        ((None, False, True), Effect.IRREVERSIBLE),
    ],
)
def test_hints_become_effects(hints: tuple[bool | None, ...] | None, effect: Effect) -> None:
    names = ("read_only_hint", "idempotent_hint", "destructive_hint")
    assert effect_of_hints(hints and SimpleNamespace(**dict(zip(names, hints, strict=True)))) is effect


def test_answers_text_structure_and_errors(over_stdio: Toolbox) -> None:
    assert over_stdio.call("shop.look", {"shelf": 3}, CONTEXT).text == "x3: café"
    assert over_stdio.call("shop.set_price", {"price": 1.5}, CONTEXT).data == {"price": 1.5}
    failed = over_stdio.call("shop.discard", {}, CONTEXT)
    assert (failed.ok, failed.error) == (False, "crash")
    wrong = over_stdio.call("shop.look", {"shelf": "three"}, CONTEXT)
    assert (wrong.ok, wrong.error) == (False, "arguments")
    assert "shelf: 'three' is not of type 'integer'" in wrong.text


def test_the_idempotency_key_travels_with_the_call(over_stdio: Toolbox, log: Path) -> None:
    assert over_stdio.call("shop.order", {"litres": 80}, CONTEXT).ok
    assert "ordered 80 key-1" in log.read_text()


def test_a_server_that_dies_in_the_middle_is_unavailable_in_doubt_and_comes_back(over_stdio: Toolbox) -> None:
    result = over_stdio.call("shop.die", {}, CONTEXT)
    assert (result.ok, result.error, result.data) == (False, "unavailable", {"in_doubt": True})
    assert over_stdio.call("shop.look", {"shelf": 1}, CONTEXT).ok, "started again"


def test_a_slow_call_times_out_in_doubt_and_the_connection_survives(over_stdio: Toolbox) -> None:
    hurried = ToolContext(run="r", entry=1, idempotency_key="k", deadline_s=0.3)
    slow = over_stdio.call("shop.hang", {}, hurried)
    assert (slow.ok, slow.error, slow.data) == (False, "timeout", {"in_doubt": True})
    assert over_stdio.call("shop.look", {"shelf": 1}, CONTEXT).ok


def test_close_ends_the_program_and_the_next_use_starts_it_again(tmp_path: Path) -> None:
    server = McpServer("shop", command=[sys.executable, SERVER, str(tmp_path / "own-log")], timeout_s=20)
    look = server.tools()[0]
    server.close()
    server.close()
    assert not [each for each in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path / "own-log") in _read(each)]
    assert look.call({"shelf": 1}, CONTEXT).ok
    server.close()


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_over_http_the_same_and_through_a_restart_of_the_server(free_port: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with http_server(log, free_port) as url:
        server = McpServer("web", url=url, timeout_s=10)
        box = Toolbox(server.tools())
        assert {each.name: each.effect for each in box}["web.look"] is Effect.PURE
        assert box.call("web.look", {"shelf": 3}, CONTEXT).text == "x3: café"
        assert box.call("web.order", {"litres": 5}, CONTEXT).ok
        assert log.read_text() == "ordered 5 key-1\n"
        died = box.call("web.die", {}, CONTEXT)
        assert (died.ok, died.error, died.data.get("in_doubt")) == (False, "unavailable", True)
    assert box.call("web.look", {"shelf": 3}, CONTEXT).error == "unavailable"
    with http_server(log, free_port):
        assert box.call("web.look", {"shelf": 3}, CONTEXT).ok
        box.close()


def test_a_server_that_cannot_be_reached_is_an_error_that_says_where(free_port: int) -> None:
    for server in [
        McpServer("no", command=["/does/not/exist", "x"], timeout_s=5),
        McpServer("no", command=[sys.executable, "-c", "pass"], timeout_s=5),
        McpServer("no", url=f"http://127.0.0.1:{free_port}/mcp", timeout_s=5),
    ]:
        with pytest.raises(ToolError, match="MCP server 'no'") as raised:
            server.tools()
        assert "check" in raised.value.next_step


def test_a_server_that_never_greets_is_given_up(tmp_path: Path) -> None:
    silent = McpServer("silent", command=[sys.executable, "-c", "import sys; sys.stdin.read()"], timeout_s=0.3)
    with pytest.raises(ToolError, match=r"within 0\.3 s"):
        silent.tools()


def test_effects_can_be_overridden_and_hints_distrusted(over_stdio: Toolbox, log: Path) -> None:
    command = [sys.executable, SERVER, str(log)]
    server = McpServer("shop", command=command, effects={"order": Effect.KEYED}, trust_hints=False)
    effects: dict[str, Any] = {each.name: each.effect for each in server.tools()}
    assert effects["shop.order"] is Effect.KEYED
    assert effects["shop.look"] is Effect.IRREVERSIBLE
    server.close()
    wrong = McpServer("shop", command=command, effects={"ordre": Effect.KEYED})
    with pytest.raises(ToolError, match="ordre"):
        wrong.tools()
    wrong.close()


def test_without_the_sdk_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"pip install 'overwinter\[mcp\]'"):
        McpServer("shop", command=["x"])


@pytest.mark.parametrize("options", [{}, {"command": ["x"], "url": "http://x"}])
def test_exactly_one_way_to_reach_it(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="either a command or a url"):
        McpServer("shop", **options)
