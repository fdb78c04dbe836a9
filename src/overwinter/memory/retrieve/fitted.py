"""Shipped calibrations, written by `recipes/fit_relevance.py --write`: do not edit by hand."""

from __future__ import annotations

from overwinter.memory.retrieve.relevance import Calibration, Logistic

CALIBRATIONS = {
    "words": Calibration(
        threshold=0.1213,
        answer=Logistic(
            weights=(-2.3746, 3.8429, -1.9657, 12.2293, -1.855, 1.4247, 0.7011, 2.7219, 0.0, 0.0), bias=-3.7577
        ),
        hit=Logistic(weights=(-0.4473, -0.4473, 3.7087, 3.9968, 0.0), bias=-5.7292),
    ),
    "dense": Calibration(
        threshold=0.1452,
        answer=Logistic(
            weights=(0.3002, -0.3742, -1.1876, 2.701, -1.3484, -0.4432, -1.1922, 3.3093, 8.1593, 7.634), bias=-7.1918
        ),
        hit=Logistic(weights=(-0.7276, -0.7276, 5.4327, 2.9424, 5.0212), bias=-8.6732),
    ),
}
