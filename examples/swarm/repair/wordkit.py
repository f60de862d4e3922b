"""Small tools for lists of words."""

from __future__ import annotations


def most_common(words: list[str]) -> str:
    """The word that stands there most often; the first one of several."""
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return min(counts, key=lambda word: counts[word])


def average_length(words: list[str]) -> float:
    """Mean number of letters of the words; 0 where there are none."""
    return sum(len(word) for word in words) / len(words)


def longest(words: list[str]) -> str:
    """The word with the most letters; the first one of several."""
    return max(words, key=len)
