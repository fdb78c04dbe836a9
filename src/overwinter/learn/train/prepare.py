"""From the files a recipe names to a tokenizer and token ids on disk, once; a resumed training finds them again.

    prepared = prepare(recipe, out)
    prepared.train[0], prepared.held[0]      # `Shards` of the first source; held is None where nothing is held out

In `out`: `tokenizer/` and `data/NUMBER-train/`, `data/NUMBER-held/`, each there whole or not at all, and `data/prepared.json` with the
digests of all files and the settings, written last. If either has changed since, that is an error: the cursor of a training
means rows of these very data.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from overwinter.errors import UsageError
from overwinter.learn.train.checkpoint import TEXT_FILES, write_json_whole
from overwinter.learn.train.recipe import Recipe, SourceConfig
from overwinter.learn.train.shards import Document, Shards, write_shards
from overwinter.learn.train.tokenizer import end_token, train_tokenizer, write_tokenizer
from overwinter.model.text import load_tokenizer
from overwinter.model.weights import new_folder, read_json

TEXT, DATA, RECORD = "tokenizer", "data", "prepared.json"
ENCODE_CHARS = 1 << 20
"""Characters that are tokenised together."""
_EMPTY_LINE = re.compile(r"\n[ \t]*\n\s*")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a training reads."""

    text: Path
    """The folder of the tokenizer's files."""
    vocab_size: int
    train: tuple[Shards, ...]
    held: tuple[Shards | None, ...]


def prepare(recipe: Recipe, out: Path) -> Prepared:
    """Make tokenizer and data, or find them.

    Raises:
        UsageError: a source has no files, or not what its kind asks for; or data changed since they were prepared.
    """
    record = _record(recipe)
    if (out / DATA / RECORD).exists():
        if read_json(out / DATA / RECORD) != record:
            raise UsageError(
                f"the files or settings behind {out / DATA} have changed since it was made",
                "train into another folder, or put them back",
            )
        return _found(recipe, out)
    for left in (out / TEXT, out / DATA):
        shutil.rmtree(left, ignore_errors=True)  # a preparation that did not come to its end
    _tokenizer(recipe, out / TEXT)
    tokenizer = load_tokenizer(out / TEXT)
    tokenizer.encode_special_tokens = not recipe.data.special_in_text
    coder = _Coder(tokenizer, end_token(out / TEXT, tokenizer))
    for number, source in enumerate(recipe.data.sources):
        write = _examples if recipe.data.kind == "examples" else _texts
        write(recipe, source, coder, out / DATA / f"{number}")
    write_json_whole(out / DATA / RECORD, record)
    return _found(recipe, out)


def _found(recipe: Recipe, out: Path) -> Prepared:
    numbers = range(len(recipe.data.sources))
    held = [out / DATA / f"{number}-held" for number in numbers]
    return Prepared(
        text=out / TEXT,
        vocab_size=int(load_tokenizer(out / TEXT).get_vocab_size(with_added_tokens=True)),
        train=tuple(Shards(out / DATA / f"{number}-train") for number in numbers),
        held=tuple(Shards(path) if path.exists() else None for path in held),
    )


# Tokenizer


def _tokenizer(recipe: Recipe, target: Path) -> None:
    given = recipe.tokenizer.path or recipe.model.start
    with new_folder(target) as folder:
        if given is None:
            texts = (text for source in recipe.data.sources for text in _all_texts(recipe, source))
            write_tokenizer(train_tokenizer(texts, recipe.tokenizer), folder, recipe.tokenizer)
            return
        load_tokenizer(given).save(str(folder / TEXT_FILES[0]))
        for name in TEXT_FILES[1:]:
            if (Path(given) / name).exists():
                shutil.copyfile(Path(given) / name, folder / name)


def _all_texts(recipe: Recipe, source: SourceConfig) -> Iterator[str]:
    """Everything that a tokenizer should know."""
    if recipe.data.kind == "text":
        yield from _documents(source)
        return
    for _, row in _json_lines(source):
        yield from (row[name] for name in ("prompt", "target") if isinstance(row.get(name), str))


class _Coder:
    """A tokenizer with its end token."""

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        self.tokenizer, self.end = tokenizer, end
        self.vocab_size = int(tokenizer.get_vocab_size(with_added_tokens=True))

    def many(self, texts: list[str]) -> list[list[int]]:
        return [coded.ids for coded in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def one(self, value: Any, place: str) -> list[int]:
        """Ids of a text; or ids as they are."""
        if isinstance(value, str):
            return self.many([value])[0]
        if isinstance(value, list) and all(isinstance(each, int) for each in value):
            return value
        raise UsageError(f"{place}: {value!r:.60} is neither a text nor a list of ids", "correct the line")


# Text


def _texts(recipe: Recipe, source: SourceConfig, coder: _Coder, stem: Path) -> None:
    pairs: Iterator[tuple[str, bool, bool]]
    if recipe.data.holdout_by == "document":
        pairs = ((text, True, _is_held(text, recipe.data.holdout)) for text in _documents(source))
    else:
        pairs = _by_tail(source, recipe.data.holdout)
    _write(recipe, stem, _coded(pairs, coder), coder)


def _coded(pairs: Iterator[tuple[str, bool, bool]], coder: _Coder) -> Iterator[tuple[Document, bool]]:
    """(text, whether it ends, whether it is held out) → documents with that mark; many texts at a time."""
    waiting: list[tuple[str, bool, bool]] = []
    for pair in pairs:
        waiting.append(pair)
        if sum(len(text) for text, _, _ in waiting) >= ENCODE_CHARS:
            yield from _flush(waiting, coder)
            waiting = []
    yield from _flush(waiting, coder)


def _flush(waiting: list[tuple[str, bool, bool]], coder: _Coder) -> Iterator[tuple[Document, bool]]:
    for ids, (_, ends, held) in zip(coder.many([text for text, _, _ in waiting]), waiting, strict=True):
        yield Document(ids=[*ids, coder.end] if ends else ids), held


def _by_tail(source: SourceConfig, share: float) -> Iterator[tuple[str, bool, bool]]:
    """Everything but the last share of the characters, then that; the document between is cut in two."""
    border = round((1 - share) * sum(len(text) for text in _documents(source)))
    seen = 0
    for text in _documents(source):
        at = min(max(border - seen, 0), len(text))
        seen += len(text)
        if at:
            yield text[:at], at == len(text), False
        if at < len(text):
            yield text[at:], True, True


def _documents(source: SourceConfig) -> Iterator[str]:
    """The texts of a source, in the order of the files' names."""
    if source.documents == "jsonl":
        for place, row in _json_lines(source):
            if not isinstance(row.get(source.text_field), str):
                raise UsageError(f"{place} has no text {source.text_field!r}", "set text_field, or correct the line")
            yield row[source.text_field]
        return
    for path in _files(source):
        text = _read(path)
        if source.documents == "file":
            yield text
        elif source.documents == "lines":
            yield from (line for line in text.splitlines() if line.strip())
        else:
            yield from (part for part in _EMPTY_LINE.split(text) if part.strip())


# Examples


def _examples(recipe: Recipe, source: SourceConfig, coder: _Coder, stem: Path) -> None:
    rows = list(_json_lines(source))
    border = len(rows) - round(recipe.data.holdout * len(rows))
    by_tail = recipe.data.holdout_by == "tail"

    def coded() -> Iterator[tuple[Document, bool]]:
        for number, (place, row) in enumerate(rows):
            held = number >= border if by_tail else _is_held(json.dumps(row, sort_keys=True), recipe.data.holdout)
            yield _example(row, coder, place), held

    _write(recipe, stem, coded(), coder)


def _example(row: dict[str, Any], coder: _Coder, place: str) -> Document:
    if {"ids", "learn"} <= row.keys():
        return Document(ids=coder.one(row["ids"], place), learn=[bool(each) for each in row["learn"]])
    if not {"prompt", "target"} <= row.keys():
        raise UsageError(f"{place} has neither prompt and target nor ids and learn", "correct the line")
    prompt, target = coder.one(row["prompt"], place), [*coder.one(row["target"], place), coder.end]
    return Document(ids=prompt + target, learn=[False] * len(prompt) + [True] * len(target))


# Files


def _write(recipe: Recipe, stem: Path, documents: Iterator[tuple[Document, bool]], coder: _Coder) -> None:
    """Both parts; what is held out is the smaller one, and waits in memory."""
    kept: list[Document] = []

    def trained() -> Iterator[Document]:
        for document, held in documents:
            if held:
                kept.append(document)
            else:
                yield document

    write = partial(write_shards, vocab_size=coder.vocab_size)
    write(stem.with_name(f"{stem.name}-train"), trained())
    if kept:
        write(stem.with_name(f"{stem.name}-held"), iter(kept))
    elif recipe.data.holdout:
        raise UsageError(
            f"holdout {recipe.data.holdout} by {recipe.data.holdout_by} left nothing out of training",
            'set data.holdout_by to "tail", raise data.holdout, or set it to 0',
        )


def _is_held(text: str, share: float) -> bool:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) < share * (1 << 48)


def _json_lines(source: SourceConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in _files(source):
        for number, line in enumerate(_read(path).split("\n"), 1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UsageError(f"{place} is not JSON: {error}", "write one JSON object per line") from error
            if not isinstance(row, dict):
                raise UsageError(f"{place} is no JSON object", "write one JSON object per line")
            yield place, row


def _files(source: SourceConfig) -> list[Path]:
    found = sorted(Path(name) for name in glob(source.path, recursive=True) if Path(name).is_file())
    if not found:
        raise UsageError(f"there is no file {source.path}", "correct data.sources; paths are relative to the recipe")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as UTF-8 text: {error}", "leave it out, or convert it") from error


def _record(recipe: Recipe) -> dict[str, Any]:
    """What the data depend on."""
    files = {str(path): _digest(path) for source in recipe.data.sources for path in _files(source)}
    order = {"context", "borders", "packing", "too_long"}  # of how they are read, not of how they are written
    data = {key: value for key, value in asdict(recipe.data).items() if key not in order}
    record = {"files": files, "data": data, "tokenizer": asdict(recipe.tokenizer), "start": recipe.model.start}
    plain: dict[str, Any] = json.loads(json.dumps(record))
    return plain


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
