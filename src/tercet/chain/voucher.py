"""Channel ids and cumulative vouchers: x402's batch-settlement EIP-712 shapes, for our Escrow.

Packs by hand because both sides do this once per paid answer; a test compares every byte with
eth-account's encode_typed_data. The shapes come from the x402 scheme `batch-settlement` on EVM.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tercet.chain.keys import Key, checksum_address, keccak, parse_address, recover
from tercet.errors import InvalidSignatureError
from tercet.market import ChannelConfig, Voucher

DOMAIN_NAME = "x402 Batch Settlement"
DOMAIN_VERSION = "1"
MAX_CLAIMABLE = 2**128 - 1
"""Largest amount a voucher can carry (uint128)."""
MAX_SIGNATURE_BYTES = 1_024
"""Longest signature of a smart account that the contracts take."""

_DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_CHANNEL_TYPE = keccak(
    b"ChannelConfig(address payer,address payerAuthorizer,address receiver,"
    b"address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
)
_VOUCHER_TYPE = keccak(b"Voucher(bytes32 channelId,uint128 maxClaimableAmount)")


@dataclass(frozen=True, slots=True)
class EscrowDomain:
    """Where a voucher is good: one Escrow contract on one chain. Anywhere else it recovers to a stranger."""

    chain_id: int
    escrow: str
    """Address of the Escrow."""


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _address_word(text: str) -> bytes:
    return bytes(12) + parse_address(text)


@lru_cache(maxsize=64)
def domain_separator(domain: EscrowDomain) -> bytes:
    """The EIP-712 domain separator, as the Escrow computes it."""
    return keccak(
        _DOMAIN_TYPE
        + keccak(DOMAIN_NAME.encode())
        + keccak(DOMAIN_VERSION.encode())
        + _word(domain.chain_id)
        + _address_word(domain.escrow)
    )


def _digest(domain: EscrowDomain, struct: bytes) -> bytes:
    return keccak(b"\x19\x01" + domain_separator(domain) + keccak(struct))


@lru_cache(maxsize=4096)
def channel_id(domain: EscrowDomain, config: ChannelConfig) -> bytes:
    """The 32-byte identity of a channel: the EIP-712 hash of its config."""
    parties = (config.payer, config.payer_authorizer, config.receiver, config.receiver_authorizer, config.token)
    packed = b"".join(_address_word(party) for party in parties)
    return _digest(domain, _CHANNEL_TYPE + packed + _word(config.withdraw_delay) + config.salt.rjust(32, b"\0"))


def voucher_digest(domain: EscrowDomain, channel: bytes, max_claimable: int) -> bytes:
    """What the payer authorizer signs to let the receiver claim up to `max_claimable` base units in all."""
    if len(channel) != 32 or not 0 <= max_claimable <= MAX_CLAIMABLE:
        raise InvalidSignatureError(
            f"A voucher names a 32-byte channel and 0..2**128-1 base units, got {len(channel)} bytes, {max_claimable}."
        )
    return _digest(domain, _VOUCHER_TYPE + channel + _word(max_claimable))


def sign_voucher(domain: EscrowDomain, key: Key, channel: bytes, max_claimable: int) -> Voucher:
    """A voucher by `key`, which must be the channel's payer authorizer to be worth anything."""
    return Voucher(channel, max_claimable, key.sign(voucher_digest(domain, channel, max_claimable)))


def name_asker(key: str, rest: bytes) -> bytes:
    """A channel's salt that names the key which asks on it: for payers that cannot sign requests themselves.

    The authorizer signs vouchers for the channel's id, which covers the salt, and so for this key.

    Args:
        key: address of the key.
        rest: 12 random bytes, to have several channels between the same two.
    """
    if len(rest) != 12:
        raise InvalidSignatureError(f"A salt has 12 bytes besides the key's address, got {len(rest)}.")
    return rest + parse_address(key)


@lru_cache(maxsize=4096)
def asker_of(config: ChannelConfig) -> str:
    """The address in the last 20 bytes of a channel's salt; in a random salt it is nobody's."""
    return checksum_address(config.salt[-20:].rjust(20, b"\0"))


def recover_voucher(domain: EscrowDomain, voucher: Voucher) -> str:
    """Who signed the voucher; the caller compares it with the channel's payer authorizer.

    Raises:
        InvalidSignatureError: malformed or malleable. A voucher for another chain, escrow, channel or
            amount does not raise: it recovers to an address that nobody knows.
    """
    return recover(voucher_digest(domain, voucher.channel, voucher.max_claimable), voucher.signature)
