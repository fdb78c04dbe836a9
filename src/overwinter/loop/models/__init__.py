"""Models the loop can ask: our own engine, any OpenAI-compatible server, and a script for tests.

The idea: a server is a foreign machine that may be slow, down, wrong or half-way through an answer when the line
breaks. What reaches the loop is either whole completions or one ModelError that says what to do; and in both cases what
may have been billed.

Invariants:

- A request that may have been billed is never thought free: what it can have cost at most is in `Usage.lost_tokens`, or
  in `ModelError.lost_tokens` when no answer came.
- Every attempt of one journalled call carries the same idempotency key.
- No API key appears in a repr, an error or the journal.
- What a server does not give (token ids, log-probabilities) is None, never invented.
- Importing this package imports neither an HTTP library nor torch; the first request, or the first local model, does.

Reading order: `scripted.py` (the protocol in its smallest form), `endpoint.py` (Config and the model), `request.py`
(view to body), `answer.py` (body to completions), `sse.py` and `stream.py` (pieces to body), `faults.py` (what a
failure means), `transport.py` and `watchdog.py` (attempts, waiting, the deadline); `local.py` and `chat.py` (the engine of
this process, and how a view becomes its prompt).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overwinter.loop.models.endpoint import Config as EndpointConfig
    from overwinter.loop.models.endpoint import EndpointModel
    from overwinter.loop.models.local import Config as LocalConfig
    from overwinter.loop.models.local import LocalModel
    from overwinter.loop.models.scripted import Alternatives, ScriptedModel

_HOMES = {
    "Alternatives": ("scripted", "Alternatives"),
    "EndpointConfig": ("endpoint", "Config"),
    "EndpointModel": ("endpoint", "EndpointModel"),
    "LocalConfig": ("local", "Config"),
    "LocalModel": ("local", "LocalModel"),
    "ScriptedModel": ("scripted", "ScriptedModel"),
}

__all__ = ["Alternatives", "EndpointConfig", "EndpointModel", "LocalConfig", "LocalModel", "ScriptedModel"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)
