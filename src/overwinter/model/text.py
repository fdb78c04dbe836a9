"""What a model folder says about text: its tokenizer, its special tokens, and how a chat is written for it.

    text = TextFormat.load("path/to/model")
    ids = text.encode_chat([{"role": "user", "content": "Is it cold?"}])

Files, each optional but the first: `tokenizer.json`, or llama2.c's `tokNNN.bin` in the folder or beside it where config.json
says `vocab_size` NNN; `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json`, `config.json`;
`chat_template.jinja` (goes before a template in tokenizer_config.json) and `additional_chat_templates/NAME.jinja`.

End tokens are all that any of the files names: an instruction model often has one for the turn and one for the text, and
stopping at either is right. A begin token is put before a text if tokenizer_config.json says `add_bos_token`, else if the
tokenizer itself does it; a chat template writes its own.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from overwinter.errors import UsageError
from overwinter.model.hub import find_folder, shown_name
from overwinter.model.llama2c import read_pieces, tokenizer_of
from overwinter.model.template import DEFAULT, PLAIN, PLAIN_STOPS, ChatTemplate, Message
from overwinter.model.weights import CONFIG, TOKENIZER, read_json

TOKENIZER_CONFIG, GENERATION_CONFIG, SPECIAL_TOKENS = (
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
)
TEMPLATE, MORE_TEMPLATES = "chat_template.jinja", "additional_chat_templates"
_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a model folder or hub name: tokenizer.json, or llama2.c's tokNNN.bin there or beside it.

    Raises:
        UsageError: there is neither, or the file cannot be read.
    """
    folder = find_folder(folder)
    path = folder / TOKENIZER
    if path.exists():
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise UsageError(f"{path} cannot be read: {error}", "copy or download the tokenizer again") from error
    count = _optional(folder / CONFIG).get("vocab_size")
    name = f"tok{count}.bin" if isinstance(count, int) else "tokNNN.bin"
    for place in (folder / name, folder.resolve().parent / name):
        if isinstance(count, int) and place.exists():
            return tokenizer_of(read_pieces(place, count))
    raise UsageError(
        f"there is no {TOKENIZER} in {folder}, and no {name} there or beside it", "put the model's tokenizer there"
    )


class TextFormat:
    """The text side of one model; immutable, safe to share between threads.

    Args:
        tokenizer: text to ids and back.
        special_tokens: by the names templates use: `bos_token`, `eos_token` …
        bos_id: the token before a text; None if there is none.
        end_ids: tokens that end a text or a turn.
        adds_bos: whether `encode` puts `bos_id` first.
        template: how a chat is written; default is `template.PLAIN`.
        name: the model's name, for messages.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        special_tokens: Mapping[str, str] | None = None,
        bos_id: int | None = None,
        end_ids: Iterable[int] = (),
        adds_bos: bool = False,
        template: ChatTemplate | None = None,
        name: str = "the model",
    ) -> None:
        self.tokenizer = tokenizer
        self.special_tokens = dict(special_tokens or {})
        self.bos_id = bos_id
        self.end_ids = frozenset(end_ids)
        self.adds_bos = adds_bos and bos_id is not None
        self.template = template or ChatTemplate({DEFAULT: PLAIN})
        self.name = name
        self._told = False

    @classmethod
    def load(cls, folder: str | Path) -> TextFormat:
        """Read a model folder, or a name on the hub.

        Raises:
            UsageError: the tokenizer is missing, or a file or template is broken.
        """
        folder = find_folder(folder)
        tokenizer = load_tokenizer(folder)
        configs = [_optional(folder / name) for name in (GENERATION_CONFIG, CONFIG)]
        tokens = _special_tokens(folder)
        bos_id = _bos_id(tokenizer, tokens, configs)
        if bos_id is not None:
            tokens.setdefault("bos_token", str(tokenizer.id_to_token(bos_id)))
        end_ids = _end_ids(tokenizer, tokens, configs)
        if len(end_ids) == 1:
            tokens.setdefault("eos_token", str(tokenizer.id_to_token(next(iter(end_ids)))))
        said = _optional(folder / TOKENIZER_CONFIG).get("add_bos_token")
        adds_bos = said if isinstance(said, bool) else bos_id is not None and bos_id in tokenizer.encode("").ids[:1]
        return cls(
            tokenizer,
            special_tokens=tokens,
            bos_id=bos_id,
            end_ids=end_ids,
            adds_bos=adds_bos,
            template=_template(folder),
            name=shown_name(folder),
        )

    @property
    def vocab_size(self) -> int:
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def turn_stops(self) -> tuple[str, ...]:
        """Stop strings that end an answer in a chat beside the end tokens."""
        return PLAIN_STOPS if self.template.is_plain else ()

    @cached_property
    def vocabulary_hash(self) -> str:
        """SHA-256 over every id and its token: equal when ids mean the same."""
        pairs = sorted((index, token) for token, index in self.tokenizer.get_vocab(with_added_tokens=True).items())
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()

    def encode(self, text: str, *, add_special: bool = True) -> list[int]:
        """Token ids of a text. Special tokens that are written out in it become those tokens."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        first = [self.bos_id] if add_special and self.adds_bos and self.bos_id is not None else []
        return first + ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special))

    def render_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        variables: Mapping[str, Any] | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The chat as text. `variables` are more names for the template, such as `enable_thinking`; own names win."""
        if self.template.is_plain and not self._told:
            self._told = True
            warnings.warn(
                f"{self.name} has no chat template; chats are written as plain lines 'role: text'", stacklevel=2
            )
        names = {**(variables or {}), **self.special_tokens, "add_generation_prompt": add_generation_prompt}
        for name in ("messages", "tools"):
            names.pop(name, None)
        return self.template.render(messages, tools, **names)

    def encode_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        variables: Mapping[str, Any] | None = None,
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """Token ids of a chat, ready for the model's answer; see `render_chat`."""
        text = self.render_chat(messages, tools, variables=variables, add_generation_prompt=add_generation_prompt)
        return self.encode(text, add_special=self.template.is_plain)

    def token_bytes(self, token: int) -> bytes:
        """What one token stands for, which need not be whole characters. A begin space counts as a space.

        Raises:
            UsageError: the vocabulary has no such id.
        """
        text = self.tokenizer.id_to_token(token)
        if text is None:
            raise UsageError(f"the tokenizer has no id {token}", f"ids run from 0 to {self.vocab_size - 1}")
        if token in self._added:
            return str(text).encode()
        return self._spelling.bytes_of(str(text))

    def token_text(self, token: int) -> str:
        """`token_bytes` as text, with U+FFFD for parts of characters."""
        return self.token_bytes(token).decode(errors="replace")

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self.tokenizer.get_added_tokens_decoder())

    @cached_property
    def _spelling(self) -> _Spelling:
        return _Spelling(self.tokenizer)


class _Spelling:
    """How a vocabulary spells bytes; its decoder tells."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        decoder = tokenizer.decoder
        parts = list(_parts(json.loads(decoder.__getstate__()))) if decoder is not None else []
        kinds = {part["type"] for part in parts}
        self._byte_fallback = "ByteFallback" in kinds
        self._alphabet = _byte_alphabet() if "ByteLevel" in kinds else {}
        self._spaces = [part["replacement"] for part in parts if part["type"] == "Metaspace"] + [
            part["pattern"]["String"]
            for part in parts
            if part["type"] == "Replace" and part["content"] == " " and "String" in part["pattern"]
        ]

    def bytes_of(self, text: str) -> bytes:
        if self._alphabet:
            return b"".join(bytes([self._alphabet[sign]]) if sign in self._alphabet else sign.encode() for sign in text)
        match = _BYTE_TOKEN.fullmatch(text) if self._byte_fallback else None
        if match:
            return bytes([int(match[1], 16)])
        for space in self._spaces:
            text = text.replace(space, " ")
        return text.encode()


def _parts(decoder: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    if decoder["type"] != "Sequence":
        return [decoder]
    return [part for inner in decoder["decoders"] for part in _parts(inner)]


def _byte_alphabet() -> dict[str, int]:
    """The sign for each byte in byte-level vocabularies: printable Latin-1 as itself, the others from U+0100 on in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _special_tokens(folder: Path) -> dict[str, str]:
    """The named special tokens; a token may be written as a string or as an object with `content`."""
    found: dict[str, str] = {}
    for values in (_optional(folder / TOKENIZER_CONFIG), _optional(folder / SPECIAL_TOKENS)):
        for name in _TOKEN_NAMES:
            token = values.get(name)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                found.setdefault(name, token)
    return found


def _bos_id(tokenizer: Tokenizer, tokens: Mapping[str, str], configs: Sequence[Mapping[str, Any]]) -> int | None:
    if "bos_token" in tokens:
        token = tokens["bos_token"]
        found = tokenizer.token_to_id(token)
        if found is None:
            raise UsageError(
                f"bos_token {token!r} is not in the vocabulary", "check that the tokenizer's files belong together"
            )
        return int(found)
    ids = [config["bos_token_id"] for config in configs if isinstance(config.get("bos_token_id"), int)]
    return ids[0] if ids and tokenizer.id_to_token(ids[0]) is not None else None


def _end_ids(tokenizer: Tokenizer, tokens: Mapping[str, str], configs: Sequence[Mapping[str, Any]]) -> frozenset[int]:
    found: set[int] = set()
    for config in configs:
        given = config.get("eos_token_id")
        ids = given if isinstance(given, list) else [] if given is None else [given]
        if not all(isinstance(token, int) for token in ids):
            raise UsageError(f"eos_token_id is {given!r}", "write a token id, or a list of them")
        found.update(token for token in ids if token >= 0 and tokenizer.id_to_token(token) is not None)
    if "eos_token" in tokens:
        token = tokenizer.token_to_id(tokens["eos_token"])
        found |= set() if token is None else {int(token)}
    return frozenset(found)


def _template(folder: Path) -> ChatTemplate | None:
    """The folder's chat templates; None if it has none."""
    given = _optional(folder / TOKENIZER_CONFIG).get("chat_template")
    if isinstance(given, list):
        try:
            sources = {str(each["name"]): str(each["template"]) for each in given}
        except (TypeError, KeyError) as error:
            raise UsageError(
                f"chat_template in {TOKENIZER_CONFIG} lacks {error}", "write a template, or a list of name and template"
            ) from error
    else:
        sources = {} if given is None else {DEFAULT: str(given)}
    files = [(DEFAULT, folder / TEMPLATE)] if (folder / TEMPLATE).exists() else []
    files += [(path.stem, path) for path in sorted((folder / MORE_TEMPLATES).glob("*.jinja"))]
    for name, path in files:
        try:
            sources[name] = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error}", "copy or download the template again") from error
    return ChatTemplate(sources) if sources else None
