"""A smart account buys from a real miner: its contract signs vouchers, and the miner asks it on the chain."""

from __future__ import annotations

import asyncio
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tercet.chain import Key, Sender
from tercet.chain.abi import encode, parse_interface
from tercet.chain.voucher import EscrowDomain, asker_of, channel_id, name_asker, sign_voucher
from tercet.errors import InvalidSignatureError, MinerRefused, RefusalError
from tercet.market import ChannelConfig
from tercet.nodes.miner_book import MinerBook
from tercet.nodes.smart_accounts import SmartAccounts

from .conftest import BUYER, MINER, STRANGER
from .stage import PAID, Stage, buy, net

SOURCES = Path(__file__).parents[1] / "chain" / "contracts" / "sources.py"
WALLET = runpy.run_path(str(SOURCES))["compile_source"]("wallet")
CALLS = parse_interface(WALLET.abi)


class Wallet:
    """A smart account with 1,000,000 units, owned by a key that has gas and no credit."""

    def __init__(self, stage: Stage, key: Key, address: str) -> None:
        self.stage, self.key, self.address = stage, key, address
        self.sender = Sender(stage.ledger.rpc, key)

    @classmethod
    async def deploy(cls, stage: Stage) -> Wallet:
        key = await stage.key()
        code = WALLET.bytecode + encode(CALLS.constructor, (key.address,))
        receipt = await Sender(stage.ledger.rpc, key).send(None, code)
        assert receipt.contract is not None
        await stage.ledger.credit.mint(stage.faucet, receipt.contract, 10**6)
        return cls(stage, key, receipt.contract)

    async def send(self, name: str, *arguments: Any) -> None:
        found = CALLS.functions[name]
        await self.sender.send(self.address, found.selector + encode(found.inputs, arguments))


async def test_a_smart_account_buys_and_its_miner_is_paid(stage: Stage) -> None:
    """Its money fills the channel by its own signature; the key that asks holds none."""
    wallet = await Wallet.deploy(stage)
    async with stage.miner() as (miner, entry), stage.buyer(wallet.key, account=wallet.address) as buyer:
        for _ in range(3):
            await buy(buyer, entry)
        (account,) = buyer.channels.book.accounts()
        assert (account.config.payer, account.config.payer_authorizer) == (wallet.address, wallet.address)
        assert await stage.ledger.credit.balance(wallet.address) == 10**6 - account.deposit
        assert await miner.redeemer.redeem(1) == 3 * PAID
        assert await stage.ledger.credit.balance(entry.owner) == net(3 * PAID)


async def test_an_owner_that_was_replaced_buys_nothing_more(stage: Stage) -> None:
    wallet = await Wallet.deploy(stage)
    async with stage.miner() as (miner, entry), stage.buyer(wallet.key, account=wallet.address) as buyer:
        await buy(buyer, entry)
        await wallet.send("set_owner", STRANGER.address)
        with pytest.raises(MinerRefused) as refused:
            await buy(buyer, entry)
        assert refused.value.code == "voucher_invalid"
        assert miner.book.earned() == (PAID, 0)
        assert await miner.redeemer.redeem(1) == 0  # what it disowned is lost; that is why little is trusted


async def test_a_smart_account_owes_little_before_it_is_redeemed(stage: Stage) -> None:
    """Twice the threshold; an ordinary key is not held up by that."""
    wallet = await Wallet.deploy(stage)
    async with (
        stage.miner(redeem_threshold=PAID) as (miner, entry),
        stage.buyer(wallet.key, account=wallet.address) as buyer,
        stage.buyer(name="plain") as plain,
    ):
        for _ in range(2):
            await buy(buyer, entry)
        with pytest.raises(MinerRefused) as refused:
            await buy(buyer, entry)
        assert (refused.value.code, refused.value.retry_after) == ("unredeemed", 2)
        for _ in range(3):
            await buy(plain, entry)
        await miner.redeemer.redeem(PAID)
        await buy(buyer, entry)


async def test_a_chain_that_does_not_say_in_time_means_busy(stage: Stage) -> None:
    """Nobody waits longer than the deadline, and keys do not wait at all."""
    wallet = await Wallet.deploy(stage)
    hasty = SmartAccounts(stage.ledger, seconds=0)
    async with stage.miner() as (_, entry), stage.buyer(wallet.key, account=wallet.address) as buyer:
        account = await buyer.channels.ready(entry)
        voucher = buyer.channels.book.promise(account, PAID).voucher
        with pytest.raises(RefusalError, match="busy"):
            await hasty.stands_by(account.config, voucher)
        patient = SmartAccounts(stage.ledger)
        assert await patient.stands_by(account.config, voucher)
        assert not await patient.stands_by(account.config, replace(voucher, max_claimable=PAID + 1))
        plain = replace(account.config, payer_authorizer=wallet.key.address)
        assert not await SmartAccounts(stage.ledger).stands_by(plain, voucher)  # a key is no smart account


async def test_an_answer_is_believed_for_a_short_time(stage: Stage) -> None:
    """The same voucher is not asked about twice at once, so a flood of it costs the chain one question."""
    wallet = await Wallet.deploy(stage)
    accounts = SmartAccounts(stage.ledger)
    async with stage.miner() as (_, entry), stage.buyer(wallet.key, account=wallet.address) as buyer:
        account = await buyer.channels.ready(entry)
        voucher = buyer.channels.book.promise(account, PAID).voucher
        assert await accounts.stands_by(account.config, voucher)
        await wallet.send("set_owner", STRANGER.address)
        asked = await asyncio.gather(*(accounts.stands_by(account.config, voucher) for _ in range(5)))
        assert asked == [True] * 5
        assert not await SmartAccounts(stage.ledger).stands_by(account.config, voucher)


def test_the_key_that_asks_is_named_in_the_salt(tmp_path: Path) -> None:
    """The channel's id covers it; a stranger's key gets no word, and no work."""
    domain, contract = EscrowDomain(1, MINER.address), Key(b"\7" * 32).address
    salt = name_asker(BUYER.address, b"\1" * 12)
    config = ChannelConfig(contract, contract, MINER.address, MINER.address, MINER.address, 60, salt)
    assert asker_of(config) == BUYER.address
    with pytest.raises(InvalidSignatureError, match="12 bytes"):
        name_asker(BUYER.address, b"")
    book = MinerBook(tmp_path / "book.sqlite", domain, trust=1_000)
    book.put(config, 5_000, 0, closing=False)
    voucher = sign_voucher(domain, BUYER, channel_id(domain, config), 800)
    for sender, facts in ((STRANGER.address, False), (BUYER.address, True)):
        with pytest.raises(RefusalError, match="voucher_invalid") as refused:
            book.accept(voucher, sender, 500)
        assert bool(refused.value.facts) == facts
    with pytest.raises(RefusalError, match="voucher_invalid"):
        book.accept(voucher, STRANGER.address, 500, proven=True)
    ticket = book.accept(voucher, BUYER.address, 500, proven=True)
    book.settle(ticket, 500)
    rich = replace(voucher, max_claimable=5_000)
    with pytest.raises(RefusalError, match="unredeemed"):
        book.accept(rich, BUYER.address, 501, proven=True)
    book.put(config, 5_000, 1, closing=False)
    book.accept(rich, BUYER.address, 501, proven=True)
    book.close()
