"""The run that is killed: a fixed plan that meets every kind of entry, every effect class and every reason to wait.

The actor reads its place in the plan from the view alone, as a model would: after a crash, a compaction or a resume in another
process it goes on where the journal says. A call that did not take place is made again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from crash_ledger import Ledger
from crash_points import Points
from overwinter.loop.controls import CONTROLS
from overwinter.loop.gates import Gates, parse_rules
from overwinter.loop.goal import Criterion, Goal
from overwinter.loop.model import Completion, Constraint, Limits, ToolCall, View
from overwinter.loop.models.scripted import Reply, ScriptedModel
from overwinter.loop.session import Pace, Parts
from overwinter.tools import Effect, Tool, Toolbox, ToolContext, tool

Plan = Sequence[Sequence[tuple[str, dict[str, Any]]] | str]

PLAN: Plan = (
    [("read_catalogue", {"page": 1})],
    [("set_price", {"price": 12})],
    [("order", {"litres": 40})],
    [("commit_to", {"text": "send the report"})],
    [("ship", {"parcel": "seeds"})],
    [("fax", {"text": "storm is coming"})],
    [("read_catalogue", {"page": 2})],
    [("sleep", {"event": "frost"})],
    [("order", {"litres": 50}), ("ship", {"parcel": "bulbs"}), ("fax", {"text": "bulbs are on the way"})],
    [("pay", {"euros": 120})],
    [("scrap", {"what": "the old boiler"})],
    [("order", {"litres": "many"}), ("teleport", {})],
    "I should look at the catalogue again.",
    [("read_catalogue", {"page": 3})],
    [("engrave", {"text": "winter 1"})],
    [("finish", {})],
    [("fulfil", {})],
    [("order", {"litres": 60})],
    [("finish", {})],
)
"""One row per completion. The first claim comes one order too early, and the checker sends it back."""

ONCE = {"order": 3, "pay": 1, "ship": 2, "fax": 2, "engrave": 1, "scrap": 0}
"""How often each tool's effect is wanted; what a person denied never happens."""

CAPS = {"tokens": 10_000_000, "micro_usd": 10_000_000, "wall_ms": 36_000_000, "tool_calls": 1000}
GOAL = Goal(
    text="Prepare the greenhouse for the winter.",
    acceptance=(
        Criterion(
            id="orders",
            text="three orders are placed",
            check={"kind": "tool", "tool": "count_orders", "contains": "3 orders"},
        ),
        Criterion(id="tidy", text="the work was done in order", check={"kind": "judge"}),
    ),
)
RULES = (
    {"name": "person-pays", "decision": "ask", "tool": "pay"},
    {"name": "person-engraves", "decision": "ask", "tool": "engrave"},
    {"name": "person-scraps", "decision": "ask", "tool": "scrap"},
    {"name": "rest-goes", "decision": "allow"},
)
DENIED = "scrap"
PACE = Pace(max_tokens=64, window_tokens=700, max_attempts=1000, max_stalls=1000)


def make_parts(run: str, ledger: Ledger, points: Points) -> Parts:
    """The parts of one process."""
    return Parts(
        model=_Asked(points, "actor", actor_reply),
        judge=_Asked(points, "judge", judge_reply, local=False),
        toolbox=Toolbox(make_tools(run, ledger, points)),
        controls=CONTROLS,
        gates=Gates(rules=parse_rules(RULES)),
        pace=PACE,
    )


class _Asked(ScriptedModel):
    """A scripted model with a point on each side of its answer."""

    def __init__(self, points: Points, name: str, reply: Reply, *, local: bool = True) -> None:
        super().__init__([reply], name=name, by_turn=False, micro_usd_per_token=1)
        self.local = local
        self._points = points

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:
        self._points(f"{self.name}: before the question")
        self.calls = 0
        answers = super().sample(view, n, constraint, limits)
        self._points(f"{self.name}: after the answer")
        return answers


def actor_reply(view: View) -> Reply:
    """The next row of the plan, or again what did not take place."""
    again = _not_done(view)
    if again:
        return again
    row = _steps_done(view)
    planned, step = PLAN[row], f"step {row + 1}"
    if isinstance(planned, str):
        return f"{planned} ({step})"
    return [ToolCall(id="", tool=name, arguments=_arguments(name, given, step, view)) for name, given in planned]


def judge_reply(view: View) -> str:
    """Agrees, and cites what it was shown."""
    cited = [int(seq) for seq in re.findall(r"^#(\d+) ", view.messages[-1].text, re.MULTILINE)]
    return f'{{"met": true, "entries": {cited[-2:]}, "note": "as planned"}}'


def _arguments(name: str, given: dict[str, Any], step: str, view: View) -> dict[str, Any]:
    if name == "finish":
        return {"summary": f"all is ready ({step})"}
    if name == "sleep":
        return given | {"reason": f"the frost ({step})"}
    if name == "commit_to":
        return given | {"due": step}
    if name == "fulfil":
        opened = re.search(r"- \[(\d+)\] send the report", view.messages[0].text)
        return {"commitment": int(opened[1]) if opened else -1, "outcome": f"sent ({step})"}
    return given | {"step": step}


def _steps_done(view: View) -> int:
    said = [message.text for message in view.messages[1:]]
    said += [str(call.arguments) for message in view.messages for call in message.tool_calls]
    return max((int(step) for text in said for step in re.findall(r"\bstep (\d+)\b", text)), default=0)


def _not_done(view: View) -> list[ToolCall]:
    last = max((i for i, message in enumerate(view.messages) if message.role == "assistant"), default=None)
    if last is None:
        return []
    failed = {m.tool_call_id for m in view.messages[last:] if m.role == "tool" and "did not take place" in m.text}
    return [call for call in view.messages[last].tool_calls if call.id in failed]


def make_tools(run: str, ledger: Ledger, points: Points) -> list[Tool]:
    """Tools of every effect class whose effects end up in the ledger."""

    def act(do: str, step: str, context: ToolContext) -> dict[str, Any]:
        points("tool: before the call")
        effect = ledger.ask(do, run=run, label=context.idempotency_key, step=step)
        points("tool: after the call, before the receipt")
        return {"receipt": effect["receipt"]}

    def took_place(context: ToolContext) -> dict[str, Any] | None:
        effect = ledger.ask("probe", run=run, label=context.idempotency_key)
        return None if effect is None else {"receipt": effect["receipt"]}

    @tool(effect=Effect.PURE)
    def read_catalogue(page: int, step: str) -> str:
        """Read a page of the catalogue."""
        points("tool: before the call")
        return " ".join(f"page{page}-line{line}" for line in range(160))

    @tool(effect=Effect.PURE)
    def count_orders() -> str:
        """How many orders are placed."""
        placed = [effect for effect in ledger.ask("audit", run=run) if effect["step"].startswith("order")]
        return f"{len(placed)} orders"

    @tool(effect=Effect.IDEMPOTENT)
    def set_price(price: int, step: str, context: ToolContext) -> dict[str, Any]:
        """Set the price."""
        return act("set", f"set_price {step}", context)

    @tool(effect=Effect.KEYED)
    def order(litres: int, step: str, context: ToolContext) -> dict[str, Any]:
        """Order fuel."""
        return act("keyed", f"order {step}", context)

    @tool(effect=Effect.KEYED)
    def pay(euros: int, step: str, context: ToolContext) -> dict[str, Any]:
        """Pay, after a person agreed."""
        return act("keyed", f"pay {step}", context)

    @tool(effect=Effect.IRREVERSIBLE, probe=took_place)
    def ship(parcel: str, step: str, context: ToolContext) -> dict[str, Any]:
        """Ship a parcel; the carrier can be asked whether it did."""
        return act("irreversible", f"ship {step}", context)

    @tool(effect=Effect.IRREVERSIBLE)
    def fax(text: str, step: str, context: ToolContext) -> dict[str, Any]:
        """Send a fax; only a person can find out whether it went."""
        return act("irreversible", f"fax {step}", context)

    @tool(effect=Effect.IRREVERSIBLE)
    def engrave(text: str, step: str, context: ToolContext) -> dict[str, Any]:
        """Engrave the sundial, after a person agreed."""
        return act("irreversible", f"engrave {step}", context)

    @tool(effect=Effect.IRREVERSIBLE)
    def scrap(what: str, step: str, context: ToolContext) -> dict[str, Any]:
        """Scrap something; the person says no."""
        return act("irreversible", f"scrap {step}", context)

    return [read_catalogue, count_orders, set_price, order, pay, ship, fax, engrave, scrap]
