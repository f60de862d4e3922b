"""The two tokens: stake (TCT) and credit. Amounts are base units."""

from __future__ import annotations

from tercet.chain.bindings import BoundContract
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender

UNLIMITED = 2**256 - 1


class TokenContract(BoundContract):
    """An ERC-20 of ours."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Token", address)

    async def balance(self, owner: str) -> int:
        """What an account holds."""
        return int(await self.read("balanceOf", owner))

    async def allowance(self, owner: str, spender: str) -> int:
        """What a spender may still take from an account."""
        return int(await self.read("allowance", owner, spender))

    async def total_supply(self) -> int:
        """All there is."""
        return int(await self.read("totalSupply"))

    async def transfer(self, sender: Sender, receiver: str, amount: int) -> Receipt:
        """Pay somebody."""
        return await self.write(sender, "transfer", receiver, amount)

    async def approve(self, sender: Sender, spender: str, amount: int = UNLIMITED) -> Receipt:
        """Let a spender take up to `amount`."""
        return await self.write(sender, "approve", spender, amount)

    async def ensure_allowance(self, sender: Sender, spender: str, amount: int) -> None:
        """Approve without limit unless `amount` is allowed already."""
        if await self.allowance(sender.address, spender) < amount:
            await self.approve(sender, spender)


class CreditContract(TokenContract):
    """The test dollar; only its deployer mints."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        BoundContract.__init__(self, rpc, "Credit", address)

    async def mint(self, sender: Sender, receiver: str, amount: int) -> Receipt:
        """Make test dollars."""
        return await self.write(sender, "mint", receiver, amount)
