"""Stake, delegation, pay and its explanation, by commands: one market's life, told in order."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal

import pytest

from tercet.chain import Deployment, Keystore, Ledger, Rpc, Sender, build_commit_digest, close_epoch
from tercet.market import build_row
from tercet.market.epoch import pack_row

from .conftest import Shell, covers, fields_of
from .test_chain_commands import schema_of

TCT = 10**18
MARKET = ("--market", "echo")


def play_epoch(shell: Shell, scores: dict[int, float], *, reveal: bool = True) -> None:
    """Let the wallet `judge` commit and reveal, and `owner` close the epoch."""
    asyncio.run(_play_epoch(shell, scores, reveal))


async def _play_epoch(shell: Shell, scores: dict[int, float], reveal: bool) -> None:
    home = shell.folder / "home"
    url = json.loads((home / "chain" / "endpoint.json").read_text())["url"]
    (file,) = (home / "deployments").glob("*.json")
    keys = Keystore(home / "keystore")
    async with Rpc(url) as rpc:
        ledger = Ledger(rpc, Deployment.load(file))
        (listing,) = await ledger.registry.list_markets()
        market = ledger.market(listing.market)
        judge, owner = (Sender(rpc, keys.load(name, "correct horse")) for name in ("judge", "owner"))
        status = await market.status()
        row, salt = tuple(pack_row(build_row(scores, status.columns))), secrets.token_bytes(32)
        digest = build_commit_digest(
            await rpc.chain_id(), market.address, status.epoch, judge.address, salt, status.generation, row
        )
        await market.commit(judge, digest)
        await _pass_time(rpc, 601)
        if reveal:
            await market.reveal(judge, status.generation, salt, row)
        await _pass_time(rpc, 301)
        await close_epoch(market, owner)


async def _pass_time(rpc: Rpc, seconds: int) -> None:
    await rpc.call("evm_increaseTime", hex(seconds))
    await rpc.call("evm_mine")


def start_and_stop(shell: Shell, *words: str, wallet: str) -> None:
    """Run a role until it is ready: it has its slot or seat then."""
    process = shell.start(*words, "--wallet", wallet, "--password-file", str(shell.password_file), "--yes")
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=40)
    assert '"ready": true' in line, said


def balance(shell: Shell, wallet: str) -> int:
    """Stake token base units of a wallet."""
    rows = shell.run("ledger", "balances", "--json").json["balances"]
    return next(int(row["stake"]) for row in rows if row["name"] == wallet)


@pytest.fixture(scope="module")
def market(town: Shell) -> Shell:
    """One miner, one validator with 100 TCT, a saver with 300 TCT behind it, and two closed epochs; 10 TCT each."""
    for name in ("judge", "shopper", "saver", "miner"):
        town.wallet(name)
        assert town.run("wallet", "fund", name, "--stake", "400").code == 0
    start_and_stop(town, "mine", "echo", *MARKET, wallet="miner")
    words = ("validate", "echo", *MARKET, "--payer", "shopper", "--stake", "100", "--take", "10")
    start_and_stop(town, *words, wallet="judge")
    done = town.spend("delegate", "300", "--to", "0", *MARKET, "--yes", wallet="saver")
    assert done.code == 0, done.err
    assert town.spend("sponsor", *MARKET, "--budget", "100", "--epochs", "10", "--yes").code == 0
    play_epoch(town, {1: 1.0})
    play_epoch(town, {1: 1.0})
    return town


pytestmark = pytest.mark.slow


def test_spending_is_shown_and_asked_about(market: Shell) -> None:
    """Each command that binds or frees stake shows the amount and the effect, and sends nothing without --yes."""
    spending = {
        "judge": [["stake", "5"], ["stake", "--take", "5"], ["unstake", "5"]],
        "saver": [["delegate", "5", "--to", "0"], ["unstake", "all"]],
        "owner": [["sponsor", "--budget", "5", "--epochs", "5"], ["sponsor", "--cancel", "0"]],
    }
    before = market.run("ledger", "balances", "--json").json
    for wallet, commands in spending.items():
        for words in commands:
            dry = market.spend(*words, *MARKET, "--dry-run", wallet=wallet)
            assert (dry.code, "Dry run" in dry.err) == (0, True), (words, dry.err)
            assert market.spend(*words, *MARKET, wallet=wallet).code == 3, words
    told = market.spend("delegate", "5", "--to", "0", *MARKET, "--dry-run", wallet="saver").err
    assert "keeps 10 %" in told
    assert "counts from epoch 3 on" in told
    assert "300 TCT" in market.spend("unstake", "all", *MARKET, "--dry-run", wallet="saver").err
    assert market.run("ledger", "balances", "--json").json == before


def test_wrong_words_are_wrong_usage(market: Shell) -> None:
    """No validator, no stake, no amount: exit code 2, and what there is."""
    unknown = market.spend("delegate", "5", "--to", "9", *MARKET, "--yes", wallet="saver")
    assert (unknown.code, "0 (0x" in unknown.err) == (2, True)
    assert market.spend("stake", "5", *MARKET, "--yes", wallet="saver").code == 2
    assert market.spend("stake", *MARKET, wallet="judge").code == 2
    assert market.spend("unstake", "5", *MARKET, "--yes", wallet="owner").code == 2
    assert market.spend("sponsor", *MARKET, "--budget", "5", "--yes").code == 2
    assert market.run("explain", "pay", "miner", *MARKET, "--epoch", "9").code == 2
    assert market.run("explain", "pay", "nobody", *MARKET).code == 2


def explained(shell: Shell, who: str, epoch: int) -> dict[str, object]:
    """The JSON of `explain pay`, its fields checked."""
    done = shell.run("explain", "pay", who, *MARKET, "--epoch", str(epoch), "--json")
    assert done.code == 0, done.err
    assert covers(schema_of(["explain", "pay"]), fields_of(done.json)), fields_of(done.json)
    assert done.json["exact"]
    return done.json


def test_pay_is_explained_and_adds_up(market: Shell) -> None:
    """Miner, validator, delegator and closer: what each is said to have earned is all that the epoch paid."""
    pots = explained(market, "miner", 1)["pots"]
    assert isinstance(pots, dict)
    totals = {who: int(str(explained(market, who, 1)["total"])) for who in ("miner", "judge", "saver", "owner")}
    assert all(total > 0 for total in totals.values())
    assert sum(totals.values()) + int(pots["returned"]) == int(pots["reward"]) == 10 * TCT
    assert totals["owner"] == int(pots["pokes"])
    # Of the validators' part a quarter is the judge's own stake's, and of the saver's three quarters it takes a tenth.
    assert totals["saver"] * 1000 // (totals["saver"] + totals["judge"]) == 675


def test_pay_is_explained_in_words(market: Shell) -> None:
    """Each reason is there with its number; an epoch without consensus says why."""
    miner = market.run("explain", "pay", "miner", *MARKET, "--epoch", "1").out
    assert "Validator 0" in miner
    assert "Consensus 65,535 of 65,535" in miner
    assert "100.00 % of the miners' part" in miner
    judge = market.run("explain", "pay", "judge", *MARKET, "--epoch", "1").out
    assert "The cap lets no validator weigh more than" in judge
    assert "after its take of 10 %" in judge
    saver = market.run("explain", "pay", "saver", *MARKET, "--epoch", "1").out
    assert "300 TCT of the 400 TCT that counted there" in saver
    first = market.run("explain", "pay", "judge", *MARKET, "--epoch", "0").out
    assert "No validator's stake counted" in first
    assert "No stake of it counted" in first
    assert "no slot, no seat and no stake" in market.run("explain", "pay", "shopper", *MARKET, "--epoch", "1").out


def test_stake_and_earnings_come_home(market: Shell) -> None:
    """A delegator sees what is due, takes it, unstakes, waits three closings, and has more than it brought."""
    before = balance(market, "saver")
    due = int(market.run("explain", "stake", "saver", *MARKET, "--json").json["due"])
    dry = market.spend("withdraw", *MARKET, "--dry-run", wallet="saver")
    assert (dry.code, balance(market, "saver")) == (0, before)
    assert market.spend("withdraw", *MARKET, wallet="saver").code == 0
    assert balance(market, "saver") == before + due > before
    assert market.spend("unstake", "all", *MARKET, "--yes", wallet="saver").code == 0
    assert "Nothing can be taken home yet" in market.spend("withdraw", *MARKET, wallet="saver").err
    for _ in range(3):
        play_epoch(market, {1: 1.0}, reveal=False)
    assert market.spend("withdraw", *MARKET, wallet="saver").code == 0
    assert balance(market, "saver") >= before + due + 300 * TCT


def test_a_validator_leaves(market: Shell) -> None:
    """Leaving says what comes back when; the seat is gone, and the stake unbonds."""
    dry = market.spend("market", "leave", *MARKET, "--dry-run", wallet="judge")
    assert "validator 0" in dry.err
    assert "100 TCT of stake after 3 closings" in dry.err
    assert market.spend("market", "leave", *MARKET, "--yes", wallet="judge").code == 0
    shown = market.run("market", "show", *MARKET, "--json").json
    assert shown["validators"] == []
    assert shown["books"]["unbonding"] == str(100 * TCT)
