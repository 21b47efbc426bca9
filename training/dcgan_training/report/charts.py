"""Line charts as inline SVG, coloured by the page's own variables, so that they read in light and in dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Final

_WIDTH, _HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 20, 10, 26  # on the right, half of the last label stands beside the frame
_MOST_POINTS: Final = 300
_LOGARITHMIC_FROM: Final = 20.0  # largest over smallest value


@dataclass(frozen=True, slots=True)
class Line:
    """Values over images seen; those that are not finite are left out."""

    name: str
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """Up to three lines in one frame.

    Attributes:
        title, note: above the frame.
        lines: in the colours 1, 2, 3 of the page.
        floor, ceiling: that the frame must hold; None is as the values are.
        level: a value to compare with, drawn dashed.
    """

    title: str
    note: str
    lines: Sequence[Line]
    floor: float | None = 0.0
    ceiling: float | None = None
    level: float | None = None


def drawn(chart: Chart, total: int, best: int | None = None, alarms: Sequence[int] = ()) -> str:
    """Draws a chart from 0 to `total` images, with marks at the best check and at each alarm."""
    lines = [_thinned(line) for line in chart.lines]
    values = [value for line in lines for _, value in line.points]
    legend = "".join(
        f'<span class="key key-{number}">{escape(line.name)}</span>' for number, line in enumerate(lines, start=1)
    )
    heading = f"<figcaption><b>{escape(chart.title)}</b> {legend}<small>{escape(chart.note)}</small></figcaption>"
    if not values:
        return f'<figure class="chart">{heading}<p class="empty">nothing measured yet</p></figure>'
    frame = _Frame.around(values, chart, total)
    parts = [*frame.axes()]
    if chart.level is not None:
        y = frame.y(chart.level)
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    marks = [("best", best)] if best else []
    for name, images in [*marks, *(("alarm", images) for images in alarms)]:
        x = frame.x(images)
        parts.append(f'<line class="{name}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    for number, line in enumerate(lines, start=1):
        path = " ".join(f"{frame.x(images):.1f},{frame.y(value):.1f}" for images, value in line.points)
        parts.append(f'<polyline class="line line-{number}" points="{path}"/>')
        if len(line.points) == 1:
            ((images, value),) = line.points
            parts.append(f'<circle class="dot-{number}" cx="{frame.x(images):.1f}" cy="{frame.y(value):.1f}" r="2.5"/>')
    label = escape(f"{chart.title}: {', '.join(line.name for line in lines)} over images seen")
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f'<figure class="chart">{heading}{svg}</figure>'


def short(value: float) -> str:
    """Writes a number in few letters: 1.5M, 250k, 0.05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class _Frame:
    low: float
    high: float
    total: int
    logarithmic: bool

    @classmethod
    def around(cls, values: Sequence[float], chart: Chart, total: int) -> "_Frame":
        least, most = min(values), max(values)
        if least > 0 and most / least > _LOGARITHMIC_FROM and chart.ceiling is None:
            return cls(least, most, total, logarithmic=True)
        low = least if chart.floor is None else min(chart.floor, least)
        high = max(most, chart.ceiling or most, chart.level or most)
        return cls(low, high if high > low else low + 1.0, total, logarithmic=False)

    def x(self, images: float) -> float:
        return _LEFT + min(1.0, images / max(1, self.total)) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._scaled(self.low), self._scaled(self.high)
        share = (self._scaled(min(max(value, self.low), self.high)) - low) / (high - low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self) -> list[str]:
        parts = []
        for value in self._ticks():
            y = self.y(value)
            parts.append(f'<line class="tick" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{short(value)}</text>')
        for images in _round_ticks(0, self.total, 4):
            parts.append(
                f'<text x="{self.x(images):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{short(images)}</text>'
            )
        return parts

    def _ticks(self) -> list[float]:
        if not self.logarithmic:
            return _round_ticks(self.low, self.high, 4)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        every = max(1, len(powers) // 4)
        factors = (1, 3) if len(powers) <= 3 else (1,)
        ticks = [factor * 10.0**power for power in powers[::every] for factor in factors]
        return [tick for tick in ticks if self.low <= tick <= self.high]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.logarithmic else value


def _round_ticks(low: float, high: float, about: int) -> list[float]:
    """Gives round numbers from `low` to `high`, about as many as asked for."""
    rough = (high - low) / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _thinned(line: Line) -> Line:
    """Leaves out what is not finite, and gives the means of neighbours where there are too many points."""
    points = [point for point in line.points if math.isfinite(point[1])]
    size = -(-len(points) // _MOST_POINTS) or 1
    groups = ([point for _, point in group] for _, group in groupby(enumerate(points), lambda pair: pair[0] // size))
    return Line(line.name, [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups])
