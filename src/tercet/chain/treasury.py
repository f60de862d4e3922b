"""A market's treasury: sponsors' budgets, what else comes in, what miners are owed, what sponsors get back."""

from __future__ import annotations

from dataclasses import dataclass

from tercet.chain.bindings import BoundContract
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender


@dataclass(frozen=True, slots=True)
class TreasuryBooks:
    """What a treasury holds and for whom: reward token base units, the last two stake token."""

    owed: int
    """Rewards that nobody has withdrawn yet."""
    budget: int
    """Sponsors' budgets for this and later epochs."""
    refundable: int
    """What sponsors have back and may claim."""
    carry: int
    """Donations and fees for the running epoch and the next one."""
    emission: int
    owed_stake: int


@dataclass(frozen=True, slots=True)
class Sponsorship:
    """A sponsor's grant."""

    sponsor: str
    rate: int
    """Reward token base units for each epoch."""
    first_epoch: int
    end_epoch: int
    """First epoch without it."""
    returned: int
    claimed: int
    settled: bool
    claimable: int
    """What the sponsor could claim now."""


class TreasuryContract(BoundContract):
    """The treasury of one market, at an address."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Treasury", address)

    # reading

    async def reward(self) -> int:
        """What the running epoch pays, reward token base units."""
        return int(await self.read("reward"))

    async def emission(self) -> int:
        """What the running epoch pays on top, stake token base units."""
        return int(await self.read("emission"))

    async def owed(self, token: str, owner: str) -> int:
        """What an owner can withdraw of one token, base units."""
        return int(await self.read("owed", token, owner))

    async def books(self) -> TreasuryBooks:
        """What the treasury holds."""
        return TreasuryBooks(*await self.read("books"))

    async def sponsorship_count(self) -> int:
        """How many sponsorships there have been."""
        return int(await self.read("sponsorship_count"))

    async def sponsorship(self, number: int) -> Sponsorship:
        """A sponsorship by number."""
        grant, claimable = await self.read("get_sponsorship", number)
        fields = (*grant, claimable)
        return Sponsorship(*fields)

    # money in

    async def sponsor(self, sender: Sender, budget: int, epochs: int) -> int:
        """Pay `budget // epochs` into each of the next epochs, this one included; the sponsorship's number."""
        receipt = await self.write(sender, "sponsor", budget, epochs)
        return int(self.find_event(receipt, "Sponsored")["sponsorship"])

    async def cancel(self, sender: Sender, number: int) -> Receipt:
        """End a sponsorship with the running epoch."""
        return await self.write(sender, "cancel", number)

    async def fund(self, sender: Sender, amount: int) -> Receipt:
        """Give to the next epoch's reward; it must be approved."""
        return await self.write(sender, "fund", amount)

    # money out

    async def claim_refund(self, sender: Sender, number: int) -> int:
        """Take what came back; reward token base units."""
        receipt = await self.write(sender, "claim_refund", number)
        return int(self.find_event(receipt, "RefundClaimed")["amount"])

    async def withdraw(self, sender: Sender) -> tuple[int, int]:
        """Take all that is owed to the sender, in reward token and in stake token; all in the first when they are one."""
        receipt = await self.write(sender, "withdraw")
        told = self.find_event(receipt, "Withdrawn")
        return int(told["reward_amount"]), int(told["stake_amount"])

    async def sweep(self, sender: Sender) -> Receipt:
        """After the last epoch: send what came in too late for it to where the deployment says."""
        return await self.write(sender, "sweep")
