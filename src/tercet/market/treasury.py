"""The treasury's maths in integers: how an epoch's two pots are paid out, and what becomes of the rest.

The exact twin of `Treasury.vy`. The reward pot is what sponsors pay into each epoch (their rates) and the carry
(fees and gifts from before the epoch). The emission pot is in stake token. Both are split by the same rule.

Knows nothing of chains, files or clocks. Every division is floored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tercet.market.epoch import split

POKE_BPS = 50
"""Of an epoch's reward, over 10,000: what those who close the epoch share."""

REFUND_PRECISION = 10**27
"""What the refund index is a fraction of: refunds per unit of rate."""


@dataclass(frozen=True, slots=True)
class Split:
    """How the epoch's consensus divides a pot."""

    votes: int
    """All that was voted: what the ranks would be if everybody had agreed; 0 when nobody revealed."""
    ranks: tuple[int, ...]
    """The miners' ranks; what they lack of `votes` was for unspent, clipped, or without a consensus."""
    shares: tuple[int, ...]
    """What the validators' part is divided by: stake units times dividend."""
    validator_share_bps: int
    """The validators' part over 10,000."""


@dataclass(frozen=True, slots=True)
class Payout:
    """What one pot pays, in the order of the split's ranks and shares."""

    to_miners: tuple[int, ...]
    to_validators: tuple[int, ...]

    @property
    def total(self) -> int:
        """All that is paid."""
        return sum(self.to_miners) + sum(self.to_validators)


@dataclass(frozen=True, slots=True)
class Pots:
    """The money of the running epoch and what waits for the next one."""

    rate: int = 0
    """The sum of the active sponsors' rates."""
    carry: int = 0
    """The rest of the running epoch's reward."""
    next_carry: int = 0
    """Paid in since the epoch began; for the next one."""
    emission: int = 0
    """The running epoch's emission pot, stake token."""
    next_emission: int = 0
    poked: int = 0
    """Paid out of the reward so far, for closing the epoch."""
    refund_index: int = 0
    """All refunds to sponsors per unit of rate so far, over 10**27."""

    @property
    def reward(self) -> int:
        """The running epoch's reward pot, before pokes."""
        return self.rate + self.carry


@dataclass(frozen=True, slots=True)
class Closing:
    """What the end of an epoch does to the pots."""

    rewarded: Payout
    """Of the reward pot."""
    emitted: Payout
    """Of the emission pot."""
    refunded: int
    """Back to the sponsors: their part of what was not earned, and perhaps the last carry."""
    burned: int
    """Of the emission pot: what was not earned."""
    swept: int
    """After the last epoch: carry that nobody can earn any more."""
    pots: Pots
    """What the next epoch starts with."""


def pay_poke(reward: int, steps: int, of_steps: int) -> int:
    """What some of the steps of closing an epoch earn."""
    return reward * POKE_BPS // 10_000 // of_steps * steps


def pay_pot(pot: int, shares: Split) -> Payout:
    """Divide one pot: what was earned of it, the validators' part by share, the miners' part by rank."""
    earned = sum(shares.ranks)
    spent = pot * earned // shares.votes if earned else 0
    for_validators = spent * shares.validator_share_bps // 10_000
    return Payout(
        tuple(split(spent - for_validators, shares.ranks)),
        tuple(split(for_validators, shares.shares)),
    )


def close_pots(pots: Pots, shares: Split, *, ending_rate: int = 0, last: bool = False, sink: bool = True) -> Closing:
    """End an epoch.

    Args:
        pots: the money as the epoch ends.
        shares: what the consensus says.
        ending_rate: the rates of the sponsorships that end with this epoch.
        last: no epoch follows.
        sink: somebody is named who gets the last carry; if not, the last epoch's sponsors do.
    """
    rewarded = pay_pot(pots.reward - pay_poke(pots.reward, 1, 1), shares)
    emitted = pay_pot(pots.emission, shares)
    rest = pots.reward - pots.poked - rewarded.total
    refunded = rest * pots.rate // pots.reward if pots.rate else 0
    carry = rest - refunded + pots.next_carry
    if last and pots.rate and not sink:
        refunded, carry = refunded + carry, 0
    index = pots.refund_index + (refunded * REFUND_PRECISION // pots.rate if pots.rate else 0)
    burned = pots.emission - emitted.total + (pots.next_emission if last else 0)
    following = (
        Pots(refund_index=index)
        if last
        else Pots(rate=pots.rate - ending_rate, carry=carry, emission=pots.next_emission, refund_index=index)
    )
    return Closing(rewarded, emitted, refunded, burned, carry if last else 0, following)


def claim_refund(rate: int, start_index: int, end_index: int, unspent: Sequence[int] = ()) -> int:
    """All that a sponsorship has back: its part of the refunds while it ran, and budgets that were never spent."""
    return rate * (end_index - start_index) // REFUND_PRECISION + sum(unspent)
