"""The trainer: from text or examples to a model folder, on one process or several."""
