"""The way in and out of a miner's slot, in integers: what it costs, and who gives way to whom.

The exact twin of the price in `Rules.vy` and of the eviction in `Market.vy`. Knows nothing of chains, files or clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PRICE_STEP_BPS = 1_250
"""Each registration raises the price by so many ten-thousandths."""

MAX_APPLICANTS = 16
"""How many may wait for a slot at a time."""


@dataclass(frozen=True, slots=True)
class PriceRules:
    """What the price of a slot goes by. Amounts are stake token base units."""

    min_price: int
    max_price: int
    half_life: int
    """Seconds in which it halves when nobody comes."""
    refund_bps: int
    """Part of a price that is a deposit and comes back, ten-thousandths; the rest is burned."""


def place_floor(pot: int, validator_share_bps: int, places: int) -> int:
    """The least that a slot costs because of what it earns: half of a place's part in a full market.

    For less, worthless newcomers, who are immune at first, could be bought only to be rid of a rival's share.

    Args:
        pot: what the running epoch pays in stake token, base units: emission, and the reward pot where it is in that token.
        validator_share_bps: validators' part of it, ten-thousandths.
        places: `max_miners`.

    """
    return pot * (10_000 - validator_share_bps) // 10_000 // (2 * places)


def price_after(last_price: int, seconds: int, rules: PriceRules, floor: int = 0) -> int:
    """The price some time after it was set: halved for each half-life, on a straight line within one, within bounds.

    `floor` is `place_floor`; `max_price` stands above it.
    """
    halves, rest = divmod(seconds, rules.half_life)
    price = last_price >> halves
    price -= price * rest // (2 * rules.half_life)
    return min(max(price, rules.min_price, floor), rules.max_price)


def raise_price(price: int, rules: PriceRules) -> int:
    """What the next one would pay at once; the step is rounded up, so that any price above 0 rises."""
    return min(price + -(-price * PRICE_STEP_BPS // 10_000), rules.max_price)


def split_price(paid: int, rules: PriceRules) -> tuple[int, int]:
    """The deposit, floored, and what is burned."""
    deposit = paid * rules.refund_bps // 10_000
    return deposit, paid - deposit


@dataclass(frozen=True, slots=True)
class MinerStanding:
    """One miner as the end of an epoch finds it."""

    uid: int
    generation: int
    """The registration counter when it came; unique."""
    since: int
    """The first epoch it was here in, or the one it came in."""
    rank: int
    """In the epoch just closed; 0 for one that came too late to be measured."""


@dataclass(frozen=True, slots=True)
class EvictionRules:
    """Who may be evicted."""

    immunity_epochs: int
    """So many epochs from `since` on a miner stays, whatever its rank."""
    floor_miners: int
    """So many miners without immunity stay, whoever applies."""


def rank_weakest(miners: Sequence[MinerStanding], epoch: int, rules: EvictionRules) -> list[MinerStanding]:
    """Those without immunity, the first to go first: least rank, of equals the oldest. A total order."""
    exposed = [miner for miner in miners if epoch >= miner.since + rules.immunity_epochs]
    return sorted(exposed, key=lambda miner: (miner.rank, miner.generation))


def place_applicants(
    applicants: int,
    free: Sequence[int],
    miners: Sequence[MinerStanding],
    epoch: int,
    judged: bool,
    rules: EvictionRules,
) -> tuple[int, ...]:
    """The uids that the first applicants get at the end of an epoch; the others wait on.

    Args:
        applicants: how many wait.
        free: free uids that the market may fill.
        miners: who is here.
        epoch: the one just closed.
        judged: whether it found a consensus; without one nobody is evicted.
        rules: who may be evicted.
    """
    weakest = rank_weakest(miners, epoch, rules) if judged else []
    leaving = weakest[: max(0, len(weakest) - rules.floor_miners)]
    return (*sorted(free), *(miner.uid for miner in leaving))[:applicants]
