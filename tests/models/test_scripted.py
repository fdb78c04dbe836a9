"""The scripted model: position, kinds of replies, made-up ids that are the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from fake_server import VIEW

from overwinter.errors import ModelError, ToolError
from overwinter.loop.model import Completion, Constraint, Limits, Message, Model, ToolCall, View
from overwinter.loop.models import Alternatives, ScriptedModel

SAME_PATH = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def ask(model: ScriptedModel, view: View = VIEW, n: int = 1, **limits: int) -> list[Completion]:
    return list(model.sample(view, n, Constraint(), Limits(**limits)))


def after_turns(turns: int) -> View:
    return View(messages=VIEW.messages + (Message(role="assistant", text="ok"),) * turns)


def test_it_is_a_model() -> None:
    assert isinstance(ScriptedModel([]), Model)


def test_replies_come_in_order_of_calls_and_are_counted() -> None:
    model = ScriptedModel(["one", "two"])
    assert [ask(model)[0].text, ask(model)[0].text] == ["one", "two"]
    assert model.calls == 2
    assert model.views == [VIEW, VIEW]


def test_by_turn_a_new_process_goes_on_at_the_right_reply() -> None:
    script = ["one", "two", "three"]
    assert ask(ScriptedModel(script, by_turn=True), after_turns(2))[0].text == "three"
    model = ScriptedModel(script, by_turn=True)
    assert [ask(model, after_turns(1))[0].text for _ in range(2)] == ["two", "two"]


@pytest.mark.parametrize("by_turn", [False, True])
def test_an_exhausted_script_says_so(by_turn: bool) -> None:
    with pytest.raises(ModelError, match=r"has 0 replies, none for (call|assistant turn) 1"):
        ask(ScriptedModel([], by_turn=by_turn))


def test_every_kind_of_reply() -> None:
    call = ToolCall(id="c1", tool="water", arguments={"zone": 1})
    whole = Completion(text="made elsewhere")
    model = ScriptedModel(
        [call, [call, call], whole, lambda view: view.messages[-1].text, ToolError("broken", "fix it")]
    )
    assert ask(model)[0].tool_calls == (call,)
    second = ask(model)[0]
    assert (second.tool_calls, second.text, second.finish_reason) == ((call, call), "", "tool_calls")
    assert ask(model)[0] is whole
    assert ask(model)[0].text == "Day 1."
    with pytest.raises(ToolError, match="broken"):
        ask(model)


def test_alternatives_for_n_and_one_bill_for_the_prompt() -> None:
    first, second, third = ask(ScriptedModel([Alternatives(("a b", "c"))], micro_usd_per_token=2), n=3)
    assert [first.text, second.text, third.text] == ["a b", "c", "a b"]
    assert [c.usage.prompt_tokens for c in (first, second, third)] == [6, 0, 0]
    assert [c.usage.attempts for c in (first, second, third)] == [1, 0, 0]
    assert first.usage.micro_usd == 2 * (6 + 2)


def test_ids_are_aligned_and_the_same_in_every_process() -> None:
    completion = ask(ScriptedModel(["Water zone 1."]), top_logprobs=1)[0]
    assert completion.token_ids is not None
    assert completion.logprobs is not None
    assert len(completion.token_ids) == len(completion.logprobs) == len(completion.top_logprobs) == 3
    program = "from overwinter.loop.models.scripted import token_id; print(token_id('Water'))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=SAME_PATH)
    assert int(other.stdout) == completion.token_ids[0]


def test_a_text_only_server_can_be_played() -> None:
    completion = ask(ScriptedModel(["hello"], with_token_ids=False))[0]
    assert completion.text_only
    assert completion.logprobs is None


def test_a_long_reply_is_cut_at_max_tokens() -> None:
    completion = ask(ScriptedModel(["a b c d"]), max_tokens=2)[0]
    assert (completion.text, completion.finish_reason, completion.usage.completion_tokens) == ("a b", "length", 2)


def test_score_gives_the_log_probabilities_of_sample() -> None:
    model = ScriptedModel(["a b"])
    assert model.score(VIEW, ["a b"])[0] == ask(model)[0].logprobs


def test_describe_is_json_ready() -> None:
    assert ScriptedModel(["a"]).describe()["replies"] == 1
