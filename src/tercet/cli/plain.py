"""Strangers' words as a terminal may have them: nothing in them moves the cursor, rings, or turns the line round."""

from __future__ import annotations

__all__ = ["printable", "printable_lines", "visible"]


def printable(text: str, longest: int = 1000) -> str:
    """A stranger's words on one line: no control characters, no more than `longest`."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= longest else line[: longest - 3] + "..."


def printable_lines(text: str) -> str:
    """Our own words with a stranger's among them: lines stay lines, nothing is cut, and there is no other control character."""
    return "\n".join(printable(line.expandtabs(), len(text) * 8) for line in text.split("\n"))


def visible(text: str, kept: str = "") -> str:
    """What a person reads before a yes: a character that would not be seen is written as an escape, but for those of `kept`."""
    return "".join(letter if letter.isprintable() or letter in kept else repr(letter)[1:-1] for letter in text)
