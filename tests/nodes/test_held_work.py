"""Work under held jobs: looked up before, on disk and on chain before it is handed over."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tercet.chain import Key, Sender
from tercet.chain.keys import keccak
from tercet.errors import MinerRefused
from tercet.market import Cause, Job, JobState, Task, Usage
from tercet.nodes.buyer import Buyer
from tercet.nodes.directory import MinerEntry
from tercet.nodes.held_work import HeldWork
from tercet.subnets import Commission, Piece
from tercet.subnets.echo import Echo

from .stage import PRICE, Stage, until


class Commissions(Echo):
    """Echoes, under a job when the task names one; finds nothing to say to "hard"."""

    def __init__(self) -> None:
        super().__init__()
        self.worked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def commission(self, task: Task) -> Commission | None:
        job = task.get("job")
        return None if job is None else Commission(bytes.fromhex(job[2:]), task["text"].encode())

    def delivery(self, pieces: Sequence[Piece]) -> bytes | None:
        text = "".join(piece["text"] for piece in pieces)
        return None if text == "hard" else text.encode()

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        self.worked += 1
        await self.gate.wait()
        async for piece in super().answer(task):
            yield piece


@dataclass(slots=True)
class Deal:
    """A buyer, a miner, and the job between them."""

    stage: Stage
    buyer: Sender
    worker: str

    async def fund(self, text: str = "a song", **changes: Any) -> tuple[str, Job]:
        """A job for `text`; its id."""
        ledger = self.stage.ledger
        now = (await ledger.rpc.head()).timestamp
        terms: dict[str, Any] = {
            "buyer": self.buyer.address,
            "worker": self.worker,
            "market": self.stage.town.market,
            "token": ledger.credit.address,
            "amount": 1_000_000,
            "work_hash": keccak(text.encode()),
            "deliver_by": now + 600,
            "review_seconds": 60,
            "dispute_seconds": 60,
            "salt": os.urandom(32),
        }
        job = Job(**(terms | changes))
        await ledger.credit.ensure_allowance(self.buyer, ledger.jobs.address, job.amount)
        return "0x" + (await ledger.jobs.fund(self.buyer, job)).hex(), job

    async def state(self, job: str) -> JobState:
        return (await self.stage.ledger.jobs.record(bytes.fromhex(job[2:]))).state


async def ask(buyer: Buyer, miner: MinerEntry, job: str, text: str = "a song") -> str:
    async with buyer.ask(miner, {"text": text, "job": job}, Usage(99, 99), deadline_seconds=20) as exchange:
        return "".join([piece["text"] async for piece in exchange])


@pytest.fixture
async def deal(stage: Stage) -> AsyncIterator[tuple[Deal, Commissions, Buyer, MinerEntry]]:
    mechanism, key = Commissions(), await stage.key()
    patron = await stage.key(credit=10**9)
    async with stage.miner(stage.config(key, mechanism=mechanism)) as (_, entry), stage.buyer() as buyer:
        yield Deal(stage, Sender(stage.ledger.rpc, patron), key.address), mechanism, buyer, entry


async def test_work_is_delivered_on_chain_and_the_same_when_asked_again(deal: Any) -> None:
    terms, mechanism, buyer, miner = deal
    job, _ = await terms.fund()
    assert await ask(buyer, miner, job) == "a song"
    record = await terms.stage.ledger.jobs.record(bytes.fromhex(job[2:]))
    assert (record.state, record.result_hash) == (JobState.DELIVERED, keccak(b"a song"))
    assert await ask(buyer, miner, job) == "a song"
    assert mechanism.worked == 1


async def test_nothing_found_gives_the_price_back(deal: Any) -> None:
    terms, _, buyer, miner = deal
    job, _ = await terms.fund("hard")
    assert await ask(buyer, miner, job, "hard") == "hard"
    found = await terms.stage.ledger.jobs.find(bytes.fromhex(job[2:]), 0)
    assert found.end is not None
    assert found.end.cause is Cause.REFUNDED


@pytest.mark.parametrize("fault", ["unfunded", "other work", "another's", "too small", "late", "ended"])
async def test_work_that_no_job_pays_for_is_refused_before_it_begins(deal: Any, fault: str) -> None:
    terms, mechanism, buyer, miner = deal
    now = (await terms.stage.ledger.rpc.head()).timestamp
    changes: dict[str, dict[str, Any]] = {
        "another's": {"worker": Key.generate().address},
        "too small": {"amount": 10},
        "late": {"deliver_by": now + 20},
    }
    job, held = await terms.fund(**changes.get(fault, {}))
    if fault == "unfunded":
        job = "0x" + "ab" * 32
    if fault == "ended":
        await terms.stage.ledger.jobs.release(terms.buyer, held, held.amount)
    with pytest.raises(MinerRefused) as refused:
        await ask(buyer, miner, job, "another song" if fault == "other work" else "a song")
    assert refused.value.code == "bad_task"
    assert mechanism.worked == 0
    assert await ask(buyer, miner, (await terms.fund())[0]) == "a song", "nothing is locked"


async def test_a_buyer_that_leaves_finds_the_work_done(deal: Any) -> None:
    terms, mechanism, buyer, miner = deal
    job, _ = await terms.fund()
    mechanism.gate.clear()
    asking = asyncio.create_task(ask(buyer, miner, job))
    await until(lambda: mechanism.worked)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    mechanism.gate.set()

    async def delivered() -> bool:
        return bool(await terms.state(job) is JobState.DELIVERED)

    await until(delivered)
    assert await ask(buyer, miner, job) == "a song"
    assert mechanism.worked == 1


async def test_a_miner_that_died_before_its_delivery_makes_up_for_it(stage: Stage) -> None:
    """What it found is on disk; the next one of the same state delivers that, and does not work again."""
    key, patron = await stage.key(), await stage.key(credit=10**9)
    terms = Deal(stage, Sender(stage.ledger.rpc, patron), key.address)
    job, _ = await terms.fund()
    config = stage.config(key, mechanism=Commissions())
    dead = HeldWork(stage.ledger, terms.buyer, stage.town.market, config.mechanism, config.state / "jobs")
    dead._save(bytes.fromhex(job[2:]), [{"text": "found before", "usage": {"prompt": 1, "completion": 1}}])
    async with stage.miner(config) as (_, entry), stage.buyer() as buyer:
        assert entry.price == PRICE
        assert await ask(buyer, entry, job) == "found before"
    assert isinstance(config.mechanism, Commissions)
    assert config.mechanism.worked == 0
    assert await terms.state(job) is JobState.DELIVERED
