"""A miner's way down: heat the molecule, cool it, take the nearest minimum, again and again; keep the lowest.

Only minima that are still the same molecule are kept, so that no luck of the dynamics turns into a fault.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tercet.subnets.folding.molecule import Coordinates
from tercet.subnets.folding.physics import Physics
from tercet.subnets.folding.shape import find_fault

__all__ = ["Report", "anneal"]

HOT, COLD = 450.0, 250.0
"""Kelvin."""
_CYCLE = 2500
"""Steps from hot to cold."""
_LEGS = 10
"""Temperatures in between, each with a report."""
_POLISHED = 0.1
"""kJ/mol/nm of force that is left in what is sent."""
_GENTLE = 100
"""Iterations downhill before anything moves."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Where the work stands."""

    step: int
    energy: float
    """kJ/mol: of the moving molecule, or of a minimum that was just found."""
    best: Coordinates
    best_energy: float


def anneal(physics: Physics, steps: int, seed: int, *, seconds: float = 0.0) -> Iterator[Report]:
    """Search for `steps` steps, or for so many seconds if those are over first (0: no limit). The last report counts.

    The same seed gives the same search, on one machine.
    """
    ends = time.monotonic() + seconds if seconds else float("inf")
    best, lowest = physics.rest()
    yield Report(0, lowest, best, lowest)
    heat = physics.heat(seed)
    gentle, _ = physics.minimise(physics.molecule.start, iterations=_GENTLE)
    heat.place(gentle, HOT, seed)
    cycles, done = max(1, round(steps / _CYCLE)), 0
    for cycle in range(cycles):
        left = steps * (cycle + 1) // cycles - done
        for leg, kelvin in enumerate(np.linspace(HOT, COLD, _LEGS)):
            share = left * (leg + 1) // _LEGS - left * leg // _LEGS
            energy = heat.step(share, float(kelvin)) if share else float("nan")
            done += share
            if not np.isfinite(energy):  # it flew apart: begin again from the best
                heat.place(best, COLD, seed + done)
                continue
            yield Report(done, energy, best, lowest)
            if time.monotonic() > ends:
                break
        found, energy = physics.minimise(heat.positions())
        if energy < lowest and not find_fault(physics.shape, found):
            best, lowest = found, energy
        yield Report(done, energy, best, lowest)
        if time.monotonic() > ends:
            break
    best, lowest = min((best, lowest), physics.minimise(best, tolerance=_POLISHED), key=lambda found: found[1])
    yield Report(done, lowest, best, lowest)
