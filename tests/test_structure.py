"""The house rules that a machine can check: layout and import direction (docs/design.md), and the size of things."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "overwinter"
FILES = sorted(SOURCE.rglob("*.py"))

ANYBODY = {"errors"}
MAY_IMPORT = {
    "journal": ANYBODY,
    "model": ANYBODY,
    "engine": ANYBODY | {"model"},
    "tools": ANYBODY,
    "worlds": ANYBODY,
    "memory": ANYBODY | {"journal"},
    "think": ANYBODY | {"journal"},
    "loop": ANYBODY | {"journal", "tools", "memory", "think", "worlds"},
    "learn": ANYBODY | {"journal", "model", "engine", "worlds"},
    "bench": ANYBODY | {"journal", "worlds", "think", "memory"},
}
"""Imports go one way. Packages that are not listed (cli, serve) and top-level modules may import everything."""

ADAPTERS = {
    "loop/models/local.py": {"model", "engine"},  # makes an engine a `Model` of the loop
    "loop/models/embedding.py": {"model", "engine"},  # makes a decoder an embedder of memory
    "loop/models/player.py": {"engine"},  # the same for models that play from a page of notes
}
"""Single files that join two sides, and what they alone may import beside their package's row."""

MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS, MAX_NESTING = 500, 60, 8, 4
EXCEPTIONS: dict[str, str] = {}
"""`path:function` or `path` → why it may be larger."""


def _package(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """First-level packages of overwinter that a file imports, with the line."""
    parents = path.relative_to(SOURCE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = ["overwinter", *parents][: len(parents) + 2 - node.level]
            names = [".".join([*base, node.module] if node.module else base)]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "overwinter" and len(parts) > 1:
                yield parts[1], node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    package = _package(path)
    if package not in MAY_IMPORT:
        return
    allowed = MAY_IMPORT[package] | {package} | ADAPTERS.get(path.relative_to(SOURCE).as_posix(), set())
    wrong = [f"line {line}: {name}" for name, line in _imports(path) if name not in allowed]
    assert not wrong, f"{path.name} may import only {sorted(allowed)}: {wrong}"


def test_adapters_exist() -> None:
    assert all((SOURCE / name).exists() for name in ADAPTERS)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _nesting(node: ast.AST, depth: int = 0) -> int:
    deeper = depth + isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try | ast.Match)
    # `elif` is an If in the else branch of an If; it reads as one level.
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        chained = node.orelse[0]
        return max([_nesting(child, deeper) for child in children if child is not chained] + [_nesting(chained, depth)])
    inner = [child for child in children if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)]
    return max([deeper, *(_nesting(child, deeper) for child in inner)])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_grows_past_its_size(path: Path) -> None:
    name, text = str(path.relative_to(ROOT)), path.read_text()
    too_large = [] if text.count("\n") <= MAX_FILE_LINES or name in EXCEPTIONS else [f"{text.count(chr(10))} lines"]
    for function in _functions(ast.parse(text)):
        if f"{name}:{function.name}" in EXCEPTIONS:
            continue
        lines = (function.end_lineno or 0) - function.lineno + 1
        arguments = function.args
        count = len(arguments.args) + len(arguments.kwonlyargs) + len(arguments.posonlyargs)
        count -= bool(arguments.args and arguments.args[0].arg in {"self", "cls"})
        if lines > MAX_FUNCTION_LINES:
            too_large.append(f"{function.name}: {lines} lines")
        if count > MAX_PARAMETERS:
            too_large.append(f"{function.name}: {count} parameters")
        if _nesting(function) > MAX_NESTING:
            too_large.append(f"{function.name}: nested {_nesting(function)} deep")
    assert not too_large, f"{name}: {too_large}; find the missing concept, or name the exception with its reason"


def test_exceptions_are_still_needed() -> None:
    for name in EXCEPTIONS:
        path = ROOT / name.partition(":")[0]
        assert path.exists(), f"{name} is listed as an exception and does not exist"


def test_no_unfinished_work() -> None:
    marks = ("TODO", "FIXME", "XXX", "NotImplementedError", "import pickle", "except:")
    found = [f"{path}: {mark}" for path in FILES for mark in marks if mark in path.read_text()]
    assert not found


def test_public_surface_is_small_and_real() -> None:
    import overwinter

    assert len(overwinter.__all__) <= 20
    for name in overwinter.__all__:
        assert getattr(overwinter, name) is not None
