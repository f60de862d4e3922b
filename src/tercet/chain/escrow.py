"""The escrow: payment channels on chain. Amounts are base units of the channel's token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from tercet.chain.abi import encode, parse_type
from tercet.chain.bindings import BoundContract
from tercet.chain.keys import Key, keccak
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender
from tercet.chain.voucher import EscrowDomain, channel_id
from tercet.market import ChannelConfig, Voucher

_WORD, _ADDRESS = parse_type({"type": "bytes32"}), parse_type({"type": "address"})
_NUMBER = parse_type({"type": "uint256"})
_RECEIVE_TYPE = keccak(
    b"ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
    b"uint256 validBefore,bytes32 nonce)"
)


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel's record; all zero when it was never opened."""

    balance: int
    """All deposits, less what was taken back at the end."""
    total_claimed: int
    """Paid to the receiver so far."""
    withdrawable_at: int
    """Unix seconds; 0 while no close was requested."""
    closed: bool

    @property
    def is_open(self) -> bool:
        """Whether vouchers on it can be redeemed."""
        return self.balance > 0 and not self.closed


@dataclass(frozen=True, slots=True)
class Fee:
    """The network's part of redemptions."""

    bps: int
    """Ten-thousandths, in force now; the fee is rounded down."""
    sink: str
    """Who gets it."""
    owner: str
    """Who may announce another fee."""
    proposed: int
    """The announced fee; means nothing while `effective_at` is 0."""
    effective_at: int
    """Unix seconds from which it can be applied; 0 means that none is announced."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """A payer's EIP-3009 permission to pull a deposit, which anybody may submit."""

    valid_after: int
    valid_before: int
    salt: bytes
    signature: bytes
    """By the payer's own key, or whatever its smart account understands."""
    smart: bool = False
    """Whether the payer is a smart account: then the token has to ask it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One redemption: pay up to `total` of what a voucher allows."""

    config: ChannelConfig
    total: int
    voucher: Voucher


class EscrowContract(BoundContract):
    """The escrow at an address."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Escrow", address)

    async def domain(self) -> EscrowDomain:
        """What vouchers for this escrow are signed under."""
        return EscrowDomain(await self.rpc.chain_id(), self.address)

    async def channel(self, channel: bytes) -> Channel:
        """A channel's record by its id."""
        return Channel(*await self.read("get_channel", channel))

    async def min_withdraw_delay(self) -> int:
        """Shortest notice that a channel may have, seconds."""
        return int(await self.read("MIN_WITHDRAW_DELAY"))

    async def open(self, sender: Sender, config: ChannelConfig, amount: int) -> bytes:
        """Open a channel with a deposit that the sender has approved; the channel's id."""
        receipt = await self.write(sender, "open", astuple(config), amount)
        return bytes(self.find_event(receipt, "ChannelOpened")["channel"])

    async def open_authorized(
        self, sender: Sender, config: ChannelConfig, amount: int, permission: Authorization
    ) -> bytes:
        """Open a channel with a deposit that the payer has signed for; the sender only pays gas."""
        way, words = _spread(permission)
        receipt = await self.write(sender, f"open_{way}", astuple(config), amount, *words)
        return bytes(self.find_event(receipt, "ChannelOpened")["channel"])

    async def top_up(self, sender: Sender, config: ChannelConfig, amount: int) -> Receipt:
        """Add to the deposit; the sender has approved it."""
        return await self.write(sender, "top_up", astuple(config), amount)

    async def top_up_authorized(
        self, sender: Sender, config: ChannelConfig, amount: int, permission: Authorization
    ) -> Receipt:
        """Add what the payer has signed for."""
        way, words = _spread(permission)
        return await self.write(sender, f"top_up_{way}", astuple(config), amount, *words)

    async def redeem(self, sender: Sender, config: ChannelConfig, total: int, voucher: Voucher) -> int:
        """Pay the receiver up to `total` of all time; what left the channel now, the network's fee included."""
        call = (astuple(config), total, voucher.max_claimable, voucher.signature)
        receipt = await self.write(sender, "redeem", *call)
        return int(self.find_event(receipt, "Redeemed")["amount"])

    async def redeem_many(self, sender: Sender, claims: Sequence[Claim]) -> Receipt:
        """Redeem on up to 32 channels, all or nothing."""
        rows = [(astuple(c.config), c.total, c.voucher.max_claimable, c.voucher.signature) for c in claims]
        return await self.write(sender, "redeem_many", rows)

    async def stands_by(self, config: ChannelConfig, voucher: Voucher) -> bool:
        """Whether `redeem` would take the voucher's signature now; the one to ask about smart accounts."""
        call = (config.payer_authorizer, voucher.channel, voucher.max_claimable, voucher.signature)
        return bool(await self.read("is_voucher_valid", *call))

    async def fee(self) -> Fee:
        """The network's fee, and the one that is announced."""
        proposed, effective_at = await self.read("proposed_fee")
        bps, sink, owner = [await self.read(name) for name in ("fee_bps", "fee_sink", "fee_owner")]
        return Fee(bps, sink, owner, proposed, effective_at)

    async def market_of(self, receiver: str) -> str:
        """Which market a receiver's income belongs to; the zero address while it has not said."""
        return str(await self.read("market_of", receiver))

    async def declare_market(self, sender: Sender, market: str) -> Receipt:
        """Say which market the sender's income belongs to, from now on."""
        return await self.write(sender, "declare_market", market)

    async def request_close(self, sender: Sender, config: ChannelConfig) -> int:
        """Start the payer's notice; Unix seconds from which the rest can be withdrawn."""
        receipt = await self.write(sender, "request_close", astuple(config))
        return int(self.find_event(receipt, "CloseRequested")["withdrawable_at"])

    async def withdraw(self, sender: Sender, config: ChannelConfig) -> int:
        """Return the rest to the payer after the notice; what came back."""
        receipt = await self.write(sender, "withdraw", astuple(config))
        return int(self.find_event(receipt, "ChannelClosed")["returned"])

    async def release(self, sender: Sender, config: ChannelConfig) -> int:
        """Return the rest to the payer at once, by the receiver; what came back."""
        receipt = await self.write(sender, "release", astuple(config))
        return int(self.find_event(receipt, "ChannelClosed")["returned"])

    async def authorize_deposit(
        self, key: Key, config: ChannelConfig, amount: int, *, salt: bytes, seconds: int = 3_600
    ) -> Authorization:
        """Sign a deposit for the channel's payer, good for `seconds`; it fits this channel and amount only.

        The key is the payer's own, or one that signs for the smart account that pays.
        """
        channel = channel_id(await self.domain(), config)
        nonce = keccak(channel + salt)
        after, before = 0, (await self.rpc.head()).timestamp + seconds  # the chain's clock
        separator = await self._token_separator(config.token)
        types = (_WORD, _ADDRESS, _ADDRESS, _NUMBER, _NUMBER, _NUMBER, _WORD)
        struct = encode(types, (_RECEIVE_TYPE, config.payer, self.address, amount, after, before, nonce))
        signature = key.sign(keccak(b"\x19\x01" + separator + keccak(struct)))
        return Authorization(after, before, salt, signature, smart=key.address != config.payer)

    async def _token_separator(self, token: str) -> bytes:
        return (await self.rpc.view(token, keccak(b"DOMAIN_SEPARATOR()")[:4]))[:32]


def _spread(permission: Authorization) -> tuple[str, tuple[Any, ...]]:
    """How the contract's functions for it end, and their last arguments."""
    window = (permission.valid_after, permission.valid_before, permission.salt)
    if permission.smart:
        return "with_signature", (*window, permission.signature)
    r, s, v = permission.signature[:32], permission.signature[32:64], permission.signature[64]
    return "with_authorization", (*window, v, r, s)
