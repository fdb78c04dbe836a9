"""Logs of Inspect: JSON, or `.eval` (a zip whose members newer versions compress by Zstandard).

Epochs are samples of one question. Scores "C", "P", "I" and "N" count 1, 0.5, 0 and 0, as Inspect counts them.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from overwinter.bench.answers import Answer, Header, Recording
from overwinter.bench.reading import stated_confidence
from overwinter.errors import UsageError

ZSTANDARD = 93
VALUES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_LOCAL = struct.Struct("<4s5H3I2H")


def read_inspect(path: Path, only: str | None = None) -> Recording:
    """The answers of one log.

    Raises:
        UsageError: it cannot be read, has no samples, or no score that is a number or a letter.
    """
    header, samples = _binary(path) if zipfile.is_zipfile(path) else _json(path)
    about = header.get("eval", {})
    answers = [_answer(path, sample, only) for sample in samples]
    if not answers:
        raise UsageError(f"{path.name} holds no samples", "give a log that was written with its samples")
    made = Header(
        suite=str(about.get("task", "")),
        model=str(about.get("model", "")),
        prompt="inspect",
        run=str(about.get("run_id", "")),
    )
    return Recording(header=made, answers=tuple(answers), name=path.stem)


def _json(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        raw = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is no JSON: {error}", "give the log as Inspect wrote it") from error
    if not isinstance(raw, dict) or "eval" not in raw:
        raise UsageError(f"{path} is no log of Inspect", "give a .json or .eval log")
    return raw, raw.get("samples") or []


def _binary(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if "header.json" not in members:
            raise UsageError(
                f"{path.name} has no header: its evaluation did not end", "finish it with `inspect eval-retry`"
            )
        header = json.loads(_member(path, archive, members["header.json"]))
        names = sorted(name for name in members if name.startswith("samples/"))
        return header, [json.loads(_member(path, archive, members[name])) for name in names]


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type != ZSTANDARD:
        return archive.read(info)
    expand = _zstandard(path)
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name, extra = _LOCAL.unpack(file.read(_LOCAL.size))[-2:]
        file.seek(name + extra, 1)
        return expand(file.read(info.compress_size), info.file_size)


def _zstandard(path: Path) -> Callable[[bytes, int], bytes]:
    """Python has it from 3.14 on; the package `zstandard` brings it to older ones."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]

        return lambda data, _: bytes(zstd.decompress(data))
    except ImportError:
        pass
    try:
        import zstandard  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise UsageError(
            f"{path.name} is compressed by Zstandard, which this Python does not have",
            "write it as JSON with `inspect log convert --to json`, or `pip install zstandard`",
        ) from None
    return lambda data, size: bytes(zstandard.ZstdDecompressor().decompress(data, max_output_size=size))


def _answer(path: Path, sample: Mapping[str, Any], only: str | None) -> Answer:
    output = sample.get("output") or {}
    text = str(output.get("completion", ""))
    usage = _usage(sample)
    common: dict[str, Any] = {
        "item": str(sample["id"]),
        "sample": int(sample.get("epoch", 1)) - 1,
        "text": text,
        "tokens_in": usage[0],
        "tokens_out": usage[1],
        "seconds": float(sample.get("working_time") or sample.get("total_time") or 0.0),
        "tool_calls": sum(len(message.get("tool_calls") or ()) for message in sample.get("messages", ())),
        "slices": {
            name: str(value)
            for name, value in (sample.get("metadata") or {}).items()
            if isinstance(value, str | int) and len(str(value)) < 60
        },
    }
    if sample.get("error"):
        return Answer(answer=None, correct=0.0, status="error", **common)
    scores = sample.get("scores") or {}
    if not scores:
        return Answer(answer=None, status="limit" if sample.get("limit") else "ok", **common)
    name = only or next(iter(scores))
    if name not in scores:
        raise UsageError(f"there is no scorer {name!r} in {path.name}", f"it has: {', '.join(scores)}")
    found = scores[name]
    stated = stated_confidence(text)
    said = found.get("answer")
    return Answer(
        answer=None if said is None else str(said),
        correct=_value(path, name, found.get("value")),
        status="ok" if said not in (None, "") or found.get("value") in ("C", 1, 1.0, True) else "unparsed",
        confidence={} if stated is None else {"stated": stated},
        **common,
    )


def _usage(sample: Mapping[str, Any]) -> tuple[int, int]:
    rows = list((sample.get("model_usage") or {}).values())
    return sum(row.get("input_tokens", 0) for row in rows), sum(row.get("output_tokens", 0) for row in rows)


def _value(path: Path, name: str, value: Any) -> float:
    if isinstance(value, str) and value in VALUES:
        return VALUES[value]
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    raise UsageError(
        f"scorer {name!r} of {path.name} gives {value!r}, which is no score from 0 to 1",
        "choose another with --only NAME",
    )
