"""The text side of a model folder: chat templates as transformers renders them, special ids, token bytes, clear errors."""

from __future__ import annotations

import json
import re
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit import shared_weights
from test_llama2c import small_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from overwinter.errors import UsageError
from overwinter.model import TextFormat, load_tokenizer
from overwinter.model.template import ChatTemplate

SPECIALS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def byte_level(bos: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["the system and the user and the assistant, im Winter wird es kühl"] * 3, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def metaspace() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    specials = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(["the winter and the user"] * 3, trainer)
    vocabulary = json.loads(tokenizer.to_str())
    # The bytes are ordinary pieces, only the unknown piece is special.
    vocabulary["added_tokens"] = vocabulary["added_tokens"][:1]
    return Tokenizer.from_str(json.dumps(vocabulary))


CHATML = """
{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
{{- '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}
    {%- endif %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
LLAMA2 = """
{%- if messages[0]['role'] == 'system' %}
    {%- set rest = messages[1:] %}{%- set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}
{%- else %}
    {%- set rest = messages %}{%- set system = '' %}
{%- endif %}
{%- for message in rest %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('user and assistant must take turns') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {{- bos_token + '[INST] ' + (system if loop.first else '') + message['content'] | trim + ' [/INST]' }}
    {%- else %}
        {{- ' ' + message['content'] | trim + ' ' + eos_token }}
    {%- endif %}
{%- endfor %}"""
QWEN = """
{%- set state = namespace(answered=false) %}
{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}
        {{- "\\n" }}{{- tool | tojson }}
    {%- endfor %}
    {{- '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{% endif %}
        {%- continue %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- set state.answered = true %}
        {%- generation %}{{ message.content }}
        {%- for call in message.tool_calls or [] %}
            {%- if call.function is defined %}{%- set call = call.function %}{% endif %}
            {{- '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}
            {{- call.arguments | tojson(indent=2) }}{{- '}\\n</tool_call>' }}
        {%- endfor %}{%- endgeneration %}
    {%- else %}
        {{- message.content }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}
{%- endif %}"""
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "heat",
            "description": 'Heat the <greenhouse> & "wait" — ä',
            "parameters": {"type": "object", "properties": {"hours": {"type": "integer"}}, "required": ["hours"]},
        },
    }
]
CHAT = [{"role": "user", "content": " Is it <cold> & dark, ä? "}]
LONG_CHAT = [
    {"role": "system", "content": "You keep plants alive."},
    *CHAT,
    {"role": "assistant", "content": "Yes, 'very'."},
    {"role": "user", "content": "Then heat."},
]
TOOL_CHAT = [
    *LONG_CHAT,
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "heat", "arguments": {"hours": 3, "why": "<frost>"}}}],
    },
    {"role": "tool", "content": '{"ok": true}'},
    {"role": "tool", "content": "3 °C"},
]
CASES: dict[str, tuple[str, list[dict[str, Any]], Any, dict[str, Any]]] = {
    "chatml": (CHATML, CHAT, None, {}),
    "chatml_long": (CHATML, LONG_CHAT, None, {}),
    "llama2": (LLAMA2, CHAT, None, {}),
    "llama2_long": (LLAMA2, LONG_CHAT, None, {}),
    "qwen": (QWEN, CHAT, None, {"enable_thinking": False}),
    "qwen_tools": (QWEN, TOOL_CHAT, TOOLS, {}),
}


@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_chats_render_as_in_transformers(case: str, added: bool) -> None:
    from transformers import PreTrainedTokenizerFast

    source, messages, tools, variables = CASES[case]
    theirs = PreTrainedTokenizerFast(
        tokenizer_object=byte_level(), bos_token="<s>", eos_token="</s>", chat_template=source
    )
    ours = TextFormat(
        byte_level(),
        special_tokens={"bos_token": "<s>", "eos_token": "</s>"},
        bos_id=0,
        adds_bos=True,
        template=ChatTemplate({"default": source}),
    )
    text = theirs.apply_chat_template(messages, tools, add_generation_prompt=added, tokenize=False, **variables)
    assert ours.render_chat(messages, tools, variables=variables, add_generation_prompt=added) == text
    ids = theirs.apply_chat_template(
        messages, tools, add_generation_prompt=added, tokenize=True, return_dict=False, **variables
    )
    assert ours.encode_chat(messages, tools, variables=variables, add_generation_prompt=added) == ids


def test_the_day_comes_from_the_clock() -> None:
    template = ChatTemplate({"default": "{{ strftime_now('%d %b %Y') }}"}, clock=lambda: datetime(2026, 1, 9))
    assert template.render([]) == "09 Jan 2026"


def test_templates_are_refused_with_the_place() -> None:
    with pytest.raises(UsageError, match="broken at line 2"):
        ChatTemplate({"default": "\n{% if %}"})
    with pytest.raises(UsageError, match="name one of them 'default'"):
        ChatTemplate({"rag": "x"})
    text = TextFormat(byte_level(), special_tokens={"bos_token": "<s>"}, template=ChatTemplate({"default": LLAMA2}))
    with pytest.raises(UsageError, match="refuses the messages: user and assistant must take turns"):
        text.encode_chat([CHAT[0], CHAT[0]])
    for source in ("{{ messages + 1 }}", "{{ messages[0].content + 1 }}", "{{ 1 / 0 }}", "{{ messages.x.y }}"):
        with pytest.raises(UsageError, match="chat template"):
            ChatTemplate({"default": source}).render(CHAT)
    with pytest.raises(UsageError, match="plain JSON"):
        text.encode_chat([{"role": "user", "content": object()}])


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__ }}",
        "{% set n = namespace() %}{% set n.__class__ = 1 %}",
        "{{ namespace(__init__=1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['os'] }}",
    ],
)
def test_templates_stay_in_their_sandbox(source: str) -> None:
    messages = [dict(CHAT[0])]
    try:
        shown = ChatTemplate({"default": source}).render(messages)
    except UsageError:
        shown = ""
    assert shown == "", "what the sandbox hides is undefined at most"
    assert messages == CHAT


def folder_of(path: Path, tokenizer: Tokenizer | None, files: dict[str, Any]) -> Path:
    path.mkdir()
    if tokenizer is not None:
        tokenizer.save(str(path / "tokenizer.json"))
    for name, content in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_special_ids_come_from_every_file(tmp_path: Path) -> None:
    files = {
        "config.json": {"vocab_size": 320, "bos_token_id": 3, "eos_token_id": 1},
        "generation_config.json": {"bos_token_id": 2, "eos_token_id": [3, 1]},
    }
    text = TextFormat.load(folder_of(tmp_path / "a", byte_level(), files))
    assert (text.bos_id, text.end_ids, text.adds_bos) == (2, {1, 3}, False)
    assert text.special_tokens == {"bos_token": "<|im_start|>"}
    files["tokenizer_config.json"] = {
        "bos_token": {"content": "<s>"},
        "eos_token": "<|im_end|>",
        "add_bos_token": True,
    }
    del files["generation_config.json"]
    text = TextFormat.load(folder_of(tmp_path / "b", byte_level(), files))
    assert (text.bos_id, text.end_ids, text.adds_bos) == (0, {1, 3}, True)
    assert text.encode("the")[0] == 0 != text.encode("the", add_special=False)[0]
    with_bos = folder_of(tmp_path / "c", byte_level(bos=True), {"config.json": {"bos_token_id": 0}})
    assert TextFormat.load(with_bos).adds_bos
    files["tokenizer_config.json"]["bos_token"] = "<begin>"
    with pytest.raises(UsageError, match="bos_token '<begin>' is not in the vocabulary"):
        TextFormat.load(folder_of(tmp_path / "d", byte_level(), files))
    bad = folder_of(tmp_path / "e", byte_level(), {"config.json": {"eos_token_id": "x"}})
    with pytest.raises(UsageError, match="eos_token_id is 'x'"):
        TextFormat.load(bad)


def test_templates_are_found_where_they_lie(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "with {{ tools | length }}"}]
    files: dict[str, Any] = {"tokenizer_config.json": {"chat_template": named}}
    text = TextFormat.load(folder_of(tmp_path / "named", byte_level(), files))
    assert (text.render_chat(CHAT), text.render_chat(CHAT, TOOLS)) == ("plain", "with 1")
    files["tokenizer_config.json"] = {"chat_template": "old"}
    text = TextFormat.load(folder_of(tmp_path / "one", byte_level(), files))
    assert text.render_chat(CHAT) == "old"
    files |= {"chat_template.jinja": "new", "additional_chat_templates/tool_use.jinja": "new with {{ tools | length }}"}
    text = TextFormat.load(folder_of(tmp_path / "files", byte_level(), files))
    assert (text.render_chat(CHAT), text.render_chat(CHAT, TOOLS)) == ("new", "new with 1")
    broken = {"tokenizer_config.json": {"chat_template": [{"name": "default"}]}}
    with pytest.raises(UsageError, match="chat_template in tokenizer_config"):
        TextFormat.load(folder_of(tmp_path / "broken", byte_level(), broken))


def test_a_model_without_template_writes_plain_lines_and_says_so_once() -> None:
    text = TextFormat(byte_level(), bos_id=0, adds_bos=True, name="stories")
    with pytest.warns(UserWarning, match="stories has no chat template"):
        shown = text.render_chat(TOOL_CHAT)
    assert shown.startswith("system: You keep plants alive.\nuser:  Is it <cold>")
    assert (
        '\nassistant: \n<tool_call>{"name": "heat", "arguments": {"hours": 3, "why": "<frost>"}}</tool_call>\n' in shown
    )
    assert shown.endswith('tool: {"ok": true}\ntool: 3 °C\nassistant:')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert text.render_chat([{"role": "user", "content": None}]) == "user: \nassistant:"
        assert '"description": "Heat the <greenhouse>' in text.render_chat(CHAT, TOOLS)
        assert text.encode_chat(CHAT)[0] == 0
    assert "\nuser:" in text.turn_stops
    assert TextFormat(byte_level(), template=ChatTemplate({"default": CHATML})).turn_stops == ()


TEXTS = st.one_of(st.text(max_size=30), st.text(alphabet="the user ä🐻\n", max_size=30))
FORMATS = {"byte_level": TextFormat(byte_level()), "metaspace": TextFormat(metaspace())}


@given(text=TEXTS.filter(lambda text: "<" not in text and "\u2581" not in text), kind=st.sampled_from(sorted(FORMATS)))
@settings(max_examples=200, deadline=None)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(text: str, kind: str) -> None:
    side = FORMATS[kind]
    joined = b"".join(side.token_bytes(token) for token in side.encode(text))
    assert joined.decode().removeprefix(" " if kind == "metaspace" and not text.startswith(" ") else "") == text


def test_tokens_have_bytes_and_a_text() -> None:
    side = FORMATS["byte_level"]
    snow = side.encode("ä🐻")
    assert b"".join(map(side.token_bytes, snow)) == "ä🐻".encode()
    assert "\ufffd" in "".join(map(side.token_text, snow))
    assert side.token_text(2) == "<|im_start|>"
    assert side.decode([2, *side.encode("the")]) == "the"
    with pytest.raises(UsageError, match="no id 999"):
        side.token_bytes(999)


def test_the_vocabulary_hash_tells_vocabularies_apart() -> None:
    assert TextFormat(byte_level()).vocabulary_hash == TextFormat(byte_level()).vocabulary_hash
    other = byte_level()
    other.add_special_tokens([AddedToken("<|tool|>", special=True)])
    assert len({TextFormat(each).vocabulary_hash for each in (byte_level(), metaspace(), other)}) == 3


def test_llama2c_files_lie_in_the_folder_or_beside_it(tmp_path: Path) -> None:
    file = small_file(tmp_path)
    count = int(file.stem[3:])
    folder = folder_of(
        tmp_path / "hf", None, {"config.json": {"vocab_size": count, "bos_token_id": 1, "eos_token_id": 2}}
    )
    text = TextFormat.load(folder)
    assert (text.bos_id, text.end_ids, text.adds_bos, text.vocab_size) == (1, {2}, True, count)
    ids = text.encode("in the bär")
    assert ids[0] == 1
    assert text.decode(ids) == "in the bär"
    assert b"".join(map(text.token_bytes, ids[1:])) == " in the bär".encode()
    file.rename(folder / file.name)
    assert TextFormat.load(folder).encode("in the bär") == ids
    (folder / file.name).unlink()
    with pytest.raises(UsageError, match=f"no tokenizer.json in .* no tok{count}.bin"):
        load_tokenizer(folder)


def test_the_stories_folder_has_its_text_side() -> None:
    weights = shared_weights("stories260K")
    if weights is None:
        pytest.skip("the shared weights are not here")
    text = TextFormat.load(weights / "hf")
    assert (text.bos_id, text.end_ids, text.adds_bos, text.vocab_size) == (1, {2}, True, 512)
    assert text.encode("Once upon a time") == [1, 403, 407, 261, 378]


def test_the_page_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "text.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/text.md", "exec", dont_inherit=True), {"__name__": "text_page"})
