"""Curves as inline SVG. Only lines are drawn in the SVG, stretched to any width; words stand beside it as HTML, so they are as
readable on a phone as on a desktop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 1000, 200


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One curve.

    Attributes:
        points: (entry, value), entries ascending.
        top, bottom: of the vertical axis.
        limit: a line across, a budget's cap; None for none.
        marks: entries at which the run was resumed.
        step: the value holds until it changes (amounts spent), instead of being joined by slopes.
    """

    title: str
    now: str
    points: Sequence[tuple[int, float]]
    last_seq: int
    top: float
    bottom: float = 0.0
    top_words: str = ""
    limit: float | None = None
    marks: Sequence[int] = ()
    step: bool = False
    style: str = "a"

    def html(self) -> str:
        path = self._path()
        first, last = self._x(self.points[0][0]), f"{WIDTH}" if self.step else self._x(self.points[-1][0])
        area = f'<path class="area" d="{path} L{last},{HEIGHT} L{first},{HEIGHT} Z"/>'
        limit = ""
        if self.limit is not None:
            y = self._y(self.limit)
            limit = f'<path class="limit" d="M0,{y} L{WIDTH},{y}"/>'
        marks = "".join(f'<path class="mark" d="M{self._x(seq)},0 L{self._x(seq)},{HEIGHT}"/>' for seq in self.marks)
        return (
            f'<figure class="chart {self.style}"><figcaption><b>{escape(self.title)}</b>'
            f"<span>{escape(self.now)}</span></figcaption>"
            f'<div class="plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
            f'aria-label="{escape(self.title)}: {escape(self.now)}">{marks}{area}{limit}<path class="line" d="{path}"/></svg>'
            f'<span class="y top">{escape(self.top_words)}</span></div>'
            f'<div class="x"><span>entry 0</span><span>entry {self.last_seq}</span></div></figure>'
        )

    def _path(self) -> str:
        parts: list[str] = []
        y = ""
        for seq, value in self.points:
            x, before, y = self._x(seq), y, self._y(value)
            if not parts:
                parts.append(f"M{x},{y}")
            else:
                parts.append(f"L{x},{before} L{x},{y}" if self.step else f"L{x},{y}")
        if self.step:
            parts.append(f"L{WIDTH},{y}")
        return " ".join(parts)

    def _x(self, seq: int) -> str:
        return f"{WIDTH * seq / max(1, self.last_seq):.1f}"

    def _y(self, value: float) -> str:
        share = (value - self.bottom) / (self.top - self.bottom) if self.top > self.bottom else 0.5
        return f"{HEIGHT - 6 - (HEIGHT - 12) * min(1.0, max(0.0, share)):.1f}"
