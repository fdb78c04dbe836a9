"""Logs of lm-eval and Inspect: their scores and answers are kept, and what they do not say is left out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from overwinter.bench.imports import read_log
from overwinter.errors import UsageError


def _lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def test_lm_eval_multiple_choice_has_the_choice_s_probability(tmp_path: Path) -> None:
    row = {
        "doc_id": 3,
        "doc": {"subject": "anatomy", "question": "long text"},
        "filter": "none",
        "resps": [[["-1.0", "False"]], [["-2.0", "False"]]],
        "filtered_resps": [["-1.0", "False"], ["-2.0", "False"]],
        "metrics": ["acc", "acc_norm"],
        "acc": 1.0,
        "acc_norm": 0.0,
    }
    found = read_log(_lines(tmp_path / "samples_medqa_2026-01-01T00-00-00.jsonl", [row]))
    assert found.header.suite == "medqa"
    (answer,) = found.answers
    assert (answer.item, answer.answer, answer.correct) == ("3", "0", 1.0)
    assert answer.confidence["choice"] == pytest.approx(1 / (1 + 2.718281828**-1))
    assert answer.slices == {"subject": "anatomy"}


def test_lm_eval_filters_are_several_readings_of_one_text(tmp_path: Path) -> None:
    rows = [
        {
            "doc_id": 0,
            "doc": {},
            "filter": name,
            "resps": [["so 7\n#### 7"]],
            "filtered_resps": [said],
            "metrics": ["exact_match"],
            "exact_match": score,
        }
        for name, said, score in (("strict", "7", 1.0), ("flexible", "[invalid]", 0.0))
    ]
    path = _lines(tmp_path / "samples.jsonl", rows)
    (strict,) = read_log(path).answers
    assert (strict.answer, strict.correct, strict.text) == ("7", 1.0, "so 7\n#### 7")
    (flexible,) = read_log(path, only="flexible").answers
    assert (flexible.answer, flexible.status, flexible.correct) == (None, "unparsed", 0.0)
    with pytest.raises(UsageError, match="strict, flexible"):
        read_log(path, only="loose")


@pytest.mark.parametrize(
    ("row", "message"),
    [({"doc_id": 1}, "no sample"), ({"doc_id": 1, "filtered_resps": ["x"], "metrics": ["bleu"], "bleu": 31.2}, "bleu")],
)
def test_a_line_that_is_no_sample_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_log(_lines(tmp_path / "samples.jsonl", [row]), form="lm-eval")


def _inspect(**sample: Any) -> dict[str, Any]:
    base = {
        "id": "q1",
        "epoch": 1,
        "metadata": {"level": "2", "long": "x" * 100},
        "messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}],
        "output": {"completion": "Answer: 7\nConfidence: 0.6"},
        "scores": {"match": {"value": "C", "answer": "7"}, "judge": {"value": 0.25, "answer": "seven"}},
        "model_usage": {"m": {"input_tokens": 11, "output_tokens": 5}},
        "working_time": 1.5,
    }
    return {**base, **sample}


def _log(*samples: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": 2,
        "status": "success",
        "eval": {"task": "sums", "model": "m/1", "run_id": "r"},
        "samples": list(samples),
    }


def test_inspect_epochs_are_samples(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps(_log(_inspect(), _inspect(epoch=2, scores={"match": {"value": "P", "answer": "8"}}))))
    found = read_log(path)
    assert (found.header.suite, found.header.model) == ("sums", "m/1")
    first, second = found.answers
    assert (first.item, first.sample, first.answer, first.correct, first.confidence) == (
        "q1",
        0,
        "7",
        1.0,
        {"stated": 0.6},
    )
    assert (first.tokens_in, first.tokens_out, first.tool_calls, first.seconds, first.slices) == (
        11,
        5,
        1,
        1.5,
        {"level": "2"},
    )
    assert (second.sample, second.correct) == (1, 0.5)


def test_inspect_errors_scorers_and_limits(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(
        json.dumps(
            _log(
                _inspect(),
                _inspect(id="q2", error={"message": "x"}),
                _inspect(id="q3", scores={}, limit={"type": "time"}),
            )
        )
    )
    with pytest.raises(UsageError, match="match, judge"):
        read_log(path, only="other")
    _, failed, cut = read_log(path).answers
    assert (failed.status, failed.correct) == ("error", 0.0)
    assert (cut.status, cut.correct) == ("limit", None)
    one = tmp_path / "one.json"
    one.write_text(json.dumps(_log(_inspect())))
    assert read_log(one, only="judge").answers[0].correct == 0.25


def _eval_file(path: Path, compress: int) -> Path:
    log = _log(_inspect())
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("header.json", json.dumps({k: v for k, v in log.items() if k != "samples"}))
        archive.writestr("samples/q1_epoch_1.json", json.dumps(log["samples"][0]))
    return path


def test_inspect_binary_logs(tmp_path: Path) -> None:
    found = read_log(_eval_file(tmp_path / "a.eval", zipfile.ZIP_DEFLATED))
    assert found.answers[0].answer == "7"
    assert found.name == "a"


def test_inspect_binary_logs_by_zstandard(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="only Python 3.14 has Zstandard of its own")
    path = _eval_file(tmp_path / "z.eval", zipfile.ZIP_STORED)
    # No zipfile of this Python writes method 93, so the members are packed by hand.
    import io
    import struct
    import zlib

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    out, entries = io.BytesIO(), []
    for name, data in members.items():
        packed, at = zstandard.ZstdCompressor().compress(data), out.tell()
        fields = (63, 0, 93, 0, 0, zlib.crc32(data), len(packed), len(data), len(name), 0)
        out.write(struct.pack("<4s5H3I2H", b"PK\3\4", *fields) + name.encode() + packed)
        entries.append((name, fields, at))
    start = out.tell()
    for name, fields, at in entries:
        out.write(struct.pack("<4s6H3I5H2I", b"PK\1\2", 63, *fields, 0, 0, 0, 0, at) + name.encode())
    size = out.tell() - start
    out.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(entries), len(entries), size, start, 0))
    path.write_bytes(out.getvalue())
    assert read_log(path).answers[0].answer == "7"


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_log(tmp_path / "none")
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(UsageError, match="neither"):
        read_log(tmp_path / "text")
    with pytest.raises(UsageError, match="no form"):
        read_log(tmp_path / "text", form="helm")
    with zipfile.ZipFile(tmp_path / "b.eval", "w") as archive:
        archive.writestr("_journal/start.json", "{}")
    with pytest.raises(UsageError, match="did not end"):
        read_log(tmp_path / "b.eval")
