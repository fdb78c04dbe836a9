"""A training as a file: TOML, every table a dataclass, and nothing that nobody knows.

    recipe = read_recipe(Path("recipe.toml"), ["run.seed=1", "schedule.steps=100"])

Paths in a recipe are relative to it. An unknown key is refused with the file, the table, the key and what is known there;
so is a value of the wrong kind. What a table may say is what the class behind it has as fields: docs/training.md lists them.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import TypeAdapter, ValidationError

from overwinter.errors import UsageError
from overwinter.learn.stability.config import GuardConfig
from overwinter.learn.train.objective import LossConfig
from overwinter.learn.train.optim import OptimiserConfig
from overwinter.learn.train.scaling import Scaling
from overwinter.learn.train.schedule import Schedule
from overwinter.learn.train.tokenizer import TokenizerConfig
from overwinter.learn.train.trainer import TrainerConfig
from overwinter.model.config import Config
from overwinter.model.initialise import Init

SEE = "docs/training.md lists the tables and their keys"


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Files of one kind, and how often they come."""

    path: str
    """A file, or a pattern such as `books/*.txt`."""
    weight: float = 1.0
    """Share of the rows, relative to the other sources."""
    documents: Literal["file", "paragraphs", "lines", "jsonl"] = "file"
    """What one document is: a file, what stands between empty lines, a line, or a JSON object per line."""
    text_field: str = "text"
    """Of `jsonl` in text."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is trained on."""

    sources: tuple[SourceConfig, ...]
    context: int
    """Tokens per row."""
    kind: Literal["text", "examples"] = "text"
    """`examples`: JSON lines with `prompt` and `target` (texts or lists of ids), or with `ids` and `learn`."""
    holdout: float = 0.05
    """Share of each source that is kept out of training."""
    holdout_by: Literal["document", "tail"] = "document"
    """Which: documents by their hash, the same whatever else is there; or the end of each source."""
    borders: Literal["see", "mask", "isolate"] = "mask"
    """Of text: what a document has to do with the one before it in a row."""
    packing: Literal["bucket", "pack"] = "bucket"
    """Of examples: a row for each, or several to a row that do not see each other."""
    too_long: Literal["refuse", "skip", "cut"] = "refuse"
    """Of examples longer than the context."""
    special_in_text: bool = False
    """Whether a special token written out in the data is that token. Examples made with a chat template need it."""

    def __post_init__(self) -> None:
        if not self.sources or self.context < 2 or not 0 <= self.holdout < 1:
            raise UsageError(
                f"data with {len(self.sources)} sources, context {self.context} and holdout {self.holdout}",
                "give a source, a context of at least 2 and a share from 0 to below 1",
            )
        if min(source.weight for source in self.sources) <= 0:
            raise UsageError("a source has weight 0 or less", "leave it out, or give it a weight above 0")


@dataclass(frozen=True, kw_only=True)
class TokenizerTable(TokenizerConfig):
    """A tokenizer to train, or one that is there."""

    path: str | None = None
    """A model folder whose tokenizer is taken; then nothing else counts. With `model.start`, default is that folder."""


@dataclass(frozen=True, kw_only=True)
class ModelTable:
    """The network: fields of `model.Config` without the vocabulary, which is the tokenizer's."""

    switches: Mapping[str, Any] = field(default_factory=dict)
    init: Init | None = None
    scaling: Scaling | None = None
    start: str | None = None
    """A model folder to go on from; then there are no switches."""

    def build(self, *, vocab_size: int, context: int) -> tuple[Config, Init]:
        """The network and its start."""
        if "vocab_size" in self.switches:
            raise UsageError("model.vocab_size is the tokenizer's", "leave it out, and set tokenizer.vocab_size")
        config = Config.from_dict({"context": context, **self.switches, "vocab_size": vocab_size})
        init = self.init or Init()
        return (config, init) if self.scaling is None else self.scaling.model(config, init)


@dataclass(frozen=True, kw_only=True)
class RunTable(TrainerConfig):
    """How the loop runs, and on what."""

    device: str = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How several processes share the work."""
    threads: int | None = None
    """Of torch on the CPU; default is torch's choice."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training, completely."""

    data: DataConfig
    model: ModelTable
    schedule: Schedule
    tokenizer: TokenizerTable = field(default_factory=TokenizerTable)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunTable = field(default_factory=RunTable)
    guard: GuardConfig | None = None
    """A guard around the loop; None, which is a recipe without the table, for none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: of the TOML file.
        changes: `table.key=value`, with the value as in TOML; a text needs no quotes.

    Raises:
        UsageError: with the file, the table and the key.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", "correct the file") from error
    for change in changes:
        _change(table, change)
    return recipe_of(table, place=str(path), folder=path.parent)


def recipe_of(table: Mapping[str, Any], *, place: str = "recipe", folder: Path | None = None) -> Recipe:
    """A recipe from plain values.

    Args:
        table: as TOML gives it.
        place: what messages call it.
        folder: what paths are relative to; the working directory if None.
    """
    table = {key: dict(value) if isinstance(value, Mapping) else value for key, value in table.items()}
    model = table.get("model", {})
    if isinstance(model, dict):
        own = {key: model.pop(key) for key in ("init", "scaling", "start") if key in model}
        table["model"] = {**own, "switches": model}
        if "start" in own and model:
            raise UsageError(
                f"{place}: model: start comes with a network of its own, and so does {', '.join(sorted(model))}",
                "give start alone, or the fields of a network",
            )
    _check_keys(Recipe, table, f"{place}: ")
    _resolve(table, (folder or Path()).absolute())
    try:
        recipe: Recipe = TypeAdapter(Recipe).validate_python(table)
        if recipe.model.start is None:
            recipe.model.build(
                vocab_size=1, context=recipe.data.context
            )  # whatever does not fit is told before any work
        return recipe
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{place}: {key}: {first['msg']}", SEE) from None
    except UsageError as error:
        raise UsageError(f"{place}: {error.problem}", error.next_step) from None


def difference(old: Mapping[str, Any], new: Mapping[str, Any], free: Sequence[str]) -> str | None:
    """The first key whose value differs, with both values; keys that begin with one of `free` may."""
    flat_old, flat_new = _flat(old), _flat(new)
    for key in sorted({*flat_old, *flat_new}):
        if not key.startswith(tuple(free)) and flat_old.get(key) != flat_new.get(key):
            return f"{key} was {flat_old.get(key)!r} and is {flat_new.get(key)!r}"
    return None


def _check_keys(cls: type[Any], table: Any, place: str) -> None:
    """Refuse what a dataclass does not have, in it and in the dataclasses it has."""
    if not isinstance(table, Mapping):
        return  # pydantic says what it should be
    known = {each.name: each for each in fields(cls)}
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"{place}{key} is no key{meant}", f"known here are {', '.join(known)}")
    missing = [
        name
        for name, each in known.items()
        if name not in table and each.default is MISSING and each.default_factory is MISSING
    ]
    if missing:
        raise UsageError(f"{place}{missing[0]} is missing", SEE)
    hints = get_type_hints(cls)
    for key, value in table.items():
        inner = [each for each in (hints[key], *getattr(hints[key], "__args__", ())) if is_dataclass(each)]
        if inner and isinstance(inner[0], type):
            values = value if isinstance(value, list) else [value]
            for number, each in enumerate(values):
                _check_keys(inner[0], each, f"{place}{key}{f'[{number}]' if isinstance(value, list) else ''}.")


def _resolve(table: dict[str, Any], folder: Path) -> None:
    """Make paths whole. A name that is no path here stays: it may be one on the hub."""
    sources = table["data"].get("sources", ()) if isinstance(table["data"], dict) else ()
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict) and isinstance(source.get("path"), str):
            source["path"] = str(folder / Path(source["path"]).expanduser())
    for name, key in (("tokenizer", "path"), ("model", "start")):
        inner = table.get(name)
        if isinstance(inner, dict) and isinstance(inner.get(key), str) and (folder / inner[key]).expanduser().exists():
            inner[key] = str((folder / Path(inner[key]).expanduser()).resolve())


def _change(table: dict[str, Any], change: str) -> None:
    name, sign, text = change.partition("=")
    *parents, last = name.strip().split(".")
    if not sign or not parents:
        raise UsageError(f"--set {change!r} names no value", "write TABLE.KEY=VALUE, such as run.seed=1")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {change!r}: {parent} is no table", "write TABLE.KEY=VALUE, such as run.seed=1")
    table[last] = value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _flat(table: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(table, Mapping):
        return {prefix.removesuffix("."): table}
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{prefix}{key}.")
    return found
