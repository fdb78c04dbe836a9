"""Shipped calibrations, written by `recipes/fit_relevance.py --write`: do not edit by hand."""

from __future__ import annotations

from overwinter.memory.retrieve.relevance import Calibration, Logistic

CALIBRATIONS = {
    "words": Calibration(
        threshold=0.0929,
        answer=Logistic(weights=(-2.136, 2.2956, -1.8139, 12.934, -1.6217, 0.4455, 0.3379, 2.8936, 0.0, 0.0), bias=-3.1886),
        hit=Logistic(weights=(-0.0248, -0.0248, 3.751, 3.6466, 0.0), bias=-5.9858),
    ),
    "dense": Calibration(
        threshold=0.0929,
        answer=Logistic(weights=(-2.136, 2.2956, -1.8139, 12.934, -1.6217, 0.4455, 0.3379, 2.8936, 0.0, 0.0), bias=-3.1886),
        hit=Logistic(weights=(-0.0248, -0.0248, 3.751, 3.6466, 0.0), bias=-5.9858),
    ),
}
