"""Strangers' x402 software and ours agree, byte for byte and on a real chain."""

from __future__ import annotations

import asyncio

from eth_account import Account
from x402 import x402FacilitatorSync
from x402.mechanisms.evm.batch_settlement.client.voucher import sign_voucher as x402_sign_voucher
from x402.mechanisms.evm.batch_settlement.constants import BATCH_SETTLEMENT_ADDRESS
from x402.mechanisms.evm.batch_settlement.types import ChannelConfig as X402ChannelConfig
from x402.mechanisms.evm.batch_settlement.utils import compute_channel_id
from x402.mechanisms.evm.exact import register_exact_evm_facilitator
from x402.mechanisms.evm.exact.client import ExactEvmScheme
from x402.mechanisms.evm.signers import EthAccountSigner, FacilitatorWeb3Signer
from x402.schemas import PaymentPayload, PaymentRequirements

from tercet.chain import Key, Ledger, deploy
from tercet.chain.voucher import EscrowDomain, channel_id, recover_voucher, sign_voucher
from tercet.market import ChannelConfig, Voucher

from .conftest import Node

CHAIN_ID = 84532
DOMAIN = EscrowDomain(CHAIN_ID, BATCH_SETTLEMENT_ADDRESS)


def _channel(payer: Key, receiver: Key) -> tuple[ChannelConfig, X402ChannelConfig]:
    token = Key.generate().address
    ours = ChannelConfig(payer.address, payer.address, receiver.address, receiver.address, token, 900, b"\7" * 32)
    theirs = X402ChannelConfig(
        payer=ours.payer,
        payer_authorizer=ours.payer_authorizer,
        receiver=ours.receiver,
        receiver_authorizer=ours.receiver_authorizer,
        token=token,
        withdraw_delay=900,
        salt="0x" + ours.salt.hex(),
    )
    return ours, theirs


def test_a_channel_has_the_same_identity_in_x402() -> None:
    """Same parties, same token, same salt: the same 32 bytes."""
    ours, theirs = _channel(Key.generate(), Key.generate())
    assert "0x" + channel_id(DOMAIN, ours).hex() == compute_channel_id(theirs, CHAIN_ID).lower()


def test_a_voucher_signed_by_x402_is_good_here() -> None:
    """An unmodified x402 client can pay a Tercet miner."""
    secret = Key.generate()
    account = Account.create()
    payer = Key.from_hex(account.key.hex())
    ours, _ = _channel(payer, secret)
    channel = channel_id(DOMAIN, ours)
    signed = x402_sign_voucher(EthAccountSigner(account), "0x" + channel.hex(), 123_456, f"eip155:{CHAIN_ID}")
    voucher = Voucher(channel, 123_456, bytes.fromhex(signed.signature.removeprefix("0x")))
    assert recover_voucher(DOMAIN, voucher) == payer.address
    assert sign_voucher(DOMAIN, payer, channel, 123_456).signature == voucher.signature


async def test_an_x402_facilitator_settles_in_our_credit(chain: Node) -> None:
    """The unmodified SDK verifies and settles an `exact` payment on this chain, with our test dollar."""
    payer, seller = Account.create(), Key.generate()
    ledger = Ledger(chain.rpc, await deploy(chain.sender))
    await ledger.credit.mint(chain.sender, payer.address, 5_000_000)
    network = f"eip155:{await chain.rpc.chain_id()}"
    terms = PaymentRequirements(
        scheme="exact",
        network=network,
        asset=ledger.credit.address,
        amount="1250000",
        pay_to=seller.address,
        max_timeout_seconds=60,
        extra={"name": "Tercet Credit", "version": "1"},
    )
    signed = ExactEvmScheme(EthAccountSigner(payer)).create_payment_payload(terms)
    payment = PaymentPayload(payload=signed, accepted=terms)
    facilitator = x402FacilitatorSync()
    signer = FacilitatorWeb3Signer(chain.faucet.secret.hex(), chain.url)
    register_exact_evm_facilitator(facilitator, signer, networks=network)

    verified = await asyncio.to_thread(facilitator.verify, payment, terms)
    settled = await asyncio.to_thread(facilitator.settle, payment, terms)

    assert verified.is_valid, verified.invalid_message
    assert settled.success, settled.error_message
    assert await ledger.credit.balance(seller.address) == 1_250_000
    assert await ledger.credit.balance(payer.address) == 3_750_000
