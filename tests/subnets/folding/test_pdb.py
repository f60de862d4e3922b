"""PDB files of strangers: real ones, broken ones, huge ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tercet.errors import UsageError
from tercet.subnets.folding import contacts, read_pdb, rmsd, write_pdb

from .bench import crumpled, fold, physics, stretched


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Ala-Lys-Ser-Gly."""
    molecule, path = stretched("AKSG"), tmp_path / "four.pdb"
    path.write_text(write_pdb(molecule, molecule.start, ["a test"]))
    return path


def villin() -> Path:
    """A real structure that ships with OpenMM: 35 residues in water."""
    import openmm.app

    return Path(openmm.app.__file__).parent / "data" / "test.pdb"


def edit(path: Path, change: Callable[[str], str | None]) -> Path:
    """The file with every line changed, or left out."""
    lines = [changed for line in path.read_text().splitlines() if (changed := change(line)) is not None]
    path.write_text("\n".join(lines))
    return path


def test_what_was_written_is_read_again(file: Path) -> None:
    """To the three decimals that the format has."""
    again, before = read_pdb(file), stretched("AKSG")
    assert again.sequence == "AKSG"
    assert [set(residue.atoms) for residue in again.residues] == [set(residue.atoms) for residue in before.residues]


def test_a_fold_survives_the_round_trip(tmp_path: Path) -> None:
    """Energies cannot be compared over PDB's decimals, but the shape is there."""
    path = tmp_path / "fold.pdb"
    path.write_text(write_pdb(crumpled(), fold(1)))
    again, shape = read_pdb(path), physics().shape
    ends = [i for i, name in enumerate(n for residue in again.residues for n in residue.atoms) if name == "CA"]
    assert rmsd(again.start[ends], fold(1)[shape.trace]) < 1e-3


def test_a_native_structure_is_read_without_its_water() -> None:
    """What else is in the file is named, and left out when told to."""
    with pytest.raises(UsageError, match=r"HOH \(\d+\), Cl \(2\).*--protein-only"):
        read_pdb(villin())
    molecule = read_pdb(villin(), protein_only=True)
    assert len(molecule.residues) == 35
    assert molecule.atoms == 582
    bench = physics(molecule)
    found, energy = bench.minimise(molecule.start, iterations=30)
    assert energy < bench.energy(molecule.start)
    trace = bench.shape.trace
    assert rmsd(molecule.start[trace], found[trace]) < 0.1
    assert contacts(bench.shape, molecule.start, found) > 0.9


def test_missing_hydrogens_and_the_last_oxygen_are_added(file: Path) -> None:
    """As crystallographers leave them out."""
    heavy = edit(file, lambda line: None if line[76:78].strip() == "H" or line[12:16].strip() == "OXT" else line)
    assert "OXT" not in heavy.read_text()
    assert read_pdb(heavy).atoms == stretched("AKSG").atoms


def test_missing_heavy_atoms_are_named(file: Path) -> None:
    """By residue, with what can be done."""
    edit(file, lambda line: None if line[17:20] == "LYS" and line[12:16].strip() in {"CE", "NZ"} else line)
    with pytest.raises(UsageError, match=r"LYS 2 of chain A lacks CE, NZ.*PDBFixer"):
        read_pdb(file)


def test_a_gap_in_the_chain_is_named(file: Path) -> None:
    """Two neighbours that are not bonded."""
    edit(file, lambda line: None if line[17:20] == "LYS" else line)
    with pytest.raises(UsageError, match="gap between ALA 1 of chain A and SER 3 of chain A"):
        read_pdb(file)


def test_atoms_on_one_spot_are_named_before_anybody_is_asked(file: Path) -> None:
    """As in a file whose coordinates were never filled in: no force field can begin there."""
    edit(file, lambda line: line[:30] + "   0.000   0.000   0.000" + line[54:])
    with pytest.raises(UsageError, match=r"atoms on one spot: \w+ of ALA 1 of chain A and \w+ of ALA 1 of chain A"):
        read_pdb(file)


def test_a_hundred_thousand_atoms_are_refused_with_the_limit(tmp_path: Path) -> None:
    """At once, without parsing them."""
    path = tmp_path / "large.pdb"
    line = "ATOM      1  CA  ALA A   1       0.000   0.000   0.000  1.00  0.00           C\n"
    path.write_text(line * 100_000)
    with pytest.raises(UsageError, match="100,000 atoms, at most 3,000"):
        read_pdb(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello\n" * 10,
        "ATOM",
        "ATOM  \n" * 5,
        "\0" * 1000,
        "{}",
        "ATOM      1  CA  ALA A   1       x.000\n" * 2,
        "ATOM      1  CA  ALA A   1       0.000   0.000   x.000  1.00  0.00           C\n",
        "ATOM      1  XX  ALA A   1       0.000   0.000   0.000  1.00  0.00           X\n",
    ],
)
def test_what_is_no_pdb_says_so(tmp_path: Path, text: str) -> None:
    """A usage error, whatever it is."""
    path = tmp_path / "junk.pdb"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"no PDB file|no protein|cannot be read|lacks"):
        read_pdb(path)


def test_coordinates_that_are_no_numbers_are_refused(file: Path) -> None:
    """Careless readers take nan for one."""
    edit(file, lambda line: line[:30] + "     nan" + line[38:] if line.startswith("ATOM") else line)
    with pytest.raises(UsageError, match="no numbers"):
        read_pdb(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Or that is a folder."""
    for path in (tmp_path / "none.pdb", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_pdb(path)


def test_disulfide_bridges_are_found(tmp_path: Path) -> None:
    """By distance; the sulphurs have lost their hydrogens."""
    one = stretched("GCG")
    names = [atom for residue in one.residues for atom in residue.atoms]
    at = one.start.astype(np.float64)
    sulphur, carbon = at[names.index("SG")], at[names.index("CB")]
    out = (sulphur - carbon) / np.linalg.norm(sulphur - carbon)
    axis = np.cross(out, [0.3, 0.5, 0.8])
    axis /= np.linalg.norm(axis)
    centre = sulphur + 0.1025 * out
    other = centre - (at - centre) + 2 * ((at - centre) @ axis)[:, None] * axis  # half a turn keeps the hand
    second = write_pdb(one, other.astype(np.float32)).replace(" A ", " B ")
    lines = (write_pdb(one, one.start).replace("END\n", "") + second).splitlines()
    path = tmp_path / "bridge.pdb"
    path.write_text("\n".join(line for line in lines if line[12:20] != " HG  CYS"))
    molecule = read_pdb(path)
    assert len(molecule.disulfides) == 1
    assert all("HG" not in residue.atoms for residue in molecule.residues)
    assert np.isfinite(physics(molecule).energy(molecule.start))
