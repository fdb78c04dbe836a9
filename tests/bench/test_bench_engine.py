"""A suite put to our own engine: letters by their probability, token ids kept, replayed to the last token, ready to learn from."""

from __future__ import annotations

from pathlib import Path

from overwinter.bench.ledger import create
from overwinter.bench.plan import Config, make_plan, plan_of
from overwinter.bench.recorded import recording
from overwinter.bench.replaying import Replay
from overwinter.bench.rollouts import rollouts
from overwinter.bench.running import AskedRun
from overwinter.cli.benching_models import LoopAsker
from overwinter.journal import open_store
from overwinter.loop.setup import build_model


def test_letters_are_asked_of_an_engine_and_replayed(tiny_model: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "bench.db"))
    spec = {"kind": "local", "path": str(tiny_model)}
    config = Config(samples=2, temperature=1.0, constrain=True, style="direct", max_tokens=6, seed=2)
    made = make_plan("order", config, data=None, count=4, model=spec)
    model = build_model(spec, None)
    asker = LoopAsker(model, top_logprobs=3)
    create(store, "b", made, {})
    with AskedRun(store, "b", made, asker).begin({}) as run:
        results = list(run.work())
    assert {result.answer for _, _, result in results} <= set("ABCD")
    answers = recording(store, "b").answers
    assert len(answers) == 8
    assert all(0 < answer.confidence["likelihood"] <= 1 for answer in answers)
    assert all(answer.tokens_in > 20 for answer in answers)
    again = plan_of(store, "b")
    assert again.as_json() == made.as_json()
    replay = Replay(store, "b", again, LoopAsker(model))
    assert list(replay.differences()) == []
    found = list(rollouts(store, "b"))
    assert len(found) == 8
    by_group = {each.group: each for each in found}
    assert len(by_group) == 4
    assert all(len(each.turns[0].ids) == len(each.turns[0].logprobs) for each in found)
    assert all(len(each.turns[0].prompt_ids) > 20 for each in found)
    model.close()
    store.close()
