"""Fold a small peptide, as a miner does, and judge it, as a validator does. No market, no chain: ten seconds.

pip install 'tercet[folding]'
python examples/folding_peptide.py GYDPET
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tercet.subnets import Submission
from tercet.subnets.folding import Folding, FoldTask, build_peptide, read_fold, write_pdb

STEPS = 2000


async def main(sequence: str) -> str:
    """One answer and its verdict; the fold as a PDB file's text."""
    role = Folding()
    await role.open("validator")
    work = FoldTask(build_peptide(sequence), STEPS)
    task = work.to_task()
    pieces = []
    async for piece in role.answer(task):
        pieces.append(piece)
        if "step" in piece:
            print(f"step {piece['step']:>5}  {piece['energy']:>10.1f} kJ/mol")
    (verdict,) = await role.judge(task, [Submission(1, pieces, 0.0, 1.0, b"")])
    print(f"score {verdict.score:.3f}", dict(verdict.measures or {}), verdict.reason)
    coordinates, _ = read_fold(work, pieces)
    return write_pdb(work.molecule, coordinates)


if __name__ == "__main__":
    Path("peptide.pdb").write_text(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "GYDPET")))
    print("peptide.pdb")
