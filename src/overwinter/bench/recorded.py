"""From a benchmark's journal to recorded answers: what was asked, said and judged, with its cost and its confidences."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from overwinter.bench.answers import Answer, Header, Recording
from overwinter.bench.plan import SETUP, setup_of
from overwinter.bench.running import item_of_purpose
from overwinter.journal import Entry, Store, unpack, unpack_json
from overwinter.think.confidence.signals import TOP_K, token_confidence, trace_confidence

Key = tuple[str, int]


@dataclass(kw_only=True)
class _Asked:
    """What one sample of one question has cost and said so far."""

    slices: dict[str, str] = field(default_factory=dict)
    confidence: dict[str, float] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    micro_usd: int = 0
    wall_ms: int = 0
    text: str = ""
    model: str = ""


def recording(store: Store, run: str, *, texts: bool = True) -> Recording:
    """The answers of a benchmark's run so far.

    Args:
        texts: keep what was said; it can be long.

    Raises:
        UsageError: the run is no benchmark.
    """
    setup = setup_of(store, run)
    kept = setup[SETUP]
    known: dict[Key, _Asked] = defaultdict(_Asked)
    answers, model = list[Answer](), ""
    for entry in store.read(run):
        if entry.kind == "observed" and "item" in entry.body["data"]:
            _question(known, entry)
        elif entry.kind == "sample.completion":
            asked = known[item_of_purpose(entry.body["purpose"])]
            _completion(store, asked, entry)
            model = model or asked.model
        elif entry.kind == "verdict":
            answers.append(_answer(known, entry, texts))
    header = Header(
        suite=kept["suite"],
        model=model or _model_name(setup["model"]),
        prompt=f"{kept['style']}@{kept['version']}",
        run=run,
    )
    return Recording(header=header, answers=tuple(answers), name=run)


def _model_name(spec: dict[str, Any]) -> str:
    return str(spec.get("model") or spec.get("path") or spec.get("policy") or spec.get("kind", ""))


def _question(known: dict[Key, _Asked], entry: Entry) -> None:
    data = entry.body["data"]
    asked = known[data["item"], data["sample"]]
    asked.slices |= {"modality": data["modality"], **data.get("slices", {})}


def _completion(store: Store, asked: _Asked, entry: Entry) -> None:
    body = entry.body
    usage = body["usage"]
    asked.tokens_in += usage.get("prompt_tokens", 0)
    asked.tokens_out += usage.get("completion_tokens", 0) + usage.get("lost_tokens", 0)
    asked.micro_usd += usage.get("micro_usd", 0)
    asked.wall_ms += body["settle"]["spent"].get("wall_ms", 0)
    asked.text, asked.model = unpack(store, body["text"]), body["model"]
    # Of a dialogue the last turn's, which holds the answer.
    asked.confidence = signals(body.get("confidence"), unpack_json(store, body["tokens"]) if "tokens" in body else {})


def signals(likelihood: float | None, tokens: dict[str, Any]) -> dict[str, float]:
    """The confidences that log-probabilities give: "likelihood" is a probability, the others are on a scale of their own."""
    found = {} if likelihood is None else {"likelihood": likelihood}
    top = tokens.get("top_logprobs")
    if not top or any(len(row) < 2 for row in top):
        return found
    made = trace_confidence(
        [token_confidence([min(p, 0.0) for p in row.values() if math.isfinite(p)], TOP_K) for row in top]
    )
    return found | {"average": made.average, "lowest": made.lowest, "tail": made.tail}


def _answer(known: dict[Key, _Asked], entry: Entry, texts: bool) -> Answer:
    finding = entry.body["findings"][0]
    asked = known.pop((finding["id"], finding["sample"]), None) or _Asked()
    stated = {"stated": finding["stated"]} if "stated" in finding else {}
    claim = entry.body["claim"]
    return Answer(
        item=finding["id"],
        sample=finding["sample"],
        answer=finding.get("answer"),
        correct=finding.get("score"),
        status=finding["status"],
        confidence={**stated, **asked.confidence},
        tokens_in=finding.get("tokens_in", asked.tokens_in),
        tokens_out=finding.get("tokens_out", asked.tokens_out),
        tool_calls=finding.get("asked", 0),
        micro_usd=asked.micro_usd,
        seconds=finding.get("seconds", asked.wall_ms / 1000),
        text=asked.text if texts else "",
        slices={**asked.slices, **finding.get("slices", {})},
        entry=finding.get("entry") or (f"{entry.run}#{claim}" if claim >= 0 else ""),
        value=finding.get("value"),
        turns=tuple(finding.get("turns", ())),
    )
