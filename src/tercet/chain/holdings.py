"""What one account has in a market, in all four contracts, and taking home what is due.

Reads the stakes contract's events to find the pools, so it takes as long as the market is old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from tercet.chain.logs import read_events
from tercet.chain.market import MarketContract, Phase
from tercet.chain.sender import Sender
from tercet.chain.stakes import Position

POSITION_EVENTS = ("PoolOpened", "Staked")


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is whose, as of now. Amounts are base units; where reward token and stake token are one, `emission` and
    the second of each dividend are 0.
    """

    who: str
    rewards: int
    """Earned as a miner or by closing epochs, reward token."""
    emission: int
    """Earned as a miner, stake token."""
    refunds: Mapping[int, int]
    """By sponsorship: what came back."""
    positions: Mapping[int, Position]
    """By pool, those that are not empty."""
    deposit: int
    """Of evicted miners, stake token."""
    unbonded: Mapping[int, int]
    """By pool: what has finished unbonding, stake token."""

    @property
    def dividends(self) -> Mapping[int, tuple[int, int]]:
        """By pool: claimable in reward token and in stake token."""
        return {pool: (p.reward, p.stake_reward) for pool, p in self.positions.items() if p.reward or p.stake_reward}

    @property
    def due(self) -> tuple[int, int]:
        """What could come home now: reward token, stake token."""
        in_rewards = self.rewards + sum(self.refunds.values()) + sum(a for a, _ in self.dividends.values())
        in_stake = (
            self.emission + self.deposit + sum(self.unbonded.values()) + sum(b for _, b in self.dividends.values())
        )
        return in_rewards, in_stake


async def find_positions(market: MarketContract, who: str, first: int) -> dict[int, Position]:
    """By pool: where an account has stake, unbonding stake or rewards. `first` is a block before the market's."""
    stakes, pools = await market.stakes(), set[int]()
    async for batch in read_events(market.rpc, [stakes], first, events=POSITION_EVENTS):
        pools |= {event.fields["pool"] for event in batch.events if event.fields["owner"] == who}
    found = await asyncio.gather(*(stakes.position(pool, who) for pool in sorted(pools)))
    return {
        pool: position
        for pool, position in zip(sorted(pools), found, strict=True)
        if position.bonded or position.unbonding or position.reward or position.stake_reward
    }


async def read_holdings(market: MarketContract, who: str, first: int) -> Holdings:
    """All that an account has in a market. `first` is a block before the market's."""
    treasury, status = await market.treasury(), await market.status()
    stake_token, reward_token = await market.tokens()
    refunds = {}
    for number in range(await treasury.sponsorship_count()):
        grant = await treasury.sponsorship(number)
        if grant.sponsor == who and grant.claimable and not grant.settled:
            refunds[number] = grant.claimable
    positions = await find_positions(market, who, first)
    unbonded = {
        pool: position.unbonding
        for pool, position in positions.items()
        if position.unbonding and (status.phase is Phase.ENDED or status.epoch >= position.release_epoch)
    }
    return Holdings(
        who=who,
        rewards=await treasury.owed(reward_token, who),
        emission=0 if stake_token == reward_token else await treasury.owed(stake_token, who),
        refunds=refunds,
        positions=positions,
        deposit=await market.deposit_owed(who),
        unbonded=unbonded,
    )


async def bring_home(market: MarketContract, sender: Sender, holdings: Holdings) -> None:
    """Take everything that is due, in as many transactions as there are doors."""
    treasury, stakes = await market.treasury(), await market.stakes()
    if holdings.rewards or holdings.emission:
        await treasury.withdraw(sender)
    for number in holdings.refunds:
        await treasury.claim_refund(sender, number)
    for pool in holdings.dividends:
        await stakes.claim(sender, pool)
    for pool in holdings.unbonded:
        await stakes.withdraw(sender, pool)
    if holdings.deposit:
        await market.claim_deposit(sender)
