"""Molecules out of a beacon: the same on every machine, known to the force field, free of faults."""

from __future__ import annotations

import numpy as np
import pytest

from tercet.errors import TaskError
from tercet.subnets.folding import LETTERS, build_peptide
from tercet.subnets.folding.peptides import draw_peptide, heavy_atoms
from tercet.subnets.folding.shape import dihedrals, find_fault
from tercet.subnets.kit import lottery

from .bench import physics

GOLDEN = "d3dcaaf14bdec5db392824ce420f96d7d40679325557c4aaae36aa205d7a359a"


def test_the_same_beacon_gives_the_same_molecule_for_ever() -> None:
    """All validators of a round must ask for one thing; a change here is a new version of the mechanism."""
    assert draw_peptide(lottery(bytes(32), "folding"), 6, 8).digest() == GOLDEN


@pytest.mark.parametrize("sequence", ["ACDEFGHIKLMNPQRSTVWY", "PPGPP", "WAAAAW", "GG"])
def test_the_force_field_knows_what_is_built(sequence: str) -> None:
    """Every residue, at either end and inside; a short walk downhill finds a sound molecule."""
    molecule = build_peptide(sequence)
    bench = physics(molecule)
    found, energy = bench.minimise(molecule.start, iterations=100)
    assert energy < bench.energy(molecule.start)
    assert find_fault(bench.shape, found) == ""
    assert molecule.sequence == sequence


def test_turns_are_what_was_asked_for() -> None:
    """Phi and psi of every inner residue."""
    turns = [(-60.0, -45.0), (-100.0, 130.0), (-150.0, 20.0), (-75.0, 160.0)]
    molecule = build_peptide("AKSG", turns)
    names = [(i, atom) for i, residue in enumerate(molecule.residues) for atom in residue.atoms]
    at = molecule.start.astype(np.float64)
    for i in (1, 2):
        own = [names.index((i, atom)) for atom in ("N", "CA", "C")]
        phi, psi = [names.index((i - 1, "C")), *own], [*own, names.index((i + 1, "N"))]
        assert dihedrals(np.array([phi, psi]), at) == pytest.approx(turns[i], abs=0.2)


def test_drawn_molecules_differ() -> None:
    """Of forty, in length, sequence and start."""
    drawn = [draw_peptide(lottery(bytes([i]) * 32, "folding"), 6, 8) for i in range(40)]
    assert {len(molecule.residues) for molecule in drawn} == {6, 7, 8}
    assert len({molecule.sequence for molecule in drawn}) == 40
    assert all(np.isfinite(molecule.start).all() for molecule in drawn)


def test_unknown_letters_are_named() -> None:
    """Before anything is built."""
    with pytest.raises(TaskError, match="'BZ' stands for no amino acid"):
        build_peptide("ABZA")
    with pytest.raises(TaskError, match="two residues or more"):
        build_peptide("A")


def test_all_twenty_have_a_shape() -> None:
    """And a backbone."""
    for name in LETTERS.values():
        assert {"N", "CA", "C", "O"} <= set(heavy_atoms(name))
