"""Two kinds of pictures as SVG text: flows between columns of nodes, and stacked bars. Plain data in; knows no market."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

INK, FAINT, LINE, PAPER = "#1c2733", "#5d6b79", "#dfe5ea", "#ffffff"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
STYLE = f"""
text {{ font-family: {FONT}; fill: {INK}; }}
.title {{ font-size: 21px; font-weight: 650; }}
.lane {{ font-size: 13px; font-weight: 650; letter-spacing: .06em; fill: {FAINT}; }}
.name {{ font-size: 15px; font-weight: 600; }}
.amount {{ font-size: 13.5px; font-variant-numeric: tabular-nums; }}
.note {{ font-size: 13px; fill: {FAINT}; }}
.tick {{ font-size: 12.5px; fill: {FAINT}; font-variant-numeric: tabular-nums; }}
text {{ paint-order: stroke; stroke: {PAPER}; stroke-width: 4px; stroke-linejoin: round; }}
"""


@dataclass(frozen=True)
class Node:
    """A place where money is, or comes to."""

    key: str
    column: int
    name: str
    amount: str
    """As it is written, exactly."""
    colour: str
    notes: tuple[str, ...] = ()
    """Lines below it, of the last column's only."""


@dataclass(frozen=True)
class Link:
    """Money that moves; its width is its value."""

    source: str
    target: str
    value: float


@dataclass(frozen=True)
class Lane:
    """Flows in one token, under each other with those in another."""

    title: str
    nodes: Sequence[Node]
    links: Sequence[Link]
    height: float
    """Pixels for the largest column's money."""


@dataclass(frozen=True)
class Bar:
    """A column of a stacked chart, from the bottom up."""

    label: str
    parts: Sequence[tuple[str, float, str]]
    """Name of the series, value, and the value as it is written."""
    total: str


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    """Words at a point."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def frame(width: float, height: float, title: str, description: str, body: Sequence[str]) -> str:
    """A card on its own paper, legible on dark pages too."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f"<style>{STYLE}</style>",
            f'<rect x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="14" fill="{PAPER}" stroke="{LINE}"/>',
            text(32, 44, title, "title"),
            *body,
            "</svg>\n",
        ]
    )


# --- Flows ---

WIDTH, TOP, BOTTOM = 1160, 84, 34
COLUMNS = (262, 530, 818)
BLOCK, THIN = 14, 1.6
GAPS = (34, 66, 18)
"""Between the nodes of a column; the middle one's words stand above its nodes."""
LINE_HEIGHT = 17


def draw_flows(title: str, description: str, lanes: Sequence[Lane], notes: Sequence[str]) -> str:
    """Lanes from the top down; in each, money flows from left to right."""
    body: list[str] = []
    y = float(TOP)
    for lane in lanes:
        body.append(f'<line x1="32" x2="{WIDTH - 32}" y1="{y - 10:.1f}" y2="{y - 10:.1f}" stroke="{LINE}"/>')
        body.append(text(32, y + 12, lane.title, "lane"))
        drawn, y = _draw_lane(lane, y + 34)
        body += drawn
        y += 30
    for note in notes:
        body.append(text(32, y + 4, note, "note"))
        y += 20
    return frame(WIDTH, y + BOTTOM - 16, title, description, body)


def _draw_lane(lane: Lane, top: float) -> tuple[list[str], float]:
    sizes: dict[str, float] = {}
    for node in lane.nodes:
        into = sum(link.value for link in lane.links if link.target == node.key)
        out = sum(link.value for link in lane.links if link.source == node.key)
        sizes[node.key] = max(into, out)
    columns = [[node for node in lane.nodes if node.column == c] for c in range(len(COLUMNS))]
    unit = lane.height / max(sum(sizes[node.key] for node in column) for column in columns)
    heights = {key: max(THIN, size * unit) for key, size in sizes.items()}
    tall = max(_tall(column, heights) for column in columns)
    places: dict[str, float] = {}
    for column in columns:
        y = top + (tall - _tall(column, heights)) / 2
        for node in column:
            room = _room(node, heights)
            places[node.key] = y + (room - heights[node.key]) / 2
            y += room + GAPS[node.column]
    return [*_draw_links(lane, places, heights, unit), *_draw_nodes(lane, places, heights)], top + tall


def _tall(column: Sequence[Node], heights: Mapping[str, float]) -> float:
    return sum(_room(node, heights) for node in column) + GAPS[column[0].column] * (len(column) - 1)


def _room(node: Node, heights: Mapping[str, float]) -> float:
    """Height of a node, or of the words beside it."""
    lines = 0 if node.column == 1 else 2 + len(node.notes)
    return max(heights[node.key], LINE_HEIGHT * lines)


def _draw_links(lane: Lane, places: Mapping[str, float], heights: Mapping[str, float], unit: float) -> list[str]:
    nodes = {node.key: node for node in lane.nodes}
    used: defaultdict[tuple[str, str], float] = defaultdict(float)
    drawn = []
    for link in lane.links:
        source, target = nodes[link.source], nodes[link.target]
        thick = max(THIN, link.value * unit)
        starts, ends = used["out", source.key], used["in", target.key]
        y1 = places[source.key] + min(starts, max(0, heights[source.key] - thick))
        y2 = places[target.key] + min(ends, max(0, heights[target.key] - thick))
        used["out", source.key] += link.value * unit
        used["in", target.key] += link.value * unit
        x1, x2 = COLUMNS[source.column] + BLOCK, COLUMNS[target.column]
        bend = (x2 - x1) / 2
        curve = (
            f"M{x1},{y1:.2f} C{x1 + bend:.1f},{y1:.2f} {x2 - bend:.1f},{y2:.2f} {x2},{y2:.2f} "
            f"V{y2 + thick:.2f} C{x2 - bend:.1f},{y2 + thick:.2f} {x1 + bend:.1f},{y1 + thick:.2f} {x1},{y1 + thick:.2f} Z"
        )
        drawn.append(f'<path d="{curve}" fill="{target.colour}" fill-opacity=".34"/>')
    return drawn


def _draw_nodes(lane: Lane, places: Mapping[str, float], heights: Mapping[str, float]) -> list[str]:
    drawn = []
    for node in lane.nodes:
        x, y, height = COLUMNS[node.column], places[node.key], heights[node.key]
        drawn.append(
            f'<rect x="{x}" y="{y:.2f}" width="{BLOCK}" height="{height:.2f}" rx="{min(3, height / 2):.1f}" fill="{node.colour}"/>'
        )
        middle = y + height / 2
        if node.column != 1:
            lines = [("name", node.name), ("amount", node.amount), *(("note", note) for note in node.notes)]
            edge, anchor = (x - 12, "end") if node.column == 0 else (x + BLOCK + 12, "start")
            for k, (kind, words) in enumerate(lines):
                drawn.append(text(edge, middle + LINE_HEIGHT * (k - len(lines) / 2) + 13, words, kind, anchor))
        else:
            drawn += [
                text(x + BLOCK / 2, y - 27, node.name, "name", "middle"),
                text(x + BLOCK / 2, y - 9, node.amount, "amount", "middle"),
            ]
    return drawn


# --- Bars ---


def draw_bars(
    title: str,
    description: str,
    panels: Sequence[tuple[str, float, Sequence[Bar]]],
    colours: Mapping[str, str],
    notes: Sequence[str],
) -> str:
    """Panels (heading, height, bars) under each other, one legend above; values stand in the bars' tooltips."""
    body, x = [], 32.0
    for name, colour in colours.items():
        body.append(f'<rect x="{x:.1f}" y="62" width="13" height="13" rx="3" fill="{colour}"/>')
        body.append(text(x + 19, 73, name, "amount"))
        x += 44 + 7.6 * len(name)
    y = 112.0
    for heading, tall, bars in panels:
        body.append(text(32, y, heading, "lane"))
        body += _draw_panel(bars, colours, y + 22, tall)
        y += 22 + tall + 66
    for note in notes:
        body.append(text(32, y - 14, note, "note"))
        y += 20
    return frame(WIDTH, y, title, description, body)


def _draw_panel(bars: Sequence[Bar], colours: Mapping[str, str], top: float, tall: float) -> list[str]:
    left, right = 92.0, WIDTH - 32.0
    most = 1.05 * max(sum(value for _, value, _ in bar.parts) for bar in bars)
    step = next(s for s in (10.0**e * f for e in range(-6, 9) for f in (1, 2, 2.5, 5)) if s * 4 >= most)
    peak = step * 4 if most > step * 3 else step * 3
    drawn = []
    for k in range(round(peak / step) + 1):
        y = top + tall - tall * k * step / peak
        drawn.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE}"/>')
        drawn.append(text(left - 10, y + 4, f"{k * step:,.10g}", "tick", "end"))
    slot = (right - left) / len(bars)
    for place, bar in enumerate(bars):
        x, y = left + slot * (place + 0.5), top + tall
        for name, value, exact in bar.parts:
            height = tall * value / peak
            if height > 0:
                drawn.append(
                    f'<rect x="{x - 22:.1f}" y="{y - height:.2f}" width="44" height="{height:.2f}" fill="{colours[name]}">'
                    f"<title>{escape(f'{bar.label}, {name}: {exact}')}</title></rect>"
                )
            y -= height
        drawn.append(text(x, y - 7, bar.total, "tick", "middle"))
        drawn.append(text(x, top + tall + 19, bar.label, "tick", "middle"))
    return drawn
