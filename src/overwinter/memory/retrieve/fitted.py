"""Shipped calibrations, written by `recipes/fit_relevance.py --write`: do not edit by hand."""

from __future__ import annotations

from overwinter.memory.retrieve.relevance import Calibration, Logistic

CALIBRATIONS = {
    "words": Calibration(
        threshold=0.0929,
        answer=Logistic(
            weights=(-2.1349, 2.2985, -1.8155, 12.9337, -1.6215, 0.4477, 0.3369, 2.8868, 0.0, 0.0), bias=-3.1872
        ),
        hit=Logistic(weights=(-0.0256, -0.0256, 3.7522, 3.6466, 0.0), bias=-5.9861),
    ),
    "dense": Calibration(
        threshold=0.1285,
        answer=Logistic(
            weights=(-0.1351, -0.4071, -1.2457, 3.1634, -1.1656, -1.1385, -1.3929, 3.7656, 8.5801, 5.584), bias=-6.2724
        ),
        hit=Logistic(weights=(-0.4484, -0.4484, 4.3505, 2.9656, 6.1594), bias=-8.4799),
    ),
}
