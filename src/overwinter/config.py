"""Configuration: defaults < overwinter.toml < environment < flags, and where each value came from.

The file is the nearest `overwinter.toml` from the working directory upward, else `~/.config/overwinter/overwinter.toml`. Paths in
it are relative to it. In the environment a field is `OVERWINTER_FIELD`, a field of a table `OVERWINTER_TABLE__FIELD`. A key that
nobody knows is refused, with the file and the key. Secrets have no place here: `endpoint.api_key_env` names the environment
variable that holds a key, and nothing else ever sees it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from overwinter.amounts import parse_budget
from overwinter.errors import OverwinterError, UsageError

FILE_NAME = "overwinter.toml"
PREFIX = "OVERWINTER_"
_SECRET_FIELDS = frozenset({"api_key", "headers"})


class WorldDefaults(BaseModel):
    """Table [world]: what `overwinter run` without a goal plays."""

    model_config = ConfigDict(extra="forbid")

    name: str = "greenhouse"
    seed: int = Field(default=0, ge=0)
    policy: str = ""
    """Empty: the model that was trained for the world, or else its strongest scripted policy."""


class MemoryDefaults(BaseModel):
    """Table [memory]: whose memory one works with, what makes vectors of it, and how runs with memory use it (docs/working_memory.md)."""

    model_config = ConfigDict(extra="forbid")

    namespace: str = Field(default="default", pattern=r"^[\w-][\w.-]{0,89}$")
    embedder: str = ""
    """Empty: words only."""
    previous_embedder: str = ""
    """The embedder before it: its vectors answer until the new ones are complete."""
    core: bool = True
    repeats: bool = True
    tools: list[str] | None = None
    """None: all of them."""
    recall: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.recall or self.tools is not None:
            from overwinter.loop.memory.settings import parse_memory

            with _as_value_error():
                parse_memory(self.as_setup())
        return self

    def as_setup(self) -> dict[str, Any]:
        """What the setup of a run with memory says: the namespace, and the rest where it is not as usual."""
        return {"namespace": self.namespace, **self.model_dump(exclude={"namespace"}, exclude_defaults=True)}


class ConfidenceDefaults(BaseModel):
    """Table [confidence]: fitted calibrators, and the parts of their scope that only a person can name (docs/confidence.md)."""

    model_config = ConfigDict(extra="forbid")

    calibrator: str = ""
    """Empty: the one that a bundled model brings."""
    task: str = ""
    language: str = ""


class Settings(BaseSettings):
    """Every setting there is; `docs/configuration.md` says more of each."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    store: str = "overwinter.db"
    model: str = ""
    judge: str = ""
    budget: str = ""
    by: str = ""
    world: WorldDefaults = Field(default_factory=WorldDefaults)
    memory: MemoryDefaults = Field(default_factory=MemoryDefaults)
    confidence: ConfidenceDefaults = Field(default_factory=ConfidenceDefaults)
    gates: list[dict[str, Any]] = Field(default_factory=list)
    pace: dict[str, Any] = Field(default_factory=dict)
    tools: dict[str, Any] = Field(default_factory=dict)
    endpoint: dict[str, Any] = Field(default_factory=dict)
    local: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 — the names are pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load` reads file and environment itself, to know which value came from where."""
        return (init_settings,)

    @field_validator("budget")
    @classmethod
    def _check_budget(cls, text: str) -> str:
        with _as_value_error():
            parse_budget(text)
        return text

    @field_validator("gates")
    @classmethod
    def _check_gates(cls, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if rows:
            from overwinter.loop.gates import parse_rules

            with _as_value_error():
                parse_rules(rows)
        return rows

    @field_validator("pace")
    @classmethod
    def _check_pace(cls, table: dict[str, Any]) -> dict[str, Any]:
        if table:
            from overwinter.loop.session import Pace

            _refuse_unknown(table, {each.name for each in dataclasses.fields(Pace)})
        return table

    @field_validator("tools")
    @classmethod
    def _check_tools(cls, table: dict[str, Any]) -> dict[str, Any]:
        _refuse_unknown(table, {"files", "http", "python", "shell", "mcp", "modules"})
        return table

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, table: dict[str, Any]) -> dict[str, Any]:
        if table:
            from overwinter.loop.models.endpoint import Config

            if _SECRET_FIELDS & table.keys():
                raise ValueError("keys and headers are secrets and do not belong here; use api_key_env")
            _refuse_unknown(
                table, {each.name for each in dataclasses.fields(Config)} - {"base_url", "model", *_SECRET_FIELDS}
            )
        return table

    @field_validator("local")
    @classmethod
    def _check_local(cls, table: dict[str, Any]) -> dict[str, Any]:
        if table:
            from overwinter.loop.models.local import Config

            _refuse_unknown(table, {each.name for each in dataclasses.fields(Config)} - {"path"})
            with _as_value_error():
                Config(path="", **table)
        return table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effective:
    """The settings in force.

    Attributes:
        origins: by dotted name, "default", the file, "environment OVERWINTER_X" or "flag --x".
        file: the configuration file that was read, or None.
    """

    settings: Settings
    origins: Mapping[str, str]
    file: Path | None

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """(dotted name, value, origin) of every setting."""
        for name, value in _flatten(self.settings.model_dump()):
            yield name, value, _origin(self.origins, name)


def load(flags: Mapping[str, Any] | None = None, *, file: Path | None = None, start: Path | None = None) -> Effective:
    """Read the configuration.

    Args:
        flags: values from the command line by dotted name; None values are not given.
        file: this file instead of a search.
        start: where the search begins; the working directory if None.

    Raises:
        UsageError: a file that cannot be read, an unknown key or a value that does not fit; the message names its place.
    """
    found = file if file is not None else find_file(start or Path.cwd())
    layers = [
        ({} if found is None else _read_file(found), f"{found}"),
        (_read_environment(os.environ), "environment"),
        (_unflatten({name: value for name, value in (flags or {}).items() if value is not None}), "flag"),
    ]
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer, name in layers:
        _merge(merged, layer)
        origins.update({key: _named(name, key) for key, _ in _flatten(layer)})
    try:
        return Effective(settings=Settings(**merged), origins=origins, file=found)
    except ValidationError as error:
        raise _usage_error(error, origins) from None


def find_file(start: Path) -> Path | None:
    """The nearest overwinter.toml from `start` upward, else the user's own."""
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "overwinter" / FILE_NAME
    candidates = [folder / FILE_NAME for folder in (start.absolute(), *start.absolute().parents)]
    return next((path for path in [*candidates, user] if path.is_file()), None)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings but are none: probably misspelt."""
    known = {name.upper() for name in Settings.model_fields}
    return sorted(
        name
        for name in environment
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).split("__")[0] not in known | {"MCP_STDERR", "TEST"}
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a TOML file with --config") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", "correct the file") from error
    return _with_paths_from(path.parent.absolute(), table)


def _with_paths_from(folder: Path, table: dict[str, Any]) -> dict[str, Any]:
    """Paths in a file mean the same wherever the command is called from."""
    store, tools = table.get("store"), table.get("tools", {})
    if isinstance(store, str) and not store.startswith(("postgresql://", "postgres://")):
        table["store"] = str(folder / store.removeprefix("sqlite:"))
    for name in ("model", "judge"):
        if isinstance(table.get(name), str):
            table[name] = _model_from(folder, table[name])
    memory, confidence = table.get("memory"), table.get("confidence")
    if isinstance(confidence, dict) and isinstance(confidence.get("calibrator"), str):
        confidence["calibrator"] = str(folder / Path(confidence["calibrator"]).expanduser())
    if isinstance(memory, dict):
        for name in ("embedder", "previous_embedder"):
            kind, _, place = str(memory.get(name, "")).partition(":")
            if kind in ("minilm", "engine") and place:
                memory[name] = f"{kind}:{folder / Path(place).expanduser()}"
    if isinstance(tools, dict):
        for settings in tools.values():
            if isinstance(settings, dict) and isinstance(settings.get("root"), str):
                settings["root"] = str(folder / settings["root"])
        if isinstance(tools.get("modules"), list):
            tools["modules"] = [str(folder / str(path)) for path in tools["modules"]]
    return table


def _model_from(folder: Path, spec: str) -> str:
    """A model folder by its whole path; other words for a model as they are, names on the hub among them."""
    named = spec.removeprefix("local:")
    on_hub = named.count("/") == 1 and not named.startswith((".", "/", "~"))
    if (folder / named).is_dir() or (spec.startswith("local:") and not on_hub):
        return f"local:{folder / Path(named).expanduser()}"
    return spec


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """What pydantic-settings reads from the environment: nested fields by "__", tables and lists as JSON."""
    from pydantic_settings import EnvSettingsSource
    from pydantic_settings.exceptions import SettingsError

    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in environment.items() if name.startswith(PREFIX) and value}
    try:
        table = source()
    except SettingsError as error:
        raise UsageError(f"{error} ({PREFIX}… variable)", "write tables and lists as JSON") from error
    # A variable is text; in the free tables nothing says that it means a number.
    return {
        key: _from_json(value) if key in {"pace", "tools", "endpoint", "local"} else value
        for key, value in table.items()
    }


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _from_json(inner) for key, inner in value.items()}
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _unflatten(flags: Mapping[str, Any]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in flags.items():
        inner = table
        *parents, last = name.split(".")
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return table


def _named(origin: str, key: str) -> str:
    if origin == "environment":
        return f"environment {PREFIX}{key.upper().replace('.', '__')}"
    if origin == "flag":
        return f"flag --{'world' if key == 'world.name' else key.rpartition('.')[2]}"
    return origin


def _origin(origins: Mapping[str, str], name: str) -> str:
    while name:
        if name in origins:
            return origins[name]
        name = name.rpartition(".")[0]
    return "default"


def _refuse_unknown(table: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(table.keys() - known)
    if unknown:
        raise ValueError(f"unknown keys {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _usage_error(error: ValidationError, origins: Mapping[str, str]) -> UsageError:
    """The first complaint, in our words: the place, the key, what is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "?"
    place = _origin(origins, key)
    if place == "default":
        place = next((origin for name, origin in origins.items() if name.startswith(f"{key}.")), place)
    what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    if place == f"flag --{key}":
        return UsageError(f"--{key}: {what}", f"see `--help`, or docs/configuration.md for the values of {key}")
    return UsageError(f"{place}: {key}: {what}", "see docs/configuration.md for the keys and their values")


class _as_value_error:  # noqa: N801 — a context manager reads like a function
    """Inside pydantic's validators our errors must be ValueErrors."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OverwinterError):
            raise ValueError(f"{error.problem}; {error.next_step}") from error
