"""Charts as inline SVG: intervals beside yardsticks, a radar over tasks, a confusion matrix.

They need no script and no file beside the page. Colours come from the classes ``model``, ``bound`` and
``baseline`` of the page's style sheet (`eval.html_report`), so that a kind has one colour everywhere.
Whatever is drawn can also be read as a number: beside it or, for the cells of a matrix, in the browser's
hint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eval.markup import Markup, element

Kind = Literal["model", "bound", "baseline"]

# Interval plot: a name, an axis, a number in each row; all in pixels.
_NAME_WIDTH, _AXIS_WIDTH, _NUMBER_WIDTH = 150, 220, 50
_ROW, _HEAD, _FOOT = 22, 26, 20
_RADAR_RADIUS, _RADAR_SIDE, _RADAR_TOP = 140, 150, 30  # beside and above it there is room for names
_CELL_LARGE, _CELL_SMALL = 30, 15  # of a matrix; with numbers in it up to so many classes:
_NUMBERS_UP_TO = 15
_LETTER = 6.2  # pixels per letter of the small type


@dataclass(frozen=True)
class Bar:
    """One row of an interval plot; a value of None (undefined) leaves the row empty."""

    name: str
    kind: Kind
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One line of a radar: a value per axis, None where it has none."""

    name: str
    kind: Kind
    values: Sequence[float | None]


def interval_plot(title: str, bars: Sequence[Bar]) -> Markup:
    """Values with their intervals on one axis, from 0 to 100 per cent (further where values go further).

    Args:
        title: name of the metric.
        bars: fractions, in the order to draw them.
    """
    numbers = [number for bar in bars for number in (bar.value, bar.low, bar.high) if number is not None]
    step = _step(max([1.0, *numbers]))
    top = step * math.ceil(max([1.0, *numbers]) / step - 1e-9)
    bottom_of_axis = _HEAD + _ROW * len(bars)

    def x(value: float) -> float:
        return _NAME_WIDTH + _AXIS_WIDTH * min(max(value, 0.0), top) / top

    parts = [element("text", title, x=0, y=15, class_="title")]
    for number in range(round(top / step) + 1):
        tick = number * step
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=_HEAD, y2=bottom_of_axis, class_="grid"))
        label = element("text", f"{100 * tick:g}", x=x(tick), y=bottom_of_axis + 14, text_anchor="middle")
        parts.append(label)
    for row, bar in enumerate(bars):
        y = _HEAD + _ROW * (row + 0.5)
        parts.append(element("text", _cut(bar.name, _NAME_WIDTH - 8), x=0, y=y + 4))
        end = _NAME_WIDTH + _AXIS_WIDTH + _NUMBER_WIDTH
        text = "-" if bar.value is None else f"{100 * bar.value:.1f}"
        parts.append(element("text", text, x=end, y=y + 4, text_anchor="end", class_="number"))
        if bar.low is not None and bar.high is not None:
            line = element("line", x1=x(bar.low), x2=x(bar.high), y1=y, y2=y, class_=f"range {bar.kind}")
            parts.append(line)
        if bar.value is not None:
            parts.append(element("circle", cx=x(bar.value), cy=y, r=4, class_=f"dot {bar.kind}"))
    return _svg(_NAME_WIDTH + _AXIS_WIDTH + _NUMBER_WIDTH + 2, bottom_of_axis + _FOOT, title, parts)


def radar(axes: Sequence[str], series: Sequence[Series]) -> Markup:
    """Several values per line around a centre, 0 in the middle and 1 (or more) at the rim.

    Args:
        axes: at least three names.
        series: fractions; a line with gaps is drawn as points.
    """
    width, height = 2 * (_RADAR_RADIUS + _RADAR_SIDE), 2 * (_RADAR_RADIUS + _RADAR_TOP)
    centre_x, centre_y = width / 2, height / 2

    def point(axis: int, value: float) -> tuple[float, float]:
        angle = 2 * math.pi * axis / len(axes) - math.pi / 2
        radius = _RADAR_RADIUS * min(max(value, 0.0), 1.0)
        return centre_x + radius * math.cos(angle), centre_y + radius * math.sin(angle)

    parts = []
    for ring in (0.25, 0.5, 0.75, 1.0):
        ends = [point(axis, ring) for axis in range(len(axes))]
        parts.append(element("polygon", points=_points(ends), class_="grid"))
    for axis, name in enumerate(axes):
        x, y = point(axis, 1.0)
        parts.append(element("line", x1=centre_x, y1=centre_y, x2=x, y2=y, class_="grid"))
        name_x, name_y = centre_x + (x - centre_x) * 1.1, centre_y + (y - centre_y) * 1.1
        side = "middle" if abs(x - centre_x) < 1 else "start" if x > centre_x else "end"
        parts.append(element("text", name, x=name_x, y=name_y + 4, text_anchor=side))
    for line in series:
        found = [(axis, value) for axis, value in enumerate(line.values) if value is not None]
        corners = [point(axis, value) for axis, value in found]
        if len(corners) == len(axes):
            parts.append(element("polygon", points=_points(corners), class_=f"area {line.kind}"))
        for (x, y), (axis, value) in zip(corners, found, strict=True):
            hint = element("title", f"{line.name}, {axes[axis]}: {100 * value:.1f}")
            parts.append(element("circle", hint, cx=x, cy=y, r=3.5, class_=f"dot {line.kind}"))
    return _svg(width, height, "radar over tasks", parts)


def confusion_map(columns: Sequence[str], counts: Sequence[Sequence[int]]) -> Markup:
    """Confusion matrix: rows are true classes, columns answers, darkness is the share of the true class.

    Args:
        columns: names of the answers; the first ones are the classes of the rows.
        counts: one row per true class, one number per column.
    """
    rows = columns[: len(counts)]
    cell = _CELL_LARGE if len(columns) <= _NUMBERS_UP_TO else _CELL_SMALL
    left = 10 + max(_LETTER * len(name) for name in columns)
    top = left * 0.75 + 8  # the column names lean by 45 degrees
    parts = []
    for column, name in enumerate(columns):
        x = left + cell * (column + 0.6)
        lean = f"rotate(-45 {x:.1f} {top - 6:.1f})"
        parts.append(element("text", name, x=x, y=top - 6, transform=lean))
    for row, (name, found) in enumerate(zip(rows, counts, strict=True)):
        y = top + cell * row
        parts.append(element("text", name, x=left - 6, y=y + cell / 2 + 4, text_anchor="end"))
        for column, count in enumerate(found):
            share = count / max(1, sum(found))
            hint = element("title", f"{name} answered as {columns[column]}: {count} of {sum(found)}")
            kind = "none" if not count else "right" if column == row else "wrong"
            box = element(
                "rect",
                hint,
                x=left + cell * column,
                y=y,
                width=cell - 1,
                height=cell - 1,
                class_=f"cell {kind}",
                fill_opacity=0.15 + 0.85 * share if count else None,
            )
            parts.append(box)
            if count and cell == _CELL_LARGE:
                x_text, y_text = left + cell * (column + 0.5), y + cell / 2 + 4
                shade = "light" if share > 0.5 else None
                parts.append(element("text", count, x=x_text, y=y_text, text_anchor="middle", class_=shade))
    width = left + cell * len(columns) + top * 0.7
    return _svg(width, top + cell * len(rows) + 4, "confusion matrix", parts)


def _svg(width: float, height: float, label: str, parts: Sequence[Markup]) -> Markup:
    box = f"0 0 {width:.0f} {height:.0f}"
    return element(
        "svg", parts, viewBox=box, width=round(width), height=round(height), role="img", aria_label=label
    )


def _points(corners: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _step(top: float) -> float:
    """Distance of ticks: 1, 2.5 or 5 times a power of ten, so that there are three to eight of them."""
    power = 10.0 ** math.floor(math.log10(top / 4))
    return min((factor * power for factor in (1, 2.5, 5, 10)), key=lambda step: abs(top / step - 4))


def _cut(text: str, width: float) -> str:
    letters = int(width / _LETTER)
    return text if len(text) <= letters else text[: letters - 1] + "…"
