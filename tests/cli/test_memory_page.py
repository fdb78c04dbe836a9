"""Memory on the run page and in `why`: what was recalled, from where and how sure; handles; nothing hostile gets through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Cli
from test_page import HOSTILE, Page, check_safe

from overwinter.cli.page.digest import digest_run
from overwinter.cli.page.render import render_page
from overwinter.journal import Draft, NewRun, Packer, Store, open_store
from overwinter.journal.lease import DEFAULT_TTL_S, this_owner

HIT = {
    "unit": "u1",
    "cite": "winter-1831#44",
    "score": 1.25,
    "relevance": 0.83,
    "channels": {"lexical": 0.75, "dense": 0.5},
    "actor": "user",
    "trust": "trusted",
    "told_us": 1_600_000_000_000_000,
    "happened_us": 1_600_000_000_000_000,
}


def drafts(hostile: str) -> Iterator[Draft]:
    """A run with memory that asked twice, was told something both times, and compressed."""
    text = {"text": hostile}
    setup = {"memory": {"namespace": "lindholm"}}
    yield Draft(
        kind="run.started",
        body={"goal": "Keep it", "acceptance": [], "setup": setup, "budgets": [], "caps": {}, "version": "0"},
    )
    core = {"unit": "core:tone", "cite": "memory-lindholm#2", "score": 1.0}
    yield Draft(kind="recalled", body={"query": "", "hits": [core], "text": text, "by": "core"})
    yield Draft(kind="recalled", body={"query": hostile, "hits": [HIT], "text": text, "by": "step"})
    note = {"name": "codes", "version": 2, "description": hostile, "entries": [[1, 2], [4, 4]], "note": text}
    yield Draft(kind="handle.made", body=note)
    yield Draft(kind="handle.pinned", body={"name": "codes@2", "pinned": True})
    view = {"shown": [[2, 2]], "hidden": 4, "left": {}, "digest": "", "tokens": 900, "window": 1000, "core": 1}
    asked = {"step": 1, "view": view, "limits": {}, "constraint": {}, "reserve": {}}
    yield Draft(kind="sample.intent", body=asked)
    said: dict[str, Any] = {"intent": 5, "text": {"text": ""}, "text_only": True, "finish_reason": "stop", "usage": {}}
    calls = [{"id": "c", "tool": "recall", "arguments": {"query": hostile}}]
    settle = {"reserved": {}, "spent": {}}
    yield Draft(kind="sample.completion", body={**said, "calls": calls, "model": "m", "settle": settle})
    receipt = {"intent": -1, "call_id": "c", "ok": True, "text": text, "data": {"recalled": [HIT]}, "error": None}
    yield Draft(kind="effect.receipt", body=receipt)
    yield Draft(kind="compacted", body={"first": 2, "last": 7, "summary": text, "by": "agent"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "overwinter.db"))
    opened.create(NewRun(run="r1", title="a run", caps={}))
    lease = opened.acquire("r1", this_owner(), DEFAULT_TTL_S)
    opened.append("r1", list(drafts(HOSTILE)), fence=lease.fence, blobs=Packer().blobs)
    opened.release(lease)
    yield opened
    opened.close()


def test_the_page_shows_what_was_recalled_and_from_where(store: Store) -> None:
    text = render_page(store, digest_run(store, store.info("r1")))
    check_safe(text)
    plain = re.sub(r"<[^>]+>", "", text)
    assert "Namespace lindholm" in plain
    assert "900 of 1000 tokens in view at most" in plain
    assert "compressed 1 times, 1 of them by the agent" in plain
    assert plain.count("winter-1831#44, told 2020-09-13") == 3, "two cards and a row"
    assert "relevance 0.83 · score 1.25 (dense 0.50, lexical 0.75)" in plain
    assert "before a step" in plain
    assert "asked for by the agent" in plain
    assert "core, always in view" in plain
    assert "codes@2 pinned" in plain
    assert "entries 1–2, 4, made at entry 3" in plain
    assert "Working context" in plain
    ids = {attributes["id"] for _, attributes in Page(text).tags if attributes.get("id")}
    assert {"e2", "e3", "e7", "show-memory"} <= ids


def test_why_names_what_memory_had_brought(store: Store, cli: Cli) -> None:
    store.close()
    said = cli("why", "r1", "6")
    assert said.code == 0
    assert "from memory, in that view:" in said.out
    assert "winter-1831#44, told 2020-09-13 by user (trusted), score 1.25, relevance 0.83" in said.out
    assert "is core" in said.out
    (record,) = [json.loads(line) for line in cli("why", "r1", "6", "--json").out.splitlines()]
    assert [row["seq"] for row in record["recalled"]] == [2, 1]
    assert record["recalled"][0]["hits"] == [HIT]


def test_a_run_without_memory_has_no_section(tmp_path: Path) -> None:
    with_none = open_store(str(tmp_path / "other.db"))
    with_none.create(NewRun(run="r1", title="a run", caps={}))
    lease = with_none.acquire("r1", this_owner(), DEFAULT_TTL_S)
    with_none.append("r1", list(drafts("x"))[:1], fence=lease.fence)
    page = render_page(with_none, digest_run(with_none, with_none.info("r1")))
    with_none.close()
    assert "<h2>Memory</h2>" not in page
