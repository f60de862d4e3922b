"""Held jobs through the typed client, on both nodes."""

from __future__ import annotations

import runpy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tercet.chain import JobsContract, Key, Ledger, Sender, deploy
from tercet.chain.abi import encode, parse_interface
from tercet.chain.artifacts import Artifact, load_artifact
from tercet.errors import (
    AlreadyDoneError,
    InsufficientFundsError,
    LimitError,
    NotAllowedError,
    UnknownJobError,
    WrongPhaseError,
)
from tercet.market import Cause, Job, JobState, JobVerdict, Split

from .conftest import Node, put

BUYER, WORKER, JUDGE = Key(b"\x41" * 32), Key(b"\x42" * 32), Key(b"\x43" * 32)
JUDGES: Artifact = runpy.run_path(str(Path(__file__).parent / "contracts" / "sources.py"))["compile_source"]("judges")


@dataclass(frozen=True, slots=True)
class Office:
    """A buyer with 10,000 units, a worker, a judge of weight 5, and terms for 1,000."""

    ledger: Ledger
    jobs: JobsContract
    buyer: Sender
    worker: Sender
    judge: Sender
    terms: Job


@pytest.fixture
async def office(chain: Node) -> Office:
    opener = chain.sender
    ledger = Ledger(chain.rpc, await deploy(opener))
    buyer, worker, judge = await chain.fund(BUYER, WORKER, JUDGE)
    judges = await put(opener, JUDGES)
    seat = parse_interface(JUDGES.abi).functions["seat"]
    await opener.send(judges, seat.selector + encode(seat.inputs, (JUDGE.address, 3, 5)))
    jobs = JobsContract(chain.rpc, await put(opener, load_artifact("Jobs"), ledger.escrow.address, judges, 60))
    await ledger.credit.mint(opener, BUYER.address, 10_000)
    await ledger.credit.ensure_allowance(buyer, jobs.address, 10_000)
    by = (await chain.rpc.head()).timestamp + 3_600
    terms = Job(BUYER.address, WORKER.address, judges, ledger.credit.address, 1_000, b"w" * 32, by, 60, 90, b"\0" * 32)
    return Office(ledger, jobs, buyer, worker, judge, terms)


async def test_a_disputed_job_is_judged_and_can_be_read_all_the_way(office: Office, chain: Node) -> None:
    """The record, the verdicts and the events tell the same story as the balances."""
    jobs, terms, first = office.jobs, office.terms, office.ledger.deployment.block
    identity = await jobs.fund(office.buyer, terms)
    assert identity == await jobs.id_of(terms) == await jobs.read("job_id", tuple(getattr(terms, n) for n in FIELDS))
    assert (await jobs.find(identity, first)).terms == terms
    with pytest.raises(AlreadyDoneError):
        await jobs.fund(office.buyer, terms)
    with pytest.raises(NotAllowedError):
        await jobs.deliver(office.buyer, terms, b"r" * 32)
    await jobs.deliver(office.worker, terms, b"r" * 32)
    until = await jobs.dispute(office.buyer, terms)
    assert await jobs.vote(office.judge, terms, 2_500) == 5
    record = await jobs.record(identity)
    assert (record.state, record.deadline, record.bond) == (JobState.DISPUTED, until, 100)
    assert (record.voted, record.electorate, record.verdicts, record.offer) == (5, 5, 1, None)
    assert await jobs.verdicts(identity) == [JobVerdict(3, 5, 2_500)]
    with pytest.raises(WrongPhaseError):
        await jobs.settle(office.worker, terms)
    await chain.pass_time(91)
    end = await jobs.settle(office.worker, terms)
    assert (end.cause, end.split) == (Cause.JUDGED, Split(250, 2, 750, 25, 75))
    assert (await jobs.find(identity, first)).end == end
    assert await office.ledger.credit.balance(WORKER.address) == 248 + 25
    assert await office.ledger.credit.balance(BUYER.address) == 10_000 - 275


async def test_jobs_end_by_consent_silence_and_refund(office: Office, chain: Node) -> None:
    """Four jobs, four ends, in the order that they were funded."""
    jobs, first = office.jobs, office.ledger.deployment.block
    paid, agreed, silent, given_back = terms = [replace(office.terms, salt=bytes([k]) * 32) for k in range(4)]
    for job in terms:
        await jobs.fund(office.buyer, job)
    await jobs.release(office.buyer, paid, 1_000)
    await jobs.release(office.buyer, agreed, 400)
    assert (await jobs.record(await jobs.id_of(agreed))).offer == 400
    with pytest.raises(LimitError):
        await jobs.accept(office.worker, agreed, 401)
    await jobs.accept(office.worker, agreed, 400)
    await jobs.refund(office.worker, given_back)
    await jobs.deliver(office.worker, silent, b"r" * 32)
    await chain.pass_time(61)
    await jobs.claim(office.buyer, silent)
    found = await jobs.jobs(first)
    assert [held.terms for held in found] == terms
    causes = [held.end.cause for held in found if held.end is not None]
    assert causes == [Cause.RELEASED, Cause.AGREED, Cause.SILENCE, Cause.REFUNDED]
    assert await office.ledger.credit.balance(WORKER.address) == 990 + 396 + 990
    assert await office.ledger.credit.balance(jobs.address) == 0


async def test_what_cannot_be_done_says_why(office: Office) -> None:
    """No such job, no such market, no money."""
    jobs, deployed = office.jobs, office.ledger.jobs
    with pytest.raises(UnknownJobError, match="tercet job list"):
        await jobs.find(b"\7" * 32, office.ledger.deployment.block)
    with pytest.raises(InsufficientFundsError):
        await jobs.fund(office.buyer, replace(office.terms, amount=10_001))
    with pytest.raises(LimitError, match="registry"):  # the deployment's own knows no stub
        await deployed.fund(office.buyer, office.terms)
    assert await deployed.min_seconds() == 60
    with pytest.raises(AlreadyDoneError):
        await jobs.withdraw(office.worker, office.terms.token, WORKER.address)
    assert await jobs.owed(office.terms.token, WORKER.address) == 0


FIELDS = Job.__slots__
