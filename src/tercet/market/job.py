"""Held jobs: terms, deadlines and who gets what at the end. The twin of Jobs.vy, equal to the unit.

Amounts are base units of the job's token, times are Unix seconds, shares are ten-thousandths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["BOND_BPS", "FULL_BPS", "Cause", "Job", "JobState", "JobVerdict", "Split", "bond_of", "judge", "split"]

FULL_BPS = 10_000
BOND_BPS = 1_000
"""What a dispute takes of the amount, refunded as far as the dispute was right."""


class JobState(IntEnum):
    """Where a job stands; each but the first and the last has a deadline."""

    UNKNOWN = 0
    FUNDED = 1
    DELIVERED = 2
    DISPUTED = 3
    ENDED = 4


class Cause(IntEnum):
    """What ended a job."""

    RELEASED = 1
    """The buyer paid everything."""
    AGREED = 2
    """The worker accepted a part."""
    SILENCE = 3
    """The buyer let the review pass."""
    REFUNDED = 4
    """Nothing was delivered, or the worker gave it back."""
    JUDGED = 5
    """The validators' median."""
    NO_QUORUM = 6
    """Too few voted: half to each."""


@dataclass(frozen=True, slots=True)
class Job:
    """The terms; their typed hash is the job's id. Addresses are EIP-55 strings."""

    buyer: str
    worker: str
    market: str
    """Whose validators judge a dispute, and which the fee counts for."""
    token: str
    amount: int
    """1 to 2**128 - 1."""
    work_hash: bytes
    """32 bytes: hash of what was agreed on."""
    deliver_by: int
    """The last second to deliver in."""
    review_seconds: int
    """After the delivery, for the buyer to dispute."""
    dispute_seconds: int
    """After a dispute, for validators to judge."""
    salt: bytes
    """32 bytes, to have several equal jobs."""


@dataclass(frozen=True, slots=True)
class JobVerdict:
    """One validator's word."""

    vid: int
    weight: int
    """Above 0."""
    bps: int
    """The part of the amount that the worker deserves, 0 to 10,000."""


@dataclass(frozen=True, slots=True)
class Split:
    """Who gets what of the amount and of the bond."""

    paid: int
    """Of the amount, for the worker; the fee included."""
    fee: int
    """Of `paid`, rounded down."""
    returned: int
    """Of the amount, to the buyer."""
    bond_lost: int
    """Of the bond, to the worker."""
    bond_returned: int
    """Of the bond, to the buyer."""


def bond_of(amount: int) -> int:
    """What a dispute takes: a tenth of the amount, rounded up."""
    return -(-amount * BOND_BPS // FULL_BPS)


def split(amount: int, paid: int, *, bond: int = 0, bond_lost: int = 0, fee_bps: int = 0) -> Split:
    """An end at which the worker gets `paid` of the amount and `bond_lost` of the bond."""
    return Split(paid, paid * fee_bps // FULL_BPS, amount - paid, bond_lost, bond - bond_lost)


def judge(amount: int, verdicts: Sequence[JobVerdict], electorate: int, *, fee_bps: int = 0) -> tuple[Cause, Split]:
    """The end of a dispute: the verdicts' median if more than half of `electorate` has voted, else half to each.

    A median v pays the worker v of the amount and v of the bond, both rounded down: the buyer loses the
    bond as far as it was wrong. Without a quorum nobody was proved wrong, and the bond goes back.
    """
    bond, voted = bond_of(amount), sum(verdict.weight for verdict in verdicts)
    if 2 * voted <= electorate:
        return Cause.NO_QUORUM, split(amount, amount // 2, bond=bond, fee_bps=fee_bps)
    median = _median(verdicts, voted)
    paid, lost = amount * median // FULL_BPS, bond * median // FULL_BPS
    return Cause.JUDGED, split(amount, paid, bond=bond, bond_lost=lost, fee_bps=fee_bps)


def _median(verdicts: Sequence[JobVerdict], voted: int) -> int:
    """The smallest verdict that at least half of the weight does not exceed."""
    below = 0
    for verdict in sorted(verdicts, key=lambda one: one.bps):
        below += verdict.weight
        if 2 * below >= voted:
            return verdict.bps
    raise AssertionError("somebody has voted")
