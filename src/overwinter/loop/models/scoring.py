"""Which of the echoed log-probabilities belong to a continuation.

The server returns tokens of prompt, continuation and one generated token in a row. Counting from the front is not safe:
some servers list a start token, some do not, some drop the first space. So we count from the back: leave out the
generated token, then take tokens until their texts spell the continuation.
"""

from __future__ import annotations

from overwinter.loop.models.answer import Choice


def continuation_logprobs(choice: Choice, continuation: str) -> tuple[float, ...] | None:
    """The log-probabilities of the tokens of `continuation`; None where the echoed tokens do not end with it."""
    if choice.logprobs is None or len(choice.tokens) != len(choice.logprobs):
        return None
    if not continuation:
        return ()
    for generated in (1, 0):  # a server that stops at once generates nothing
        end = len(choice.tokens) - generated
        start, spelled = end, ""
        while start > 0 and len(spelled) < len(continuation):
            start -= 1
            spelled = choice.tokens[start] + spelled
        if spelled.endswith(continuation):
            return choice.logprobs[start:end]
    return None
