"""What the command line offers: it is quick to ask, complete in its documentation, and strict."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from cli_kit import SOURCE, Cli

from overwinter.cli.main import COMMANDS, GROUPS, app

DOCS = Path(__file__).parents[2] / "docs"
HEAVY = ("rich", "pydantic", "pydantic_settings", "httpx", "sqlite3", "overwinter.loop", "overwinter.tools")
HEAVY += ("torch", "numpy", "tokenizers", "overwinter.model", "overwinter.engine")
NAMES = [command.__name__ for command in COMMANDS]
NAMES += [f"{group} {command.__name__}" for group, commands in GROUPS.items() for command in commands]


def options() -> list[tuple[str, str]]:
    found = []
    for name in NAMES:
        command = typer.main.get_command(app)
        for word in name.split():
            command = command.commands[word]  # type: ignore[attr-defined]
        opts = [option for parameter in command.params for option in parameter.opts]
        found += [(name, option) for option in opts if option.startswith("--")]
    return found


def test_help_names_every_command(cli: Cli) -> None:
    said = cli("--help")
    assert said.code == 0
    assert all(f"  {name} " in said.out for name in [*(command.__name__ for command in COMMANDS), *GROUPS])


@pytest.mark.parametrize("command", NAMES)
def test_every_command_has_help_and_json(cli: Cli, command: str) -> None:
    said = cli(*command.split(), "--help")
    assert said.code == 0
    assert "--json" in said.out


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, overwinter.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SOURCE)}
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("command", "option"), options())
def test_the_guide_names_every_option(command: str, option: str) -> None:
    page = (DOCS / "cli.md").read_text("utf-8")
    titles = [(part.split("\n", 1)[0].split("`")[1], part) for part in page.split("\n### ")[1:]]
    # A command's words are small, its arguments are not.
    sections = {
        " ".join(word for word in title.split()[1:] if re.fullmatch("[a-z]+", word)): part for title, part in titles
    }
    common = page.split("\n### ")[0]
    assert command in sections, f"docs/cli.md has no section for {command}"
    assert f"`{option}" in sections[command] or f"`{option}" in common, f"docs/cli.md: {command} lacks {option}"


def test_an_unknown_option_is_refused(cli: Cli) -> None:
    said = cli("ls", "--jsn")
    assert said.code == 2
    assert "--jsn" in said.err
    assert "--help" in said.err


def test_an_unknown_command_is_refused(cli: Cli) -> None:
    assert cli("lst").code == 2


def test_version(cli: Cli) -> None:
    assert cli("--version").out.startswith("overwinter ")


def test_as_a_module(cli: Cli) -> None:
    with cli.process("--version") as process:
        assert process.communicate()[0].startswith("overwinter ")
    assert process.returncode == 0
