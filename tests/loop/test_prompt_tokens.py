"""Token ids: every prompt can be put together again, and a run of N steps stores O(N) of them."""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from loop_kit import FINISH, Outside, begin, call, forever, of_kind, open_store, parts, resume, run_through

from overwinter.journal import Draft, NewRun, Packer, unpack_json
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.model import Completion
from overwinter.loop.models import ScriptedModel
from overwinter.loop.sampling import confidence
from overwinter.loop.tokens import IMPOSSIBLE, PromptChain, prompt_ids, read_tokens, token_record

IDS = st.lists(st.integers(0, 3), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(IDS, IDS, st.booleans()), min_size=1, max_size=8))
def test_every_prompt_comes_back_exactly(steps: list[tuple[list[int], list[int], bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "j.db")
        store.create(NewRun(run="r", caps={}))
        lease = store.acquire("r", "test", 100)
        chain = PromptChain()
        for prompt, said, new_process in steps:
            if new_process:
                chain = PromptChain()
            packer = Packer()
            completion = Completion(text="", token_ids=tuple(said), prompt_token_ids=tuple(prompt))
            body: dict[str, Any] = {"intent": 0, "text": {"text": ""}, "calls": [], "text_only": False}
            body |= {"finish_reason": "stop", "usage": {}, "model": "m", "settle": {"reserved": {}, "spent": {}}}
            body["tokens"] = packer.json(token_record(completion, chain))
            drafts = [Draft(kind="sample.completion", body=body, refs=packer.take_refs())]
            (entry,) = store.append("r", drafts, fence=lease.fence, blobs=packer.blobs)
            chain.advance(entry.seq, prompt, said)
        for entry, (prompt, said, _) in zip(store.read("r"), steps, strict=True):
            assert prompt_ids(store, "r", entry) == prompt
            assert read_tokens(store, entry)["ids"] == said
        store.close()


def test_a_run_s_prompts_are_those_the_model_was_given(store: SqliteStore, outside: Outside) -> None:
    given_: list[tuple[int, ...] | None] = []

    class Noting(ScriptedModel):
        def sample(self, *args: Any) -> Any:
            completions = super().sample(*args)
            given_.append(completions[0].prompt_token_ids)
            return completions

    def made() -> Any:
        script = [call("look", text=f"bed {i}") for i in range(9)] + [FINISH]
        return parts(Noting(script, by_turn=True), outside.tools())

    run = begin(store, made())
    list(islice(run.work(), 22))
    run.close()
    resume(store, made)
    entries = of_kind(store, "sample.completion")
    assert [tuple(prompt_ids(store, "r", entry) or ()) for entry in entries] == given_


def test_prompts_cost_what_they_add(store: SqliteStore, outside: Outside) -> None:
    script = [call("look", text=f"bed {i}") for i in range(80)] + [FINISH]
    run_through(store, parts(script, outside.tools(), max_stalls=99))
    sizes = [
        len(json.dumps(unpack_json(store, e.body["tokens"])["prompt"])) for e in of_kind(store, "sample.completion")
    ]
    assert max(sizes[1:]) < 3 * min(sizes[1:])
    assert max(sizes[1:]) < sizes[0]


def test_what_a_server_does_not_give_is_not_invented(store: SqliteStore) -> None:
    run_through(store, parts(ScriptedModel(["hm", FINISH], with_token_ids=False, by_turn=True)))
    for entry in of_kind(store, "sample.completion"):
        assert entry.body["text_only"]
        assert entry.body["confidence"] is None
        assert "tokens" not in entry.body
        assert read_tokens(store, entry) == {}
        assert prompt_ids(store, "r", entry) is None


def test_odd_log_probabilities_can_be_written(store: SqliteStore) -> None:
    whole = Completion(text="hm", token_ids=(1, 2), prompt_token_ids=(3,), logprobs=(-math.inf, -0.5))
    odd = dataclasses.replace(whole, logprobs=(math.nan, 0.0), top_logprobs=({"a": -math.inf}, {"b": 0.0}))
    replies = iter([whole, odd, FINISH])
    assert run_through(store, parts(forever(lambda _: next(replies)))) == "unverified"
    first, second, _ = of_kind(store, "sample.completion")
    assert read_tokens(store, first)["logprobs"] == [IMPOSSIBLE, -0.5]
    assert first.body["confidence"] == 0.0
    assert second.body["confidence"] is None
    assert read_tokens(store, second)["top_logprobs"] == [{"a": IMPOSSIBLE}, {"b": 0.0}]


def test_confidence_is_the_geometric_mean() -> None:
    def of(*logprobs: float) -> float | None:
        return confidence(Completion(text="", logprobs=logprobs))

    assert of() is None
    assert confidence(Completion(text="")) is None
    assert of(math.log(0.5), math.log(0.125)) == math.exp((math.log(0.5) + math.log(0.125)) / 2)
    assert math.isclose(of(math.log(0.5), math.log(0.125)) or 0, 0.25)
    assert of(1e-9) == 1.0, "rounding above certainty"
