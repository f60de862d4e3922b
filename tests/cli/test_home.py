"""Money comes home by commands: deposits, rewards, refunds, the rest of a channel."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from tercet.chain import Deployment, Keystore, Ledger, Rpc, Sender
from tercet.market import ChannelConfig

from .conftest import Shell, covers, fields_of


def _chain(shell: Shell) -> tuple[str, Deployment]:
    home = shell.folder / "home"
    url = json.loads((home / "chain" / "endpoint.json").read_text())["url"]
    (deployment,) = (home / "deployments").glob("*.json")
    return url, Deployment.load(deployment)


async def _pass_time(shell: Shell, seconds: int) -> None:
    async with Rpc(_chain(shell)[0]) as rpc:
        await rpc.call("evm_increaseTime", hex(seconds))
        await rpc.call("evm_mine")


async def _stake_of(shell: Shell, address: str) -> int:
    url, deployment = _chain(shell)
    async with Rpc(url) as rpc:
        return await Ledger(rpc, deployment).token.balance(address)


def test_a_miner_leaves_with_its_deposit(town: Shell) -> None:
    """After `market leave` the wallet holds what it held before it came, but for the burned half of its slot's price."""
    address = town.wallet("leaver")
    assert town.run("wallet", "fund", "leaver", "--stake", "7").code == 0
    words = ["--wallet", "leaver", "--password-file", str(town.password_file), "--yes"]
    miner = town.start("mine", "echo", *words)
    assert miner.stdout is not None
    assert '"ready": true' in miner.stdout.readline()
    miner.send_signal(signal.SIGINT)
    miner.communicate(timeout=30)
    assert miner.returncode == 130
    assert asyncio.run(_stake_of(town, address)) == 6 * 10**18

    dry = town.spend("market", "leave", "--market", "echo", "--dry-run", wallet="leaver")
    assert (dry.code, asyncio.run(_stake_of(town, address))) == (0, 6 * 10**18)
    left = town.spend("market", "leave", "--market", "echo", "--yes", wallet="leaver")
    assert left.code == 0, left.err
    assert asyncio.run(_stake_of(town, address)) == 65 * 10**17
    again = town.spend("market", "leave", "--market", "echo", "--yes", wallet="leaver")
    assert (again.code, "has no slot" in again.err) == (0, True)


@pytest.mark.slow
def test_a_miner_waits_for_a_slot_of_a_full_market(town: Shell) -> None:
    """With --queue it applies, serves nobody yet, and has the slot when somebody left and an epoch was closed."""
    full = ("--market", "full")
    made = town.spend("market", "create", "echo", "--name", "full", "--max-miners", "1", "--commit", "600", "--yes")
    assert made.code == 0, made.err
    for name in ("first", "second"):
        town.wallet(name)
        assert town.run("wallet", "fund", name, "--stake", "7").code == 0
    words = ("mine", "echo", *full, "--password-file", str(town.password_file), "--poll", "0.2", "--yes", "--wallet")
    first = town.start(*words, "first", "--state", "first")
    assert first.stdout is not None
    assert '"ready": true' in first.stdout.readline()
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)
    refused = town.run(*words, "second", "--state", "second")
    assert (refused.code, "--queue" in refused.err) == (1, True)

    second = town.start(*words, "second", "--state", "second", "--queue")
    try:
        deadline = time.monotonic() + 30
        while not town.run("market", "show", *full, "--json").json["applicants"]:
            assert second.poll() is None
            assert time.monotonic() < deadline
        assert town.spend("market", "leave", *full, "--yes", wallet="first").code == 0
        asyncio.run(_pass_time(town, 1000))
        assert town.spend("epoch", "close", *full).code == 0
        assert second.stdout is not None
        assert '"ready": true' in second.stdout.readline()
        assert town.run("market", "show", *full, "--json").json["applicants"] == []
    finally:
        second.send_signal(signal.SIGINT)
        _, said = second.communicate(timeout=30)
    assert second.returncode == 130, said


def test_a_sponsor_takes_back_what_nobody_earned(town: Shell) -> None:
    """Nobody mined, so the closed epoch's part is the sponsor's again."""
    assert town.spend("market", "sponsor", "--market", "echo", "--budget", "30", "--epochs", "10", "--yes").code == 0
    asyncio.run(_pass_time(town, 901))
    assert town.spend("epoch", "close", "--market", "echo").code == 0
    taken = town.spend("market", "withdraw", "--market", "echo")
    assert (taken.code, "took 3 TCT home" in taken.err) == (0, True), taken
    assert "Nothing is owed" in town.spend("market", "withdraw", "--market", "echo").err


async def _open_channel(shell: Shell, deposit: int) -> ChannelConfig:
    url, deployment = _chain(shell)
    key = Keystore(Path(shell.folder / "home" / "keystore")).load("buyer", "correct horse")
    async with Rpc(url) as rpc:
        ledger, sender = Ledger(rpc, deployment), Sender(rpc, key)
        me, other = key.address, "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"
        config = ChannelConfig(me, me, other, other, ledger.credit.address, 3600, b"\1" * 32)
        await ledger.credit.approve(sender, ledger.escrow.address)
        await ledger.escrow.open(sender, config, deposit)
    return config


@pytest.mark.slow
def test_a_buyer_takes_back_the_rest_of_its_channels(town: Shell) -> None:
    """Open, notice given, waiting, home: each said in words and in JSON."""
    town.wallet("buyer")
    assert town.run("wallet", "fund", "buyer", "--credit", "9").code == 0
    assert (
        "has opened no channel"
        in town.spend("wallet", "channels", wallet="buyer").out + town.spend("wallet", "channels", wallet="buyer").err
    )
    asyncio.run(_open_channel(town, 2_500_000))

    def state(*words: str) -> tuple[str, int]:
        said = town.spend("wallet", "channels", "--json", *words, wallet="buyer")
        assert said.code == 0, said.err
        schema = ("channels[].receiver", "channels[].left", "channels[].state", "channels[].seconds")
        assert covers(schema, fields_of(said.json))
        (channel,) = said.json["channels"]
        return channel["state"], channel["left"]

    assert state() == ("open", 2_500_000)
    assert state("--close", "--yes") == ("notice given", 2_500_000)
    assert state() == ("waiting", 2_500_000)
    asyncio.run(_pass_time(town, 3601))
    assert state() == ("came home", 2_500_000)
    assert state() == ("closed", 0)
