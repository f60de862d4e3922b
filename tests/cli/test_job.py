"""Held jobs by commands: shown before they spend, and told in full afterwards."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from typing import Any

import pytest
from tests.swarm.small_goals import seen, write_plan

from tercet.chain import Deployment, Ledger, Rpc
from tercet.cli.job import JOB_SCHEMA
from tercet.swarm.events import Event

from .conftest import Outcome, Shell, covers, fields_of


def do(town: Shell, who: str, *words: str) -> Outcome:
    """A `tercet job` command of a wallet, agreed to."""
    return town.spend("job", *words, "--yes", wallet=who)


@pytest.fixture(scope="module")
def office(town: Shell) -> tuple[Shell, str]:
    """The town with a funded buyer and worker, a brief and a result; the worker's address."""
    addresses = {name: town.wallet(name) for name in ("patron", "artisan")}
    for name in addresses:
        assert town.run("wallet", "fund", name, "--credit", "1000", "--stake", "0").code == 0
    (town.folder / "brief.md").write_text("Translate this.\n")
    (town.folder / "result.txt").write_text("Done.\n")
    return town, addresses["artisan"]


def fund(town: Shell, worker: str, *more: str) -> dict[str, Any]:
    """A job of 25 credits."""
    words = ["--worker", worker, "--amount", "25", "--market", "echo", "--work", "brief.md", *more, "--json"]
    done = do(town, "patron", "fund", *words)
    assert done.code == 0, done.err
    assert covers(JOB_SCHEMA, fields_of(done.json))
    return done.json


async def credit_of(town: Shell, address: str) -> int:
    home = town.folder / "home"
    url = json.loads((home / "chain" / "endpoint.json").read_text())["url"]
    (path,) = (home / "deployments").glob("*.json")
    async with Rpc(url) as rpc:
        return await Ledger(rpc, Deployment.load(path)).credit.balance(address)


async def pass_time(town: Shell, seconds: int) -> None:
    url = json.loads((town.folder / "home" / "chain" / "endpoint.json").read_text())["url"]
    async with Rpc(url) as rpc:
        await rpc.call("evm_increaseTime", hex(seconds))
        await rpc.call("evm_mine")


def test_a_job_is_funded_delivered_and_released(office: tuple[Shell, str]) -> None:
    """The price leaves the buyer at once, and comes to the worker less the fee."""
    town, worker = office
    before = asyncio.run(credit_of(town, worker))
    dry = town.spend(
        *("job", "fund", "--worker", worker, "--amount", "25", "--market", "echo", "--work", "brief.md", "--dry-run"),
        wallet="patron",
    )
    assert (dry.code, dry.out) == (0, "")
    assert "25 credit" in dry.err
    assert "1 %" in dry.err
    job = fund(town, worker)
    assert (job["state"], job["amount"], job["end"]) == ("funded", "25000000", None)
    delivered = do(town, "artisan", "deliver", job["id"][:12], "result.txt", "--json")
    assert delivered.json["state"] == "delivered"
    assert delivered.json["result_hash"] != job["result_hash"]
    unasked = town.spend("job", "release", job["id"], wallet="patron")
    assert unasked.code == 3, "nobody agreed"
    released = do(town, "patron", "release", job["id"], "--json").json
    assert (released["state"], released["end"]["cause"], released["end"]["fee"]) == ("ended", "released", "250000")
    assert covers(JOB_SCHEMA, fields_of(released))
    assert asyncio.run(credit_of(town, worker)) == before + 24_750_000
    assert "24.75 credit to the worker" in town.run("job", "show", job["id"]).out


def test_a_part_is_offered_and_accepted(office: tuple[Shell, str]) -> None:
    """Not before it is offered; the buyer's rest comes back."""
    town, worker = office
    job = fund(town, worker)["id"]
    early = do(town, "artisan", "accept", job)
    assert early.code == 2
    assert "tercet job release" in early.err
    assert do(town, "patron", "release", job, "--amount", "10", "--json").json["offer"] == "10000000"
    assert "offered   10 credit" in town.run("job", "show", job).out
    ended = do(town, "artisan", "accept", job, "--json").json["end"]
    assert (ended["cause"], ended["paid"], ended["returned"]) == ("agreed", "10000000", "15000000")


def test_a_job_is_given_back_or_settled_when_its_time_is_over(office: tuple[Shell, str]) -> None:
    """`settle` does what the state asks for; a job that ended says so."""
    town, worker = office
    given_back, silent, idle = (fund(town, worker, "--review", "60", "--deliver", "600")["id"] for _ in range(3))
    assert do(town, "artisan", "refund", given_back, "--json").json["end"]["cause"] == "refunded"
    assert do(town, "artisan", "deliver", silent, "result.txt").code == 0
    early = do(town, "patron", "settle", silent)
    assert (early.code, "deadline" in early.err) == (1, True)
    asyncio.run(pass_time(town, 601))
    assert do(town, "patron", "settle", silent, "--json").json["end"]["cause"] == "silence"
    assert do(town, "artisan", "settle", idle, "--json").json["end"]["cause"] == "refunded"
    assert do(town, "artisan", "settle", idle).code == 2


def test_a_dispute_shows_its_bond_and_a_vote_what_it_says(office: tuple[Shell, str]) -> None:
    """Both before anything is sent."""
    town, worker = office
    job = fund(town, worker)["id"]
    assert do(town, "artisan", "deliver", job, "result.txt").code == 0
    dispute = town.spend("job", "dispute", job, "--dry-run", wallet="patron")
    assert (dispute.code, "a bond of 2.5 credit" in dispute.err) == (0, True)
    vote = town.spend("job", "vote", job, "40", "--dry-run", wallet="owner")
    assert (vote.code, "deserves 10 credit of 25 credit" in vote.err) == (0, True)
    assert do(town, "owner", "vote", job, "40").code == 1


def test_all_jobs_are_listed_and_an_unknown_one_is_wrong_usage(office: tuple[Shell, str]) -> None:
    """By wallet too; the JSON has the documented fields."""
    town, worker = office
    fund(town, worker)
    every = town.run("job", "list", "--json").json["jobs"]
    assert [job["id"] for job in town.run("job", "list", "--of", "artisan", "--json").json["jobs"]] == [
        job["id"] for job in every
    ]
    assert town.run("job", "list", "--of", "owner", "--json").json["jobs"] == []
    assert covers(JOB_SCHEMA, {name for job in every for name in fields_of(job)})
    assert every[-1]["id"][:10] in town.run("job", "list").out
    shown = town.run("job", "show", every[-1]["id"], "--json").json
    assert (shown["verdicts"], shown["state"]) == ([], "funded")
    for name in ("0xffffffff", "0x", "zz"):
        unknown = town.run("job", "show", name)
        assert (unknown.code, "tercet job list" in unknown.err) == (2, True)


def events_of(town: Shell, kind: str) -> list[Event]:
    """Of the only run in this home."""
    return [event for run in (town.folder / "home" / "runs").glob("*") for event in seen(run, kind)]


def wait_for_cards(town: Shell, running: subprocess.Popen[str]) -> list[str]:
    """Ids of the asks, once there are some."""
    while not (cards := [event.body["card"]["id"] for event in events_of(town, "ask.raised")]):
        assert running.poll() is None
        time.sleep(0.1)
    return cards


def test_a_run_pays_from_a_wallet_what_its_person_agrees_to(office: tuple[Shell, str]) -> None:
    """`tercet run --pay`: a script plays the agent, the inbox asks, the chain moves the credit, why tells who agreed.

    Killed while it asks, the run goes on once `tercet resume` has opened the wallet again, and pays once.
    """
    town, worker = office
    command = ["test", "-s", "paid"]
    write_plan(town.folder, "pay", title="Pay", output="paid", command=command, money="2", payees=[worker])
    pay = {"tool": "pay", "arguments": {"to": worker, "amount": 2_000_000, "claims": []}, "says": "Your task: Pay"}
    write = {"tool": "write_file", "arguments": {"path": "paid", "text": "2"}, "says": "^.Paid 2 credit"}
    (town.folder / "script.json").write_text(json.dumps({"rules": [pay, write, {"text": "Paid."}]}))
    before = asyncio.run(credit_of(town, worker))
    words = ["run", "Pay what is due", "--plan", "plan.json", "--scripted", "script.json", "--yes", "--pay", "3"]
    began = town.start(*words, "--wallet", "patron", "--password-file", str(town.password_file))
    try:
        (card,) = wait_for_cards(town, began)
    finally:
        began.kill()
        _, shown = began.communicate()
    assert f"may pay 2 credit to {worker}" in " ".join(shown.split())
    (run,) = (folder.name for folder in (town.folder / "home" / "runs").iterdir())
    locked = town.run("resume", run)
    assert (locked.code, "Nobody is there to type a password" in locked.err) == (2, True), locked.err
    (town.folder / "wrong").write_text("battery staple\n")
    wrong = town.run("resume", run, "--password-file", "wrong")
    assert (wrong.code, "does not open the key 'patron'" in wrong.err) == (1, True), wrong.err
    assert asyncio.run(credit_of(town, worker)) == before, "nothing moves before the person has said so"
    running = town.start("resume", run, "--password-file", str(town.password_file))
    try:
        while (said := town.run("inbox", "answer", card, "yes")).code != 0:
            assert running.poll() is None
            assert said.code == 4 or "quick for what is at stake" in said.err, "a yes that comes at once is not taken"
            time.sleep(0.5)
        _, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 0, err
    assert asyncio.run(credit_of(town, worker)) - before == 2_000_000
    (receipt,) = [event.body["receipt"] for event in events_of(town, "tool") if event.body.get("charged")]
    told = town.run("why", receipt)
    assert (told.code, "by the person's yes" in told.out) == (0, True), told.err


def test_a_purse_needs_an_amount(office: tuple[Shell, str]) -> None:
    """Before anything is begun."""
    (office[0].folder / "script.json").write_text('{"rules": [{"text": "yes"}]}')
    refused = office[0].spend("run", "pay", "--pay", "0", "--scripted", "script.json", wallet="patron")
    assert (refused.code, "lets nobody pay anything" in refused.err) == (2, True), refused.err
