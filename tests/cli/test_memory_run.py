"""`run --memory`: a long job through a small window, by the command line and with the namespace's own index."""

from __future__ import annotations

import json

from cli_kit import Cli

WORLD = ("run", "--world", "archive:letters=6,documents=30", "--seed", "3", "--window", "1700")


def kinds(cli: Cli, run: str, kind: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in cli("log", run, "--json", "--kind", kind).out.splitlines()]


def test_with_memory_the_archive_is_kept_and_without_it_is_not(cli: Cli) -> None:
    assert cli(*WORLD, "--memory", "--name", "with").code == 0
    assert cli(*WORLD, "--name", "without").code == 4
    setup = kinds(cli, "with", "run.started")[0]["body"]["setup"]  # type: ignore[index]
    assert setup["memory"] == {"namespace": "default"}
    assert setup["pace"] == {"window_tokens": 1700}
    assert "memory" not in kinds(cli, "without", "run.started")[0]["body"]["setup"]  # type: ignore[index]
    recalled = kinds(cli, "with", "recalled")
    assert recalled
    assert all(hit["cite"].startswith("with#") for entry in recalled for hit in entry["body"]["hits"])  # type: ignore[index]
    assert cli("replay", "with").code == 0
    said = cli("log", "with", "--html", "page.html")
    assert said.code == 0


def test_a_namespace_is_memorys_and_no_other(cli: Cli) -> None:
    small = ("run", "--world", "archive:letters=1,documents=4", "--seed", "1", "--window", "1700", "--max-steps", "3")
    assert cli(*small, "--namespace", "a", "--name", "first").code == 3
    assert cli(*small, "--namespace", "b", "--name", "second").code == 3
    assert not [
        hit for entry in kinds(cli, "second", "recalled") for hit in entry["body"]["hits"] if "first" in hit["cite"]
    ]  # type: ignore[index]
    assert cli(*small, "--namespace", "a", "--name", "third").code == 3
    assert [hit for entry in kinds(cli, "third", "recalled") for hit in entry["body"]["hits"] if "first" in hit["cite"]]  # type: ignore[index]
    refused = cli(*small, "--namespace", "../c")
    assert refused.code == 2
    assert "not allowed" in refused.err
