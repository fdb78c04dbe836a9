"""What a training tells: one JSON line per event in `metrics.jsonl`, and TensorBoard's event files where that is installed.

After a resume, lines of steps that are done again are cut off, so that the file reads as if nothing had happened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from overwinter.errors import UsageError

FILE = "metrics.jsonl"


class Metrics:
    """The written record of one training.

    Args:
        folder: where it goes; None writes nothing.
        step: lines of later steps are removed.
        tensorboard: write event files to `folder/tensorboard` too.

    Raises:
        UsageError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path | None, *, step: int = 0, tensorboard: bool = False) -> None:
        self._file: TextIO | None = None
        self._board: Any = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        _cut(folder / FILE, step)
        self._file = (folder / FILE).open("a", encoding="utf-8")
        if tensorboard:
            self._board = _board(folder / "tensorboard", step)

    def write(self, event: Mapping[str, Any]) -> None:
        """One event: `kind`, `step` and numbers."""
        if self._file is not None:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in event.items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(f"{event['kind']}/{name}", value, event["step"])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All whole lines."""
    path = folder / FILE
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _cut(path: Path, step: int) -> None:
    # The final figure is told again by whoever comes to the end.
    kept = [event for event in read_metrics(path.parent) if event["step"] <= step and event["kind"] != "final"]
    if path.exists():
        new = path.with_name(f".{FILE}.partial")
        new.write_text("".join(json.dumps(event) + "\n" for event in kept), "utf-8")
        os.replace(new, path)


def _board(folder: Path, step: int) -> Any:
    if find_spec("tensorboard") is None:
        raise UsageError(
            "the recipe asks for TensorBoard, which is not installed",
            "pip install tensorboard, or set run.tensorboard to false; metrics.jsonl has the same figures",
        )
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)
