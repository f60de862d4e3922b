"""PDB files in and out: a stranger's structure becomes a `Molecule`, or an error that says which residue is at fault.

Hydrogens and a chain's last oxygen are added where they are missing; heavy atoms are not made up.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tercet.errors import UsageError
from tercet.subnets.folding.molecule import LETTERS, MAX_ATOMS, Coordinates, Molecule, Residue
from tercet.subnets.folding.peptides import heavy_atoms
from tercet.subnets.folding.physics import FORCE_FIELD, build_topology, load_openmm

__all__ = ["read_pdb", "write_pdb"]

MAX_BYTES = 50 << 20
"""Of a file that is looked at."""
_VARIANTS = {
    "HIE": "HIS",
    "HID": "HIS",
    "HIP": "HIS",
    "HSD": "HIS",
    "HSE": "HIS",
    "HSP": "HIS",
    "CYX": "CYS",
    "CYM": "CYS",
    "ASH": "ASP",
    "GLH": "GLU",
    "LYN": "LYS",
}
"""Names of residues in one state of charge to that of the residue. The state is chosen anew, for pH 7."""
_BROKEN = 0.25
"""nm from C to the next N: more is a gap in the chain."""
_ONE_SPOT = 0.02
"""nm: atoms nearer than this are no structure; the shortest bond has 0.1."""
_LISTED = 6

Atoms = dict[str, npt.NDArray[np.float64]]


def read_pdb(path: Path, *, protein_only: bool = False) -> Molecule:
    """The protein in a file's first model.

    Args:
        path: a PDB file.
        protein_only: leave out water, ions and whatever else is no amino acid, instead of refusing the file.

    Raises:
        UsageError: it is no PDB file, too large, incomplete, or has more than a protein in it.
        SubnetError: OpenMM is not installed.

    """
    text = _read_text(path)
    lines = _first_model(text, path)
    others = Counter(
        name for name, _ in {(_residue_name(line), line[21:27]) for line in lines if not _is_protein(line)}
    )
    if others and not protein_only:
        named = ", ".join(f"{name or '(no name)'} ({count})" for name, count in others.most_common(_LISTED))
        raise UsageError(
            f"{str(path)!r} has residues that are no amino acids: {named}. Leave them out with --protein-only."
        )
    kept = [line for line in lines if _is_protein(line)]
    if all(line == "TER" for line in kept):
        raise UsageError(f"{str(path)!r} has no protein in it. Name a PDB file with ATOM records of amino acids.")
    if len(kept) > MAX_ATOMS:
        raise UsageError(
            f"{str(path)!r} has {len(kept):,} atoms, at most {MAX_ATOMS:,} are folded. Cut out the part that matters."
        )
    mm = load_openmm()
    chains = _complete(_parse(mm, kept, path), path)
    return _add_hydrogens(mm, chains, path)


def write_pdb(molecule: Molecule, coordinates: Coordinates, remarks: Sequence[str] = ()) -> str:
    """A PDB file's text: the molecule with its atoms there, in ångström with three decimals."""
    lines = [f"REMARK   1 {remark[:68]}" for remark in remarks]
    serial = 0
    for number, chain in enumerate(molecule.chains):
        letter, place = chr(ord("A") + number), 0
        for place, residue in enumerate(chain, 1):
            for name in residue.atoms:
                x, y, z = 10 * coordinates[serial].astype(np.float64)
                serial += 1
                padded = f" {name:<3}" if len(name) < 4 else name
                lines.append(
                    f"ATOM  {serial:5d} {padded} {residue.name:>3} {letter}{place:4d}    "
                    f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           {name.lstrip('0123456789')[0]}"
                )
        lines.append(f"TER   {serial + 1:5d}      {chain[-1].name:>3} {letter}{place:4d}")
    return "\n".join([*lines, "END", ""])


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UsageError(
                f"{str(path)!r} has {size >> 20} MiB, at most {MAX_BYTES >> 20} are read. "
                f"At most {MAX_ATOMS:,} atoms are folded: cut out the part that matters."
            )
        return path.read_bytes().decode("latin-1")
    except OSError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error.strerror}.") from error


def _first_model(text: str, path: Path) -> list[str]:
    """Its ATOM and HETATM lines."""
    found: list[str] = []
    for line in text.splitlines():
        if line.startswith("ENDMDL") and found:
            break
        if line.startswith(("ATOM  ", "HETATM")):
            found.append(line)
        elif line.startswith("TER") and found and not found[-1].startswith("TER"):
            found.append("TER")
    if not any(len(line) >= 54 for line in found):
        raise UsageError(f"{str(path)!r} is no PDB file: it has no ATOM records with coordinates.")
    return found


def _residue_name(line: str) -> str:
    return line[17:21].strip()


def _is_protein(line: str) -> bool:
    if line == "TER":
        return True
    name = _residue_name(line)
    return _VARIANTS.get(name, name) in LETTERS.values()


def _parse(mm: Any, lines: Sequence[str], path: Path) -> list[list[tuple[str, str, Atoms]]]:
    """Chains of (name, label, atoms), as the file has them."""
    try:
        pdb = mm.app.PDBFile(io.StringIO("\n".join([*lines, "END", ""])))
        at = np.asarray(pdb.getPositions(asNumpy=True) / mm.unit.nanometer)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read as PDB: {error}.") from error
    if not np.isfinite(at).all():
        raise UsageError(f"{str(path)!r} has coordinates that are no numbers.")
    chains = []
    for chain in pdb.topology.chains():
        residues = []
        for residue in chain.residues():
            name = _VARIANTS.get(residue.name, residue.name)
            label = f"{name} {residue.id} of chain {chain.id}"
            residues.append((name, label, {atom.name: at[atom.index] for atom in residue.atoms()}))
        chains.append(residues)
    return chains


def _complete(chains: list[list[tuple[str, str, Atoms]]], path: Path) -> list[list[tuple[str, Atoms]]]:
    """The same without gaps, each chain with its last oxygen."""
    missing = []
    for chain in chains:
        for name, label, atoms in chain:
            lacks = [atom for atom in heavy_atoms(name) if atom not in atoms]
            if lacks:
                missing.append(f"{label} lacks {', '.join(lacks)}")
    if missing:
        more = f", and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise UsageError(
            f"{str(path)!r} is incomplete: {'; '.join(missing[:_LISTED])}{more}. "
            "Heavy atoms are not made up: complete the file first, with PDBFixer for example."
        )
    _refuse_heaps(chains, path)
    for chain in chains:
        for (_, before, first), (_, after, second) in pairwise(chain):
            if np.linalg.norm(first["C"] - second["N"]) > _BROKEN:
                raise UsageError(
                    f"{str(path)!r} has a gap between {before} and {after}: residues are missing there. "
                    "Model them first, or end the chain there with a TER record."
                )
        last = chain[-1][2]
        if "OXT" not in last:
            last["OXT"] = _opposite(last["CA"], last["C"], last["O"])
    return [[(name, atoms) for name, _, atoms in chain] for chain in chains]


def _refuse_heaps(chains: list[list[tuple[str, str, Atoms]]], path: Path) -> None:
    """Atoms on one spot have no energy that a search could begin with."""
    named = [
        (f"{atom} of {label}", place) for chain in chains for _, label, atoms in chain for atom, place in atoms.items()
    ]
    cells: dict[tuple[int, ...], list[int]] = {}
    for number, (_, place) in enumerate(named):
        corner = [int(each) for each in np.floor(place / _ONE_SPOT)]
        for cell in product(*((at - 1, at, at + 1) for at in corner)):
            for other in cells.get(cell, ()):
                if np.linalg.norm(place - named[other][1]) < _ONE_SPOT:
                    raise UsageError(
                        f"{str(path)!r} has atoms on one spot: {named[other][0]} and {named[number][0]}. "
                        "Complete the file with real coordinates first."
                    )
        cells.setdefault(tuple(corner), []).append(number)


def _opposite(ca: npt.NDArray[np.float64], c: npt.NDArray[np.float64], o: npt.NDArray[np.float64]) -> Any:
    """The carboxylate's other oxygen: the first one mirrored at the line from CA to C."""
    axis = (c - ca) / np.linalg.norm(c - ca)
    arm = o - c
    return c + 2 * (arm @ axis) * axis - arm


def _add_hydrogens(mm: Any, chains: list[list[tuple[str, Atoms]]], path: Path) -> Molecule:
    form = tuple(tuple(Residue(name, tuple(atoms)) for name, atoms in chain) for chain in chains)
    at = np.array([place for chain in chains for _, atoms in chain for place in atoms.values()])
    topology = build_topology(mm, Molecule(form, at.astype(np.float32)))
    positions = mm.unit.Quantity([mm.Vec3(*place) for place in at.tolist()], mm.unit.nanometer)
    topology.createDisulfideBonds(positions)
    modeller = mm.app.Modeller(topology, positions)
    field = mm.app.ForceField(*FORCE_FIELD)
    try:
        modeller.addHydrogens(field, pH=7.0, platform=mm.Platform.getPlatformByName("CPU"))
        field.createSystem(modeller.topology, nonbondedMethod=mm.app.NoCutoff)
    except (ValueError, KeyError, mm.OpenMMException) as error:
        raise UsageError(f"{str(path)!r} has a residue that the force field does not know: {error}") from error
    return _as_molecule(modeller, path)


def _as_molecule(modeller: Any, path: Path) -> Molecule:
    topology = modeller.topology
    if topology.getNumAtoms() > MAX_ATOMS:
        raise UsageError(
            f"{str(path)!r} has {topology.getNumAtoms():,} atoms with its hydrogens, at most {MAX_ATOMS:,} are folded. "
            "Cut out the part that matters."
        )
    at = np.array([[place.x, place.y, place.z] for place in modeller.positions.value_in_unit_system(_md_units())])
    chains = tuple(
        tuple(Residue(residue.name, tuple(atom.name for atom in residue.atoms())) for residue in chain.residues())
        for chain in topology.chains()
    )
    bridges = [(bond[0], bond[1]) for bond in topology.bonds() if bond[0].name == bond[1].name == "SG"]
    pairs = tuple(sorted((min(a.index, b.index), max(a.index, b.index)) for a, b in bridges))
    return Molecule(chains, (at - at.mean(axis=0)).astype(np.float32), pairs)


def _md_units() -> Any:
    return load_openmm().unit.md_unit_system
