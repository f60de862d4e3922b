"""A market that pays in credit: every command writes its amounts in credit, and stake in TCT."""

from __future__ import annotations

import asyncio
import json

import pytest

from tercet.chain import Deployment, Keystore, Ledger, MarketParams, Rpc, Sender

from .conftest import Shell
from .test_audit_commands import JUDGES, play_epoch

MARKET = ("--market", "dollars")

pytestmark = pytest.mark.slow


async def open_in_credit(shell: Shell) -> None:
    """The command opens markets that pay in TCT; the contract takes any token."""
    home = shell.folder / "home"
    url = json.loads((home / "chain" / "endpoint.json").read_text())["url"]
    (file,) = (home / "deployments").glob("*.json")
    async with Rpc(url) as rpc:
        ledger = Ledger(rpc, Deployment.load(file))
        owner = Sender(rpc, Keystore(home / "keystore").load("owner", "correct horse"))
        await ledger.token.ensure_allowance(owner, ledger.registry.address, 10**21)
        rules = MarketParams("echo", commit_seconds=600, reveal_seconds=300, audit_share_bps=5_000, unbonding_epochs=3)
        await ledger.registry.open_market(owner, ledger.credit.address, "dollars", rules)


@pytest.fixture(scope="module")
def dollars(town: Shell) -> Shell:
    """Sponsored with 30 credits over three epochs, two of which are closed."""
    assert town.run("wallet", "fund", "owner", "--credit", "100", "--stake", "0").code == 0
    for name in JUDGES:
        town.wallet(name)
        assert town.run("wallet", "fund", name, "--stake", "400").code == 0
    asyncio.run(open_in_credit(town))
    paid = town.spend("sponsor", *MARKET, "--budget", "30.000001", "--epochs", "3", "--yes")
    assert (paid.code, "pay 30 credit into 'dollars', 10 credit to each of 3 epochs" in paid.err) == (0, True), paid.err
    asyncio.run(play_epoch(town, accuse=False))
    asyncio.run(play_epoch(town, accuse=True))
    return town


def test_what_it_pays_is_written_in_credit(dollars: Shell) -> None:
    """The running epoch, the closed ones, an explanation and what is held."""
    assert "pays 10 credit; a miner registers for 1 TCT" in dollars.run("market", "show", *MARKET).out
    shown = dollars.run("epoch", "show", *MARKET).out
    assert "credit" in shown
    assert "TCT" not in shown
    assert "earned 0.049998 credit in epoch 1" in dollars.run("explain", "pay", "first", *MARKET).out
    settled = dollars.spend("audit", "settle", *MARKET, "--epoch", "1", "--dry-run")
    assert (settled.code, "settle 0 credit and 0 TCT of emission" in settled.err) == (0, True), settled.err


def test_what_comes_home_is_written_in_credit_and_in_tct(dollars: Shell) -> None:
    """A sponsor that was not needed, and a closer; amounts of one token are never added to those of another."""
    rest = dollars.spend("sponsor", *MARKET, "--cancel", "0", "--dry-run")
    assert (rest.code, "0 credit come back" in rest.err) == (0, True), rest.err
    asyncio.run(play_epoch(dollars, accuse=False))
    told = dollars.run("explain", "stake", "owner", *MARKET).out
    assert "credit: refunds of sponsorships" in told
    home = dollars.spend("withdraw", *MARKET, "--dry-run")
    assert (home.code, "credit home" in home.err, "TCT" in home.err) == (0, True, False), home.err
