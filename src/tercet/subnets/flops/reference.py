"""What machines are said to do at best: a small table with where each number is from, and how far to trust it.

Datasheets name a dense peak that no program reaches, and public tables mix sparse with dense and vector with tensor
rates. So a full score is the *measured* use of one of these machines, and every cell says what it rests on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tercet.subnets.flops.tasks import KINDS, Kind

__all__ = ["MACHINES", "Cell", "Confidence", "Machine"]

Confidence: TypeAlias = Literal["high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One number."""

    value: float
    """Operations a second, or bytes a second for `memory`."""
    source: str
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Machine:
    """One kind of machine."""

    words: str
    cells: Mapping[Kind, Cell]
    """What is not known is not there."""

    def rate(self, kind: Kind) -> float | None:
        """Operations or bytes a second; None when nobody knows."""
        cell = self.cells.get(kind)
        return None if cell is None else cell.value


def _machine(words: str, source: str, confidence: Confidence, *rates: float) -> Machine:
    """Rates in the order of KINDS, in units of 1e9; 0 means unknown."""
    cells = {kind: Cell(1e9 * rate, source, confidence) for kind, rate in zip(KINDS, rates, strict=True) if rate}
    return Machine(words, cells)


_SHEET = "vendor datasheet, dense"
MACHINES: Mapping[str, Machine] = {
    "2-cores": _machine(
        "2 virtual cores of a server processor with AMX",
        "plain products in numpy and torch on a quiet machine, median of 5",
        "medium",
        *(42, 104, 88, 686, 537, 12),
    ),
    "8-cores": _machine(
        "8 cores of a server processor with AMX",
        "4 times the 2 cores that were measured",
        "low",
        *(168, 416, 352, 2744, 2148, 48),
    ),
    "a100-80": _machine("NVIDIA A100 80 GB SXM", _SHEET, "medium", 19500, 19500, 312000, 312000, 624000, 2040),
    "h100-sxm": _machine("NVIDIA H100 80 GB SXM", _SHEET, "medium", 67000, 67000, 989000, 989000, 1979000, 3350),
    "h200-sxm": _machine("NVIDIA H200 141 GB SXM", _SHEET, "medium", 67000, 67000, 989000, 989000, 1979000, 4800),
    "b200": _machine("NVIDIA B200 180 GB HGX", _SHEET, "low", 0, 0, 2250000, 2250000, 0, 8000),
    "mi300x": _machine("AMD MI300X 192 GB", _SHEET, "medium", 0, 0, 1307000, 1307000, 0, 5300),
    "ascend-910b": _machine("Huawei Ascend 910B", "claims, 256 to 376 by bin", "low", 0, 0, 256000, 0, 0, 400),
}
