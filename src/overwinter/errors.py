"""The exceptions of overwinter: one base and six kinds. Every message ends with what to do next.

Raise with two sentences: what went wrong, and the next step.

    raise UsageError("run 'r7' does not exist", "list the runs with `overwinter ls`")
"""

from __future__ import annotations


class OverwinterError(Exception):
    """Base of all errors a user can meet.

    Args:
        problem: what went wrong, with the values involved.
        next_step: what the reader should do now, as an imperative sentence.
    """

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(f"{problem}\n  → {next_step}")
        self.problem = problem
        self.next_step = next_step


class UsageError(OverwinterError):
    """The request cannot be carried out as it was given: unknown option, missing run, bad configuration."""


class StoreError(OverwinterError):
    """The journal cannot be read or written: full disk, read-only file, damage, newer schema."""


class LeaseLost(OverwinterError):
    """Another process owns the run now; nothing was written."""


class BudgetExhausted(OverwinterError):
    """A reservation does not fit into what is left; nothing was spent."""


class ToolError(OverwinterError):
    """A tool could not be declared, reached or called."""


class ModelError(OverwinterError):
    """A model endpoint failed for good: unreachable, refused, or an answer that cannot be read.

    Args:
        lost_tokens: tokens of the attempts that may have been billed although no answer arrived; an upper bound for the
            budget.
        lost_micro_usd: their price in millionths of a US dollar.
    """

    def __init__(self, problem: str, next_step: str, *, lost_tokens: int = 0, lost_micro_usd: int = 0) -> None:
        super().__init__(problem, next_step)
        self.lost_tokens = lost_tokens
        self.lost_micro_usd = lost_micro_usd
