"""What a person may say to a card: yes or no; to a question also words of their own, or one of the options it names. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal, TypeAlias

from tercet.errors import CardError

__all__ = ["LONGEST_OPTION", "MOST_OPTIONS", "MOST_WORDS", "Reply", "validate_options", "validate_words"]

Reply: TypeAlias = Literal["yes", "no", "words"]
MOST_WORDS = 1000
"""Characters of an answer in words."""
MOST_OPTIONS = 9
"""One digit chooses among them."""
LONGEST_OPTION = 80
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode that draw nothing, or draw elsewhere: controls, directions, private use, ends of lines."""


def validate_words(words: str) -> None:
    """Whether these can be told to an agent, shown on a screen and written into a claim.

    Raises:
        CardError: they are empty, too long, or hold what nobody sees.

    """
    if not words.strip() or len(words) > MOST_WORDS:
        raise CardError(f"An answer has 1 to {MOST_WORDS} characters, not {len(words)}. Say it in one line.")
    if (unseen := _unseen(words)) is not None:
        raise CardError(f"The answer holds {unseen!r}, which nobody sees. Write it as one line of plain text.")


def validate_options(options: Sequence[str]) -> None:
    """A question's options stand on the card as they are told to its asker: in full, and each once.

    Raises:
        CardError: there are too many, or one is empty, too long, the same as another, or holds what nobody sees.

    """
    if len(options) > MOST_OPTIONS or len(set(options)) < len(options):
        raise CardError(f"A question has at most {MOST_OPTIONS} options, all different; it names {len(options)}.")
    for option in options:
        if option != option.strip() or not 0 < len(option) <= LONGEST_OPTION or _unseen(option) is not None:
            raise CardError(f"{option[:100]!r} is no option: one line of 1 to {LONGEST_OPTION} plain characters is.")


def _unseen(text: str) -> str | None:
    return next((letter for letter in text if unicodedata.category(letter) in _UNSEEN), None)
