"""The pictures of the report: earnings per epoch, weights by validator, latency. Plain data in, SVG out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from markupsafe import Markup

from tercet.cli.report.svg import PANEL_WIDTH, Scale, element, panel, round_ticks, text

__all__ = ["Series", "draw_bars", "draw_curve", "draw_latency", "draw_weights"]

LEFT, RIGHT, TOP = 46, 8, 12


@dataclass(frozen=True, slots=True)
class Series:
    """One actor's numbers under one colour."""

    name: str
    colour: str
    """CSS class, `s1` to `s8`."""
    values: Sequence[float]


def _grid(ticks: Sequence[float], y: Scale) -> list[Markup]:
    lines = []
    for tick in ticks:
        lines.append(
            element(
                "line", x1=LEFT, x2=PANEL_WIDTH - RIGHT, y1=y(tick), y2=y(tick), class_="base" if tick == 0 else "grid"
            )
        )
        lines.append(text(LEFT - 6, y(tick) + 4, _short(tick), anchor="end", class_="tick"))
    return lines


def _short(value: float) -> str:
    return f"{value:,.10g}"


def draw_bars(title: str, unit: str, columns: Sequence[str], series: Sequence[Series]) -> Markup:
    """One group of bars a column, one bar a series; the value stands in each bar's tooltip."""
    height, bottom = 210, 184
    ticks = round_ticks(max((v for s in series for v in s.values), default=0))
    y = Scale(ticks[-1], bottom, TOP)
    slot = (PANEL_WIDTH - LEFT - RIGHT) / max(1, len(columns))
    width = min(14.0, slot * 0.8 / max(1, len(series)))
    marks = _grid(ticks, y)
    for i, column in enumerate(columns):
        middle = LEFT + slot * (i + 0.5)
        marks.append(text(middle, bottom + 17, column, anchor="middle", class_="tick"))
        start = middle - width * len(series) / 2
        marks += [_bar(start + width * j, width, y, s, i, f"{column}, {unit}") for j, s in enumerate(series)]
    return panel(f"{title} ({unit})", f"bars for {', '.join(s.name for s in series)}", height, *marks)


def _bar(x: float, width: float, y: Scale, series: Series, index: int, where: str) -> Markup:
    value = series.values[index]
    top = y(value)
    words = element("title", f"{series.name}, {where}: {value:,.6g}")
    # a sliver stays for zero, so that "earned nothing" is seen and can be pointed at
    return element(
        "rect", words, x=x + 1, y=min(top, y(0) - 1), width=width - 2, height=max(1, y(0) - top), class_=series.colour
    )


def draw_curve(title: str, unit: str, values: Sequence[float], colour: str) -> Markup:
    """One line from 0 on, a dot at each value; the first and the last are written beside theirs."""
    height, bottom = 210, 184
    ticks = round_ticks(max(values, default=0))
    y = Scale(ticks[-1], bottom, TOP)
    x = Scale(max(1, len(values) - 1), LEFT + 12, PANEL_WIDTH - RIGHT - 12)
    points = [(x(number), y(value)) for number, value in enumerate(values)]
    marks = _grid(ticks, y)
    marks.append(
        element("polyline", points=" ".join(f"{at:.1f},{high:.1f}" for at, high in points), class_=f"curve {colour}")
    )
    for number, (at, high) in enumerate(points):
        tip = element("title", f"round {number}: {values[number]:.3f}")
        marks.append(element("circle", tip, cx=at, cy=high, r=4, class_=f"{colour} dot"))
        marks.append(text(at, bottom + 17, str(number), anchor="middle", class_="tick"))
        if number in {0, len(points) - 1}:
            marks.append(text(at, high - 9, f"{values[number]:.2f}", anchor="middle", class_="label"))
    return panel(f"{title} ({unit})", f"a line from {values[0]:.2f} to {values[-1]:.2f}", height, *marks)


def draw_weights(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[float | None]]) -> Markup:
    """A table of shares (0..1) shaded by size; None means that nothing was said."""
    left, head, high = 62, 30, 30
    wide = (PANEL_WIDTH - left - RIGHT) / max(1, len(columns))
    marks = [
        text(left + wide * (i + 0.5), 18 if i % 2 == 0 else 8, column, anchor="middle", class_="tick")
        for i, column in enumerate(columns)
    ]
    for j, (name, shares) in enumerate(rows.items()):
        top = head + high * j
        marks.append(text(left - 6, top + high / 2 + 4, name, anchor="end", class_="label"))
        for i, share in enumerate(shares):
            marks += _cell(left + wide * i, top, wide, high, share, f"{name}, {columns[i]}")
    return panel(title, f"share of the weight for {', '.join(columns)}", head + high * len(rows) + 4, *marks)


def _cell(x: float, y: float, wide: float, high: float, share: float | None, where: str) -> list[Markup]:
    words = "-" if share is None else f"{100 * share:.0f}"
    tip = element("title", f"{where}: {'no weight' if share is None else f'{100 * share:.1f} %'}")
    back = element(
        "rect", tip, x=x + 1, y=y + 1, width=wide - 2, height=high - 2, class_="cell", style=f"--share:{share or 0:.3f}"
    )
    ink = "on" if share is not None and share > 0.5 else "label"
    return [back, text(x + wide / 2, y + high / 2 + 4, words, anchor="middle", class_=ink)]


def draw_latency(title: str, series: Sequence[Series]) -> Markup:
    """One line a miner, one dot a request, a bar at the median. Seconds."""
    left, high = 82, 34
    bottom = TOP + high * len(series)
    ticks = round_ticks(max((v for s in series for v in s.values), default=0))
    x = Scale(ticks[-1], left, PANEL_WIDTH - RIGHT - 8)
    marks = []
    for tick in ticks:
        marks.append(element("line", x1=x(tick), x2=x(tick), y1=TOP, y2=bottom, class_="base" if tick == 0 else "grid"))
        marks.append(text(x(tick), bottom + 16, _short(tick), anchor="middle", class_="tick"))
    for j, one in enumerate(series):
        middle = TOP + high * (j + 0.5)
        marks.append(text(left - 8, middle + 4, one.name, anchor="end", class_="label"))
        marks += [
            element(
                "circle",
                element("title", f"{one.name}: {value:.2f} s"),
                cx=x(value),
                cy=middle,
                r=4,
                class_=f"{one.colour} dot",
            )
            for value in one.values
        ]
        marks += _median(x, middle, one)
    return panel(f"{title} (seconds)", "one dot a request, a bar at the median", bottom + 24, *marks)


def _median(x: Scale, middle: float, series: Series) -> list[Markup]:
    if not series.values:
        return [text(x(0) + 6, middle + 4, "no answer", class_="tick")]
    at = median(series.values)
    tip = element("title", f"{series.name}: median {at:.2f} s")
    return [element("line", tip, x1=x(at), x2=x(at), y1=middle - 11, y2=middle + 11, class_="median")]
