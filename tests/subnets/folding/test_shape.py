"""What passes for the same molecule, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.subnets.folding import contacts, rmsd
from tercet.subnets.folding.molecule import Coordinates
from tercet.subnets.folding.shape import find_fault, likeness

from .bench import crumpled, fold, physics, turned


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_turning_and_shifting_change_nothing(seed: int) -> None:
    """No rmsd, full likeness, no fault."""
    at = fold(1)
    moved, shape = turned(at, seed), physics().shape
    assert rmsd(at, moved) < 1e-3
    assert likeness(shape, at, moved) == 1.0
    assert find_fault(shape, moved) == ""


def test_rmsd_is_a_distance() -> None:
    """Symmetric, 0 only for the same, and a mirror image is not the same."""
    one, other = fold(1), fold(2)
    assert rmsd(one, one) < 1e-3
    assert rmsd(one, other) == pytest.approx(rmsd(other, one))
    assert rmsd(one, -one) > 0.05
    shifted = one.copy()
    shifted[0] += 1.0
    assert 0 < rmsd(one, shifted) <= np.sqrt(3 / len(one))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda at: at * np.float32(1.3), "off its length"),
        (lambda at: -at, "wrong hand"),
        (lambda at: np.full_like(at, np.nan), "not finite"),
        (lambda at: np.full_like(at, np.inf), "not finite"),
        (lambda at: at + np.float32(1e4), "from the origin"),
        (np.zeros_like, "off its length"),
        (lambda at: at[::-1].copy(), "off its length"),
    ],
)
def test_what_is_no_molecule_any_more_is_named(spoil: Callable[[Coordinates], Coordinates], words: str) -> None:
    """Each kind of damage in its own words."""
    assert words in find_fault(physics().shape, spoil(fold(1)))


def test_atoms_on_top_of_each_other_are_found() -> None:
    """Even where no bond would show it."""
    whole, at = physics().shape, fold(1).copy()
    last = len(at) - 1
    free = ~(whole.bonds == last).any(axis=1)
    shape = replace(whole, bonds=whole.bonds[free], lengths=whole.lengths[free])
    assert find_fault(shape, at) == ""
    at[last] = at[whole.names.index(next(name for name in whole.names if name.endswith(" C")))] + np.float32(0.05)
    assert "on top of each other" in find_fault(shape, at)


def test_a_peptide_bond_that_was_turned_over_is_found() -> None:
    """Trans at the start, cis at the end: everything behind it was turned by half."""
    shape = physics().shape
    _, carbon, nitrogen, _ = shape.peptides[1]
    at = fold(1).astype(np.float64)
    axis = (at[nitrogen] - at[carbon]) / np.linalg.norm(at[nitrogen] - at[carbon])
    arm = at[nitrogen:] - at[carbon]
    at[nitrogen:] = at[carbon] - arm + 2 * (arm @ axis)[:, None] * axis
    assert "turned over" in find_fault(shape, at.astype(np.float32))


def test_contacts_of_the_native_are_counted() -> None:
    """All of its own."""
    shape = physics().shape
    assert contacts(shape, fold(1), fold(1)) == 1.0
    assert 0.0 <= contacts(shape, fold(1), crumpled().start) <= 1.0


def test_searches_do_not_end_alike() -> None:
    """Else honest miners would be taken for copies."""
    shape = physics().shape
    assert max(likeness(shape, fold(a), fold(b)) for a in range(1, 4) for b in range(1, a)) < 0.8
