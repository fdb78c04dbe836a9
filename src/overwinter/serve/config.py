"""The limits of a server."""

from __future__ import annotations

from dataclasses import dataclass

from overwinter.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    """What clients may ask for, and how much of it at once.

    Args:
        max_queue: sequences that may wait for their turn; one more is refused with 429.
        max_body_bytes: of a request; more is refused with 413.
        max_output_tokens: most a request may ask for; None leaves it to the context.
        max_sequences: most sequences of one request: prompts times `n`.
        sequence_timeout_s: ends a sequence that long after it was asked for, waiting included; None never.
        drain_s: how long running requests may take to end after SIGTERM.
    """

    max_queue: int = 256
    max_body_bytes: int = 8 << 20
    max_output_tokens: int | None = None
    max_sequences: int = 256
    sequence_timeout_s: float | None = None
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("max_queue", "max_body_bytes", "max_output_tokens", "max_sequences", "sequence_timeout_s"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"{name} is {value}", "give a positive number")
        if self.drain_s < 0:
            raise UsageError(f"drain_s is {self.drain_s}", "give 0 or more seconds")
