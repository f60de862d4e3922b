"""What wordkit promises."""

from __future__ import annotations

from wordkit import average_length, longest, most_common


def test_the_most_common_word_wins() -> None:
    assert most_common(["b", "a", "b"]) == "b"


def test_a_single_word_is_the_most_common() -> None:
    assert most_common(["only"]) == "only"


def test_the_average_is_over_all_words() -> None:
    assert average_length(["ab", "abcd"]) == 3


def test_no_words_have_an_average_of_zero() -> None:
    assert average_length([]) == 0


def test_the_longest_word_wins() -> None:
    assert longest(["a", "abc", "ab"]) == "abc"
