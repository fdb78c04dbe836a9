"""The real recaller: what one run saw, the next one recalls; core blocks a person approved are in view."""

from __future__ import annotations

from loop_kit import FINISH, begin, call, counting, goal, of_kind, shown
from loop_memory_kit import memory_parts, say

from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.memory.index import open_recaller
from overwinter.loop.memory.settings import MemorySettings
from overwinter.memory.core import change
from overwinter.memory.notebook import Notebook


def test_what_one_run_saw_the_next_one_recalls(store: SqliteStore) -> None:
    Notebook(store, "default").append(*_core("Be brief."))
    first = [call("say", words="The code of the north gate is 4711."), FINISH]
    second = [call("say", words="What is the code of the north gate?"), call("say", words="well"), FINISH]
    views = []
    for name, script in (("first", first), ("second", second)):
        model = counting(script)
        made = memory_parts(model, [say], settings=MemorySettings(), window_tokens=2000)
        made.recaller = open_recaller(store, "default")
        with begin(store, made, goal({"kind": "none"}, text="Keep the keys"), name=name) as run:
            assert run.finish() == "unverified"
        views = model.views
    cites = [hit["cite"] for entry in of_kind(store, "recalled", "second") for hit in entry.body["hits"]]
    assert any(cite.startswith("first#") for cite in cites)
    assert "4711" in shown(views[-1])
    assert "instructions [memory-default#" in shown(views[0])
    assert "Be brief." in shown(views[0])


def _core(text: str):  # type: ignore[no-untyped-def]
    draft, blobs = change("instructions", text, by="user", approved_by="user")
    return [draft], blobs
