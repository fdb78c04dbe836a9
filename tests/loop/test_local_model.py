"""Our own engine as a model of the loop: ids and log-probabilities, constraints, seeds, exact counts, replays to the bit."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loop_kit import Pond, begin, goal, of_kind, parts, run_through

from overwinter.errors import ModelError, UsageError
from overwinter.journal import Draft, unpack
from overwinter.journal.canonical import canonical, parse
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.model import Completion, Constraint, CountsViews, Limits, Message, Model, View
from overwinter.loop.models.local import Config, LocalModel, seed_of, split_reasoning
from overwinter.loop.parse import read_calls
from overwinter.loop.replay import replay
from overwinter.loop.run import Run
from overwinter.loop.setup import build_parts
from overwinter.loop.tokens import PromptReader, prompt_ids, read_tokens
from overwinter.loop.world import WorldSession
from overwinter.tools import Effect, tool
from overwinter.worlds import open_world

SAME_PATH = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
ACTIONS = ("wait", "order fuel 100", "order fuel 1000", "heat to 4")
VIEW = View(messages=(Message(role="system", text="Keep it warm."), Message(role="user", text="Storm: none.")))
LIMITS = Limits(max_tokens=12, temperature=1.0, idempotency_key="k1")
FREE = Constraint()


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[LocalModel]:
    made = LocalModel(Config(path=str(tiny_model)))
    yield made
    made.close()


@pytest.fixture(scope="module")
def variants(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from local_kit import make_model

    folder = tmp_path_factory.mktemp("variants")
    return {
        "plain": make_model(folder / "plain", template=None),
        "other": make_model(folder / "other", seed=1),
        "endless": make_model(folder / "endless", end=False),
    }


def ask(model: LocalModel, constraint: Constraint = FREE, view: View = VIEW, **limits: Any) -> Completion:
    return model.sample(view, 1, constraint, replace(LIMITS, **limits))[0]


def test_an_answer_carries_what_training_and_replay_need(model: LocalModel) -> None:
    assert isinstance(model, Model)
    assert isinstance(model, CountsViews)
    answer = ask(model, top_logprobs=3)
    assert answer.prompt_token_ids == tuple(model.prompt_ids(VIEW))
    assert answer.token_ids is not None
    assert answer.logprobs is not None
    assert len(answer.token_ids) == len(answer.logprobs) == len(answer.top_logprobs) == answer.usage.completion_tokens
    assert all(-math.inf < value <= 0.0 for value in answer.logprobs)
    assert all(len(row) == 3 for row in answer.top_logprobs), "tokens that write the same do not hide one another"
    assert answer.usage.prompt_tokens == len(answer.prompt_token_ids) == model.count_view(VIEW)
    assert answer.model == model.identity
    assert answer.model.startswith("tiny@")
    assert parse(canonical(list(answer.logprobs))) == list(answer.logprobs), (
        "floats survive the journal to the last bit"
    )
    again = ask(model, top_logprobs=3)
    assert replace(again, usage=answer.usage) == answer
    assert again.usage.cached_tokens > 0


def test_seeds_come_from_the_question(model: LocalModel) -> None:
    assert ask(model).token_ids == ask(model).token_ids != ask(model, idempotency_key="k2").token_ids
    assert ask(model, seed=5, idempotency_key="k2").token_ids == ask(model, seed=5).token_ids != ask(model).token_ids
    first, second = model.sample(VIEW, 2, FREE, LIMITS)
    assert first.token_ids == ask(model).token_ids != second.token_ids
    assert (second.usage.prompt_tokens, second.usage.attempts) == (0, 0), "sums count the prompt once"
    assert seed_of(replace(LIMITS, seed=7), 0) == 7
    assert seed_of(Limits(), 0) is None
    assert len({seed_of(LIMITS, number) for number in range(50)}) == 50


def test_only_choices_can_be_said(model: LocalModel, variants: dict[str, Path]) -> None:
    for each in (model, LocalModel(Config(path=str(variants["plain"])))):
        said = {ask(each, Constraint(choices=ACTIONS), idempotency_key=str(n)).text for n in range(40)}
        assert said <= set(ACTIONS)
        assert len(said) == len(ACTIONS), "each of them can be said, also one that begins another"


def test_scores_are_the_log_probabilities_of_answers(model: LocalModel) -> None:
    answer = ask(model, Constraint(choices=ACTIONS))
    scores = model.score(VIEW, ACTIONS)
    said = scores[ACTIONS.index(answer.text)]
    assert answer.logprobs is not None
    assert answer.logprobs[: len(said)] == tuple(said)


def test_schemas_and_calls_are_enforced(model: LocalModel) -> None:
    schema = {
        "type": "object",
        "properties": {"met": {"type": "boolean"}},
        "required": ["met"],
        "additionalProperties": False,
    }
    for number in range(3):
        value = parse(ask(model, Constraint(json_schema=schema), max_tokens=60, idempotency_key=str(number)).text)
        assert isinstance(value["met"], bool)
    parameters = {
        "type": "object",
        "properties": {"n": {"enum": [1, 2]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    tools = tuple({"type": "function", "function": {"name": n, "parameters": parameters}} for n in ("look", "put"))
    answer = ask(model, Constraint(call=True), replace(VIEW, tools=tools), max_tokens=120)
    (made,) = read_calls(answer, (), "act", "s1")
    assert made["tool"] in {"look", "put"}
    assert made["arguments"]["n"] in (1, 2)


def test_a_schema_no_grammar_follows_still_gives_a_call(model: LocalModel) -> None:
    odd = {"type": "object", "properties": {"n": {"type": "integer"}}, "unevaluatedProperties": False}
    tool = {"type": "function", "function": {"name": "look", "parameters": odd}}
    limits = replace(LIMITS, max_tokens=24)
    answer = model.sample(replace(VIEW, tools=(tool,)), 1, Constraint(call=True), limits)[0]
    assert "look" in answer.text


def test_what_cannot_be_done_says_what_to_do(model: LocalModel, variants: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match=r"no whole answer of tiny within 1e-09 s.*\n.*sample_timeout_s"):
        ask(model, timeout_s=1e-9)
    with pytest.raises(ModelError, match=r"and 5000 of output do not fit tiny's context of 4096"):
        ask(model, max_tokens=5000)
    with pytest.raises(ModelError, match=r"names no end token.*\n.*eos_token_id"):
        ask(LocalModel(Config(path=str(variants["endless"]))), Constraint(choices=ACTIONS))
    with pytest.raises(ModelError, match="do not fit"):
        model.score(VIEW, ["wait " * 5000])
    with pytest.raises(UsageError, match="there is no folder"):
        LocalModel(Config(path="/nowhere"))
    with pytest.raises(UsageError, match="dtype 'int4' is not known"):
        Config(path="x", dtype="int4")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads is 0"):
        build_parts({"model": {"kind": "local", "path": "x", "threads": 0}})


def test_counts_are_those_of_the_prompt(model: LocalModel, variants: dict[str, Path]) -> None:
    for each in (model, LocalModel(Config(path=str(variants["plain"])))):
        texts = [f"It is day {n} of 20; the low was -{n}.5 °C." for n in range(12)]
        turns = [Message(role=("user", "assistant")[n % 2], text=text) for n, text in enumerate(texts)]  # type: ignore[arg-type]
        view = View(messages=tuple(turns))
        reckoned = sum(each.count_tokens(turn.text) + each.turn_tokens for turn in turns)
        exact = len(ask(each, view=view).prompt_token_ids or ())
        assert each.count_view(view) == exact
        assert exact <= reckoned <= 1.6 * exact, "a turn is never reckoned too small, and not by much too large"


def test_thoughts_stand_apart() -> None:
    assert split_reasoning("<think>\nhm\n</think>\n\nwait") == ("wait", "hm")
    assert split_reasoning("hm</think>wait") == ("wait", "hm"), "some templates open the tag themselves"
    assert split_reasoning("<think>and on") == ("", "and on")
    assert split_reasoning("wait") == ("wait", "")


# --- in runs ------------------------------------------------------------------------------------------------------


def pond(path: Path, **more: Any) -> Any:
    settings = {"temperature": 1.0, "max_tokens": 16, "max_stalls": 100, "top_logprobs": 2, **more}
    model = LocalModel(Config(path=str(path)))
    return parts(model, world=WorldSession(Pond(), 0), controls={}, **settings)


def test_a_run_in_a_world_replays_to_the_bit(store: SqliteStore, tiny_model: Path, variants: dict[str, Path]) -> None:
    assert run_through(store, pond(tiny_model), goal({"kind": "world"})) in {"verified", "failed"}
    said = [unpack(store, entry.body["text"]) for entry in of_kind(store, "sample.completion")]
    assert set(said) <= {"look", "cast"}
    report = replay(store, "r", parts=pond(tiny_model))
    assert report.ok, report.divergence
    assert report.samples == len(said)
    assert report.tokens == sum(len(read_tokens(store, e)["ids"]) for e in of_kind(store, "sample.completion"))

    other = replay(store, "r", parts=pond(variants["other"]))
    assert other.divergence is not None
    assert "differs: then " in other.divergence.what
    assert "asked now is other@" in other.divergence.what
    assert "then it was tiny@" in other.divergence.what


@pytest.mark.parametrize("what", ["ids", "logprobs", "top_logprobs", "prompt"])
def test_a_changed_bit_is_named_with_both_values(store: SqliteStore, tiny_model: Path, what: str) -> None:
    from test_replay import rehash

    run_through(store, pond(tiny_model), goal({"kind": "world"}))
    victim = of_kind(store, "sample.completion")[1]
    record = read_tokens(store, victim)
    if what == "ids":
        was, record["ids"][0] = record["ids"][0], record["ids"][0] ^ 1
        wanted = f"token 0 of the answer differs: then {was ^ 1}, now {was}"
    elif what == "logprobs":
        was = record["logprobs"][0]
        record["logprobs"][0] = math.nextafter(was, 0.0)
        wanted = f"the log-probability of token 0 differs: then {math.nextafter(was, 0.0)!r}, now {was!r}"
    elif what == "top_logprobs":
        name, was = next(iter(record["top_logprobs"][0].items()))
        record["top_logprobs"][0][name] = math.nextafter(was, 0.0)
        wanted = "the alternatives of token 0 differs: then {"
    else:
        record["prompt"]["ids"][-1] ^= 1
        wanted = "of the prompt differs: then "

    def change(entry: Any) -> Draft:
        body = entry.body if entry.seq != victim.seq else {**entry.body, "tokens": {"text": canonical(record).decode()}}
        return Draft(kind=entry.kind, body=body, refs=entry.refs)

    rehash(store, "r", "forged", change)
    report = replay(store, "forged", parts=pond(tiny_model))
    assert report.divergence is not None
    assert report.divergence.kind == "sample.completion"
    assert wanted in report.divergence.what


def test_views_fit_a_small_context_by_exact_counts(store: SqliteStore, variants: dict[str, Path]) -> None:
    context = 1100

    def greenhouse() -> Any:
        model = LocalModel(Config(path=str(variants["other"]), context=context))
        world = WorldSession(open_world("greenhouse:days=20"), 0)
        return parts(model, world=world, controls={}, temperature=1.0, max_tokens=24, max_stalls=100)

    with begin(store, greenhouse(), goal({"kind": "world"}), tool_calls=14) as run:
        run.finish()
    assert len(of_kind(store, "compacted")) >= 2
    for entry in of_kind(store, "sample.completion"):
        intent = next(store.read("r", entry.body["intent"], entry.body["intent"] + 1)).body
        prompt = prompt_ids(store, "r", entry)
        assert prompt is not None
        assert intent["view"]["tokens"] == len(prompt) == entry.body["usage"]["prompt_tokens"]
        assert len(prompt) + intent["limits"]["max_tokens"] <= context
        assert intent["constraint"]["choices"] > 1
    assert replay(store, "r", parts=greenhouse()).ok


@tool(effect=Effect.PURE)
def bell() -> str:
    """Ring the bell."""
    return "ding"


def test_whoever_called_nothing_has_to_call_something(store: SqliteStore, tiny_model: Path) -> None:
    def made() -> Any:
        model = LocalModel(Config(path=str(tiny_model)))
        return parts(model, [bell], controls={}, temperature=1.0, max_tokens=40, max_stalls=100)

    with begin(store, made(), tool_calls=1) as run:
        assert run.finish() == "waiting:budget"
    asked = [entry.body["constraint"] for entry in of_kind(store, "sample.intent")]
    called = [bool(entry.body["calls"]) for entry in of_kind(store, "sample.completion")]
    assert (called[0], called[-1]) == (False, True)
    assert asked[0] == {"choices": 0, "json_schema": False}
    for before, now in zip(called, asked[1:], strict=False):
        assert now.get("call", False) is not before
    assert replay(store, "r", parts=made()).ok


def test_a_setup_makes_the_model_again(store: SqliteStore, tiny_model: Path) -> None:
    setup = {
        "model": {"kind": "local", "path": str(tiny_model), "threads": 1},
        "world": {"name": "greenhouse:days=20", "seed": 1},
        "controls": [],
        "pace": {"temperature": 1.0, "max_tokens": 16},
    }
    with Run.start(store, goal({"kind": "world"}), setup=setup, caps={"tool_calls": 2}, name="r") as run:
        assert run.finish() == "waiting:budget"
    with Run.open(store, "r") as run:
        run.add_budget({"tool_calls": 2})
        assert run.finish() == "waiting:budget"
    report = replay(store, "r")
    assert report.ok, report.divergence
    assert report.samples == 5


def test_prompts_are_put_together_alike(store: SqliteStore, tiny_model: Path) -> None:
    run_through(store, pond(tiny_model), goal({"kind": "world"}))
    reader = PromptReader(store)
    for entry in of_kind(store, "sample.completion"):
        assert reader.read(entry, read_tokens(store, entry)) == prompt_ids(store, "r", entry)


def test_without_the_extra_the_reason_is_said(tiny_model: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from overwinter.errors import UsageError\n"
        "from overwinter.loop.setup import build_model\n"
        "try: build_model({'kind': 'local', 'path': sys.argv[1]}, None)\n"
        "except UsageError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_model)], capture_output=True, text=True, env=SAME_PATH
    )
    assert "local models need torch" in done.stdout, done.stderr
    assert "pip install 'overwinter[local]'" in done.stdout
