"""The two tokens: stake (TCT) and credit. Amounts are base units."""

from __future__ import annotations

from tercet.chain.abi import encode, parse_type
from tercet.chain.bindings import BoundContract
from tercet.chain.keys import Key, keccak, parse_address
from tercet.chain.logs import DEFAULT_SPAN
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender
from tercet.errors import RevertedError, RpcError, TransactionLostError

UNLIMITED = 2**256 - 1
_AUTHORIZED_SECONDS = 3_600
_TRANSFER_TYPE = keccak(
    b"TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
_TYPES = [
    parse_type({"type": kind}) for kind in ("bytes32", "address", "address", "uint256", "uint256", "uint256", "bytes32")
]


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

    async def pay_once(self, sender: Sender, receiver: str, amount: int, nonce: bytes, first: int) -> bytes:
        """Pay under a nonce (EIP-3009) that the token itself takes once: however often this is called, one payment is made.

        Args:
            sender: who pays, signs and buys the gas.
            receiver: EIP-55 address.
            amount: base units.
            nonce: 32 bytes; another payment has another one.
            first: a block before the payment could have been made, where the search for its transaction ends.

        Returns: hash of the transaction that made the payment, now or before.

        Raises:
            RevertedError: it would fail, and nothing was sent.
            TransactionLostError: it was sent, and whether it is made is not known yet. Call again.
            ChainUnreachableError: the same, or nothing was sent.

        """
        if (made := await self.find_payment(sender.address, nonce, first)) is not None:
            return made
        call, sent = await self._authorized(sender.key, receiver, amount, nonce), False
        try:
            gas = await self.rpc.estimate(sender.address, self.address, call)
            sent = True
            return (await sender.send(self.address, call, gas=gas + gas // 4 + 5_000)).transaction
        except RevertedError as error:
            if (made := await self.find_payment(sender.address, nonce, first)) is not None:
                return made  # what was sent before a kill was mined in between
            if not sent:
                raise
            # Its signature is in a block for all to see, and holds for a while.
            raise TransactionLostError(f"The payment failed in its block ({error}), and may yet be made.") from error

    async def find_payment(self, payer: str, nonce: bytes, first: int) -> bytes | None:
        """Hash of the transaction that used this nonce of a payer's; None while none has."""
        if not await self.read("authorizationState", payer, nonce):
            return None
        event = next(topic for topic, kind in self.interface.events.items() if kind.name == "AuthorizationUsed")
        topics = [[event], [parse_address(payer).rjust(32, b"\0")], [nonce]]
        last = (await self.rpc.head()).number
        while last >= first:
            start = max(first, last - DEFAULT_SPAN + 1)
            for log in await self.rpc.logs(start, last, [self.address], topics):
                return log.transaction
            last = start - 1
        raise RpcError(
            f"The nonce 0x{nonce.hex()} is used, and no block from {first} on says by what. It was cancelled."
        )

    async def _authorized(self, key: Key, receiver: str, amount: int, nonce: bytes) -> bytes:
        """The call that makes a payment, signed; it holds for an hour of the chain's clock."""
        before = (await self.rpc.head()).timestamp + _AUTHORIZED_SECONDS
        terms = (key.address, receiver, amount, 0, before, nonce)
        separator = await self.read("DOMAIN_SEPARATOR")
        signature = key.sign(keccak(b"\x19\x01" + separator + keccak(encode(_TYPES, (_TRANSFER_TYPE, *terms)))))
        return self.encode_call("transferWithAuthorization", *terms, signature[64], signature[:32], signature[32:64])
