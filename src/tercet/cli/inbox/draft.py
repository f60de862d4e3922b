"""The line that a person types to answer a question in words: keys in, its text. It belongs to one card, and goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tercet.swarm.inbox import MOST_WORDS

__all__ = ["Draft"]

Typed: TypeAlias = Literal["on", "send", "drop"]


@dataclass(slots=True)
class Draft:
    """What was typed so far."""

    card: str
    """Id of the question that it answers."""
    text: str = ""

    def press(self, key: str) -> Typed:
        """Take a key in: a character, or a name such as `enter`; whether to go on, send it or drop it."""
        match key:
            case "enter":
                return "send" if self.text.strip() else "on"
            case "esc":
                return "drop"
            case "\x7f" | "\b":
                self.text = self.text[:-1]
            case _ if len(key) == 1 and key.isprintable() and len(self.text) < MOST_WORDS:
                self.text += key
        return "on"
