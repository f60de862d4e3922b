"""Write the shapes of the twenty residues that `tercet.subnets.folding` builds peptides from.

Each residue X is taken from a minimised Ala-X-Ala, in the frame of its own N, CA and C, so that a peptide can be put
together without a force field, and comes out the same on every machine. Needs `pip install PeptideBuilder biopython`.

    python scripts/fold_residues.py > src/tercet/subnets/folding/residues.json
"""

from __future__ import annotations

import io
import json
import random

import numpy as np
import openmm as mm
import PeptideBuilder
from Bio.PDB import PDBIO
from openmm import app, unit

from tercet.subnets.folding.molecule import LETTERS
from tercet.subnets.folding.peptides import frame

_SECOND_CENTRES = {"ILE": (("CB", "CA", "CG1", "CG2"),), "THR": (("CB", "CA", "OG1", "CG2"),)}
"""Centres beside CA that have a hand in nature, with three arms that span a positive volume (3S and 3R)."""


def minimise(letter: str) -> tuple[app.Topology, np.ndarray]:
    """Ala-X-Ala, extended, at rest."""
    structure = PeptideBuilder.make_structure(f"A{letter}A", [-120.0, -120.0], [140.0, 140.0])
    PeptideBuilder.add_terminal_OXT(structure)
    writer, text = PDBIO(), io.StringIO()
    writer.set_structure(structure)
    writer.save(text)
    text.seek(0)
    pdb = app.PDBFile(text)
    field = app.ForceField("amber99sbildn.xml", "amber99_obc.xml")
    modeller = app.Modeller(pdb.topology, pdb.positions)
    variants = [None, "HIE" if letter == "H" else None, None]
    modeller.addHydrogens(field, variants=variants, platform=mm.Platform.getPlatformByName("Reference"))
    system = field.createSystem(modeller.topology, nonbondedMethod=app.NoCutoff)
    context = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference"))
    context.setPositions(modeller.positions)
    mm.LocalEnergyMinimizer.minimize(context, 1.0, 0)
    positions = context.getState(positions=True).getPositions(asNumpy=True) / unit.nanometer
    return modeller.topology, np.asarray(positions)


def main() -> None:
    """All twenty."""
    random.seed(0)  # the hydrogens' first places
    found = {}
    for letter, name in LETTERS.items():
        topology, positions = minimise(letter)
        atoms = list(list(topology.residues())[1].atoms())
        at = {atom.name: positions[atom.index] for atom in atoms}
        for centre, *arms in (("CA", "N", "C", "CB"), *_SECOND_CENTRES.get(name, ())):
            hand = np.linalg.det([at[arm] - at[centre] for arm in arms]) if "CB" in at else 1.0
            assert hand > 0, f"{name} has the wrong hand at {centre}"
        local = frame(at["N"], at["CA"], at["C"])
        found[name] = {atom.name: np.round((at[atom.name] - at["CA"]) @ local, 5).tolist() for atom in atoms}
    print(json.dumps(found, indent=1).replace("\n   ", "").replace("\n  ]", "]"))


if __name__ == "__main__":
    main()
