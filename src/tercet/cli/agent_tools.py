"""How a server's tools read before agents may use them: with all the words that will reach a model."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tercet.cli.plain import visible

if TYPE_CHECKING:  # takes seconds to import
    from tercet.swarm.mcp import Tool

__all__ = ["tell_tools"]

_INDENT = " " * 6


def tell_tools(tools: Sequence[Tool], chosen: Mapping[str, str], width: int | None) -> list[str]:
    """Each tool with its reach, and below it what it says of itself and of its arguments; nothing is cut.

    Args:
        tools: what the server offers.
        chosen: name of an allowed tool to how far it reaches.
        width: columns of the screen; None keeps each text on one line, for files and pipes.

    """
    lines = []
    for tool in tools:
        lines.append(f"  {_line(tool.name):<24}{chosen.get(tool.name, 'not allowed')}".rstrip())
        for words in (tool.about, f"arguments: {json.dumps(tool.schema, ensure_ascii=False)}"):
            lines += _wrapped(_line(words), width)
    return lines


def _line(text: str) -> str:
    """A stranger's words on one line. What a screen would not show but a model reads is written as an escape."""
    return visible(" ".join(text.split()))


def _wrapped(words: str, width: int | None) -> list[str]:
    if width is None:
        return [_INDENT + words] if words else []
    return textwrap.wrap(words, max(width, 40), initial_indent=_INDENT, subsequent_indent=_INDENT)
