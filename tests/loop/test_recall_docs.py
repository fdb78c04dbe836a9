"""The examples of docs/recall.md run, and its tables name what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from overwinter.loop.recall import RecallSettings, parse_recall
from overwinter.think import recall

PAGE = (Path(__file__).parents[2] / "docs" / "recall.md").read_text()


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})
    assert "Alice's employer is Acme" in capsys.readouterr().out


def test_the_setup_that_is_shown_is_the_default() -> None:
    found = re.search(r"`\"recall\": (\{.*?\})`", PAGE)
    assert found is not None
    assert parse_recall(json.loads(found[1])) == RecallSettings()


def test_procedures_are_named() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {"recall", "recall_in_two_stages", "filler", "fit_priors", "tally", "pass_at_k", "process_reward"} <= named
    assert named >= {"Thinker", "Extractor", "Verifier", "Checker", "FactBase", "Agreement", "Settings"} & set(
        recall.__all__
    )
