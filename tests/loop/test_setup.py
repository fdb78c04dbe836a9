"""From JSON to parts: what is misspelt, missing or not installed is said before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from loop_kit import goal, last, of_kind, receipts

from overwinter.errors import OverwinterError, ToolError, UsageError
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.run import Run
from overwinter.loop.session import Pace
from overwinter.loop.setup import build_pace, build_parts, tools_of_module
from overwinter.tools import Effect

SCRIPT = {"kind": "scripted", "replies": ["hm"]}


@pytest.mark.parametrize(
    ("setup", "problem"),
    [
        ({}, "names no model"),
        ({"model": "gpt"}, "names no model"),
        ({"model": SCRIPT, "modle": 1}, r"unknown fields \['modle'\]"),
        ({"model": {"kind": "oracle"}}, "unknown kind of model 'oracle'"),
        ({"model": {"kind": "scripted"}}, "'replies' is missing"),
        ({"model": {"kind": "scripted", "replies": [], "x": 1}}, "cannot be made"),
        ({"model": {"kind": "endpoint", "urk": "x"}}, "cannot be made"),
        ({"model": {"kind": "policy", "policy": "rules"}}, "plays worlds only"),
        ({"model": {"kind": "policy", "policy": "nobody"}, "world": {"name": "greenhouse"}}, "no policy called"),
        ({"model": SCRIPT, "world": {"name": "nowhere"}}, "nowhere"),
        ({"model": SCRIPT, "world": {"name": "greenhouse", "sede": 1}}, "unknown fields"),
        ({"model": SCRIPT, "tools": {"hammer": {}}}, r"unknown tools \['hammer'\]"),
        ({"model": SCRIPT, "tools": {"files": {"rot": "x"}}}, "'files' cannot be made"),
        ({"model": SCRIPT, "tools": {"mcp": [{"nme": "x"}]}}, "'mcp' cannot be made"),
        ({"model": SCRIPT, "tools": {"modules": ["/nowhere/x.py"]}}, "no Python file"),
        ({"model": SCRIPT, "controls": ["finnish"]}, r"unknown controls \['finnish'\]"),
        ({"model": SCRIPT, "gates": [{"decision": "perhaps"}]}, "decision 'perhaps'"),
        ({"model": SCRIPT, "pace": {"speed": 9}}, "unknown fields"),
        ({"model": SCRIPT, "pace": {"max_tokens": "many"}}, "max_tokens='many'"),
        ({"model": SCRIPT, "pace": {"max_stalls": True}}, "max_stalls=True"),
        ({"model": SCRIPT, "code": "abc"}, "from Python code"),
    ],
)
def test_what_cannot_be_built_is_said(setup: dict[str, Any], problem: str) -> None:
    with pytest.raises(OverwinterError, match=problem) as caught:
        build_parts(setup)
    assert caught.value.next_step


def test_pace_knows_its_types() -> None:
    assert build_pace({"temperature": 1, "seed": 4, "sample_timeout_s": 2.5}) == Pace(
        temperature=1, seed=4, sample_timeout_s=2.5
    )
    assert build_pace({"seed": None}) == Pace()
    with pytest.raises(UsageError):
        build_pace({"max_tokens": 1.5})
    with pytest.raises(UsageError):
        build_pace({"max_tokens": None})


def test_tools_from_a_python_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from overwinter.tools import Effect, tool\n"
        "@tool(effect=Effect.PURE)\ndef dew(day: int) -> str:\n    '''Dew point.'''\n    return 'wet'\n"
        "not_a_tool = 3\n"
    )
    assert [each.name for each in tools_of_module(path)] == ["dew"]
    path.write_text("x = 1\n")
    with pytest.raises(ToolError, match="defines no tools"):
        tools_of_module(path)
    for source in ("def broken(:\n", "raise SystemExit(3)\n", "import not_there_at_all\n"):
        path.write_text(source)
        with pytest.raises(ToolError, match="cannot be loaded"):
            tools_of_module(path)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    monkeypatch.setitem(sys.modules, "minigrid", None)
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(OverwinterError, match=r"overwinter\[mcp\]"):
        build_parts({"model": SCRIPT, "tools": {"mcp": [{"name": "x", "command": ["nothing"]}]}})
    with pytest.raises(OverwinterError, match=r"overwinter\[worlds\]"):
        build_parts({"model": SCRIPT, "world": {"name": "minigrid:MiniGrid-DoorKey-5x5-v0"}})


def test_what_was_opened_is_closed_when_a_later_part_fails(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from overwinter.tools import Effect, Tool, tool\n"
        "import dataclasses\n"
        "closed = []\n"
        "class Owner:\n    def close(self): closed.append('server')\n"
        "@tool(effect=Effect.PURE)\ndef dew() -> str:\n    '''Dew.'''\n    return ''\n"
        "dew = dataclasses.replace(dew, owner=Owner())\n"
    )
    closed: list[str] = []
    import overwinter.loop.setup as module

    real = module.tools_of_module

    def noting(which: Path) -> Any:
        found = real(which)
        closed.append("opened")
        sys.modules[[n for n in sys.modules if n.startswith("overwinter_tools_")][-1]].closed = closed  # type: ignore[attr-defined]
        return found

    module.tools_of_module = noting
    try:
        with pytest.raises(UsageError):
            build_parts({"model": SCRIPT, "tools": {"modules": [str(path)], "files": {"rot": 1}}})
        with pytest.raises(OverwinterError, match="two tools"):
            build_parts({"model": SCRIPT, "tools": {"modules": [str(path), str(path)]}})
    finally:
        module.tools_of_module = real
    assert "server" in closed


def test_a_run_from_a_setup_is_resumed_from_its_journal_alone(store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    setup = {
        "model": {
            "kind": "scripted",
            "replies": [
                '{"tool": "write_file", "arguments": {"path": "a.txt", "content": "frost"}}',
                '{"tool": "finish", "arguments": {"summary": "done"}}',
            ],
        },
        "tools": {"files": {"root": str(tmp_path / "work"), "write": True}},
        "pace": {"max_tokens": 50},
    }
    with Run.start(store, goal(), setup=setup, name="r") as run:
        for entry in run.work():
            if entry.kind == "sample.completion":
                break
    with Run.open(store, "r") as again:
        assert again.finish() == "unverified"
        assert again.session.parts.pace.max_tokens == 50
    assert last(store, "run.started").seq == 0
    assert len(receipts(store)) == 2
    assert (tmp_path / "work" / "a.txt").read_text() == "frost"


def test_an_mcp_server_in_a_setup_is_used_by_a_run(store: SqliteStore, tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    server = Path(__file__).parents[1] / "tools" / "mcp_server.py"
    log = tmp_path / "log"
    replies = [
        '{"tool": "shop.look", "arguments": {"shelf": 3}}',
        '{"tool": "shop__order", "arguments": {"litres": 20}}',
        '{"tool": "finish", "arguments": {"summary": "done"}}',
    ]
    shop = {"name": "shop", "command": [sys.executable, str(server), str(log)], "effects": {"order": "keyed"}}
    setup = {"model": {"kind": "scripted", "replies": replies}, "tools": {"mcp": [shop]}}
    with Run.start(store, goal(), setup=setup, name="r") as run:
        assert run.finish() == "unverified"
    look, order = of_kind(store, "effect.intent")
    assert (look.body["effect"], order.body["effect"]) == ("pure", "keyed")
    assert log.read_text() == f"ordered 20 {order.body['key']}\n"
    assert [ok for ok, _ in receipts(store)] == [True] * 3


def test_classes_in_a_setup_are_named(tmp_path: Path) -> None:
    def python(**settings: Any) -> Any:
        made = build_parts({"model": SCRIPT, "tools": {"python": settings}})
        made.close()
        return made.toolbox.get("python")

    assert python(effect="pure").effect is Effect.PURE
    assert python(limits={"time_s": 3}).name == "python"
    with pytest.raises(UsageError, match="no effect class 'harmless'"):
        python(effect="harmless")
    with pytest.raises(UsageError, match="'python' cannot be made"):
        python(limits={"times": 3})
