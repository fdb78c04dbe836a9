"""Calibrators in a file: what each is of, the scope it holds in, and below which probability a person should be asked.

    {"format_version": 1, "calibrators": [{"of": "run", "signal": "stated", "calibrator": {…}, "ask_below": null}, …]}

A run takes one such file (`[confidence] calibrator = FILE`, or the one beside a bundled model) and applies those of its own scope.
Outside of it nothing is applied and the record says why: a calibrator does not transfer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from overwinter.errors import UsageError
from overwinter.think.confidence.calibrators import Calibrator, Scope
from overwinter.think.confidence.combined import Combined
from overwinter.think.confidence.record import OBJECTS

FORMAT_VERSION = 1
FILE_NAME = "confidence.json"
"""Beside the weights of a model folder that brings its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One calibrator of a file.

    Attributes:
        of: what its probability is of, out of `record.OBJECTS`.
        signal: the signal it is applied to; a combination takes all its own.
        ask_below: a person should be asked below this probability; None where no threshold could be promised, or none was asked for.
        promise: what was promised of it, in words.
    """

    of: str
    signal: str
    calibrator: Calibrator | Combined
    ask_below: float | None = None
    promise: str = ""

    @property
    def name(self) -> str:
        """How the journal names it: method, labels, and of which model."""
        method = self.calibrator.method if isinstance(self.calibrator, Calibrator) else "combined"
        return f"{method} on {self.calibrator.labels} labels, {self.calibrator.scope.model or 'any model'}"

    def apply(self, signals: Mapping[str, float], scope: Scope) -> float | None:
        """The probability; None where its signal is missing. Raises UsageError outside its scope."""
        here = replace(scope, signal=self.calibrator.scope.signal)
        if isinstance(self.calibrator, Combined):
            return self.calibrator.apply(signals, here)
        return self.calibrator.apply(signals[self.signal], here) if self.signal in signals else None

    def to_json(self) -> dict[str, Any]:
        return {
            "of": self.of,
            "signal": self.signal,
            "calibrator": self.calibrator.to_json(),
            "ask_below": self.ask_below,
            "promise": self.promise,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Shelf:
    """The calibrators of a file."""

    held: tuple[Stored, ...]

    def find(self, of: str) -> Stored | None:
        return next((each for each in self.held if each.of == of), None)

    def to_json(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION, "calibrators": [each.to_json() for each in self.held]}

    def calibrate(
        self, signals: Mapping[str, float], scope: Scope, of: Sequence[str] = OBJECTS
    ) -> tuple[dict[str, dict[str, Any]], str]:
        """(for each object that has a calibrator of this scope, `{"value", "by"}`; why others were refused, "" if none was)."""
        made: dict[str, dict[str, Any]] = {}
        refused = ""
        for each in self.held:
            if each.of not in of or each.of in made:
                continue
            try:
                value = each.apply(signals, scope)
            except UsageError as error:
                refused = refused or error.problem
                continue
            if value is not None:
                made[each.of] = {"value": round(value, 6), "by": each.name}
        return made, "" if made else refused


def load(path: Path) -> Shelf:
    """Read a file of calibrators, or a lone one. Raises UsageError where it is none."""
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the calibrators {path} cannot be read: {error}", "name a file that `bench calibration --fit` wrote"
        ) from error
    return shelf_of(raw, str(path))


def shelf_of(raw: Any, place: str) -> Shelf:
    """The calibrators of a file's contents; `place` names it in errors. Raises UsageError where it holds none."""
    if not isinstance(raw, dict) or raw.get("format_version") != FORMAT_VERSION or "calibrators" not in raw:
        raise UsageError(
            f"{place} holds no calibrators of format {FORMAT_VERSION}", "fit them again with `bench calibration --fit`"
        )
    return Shelf(held=tuple(_stored(place, each) for each in raw["calibrators"]))


def save(path: Path, held: Sequence[Stored]) -> None:
    """Write a file, under its name once it is whole."""
    body = Shelf(held=tuple(held)).to_json()
    draft = path.with_name(f".{path.name}.partial")
    draft.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", "utf-8")
    draft.replace(path)


def _stored(place: str, raw: Mapping[str, Any]) -> Stored:
    try:
        body = raw["calibrator"]
        kind: type[Calibrator] | type[Combined] = Combined if body.get("method") == "combined" else Calibrator
        made = Stored(
            of=raw["of"],
            signal=raw["signal"],
            calibrator=kind.from_json(body),
            ask_below=raw.get("ask_below"),
            promise=raw.get("promise", ""),
        )
        # Parameters that are missing or of another form would be noticed in the middle of a run.
        if isinstance(made.calibrator, Calibrator):
            made.calibrator.probability(0.5)
        else:
            made.calibrator.probability({})
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise UsageError(f"{place} holds something that is no calibrator: {error}", "fit it again") from error
    if made.of not in OBJECTS:
        raise UsageError(f"{place} has a calibrator of {made.of!r}", f"use one of: {', '.join(OBJECTS)}")
    return made
