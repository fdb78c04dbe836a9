"""Bench: the same runs, scored, with calibration, paired comparisons and cost. Needs numpy (`pip install overwinter[bench]`)."""
