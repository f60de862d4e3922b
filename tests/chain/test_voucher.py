"""Channel ids and vouchers, against eth-account's EIP-712."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.chain.keys import Key, keccak
from tercet.chain.voucher import EscrowDomain, channel_id, recover_voucher, sign_voucher, voucher_digest
from tercet.errors import InvalidSignatureError
from tercet.market import ChannelConfig

KEY = Key(b"\7" * 32)
DOMAIN = EscrowDomain(8_411_001, Key(b"\2" * 32).address)
ADDRESSES = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
CHANNEL_FIELDS = [
    {"name": "payer", "type": "address"},
    {"name": "payerAuthorizer", "type": "address"},
    {"name": "receiver", "type": "address"},
    {"name": "receiverAuthorizer", "type": "address"},
    {"name": "token", "type": "address"},
    {"name": "withdrawDelay", "type": "uint40"},
    {"name": "salt", "type": "bytes32"},
]
VOUCHER_FIELDS = [{"name": "channelId", "type": "bytes32"}, {"name": "maxClaimableAmount", "type": "uint128"}]


def signable(name: str, fields: list[dict[str, str]], message: dict[str, Any], domain: EscrowDomain = DOMAIN) -> Any:
    """What eth-account signs for one of the scheme's structs."""
    named = {
        "name": "x402 Batch Settlement",
        "version": "1",
        "chainId": domain.chain_id,
        "verifyingContract": domain.escrow,
    }
    return encode_typed_data(named, {name: fields}, message)


def peer_digest(message: Any) -> bytes:
    """The digest behind an eth-account signable message."""
    return keccak(b"\x19" + bytes(message.version) + bytes(message.header) + bytes(message.body))


@settings(max_examples=40, deadline=None)
@given(st.lists(ADDRESSES, min_size=5, max_size=5), st.integers(0, 2**40 - 1), st.binary(min_size=32, max_size=32))
def test_channel_id_is_the_eip712_hash(parties: list[str], delay: int, salt: bytes) -> None:
    """Every config hashes as eth-account's encode_typed_data does."""
    payer, authorizer, receiver, receiver_authorizer, token = parties
    config = ChannelConfig(payer, authorizer, receiver, receiver_authorizer, token, delay, salt)
    message = dict(zip([f["name"] for f in CHANNEL_FIELDS], [*parties, delay, salt], strict=True))
    assert channel_id(DOMAIN, config) == peer_digest(signable("ChannelConfig", CHANNEL_FIELDS, message))


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**128 - 1))
def test_a_stranger_with_eth_account_signs_the_same_voucher(channel: bytes, amount: int) -> None:
    """Digest and signature equal those of an unmodified x402 client's library."""
    message = signable("Voucher", VOUCHER_FIELDS, {"channelId": channel, "maxClaimableAmount": amount})
    voucher = sign_voucher(DOMAIN, KEY, channel, amount)
    assert voucher_digest(DOMAIN, channel, amount) == peer_digest(message)
    assert voucher.signature == bytes(Account.sign_message(message, KEY.secret).signature)
    assert recover_voucher(DOMAIN, voucher) == KEY.address


@pytest.mark.parametrize("domain", [EscrowDomain(1, DOMAIN.escrow), EscrowDomain(DOMAIN.chain_id, KEY.address)])
def test_a_voucher_for_another_chain_or_escrow_is_a_strangers(domain: EscrowDomain) -> None:
    """The same bytes elsewhere recover to somebody else, so they are worth nothing."""
    assert recover_voucher(domain, sign_voucher(DOMAIN, KEY, b"\1" * 32, 5)) != KEY.address


@pytest.mark.parametrize(("channel", "amount"), [(b"", 1), (b"\1" * 32, -1), (b"\1" * 32, 2**128)])
def test_a_voucher_out_of_range_is_refused(channel: bytes, amount: int) -> None:
    """An amount beyond uint128 or a short channel id is our error, not an OverflowError."""
    with pytest.raises(InvalidSignatureError):
        sign_voucher(DOMAIN, KEY, channel, amount)
