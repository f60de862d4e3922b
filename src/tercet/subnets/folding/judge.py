"""What a fold is worth: how far its energy, computed again from the coordinates, lies below the minimum next to the start.

Nothing that a miner says counts, only where it put the atoms. The judge goes downhill from the start once for each
molecule: whoever does no more than that has a gain of nothing. docs/subnets/folding.md has the rules,
benchmarks/folding.py the figures.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tercet.errors import SubmissionError
from tercet.market import Verdict
from tercet.market.text import decode_json
from tercet.subnets.folding.molecule import MAX_ATOMS, Coordinates, FoldTask
from tercet.subnets.folding.physics import Physics
from tercet.subnets.folding.shape import find_fault, likeness, rmsd
from tercet.subnets.kit import Entry, decode_array, find_copies
from tercet.subnets.mechanism import Piece, Recheck, Submission

__all__ = ["ALIKE", "Fold", "examine", "judge_alone", "judge_together", "read_fold", "recheck", "verify"]

TYPICAL_GAIN = 5.0
"""kJ/mol for each residue that make half of the full score where there is nobody to compare with."""
LEAST = 0.001
"""Score of right work that is hardly worth anything."""
NEAR = 1.0
"""kJ/mol around the minimum next to the start: a search without luck ends there. Right, and next to nothing."""
ALIKE = 0.8
"""Likeness from which two folds are one: see `shape.likeness`."""
MOST_PIECES = 10_000
_RELATIVE, _ABSOLUTE = 1e-5, 0.05
"""Of an energy, and kJ/mol: what two machines may differ by on the same coordinates."""
_REFERENCE_SLACK = 5.0
"""kJ/mol that the references of two honest judges may lie apart: a walk downhill may end in another hollow elsewhere."""
_SCORE_SLACK = 0.01
"""Of a score, when both start from the same reference."""


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One answer, looked at."""

    coordinates: Coordinates | None
    """None when there is none that could be looked at."""
    energy: float = math.inf
    """kJ/mol, as this judge computes it."""
    reference: float = math.inf
    """kJ/mol: the minimum next to the start, as this judge computes it."""
    fault: str = ""
    """What is wrong with it; empty for a fold of the right molecule, however high."""

    @property
    def gain(self) -> float:
        """kJ/mol below the reference."""
        return self.reference - self.energy if self.coordinates is not None else -math.inf

    @property
    def pays(self) -> bool:
        """Whether it is worth anything."""
        return not self.fault and self.gain > -NEAR

    @property
    def found(self) -> bool:
        """Whether it is more than what anybody reaches without a search."""
        return self.pays and self.gain > NEAR


def read_fold(task: FoldTask, pieces: Sequence[Piece]) -> tuple[Coordinates, float | None]:
    """The coordinates of an answer, and the energy that its miner claims.

    Raises:
        SubmissionError: there are none, or not for this molecule.

    """
    if not 1 <= len(pieces) <= MOST_PIECES or not isinstance(pieces[-1], Mapping):
        raise SubmissionError(f"An answer has 1 to {MOST_PIECES} pieces.")
    last, atoms = pieces[-1], task.molecule.atoms
    found = decode_array(last.get("coordinates"), dtype=np.float32, shape=(atoms, 3), limit_bytes=12 * MAX_ATOMS)
    claimed = last.get("energy")
    if claimed is None:
        return found, None
    if type(claimed) not in (int, float) or not abs(claimed) < 1e12:
        raise SubmissionError("The claimed energy is no number.")
    return found, float(claimed)


def verify(physics: Physics, task: FoldTask, submission: Submission) -> tuple[Coordinates, float]:
    """The coordinates of an answer and the energy that they have, kJ/mol: all that a buyer needs to know.

    Raises:
        SubmissionError: it is no fold of this molecule, or claims another energy than it has.

    """
    if submission.failure:
        raise SubmissionError(submission.failure)
    coordinates, claimed = read_fold(task, submission.pieces)
    if fault := find_fault(physics.shape, coordinates):
        raise SubmissionError(fault)
    energy = physics.energy(coordinates)
    if claimed is not None and abs(claimed - energy) > _RELATIVE * abs(energy) + _ABSOLUTE:
        raise SubmissionError(f"claims {claimed:.2f} kJ/mol, its coordinates have {energy:.2f}")
    return coordinates, energy


def examine(physics: Physics, task: FoldTask, submission: Submission) -> Fold:
    """Compute everything again, and the reference."""
    try:
        coordinates, energy = verify(physics, task, submission)
    except SubmissionError as error:
        return Fold(None, fault=str(error))
    return Fold(coordinates, energy, physics.reference())


def judge_alone(physics: Physics, task: FoldTask, fold: Fold) -> Verdict:
    """Of an answer that is not compared with others."""
    if not fold.pays:
        return _worthless(fold)
    score = _lone_score(fold.gain, len(task.molecule.residues))
    return Verdict(score, "", _measures(physics, fold), _write_opening(fold))


def judge_together(physics: Physics, folds: Mapping[int, Fold]) -> Mapping[int, Verdict]:
    """Of all answers to one task, by uid: the lowest gets 1, the others the part of its gain that they have.

    One fold is paid once: those who send it share its score. Searches do end in the same minimum at times, so nobody is
    called a copier; but a search that is sent from many slots earns what it would from one.
    """
    best = max((fold.gain for fold in folds.values() if fold.found), default=NEAR)
    sharers = _count_sharers(physics, folds)
    verdicts = {}
    for uid, fold in folds.items():
        if not fold.pays:
            verdicts[uid] = _worthless(fold)
            continue
        shared = sharers.get(uid, 1)
        reason = f"the same fold came from {shared} miners, which share its score" if shared > 1 else ""
        opening = _write_opening(fold, best=best, shared=shared)
        verdicts[uid] = Verdict(_shared_score(fold.gain, best, shared), reason, _measures(physics, fold), opening)
    return verdicts


def _count_sharers(physics: Physics, folds: Mapping[int, Fold]) -> Mapping[int, int]:
    """By uid: from how many miners its fold came. What anybody reaches without a search is nobody's."""
    entries = [
        Entry(uid, (0,), fold.coordinates) for uid, fold in folds.items() if fold.found and fold.coordinates is not None
    ]
    same = find_copies(entries, lambda a, b: likeness(physics.shape, a, b), ALIKE)
    first = {entry.uid: same.get(entry.uid, entry.uid) for entry in entries}
    counts = Counter(first.values())
    return {uid: counts[group] for uid, group in first.items()}


def recheck(physics: Physics, task: FoldTask, submission: Submission, claimed: Verdict) -> Recheck:
    """Whether another judge's score is what this one finds, given its reference and the best of its round."""
    fold, told = examine(physics, task, submission), _read_opening(claimed.opening)
    if claimed.score <= 0:
        clear = fold.pays and fold.gain > _REFERENCE_SLACK
        why = f"claims a worthless fold, found one {fold.gain:.1f} kJ/mol deep" if clear else ""
        return Recheck(agrees=not clear, certain=clear, reason=why)
    if fold.fault:
        return Recheck(agrees=False, certain=True, reason=f"claims a good fold: {fold.fault}")
    reference = told.get("reference")
    if reference is None or abs(reference - fold.reference) > _REFERENCE_SLACK:
        why = f"its reference is {reference}, found {fold.reference:.1f} kJ/mol"
        return Recheck(agrees=False, reason=why)
    gain, best, shared = reference - fold.energy, told.get("best"), max(1.0, told.get("shared", 1.0))
    residues = len(task.molecule.residues)
    found = _lone_score(gain, residues) if best is None else _shared_score(gain, max(best, gain, NEAR), shared)
    if gain <= -2 * NEAR or abs(found - claimed.score) > _SCORE_SLACK:
        return Recheck(agrees=False, certain=True, reason=f"claims {claimed.score:.3f}, found {found:.3f}")
    return Recheck(agrees=True)


def _lone_score(gain: float, residues: int) -> float:
    return max(LEAST, gain / (gain + TYPICAL_GAIN * residues)) if gain > 0 else LEAST


def _shared_score(gain: float, best: float, shared: float) -> float:
    return max(LEAST, min(1.0, gain / best) / shared)


def _worthless(fold: Fold) -> Verdict:
    if fold.fault or fold.coordinates is None:
        return Verdict(0.0, fold.fault)
    why = f"{-fold.gain:.1f} kJ/mol above the minimum next to the start, which anybody reaches without a search"
    return Verdict(0.0, why, {"energy": fold.energy, "gain": fold.gain})


def _measures(physics: Physics, fold: Fold) -> Mapping[str, float]:
    assert fold.coordinates is not None
    trace = physics.shape.trace
    return {
        "energy": fold.energy,
        "gain": fold.gain,
        "moved": rmsd(physics.molecule.start[trace], fold.coordinates[trace]),
    }


def _write_opening(fold: Fold, **more: float) -> str:
    """What an auditor needs to come to the same score."""
    return json.dumps({"reference": fold.reference, **more})


def _read_opening(text: str) -> Mapping[str, float]:
    """The numbers in a stranger's opening; others are left out."""
    found = decode_json(text) if len(text) < 1000 else None
    if not isinstance(found, dict):
        return {}
    return {name: float(x) for name, x in found.items() if type(x) in (int, float) and abs(x) < 1e12}
