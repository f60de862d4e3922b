"""The competition in usable compute: what a machine really multiplies, measured by those who pay for it.

A miner multiplies along a chain of matrices for a fixed time; validators time it and check the product for a
fraction of its cost.
"""

from __future__ import annotations

from tercet.subnets.flops.measure import Ask, Measured, remeasure
from tercet.subnets.flops.mechanism import Flops
from tercet.subnets.flops.reference import MACHINES, Cell, Machine
from tercet.subnets.flops.rogues import BEHAVIOURS, Behaviour
from tercet.subnets.flops.tasks import DTYPES, KINDS, SIZES, Probe, parse_probe

__all__ = [
    "BEHAVIOURS",
    "DTYPES",
    "KINDS",
    "MACHINES",
    "SIZES",
    "Ask",
    "Behaviour",
    "Cell",
    "Flops",
    "Machine",
    "Measured",
    "Probe",
    "parse_probe",
    "remeasure",
]
