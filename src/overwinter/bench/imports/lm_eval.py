"""Samples of lm-eval (`--log_samples`): one JSON line for each document and filter.

Of multiple choice the log holds the log-likelihood of each choice. Their softmax is kept as confidence "choice": what the model gives its
answer among the choices, not normalised by length.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overwinter.bench.answers import Answer, Header, Recording
from overwinter.errors import UsageError

SCORES = ("exact_match", "acc", "pass@1", "em", "f1")
"""Metrics that say whether one answer is right, the first that is there."""
SLICES = ("category", "subject", "level", "type", "specialty", "difficulty")
"""Fields of a document that are worth reporting by."""


def read_lm_eval(path: Path, only: str | None = None) -> Recording:
    """The answers of one task.

    Raises:
        UsageError: a line is no sample, or has no score that can be used.
    """
    rows = [
        _row(path, number, line) for number, line in enumerate(path.read_text("utf-8").splitlines(), 1) if line.strip()
    ]
    if not rows:
        raise UsageError(f"{path} holds no samples", "run lm-eval with --log_samples")
    filters = list(dict.fromkeys(row.get("filter", "none") for row in rows))
    wanted = only or filters[0]
    if wanted not in filters:
        raise UsageError(f"there is no filter {wanted!r} in {path.name}", f"it has: {', '.join(filters)}")
    kept = [row for row in rows if row.get("filter", "none") == wanted]
    answers = [answer for row in kept for answer in _answers(path, row)]
    task = path.name.removeprefix("samples_").rsplit("_", 1)[0] if path.name.startswith("samples_") else path.stem
    return Recording(header=Header(suite=task, prompt="lm-eval"), answers=tuple(answers), name=path.stem)


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UsageError(
            f"line {number} of {path} is no JSON: {error}", "give the samples file as lm-eval wrote it"
        ) from error
    if not isinstance(row, dict) or "doc_id" not in row or "filtered_resps" not in row:
        raise UsageError(f"line {number} of {path} is no sample of lm-eval", "give a file of --log_samples")
    return row


def _answers(path: Path, row: Mapping[str, Any]) -> list[Answer]:
    name = next((each for each in SCORES if isinstance(row.get(each), int | float)), None)
    if name is None:
        metrics = ", ".join(row.get("metrics", [])) or "none"
        raise UsageError(
            f"{path.name}: document {row['doc_id']} has no score of one answer (it has: {metrics})",
            f"use a task with one of: {', '.join(SCORES)}",
        )
    doc = row.get("doc") if isinstance(row.get("doc"), Mapping) else {}
    assert isinstance(doc, Mapping)
    common: dict[str, Any] = {
        "item": str(row["doc_id"]),
        "correct": min(max(float(row[name]), 0.0), 1.0),
        "slices": {each: str(doc[each]) for each in SLICES if isinstance(doc.get(each), str | int)},
    }
    said = row["filtered_resps"]
    likelihoods = _likelihoods(said)
    if likelihoods is not None:
        chosen = max(range(len(likelihoods)), key=likelihoods.__getitem__)
        return [Answer(answer=str(chosen), confidence={"choice": _softmax(likelihoods)[chosen]}, **common)]
    texts = (
        [each if isinstance(each, str) else str(each[0]) for each in said] if isinstance(said, list) else [str(said)]
    )
    # Several responses share one score: it belongs to all of them together, so one answer is made.
    whole = row.get("resps") or []
    text = (
        whole[0][0] if whole and isinstance(whole[0], list) and whole[0] and isinstance(whole[0][0], str) else texts[0]
    )
    unparsed = texts[0] in ("[invalid]", "")
    return [Answer(answer=None if unparsed else texts[0], text=text, status="unparsed" if unparsed else "ok", **common)]


def _likelihoods(said: Any) -> list[float] | None:
    """Log-likelihood of each choice; None where the answer is a text."""
    if not isinstance(said, Sequence) or isinstance(said, str) or len(said) < 2:
        return None
    found = []
    for each in said:
        if not isinstance(each, Sequence) or isinstance(each, str) or not each:
            return None
        try:
            found.append(float(each[0]))
        except (TypeError, ValueError):
            return None
    return found


def _softmax(values: Sequence[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / math.fsum(powers) for power in powers]
