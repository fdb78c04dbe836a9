"""Credit: which decisions earned the outcome. Pure functions on a `Batch`."""
