"""What the server counts, in Prometheus' text form. A registry of its own: two servers in one process do not mix.

| metric | what |
|---|---|
| `overwinter_http_requests_total{route,status}` | answered requests |
| `overwinter_refused_total` | requests refused because the queue was full |
| `overwinter_sequences_total{finish}` | ended sequences, by why |
| `overwinter_prompt_tokens_total`, `_cached_tokens_total`, `_output_tokens_total` | tokens in, of these from memory, out |
| `overwinter_first_token_seconds`, `_next_token_seconds` | waiting for the first token, and between tokens |
| `overwinter_running`, `_waiting`, and `overwinter_engine_…` | what is held now, and the engine's own counts |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.requests = self._counter("http_requests", "Answered requests", "route", "status")
        self.refused = self._counter("refused", "Requests refused because the queue was full")
        self.sequences = self._counter("sequences", "Ended sequences", "finish")
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of admitted prompts")
        self.cached_tokens = self._counter("cached_tokens", "Tokens of prompts that came from memory")
        self.output_tokens = self._counter("output_tokens", "Tokens of outputs")
        self.first_token_s = self._histogram("first_token_seconds", "From the request to its first token")
        self.next_token_s = self._histogram("next_token_seconds", "From token to token of a sequence")

    def watch(self, running: Callable[[], int], waiting: Callable[[], int], stats: Callable[[], Any]) -> None:
        """Read these whenever somebody looks."""
        for name, text, read in (
            ("running", "Sequences that are computed", running),
            ("waiting", "Sequences in the queue", waiting),
        ):
            Gauge(f"overwinter_{name}", text, registry=self.registry).set_function(read)
        self.registry.register(_EngineStats(stats))

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"overwinter_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"overwinter_{name}", text, buckets=_SECONDS, registry=self.registry)


class _EngineStats:
    """The engine's `Stats`, field by field."""

    def __init__(self, stats: Callable[[], Any]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[GaugeMetricFamily]:
        stats = self._stats()
        for field in dataclasses.fields(stats):
            value = getattr(stats, field.name)
            if isinstance(value, int | float):
                yield GaugeMetricFamily(f"overwinter_engine_{field.name}", "The engine's own count", value=value)
