"""Declaring and calling tools: schemas, strict arguments, every fault as a result, probes, the toolbox."""

from __future__ import annotations

import dataclasses
import enum
import json
import threading
import time
from datetime import date
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict  # typing's own knows too little before Python 3.12

from overwinter.errors import ToolError
from overwinter.tools import Effect, SchemaSignature, Tool, Toolbox, ToolContext, ToolResult, failure, tool

CONTEXT = ToolContext(run="r1", entry=7, idempotency_key="k7")


@dataclasses.dataclass
class Plot:
    row: int
    crop: str = "kale"


class Season(enum.Enum):
    AUTUMN = "autumn"
    WINTER = "winter"


class Note(TypedDict):
    text: str


@tool(effect=Effect.PURE)
def inspect(
    plot: Plot,
    day: date,
    note: Note,
    season: Season = Season.WINTER,
    mode: Literal["fast", "slow"] = "fast",
    json: str | None = None,
    limits: tuple[int, float] = (1, 2.0),
    context: ToolContext = CONTEXT,
) -> dict[str, Any]:
    """Look at one plot.

    A second paragraph.

    Args:
        plot: which plot
            to look at.
        day (date): the day of the look.
        context: who asks.

    Returns:
        everything
    """
    return {"plot": plot, "day": day, "season": season, "limits": limits, "entry": context.entry}


def test_the_schema_comes_from_hints_defaults_and_docstring() -> None:
    schema = inspect.parameters
    assert inspect.name == "inspect"
    assert inspect.description == "Look at one plot.\n\nA second paragraph."
    assert schema["required"] == ["plot", "day", "note"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Plot"]["additionalProperties"] is False
    assert schema["properties"]["plot"] == {"$ref": "#/$defs/Plot", "description": "which plot to look at."}
    assert schema["properties"]["day"] == {"type": "string", "format": "date", "description": "the day of the look."}
    assert schema["properties"]["mode"]["enum"] == ["fast", "slow"]
    assert "json" in schema["properties"], "a name that pydantic reserves is a good argument name all the same"
    assert "context" not in schema["properties"]
    assert "title" not in json.dumps(schema)


def test_the_function_gets_typed_values_and_the_context() -> None:
    result = inspect.call({"plot": {"row": 3}, "day": "2031-01-02", "note": {"text": "x"}}, CONTEXT)
    assert result.ok
    assert result.data == {
        "plot": {"row": 3, "crop": "kale"},
        "day": "2031-01-02",
        "season": "winter",
        "limits": [1, 2.0],
        "entry": 7,
    }
    assert json.loads(result.text) == result.data


plots = st.fixed_dictionaries({"row": st.integers()}, optional={"crop": st.text()})
arguments_of_inspect = st.fixed_dictionaries(
    {"plot": plots, "day": st.dates().map(date.isoformat), "note": st.fixed_dictionaries({"text": st.text()})},
    optional={
        "season": st.sampled_from(["autumn", "winter"]),
        "json": st.none() | st.text(),
        "limits": st.tuples(st.integers(), st.floats(allow_nan=False, allow_infinity=False)).map(list),
    },
)


@settings(max_examples=50)
@given(arguments_of_inspect)
def test_round_trip_what_the_schema_allows_is_valid_and_its_normal_form_is_stable(arguments: dict[str, Any]) -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(inspect.parameters)
    jsonschema.validate(arguments, inspect.parameters)
    normal = inspect.validate(arguments)
    jsonschema.validate(normal, inspect.parameters)
    assert inspect.validate(normal) == normal
    assert inspect.validate(json.dumps(arguments)) == normal
    assert json.loads(json.dumps(normal)) == normal
    assert inspect.call(arguments, CONTEXT).ok


@tool(effect=Effect.PURE)
def add(a: int, b: float = 1.0) -> float:
    """Add."""
    return a + b


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ('{"a": 1', ["not valid JSON", "complete JSON object"]),
        ("[1, 2]", ["must be a JSON object", "list"]),
        ("null", ["must be a JSON object", "NoneType"]),
        (b"\xff\xfe", ["not valid JSON"]),
        ('{"a": 1, "a": 2}', ["'a' appears twice"]),
        ({}, ["a: Field required", "given nothing", '"type": "integer"']),
        ({"a": "1"}, ["a: ", "given '1'", '"type": "integer"']),
        ({"a": True}, ["a: ", "given True"]),
        ({"a": 1.5}, ["a: ", "given 1.5"]),
        ({"a": None}, ["a: ", "given None"]),
        ({"a": 1, "c": 2}, ["c: ", "known arguments: a, b"]),
        ({"a": 1, "b": float("nan")}, ["not JSON"]),
        ({"a": {1, 2}}, ["not JSON"]),
        ("[" * 100_000, ["not valid JSON"]),
    ],
)
def test_wrong_arguments_are_named_with_what_was_given_and_expected(arguments: Any, says: list[str]) -> None:
    with pytest.raises(ToolError) as raised:
        add.validate(arguments)
    result = add.call(arguments, CONTEXT)
    assert not result.ok
    assert result.error == "arguments"
    assert "in_doubt" not in result.data, "nothing was called"
    for part in ["add", *says]:
        assert part in str(raised.value)
        assert part in result.text


def test_many_problems_make_a_short_message() -> None:
    with pytest.raises(ToolError, match=r"and 15 more"):
        inspect.validate({f"x{n}": "y" * 10_000 for n in range(17)})


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def f(x): ...", "has no type"),
        ("def f(x: socket.socket): ...", "no JSON schema"),
        ("def f(x: Missing): ...", "cannot be read"),
        ("def f(*x: int): ...", "no schema"),
        ("def f(**x: int): ...", "no schema"),
        ("def f(x: int, /): ...", "no schema"),
        ("def f(x: int = 'a'): ...", "the default 'a'"),
        ("def f(x: Callable[[], int]): ...", "no JSON schema"),
        ("def f(x: ToolContext, y: ToolContext): ...", "twice"),
        ("def f(x: int):\n    '''Do.\n\n    Args:\n        y: wrong name\n    '''", "'y'"),
    ],
)
def test_a_function_without_a_clear_schema_is_refused_when_declared(source: str, says: str) -> None:
    scope: dict[str, Any] = {}
    exec(
        f"import socket\nfrom collections.abc import Callable\nfrom overwinter.tools import ToolContext\n{source}",
        scope,
    )
    with pytest.raises(ToolError, match=says):
        tool(effect=Effect.PURE)(scope["f"])


def test_a_keyed_tool_that_ignores_its_key_is_refused() -> None:
    with pytest.raises(ToolError, match="never sees its key"):

        @tool(effect=Effect.KEYED)
        def order(litres: int) -> None: ...


@pytest.mark.parametrize("name", ["", "a b", "a.", ".a", "ü", "x" * 65, "a/b"])
def test_names_that_model_apis_refuse_are_refused(name: str) -> None:
    with pytest.raises(ToolError, match="is no tool name"):
        tool(effect=Effect.PURE, name=name or " ")(add.function)


def test_a_tool_is_still_a_plain_function() -> None:
    assert add(1, b=2) == 3


def answering(answer: Any, effect: Effect = Effect.PURE, **options: Any) -> Tool:
    def give() -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return tool(effect=effect, **options)(give)


@pytest.mark.parametrize(
    ("answer", "text", "data"),
    [
        ("plain", "plain", {}),
        (None, "(done, no output)", {}),
        (b"caf\xc3\xa9", "café", {}),
        (b"\xff\xfeabc", "\ufffd\ufffdabc", {"replaced_bytes": True}),
        (True, "true", {"value": True}),
        ([1, "é"], '[1, "é"]', {"value": [1, "é"]}),
        (Plot(1), '{"row": 1, "crop": "kale"}', {"row": 1, "crop": "kale"}),
        ({"t": float("nan")}, '{"t": "NaN"}', {"t": "NaN"}),
        ("a\ud800b", "a?b", {}),
        (ToolResult(ok=True, text="t", data={"d": date(2031, 1, 2)}), "t", {"d": "2031-01-02"}),
    ],
)
def test_every_kind_of_answer_becomes_text_and_data(answer: Any, text: str, data: dict[str, Any]) -> None:
    result = answering(answer).call({}, CONTEXT)
    assert (result.ok, result.error, result.text, result.data) == (True, None, text, data)
    json.dumps(dataclasses.asdict(result), allow_nan=False)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even its message can be had")


@pytest.mark.parametrize(
    "trouble",
    [ZeroDivisionError("by zero"), SystemExit(3), KeyboardInterrupt(), UnspeakableError(), ToolError("a", "b")],
)
@pytest.mark.parametrize("effect", [Effect.PURE, Effect.IDEMPOTENT, Effect.IRREVERSIBLE])
def test_a_crash_is_a_result_and_in_doubt_only_where_it_matters(trouble: BaseException, effect: Effect) -> None:
    result = answering(trouble, effect).call({}, CONTEXT)
    assert not result.ok
    assert result.error == "crash"
    assert type(trouble).__name__ in result.text
    assert result.data.get("in_doubt", False) is (effect is Effect.IRREVERSIBLE)


@pytest.mark.parametrize("answer", [object(), {"x": object()}, ToolResult(ok=True, text=3)])  # type: ignore[arg-type]
def test_an_answer_that_cannot_be_read_is_a_crash(answer: Any) -> None:
    result = answering(answer).call({}, CONTEXT)
    assert (result.ok, result.error) == (False, "crash")
    assert "cannot be read" in result.text


def test_an_answer_that_contains_itself_is_a_crash() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert answering(endless).call({}, CONTEXT).error == "crash"


@given(st.text(max_size=300), st.integers(min_value=1, max_value=200))
def test_huge_output_is_cut_to_the_limit_and_says_how_much_is_missing(answer: str, max_bytes: int) -> None:
    result = answering(answer, max_output_bytes=max_bytes).call({}, CONTEXT)
    whole_bytes = len(answer.encode("utf-8", errors="replace"))
    assert result.truncated_bytes == max(0, whole_bytes - max_bytes)
    result.text.encode("utf-8")
    if result.truncated_bytes:
        assert f"[… {result.truncated_bytes} bytes left out …]" in result.text
        assert len(result.text.encode()) <= max_bytes + 60


def test_huge_data_is_dropped_with_its_size() -> None:
    result = answering({"x": "y" * 5_000}, max_output_bytes=1_000).call({}, CONTEXT)
    assert result.data["dropped_bytes"] > 5_000


def test_a_timeout_is_in_doubt_and_the_caller_goes_on() -> None:
    released = threading.Event()

    @tool(effect=Effect.IRREVERSIBLE, timeout_s=0.05)
    def hang() -> None:
        released.wait(20)

    begun_s = time.monotonic()
    result = hang.call({}, CONTEXT)
    released.set()
    assert time.monotonic() - begun_s < 5
    assert (result.ok, result.error, result.data) == (False, "timeout", {"in_doubt": True})
    assert "may still be running" in result.text
    assert 0.05 <= result.wall_s < 5


def test_the_context_can_shorten_the_deadline_and_a_spent_one_means_no_call() -> None:
    called = []

    @tool(effect=Effect.IRREVERSIBLE, timeout_s=60)
    def wait(context: ToolContext) -> None:
        called.append(context.deadline_s)
        time.sleep(0.3)

    late = dataclasses.replace(CONTEXT, deadline_s=0.02)
    assert wait.call({}, late).error == "timeout"
    spent = wait.call({}, dataclasses.replace(CONTEXT, deadline_s=0.0))
    assert spent.error == "timeout"
    assert "in_doubt" not in spent.data, "the call was never made"
    assert called == [0.02]


def test_an_async_function_is_a_tool_too() -> None:
    async def later(x: int) -> str:
        return f"got {x}"

    assert tool(effect=Effect.PURE)(later).call({"x": 2}, CONTEXT).text == "got 2"


def test_a_refusal_keeps_its_kind() -> None:
    result = answering(failure("denied", "not today", rule=4), Effect.IRREVERSIBLE).call({}, CONTEXT)
    assert (result.ok, result.error, result.data) == (False, "denied", {"rule": 4})


def test_the_effect_may_depend_on_the_arguments() -> None:
    def effect_of(arguments: dict[str, Any]) -> Effect:
        return Effect.PURE if arguments["dry"] else Effect.IRREVERSIBLE

    @tool(effect=effect_of)
    def sow(dry: bool = True) -> str:
        raise OSError("no seeds")

    assert sow.effect_of(sow.validate({})) is Effect.PURE
    assert "in_doubt" not in sow.call({}, CONTEXT).data
    assert sow.call({"dry": False}, CONTEXT).data["in_doubt"] is True


@pytest.mark.parametrize("wrong", [lambda arguments: "pure", lambda arguments: arguments["nope"]])
def test_an_effect_function_that_gives_no_effect_is_an_error_before_any_call(wrong: Any) -> None:
    broken = dataclasses.replace(add, effect=wrong)
    with pytest.raises(ToolError, match="gave no Effect"):
        broken.effect_of({"a": 1, "b": 1.0})


def test_which_effects_may_be_repeated() -> None:
    assert [each for each in Effect if not each.repeatable] == [Effect.IRREVERSIBLE]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (False, "returned a bool"),
        (True, "returned a bool"),
        (OSError("line down"), "line down"),
        (failure("unavailable", "supplier is shut"), "supplier is shut"),
        (object(), "cannot be read"),
    ],
)
def test_a_probe_that_does_not_know_says_so(answer: Any, says: str) -> None:
    def probe(context: ToolContext) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    @tool(effect=Effect.IRREVERSIBLE, probe=probe)
    def send(text: str, context: ToolContext) -> str:
        return text

    with pytest.raises(ToolError, match="cannot tell") as raised:
        send.probe_result({"text": "x"}, CONTEXT)
    assert says in str(raised.value)


def test_a_probe_finds_the_effect_by_its_key() -> None:
    sent = {"k7": "hello"}

    def probe(text: str, context: ToolContext) -> str | None:
        return sent.get(context.idempotency_key)

    @tool(effect=Effect.IRREVERSIBLE, probe=probe)
    def send(text: str, urgent: bool, context: ToolContext) -> str:
        return text

    found = send.probe_result({"text": "hello", "urgent": True}, CONTEXT)
    assert found is not None
    assert found.text == "hello"
    other = dataclasses.replace(CONTEXT, idempotency_key="k8")
    assert send.probe_result({"text": "hello", "urgent": True}, other) is None


def test_a_slow_or_missing_probe_cannot_tell() -> None:
    def probe() -> None:
        time.sleep(0.3)

    slow = answering("x", Effect.IRREVERSIBLE, probe=probe, timeout_s=0.02)
    for each in (slow, answering("x", Effect.IRREVERSIBLE)):
        with pytest.raises(ToolError, match="cannot tell"):
            each.probe_result({}, CONTEXT)


def test_a_probe_with_foreign_parameters_is_refused_when_declared() -> None:
    def probe(order: int) -> None: ...

    with pytest.raises(ToolError, match="order"):
        answering("x", probe=probe)


def test_the_toolbox_is_ordered_and_knows_near_names() -> None:
    box = Toolbox([inspect, add])
    assert [each.name for each in box] == ["inspect", "add"]
    assert len(box) == 2
    assert "add" in box
    assert "sub" not in box
    assert box.get("add") is add
    with pytest.raises(ToolError, match="inspect") as raised:
        box.get("inspct")
    assert "'add'" not in str(raised.value)
    with pytest.raises(ToolError, match="choose from: inspect, add"):
        box.get("zzz")
    unknown = box.call("ad", "{}", CONTEXT)
    assert (unknown.ok, unknown.error) == (False, "unknown")
    assert "'add'" in unknown.text
    assert box.call("add", '{"a": 1}', CONTEXT).text == "2.0"


def named(name: str) -> Tool:
    return dataclasses.replace(add, name=name)


def test_dotted_names_travel_without_dots_and_never_collide() -> None:
    box = Toolbox([named("git.log")])
    assert box.schemas()[0]["function"]["name"] == "git__log"
    assert box.get("git.log") is box.get("git__log")
    with pytest.raises(ToolError, match="two tools"):
        Toolbox([named("git.log"), named("git__log")])


def test_schemas_have_the_shape_model_apis_expect() -> None:
    assert Toolbox([add]).schemas() == [
        {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": add.parameters}}
    ]


def test_the_fingerprint_changes_with_name_schema_and_effect_only() -> None:
    base = Toolbox([add]).fingerprint()
    assert base == Toolbox([dataclasses.replace(add, timeout_s=1.0)]).fingerprint()
    changed = [
        named("plus"),
        dataclasses.replace(add, effect=Effect.IDEMPOTENT),
        dataclasses.replace(add, signature=SchemaSignature(parameters={"type": "object"})),
    ]
    assert len({base, *(Toolbox([each]).fingerprint() for each in changed)}) == 4


def test_closing_the_toolbox_closes_each_owner_once() -> None:
    closed = []

    class Server:
        def close(self) -> None:
            closed.append(self)

    first, second = Server(), Server()
    tools = [
        dataclasses.replace(add, name=f"t{n}", owner=owner) for n, owner in enumerate([first, first, second, None])
    ]
    with Toolbox(tools):
        pass
    assert closed == [first, second]


def test_a_tool_made_from_a_schema_gets_the_whole_object() -> None:
    schema = {"type": "object", "properties": {"context": {}}, "required": ["context"], "additionalProperties": False}

    def remote(arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        return {"got": arguments, "entry": context.entry}

    signature = SchemaSignature(parameters=schema)
    far = Tool(name="far", description="", signature=signature, effect=Effect.PURE, function=remote)
    assert far.call({"context": [1]}, CONTEXT).data == {"got": {"context": [1]}, "entry": 7}
    assert far.call({"other": 1}, CONTEXT).error == "arguments"
    assert far.call({"context": float("inf")}, CONTEXT).error == "arguments"
