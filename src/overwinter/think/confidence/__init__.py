"""Confidence: what it is worth (`metrics`), how it becomes a probability (`calibrators`), what can be promised of it (`conformal`).

Measuring needs numpy (`pip install overwinter[bench]`); using a calibrator or a threshold that was fitted needs nothing.
"""
