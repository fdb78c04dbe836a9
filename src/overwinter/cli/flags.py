"""Options in groups: a command takes dataclasses, and typer sees their fields.

    @dataclass(frozen=True)
    class Common:
        json: Annotated[bool, typer.Option("--json", help="…")] = False

    @app.command()
    @takes_groups
    def ls(common: Common) -> None: ...

So a group is written once, has a name in the code, and no function has more parameters than one can remember.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A function typer can read: each parameter that is a dataclass is replaced by its fields, as keyword parameters."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, tuple[type, list[str]]] = {}
    arguments: list[inspect.Parameter] = []
    options: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            fields = _fields(kind)
            groups[name] = kind, [each.name for each in fields]
            options += fields
        else:
            arguments.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))

    def flat(**given: Any) -> None:
        built = {name: kind(**{each: given.pop(each) for each in names}) for name, (kind, names) in groups.items()}
        command(**given, **built)

    parameters = [*arguments, *options]
    flat.__name__, flat.__doc__ = command.__name__, command.__doc__
    flat.__annotations__ = {each.name: each.annotation for each in parameters}
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return flat


def _fields(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[each.name],
            default=inspect.Parameter.empty if each.default is dataclasses.MISSING else each.default,
        )
        for each in dataclasses.fields(group)
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain:
    """What every command takes."""

    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Read this overwinter.toml instead of searching for one."),
    ] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common(Plain):
    """What every command takes that works with a journal."""

    store: Annotated[
        str | None, typer.Option("--store", metavar="URL", help="The journal: a file, sqlite:FILE or postgresql://…")
    ] = None


RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, the beginning of one, or 'last'.")]
By = Annotated[str | None, typer.Option("--by", metavar="WHO", help="Who answers; default: the user of this system.")]
