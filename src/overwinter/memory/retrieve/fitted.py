"""Shipped calibrations, written by `recipes/fit_relevance.py --write`: do not edit by hand."""

from __future__ import annotations

from overwinter.memory.retrieve.relevance import Calibration, Logistic

CALIBRATIONS = {
    "words": Calibration(
        threshold=0.1209,
        answer=Logistic(
            weights=(-2.2168, 3.9814, -2.0936, 12.0506, -1.8358, 1.4578, 0.6954, 2.4898, 0.0, 0.0), bias=-3.7098
        ),
        hit=Logistic(weights=(-0.4167, -0.4167, 3.9029, 3.9306, 0.0), bias=-5.8987),
    ),
    "dense": Calibration(
        threshold=0.143,
        answer=Logistic(
            weights=(0.3056, -0.2812, -1.3231, 2.7089, -1.3314, -0.4717, -1.2612, 3.2125, 8.3066, 7.5161), bias=-7.116
        ),
        hit=Logistic(weights=(-0.7395, -0.7395, 5.394, 3.0106, 4.9275), bias=-8.6137),
    ),
}
