"""Miners that do not fold, for tests, benchmarks and the demo: what each sends instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tercet.subnets.folding.anneal import anneal
from tercet.subnets.folding.molecule import Coordinates, FoldTask
from tercet.subnets.folding.physics import Physics
from tercet.subnets.kit import encode_array, lottery

__all__ = ["BEHAVIOURS", "CHEATS", "Cheat"]


@dataclass(slots=True)
class Cheat:
    """One dishonest miner, with what it remembers."""

    memory: dict[str, Any] = field(default_factory=dict)


def _look_honest(physics: Physics, coordinates: Coordinates) -> dict[str, Any]:
    """The last piece of an answer, with the energy that it has."""
    return {"coordinates": encode_array(coordinates), "energy": physics.energy(coordinates)}


Work: TypeAlias = Callable[[Cheat, Physics, FoldTask], dict[str, Any]]


def _lazy(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """Sends the start state back."""
    return _look_honest(physics, task.molecule.start)


def _hasty(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """Goes downhill once and never heats: right, and hardly worth anything."""
    return _look_honest(physics, physics.minimise(physics.rest()[0], tolerance=0.1)[0])


def _boaster(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """Claims more than it has."""
    found, energy = physics.rest()
    return {"coordinates": encode_array(found), "energy": energy - 500}


def _mirror(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """The mirror image of a fold: the same energy, another molecule."""
    return _look_honest(physics, -physics.rest()[0])


def _butcher(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """Leaves out an atom that is in the way."""
    found, energy = physics.rest()
    return {"coordinates": encode_array(found[:-1]), "energy": energy}


def _shaker(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """Shakes the start a little, so that it looks like work."""
    noise = np.random.default_rng(len(cheat.memory)).normal(0, 0.002, task.molecule.start.shape)
    return _look_honest(physics, (task.molecule.start + noise).astype(np.float32))


def _presser(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """Presses a hydrogen onto an oxygen: a force field's energy has no floor there."""
    found, names = physics.rest()[0].copy(), physics.shape.names
    oxygen = next(i for i, name in enumerate(names) if name.endswith(" O"))
    hydrogen = next(i for i, name in reversed(list(enumerate(names))) if name.endswith(" H"))
    found[hydrogen] = found[oxygen] + np.float32(0.01)
    return {"coordinates": encode_array(found)}


def _replayer(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """Folds once, and sends that to everybody."""
    if "answer" not in cheat.memory:
        cheat.memory["answer"] = _look_honest(physics, physics.rest()[0])
    return dict(cheat.memory["answer"])


def _twin(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """One of many that share one search: turned, shifted and shaken, so that no two look alike."""
    digest = task.molecule.digest()
    if digest not in cheat.memory:
        seed = lottery(bytes.fromhex(digest), "twin").getrandbits(31)
        *_, report = anneal(physics, task.steps, seed)
        cheat.memory[digest] = report.best
    chance = np.random.default_rng()
    turn, _ = np.linalg.qr(chance.normal(size=(3, 3)))
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    moved = cheat.memory[digest] @ turn.T + chance.normal(0, 1, 3)
    again, _ = physics.minimise(moved + chance.normal(0, 0.002, moved.shape))
    return _look_honest(physics, again)


def _nan(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """Not a number."""
    broken = task.molecule.start.copy()
    broken[0] = np.nan
    return {"coordinates": encode_array(broken), "energy": float("nan")}


def _giant(cheat: Cheat, physics: Physics, task: FoldTask) -> dict[str, Any]:
    """A number, but no place."""
    return {"coordinates": encode_array(np.full_like(task.molecule.start, 3e38)), "energy": -1e300}


CHEATS: Mapping[str, Work] = {
    "lazy": _lazy,
    "hasty": _hasty,
    "boaster": _boaster,
    "mirror": _mirror,
    "butcher": _butcher,
    "shaker": _shaker,
    "presser": _presser,
    "replayer": _replayer,
    "twin": _twin,
    "nan": _nan,
    "giant": _giant,
}
"""What each sends as its last piece."""

BEHAVIOURS: tuple[str, ...] = ("honest", *CHEATS)
"""What a miner may be told to be."""
