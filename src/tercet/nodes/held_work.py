"""Work under a held job, at the miner: see that the price is there, work, deliver on chain, then hand the work over.

The task comes like any other and names its job. The chain is asked before anything is done; what was done is on disk
before anybody hears of it, and on chain before the buyer has it. Whatever dies in between, the buyer asks again and gets
the same. A miner that finds nothing gives the price back at once.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from tercet.chain.files import write_atomic
from tercet.chain.jobs import HeldJob
from tercet.chain.keys import keccak
from tercet.chain.ledger import Ledger
from tercet.chain.sender import Sender
from tercet.errors import ChainError, RefusalError, SubnetError, UnreachableError
from tercet.market import JobState, Price, Task
from tercet.nodes.paid_work import Answering
from tercet.subnets import Commission, Commissioned, Mechanism, Piece, Waged

__all__ = ["HeldWork"]

log = logging.getLogger(__name__)

LEAST_SECONDS = 30
"""Left until the delivery is due; work is not begun later."""
_AT_ONCE = 2
"""Jobs worked on at the same time."""


class HeldWork:
    """The jobs of one miner."""

    def __init__(self, ledger: Ledger, sender: Sender, market: str, mechanism: Mechanism, folder: Path) -> None:
        """`folder` keeps the answers; made when the first comes."""
        self._ledger, self._sender, self._market = ledger, sender, market
        self._mechanism, self._folder = mechanism, folder
        self._running: dict[bytes, asyncio.Task[list[Piece]]] = {}

    async def take(self, task: Task, price: Price) -> Answering:
        """How to answer `task`: as the mechanism does, or under its job, which is looked up first.

        Args:
            task: passed the mechanism's `limit`.
            price: that this buyer pays; a job of less than its part for a request is not worth it.

        Raises:
            RefusalError: `bad_task` when no job on chain pays this miner for this work, `busy` when the chain does not
                answer or the hands are full.

        """
        mechanism = self._mechanism
        commission = mechanism.commission(task) if isinstance(mechanism, Commissioned) else None
        if commission is None:
            return (
                functools.partial(mechanism.answer_for, price=price)
                if isinstance(mechanism, Waged)
                else mechanism.answer
            )
        try:
            held, state = await self._look_up(commission, price.per_request)
        except (ChainError, UnreachableError) as error:
            log.warning("job.unread why=%r", str(error))
            raise RefusalError("busy", retry_after=5) from error
        done = self._load(held.id)
        if state is not JobState.FUNDED and done is None:
            raise RefusalError("bad_task")
        if done is None and held.id not in self._running and len(self._running) >= _AT_ONCE:
            raise RefusalError("busy", retry_after=30)
        return functools.partial(self._answer, held)

    async def close(self) -> None:
        """Stop; what is unfinished is begun anew when the buyer asks again."""
        running = list(self._running.values())
        for work in running:
            work.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _look_up(self, commission: Commission, least: int) -> tuple[HeldJob, JobState]:
        """The job, if it pays us for this work and there is time."""
        jobs, ledger = self._ledger.jobs, self._ledger
        record = await jobs.record(commission.job)
        if record.state not in {JobState.FUNDED, JobState.DELIVERED}:
            raise RefusalError("bad_task")
        held = await jobs.find(commission.job, ledger.deployment.block)
        terms = held.terms
        ours = terms.worker == self._sender.address and terms.market == self._market
        paid = terms.token == ledger.deployment.credit and terms.amount >= least
        if not (ours and paid and terms.work_hash == keccak(commission.work)):
            log.info("job.refused job=0x%s ours=%s paid=%s", commission.job.hex(), ours, paid)
            raise RefusalError("bad_task")
        late = record.deadline - (await ledger.rpc.head()).timestamp < LEAST_SECONDS
        if late and record.state is JobState.FUNDED and self._load(held.id) is None:
            raise RefusalError("bad_task")
        return held, record.state

    async def _answer(self, held: HeldJob, task: Task) -> AsyncIterator[Piece]:
        """The answer; one piece of work for all who ask for it, and it goes on when they leave."""
        work = self._running.get(held.id)
        if work is None:
            work = self._running[held.id] = asyncio.create_task(self._work(held, task))
            work.add_done_callback(functools.partial(self._forget, held.id))
        for piece in await asyncio.shield(work):
            yield piece

    def _forget(self, job: bytes, work: asyncio.Task[list[Piece]]) -> None:
        self._running.pop(job, None)
        if not work.cancelled() and work.exception() is not None:
            log.warning("job.failed job=0x%s why=%r", job.hex(), str(work.exception()))

    async def _work(self, held: HeldJob, task: Task) -> list[Piece]:
        pieces = self._load(held.id)
        if pieces is None:
            log.info("job.began job=0x%s units=%d", held.id.hex(), held.terms.amount)
            pieces = [piece async for piece in self._mechanism.answer(task)]
            self._save(held.id, pieces)
        await self._settle(held, pieces)
        return pieces

    async def _settle(self, held: HeldJob, pieces: Sequence[Piece]) -> None:
        """Deliver, or give the price back; either only once, whatever was sent before a death."""
        assert isinstance(self._mechanism, Commissioned)
        jobs, result = self._ledger.jobs, self._mechanism.delivery(pieces)
        try:
            if (await jobs.record(held.id)).state is not JobState.FUNDED:
                return
            if result is None:
                await jobs.refund(self._sender, held.terms)
                log.info("job.returned job=0x%s", held.id.hex())
                return
            await jobs.deliver(self._sender, held.terms, keccak(result))
        except (ChainError, UnreachableError) as error:
            raise SubnetError(f"The job 0x{held.id.hex()} could not be delivered: {error}") from error
        log.info("job.delivered job=0x%s bytes=%d", held.id.hex(), len(result))

    def _path(self, job: bytes) -> Path:
        return self._folder / f"{job.hex()}.json"

    def _load(self, job: bytes) -> list[Piece] | None:
        try:
            found: Any = json.loads(self._path(job).read_text())
        except (OSError, ValueError):
            return None
        return list(found) if isinstance(found, list) else None

    def _save(self, job: bytes, pieces: Sequence[Piece]) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_atomic(self._path(job), json.dumps(list(pieces)).encode(), mode=0o600)
