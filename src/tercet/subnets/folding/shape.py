"""Is it still the same molecule? Bonds, hands, peptide bonds and clashes, held against the start state. Pure numpy.

A force field gives low energies to things that are no molecule: atoms on top of each other, a mirror image, a bond
that was pulled through another. An energy only counts for coordinates that pass here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from tercet.subnets.folding.molecule import FARTHEST, Coordinates, Molecule

__all__ = ["Shape", "build_shape", "contacts", "dihedrals", "find_fault", "likeness", "rmsd"]

Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

BOND_SLACK = 0.02
"""nm that a bond may differ from its length at rest. At 300 K they differ by a third of it, at a minimum by a tenth."""
HEAVY_APART = 0.22
"""nm between heavy atoms that are three bonds apart or more."""
HYDROGEN_APART = 0.13
"""nm where one of them is hydrogen; the shortest hydrogen bond has 0.15."""
FLAT = 2e-4
"""nm^3. A centre flatter than this at the start has no hand that could be kept; a tetrahedral carbon has 0.0025."""
CONTACT = 0.8
"""nm between CA atoms, at least three residues apart, that count as a contact."""
SAME = 0.03
"""nm by which a distance may differ in two folds that are one."""
_BLOCK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What has to stay as it is."""

    names: tuple[str, ...]
    """Of the atoms, for people: `GLY 1 CA`."""
    bonds: Indices
    """(bonds, 2)."""
    lengths: Numbers
    """(bonds,) at rest, nm."""
    near: npt.NDArray[np.bool_]
    """(atoms, atoms): the same atom, or one or two bonds apart."""
    heavy: npt.NDArray[np.bool_]
    """(atoms,): not hydrogen."""
    centres: Indices
    """(centres, 4): an atom with a hand, and three of its neighbours."""
    hands: Numbers
    """(centres,): 1 or -1, as at the start."""
    peptides: Indices
    """(peptide bonds, 4): CA, C, N, CA."""
    trans: npt.NDArray[np.bool_]
    """(peptide bonds,): as at the start; cis where False."""
    trace: Indices
    """CA of each residue."""
    frame: Indices
    """(residues,) atoms that say how the chain runs: CB, or CA where there is none."""


def build_shape(molecule: Molecule, bonds: Indices, lengths: Numbers) -> Shape:
    """What stays of a molecule with these bonds.

    Args:
        molecule: with its start state.
        bonds: (bonds, 2) atoms.
        lengths: (bonds,) at rest, nm.

    """
    labels = [
        (chain, number, residue.name, atom)
        for chain, residues in enumerate(molecule.chains)
        for number, residue in enumerate(residues)
        for atom in residue.atoms
    ]
    index = {(chain, number, atom): i for i, (chain, number, _, atom) in enumerate(labels)}
    neighbours: dict[int, list[int]] = defaultdict(list)
    for first, second in bonds.tolist():
        neighbours[first].append(second)
        neighbours[second].append(first)
    near = np.eye(molecule.atoms, dtype=np.bool_)
    for middle, around in neighbours.items():
        for first, second in combinations([middle, *around], 2):
            near[first, second] = near[second, first] = True
    heavy = np.array([not atom.lstrip("0123456789").startswith("H") for *_, atom in labels])
    start = molecule.start.astype(np.float64)
    centres = _centres(neighbours, heavy)
    hands = _volumes(centres, start)
    firm = np.abs(hands) > FLAT
    quartets = [
        [index.get((chain, number + step, atom), -1) for step, atom in ((0, "CA"), (0, "C"), (1, "N"), (1, "CA"))]
        for chain, residues in enumerate(molecule.chains)
        for number in range(len(residues) - 1)
    ]
    peptides = np.array([row for row in quartets if min(row) >= 0], dtype=np.int64).reshape(-1, 4)
    return Shape(
        names=tuple(f"{residue} {number + 1} {atom}" for _, number, residue, atom in labels),
        bonds=bonds,
        lengths=lengths,
        near=near,
        heavy=heavy,
        centres=centres[firm],
        hands=np.sign(hands[firm]),
        peptides=peptides,
        trans=np.abs(dihedrals(peptides, start)) > 90,
        trace=np.array([i for i, (*_, atom) in enumerate(labels) if atom == "CA"], dtype=np.int64),
        frame=np.array(
            [
                index.get((chain, number, "CB"), index.get((chain, number, "CA"), 0))
                for chain, residues in enumerate(molecule.chains)
                for number in range(len(residues))
            ],
            dtype=np.int64,
        ),
    )


def find_fault(shape: Shape, coordinates: Coordinates) -> str:
    """Why these coordinates are not the molecule; empty when they are."""
    if not np.isfinite(coordinates).all() or np.abs(coordinates).max() > FARTHEST:
        return f"coordinates are not finite, or more than {FARTHEST:g} nm from the origin"
    at = coordinates.astype(np.float64)
    off = np.abs(np.linalg.norm(at[shape.bonds[:, 0]] - at[shape.bonds[:, 1]], axis=1) - shape.lengths)
    if len(off) and off.max() > BOND_SLACK:
        first, second = shape.bonds[int(off.argmax())]
        return (
            f"the bond {shape.names[first]} - {shape.names[second]} is {off.max():.3f} nm off its length "
            f"(at most {BOND_SLACK:g}): another molecule, or a torn one"
        )
    wrong = np.flatnonzero(np.sign(_volumes(shape.centres, at)) != shape.hands)
    if len(wrong):
        where = shape.names[shape.centres[wrong[0], 0]]
        return f"{len(wrong)} of {len(shape.hands)} centres have the wrong hand, such as {where}: a mirror image"
    turned = np.flatnonzero((np.abs(dihedrals(shape.peptides, at)) > 90) != shape.trans)
    if len(turned):
        where = shape.names[shape.peptides[turned[0], 1]]
        return f"{len(turned)} peptide bonds were turned over, such as that of {where}"
    return _find_clash(shape, at)


def rmsd(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> float:
    """Root mean square distance of two equal sets of points after the best rotation and shift, nm (Kabsch, 1976)."""
    a = first.astype(np.float64) - first.mean(axis=0, dtype=np.float64)
    b = second.astype(np.float64) - second.mean(axis=0, dtype=np.float64)
    u, stretch, v = np.linalg.svd(a.T @ b)
    stretch[-1] *= np.sign(np.linalg.det(u @ v))
    square = (a**2).sum() + (b**2).sum() - 2 * stretch.sum()
    return float(np.sqrt(max(0.0, square) / len(a)))


def likeness(shape: Shape, first: Coordinates, second: Coordinates) -> float:
    """Whether the chain runs the same way, 0 to 1: the part of all distances between residues that are equal.

    Of CA and CB, two residues apart or more, equal within `SAME`. Turning, shifting, swapping like atoms or bending an
    end leave it high (the idea of lDDT: Mariani et al., 2013).
    """
    points = np.concatenate([shape.trace, shape.frame])
    count = len(shape.trace)
    place = np.concatenate([np.arange(count), np.arange(count)])
    apart = np.abs(place[:, None] - place) >= 2
    if not apart.any():
        return 1.0
    one, other = (_distances(at[points].astype(np.float64)) for at in (first, second))
    return float((np.abs(one - other)[apart] < SAME).mean())


def contacts(shape: Shape, native: Coordinates, coordinates: Coordinates) -> float:
    """Part of the contacts in `native` that `coordinates` have too, 0 to 1; 1 when it has none."""
    count = len(shape.trace)
    apart = np.abs(np.arange(count)[:, None] - np.arange(count)) >= 3
    close = [_distances(x[shape.trace].astype(np.float64)) < CONTACT for x in (native, coordinates)]
    wanted = close[0] & apart
    return float((close[1] & wanted).sum() / wanted.sum()) if wanted.any() else 1.0


def dihedrals(quartets: Indices, at: Numbers) -> Numbers:
    """Torsion of each row of four atoms, degrees, -180 to 180."""
    a, b, c, d = (at[quartets[:, i]] for i in range(4))
    axis = c - b
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-12)
    before, after = a - b, d - c
    before -= (before * axis).sum(axis=1, keepdims=True) * axis
    after -= (after * axis).sum(axis=1, keepdims=True) * axis
    return np.asarray(
        np.degrees(np.arctan2((np.cross(axis, before) * after).sum(axis=1), (before * after).sum(axis=1)))
    )


def _centres(neighbours: dict[int, list[int]], heavy: npt.NDArray[np.bool_]) -> Indices:
    """Atoms with four neighbours of which at most one is hydrogen, each with three of them, heavy ones first."""
    found = []
    for atom, around in sorted(neighbours.items()):
        ordered = sorted(around, key=lambda other: (not heavy[other], other))
        if len(around) == 4 and sum(heavy[other] for other in around) >= 3:
            found.append([atom, *ordered[:3]])
    return np.array(found, dtype=np.int64).reshape(-1, 4)


def _volumes(centres: Indices, at: Numbers) -> Numbers:
    """Signed volume that three neighbours span over their centre, nm^3."""
    arms = at[centres[:, 1:]] - at[centres[:, :1]]
    return np.asarray(np.linalg.det(arms))


def _find_clash(shape: Shape, at: Numbers) -> str:
    for low in range(0, len(at), _BLOCK):
        rows = slice(low, min(low + _BLOCK, len(at)))
        apart = np.linalg.norm(at[rows, None] - at[None], axis=2)
        both = shape.heavy[rows, None] & shape.heavy[None]
        close = (apart < np.where(both, HEAVY_APART, HYDROGEN_APART)) & ~shape.near[rows]
        if close.any():
            first, second = np.argwhere(close)[0]
            return (
                f"{shape.names[low + first]} and {shape.names[second]} are {apart[first, second]:.3f} nm apart: "
                "atoms on top of each other"
            )
    return ""


def _distances(at: Numbers) -> Numbers:
    return np.asarray(np.linalg.norm(at[:, None] - at[None], axis=2))
