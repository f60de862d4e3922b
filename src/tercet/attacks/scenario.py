"""How good miners are, how that changes, and how well validators see it.

A scenario is a quality process and a noise. Quality belongs to machines: miners that share one machine share its
throughput, as long as validators ask all miners at the same moment, as `nodes.schedule.Agenda` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

Process = Literal["stable", "drifting", "churning"]
"""stable: quality never changes. drifting: it wanders by a tenth in each epoch. churning: a tenth of the miners is
replaced in each epoch."""
Noise = Literal["quiet", "noisy"]
"""How far one validator's score is off: by a twentieth, or by half (standard deviation, relative)."""

DRIFT = 0.10
CHURN = 0.10
SPREAD: Mapping[Noise, float] = {"quiet": 0.05, "noisy": 0.5}
SCENARIOS = tuple(f"{process}, {noise}" for process in ("stable", "drifting", "churning") for noise in SPREAD)


@dataclass(slots=True, eq=False)
class Machine:
    """Something that answers."""

    quality: float
    tenants: int = 0
    """Miners that it serves: each gets its part of the throughput."""


class Scenario:
    """The machines of a market and the eyes of its validators."""

    def __init__(self, process: Process, noise: Noise, seed: int, *, together: bool = True) -> None:
        self.process, self.noise, self._together = process, SPREAD[noise], together
        self._fate, self._eyes = Random(f"fate {seed}"), Random(f"eyes {seed}")  # two streams: looking changes nothing
        self._machines: list[Machine] = []

    @classmethod
    def parse(cls, text: str, seed: int, *, together: bool = True) -> Scenario:
        """`stable, quiet` and its like."""
        process, noise = text.split(", ")[:2]
        assert process in ("stable", "drifting", "churning")
        assert noise in SPREAD
        return cls(process, noise, seed, together=together)  # type: ignore[arg-type]  # mypy does not narrow `in` over a mapping's keys

    def build_machine(self, quality: float | None = None) -> Machine:
        """A machine of random quality, 0.5 to 1.5, or of this one."""
        machine = Machine(self._fate.uniform(0.5, 1.5) if quality is None else quality)
        self._machines.append(machine)
        return machine

    def pass_epoch(self) -> None:
        """Let the machines change."""
        if self.process == "drifting":
            for machine in self._machines:
                machine.quality = min(3.0, max(0.2, machine.quality * math.exp(self._fate.gauss(0, DRIFT))))

    def leaves(self) -> bool:
        """Whether a miner, asked once in each epoch, leaves in this one."""
        return self.process == "churning" and self._fate.random() < CHURN

    def look(self, machine: Machine) -> float:
        """One validator's score of one of the machine's miners; never below zero."""
        share = machine.quality / max(1, machine.tenants) if self._together else machine.quality
        return max(0.0, share * (1 + self._eyes.gauss(0, self.noise)))
