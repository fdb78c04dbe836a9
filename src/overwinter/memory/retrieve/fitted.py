"""Shipped calibrations, written by `recipes/fit_relevance.py`: do not edit by hand.

Not measured yet: placeholders until the recipe has run.
"""

from __future__ import annotations

from overwinter.memory.retrieve.relevance import SIGNS_OF_ANSWER, SIGNS_OF_HIT, Calibration, Logistic

_NONE = Calibration(
    answer=Logistic(weights=(0.0,) * len(SIGNS_OF_ANSWER), bias=0.0),
    hit=Logistic(weights=(0.0,) * len(SIGNS_OF_HIT), bias=0.0),
    threshold=0.0,
)
CALIBRATIONS: dict[str, Calibration] = {"words": _NONE, "dense": _NONE}
