"""Peptides out of a beacon: sequence and start by lot, atom for atom the same on every machine.

A force field's own builder places hydrogens by chance; here each residue has one shape (`residues.json`, written by
`scripts/fold_residues.py`), and coordinates are rounded to a ten-thousandth of a nanometre.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tercet.errors import TaskError
from tercet.subnets.folding.molecule import LETTERS, Molecule, Residue

__all__ = ["build_peptide", "draw_peptide", "frame", "heavy_atoms"]

Vector = npt.NDArray[np.float64]

_PHI, _PSI, _OMEGA = -120.0, 140.0, 180.0
"""Degrees: a strand."""
_PROLINE_PHI = -70.0
_PHI_DRAWN = (-170.0, -40.0)
"""Degrees, of a crumpled chain."""
_LOOSE = 0.2
"""nm between atoms of residues that are no neighbours."""
_TRIES = 50
_C_N, _CA_C_N, _C_N_CA = 0.1335, 116.6, 121.9
"""The peptide bond: nm, degrees."""
_N_H, _C_OXT = 0.101, 0.125
_HYDROGENS = {"PRO": (("H2", 230.0), ("H3", 350.0))}
_TERMINAL = (("H", 60.0), ("H2", 180.0), ("H3", 300.0))
"""What hangs on the first nitrogen, and how it is turned against C."""
_COMMON = "ADEFGHIKLMNPQRSTVWY"
"""What challenges are drawn from: all but cysteine, whose bridges are a question of their own."""


def draw_peptide(lottery: random.Random, shortest: int, longest: int) -> Molecule:
    """A peptide of `shortest` to `longest` residues, crumpled: the minimum next to such a start is a poor one."""
    sequence = "".join(lottery.choices(_COMMON, k=lottery.randint(shortest, longest)))
    for _ in range(_TRIES):
        turns = [(lottery.uniform(*_PHI_DRAWN), lottery.uniform(-180, 180)) for _ in sequence]
        molecule = build_peptide(sequence, turns)
        if _is_loose(molecule):
            return molecule
    return build_peptide(sequence)


def build_peptide(sequence: str, turns: Sequence[tuple[float, float]] = ()) -> Molecule:
    """A chain with charged ends, hydrogens included.

    Args:
        sequence: one-letter codes, 2 or more.
        turns: (phi, psi) of each residue, degrees; empty for a stretched chain. A proline keeps its own phi.

    Raises:
        TaskError: a letter stands for no amino acid.

    """
    unknown = sorted(set(sequence) - set(LETTERS))
    if unknown or len(sequence) < 2:
        what = f"{''.join(unknown)!r} stands for no amino acid" if unknown else "a peptide has two residues or more"
        raise TaskError(f"The sequence {sequence[:40]!r} cannot be built: {what}.")
    names = [LETTERS[letter] for letter in sequence]
    angles = [
        (_PROLINE_PHI if name == "PRO" else phi, psi)
        for name, (phi, psi) in zip(names, turns or [(_PHI, _PSI)] * len(names), strict=True)
    ]
    residues: list[Residue] = []
    positions: list[Vector] = []
    for i, (name, turn, trace) in enumerate(zip(names, angles, _trace(names, angles), strict=True)):
        atoms = _place(name, turn, trace, first=i == 0, last=i == len(names) - 1)
        residues.append(Residue(name, tuple(atoms)))
        positions.extend(atoms.values())
    centred = np.array(positions) - np.mean(positions, axis=0)
    rounded = np.round(centred, 4) + 0.0  # a sum with 0 is never -0
    return Molecule((tuple(residues),), rounded.astype(np.float32))


def _is_loose(molecule: Molecule) -> bool:
    """Whether no two residues run into each other."""
    at = molecule.start.astype(np.float64)
    owner = np.repeat(np.arange(len(molecule.residues)), [len(residue.atoms) for residue in molecule.residues])
    apart = np.linalg.norm(at[:, None] - at[None], axis=2)
    return bool(apart[np.abs(owner[:, None] - owner) >= 2].min(initial=1.0) > _LOOSE)


def heavy_atoms(name: str) -> Sequence[str]:
    """Of the residue `name` inside a chain."""
    return [atom for atom in _shapes()[name] if not atom.startswith("H")]


def frame(n: Vector, ca: Vector, c: Vector) -> Vector:
    """Columns: a right-handed frame at CA, its first axis towards C, its second in the plane of N."""
    x = (c - ca) / np.linalg.norm(c - ca)
    z = np.cross(x, n - ca)
    z /= np.linalg.norm(z)
    return np.column_stack([x, np.cross(z, x), z])


@cache
def _shapes() -> Mapping[str, Mapping[str, Vector]]:
    text = (files(__package__) / "residues.json").read_text()
    return {name: {atom: np.array(at) for atom, at in atoms.items()} for name, atoms in json.loads(text).items()}


Trace: TypeAlias = tuple[Vector, Vector, Vector]
"""N, CA and C of a residue."""


def _trace(names: Sequence[str], angles: Sequence[tuple[float, float]]) -> list[Trace]:
    """How the chain runs."""
    found: list[Trace] = []
    psi = 0.0
    for name, (phi, next_psi) in zip(names, angles, strict=True):
        shape = _shapes()[name]
        n, c = shape["N"], shape["C"]
        to_n, to_c = float(np.linalg.norm(n)), float(np.linalg.norm(c))
        angle = float(np.degrees(np.arccos(n @ c / to_n / to_c)))
        if not found:
            found.append((n, np.zeros(3), c))
            psi = next_psi
            continue
        before_n, before_ca, before_c = found[-1]
        here_n = _extend(before_n, before_ca, before_c, _C_N, _CA_C_N, psi)
        here_ca = _extend(before_ca, before_c, here_n, to_n, _C_N_CA, _OMEGA)
        here_c = _extend(before_c, here_n, here_ca, to_c, angle, phi)
        found.append((here_n, here_ca, here_c))
        psi = next_psi
    return found


def _place(name: str, turn: tuple[float, float], trace: Trace, *, first: bool, last: bool) -> dict[str, Vector]:
    """All atoms of a residue, in the force field's order."""
    (phi, psi), (n, ca, c) = turn, trace
    axes = frame(n, ca, c)
    atoms: dict[str, Vector] = {}
    for atom, local in _shapes()[name].items():
        if atom == "H" and first:
            continue
        atoms[atom] = ca + axes @ local
        if atom == "N" and first:
            for hydrogen, torsion in _HYDROGENS.get(name, _TERMINAL):
                atoms[hydrogen] = _extend(c, ca, n, _N_H, 109.5, torsion)
        elif atom == "H":
            atoms[atom] = _extend(c, ca, n, _N_H, 118.0, phi + 180)
        elif atom == "O":
            atoms[atom] = _extend(n, ca, c, 0.1229, 120.5, psi + 180)
    if last:
        atoms["OXT"] = _extend(n, ca, c, _C_OXT, 117.0, psi)
    return atoms


def _extend(a: Vector, b: Vector, c: Vector, length: float, angle: float, torsion: float) -> Vector:
    """The point at `length` from c, with the angle at c towards b, and the torsion a-b-c-point. Degrees."""
    bond = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, bond)
    normal /= np.linalg.norm(normal)
    bend, turn = np.radians(angle), np.radians(torsion)
    side = np.cos(turn) * np.cross(normal, bond) + np.sin(turn) * normal
    return np.asarray(c + length * (-np.cos(bend) * bond + np.sin(bend) * side))
