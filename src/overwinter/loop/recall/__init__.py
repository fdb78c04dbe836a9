"""Thinking to recall with the loop's models and memory: `overwinter.think.recall` says how, these say with whom.

    recalled = recall(question, ModelThinker(model), Statements(), Checker(verifiers=[MemoryVerifier(memory)]))

Reading order: `statements` (facts of a text, by memory's rules or by asking a model), `verifiers` (memory's claims, texts at hand, pure
tools, the model itself), `thinker` (a loop model as a `Thinker`), `model` (the actor of a run as a vote of its own chains).
"""

from __future__ import annotations

from overwinter.loop.recall.model import RecallingModel, RecallSettings, parse_recall
from overwinter.loop.recall.statements import AskedStatements, Statements
from overwinter.loop.recall.thinker import ModelThinker, asking
from overwinter.loop.recall.verifiers import MemoryVerifier, TextVerifier, ToolVerifier

__all__ = [
    "AskedStatements",
    "MemoryVerifier",
    "ModelThinker",
    "RecallSettings",
    "RecallingModel",
    "Statements",
    "TextVerifier",
    "ToolVerifier",
    "asking",
    "parse_recall",
]
