"""A run driven by a real server: the model may babble, the journal must be right.

    python recipes/endpoint_run.py --weights DIR [--server-python PATH] [--mode chat|completions]
    python recipes/endpoint_run.py --base-url http://127.0.0.1:8000/v1 --model NAME

With --weights it starts llama-cpp-python with the 260,000-parameter stories model on loopback (see `check_endpoint.py`). A model
of that size calls no tool, so the run is told so, and suspended in the end; what is checked is what stands in the journal then.
Exit status: 0 all as expected, 1 something differs, 2 something needed is missing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from check_endpoint import SERVER_NAME, Missing, Row, serving, show
from overwinter.errors import OverwinterError
from overwinter.journal import Entry, Store, open_store, unpack, verify
from overwinter.journal.rebuild import budgets_from_entries
from overwinter.loop.goal import Goal
from overwinter.loop.replay import replay
from overwinter.loop.run import Run, status
from overwinter.loop.session import fold, load_state
from overwinter.loop.tokens import read_tokens

GOAL = "Water the plants"
CONTEXT_TOKENS = 2048
"""More than the stories model was trained for, since the instructions alone are 600 of its short tokens; it babbles either way."""
CAPS = {"tokens": 6000, "tool_calls": 5, "wall_ms": 300_000, "micro_usd": 100_000}
TOOL = '''
from overwinter.tools import Effect, tool

@tool(effect=Effect.IDEMPOTENT)
def water(zone: int) -> str:
    """Water a zone."""
    return f"zone {zone} is wet"
'''
WAITS = {"waiting:stalled", "waiting:budget"}


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    modes = ["completions", "chat"] if options.mode == "both" else [options.mode]
    rows: list[Row] = []
    try:
        if options.weights is None:
            for mode in modes:
                rows += run_once(options.base_url, options.model, mode)
        else:
            with serving(options.weights, options.server_python, CONTEXT_TOKENS) as base_url:
                for mode in modes:
                    rows += run_once(base_url, SERVER_NAME, mode)
    except (Missing, OverwinterError) as error:
        print(error, file=sys.stderr)
        return 2
    return show(rows, as_json=options.json)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--weights", type=Path, help="start llama-cpp-python with these weights")
    where.add_argument("--base-url", help="use a server that runs already")
    parser.add_argument("--model", default="", help="the model's name at --base-url")
    parser.add_argument("--server-python", default=sys.executable, help="Python with llama-cpp-python[server] and gguf")
    parser.add_argument("--mode", default="both", choices=["chat", "completions", "both"])
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def run_once(base_url: str, model: str, mode: str) -> list[Row]:
    """One run in a journal of its own, checked."""
    with tempfile.TemporaryDirectory() as folder:
        tools = Path(folder) / "garden.py"
        tools.write_text(TOOL, encoding="utf-8")
        store = open_store(str(Path(folder) / "journal.db"))
        try:
            with Run.start(store, Goal(text=GOAL), setup=setup(base_url, model, mode, tools), caps=CAPS) as run:
                run.finish()
                name = run.name
            return check(store, name, mode)
        finally:
            store.close()


def setup(base_url: str, model: str, mode: str, tools: Path) -> dict[str, Any]:
    """Few words, since they fill the context: one tool, and no controls of the loop."""
    endpoint = {
        "kind": "endpoint",
        "base_url": base_url,
        "model": model,
        "mode": mode,
        "context_tokens": CONTEXT_TOKENS,
        "max_attempts": 2,
        "count_by": "server",
    }
    if mode == "completions":
        endpoint["transcript"] = "plain"
    return {
        "model": endpoint,
        "tools": {"modules": [str(tools)]},
        "controls": [],
        "pace": {"max_tokens": 24, "max_stalls": 2, "sample_timeout_s": 60.0, "top_logprobs": 2},
    }


def check(store: Store, run: str, mode: str) -> list[Row]:
    entries = list(store.read(run))
    completions = [entry for entry in entries if entry.kind == "sample.completion"]
    state = load_state(store, run)
    report, again = verify(store, run), replay(store, run)
    budget, spent = store.budget(run), _spent(entries)
    said = unpack(store, completions[0].body["text"])[:60] if completions else ""
    kinds = ", ".join(f"{kind} {count}" for kind, count in Counter(entry.kind for entry in entries).items())
    failures = [entry.body["error"] for entry in entries if entry.kind == "sample.failed"]
    flags = [_flag_is_right(store, entry) for entry in completions]
    text_only = sum(entry.body["text_only"] for entry in completions)
    waits = state.waiting or {}
    counted = "; ".join(f"{name} {line.spent} of {line.cap}" for name, line in sorted(budget.items()))
    return [
        Row(what=f"{mode}: entries", came=kinds, ok=bool(completions)),
        Row(what=f"{mode}: the model said", came=repr(said)),
        Row(what=f"{mode}: failed questions", came="; ".join(failures)[:200] or "none", ok=not failures),
        Row(what=f"{mode}: it ended", came=f"{status(state)}: {waits.get('detail', '')}", ok=status(state) in WAITS),
        Row(what=f"{mode}: the chain", came=f"{report.entries} entries, {len(report.problems)} problems", ok=report.ok),
        Row(what=f"{mode}: text-only flags", came=f"{text_only} of {len(flags)} completions", ok=all(flags)),
        Row(what=f"{mode}: spent", came=counted, ok=budget["tokens"].spent == spent and spent > 0),
        Row(what=f"{mode}: still reserved", came=_reserved(budget) or "nothing", ok=not _reserved(budget)),
        Row(
            what=f"{mode}: budgets from the entries",
            came="the same" if dict(budget) == budgets_from_entries(store)[run] else "differ",
            ok=dict(budget) == budgets_from_entries(store)[run],
        ),
        Row(
            what=f"{mode}: state",
            came="cached and folded agree",
            ok=state.to_json() == fold(run, entries).to_json(),
        ),
        Row(
            what=f"{mode}: replay",
            came=f"{again.views} views, {again.read_only_samples} answers read again; {again.divergence or 'no divergence'}",
            ok=again.ok and again.views > 0,
        ),
    ]


def _spent(entries: list[Entry]) -> int:
    """Tokens by what the server reported in each answer, and what failed questions were charged."""
    usages = [entry.body["usage"] for entry in entries if entry.kind == "sample.completion"]
    failed = [entry.body["settle"]["spent"]["tokens"] for entry in entries if entry.kind == "sample.failed"]
    return sum(each["prompt_tokens"] + each["completion_tokens"] + each["lost_tokens"] for each in usages) + sum(failed)


def _flag_is_right(store: Store, entry: Entry) -> bool:
    """Text-only exactly where the token ids are not there; and then no ids are made up."""
    return bool(entry.body["text_only"]) == ("ids" not in read_tokens(store, entry))


def _reserved(budget: Any) -> str:
    return ", ".join(f"{name} {line.reserved}" for name, line in budget.items() if line.reserved)


if __name__ == "__main__":
    raise SystemExit(main())
