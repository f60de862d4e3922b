"""A market's rules: the parameters in force, those that are proposed, and who may propose."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from tercet.chain.bindings import BoundContract
from tercet.chain.registry import MarketParams
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender


@dataclass(frozen=True, slots=True)
class Proposal:
    """Rules that wait for their notice to end, and then for the end of an epoch."""

    params: MarketParams
    effective_at: int
    """Unix seconds: the first closing from then on brings them into force."""


class RulesContract(BoundContract):
    """The rules of one market, at an address."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Rules", address)

    async def owner(self) -> str:
        """Who may propose, and wind the market down."""
        return str(await self.read("owner"))

    async def pending_owner(self) -> str | None:
        """Who was offered the ownership and has not accepted it yet."""
        found = str(await self.read("pending_owner"))
        return None if int(found, 16) == 0 else found

    async def timelock_seconds(self) -> int:
        """How long a proposal waits at the least."""
        return int(await self.read("timelock_seconds"))

    async def params(self) -> MarketParams:
        """The rules in force."""
        return MarketParams(*await self.read("params"))

    async def proposal(self) -> Proposal | None:
        """What is proposed."""
        params, effective_at = await self.read("proposal")
        return Proposal(MarketParams(*params), int(effective_at)) if effective_at else None

    async def propose(self, sender: Sender, params: MarketParams) -> int:
        """Propose rules in place of any older proposal; when their notice ends, Unix seconds."""
        await self.write(sender, "propose", astuple(params))
        found = await self.proposal()
        return found.effective_at if found else 0

    async def cancel_proposal(self, sender: Sender) -> Receipt:
        """Take the proposal back."""
        return await self.write(sender, "cancel_proposal")

    async def transfer_ownership(self, sender: Sender, new: str) -> Receipt:
        """Offer the market to somebody, who must accept."""
        return await self.write(sender, "transfer_ownership", new)

    async def accept_ownership(self, sender: Sender) -> Receipt:
        """Take over what was offered."""
        return await self.write(sender, "accept_ownership")
