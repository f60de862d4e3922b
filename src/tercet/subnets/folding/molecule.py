"""A molecule as it is sent: residues with their atoms by name, disulfide bridges, and the exact coordinates to start from.

Knows the form and its bounds, no chemistry and no force field: `physics` finds the bonds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tercet.errors import SubmissionError, TaskError
from tercet.market import Task
from tercet.subnets.kit import decode_array, encode_array

__all__ = ["LETTERS", "MAX_ATOMS", "MAX_STEPS", "Coordinates", "FoldTask", "Molecule", "Residue", "parse_task"]

Coordinates = npt.NDArray[np.float32]
"""(atoms, 3), nm."""

MAX_ATOMS = 3000
"""Without a cutoff an energy costs the square of this."""
MAX_STEPS = 200_000
"""Of molecular dynamics, in one task."""
FARTHEST = 100.0
"""nm from the origin; nothing that small molecules do leads there."""

LETTERS: Mapping[str, str] = {
    "A": "ALA",
    "R": "ARG",
    "N": "ASN",
    "D": "ASP",
    "C": "CYS",
    "Q": "GLN",
    "E": "GLU",
    "G": "GLY",
    "H": "HIS",
    "I": "ILE",
    "L": "LEU",
    "K": "LYS",
    "M": "MET",
    "F": "PHE",
    "P": "PRO",
    "S": "SER",
    "T": "THR",
    "W": "TRP",
    "Y": "TYR",
    "V": "VAL",
}
"""One letter to the residue's name."""


@dataclass(frozen=True, slots=True)
class Residue:
    """One amino acid."""

    name: str
    atoms: tuple[str, ...]
    """Their names in the order of the coordinates, as OpenMM has them."""


@dataclass(frozen=True, slots=True, eq=False)
class Molecule:
    """What is folded, and where its atoms are at the start."""

    chains: tuple[tuple[Residue, ...], ...]
    start: Coordinates
    disulfides: tuple[tuple[int, int], ...] = ()
    """Pairs of bonded sulphur atoms, by index."""

    @property
    def atoms(self) -> int:
        """How many."""
        return len(self.start)

    @property
    def residues(self) -> tuple[Residue, ...]:
        """Of all chains, in order."""
        return tuple(residue for chain in self.chains for residue in chain)

    @property
    def sequence(self) -> str:
        """One letter for each residue, chains parted by `/`."""
        letters = {name: letter for letter, name in LETTERS.items()}
        return "/".join("".join(letters[residue.name] for residue in chain) for chain in self.chains)

    def digest(self) -> str:
        """sha256 over names, bonds and the exact start state, hex: says that two machines have the same molecule."""
        form = json.dumps([_chains_json(self.chains), self.disulfides], separators=(",", ":"))
        return hashlib.sha256(form.encode() + b"\0" + self.start.astype("<f4").tobytes()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class FoldTask:
    """What a miner is asked: a lower energy for this molecule, for the pay of so many steps."""

    molecule: Molecule
    steps: int
    """Of molecular dynamics that the buyer pays for. Nobody counts them: what comes out of them is judged."""

    @property
    def work(self) -> int:
        """What is charged for: pairs of atoms that are looked at, in millions. Folding costs as much as they are many."""
        return -(-self.steps * self.molecule.atoms**2 // 10**6)

    def to_task(self) -> Task:
        """As JSON."""
        molecule = self.molecule
        return {
            "kind": "fold",
            "chains": _chains_json(molecule.chains),
            "disulfides": [list(pair) for pair in molecule.disulfides],
            "start": encode_array(molecule.start),
            "digest": molecule.digest(),
            "steps": self.steps,
        }


def _chains_json(chains: Sequence[Sequence[Residue]]) -> list[list[list[str]]]:
    return [[[residue.name, " ".join(residue.atoms)] for residue in chain] for chain in chains]


def parse_task(task: Mapping[str, Any]) -> FoldTask:
    """Read a task, with every bound checked before it costs anything.

    Raises:
        TaskError: it is malformed, or larger than anybody folds.

    """
    if task.get("kind") != "fold":
        raise TaskError('A folding task has kind "fold".')
    chains = _parse_chains(task.get("chains"))
    atoms = sum(len(residue.atoms) for chain in chains for residue in chain)
    steps = task.get("steps")
    if type(steps) is not int or not 1 <= steps <= MAX_STEPS:
        raise TaskError(f"A folding task has 1 to {MAX_STEPS} steps.")
    try:
        start = decode_array(task.get("start"), dtype=np.float32, shape=(atoms, 3), limit_bytes=12 * MAX_ATOMS)
    except SubmissionError as error:
        raise TaskError(f"The start state cannot be read: {error}") from error
    if np.abs(start).max() > FARTHEST:
        raise TaskError(f"The start state has atoms more than {FARTHEST:g} nm from the origin.")
    molecule = Molecule(chains, start, _parse_disulfides(task.get("disulfides"), chains))
    if task.get("digest") != molecule.digest():
        raise TaskError("The digest does not belong to this molecule and start state.")
    return FoldTask(molecule, steps)


def _parse_chains(value: Any) -> tuple[tuple[Residue, ...], ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 20:
        raise TaskError("A molecule has 1 to 20 chains.")
    chains, atoms = [], 0
    for part in value:
        if not isinstance(part, list) or not 1 <= len(part) <= MAX_ATOMS // 7:
            raise TaskError("A chain is a list of residues.")
        chain = tuple(_parse_residue(item) for item in part)
        atoms += sum(len(residue.atoms) for residue in chain)
        if atoms > MAX_ATOMS:
            raise TaskError(f"A molecule has at most {MAX_ATOMS} atoms.")
        chains.append(chain)
    return tuple(chains)


_NAMES = frozenset(LETTERS.values())
_LONGEST_RESIDUE = 32


def _parse_residue(item: Any) -> Residue:
    if not isinstance(item, list) or len(item) != 2 or not all(isinstance(word, str) for word in item):
        raise TaskError("A residue is [name, atom names].")
    name, words = item
    if name not in _NAMES:
        raise TaskError(f"{name[:8]!r} is no amino acid: only the twenty of the genetic code are folded.")
    names = tuple(words[: 8 * _LONGEST_RESIDUE].split(" "))
    well = all(word.isascii() and word.isalnum() and len(word) <= 4 for word in names)
    if not well or len(words) > 8 * _LONGEST_RESIDUE or len(names) > _LONGEST_RESIDUE or len(set(names)) != len(names):
        raise TaskError(f"The atoms of a residue {name} are up to {_LONGEST_RESIDUE} different names.")
    return Residue(name, names)


def _parse_disulfides(value: Any, chains: Sequence[Sequence[Residue]]) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list) or len(value) > 50:
        raise TaskError("Disulfides are up to 50 pairs of atoms.")
    names = [(residue.name, atom) for chain in chains for residue in chain for atom in residue.atoms]
    pairs, used = [], set()
    for pair in value:
        ends = pair if isinstance(pair, list) and len(pair) == 2 else []
        if not ends or not all(type(end) is int and 0 <= end < len(names) for end in ends) or ends[0] >= ends[1]:
            raise TaskError("A disulfide is a pair of atoms, the lower index first.")
        if any(names[end] != ("CYS", "SG") or end in used for end in ends):
            raise TaskError("A disulfide joins two sulphur atoms, each once.")
        used.update(ends)
        pairs.append((ends[0], ends[1]))
    return tuple(pairs)
