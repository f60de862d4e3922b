"""A market's stakes: pools of own and delegated stake, unbonding, the validators' rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tercet.chain.bindings import BoundContract
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender

EVERYTHING = 2**256 - 1
"""As an amount to unstake."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One validator's stake, its own and what was delegated to it; stake token base units."""

    owner: str
    closed: bool
    """Its seat is gone: it weighs nothing, and everybody may take everything out."""
    take_bps: int
    """Part of the delegators' rewards that the owner keeps, ten-thousandths."""
    next_take_bps: int
    next_take_epoch: int
    """First epoch of a raise that was announced; 0 means none."""
    bonded: int
    active: int
    """Of the bonded: what counts in this epoch."""
    pending: int
    """Of the bonded: what counts from the next epoch on."""
    unbonding: int
    shares: int
    active_shares: int
    unbonding_shares: int


@dataclass(frozen=True, slots=True)
class Position:
    """What one account has in one pool; stake token base units unless said otherwise."""

    active: int
    pending: int
    unbonding: int
    release_epoch: int
    """First epoch in which the unbonding part can be withdrawn; 0 means that nothing unbonds."""
    reward: int
    """Claimable, reward token base units, the owner's take included."""
    stake_reward: int
    """Claimable; 0 where both tokens are one contract."""
    shares: int

    @property
    def bonded(self) -> int:
        """All that stands behind shares."""
        return self.active + self.pending


@dataclass(frozen=True, slots=True)
class StakesBooks:
    """What the stakes contract holds and for whom."""

    bonded: int
    """Stake token base units behind shares."""
    unbonding: int
    """On their way out."""
    reward: int
    """Unclaimed, what is held for an audit included, reward token base units."""
    stake_reward: int
    """The same in stake token."""


class StakesContract(BoundContract):
    """The stakes of one market, at an address. A pool is named by its seat's generation."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Stakes", address)

    # reading

    async def effective(self, pools: Sequence[int], min_own: int) -> tuple[int, ...]:
        """What each pool votes with at this moment, base units; 0 where its owner's own is below `min_own`."""
        return tuple(await self.read("effective", tuple(pools), min_own))

    async def pool(self, number: int) -> Pool:
        """A pool; all zeros when there never was one of this number."""
        return Pool(*await self.read("get_pool", number))

    async def position(self, pool: int, who: str) -> Position:
        """What an account has in a pool."""
        return Position(*await self.read("get_position", pool, who))

    async def books(self) -> StakesBooks:
        """What the contract holds."""
        return StakesBooks(*await self.read("books"))

    async def total_bonded(self) -> int:
        """All that stands behind shares, base units."""
        return int(await self.read("total_bonded"))

    # money in and out

    async def stake(self, sender: Sender, pool: int, amount: int) -> Receipt:
        """Put stake into a pool, one's own or another's; it must be approved, and counts from the next epoch on."""
        return await self.write(sender, "stake", pool, amount)

    async def unstake(self, sender: Sender, pool: int, amount: int) -> int:
        """Start taking stake out, `EVERYTHING` or so much; the first epoch in which it can be withdrawn."""
        receipt = await self.write(sender, "unstake", pool, amount)
        return int(self.find_event(receipt, "Unstaked")["release_epoch"])

    async def withdraw(self, sender: Sender, pool: int) -> int:
        """Take home what has finished unbonding; base units."""
        receipt = await self.write(sender, "withdraw", pool)
        return int(self.find_event(receipt, "Withdrawn")["amount"])

    async def claim(self, sender: Sender, pool: int) -> tuple[int, int]:
        """Take home the rewards of one's stake in a pool, in reward token and in stake token."""
        receipt = await self.write(sender, "claim", pool)
        told = self.find_event(receipt, "Claimed")
        return int(told["reward"]), int(told["stake_reward"])

    async def set_take(self, sender: Sender, pool: int, take_bps: int) -> Receipt:
        """Say what part of delegators' rewards the pool's owner keeps: less at once, more after a delay."""
        return await self.write(sender, "set_take", pool, take_bps)
