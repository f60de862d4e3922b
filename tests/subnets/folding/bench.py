"""One force field for all tests, small molecules, and answers to them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tercet.subnets.folding import FoldTask, Molecule, Workbench, build_peptide
from tercet.subnets.folding.molecule import Coordinates
from tercet.subnets.folding.peptides import draw_peptide
from tercet.subnets.folding.physics import Physics
from tercet.subnets.kit import decode_array, encode_array, lottery
from tercet.subnets.mechanism import Submission

pytest.importorskip("openmm")

STEPS = 2000
"""What a task of these tests pays for."""


@cache
def workbench() -> Workbench:
    return Workbench()


@cache
def crumpled(number: int = 0) -> Molecule:
    """A peptide of five residues with a poor start."""
    return draw_peptide(lottery(bytes([number]) * 32, "test"), 5, 5)


def physics(molecule: Molecule | None = None) -> Physics:
    return workbench().physics(molecule or crumpled())


@cache
def fold(seed: int) -> Coordinates:
    """What an honest search with seed 1, 2 or 3 found; not to be changed.

    Kept in a file, since the same seed ends elsewhere on another processor, and some searches find nothing.
    """
    kept = json.loads((Path(__file__).parent / "folds.json").read_text())[str(seed)]
    return decode_array(kept, dtype=np.float32, shape=(crumpled().atoms, 3), limit_bytes=100_000)


def work() -> FoldTask:
    return FoldTask(crumpled(), STEPS)


def submission(coordinates: Any, uid: int = 1, seconds: float = 1.0, **more: Any) -> Submission:
    """An answer with these coordinates and nothing claimed."""
    return Submission(uid, [{"coordinates": encode_array(coordinates), **more}], seconds, seconds, b"")


def turned(coordinates: Coordinates, seed: int = 0) -> Coordinates:
    """The same, somewhere else in space."""
    chance = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(chance.normal(size=(3, 3)))
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    return np.asarray(coordinates @ turn.T + chance.normal(size=3), dtype=np.float32)


def stretched(sequence: str) -> Molecule:
    return build_peptide(sequence)
