"""Just enough SVG: escaped elements, linear scales, round ticks. Colours are CSS classes, so charts follow the theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

__all__ = ["PANEL_WIDTH", "Scale", "element", "panel", "round_ticks", "text"]

PANEL_WIDTH = 360
"""Units, which are pixels on a phone: panels stack there and stand side by side on a desk."""


def element(name: str, *children: str, **attributes: str | float) -> Markup:
    """`<name attribute="...">children</name>`; `_` becomes `-`, a trailing one is dropped (`class_`)."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(_number(v))}"' for key, v in attributes.items())
    inside = "".join(str(escape(child)) for child in children)
    return Markup(f"<{name}{words}>{inside}</{name}>")  # noqa: S704  # every part is escaped above


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def text(x: float, y: float, words: str, *, anchor: str = "start", class_: str = "label") -> Markup:
    """Words at a point; `anchor` is start, middle or end."""
    return element("text", words, x=x, y=y, text_anchor=anchor, class_=class_)


def panel(title: str, description: str, height: float, *children: str) -> Markup:
    """A chart: its title is drawn by the page, its description is for those who cannot see it."""
    drawing = element(
        "svg",
        element("title", description),
        *children,
        viewBox=f"0 0 {PANEL_WIDTH} {_number(height)}",
        role="img",
        aria_label=f"{title}: {description}",
    )
    return element("figure", element("figcaption", title), drawing)


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps 0..`most` to `low`..`high` in units of the drawing."""

    most: float
    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Where `value` lies; 0 when there is nothing to scale."""
        return self.low + (self.high - self.low) * (value / self.most if self.most else 0)


def round_ticks(most: float, count: int = 4) -> Sequence[float]:
    """0 and up to `count` round steps; the last is at least `most`."""
    if most <= 0:
        return [0.0, 1.0]
    step = 10 ** math.floor(math.log10(most / count))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if step * factor * count >= most)
    return [step * i for i in range(math.ceil(most / step - 1e-9) + 1)]
