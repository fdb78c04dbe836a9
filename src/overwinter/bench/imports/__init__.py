"""Logs of other harnesses as recorded answers: lm-eval's samples, Inspect's logs. What they do not say is left out, never made up.

read_log(Path("samples_gsm8k_….jsonl"))          lm-eval with --log_samples
read_log(Path("2026-…_task_….eval"))             Inspect, binary or JSON
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from overwinter.bench.answers import Recording
from overwinter.bench.imports.inspect_log import read_inspect
from overwinter.bench.imports.lm_eval import read_lm_eval
from overwinter.errors import UsageError

FORMS: Mapping[str, Callable[[Path, str | None], Recording]] = {"lm-eval": read_lm_eval, "inspect": read_inspect}


def read_log(path: Path, *, form: str | None = None, only: str | None = None) -> Recording:
    """A log as recorded answers.

    Args:
        form: a key of `FORMS`; None to see it from the file.
        only: of logs with several filters (lm-eval) or scorers (Inspect), which one; None for the first.

    Raises:
        UsageError: no such file or form, or a log that cannot be read.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "name a log")
    if form is not None and form not in FORMS:
        raise UsageError(f"there is no form {form!r}", f"use one of: {', '.join(FORMS)}")
    return FORMS[form or _form_of(path)](path, only)


def _form_of(path: Path) -> str:
    if zipfile.is_zipfile(path):
        return "inspect"
    with path.open(encoding="utf-8", errors="replace") as file:
        begin = file.read(1 << 16)
    try:
        if "doc_id" in json.loads(begin.splitlines()[0]):
            return "lm-eval"
    except (ValueError, IndexError, TypeError):
        pass
    if '"eval"' in begin and '"version"' in begin:
        return "inspect"
    raise UsageError(
        f"{path.name} is neither a log of Inspect nor samples of lm-eval", f"name its form: --form {' or '.join(FORMS)}"
    )
