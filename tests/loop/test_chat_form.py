"""What a template does not show is written where it shows it: nothing of a view gets lost on the way to the prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from overwinter.loop.model import Message, ToolCall, View
from overwinter.loop.models.chat import BEGIN, ChatForm

pytest.importorskip("jinja2", reason="templates need overwinter[local]")
pytest.importorskip("torch", reason="templates need overwinter[local]")

from overwinter.model.template import PLAIN, ChatTemplate

PLAIN_TURNS = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
FULL = (
    "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}"
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}\n{% endfor %}"
)
STRICT = (
    "{% for m in messages %}"
    "{% if m.role == 'system' or m.role == 'tool' or m.tool_calls %}{{ raise_exception('no ' ~ m.role) }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}\n{% endfor %}"
)
TEMPLATES = {"plain": PLAIN, "turns": PLAIN_TURNS, "full": FULL, "strict": STRICT}
TOOL = {"type": "function", "function": {"name": "look_closely", "parameters": {"type": "object"}}}
CALL = ToolCall(id="s2.0", tool="look_closely", arguments={"bed": "north"})
VIEW = View(
    messages=(
        Message(role="system", text="keep it warm"),
        Message(role="user", text="day one"),
        Message(role="user", text="a note"),
        Message(role="assistant", text="let me see", tool_calls=(CALL,)),
        Message(role="tool", text="aphids there", tool_call_id="s2.0"),
        Message(role="assistant", text="hm"),
        Message(role="assistant", text="well", tool_calls=(ToolCall(id="x", tool="look_closely", arguments="{brok"),)),
        Message(role="tool", text="cannot be read", tool_call_id="x"),
        Message(role="tool", text="its call is hidden", tool_call_id="gone"),
        Message(role="user", text="what now"),
    ),
    tools=(TOOL,),
)
PARTS = ("keep it warm", "day one", "a note", "let me see", "north", "aphids there", "hm", "well", "{brok")
PARTS += ("cannot be read", "its call is hidden", "what now", "look_closely")


class Writer:
    def __init__(self, source: str) -> None:
        self._template = ChatTemplate({"default": source})

    def render_chat(self, messages: Any, tools: Any = None, *, variables: Any = None) -> str:
        return self._template.render(messages, tools, **(variables or {}))


@pytest.mark.parametrize("name", TEMPLATES)
def test_everything_of_a_view_is_shown(name: str) -> None:
    writer = Writer(TEMPLATES[name])
    form = ChatForm.of(writer)
    text = writer.render_chat(*form.turns(VIEW))
    places = [text.find(part) for part in PARTS[:-1]]
    assert -1 not in places, PARTS[places.index(-1)]
    assert places == sorted(places)
    assert text.count("look_closely") >= 3, "the tool is described, and both calls name it"


def test_what_is_found_out_about_templates() -> None:
    forms = {name: ChatForm.of(Writer(source)) for name, source in TEMPLATES.items()}
    assert forms["full"] == ChatForm(system=True, tools=True, calls=True, tagged=True)
    assert forms["plain"] == ChatForm(system=True, tools=True, calls=True, tagged=True)
    assert forms["turns"] == ChatForm(system=True, tools=False, calls=False)
    assert forms["strict"] == ChatForm(system=False, tools=False, calls=False)


def test_a_view_of_a_world_shows_words_alone() -> None:
    act = ToolCall(id="s2.0", tool="act", arguments={"action": "wait"})
    view = View(
        messages=(
            Message(role="system", text="s"),
            Message(role="user", text="day one"),
            Message(role="assistant", text="wait", tool_calls=(act,)),
            Message(role="tool", text="day two", tool_call_id="s2.0"),
            Message(role="user", text="Possible actions: wait"),
        ),
        legal_actions=("wait",),
    )
    turns, tools = ChatForm().turns(view)
    assert tools is None
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[-1]["content"] == "day two\n\nPossible actions: wait"
    assert "tool_calls" not in json.dumps(turns)


def test_a_conversation_begins_with_a_user_turn() -> None:
    system, answer = Message(role="system", text="s"), Message(role="assistant", text="hm")
    for messages, roles in (
        ((), ["user"]),
        ((system,), ["system", "user"]),
        ((system, answer), ["system", "user", "assistant"]),
        ((answer,), ["user", "assistant"]),
    ):
        turns, _ = ChatForm().turns(View(messages=messages))
        assert [turn["role"] for turn in turns] == roles
        assert BEGIN in [turn["content"] for turn in turns]
    turns, _ = ChatForm(system=False).turns(View(messages=(system, answer)))
    assert [(turn["role"], turn["content"]) for turn in turns] == [("user", "s"), ("assistant", "hm")]
