"""`overwinter bench` from the command line: run, kill, resume, score, compare, import, the page."""

from __future__ import annotations

import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cli_kit import Cli

pytest.importorskip("numpy", reason="benchmarks need overwinter[bench]")


@pytest.fixture
def answers(tmp_path: Path):
    """Writes recorded answers; their file."""

    def write(name: str, *, skill: float = 0.6, samples: int = 1, count: int = 80, seed: int = 0) -> str:
        rng, rows = random.Random(seed), [{"overwinter_answers": 1, "suite": "craftmd", "model": f"model-{name}"}]
        for item in range(count):
            chance = min(max(rng.gauss(skill, 0.2), 0.02), 0.98)
            for sample in range(samples):
                right = rng.random() < chance
                rows.append(
                    {
                        "item": f"case_{item}",
                        "sample": sample,
                        "answer": "A" if right else rng.choice("BCD"),
                        "correct": int(right),
                        "confidence": {"stated": round(chance, 2), "tail": 10 + chance},
                        "tokens_in": 100,
                        "tokens_out": 20 + item,
                        "slices": {"specialty": "Cardiology <b>" if item % 2 else "Neurology"},
                    }
                )
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return f"{name}.jsonl"

    return write


class _Page(HTMLParser):
    """Tags that never close, and what the page loads from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "br", "path", "circle", "rect"}:
            self.open.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"path", "circle", "rect"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_recorded_answers_are_scored_and_shown(cli: Cli, answers, tmp_path: Path) -> None:
    said = cli("bench", "clinical", "--answers", answers("one", samples=4), "--html", "page.html", "--draws", "40")
    assert said.code == 0, said.err
    assert "80 questions, 4 samples each" in said.out
    assert "agreement" in said.out
    assert "Not for clinical use" in said.out
    page = _Page((tmp_path / "page.html").read_text())
    assert page.open == []
    assert page.loads == []
    words = " ".join(page.texts)
    for title in (
        "Reliability of “stated”",
        "Risk and coverage",
        "What more samples buy",
        "Under a cap on tokens",
        "Slices",
    ):
        assert title in words
    assert "Cardiology <b>" in words
    assert {file.name for file in tmp_path.iterdir()} == {"one.jsonl", "page.html"}


def test_figures_are_records(cli: Cli, answers) -> None:
    found = cli("bench", "score", answers("one"), answers("two", seed=1), "--json", "--draws", "40").records
    assert [each["header"]["model"] for each in found] == ["model-one", "model-two"]
    assert found[0]["score"]["low"] < found[0]["score"]["value"] < found[0]["score"]["high"]
    assert found[0]["calibration"]["stated"]["null_ece"]["p95"] > 0
    assert found[0]["budget"]["caps"]["tokens"]["points"]


def test_two_systems_are_compared(cli: Cli, answers, tmp_path: Path) -> None:
    worse, better = answers("worse", skill=0.4), answers("better", skill=0.8, seed=3)
    said = cli("bench", "compare", worse, better, "--html", "two.html")
    assert said.code == 0, said.err
    assert "a difference is shown" in said.out
    assert "mcnemar" in said.out
    record = cli("bench", "compare", worse, better, "--json", "--effect", "0.1").record
    assert record["difference"] > 0
    assert record["effect"] == 0.1
    assert "Compared question by question" in " ".join(_Page((tmp_path / "two.html").read_text()).texts)


def test_a_suite_is_put_to_a_model_and_its_run_scored(cli: Cli, script) -> None:
    model = script(*["Answer: 5\nConfidence: 0.5"] * 12)
    said = cli(
        "bench", "arithmetic", "--model", model, "--count", "8", "--name", "b1", "--save", "kept.jsonl", "--draws", "20"
    )
    assert said.code == 0, said.err
    assert "8 questions" in said.out
    assert len(Path("kept.jsonl").read_text().splitlines()) == 9
    assert cli("log", "b1", "--verify").code == 0
    assert cli("why", "b1", "3").code == 0
    again = cli("bench", "score", "b1", "--json", "--draws", "20").record
    kept = cli("bench", "score", "kept.jsonl", "--json", "--draws", "20").record
    assert again["score"] == kept["score"]
    records = cli(
        "bench", "run", "arithmetic", "--model", model, "--count", "8", "--name", "b2", "--json", "--draws", "20"
    ).records
    assert len({record["item"] for record in records[:-1]}) == 8
    assert records[-1]["answers"] == 8
    replayed = cli("bench", "replay", "b1", "--json").record
    assert (replayed["differences"], replayed["compared"]) == (0, 24)
    assert cli("bench", "replay", "b1", "--ask").code == 0
    other = cli("resume", "b1")
    assert other.code == 2


def test_a_budget_that_ends_is_said_and_raised(cli: Cli, script) -> None:
    model = script(*["Answer: 5"] * 20)
    options = [
        "--model",
        model,
        "--count",
        "6",
        "--name",
        "b1",
        "--budget",
        "tokens=200",
        "--max-tokens",
        "50",
        "--draws",
        "20",
    ]
    said = cli("bench", "arithmetic", *options)
    assert said.code == 1
    assert "bench resume b1 --add-budget" in said.err
    assert cli("ls", "--json").records[0]["status"] == "waiting:budget"
    assert "overwinter bench resume" in cli("resume", "b1").err
    went_on = cli("bench", "resume", "b1", "--add-budget", "tokens=10k", "--draws", "20")
    assert went_on.code == 0, went_on.err
    assert "6 questions" in went_on.out
    over = cli("bench", "resume", "b1", "--json", "--draws", "20").record
    assert over["answers"] == 6


def test_a_world_is_a_suite(cli: Cli) -> None:
    said = cli("bench", "household", "--model", "policy:rules", "--count", "2", "--name", "h", "--draws", "20")
    assert said.code == 0, said.err
    assert "score on the suite's own scale" in said.out
    runs = [record["run"] for record in cli("ls", "--json").records]
    assert len(runs) == 3
    episode = next(run for run in runs if run != "h")
    assert re.fullmatch(r"h-s\d+", episode)
    assert cli("replay", episode).code == 0


@pytest.mark.parametrize(
    ("words", "problem", "step"),
    [
        (["bench", "medqa", "--model", "MODEL"], "no data folder is named", "--data"),
        (["bench", "medqa", "--model", "MODEL", "--data", "nowhere"], "there is no folder", "--data"),
        (["bench", "medqa", "--model", "MODEL", "--data", "."], "does not hold medqa_test.jsonl", "docs/bench.md"),
        (["bench", "nonesuch", "--model", "MODEL"], "there is no suite", "arithmetic"),
        (["bench", "arithmetic"], "no model is named", "--model"),
        (["bench", "arithmetic", "--model", "MODEL", "--parallel", "2"], "one question at a time", "--parallel"),
        (["bench", "arithmetic", "--model", "bundled"], "plays worlds only", "--world"),
        (["bench", "arithmetic", "--answers", "none.jsonl"], "there is no file", "recorded answers"),
        (["bench", "score", "no-such-run"], "no journal", "--store"),
    ],
)
def test_errors_say_what_to_do(cli: Cli, script, words: list[str], problem: str, step: str) -> None:
    said = cli(*[script("x") if word == "MODEL" else word for word in words])
    assert said.code == 2, said.out
    assert problem in said.err
    assert step in said.err


def test_answers_without_scores_are_scored_by_their_suite(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [
        {
            "realidx": n,
            "question": f"Which, number {n}?",
            "options": {"A": "one", "B": "two"},
            "answer_idx": "AB"[n % 2],
        }
        for n in range(4)
    ]
    (folder / "medqa_test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = [{"item": str(n), "text": f"Answer: {'AB'[n // 2]}\nConfidence: 0.6"} for n in range(4)]
    (tmp_path / "raw.jsonl").write_text("\n".join(map(json.dumps, said)))
    found = cli("bench", "medqa", "--answers", "raw.jsonl", "--data", "data", "--json", "--draws", "20").record
    assert found["score"]["value"] == 0.5
    assert found["calibration"]["stated"]["samples"] == 4
    wrong = [{"item": "q9", "answer": "A"}]
    (tmp_path / "wrong.jsonl").write_text("\n".join(map(json.dumps, wrong)))
    refused = cli("bench", "medqa", "--answers", "wrong.jsonl", "--data", "data")
    assert refused.code == 2
    assert "belongs to a question" in refused.err


def test_suites_are_listed(cli: Cli) -> None:
    found = {record["suite"]: record for record in cli("bench", "suites", "--json").records}
    assert found["arithmetic"]["needs"] == ""
    assert found["medqa"]["family"] == "clinical"
    assert "medqa_test.jsonl" in cli("bench", "suites").out


def test_logs_of_other_harnesses_are_imported(cli: Cli, tmp_path: Path) -> None:
    row = {
        "doc_id": 1,
        "doc": {},
        "filter": "none",
        "resps": [["7"]],
        "filtered_resps": ["7"],
        "metrics": ["exact_match"],
        "exact_match": 1.0,
    }
    (tmp_path / "samples.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "doc_id": 2}))
    assert cli("bench", "import", "samples.jsonl", "out.jsonl", "--json").record["answers"] == 2
    assert "2 questions" in cli("bench", "score", "out.jsonl", "--draws", "20").out


def test_without_numpy_nobody_is_asked(cli: Cli, script, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "numpy" else real(name, *rest))
    said = cli("bench", "arithmetic", "--model", script("x"), "--count", "2")
    assert said.code == 2
    assert "overwinter[bench]" in said.err
    assert not Path("overwinter.db").exists()
