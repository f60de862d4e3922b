"""Audits by commands: look, accuse, vote, settle."""

from __future__ import annotations

import asyncio
import json
import secrets

import pytest

from tercet.chain import Deployment, Keystore, Ledger, Rpc, Sender, build_commit_digest, close_epoch
from tercet.chain.audits import Proof
from tercet.client import Client
from tercet.market import build_row
from tercet.market.audit import Evaluation, EvaluationLog, sample_index
from tercet.market.epoch import pack_row

from .conftest import Shell, covers, fields_of
from .test_chain_commands import schema_of

TCT = 10**18
MARKET = ("--market", "echo")
JUDGES = ("first", "second", "third")

pytestmark = pytest.mark.slow


async def play_epoch(shell: Shell, *, accuse: bool) -> None:
    """In the newest market the judges reveal a log of three entries each, and the epoch is closed; `first` may accuse
    `second`.
    """
    home = shell.folder / "home"
    url = json.loads((home / "chain" / "endpoint.json").read_text())["url"]
    (file,) = (home / "deployments").glob("*.json")
    keys = Keystore(home / "keystore")
    async with Rpc(url) as rpc:
        ledger = Ledger(rpc, Deployment.load(file))
        listing = (await ledger.registry.list_markets())[-1]
        market, client, logs, reveals = ledger.market(listing.market), Client(ledger), [], []
        status, row = await market.status(), tuple(pack_row(build_row({}, 1)))
        senders = [Sender(rpc, keys.load(name, "correct horse")) for name in JUDGES]
        for sender in senders:
            seat = await client.join_as_validator(sender, market, sender.address, 100 * TCT)
            leaves = [
                Evaluation(
                    market.address, status.epoch, seat.pool, k, 1, 1, "missed", 0, bytes([seat.vid, k]) * 16
                ).leaf
                for k in range(3)
            ]
            logs.append((seat, EvaluationLog(leaves)))
            salt, evidence = secrets.token_bytes(32), logs[-1][1].evidence
            digest = build_commit_digest(
                await rpc.chain_id(), market.address, status.epoch, sender.address, salt, 0, row, evidence=evidence
            )
            await market.commit(sender, digest)
            reveals.append((sender, salt, evidence))
        await _pass_time(rpc, 601)
        for sender, salt, evidence in reveals:
            await market.reveal(sender, 0, salt, row, evidence=evidence)
        await _pass_time(rpc, 301)
        await close_epoch(market, senders[0])
        if accuse:
            await ledger.audits.open_round(senders[0], market.address)
            found = await ledger.audits.round(market.address, status.epoch)
            assert found is not None
            seat, log = logs[1]
            index = sample_index(found.beacon, seat.pool, 0, 3)
            proof = Proof(3, log.root, log.levels[0][index], log.proof(index))
            await ledger.token.approve(senders[0], ledger.audits.address)
            evidence_list = [other.evidence for _, other in logs]
            await ledger.audits.accuse(senders[0], market.address, status.epoch, seat.vid, 0, proof, evidence_list)


async def _pass_time(rpc: Rpc, seconds: int) -> None:
    await rpc.call("evm_increaseTime", hex(seconds))
    await rpc.call("evm_mine")


@pytest.fixture(scope="module")
def court(town: Shell) -> Shell:
    """Three equal validators, and an accusation of the second by the first in epoch 1."""
    for name in JUDGES:
        town.wallet(name)
        assert town.run("wallet", "fund", name, "--stake", "400").code == 0
    early = town.run("audit", "show", *MARKET)
    assert (early.code, "No epoch of this market was closed yet" in early.err) == (2, True)
    asyncio.run(play_epoch(town, accuse=False))
    asyncio.run(play_epoch(town, accuse=True))
    return town


def test_an_audit_is_looked_at_judged_and_settled(court: Shell) -> None:
    """In order: the round, the accusation, a dry vote, a vote that decides, and the settlement an epoch later."""
    shown = court.run("audit", "show", *MARKET, "--json")
    assert covers(schema_of(["audit", "show"]), fields_of(shown.json)), shown.out
    assert [seat["evidence"] for seat in shown.json["seats"]] == [True] * 3
    assert [(found["vid"], found["state"]) for found in shown.json["accusations"]] == [(1, "open")]
    table = court.run("audit", "show", *MARKET)
    assert "validators attest, accuse and vote" in table.out
    assert "Validator 1 is accused of sample 0" in table.err
    closed = court.run("audit", "show", *MARKET, "--epoch", "0", "--json").json
    assert (closed["stage"], closed["seats"]) == ("closed", [])

    words = ("audit", "vote", "1", "--sample", "0", "--guilty", *MARKET)
    dry = court.spend(*words, "--dry-run", wallet="third")
    assert (dry.code, "a majority costs it 10% of its pool" in dry.err) == (0, True), dry.err
    assert court.spend(*words, wallet="third").code == 3
    own = court.spend("audit", "vote", "1", "--sample", "0", "--innocent", *MARKET, "--yes", wallet="second")
    assert (own.code, "counts as innocent already" in own.err) == (1, True), own.err
    assert court.spend(*words, "--yes", wallet="third").code == 0
    shown = court.run("audit", "show", *MARKET, "--json")
    assert [found["state"] for found in shown.json["accusations"]] == ["confirmed"]
    assert [seat["convicted"] for seat in shown.json["seats"]] == [False, True, False]
    again = court.spend(*words, "--yes", wallet="third")
    assert (again.code, "Nobody accuses validator 1" in again.err) == (2, True)

    dry = court.spend("audit", "accuse", "2", "--sample", "1", *MARKET, "--dry-run", wallet="first")
    assert (dry.code, "under a bond of 0.1 TCT" in dry.err) == (0, True), dry.err
    failed = court.spend("audit", "accuse", "2", "--sample", "1", *MARKET, "--yes", wallet="second")
    assert failed.code == 1, "no archive answers there"

    asyncio.run(play_epoch(court, accuse=False))
    settled = court.spend("audit", "settle", *MARKET, "--yes")
    assert (settled.code, "Epoch 1 is settled" in settled.err) == (0, True), settled.err
    seats = court.run("audit", "show", *MARKET, "--epoch", "1", "--json").json["seats"]
    assert all(seat["settled"] for seat in seats)
