"""The money that comes into markets beside sponsors' budgets: fees, burns and emission, in integers.

The twin of `Fees.vy`, `Allocator.vy` and `Emission.vy`: equal to the unit. Knows nothing of chains, tokens or clocks;
times are Unix seconds that the caller passes in. What the rules defend against: docs/explanation/allocator.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "OPENING",
    "AuctionRules",
    "EmissionRules",
    "Lot",
    "add_to_lot",
    "allocate",
    "ask_for_lot",
    "budget_of_period",
    "due_of_award",
    "fix_award",
    "sell_lot",
    "split_fee",
]

WHOLE_BPS = 10_000
PRECISE = 10**18
"""What rates are fractions of, and how many base units a unit price is for."""
OPENING = 10**36
"""Start of the very first auction of a kind: more than anything is worth."""
MULTIPLE = 2
"""The start over the last clearing price."""


@dataclass(frozen=True, slots=True)
class AuctionRules:
    """How the price of a lot falls."""

    half_life: int
    """Seconds in which it halves."""
    min_reference: int
    """Least burn that moves the next start, stake token base units."""


@dataclass(frozen=True, slots=True)
class Lot:
    """Fees of one token and market that are for sale together."""

    amount: int = 0
    """Token base units."""
    ask: int = 0
    """Price of all of it at `asked_at`, stake token base units."""
    asked_at: int = 0
    """Unix seconds; the price falls since then."""
    start: int = 0
    """Price at which new money begins, stake token base units for 10**18 of the token; 0 before the first sale."""


def split_fee(amount: int, forward_bps: int) -> tuple[int, int]:
    """A fee's part for its market, floored, and the rest, which is for sale."""
    forwarded = amount * forward_bps // WHOLE_BPS
    return forwarded, amount - forwarded


def ask_for_lot(lot: Lot, rules: AuctionRules, now: int) -> int:
    """The price of all of a lot at a time, stake token base units; 0 for an empty one, else at least 1.

    It halves with every half-life and falls in a straight line within one.
    """
    if not lot.amount:
        return 0
    halvings, rest = divmod(now - lot.asked_at, rules.half_life)
    price = lot.ask >> halvings
    return max(price - price * rest // (2 * rules.half_life), 1)


def add_to_lot(lot: Lot, amount: int, rules: AuctionRules, now: int) -> Lot:
    """A lot after new money: that begins at the start price, what was there keeps its own."""
    if not amount:
        return lot
    ask = ask_for_lot(lot, rules, now) + amount * (lot.start or OPENING) // PRECISE
    return Lot(lot.amount + amount, ask, now, lot.start)


def sell_lot(lot: Lot, rules: AuctionRules, now: int) -> tuple[int, Lot]:
    """What the buyer of a lot burns, and the empty lot after the sale."""
    price = ask_for_lot(lot, rules, now)
    start = lot.start
    if price >= rules.min_reference:
        start = min(max(price * PRECISE // lot.amount * MULTIPLE, 1), OPENING)
    return price, Lot(start=start)


@dataclass(frozen=True, slots=True)
class EmissionRules:
    """The schedule."""

    reserve: int
    """All that may ever be minted, stake token base units."""
    rate: int
    """Part of what is left that one period may pay, over 10**18."""
    beta_bps: int
    """Most that a market gets of what was burned for it, ten-thousandths."""
    expiry: int
    """Periods after which a claim is lost."""
    start: int
    """Begin of period 0, Unix seconds."""
    period_seconds: int

    def period(self, now: int) -> int:
        """The period that runs at a time."""
        return (now - self.start) // self.period_seconds

    def opens(self, period: int) -> int:
        """When a period begins, Unix seconds."""
        return self.start + period * self.period_seconds


def budget_of_period(rules: EmissionRules, mints: Iterable[tuple[int, int]], period: int) -> int:
    """The most that all markets together get for a period.

    Args:
        rules: the schedule.
        mints: (period in which it happened, amount) of every mint so far.
        period: the period to pay for; only mints before it began count.
    """
    before = sum(amount for when, amount in mints if when < period)
    return (rules.reserve - before) * rules.rate // PRECISE


def allocate(budget: int, burned: int, total_burned: int, beta_bps: int) -> int:
    """The default allocator's part for a market: in proportion to what was burned, never more than beta of it."""
    if not burned:
        return 0
    return min(budget * burned // total_burned, burned * beta_bps // WHOLE_BPS)


def fix_award(rules: EmissionRules, answer: int, burned: int, budget: int, promised: int) -> int:
    """What a market is awarded when an allocator answered `answer`: clamped to beta and to what the budget has left."""
    return min(answer, burned * rules.beta_bps // WHOLE_BPS, budget - promised)


def due_of_award(rules: EmissionRules, award: int, period: int, now: int) -> int:
    """What of a period's award is due in all, paid or not: evenly over the following period.

    Nothing before it begins. Whether the claim has expired is not looked at.
    """
    elapsed = min(max(now - rules.opens(period + 1), 0), rules.period_seconds)
    return award * elapsed // rules.period_seconds
