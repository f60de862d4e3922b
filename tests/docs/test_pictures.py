"""The pictures of money are drawn from a run, and add up as they are read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/images"
SVG = "{http://www.w3.org/2000/svg}"
LEFT, RIGHT = 262, 818
"""Where the blocks of the first and of the last column stand."""


def amounts_of(picture: Path, column: int, lane: int) -> int:
    """The sum of what stands beside one column's blocks in one lane, in base units."""
    drawing = ET.parse(picture).getroot()
    words = [text for text in drawing.iter(f"{SVG}text") if text.text]
    second = next(float(text.attrib["y"]) for text in words if (text.text or "").startswith("TCT"))
    edge = column - 12 if column == LEFT else column + 14 + 12
    found = [
        text.text or ""
        for text in words
        if text.attrib["class"] == "amount"
        and float(text.attrib["x"]) == edge
        and (float(text.attrib["y"]) > second) is bool(lane)
    ]
    assert len(found) > 1
    return sum(int(re.sub(r"[.,]", "", amount)) for amount in found)


def check(picture: Path) -> None:
    """What comes in on the left goes out on the right, in credit and in TCT."""
    for lane in (0, 1):
        assert amounts_of(picture, LEFT, lane) == amounts_of(picture, RIGHT, lane) > 0


def test_the_picture_in_the_docs_adds_up() -> None:
    """To the last digit, by nothing but what a reader sees."""
    check(IMAGES / "money-flows.svg")


@pytest.mark.slow
def test_the_pictures_are_drawn_from_a_run(tmp_path: Path) -> None:
    """The script plays a market and writes both; the same blocks as in the docs, and they add up."""
    script = ROOT / "scripts/build_money_pictures.py"
    done = subprocess.run(
        [sys.executable, script, "--out", tmp_path], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    check(tmp_path / "money-flows.svg")
    for name in ("money-flows.svg", "money-epochs.svg"):
        assert len(ET.parse(tmp_path / name).getroot()) > 30
        assert {path.name for path in tmp_path.iterdir()} == {"money-flows.svg", "money-epochs.svg"}
