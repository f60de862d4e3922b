"""What brings money into markets beside sponsors: the fees and the emission. Amounts are base units."""

from __future__ import annotations

from dataclasses import dataclass

from tercet.chain.bindings import BoundContract
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender
from tercet.market.emission import EmissionRules


@dataclass(frozen=True, slots=True)
class Sale:
    """A lot of fees that is for sale, or was sold."""

    amount: int
    """Of the fees' token; 0 means there is nothing."""
    price: int
    """Stake token to burn for all of it."""


@dataclass(frozen=True, slots=True)
class Award:
    """What a market gets for a period, stake token."""

    amount: int
    paid: int
    due: int
    """What a collect would bring now."""


@dataclass(frozen=True, slots=True)
class NamedAllocator:
    """An allocator that was named and does not count yet."""

    allocator: str
    since: int
    """The first period that it splits."""


class FeesContract(BoundContract):
    """Fees of paid work: forwarded to markets, or sold for stake token that is burned."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Fees", address)

    async def sale(self, token: str, market: str) -> Sale:
        """The lot of a token and market, and its price now."""
        return Sale(*await self.read("ask", token, market))

    async def period(self) -> int:
        """The running emission period."""
        return int(await self.read("period"))

    async def pending(self, market: str) -> int:
        """What waits to be forwarded to a market, in its reward token."""
        return int(await self.read("pending", market))

    async def burned(self, market: str, period: int) -> int:
        """What was burned for a market in a period."""
        return int(await self.read("burned", market, period))

    async def total_burned(self, period: int) -> int:
        """What was burned for all markets in a period."""
        return int(await self.read("total_burned", period))

    async def forward(self, sender: Sender, market: str) -> int:
        """Bring a market what waits for it; how much that was."""
        receipt = await self.write(sender, "forward", market)
        return int(self.find_event(receipt, "FeeForwarded")["amount"])

    async def buy(self, sender: Sender, token: str, market: str, *, min_amount: int, max_burn: int) -> Sale:
        """Buy a whole lot; the sender has approved `max_burn` of the stake token."""
        receipt = await self.write(sender, "buy", token, market, min_amount, max_burn)
        sold = self.find_event(receipt, "LotSold")
        return Sale(int(sold["amount"]), int(sold["burned"]))

    async def burn_for(self, sender: Sender, market: str, amount: int) -> Receipt:
        """Burn stake token for a market; the sender has approved it."""
        return await self.write(sender, "burn_for", market, amount)


class EmissionContract(BoundContract):
    """The only minter of the stake token."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Emission", address)

    async def schedule(self) -> EmissionRules:
        """The rules, fixed for ever."""
        names = ("reserve", "rate", "beta_bps", "expiry", "start", "period_seconds")
        return EmissionRules(*[int(await self.read(name)) for name in names])

    async def period(self) -> int:
        """The running period."""
        return int(await self.read("period"))

    async def expiry(self) -> int:
        """Periods after which a claim is lost."""
        return int(await self.read("expiry"))

    async def budget(self, period: int) -> int:
        """The most that all markets together get for a period."""
        return int(await self.read("budget", period))

    async def minted(self) -> int:
        """All that was ever minted."""
        return int(await self.read("minted"))

    async def award(self, market: str, period: int) -> Award:
        """What a market gets for a period."""
        return Award(*await self.read("award", market, period))

    async def collect(self, sender: Sender, market: str, period: int) -> int:
        """Mint what is due of a market's award into its next epoch; how much that was."""
        receipt = await self.write(sender, "collect", market, period)
        return int(self.find_event(receipt, "Collected")["amount"])

    # --- The owner ---

    async def owner(self) -> str:
        """Who may name another allocator."""
        return str(await self.read("owner"))

    async def pending_owner(self) -> str | None:
        """Who was offered the ownership and has not accepted it yet."""
        found = str(await self.read("pending_owner"))
        return None if int(found, 16) == 0 else found

    async def allocator_of(self, period: int) -> str:
        """Who splits a period."""
        return str(await self.read("allocator_of", period))

    async def proposal(self) -> NamedAllocator | None:
        """Who was named to follow and does not count yet."""
        allocator, since = await self.read("proposal")
        return NamedAllocator(str(allocator), int(since)) if since else None

    async def propose_allocator(self, sender: Sender, allocator: str) -> Receipt:
        """Name another allocator, in place of one that does not count yet."""
        return await self.write(sender, "propose_allocator", allocator)

    async def cancel_proposal(self, sender: Sender) -> Receipt:
        """Take back the one that does not count yet."""
        return await self.write(sender, "cancel_proposal")

    async def transfer_ownership(self, sender: Sender, heir: str) -> Receipt:
        """Offer the ownership to somebody, who must accept."""
        return await self.write(sender, "transfer_ownership", heir)

    async def accept_ownership(self, sender: Sender) -> Receipt:
        """Take over what was offered."""
        return await self.write(sender, "accept_ownership")


async def live_awards(emission: EmissionContract, market: str) -> dict[int, Award]:
    """What a market gets for each finished period whose claims live; periods without an award are left out."""
    running, expiry = await emission.period(), await emission.expiry()
    found = {number: await emission.award(market, number) for number in range(max(0, running - expiry), running)}
    return {number: award for number, award in found.items() if award.amount}
