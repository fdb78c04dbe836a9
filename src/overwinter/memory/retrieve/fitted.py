"""Shipped calibrations, written by `recipes/fit_relevance.py --write`: do not edit by hand."""

from __future__ import annotations

from overwinter.memory.retrieve.relevance import Calibration, Logistic

CALIBRATIONS = {
    "words": Calibration(
        threshold=0.0929,
        answer=Logistic(
            weights=(-2.136, 2.2956, -1.8139, 12.934, -1.6217, 0.4455, 0.3379, 2.8936, 0.0, 0.0), bias=-3.1886
        ),
        hit=Logistic(weights=(-0.0248, -0.0248, 3.751, 3.6466, 0.0), bias=-5.9858),
    ),
    "dense": Calibration(
        threshold=0.1285,
        answer=Logistic(
            weights=(-0.1417, -0.412, -1.2434, 3.1689, -1.1658, -1.1435, -1.3918, 3.7773, 8.5759, 5.5885), bias=-6.2717
        ),
        hit=Logistic(weights=(-0.4467, -0.4467, 4.352, 2.9642, 6.1577), bias=-8.4812),
    ),
}
