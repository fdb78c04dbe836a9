"""Schemas, regular expressions and grammars as constraints: against brute force, by random walks, and in batches."""

from __future__ import annotations

import itertools
import json
import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the engine needs overwinter[local]")
pytest.importorskip("llguidance", reason="grammars need overwinter[local]")
jsonschema = pytest.importorskip("jsonschema")

from engine_kit import decoder_of, shape  # noqa: E402
from grammar_kit import END, allowed_by, allowed_in, byte_level, plain_vocabulary, sentence_piece, walk  # noqa: E402

from overwinter.engine import Config, Engine, Request, SamplingParams  # noqa: E402
from overwinter.engine.constraint import Constraint, choices_constraint, rebuild  # noqa: E402
from overwinter.engine.grammar import GrammarConstraint  # noqa: E402
from overwinter.engine.vocabulary import Vocabulary  # noqa: E402
from overwinter.errors import ModelError, UsageError  # noqa: E402
from overwinter.model.text import TextFormat  # noqa: E402

torch.set_num_threads(1)
BYTES = Vocabulary.of(byte_level(), end_ids=[END], vocab_size=351)
PIECES = Vocabulary.of(sentence_piece(), end_ids=[2])


# --- the mask against brute force: a finite set of documents ----------------------------------------------------------

SCALARS = st.sampled_from([True, False, None, 0, 7, 10, "", "a", "an", "b", "na", "雪", "é"])


@st.composite
def finite_schemas(draw: st.DrawFn, depth: int = 2) -> tuple[dict[str, Any], list[str]]:
    """A schema that only few documents satisfy, and these as compact JSON text."""
    kind = draw(st.sampled_from(["enum", "const", "type", "object", "array", "anyOf"] if depth else ["enum", "type"]))
    if kind == "enum":
        values = draw(st.lists(SCALARS, min_size=1, max_size=4))
        return {"enum": values}, [text_of(value) for value in values]
    if kind == "const":
        value = draw(st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2))
        return {"const": value}, [text_of(value)]
    if kind == "type":
        return {"type": ["boolean", "null"]}, ["true", "false", "null"]
    parts = draw(st.lists(finite_schemas(depth=depth - 1), min_size=1, max_size=2))
    if kind == "anyOf":
        return {"anyOf": [schema for schema, _ in parts]}, [text for _, texts in parts for text in texts]
    if kind == "array":
        least = draw(st.integers(0, 1))
        texts = ["[" + ",".join(row) + "]" for n in range(least, 3) for row in itertools.product(parts[0][1], repeat=n)]
        return {"type": "array", "items": parts[0][0], "minItems": least, "maxItems": 2}, texts
    names = ["a", "na"][: len(parts)]
    required = [name for name in names if draw(st.booleans())]
    members = [
        [f'"{name}":{text}' for text in texts] + [""] * (name not in required)
        for name, (_, texts) in zip(names, parts, strict=True)
    ]
    schema = {"type": "object", "properties": dict(zip(names, (part for part, _ in parts), strict=True))}
    schema |= {"required": required, "additionalProperties": False}
    return schema, ["{" + ",".join(filter(None, row)) + "}" for row in itertools.product(*members)]


def text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(finite_schemas(), st.data())
@settings(max_examples=60)
def test_the_mask_of_a_schema_is_what_a_list_of_its_documents_says(found: Any, data: st.DataObject) -> None:
    schema, texts = found
    documents = {text.encode() for text in texts}
    pieces = sorted({text[at : at + size] for text in texts for size in (1, 2, 3, 5) for at in range(len(text))})
    pieces = [piece for piece in pieces if len(piece) == 1 or data.draw(st.booleans())] + ["zz", "雪雪"]
    vocabulary = plain_vocabulary(pieces)
    constraint = GrammarConstraint.from_json_schema(schema, vocabulary, compact=True)
    state, written = constraint.start(), b""
    while True:
        allowed = allowed_by(constraint, state)
        open_documents = {document[len(written) :] for document in documents if document.startswith(written)}
        fits = [
            token
            for token, entry in enumerate(vocabulary.token_bytes)
            if token != END and any(rest.startswith(entry) for rest in open_documents)
        ]
        expected = [END] * (b"" in open_documents) + fits
        if allowed != expected:  # one text only goes on from here: one token of it, the tokenizer's own, is enough
            assert len(allowed) == 1
            assert allowed[0] in fits
            assert all(rest.startswith(vocabulary.token_bytes[allowed[0]]) for rest in open_documents)
        assert constraint.is_complete(state) == (expected == [END])
        token = data.draw(st.sampled_from(allowed))
        if token == END:
            assert written in documents
            return
        written += vocabulary.token_bytes[token]
        state = constraint.advance(state, token)


# --- the mask against brute force: derivatives of regular expressions -------------------------------------------------

EMPTY: tuple[Any, ...] = ("none",)
NOTHING: tuple[Any, ...] = ("nothing",)
"""The expressions that match no text, and the empty text only."""


def either(left: Any, right: Any) -> Any:
    return right if left == EMPTY else left if right in (EMPTY, left) else ("either", left, right)


def then(left: Any, right: Any) -> Any:
    if EMPTY in (left, right):
        return EMPTY
    return right if left == NOTHING else left if right == NOTHING else ("then", left, right)


def may_be_nothing(node: Any) -> bool:
    match node:
        case ("nothing",) | ("many", _):
            return True
        case ("either", left, right):
            return may_be_nothing(left) or may_be_nothing(right)
        case ("then", left, right):
            return may_be_nothing(left) and may_be_nothing(right)
    return False


def after(node: Any, byte: int) -> Any:
    """What may follow the byte (Brzozowski's derivative)."""
    match node:
        case ("byte", own):
            return NOTHING if own == byte else EMPTY
        case ("either", left, right):
            return either(after(left, byte), after(right, byte))
        case ("then", left, right):
            skipped = after(right, byte) if may_be_nothing(left) else EMPTY
            return either(then(after(left, byte), right), skipped)
        case ("many", inner):
            return then(after(inner, byte), node)
    return EMPTY


def after_all(node: Any, text: bytes) -> Any:
    for byte in text:
        node = after(node, byte)
    return node


def literal(character: str) -> tuple[str, Any]:
    node: Any = NOTHING
    for byte in character.encode():
        node = then(node, ("byte", byte))
    return character, node


LETTERS = st.sampled_from("abé雪").map(literal)
PATTERNS = st.recursive(
    LETTERS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: (f"({two[0][0]}|{two[1][0]})", either(two[0][1], two[1][1]))),
        st.tuples(inner, inner).map(lambda two: (two[0][0] + two[1][0], then(two[0][1], two[1][1]))),
        inner.map(lambda one: (f"({one[0]})*", ("many", one[1]))),
        inner.map(lambda one: (f"({one[0]})?", either(one[1], NOTHING))),
        inner.map(lambda one: (f"({one[0]}){{2}}", then(one[1], one[1]))),
    ),
    max_leaves=5,
)
ENTRIES = [b"<end>", b"a", b"b", b"ab", b"ba", b"aab", *(bytes([byte]) for byte in "é雪".encode()), "é".encode()]
ENTRIES += ["雪".encode(), "a雪".encode(), "雪".encode()[:2], b"", b"a"]  # and one text that two tokens write
CUT = Vocabulary(ENTRIES, end_ids=[END], encode=lambda _text: [])


@given(PATTERNS, st.data())
@settings(max_examples=80)
def test_the_mask_of_a_regular_expression_is_what_its_derivatives_say(pattern: Any, data: st.DataObject) -> None:
    text, node = pattern
    constraint = GrammarConstraint.from_regex(text, CUT)
    state = constraint.start()
    for _ in range(12):
        allowed = allowed_by(constraint, state)
        fits = [t for t, entry in enumerate(ENTRIES) if t != END and entry and after_all(node, entry) != EMPTY]
        expected = [END] * may_be_nothing(node) + fits
        if allowed != expected:
            assert len(allowed) == 1
            first = ENTRIES[allowed[0]]
            assert END not in expected
            assert all(ENTRIES[token].startswith(first) or first.startswith(ENTRIES[token]) for token in fits)
        for token in fits:  # the mask may ask for one spelling of a text that is certain; the others are not wrong
            constraint.advance(constraint.fork(state), token)
        refused = sorted({*range(1, len(ENTRIES))} - {*fits})
        for token in refused:
            with pytest.raises(ModelError):
                constraint.advance(constraint.fork(state), token)
        assert constraint.is_complete(state) == (expected == [END])
        token = data.draw(st.sampled_from(allowed))
        state = constraint.advance(state, token)
        if token == END:
            assert allowed_by(constraint, state) == [END]
            return
        node = after_all(node, ENTRIES[token])


# --- documents --------------------------------------------------------------------------------------------------------

WALKED: dict[str, Any] = {
    "anything": {},
    "any object": {"type": "object"},
    "nested": {
        "type": "object",
        "properties": {
            "who": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}, "required": ["name"]},
            "n": {"type": "array", "items": {"type": "integer", "minimum": -3, "maximum": 12}, "minItems": 1, "maxItems": 3},
        },
        "required": ["who", "n"],
        "additionalProperties": {"type": "boolean"},
    },
    "tree": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": ["value"],
                "additionalProperties": False,
            }
        },
    },
    "numbers": {"type": "array", "items": {"type": "number", "minimum": 0.5, "exclusiveMaximum": 20}, "maxItems": 4},
    "pattern": {"type": "string", "pattern": "^[A-Za-zé]{1,3}-[0-9]{2}$"},
    "branches": {"anyOf": [{"const": {"kind": 1, "雪": [None]}}, {"enum": ["grün", 3]}, {"type": "string", "format": "uuid"}]},
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"minimum": 3, "type": "integer"}}, "required": ["b"]},
        ]
    },
    "tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": False, "minItems": 2},
}  # fmt: skip


@pytest.mark.parametrize("vocabulary", [BYTES, PIECES], ids=["byte-level", "sentence-piece"])
@pytest.mark.parametrize("name", WALKED)
def test_whatever_is_written_under_the_mask_is_valid(name: str, vocabulary: Vocabulary) -> None:
    constraint = GrammarConstraint.from_json_schema(WALKED[name], vocabulary)
    rng, ended = random.Random(name), 0
    for _ in range(8):
        ids = walk(constraint, rng)
        if ids is not None:
            ended += 1
            jsonschema.validate(json.loads(vocabulary.text_of(ids)), WALKED[name], jsonschema.Draft202012Validator)
    assert ended


def schema_at_random(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    """Keywords that are honoured, put together without regard to sense."""

    def inner() -> dict[str, Any]:
        return schema_at_random(rng, depth - 1)

    def some(**keywords: Any) -> dict[str, Any]:
        chosen = [(key, value) for key, value in keywords.items() if rng.random() < 0.4]
        rng.shuffle(chosen)
        return {key: value() for key, value in chosen}

    kind = rng.choice(
        ["any", "number", "string", "enum", "type", "ref"] + ["object", "array", "mix", "mix", "mix"] * (depth > 0)
    )
    if kind == "number":
        bounds = {key: lambda: rng.choice([-3, 0, 1, 2.5, 7]) for key in ("minimum", "maximum", "exclusiveMaximum")}
        return {"type": rng.choice(["integer", "number"]), **some(**bounds, multipleOf=lambda: rng.choice([2, 0.5]))}
    if kind == "string":
        lengths = {"minLength": lambda: rng.randrange(3), "maxLength": lambda: rng.randrange(2, 5)}
        return {"type": "string", **some(**lengths, pattern=lambda: rng.choice(["^a*b$", "a", "^(a|b)+$"]))}
    if kind == "enum":
        return {"enum": rng.sample([True, None, 0, 1, 3.5, "a", "ab", [1], {"a": 1}], 2)}
    if kind == "type":
        return {"type": rng.sample(["null", "boolean", "integer", "string", "array", "object"], 2)}
    if kind == "ref":
        return {"$ref": f"#/$defs/{rng.choice('xy')}"}
    if kind == "object":
        return some(
            type=lambda: "object",
            properties=lambda: {name: inner() for name in rng.sample("abcn", 2)},
            required=lambda: rng.sample("abcz", rng.randrange(3)),
            additionalProperties=lambda: rng.choice([False, inner()]),
            patternProperties=lambda: {rng.choice(["^x", "^y$"]): inner()},
            minProperties=lambda: rng.randrange(3),
            maxProperties=lambda: rng.randrange(1, 4),
        )
    if kind == "array":
        return some(
            type=lambda: "array",
            prefixItems=lambda: [inner()],
            items=lambda: rng.choice([False, inner()]),
            minItems=lambda: rng.randrange(3),
            maxItems=lambda: rng.randrange(1, 4),
        )
    if kind == "mix":
        branches = {key: lambda: [inner(), inner()] for key in ("anyOf", "allOf", "oneOf")}
        return {**(inner() if rng.random() < 0.4 else {}), **some(**branches)}
    return {}


@given(st.integers(0, 2**32))
@settings(max_examples=40)
def test_a_schema_at_random_is_kept_to_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    schema = {**schema_at_random(rng), "$defs": {"x": schema_at_random(rng, 1), "y": {"type": "integer"}}}
    try:
        constraint = GrammarConstraint.from_json_schema(schema, BYTES)
        written = [ids for ids in (walk(constraint, rng, most=80) for _ in range(3)) if ids is not None]
    except UsageError:
        return
    for ids in written:
        jsonschema.validate(json.loads(BYTES.text_of(ids)), schema, jsonschema.Draft202012Validator)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
ANYTHING = {vocabulary: GrammarConstraint.from_json_schema({}, vocabulary) for vocabulary in (BYTES, PIECES)}


@given(JSON_VALUES, st.sampled_from([None, 2]), st.sampled_from([BYTES, PIECES]))
@settings(max_examples=60)
def test_any_document_is_accepted_token_by_token(value: Any, indent: int | None, vocabulary: Vocabulary) -> None:
    constraint = ANYTHING[vocabulary]
    text = json.dumps(value, ensure_ascii=False, indent=indent).replace("\x7f", "")
    state = rebuild(constraint, vocabulary.spell(text))
    assert vocabulary.end_ids[0] in allowed_by(constraint, state)
    assert constraint.is_complete(constraint.advance(state, vocabulary.end_ids[0]))


def test_space_between_the_parts_is_bounded_and_can_be_forbidden() -> None:
    loose = GrammarConstraint.from_json_schema({"type": "array"}, BYTES)
    tight = GrammarConstraint.from_json_schema({"type": "array"}, BYTES, compact=True)
    for text, fits_loose, fits_tight in [
        ("[1,2]", True, True),
        ("[1, 2]", True, False),
        ("[\n  1,\n  2\n]", True, False),
        ("[1,  2]", False, False),
        (" [1]", False, False),
        ("[1]\n", False, False),
        ("[\n" + " " * 41 + "1]", False, False),
    ]:
        for constraint, fits in ((loose, fits_loose), (tight, fits_tight)):
            assert _fits(constraint, text) == fits, text


def _fits(constraint: GrammarConstraint, text: str) -> bool:
    try:
        state = rebuild(constraint, BYTES.spell(text))
    except ModelError:
        return False
    return END in allowed_by(constraint, state)


def test_json_object_takes_objects_alone() -> None:
    constraint = GrammarConstraint.json_object(BYTES)
    assert _fits(constraint, '{"a": [1, {"b": null}]}')
    assert not _fits(constraint, "[1]")
    assert not _fits(GrammarConstraint.json_object(BYTES, compact=True), '{"a": 1}')


def test_text_around_a_document() -> None:
    constraint = GrammarConstraint.from_json_schema({"enum": [1, "ü"]}, BYTES, around=('<a "b">\n', "\n</a>"))
    assert _fits(constraint, '<a "b">\n"ü"\n</a>')
    assert not _fits(constraint, "1\n</a>")
    with pytest.raises(UsageError, match="at /items of the schema"):
        GrammarConstraint.from_json_schema({"items": {"type": "int"}}, BYTES, around=("x", ""))


# --- grammars ---------------------------------------------------------------------------------------------------------

SUMS = """
start: sum
sum: product (("+" | "-") product)*
product: atom ("*" atom)*
atom: NUMBER | "(" sum ")"
NUMBER: /[1-9][0-9]?/
"""


def test_what_a_grammar_writes_can_be_computed() -> None:
    constraint, rng = GrammarConstraint.from_grammar(SUMS, BYTES), random.Random(3)
    assert _fits(constraint, "(1+2)*3-4")
    assert not _fits(constraint, "(1+2")
    written = [ids for ids in (walk(constraint, rng, 60) for _ in range(30)) if ids is not None]
    assert len(written) > 3
    for ids in written:
        assert isinstance(eval(BYTES.text_of(ids), {"__builtins__": {}}), int)


def test_a_grammar_can_name_special_tokens_and_hold_schemas() -> None:
    constraint = GrammarConstraint.from_grammar('start: "a" <|other|> number\nnumber: %json {"type": "integer"}', BYTES)
    state = constraint.start()
    for token in [BYTES.spell("a")[0], 1, BYTES.spell("7")[0]]:
        assert token in allowed_by(constraint, state)
        state = constraint.advance(state, token)
    assert END in allowed_by(constraint, state)


def test_a_grammar_that_grows_without_bound_fails_alone() -> None:
    constraint = GrammarConstraint.from_grammar('start: s\ns: s s s | s s | "a"', BYTES)
    state, sound, a = constraint.start(), ANYTHING[BYTES].start(), BYTES.spell("a")[0]
    for _ in range(200):
        logits_RV = torch.zeros(2, BYTES.vocab_size)
        constraint.constrain_(logits_RV, [state, sound])
        assert allowed_in(logits_RV[1])
        if not allowed_in(logits_RV[0]):
            break
        state = constraint.advance(state, a)
    assert not allowed_in(logits_RV[0])
    assert "items" in constraint.problem(state)
    assert constraint.problem(sound) == ""
    assert not constraint.is_complete(state)
    assert constraint.allowed(state) == []
    with pytest.raises(ModelError, match="nothing may follow"):
        constraint.advance(state, END)


# --- batches and states -----------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 6))
@settings(max_examples=15)
def test_rows_of_different_grammars_do_not_see_each_other(seed: int, rows: int) -> None:
    rng = random.Random(seed)
    constraints = [rng.choice(MIXED) for _ in range(rows)]
    states = []
    for constraint in constraints:
        state = constraint.start()
        for _ in range(rng.randrange(12)):
            token = rng.choice(constraint.allowed(state))
            state = constraint.advance(state, token)
        states.append(state)
    logits_RV = torch.randn(rows, BYTES.vocab_size + 9)
    before_RV = logits_RV.clone()
    constraints[0].constrain_(logits_RV, states)
    elsewhere_RV = before_RV.bfloat16()  # a number format that numpy does not know
    constraints[0].constrain_(elsewhere_RV, states)
    assert (elsewhere_RV > float("-inf")).equal(logits_RV > float("-inf"))
    for row, (constraint, state) in enumerate(zip(constraints, states, strict=True)):
        allowed = constraint.allowed(state)
        assert allowed == allowed_in(logits_RV[row]) == allowed_by(constraint, state, BYTES.vocab_size + 9)
        assert logits_RV[row, allowed].equal(before_RV[row, allowed])


MIXED = [
    ANYTHING[BYTES],
    GrammarConstraint.from_grammar(SUMS, BYTES),
    GrammarConstraint.from_regex("[a-cé]{2,9}", BYTES),
    GrammarConstraint.from_json_schema(WALKED["nested"], BYTES),
]


@pytest.mark.parametrize("number", range(len(MIXED)))
def test_a_state_is_rebuilt_from_output_ids(number: int) -> None:
    constraint = MIXED[number]

    def compare(live: Any, ids: list[int]) -> None:
        again = rebuild(constraint, ids)
        assert constraint.allowed(again) == constraint.allowed(live)
        assert constraint.is_complete(again) == constraint.is_complete(live)

    for seed in range(3):
        walk(constraint, random.Random(seed), most=25, look=compare)


def test_a_fork_goes_its_own_way() -> None:
    constraint = GrammarConstraint.from_json_schema({"enum": ["an", "at", 5]}, BYTES)
    state = constraint.advance(constraint.start(), BYTES.spell('"')[0])
    fork = constraint.fork(state)
    a, t, quote = (BYTES.spell(mark)[0] for mark in 'at"')
    constraint.advance(constraint.advance(constraint.advance(fork, a), t), quote)
    assert constraint.is_complete(fork)
    assert not constraint.is_complete(state)
    assert a in allowed_by(constraint, state)


def test_when_nothing_but_the_end_may_follow() -> None:
    constraint = GrammarConstraint.from_json_schema({"type": ["boolean", "integer"]}, BYTES)
    for text, complete, may_end in [("tru", False, False), ("true", True, True), ("1", False, True)]:
        state = rebuild(constraint, BYTES.spell(text))
        assert constraint.is_complete(state) == complete, text
        assert (END in allowed_by(constraint, state)) == may_end, text
        assert (allowed_by(constraint, state) == [END]) == complete, text
    ended = constraint.advance(state, END)
    assert constraint.is_complete(ended)
    assert constraint.advance(ended, END) is ended
    with pytest.raises(ModelError, match="token 65 may not follow here: allowed are 0"):
        constraint.advance(ended, 65)


def test_what_may_not_follow_is_refused_and_changes_nothing() -> None:
    constraint = GrammarConstraint.from_regex("[ab]c", BYTES)
    state, (a, c) = constraint.start(), (BYTES.spell(letter)[0] for letter in "ac")
    for wrong in [c, END, 1, -1, BYTES.vocab_size - 1, BYTES.vocab_size, 10**9]:
        with pytest.raises(ModelError, match=f"token {wrong} may not follow here: allowed are {a}"):
            constraint.advance(state, wrong)
    state = constraint.advance(state, a)
    assert allowed_by(constraint, state) == [c]


def test_several_end_tokens_all_end() -> None:
    vocabulary = Vocabulary.of(byte_level(), end_ids=[0, 1])
    constraint = GrammarConstraint.from_regex("a+", vocabulary)
    a = vocabulary.spell("a")[0]
    assert set(allowed_by(constraint, rebuild(constraint, [a]))) >= {0, 1, a}
    for end in (0, 1):
        assert constraint.is_complete(rebuild(constraint, [a, end]))


def test_sequences_of_one_constraint_in_several_threads() -> None:
    constraint = GrammarConstraint.from_json_schema(WALKED["nested"], BYTES)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: walk(constraint, random.Random(seed)), range(8)))
    assert together == [walk(constraint, random.Random(seed)) for seed in range(8)]


def test_logits_that_do_not_fit_are_refused() -> None:
    constraint = ANYTHING[BYTES]
    for size in [(1, BYTES.vocab_size - 1), (2, BYTES.vocab_size), (BYTES.vocab_size,)]:
        with pytest.raises(UsageError, match="1 states and 351 tokens"):
            constraint.constrain_(torch.zeros(size), [constraint.start()])
    constraint.constrain_(torch.zeros(0, BYTES.vocab_size), [])
    assert isinstance(constraint, Constraint)


# --- in the engine ----------------------------------------------------------------------------------------------------


def test_an_engine_writes_what_its_requests_demand_and_one_that_fails_fails_alone() -> None:
    tokenizer = byte_level()
    engine = Engine(decoder_of(shape(vocab_size=360)), TextFormat(tokenizer, end_ids=[END]), Config(max_running=8))
    vocabulary = Vocabulary.of(tokenizer, end_ids=engine.end_ids, vocab_size=engine.vocab_size)
    record = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}, "ok": {"type": "boolean"}}}
    record |= {"required": ["n", "ok"], "additionalProperties": False}
    constraints = [
        GrammarConstraint.from_json_schema(record, vocabulary, compact=True),
        GrammarConstraint.from_regex("(ab|雪){3}", vocabulary),
        choices_constraint(["heat up", "wait"], tokenizer, END),
        GrammarConstraint.from_grammar('start: s\ns: s s s s | s s s | s s | "a"', vocabulary),
        None,
    ]
    sampling = [SamplingParams(seed=seed, banned_ids=(END,) * (seed == 3)) for seed in range(5)]
    ids = tuple(tokenizer.encode("What now?").ids)
    asked = [
        Request(prompt_ids=ids, max_tokens=90, sampling=params, constraint=constraint)
        for params, constraint in zip(sampling, constraints, strict=True)
    ]
    filled, pattern, chosen, outgrown, free = engine.run(asked)
    assert filled.finish == pattern.finish == chosen.finish == "stop"
    jsonschema.validate(json.loads(filled.text), record)
    assert re.fullmatch("(ab|雪){3}", pattern.text)
    assert chosen.text in {"heat up", "wait"}
    assert outgrown.finish == "fault"
    assert set(outgrown.text) == {"a"}
    assert free.finish in {"stop", "length"}


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object", "properties": {"a": {"type": "int"}}}, "at /properties/a of the schema: Invalid type: int"),
        (
            {"properties": {"a/b": {"items": {"not": {}}}}},
            "at /properties/a~1b/items of the schema stands the keyword 'not'",
        ),
        ({"properties": {"not": {"minimun": 3}}}, "at /properties/not of the schema stands the keyword 'minimun'"),
        ({"type": "array", "uniqueItems": True}, "keyword 'uniqueItems', which would not be enforced"),
        ({"nullable": True}, r'write "type": \["string", "null"\]'),
        ({"x-guidance": {"lenient": True}}, "keyword 'x-guidance'"),
        ({"prefixItems": [{}], "additionalItems": False}, "'additionalItems' without a list of items"),
        (
            {"properties": {"x": {"$ref": "#/$defs/q"}}},
            "at /properties/x of the schema: Pointer '/.defs/q' does not exist",
        ),
        (
            {"anyOf": [{"$ref": "#/$defs/a%20b"}], "$defs": {"a b": {"items": {"enum": 3}}}},
            "at /.defs/a b/items of the schema",
        ),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "string", "format": "colour"}, "Unknown format: colour"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "make the branches exclude each other"),
        ({"type": "integer", "minimum": 5, "maximum": 2}, "minimum .5. is greater than maximum .2."),
        ({"properties": []}, r"at /properties of the schema stands \[\]"),
        ({"anyOf": [{}, 3]}, "at /anyOf/1 of the schema stands 3"),
        (False, "the schema cannot be enforced at the top of the schema"),
        ("string", 'at the top of the schema stands "string"'),
        ({"enum": {1, 2}}, "the schema is no JSON"),
        ({"maximum": float("nan")}, "the schema is no JSON"),
    ],
)
def test_a_schema_that_would_not_be_enforced_is_refused_with_the_place(schema: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GrammarConstraint.from_json_schema(schema, BYTES)


def test_a_schema_too_deep_is_refused() -> None:
    schema: Any = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(UsageError, match="the schema"):
        GrammarConstraint.from_json_schema(schema, BYTES)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("ab[c", "at character 3: unclosed character class"),
        ("x(?=b)", "at character 2: look-around"),
        (r"(a)\1", "at character 4: backreferences"),
    ],
)
def test_a_regular_expression_that_is_wrong_is_refused_with_the_place(pattern: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GrammarConstraint.from_regex(pattern, BYTES)


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ("start: foo", r'at 1\(8\): unknown name: "foo"'),
        ('start: "a"\n  | bar', r"2\(5\)|unknown name"),
        ('rule: "a"', "no start rule"),
        ("start: <|nope|>", "unknown special token"),
        ("start: a\na[temperature=0.5]: /x/", "line 2 of the grammar sets a temperature"),
        ('start: %json {"type": "int"}', "Invalid type: int"),
    ],
)
def test_a_grammar_that_is_wrong_is_refused_with_the_place(grammar: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GrammarConstraint.from_grammar(grammar, BYTES)


def test_what_no_token_can_write_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        GrammarConstraint.from_regex("[xy]", plain_vocabulary(["a", "b"]))
