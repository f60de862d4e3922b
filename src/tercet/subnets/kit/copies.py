"""Who copied whom: of two works that are alike, the one that was committed first is the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Entry", "find_copies"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One miner's work, and when its commit was fixed."""

    uid: int
    order: tuple[int, ...]
    """Block and index of the commit, or any other order that the miner cannot choose afterwards; never its own clock."""
    work: T


def find_copies(
    entries: Sequence[Entry[T]], similarity: Callable[[T, T], float], threshold: float
) -> Mapping[int, int]:
    """Each copier's uid to the uid of the original that it goes back to; originals are not in it.

    A copy of a copy counts for the first in the chain, even where it no longer looks like it. The commits must bind
    the work (a hash over it), so that nobody can commit first and fill in what others publish. Equal orders, which a
    chain never gives, are decided by uid.

    Args:
        entries: one per uid.
        similarity: of two works, symmetric; called for each pair at most once.
        threshold: works this similar, or more, do not come about independently. NaN is similar to nothing.

    """
    if len({entry.uid for entry in entries}) != len(entries):
        raise ValueError("One miner has one work: a uid stands in two entries.")
    copies: dict[int, int] = {}
    earlier: list[Entry[T]] = []
    for entry in sorted(entries, key=lambda each: (each.order, each.uid)):
        for other in earlier:
            if similarity(other.work, entry.work) >= threshold:
                copies[entry.uid] = copies.get(other.uid, other.uid)
                break
        earlier.append(entry)
    return copies
