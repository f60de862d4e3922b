"""The competition in low energies: miners search for the folds of a molecule, validators compute their energies again."""

from __future__ import annotations

from tercet.subnets.folding.judge import Fold, examine, read_fold, verify
from tercet.subnets.folding.mechanism import CHALLENGE_STEPS, Folding
from tercet.subnets.folding.molecule import LETTERS, MAX_ATOMS, MAX_STEPS, FoldTask, Molecule, parse_task
from tercet.subnets.folding.pdb import read_pdb, write_pdb
from tercet.subnets.folding.peptides import build_peptide
from tercet.subnets.folding.physics import Physics, Workbench
from tercet.subnets.folding.rogues import BEHAVIOURS
from tercet.subnets.folding.shape import contacts, rmsd

__all__ = [
    "BEHAVIOURS",
    "CHALLENGE_STEPS",
    "LETTERS",
    "MAX_ATOMS",
    "MAX_STEPS",
    "Fold",
    "FoldTask",
    "Folding",
    "Molecule",
    "Physics",
    "Workbench",
    "build_peptide",
    "contacts",
    "examine",
    "parse_task",
    "read_fold",
    "read_pdb",
    "rmsd",
    "verify",
    "write_pdb",
]
