"""Copies go back to whoever committed first."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.subnets.kit import Entry, find_copies


def alike(one: str, other: str) -> float:
    """The share of places with the same letter."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def test_the_first_commit_is_the_original() -> None:
    """Whatever the uids are, and in whatever order the entries come."""
    entries = [Entry(1, (20, 0), "abcd"), Entry(9, (10, 3), "abcd"), Entry(5, (10, 2), "wxyz")]
    assert find_copies(entries, alike, 1.0) == {1: 9}


def test_a_copy_of_a_copy_goes_back_to_the_source() -> None:
    """Also where it has changed so much on the way that it is no longer like the source."""
    entries = [Entry(1, (1,), "aaaa"), Entry(2, (2,), "aaab"), Entry(3, (3,), "aabb")]
    assert alike("aaaa", "aabb") < 0.75
    assert find_copies(entries, alike, 0.75) == {2: 1, 3: 1}


def test_nan_is_like_nothing() -> None:
    """A judge does not fall over it."""
    assert find_copies([Entry(1, (1,), 0.0), Entry(2, (2,), 0.0)], lambda a, b: math.nan, 0.5) == {}


def test_a_uid_has_one_entry() -> None:
    """Two would let it be its own original."""
    with pytest.raises(ValueError, match="one work"):
        find_copies([Entry(1, (1,), "a"), Entry(1, (2,), "a")], alike, 1.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=12))
def test_originals_are_earlier_and_are_no_copies(drawn: list[tuple[int, int]]) -> None:
    """With equality, each group of equal works keeps exactly its first."""
    entries = [Entry(uid, (block,), work) for uid, (work, block) in enumerate(drawn)]
    copies = find_copies(entries, lambda a, b: float(a == b), 1.0)
    by_uid = {entry.uid: entry for entry in entries}
    for copier, original in copies.items():
        assert original not in copies
        assert (by_uid[original].order, original) < (by_uid[copier].order, copier)
    assert len(entries) - len(copies) == len({entry.work for entry in entries})
