"""The checks of `doctor`. Each says what it found and what to do; none prints a secret."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overwinter.cli.workplace import mask_password, shown_store
from overwinter.errors import OverwinterError

if TYPE_CHECKING:
    from overwinter.config import Effective, Settings

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "local": ("torch", "tokenizers", "safetensors", "jinja2", "llguidance"),
    "serve": ("starlette", "uvicorn", "prometheus_client"),
    "postgres": ("psycopg",),
    "mcp": ("mcp",),
    "worlds": ("gymnasium", "minigrid", "numpy"),
}
"""Extras of the package, and what each brings."""
MIN_SQLITE = (3, 35, 0)
_SECRET = re.compile(r"key|token|secret|passw|auth", re.IGNORECASE)
_NOT_SECRET = frozenset({"api_key_env", "max_tokens", "window_tokens", "context_tokens", "return_token_ids"})


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding. `ok` None: not a problem, but something is not there."""

    check: str
    ok: bool | None
    value: str
    advice: str = ""


def settings_rows(effective: Effective) -> Iterator[tuple[str, Any, str]]:
    """(name, value without secrets, origin) of every setting."""
    for name, value, origin in effective.rows():
        yield name, _without_secrets(name.rpartition(".")[2], value), origin


def checks(effective: Effective) -> Iterator[Check]:
    """All checks, quick ones first."""
    from overwinter.config import FILE_NAME, unknown_variables

    file = "none found" if effective.file is None else str(effective.file)
    yield Check(check="configuration", ok=True, value=f"{FILE_NAME}: {file}")
    for name in unknown_variables(os.environ):
        yield Check(check="environment", ok=None, value=f"{name} is no setting", advice="correct its name or unset it")
    key = effective.settings.endpoint.get("api_key_env")
    if key:
        there = bool(os.environ.get(key))
        advice = "" if there else f"export {key}"
        yield Check(check="api key", ok=there, value=f"${key} is {'set' if there else 'not set'}", advice=advice)
    yield _python()
    yield _sqlite()
    yield from _extras()
    yield from _engine()
    yield from _model_folders(effective.settings)
    yield from _store(effective.settings.store)
    yield from _sandbox()


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check(
        check="python",
        ok=ok,
        value=f"{platform.python_version()} at {sys.executable}",
        advice="" if ok else "install Python 3.11 or newer",
    )


def _sqlite() -> Check:
    ok = sqlite3.sqlite_version_info >= MIN_SQLITE
    advice = "" if ok else f"use a Python built with SQLite {'.'.join(map(str, MIN_SQLITE))} or newer"
    return Check(check="sqlite", ok=ok, value=sqlite3.sqlite_version, advice=advice)


def _extras() -> Iterator[Check]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            advice = f"pip install 'overwinter[{extra}]'"
            yield Check(check=f"extra {extra}", ok=None, value=f"lacks {', '.join(missing)}", advice=advice)
        else:
            found = ", ".join(f"{module} {importlib.metadata.version(module)}" for module in modules)
            yield Check(check=f"extra {extra}", ok=True, value=found)


def _engine() -> Iterator[Check]:
    """What the engine of this process can promise here; nothing where it is not installed."""
    if any(importlib.util.find_spec(module) is None for module in EXTRAS["local"]):
        return
    from overwinter.engine.facts import machine

    here = machine()
    linears = "packed linears" if here.packs else "plain linears"
    exact = "the same last bits in any batch" if here.is_exact else "last bits depend on company"
    advice = "" if here.is_exact else "replays of local models compare to the last bit and may differ here"
    value = f"{here.threads} threads, {linears}, {exact} (float32)"
    yield Check(check="engine", ok=True if here.is_exact else None, value=value, advice=advice)


def _model_folders(settings: Settings) -> Iterator[Check]:
    """Whether the folders that the configuration names hold models; their weights are not read."""
    from overwinter.cli.setup import model_spec

    for role in ("model", "judge"):
        spec = getattr(settings, role)
        if not spec:
            continue
        try:
            made = model_spec(spec, settings, judge=role == "judge")
        except OverwinterError as error:
            yield Check(check=role, ok=False, value=error.problem, advice=error.next_step)
            continue
        if made["kind"] == "local" and not Path(made["path"]).is_absolute():
            yield Check(check=role, ok=None, value=f"{made['path']} on the hub", advice="it is found when a run starts")
        elif made["kind"] == "local":
            weights = list(Path(made["path"]).glob("*.safetensors"))
            yield Check(
                check=role,
                ok=bool(weights),
                value=f"{made['path']}: {len(weights)} files of weights",
                advice="" if weights else "put safetensors there; other formats are not read",
            )


def _store(url: str) -> Iterator[Check]:
    from overwinter.journal import open_store

    shown = shown_store(url)
    remote = url.startswith(("postgresql://", "postgres://"))
    path = Path(url.removeprefix("sqlite:"))
    if not remote:
        yield _fsync(path.absolute().parent)
        if not path.exists():
            yield Check(check="store", ok=None, value=f"{shown} is not there yet", advice="the first run makes it")
            return
    try:
        store = open_store(url, read_only=True)
        try:
            runs = len(store.runs())
        finally:
            store.close()
    except OverwinterError as error:
        yield Check(check="store", ok=False, value=f"{shown}: {mask_password(error.problem)}", advice=error.next_step)
        return
    yield Check(check="store", ok=True, value=f"{shown}: {runs} runs, schema {_schema(path, remote=remote)}")


def _schema(path: Path, *, remote: bool) -> str:
    from overwinter.journal.schema import LATEST

    if remote:
        return f"{LATEST}"
    with sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True) as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
    database.close()
    return f"{version} (this program knows {LATEST})"


def _fsync(folder: Path) -> Check:
    """Whether a write can be made durable where the journal lies, and how long that takes."""
    began = time.monotonic()
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".overwinter-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check(check="disk", ok=False, value=f"{folder}: {error}", advice="name another place with --store")
    return Check(check="disk", ok=True, value=f"{folder}: fsync works, {(time.monotonic() - began) * 1000:.1f} ms")


def _sandbox() -> Iterator[Check]:
    from overwinter.tools import sandbox_report

    report = sandbox_report()
    held = [name for name, good in report["held"].items() if good]
    ok = True if held and not report["advice"] else None
    yield Check(check="sandbox", ok=ok, value=f"limits in force: {', '.join(held) or 'none'}")
    for advice in report["advice"]:
        yield Check(check="sandbox", ok=None, value="not in force", advice=advice)


def _without_secrets(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        # What a program's environment holds is nobody's business.
        return {key: "…" if name == "env" else _without_secrets(key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(name, each) for each in value]
    if _SECRET.search(name) and name not in _NOT_SECRET and value:
        return "…"
    return mask_password(value) if isinstance(value, str) else value
