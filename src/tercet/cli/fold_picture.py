"""The energy of a fold on its way down, as a picture that stands alone: what the miner reported, and what was verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tercet.cli.report.svg import element, text

__all__ = ["draw_path"]

WIDTH, HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 24, 44, 48
_POINTS = 400
"""Of a reported path that are drawn."""
_ROOM = 0.08
"""Of the range of energies, above and below."""
_STYLE = """
svg { font: 13px system-ui, sans-serif; background: #fff; color: #222 }
.title { font-size: 15px; font-weight: 600 }
.axis { stroke: #bbb } .grid { stroke: #eee }
.path { fill: none; stroke: #7a8fb8; stroke-width: 1.5 }
.before { fill: #b5533c } .after { fill: #1f7a4d }
@media (prefers-color-scheme: dark) {
  svg { background: #16181d; color: #ddd } .axis { stroke: #555 } .grid { stroke: #2a2d34 }
}
text { fill: currentColor }
"""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Maps steps and energies to the drawing."""

    steps: int
    low: float
    high: float

    def x(self, step: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * step / max(1, self.steps)

    def y(self, energy: float) -> float:
        """The top for whatever is above it: a start with atoms on top of each other has any energy."""
        part = (min(energy, self.high) - self.low) / ((self.high - self.low) or 1.0)
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * max(0.0, part)


def draw_path(name: str, path: Sequence[tuple[int, float]], before: float, after: float) -> str:
    """An SVG document.

    Args:
        name: of the file that was folded.
        path: (step, kJ/mol) as reported.
        before: energy of the start, verified.
        after: energy of the fold, verified.

    """
    every = max(1, -(-len(path) // _POINTS))
    kept = [*path[::every], *path[-1:]]
    frame = _frame(kept, before, after)
    last = frame.steps
    points = " ".join(f"{frame.x(step):.1f},{frame.y(energy):.1f}" for step, energy in kept)
    above = " (above the picture)" if before > frame.high else ""
    drawing = element(
        "svg",
        element("title", f"Energy of {name}: {before:.1f} to {after:.1f} kJ/mol"),
        element("style", _STYLE),
        text(_LEFT, 24, f"{name}: the way down", class_="title"),
        *_axes(frame),
        *([element("polyline", points=points, class_="path")] if len(kept) > 1 else []),
        element("circle", cx=frame.x(0), cy=frame.y(before), r=5, class_="before"),
        text(frame.x(0) + 10, frame.y(before) + 4, f"start, verified: {before:.1f}{above}"),
        element("circle", cx=frame.x(last), cy=frame.y(after), r=5, class_="after"),
        text(frame.x(last) - 10, frame.y(after) - 10, f"fold, verified: {after:.1f}", anchor="end"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        role="img",
    )
    return f"{drawing}\n"


def _frame(path: Sequence[tuple[int, float]], before: float, after: float) -> _Frame:
    """Room for the path and the fold; for the start only where it does not press the rest flat."""
    energies = [energy for _, energy in path] or [before]
    low, high = min(*energies, after), max(*energies, after)
    if before <= high + 2 * (high - low):
        high, low = max(high, before), min(low, before)
    room = _ROOM * ((high - low) or 1.0)
    return _Frame(max((step for step, _ in path), default=0), low - room, high + room)


def _axes(frame: _Frame) -> list[str]:
    bottom = HEIGHT - _BOTTOM
    found: list[str] = []
    for i in range(5):
        energy = frame.low + (frame.high - frame.low) * i / 4
        y = frame.y(energy)
        found.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        found.append(text(_LEFT - 8, y + 4, f"{energy:.0f}", anchor="end"))
    found.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=bottom, y2=bottom, class_="axis"))
    found.append(text(_LEFT, bottom + 22, "0"))
    found.append(text(WIDTH - _RIGHT, bottom + 22, f"{frame.steps:,} steps, as the miner reported them", anchor="end"))
    found.append(text(8, 24, "kJ/mol"))
    return found
