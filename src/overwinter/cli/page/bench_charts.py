"""Charts of benchmarks as inline SVG with their words inside: drawn for about the width they are shown at, so letters keep their size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT = 380, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 14, 44
COLOURS = ("a", "b", "c", "d")
Point = tuple[float, float]
Scale = Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis: where it begins and ends, what stands at it."""

    low: float
    high: float
    title: str
    ticks: Sequence[float]
    form: Callable[[float], str]
    log: bool = False

    def place(self, value: float) -> float:
        """0..1 along the axis."""
        if self.high <= self.low:
            return 0.5
        if self.log:
            value = max(value, self.low)
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


def share_axis(title: str, low: float = 0.0, high: float = 1.0) -> Axis:
    """An axis of shares, its ticks at round numbers."""
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if (high - low) / step < 5.5 or step == 0.25)
    first = math.ceil(low / step - 1e-9)
    ticks = [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(
        low=low, high=high, title=title, ticks=ticks, form=lambda value: f"{value:.2f}".rstrip("0").rstrip(".") or "0"
    )


def cost_axis(title: str, values: Sequence[float]) -> Axis:
    """A logarithmic axis of amounts, with at most five ticks at 1, 2 or 5 times powers of ten."""
    low, high = min(values), max(values)
    if high <= low * 1.001:
        low, high = low / 2, high * 2
    ticks: list[float] = []
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        ticks += [step * 10.0**power for step in (1, 2, 5) if low <= step * 10.0**power <= high]
    if len(ticks) > 5:
        whole = [
            tick
            for tick in ticks
            if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-9) or math.isclose(math.log10(tick) % 1, 1)
        ]
        ticks = (whole if len(whole) > 1 else ticks)[:: max(1, math.ceil(len(whole if len(whole) > 1 else ticks) / 5))]
    return Axis(low=low, high=high, title=title, ticks=ticks or [low, high], form=amount, log=True)


def amount(value: float) -> str:
    """A number in few signs: 0.05, 12, 3k, 1.5M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


class Plot:
    """A frame with two axes; what is drawn into it; the figure in the end."""

    def __init__(self, title: str, x: Axis, y: Axis, *, note: str = "") -> None:
        self.title, self.x, self.y, self.note = title, x, y, note
        self._parts: list[str] = []
        self._legend: list[tuple[str, str]] = []

    def at(self, point: Point) -> Point:
        """Where a point of the axes lies in the drawing."""
        across = LEFT + self.x.place(point[0]) * (WIDTH - LEFT - RIGHT)
        up = HEIGHT - BOTTOM - min(max(self.y.place(point[1]), 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)
        return across, up

    def line(self, points: Sequence[Point], style: str, *, name: str = "") -> None:
        drawn = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f},{y:.1f}" for i, (x, y) in enumerate(map(self.at, points)))
        self._parts.append(f'<path class="p-line {style}" d="{drawn}"/>')
        if name:
            self.key(style, name)

    def key(self, style: str, name: str) -> None:
        """A line of the legend."""
        self._legend.append((style, name))

    def dot(self, point: Point, style: str, words: str, *, size: float = 4) -> None:
        x, y = self.at(point)
        self._parts.append(
            f'<circle class="p-dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"><title>{escape(words)}</title></circle>'
        )

    def bar(self, x: float, low: float, high: float, style: str, *, width: float = 1.5) -> None:
        """A vertical bar between two values."""
        (across, top), (_, bottom) = self.at((x, high)), self.at((x, low))
        height = max(bottom - top, 1)
        self._parts.append(
            f'<rect class="p-bar {style}" x="{across - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        )

    def html(self) -> str:
        """The figure."""
        legend = "".join(f'<span class="key {style}"><i></i>{escape(name)}</span>' for style, name in self._legend)
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return (
            f'<figure class="drawn"><figcaption><b>{escape(self.title)}</b>{legend}</figcaption>'
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">{self._frame()}'
            f"{''.join(self._parts)}</svg>{note}</figure>"
        )

    def _frame(self) -> str:
        right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = [f'<path class="p-axis" d="M{LEFT},{TOP} L{LEFT},{floor} L{right},{floor}"/>']
        for tick in self.x.ticks:
            x, _ = self.at((tick, self.y.low))
            # The last label would hang over the edge if it were centred.
            anchor = "end" if x > right - 8 else "middle"
            parts.append(f'<path class="p-grid" d="M{x:.1f},{TOP} L{x:.1f},{floor}"/>')
            parts.append(
                f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="{anchor}">{escape(self.x.form(tick))}</text>'
            )
        for tick in self.y.ticks:
            _, y = self.at((self.x.low, tick))
            parts.append(f'<path class="p-grid" d="M{LEFT},{y:.1f} L{right},{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(self.y.form(tick))}</text>')
        middle = (LEFT + right) / 2
        parts.append(
            f'<text class="p-title" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(self.x.title)}</text>'
        )
        height = (TOP + floor) / 2
        turned = f'transform="rotate(-90 12 {height})"'
        parts.append(
            f'<text class="p-title" x="12" y="{height}" text-anchor="middle" {turned}>{escape(self.y.title)}</text>'
        )
        return "".join(parts)


def reliability(name: str, made: Mapping[str, Any]) -> str:
    """Share right against confidence, with what a calibrated confidence would show in bins of this size."""
    null, value = made["null_ece"], made["metrics"]["ece"]["value"]
    verdict = "above what chance explains" if null["distinguishable"] else "no more than chance explains"
    note = (
        f"ECE {value:.3f}; a calibrated confidence shows up to {null['p95']:.3f} here: {verdict}. "
        "Grey bars: where 95 % of calibrated bins lie."
    )
    plot = Plot(f"Reliability of “{name}”", share_axis("confidence"), share_axis("share right"), note=note)
    plot.line([(0, 0), (1, 1)], "soft")
    most = max(row["count"] for row in made["reliability"])
    for row in made["reliability"]:
        low, high = _binomial_band(row["confidence"], row["count"])
        plot.bar(row["confidence"], low, high, "soft", width=9)
    plot.line([(row["confidence"], row["accuracy"]) for row in made["reliability"]], "a")
    for row in made["reliability"]:
        words = f"{row['count']} answers, confidence {row['confidence']:.2f}, right {row['accuracy']:.2f}"
        plot.dot((row["confidence"], row["accuracy"]), "a", words, size=2.5 + 6 * math.sqrt(row["count"] / most))
    return plot.html()


def _binomial_band(chance: float, count: int) -> tuple[float, float]:
    """Where 95 % of shares of `count` draws lie, about."""
    half = 1.96 * math.sqrt(max(chance * (1 - chance), 0.0) / count) + 0.5 / count
    return max(chance - half, 0.0), min(chance + half, 1.0)


def risk_coverage(signals: Mapping[str, Mapping[str, Any]]) -> str:
    """Share of errors among the most confident, for up to four confidences."""
    shown = [(name, made["risk_coverage"]) for name, made in signals.items() if made.get("risk_coverage")][
        : len(COLOURS)
    ]
    if not shown:
        return ""
    highest = max(risk for _, points in shown for _, risk in points)
    plot = Plot(
        "Risk and coverage",
        share_axis("share answered, surest first"),
        share_axis("share wrong among them", high=_above(highest)),
        note="A useful confidence starts low and rises: refusing the least sure answers removes errors. A flat line is worth nothing.",
    )
    for (name, points), style in zip(shown, COLOURS, strict=False):
        plot.line([(coverage, risk) for coverage, risk in points], style, name=name)
    return plot.html()


def _above(value: float) -> float:
    return next(top for top in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if value <= top + 1e-9 or top == 1.0)


def votes(rows: Sequence[Mapping[str, Any]]) -> str:
    """The majority's score against the tokens of its samples."""
    if not rows:
        return ""
    by_tokens = all(row["tokens"] > 0 for row in rows)
    costs = [row["tokens"] if by_tokens else row["samples"] for row in rows]
    low, high = _zoom([row["low"] for row in rows], [row["high"] for row in rows])
    x = cost_axis("tokens a question" if by_tokens else "samples a question", [0.87 * min(costs), 1.15 * max(costs)])
    plot = Plot(
        "What more samples buy",
        x,
        share_axis("score of the majority", low, high),
        note="Bars: 95 % intervals over questions.",
    )
    for cost, row in zip(costs, rows, strict=True):
        plot.bar(cost, row["low"], row["high"], "a")
    plot.line([(cost, row["value"]) for cost, row in zip(costs, rows, strict=True)], "a")
    for cost, row in zip(costs, rows, strict=True):
        plot.dot((cost, row["value"]), "a", f"{row['samples']} samples: {row['value']:.3f}")
    return plot.html()


RESOURCES = {
    "tokens": "tokens an answer",
    "tool_calls": "calls an answer",
    "seconds": "seconds an answer",
    "micro_usd": "US$ × 10⁻⁶ an answer",
}


def caps(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Score under a cap on each resource."""
    drawn = []
    for name, made in found.items():
        points = [(cap, value) for cap, value in made["points"]]
        plot = Plot(
            f"Under a cap on {RESOURCES[name].split(' an ')[0]}",
            cost_axis(f"{RESOURCES[name]}, at most", [cap for cap, _ in points]),
            share_axis("score", high=_above(max(value for _, value in points))),
            note=f"What costs more counts as wrong. Mean over the curve: {made['area']:.3f}.",
        )
        plot.line(points, "b")
        drawn.append(plot.html())
    return drawn


def together(found: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """The curves of several recordings in one chart for each resource, up to four."""
    drawn = []
    for resource, words in RESOURCES.items():
        lines = [(name, caps[resource]["points"]) for name, caps in found if resource in caps][: len(COLOURS)]
        if len(lines) < 2:
            continue
        costs = [cap for _, points in lines for cap, _ in points]
        plot = Plot(
            f"Under a cap on {words.split(' an ')[0]}",
            cost_axis(f"{words}, at most", costs),
            share_axis("score", high=_above(max(value for _, points in lines for _, value in points))),
            note="What costs more counts as wrong.",
        )
        for (name, points), style in zip(lines, COLOURS, strict=False):
            # Beyond its dearest answer a curve stays where it is.
            plot.line([*map(tuple, points), (max(costs), points[-1][1])], style, name=name)
        drawn.append(plot.html())
    return drawn


def price(rows: Sequence[tuple[str, float, Mapping[str, Any]]]) -> str:
    """Score against tokens an answer, a dot for each recording."""
    shown = [row for row in rows if row[1] > 0]
    if len(shown) < 2:
        return ""
    costs = [cost for _, cost, _ in shown]
    low, high = _zoom([made["low"] for _, _, made in shown], [made["high"] for _, _, made in shown])
    x = cost_axis("tokens an answer", [0.8 * min(costs), 1.25 * max(costs)])
    plot = Plot(
        "What a score costs",
        x,
        share_axis("score", low, high),
        note="Bars: 95 % intervals over questions. Up and left is better.",
    )
    few = len(shown) <= len(COLOURS)
    for place, (name, cost, made) in enumerate(shown):
        style = COLOURS[place] if few else "a"
        plot.bar(cost, made["low"], made["high"], style)
        plot.dot((cost, made["value"]), style, f"{name}: {made['value']:.3f} at {amount(cost)} tokens", size=5)
        if few:
            plot.key(style, name)
    return plot.html()


def over_turns(found: Mapping[str, Any]) -> str:
    """Accuracy and confidence at each turn of dialogues."""
    rows = found["turns"]
    if len(rows) < 2:
        return ""
    ticks = [row["turn"] for row in rows]
    step = max(1, math.ceil(len(ticks) / 8))
    x = Axis(low=ticks[0], high=ticks[-1], title="turn", ticks=ticks[::step], form=lambda value: f"{value:.0f}")
    tau = "" if found["tau"] is None else f" Confidence follows the turns by tau {found['tau']:.2f}."
    note = f"InfoECE {found['info_ece']:.3f}.{tau} Later turns hold fewer dialogues, and the harder ones."
    plot = Plot("Over the turns of a dialogue", x, share_axis("share"), note=note)
    plot.line([(row["turn"], row["accuracy"]) for row in rows], "a", name="right")
    plot.line([(row["turn"], row["confidence"]) for row in rows], "b", name="stated")
    for row in rows:
        plot.dot(
            (row["turn"], row["accuracy"]),
            "a",
            f"turn {row['turn']}: {row['dialogues']} dialogues, right {row['accuracy']:.2f}",
            size=3,
        )
    return plot.html()


def _zoom(lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float]:
    """Bounds in tenths that hold all."""
    low, high = math.floor(min(lows) * 10 - 0.2) / 10, math.ceil(max(highs) * 10 + 0.2) / 10
    return max(low, 0.0), min(max(high, low + 0.2), 1.0)


def forest(
    rows: Sequence[tuple[str, str, Mapping[str, Any] | None]], *, low: float, high: float, zero: bool = False
) -> str:
    """Rows of a name, a count and an interval as a bar, with the figures beside: HTML, so that long names wrap."""

    def place(value: float) -> float:
        return 100 * min(max((value - low) / (high - low), 0.0), 1.0)

    parts = []
    for name, count, made in rows:
        if made is None:
            bar, words = "", "too few"
        else:
            left, right = place(made["low"]), place(made["high"])
            bar = f'<i style="left:{left:.1f}%;width:{max(right - left, 0.4):.1f}%"></i><b style="left:{place(made["value"]):.1f}%"></b>'
            sign = "+" if zero else ""
            words = f"{made['value']:{sign}.3f} <small>{made['low']:{sign}.3f} to {made['high']:{sign}.3f}</small>"
        middle = f'<u style="left:{place(0):.1f}%"></u>' if zero else ""
        cells = (
            f'<span>{escape(name)}</span><span class="n">{escape(count)}</span><div class="f-bar">{middle}{bar}</div>'
        )
        parts.append(f'<div class="f-row">{cells}<span class="v">{words}</span></div>')
    ends = f"<small>{low:.2f}</small><small>{high:.2f}</small>"
    parts.append(f'<div class="f-row f-scale"><span></span><span></span><div>{ends}</div><span></span></div>')
    return f'<div class="forest">{"".join(parts)}</div>'
