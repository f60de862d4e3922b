"""The mean of a few runs, and how far it may be off.

Student's t over seeds: the runs are independent and few, and their spread is unknown. W. S. Gosset, "The probable error
of a mean", Biometrika 6 (1908).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = "95 %, Student t over seeds"

# Two-sided 95 % quantiles by degrees of freedom, from 1. Checked against the distribution's integral by a test.
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = 1.959964


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    """Infinite, as `low`, for a single run: one value says nothing about its spread."""


def quantile(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t; beyond the table Fisher's expansion, good to four digits there."""
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    z = _NORMAL
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def measure_interval(values: Sequence[float]) -> Interval:
    """The mean of at least one value, and its interval. Values that are all equal leave no doubt."""
    mean = fmean(values)
    if len(values) == 1:
        return Interval(mean, -math.inf, math.inf)
    half = quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)
