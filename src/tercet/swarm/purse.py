"""A purse that pays on a chain: credit from a wallet of the person's, to addresses, within what the run may spend.

Whether a payment was made is a fact of the chain, under the key that the guard wrote down before: the token takes an
authorization's nonce once (EIP-3009), a held job has one id. So a kill between sending and writing down pays nothing twice.
The wallet's key is in this process alone: no agent, tool or sandbox has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from typing import Any, TypeVar

from tercet.chain import Deployment, Key
from tercet.chain.keys import checksum_address, keccak, parse_address
from tercet.client import Client, connect
from tercet.errors import AttemptError, ChainError, InvalidKeyError, RefusedError, RevertedError, UsageError
from tercet.market import CREDIT, Amount, Job, JobState
from tercet.swarm.guard import Reach
from tercet.swarm.journal import Journal
from tercet.swarm.tools import Bought, Desires, Purse

__all__ = ["ChainPurse", "open_purse"]

log = logging.getLogger(__name__)
T = TypeVar("T")

_TRIES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between tries while the chain does not answer."""
_DELIVER, _REVIEW, _DISPUTE = 7 * 86_400, 2 * 86_400, 2 * 86_400
"""Seconds of a held job, as `tercet job fund` has them."""


@contextlib.asynccontextmanager
async def open_purse(url: str, deployment: Deployment, key: Key, limit: int, journal: Journal) -> AsyncIterator[Purse]:
    """The purse of a run; see `ChainPurse`.

    Raises:
        ChainUnreachableError: no chain there.
        DeploymentError: not the contracts.

    """
    async with connect(url, deployment) as client:
        yield ChainPurse(client, key, limit, journal)


class ChainPurse:
    """Implements `Purse`."""

    def __init__(self, client: Client, key: Key, limit: int, journal: Journal) -> None:
        """`limit`: credit units that the run may pay in all, across agents and resumes."""
        self._client, self._limit, self._journal = client, limit, journal
        self._sender = client.sender(key)
        self._order = asyncio.Lock()

    async def pay(self, agent: str, to: str, amount: int, key: str) -> str:  # noqa: ARG002 - the protocol's
        """Pay exactly this; hash of the transaction."""
        receiver, credit = _address(to), self._client.ledger.credit

        async def do() -> str:
            made = await credit.pay_once(
                self._sender, receiver, amount, bytes.fromhex(key), self._client.ledger.deployment.block
            )
            return f"0x{made.hex()}"

        async with self._order:
            self._validate_limit(amount, key)
            return await self._surely(do, key, f"{Amount(amount, CREDIT)} reached {receiver} (nonce 0x{key})")

    async def buy(self, agent: str, wanted: Desires, most: int, key: str) -> Bought:
        """Hold a job (`tercet job`) at this price: `wanted` has `worker`, `work` and `market`, whose validators judge."""
        if unknown := sorted(set(wanted) - {"worker", "work", "market"}):
            raise RefusedError(f"A job has worker, work and market, and no {unknown[0]!r}. Nothing was bought.")
        worker, work = _address(str(wanted.get("worker", ""))), str(wanted.get("work", ""))
        async with self._order:
            self._validate_limit(most, key)
            job = await self._agreed(lambda: self._terms(agent, worker, work, str(wanted.get("market", "")), most, key))

            async def do() -> str:
                return f"0x{(await self._hold(job)).hex()}"

            name = await self._surely(do, key, f"the job of salt 0x{key} is held")
            return Bought(name, most, f"Job {name} is held for {worker} until {job.deliver_by}. Its work: {work[:500]}")

    async def find(self, key: str) -> str | None:
        """Transaction or job of this key, if there is one."""
        job = self._written(key)

        async def do() -> str | None:
            ledger = self._client.ledger
            if job is None:
                made = await ledger.credit.find_payment(
                    self._sender.address, bytes.fromhex(key), ledger.deployment.block
                )
                return None if made is None else f"0x{made.hex()}"
            name = await ledger.jobs.id_of(job)
            return None if (await ledger.jobs.record(name)).state is JobState.UNKNOWN else f"0x{name.hex()}"

        return await self._surely(do, key, f"what 0x{key} pays for was paid")

    async def _hold(self, job: Job) -> bytes:
        jobs = self._client.ledger.jobs
        name = await jobs.id_of(job)
        if (await jobs.record(name)).state is JobState.UNKNOWN:
            await self._client.ledger.credit.ensure_allowance(self._sender, jobs.address, job.amount)
            try:
                await jobs.fund(self._sender, job)
            except RevertedError:  # what was sent before a kill was mined in between
                if (await jobs.record(name)).state is JobState.UNKNOWN:
                    raise
        return name

    async def _agreed(self, terms: Callable[[], Awaitable[Job]]) -> Job:
        """While the chain is away nothing is held, so in the end nothing is bought."""
        for pause in (*_TRIES, None):
            try:
                return await terms()
            except ChainError as error:
                if pause is None:
                    raise RefusedError(f"Nothing was bought: {error}") from error
                await asyncio.sleep(pause)
        raise AssertionError

    async def _terms(self, agent: str, worker: str, work: str, market: str, most: int, key: str) -> Job:
        """The job's terms: written down before it is held, for its id has the time in it."""
        if (written := self._written(key)) is not None:
            return written
        client = self._client
        try:
            judge = (await client.find_market(market)).market
        except UsageError as error:
            raise RefusedError(f"Nothing was bought: {error}") from error
        by = (await client.ledger.rpc.head()).timestamp + _DELIVER
        job = Job(
            self._sender.address, worker, judge, client.ledger.credit.address, most, keccak(work.encode()), by, _REVIEW,
            _DISPUTE, bytes.fromhex(key),
        )  # fmt: skip
        terms: dict[str, Any] = {**asdict(job), "work_hash": job.work_hash.hex(), "salt": key}
        await self._journal.append("purse.job", {"key": key, "terms": terms, "work": work[:4000]}, actor=agent)
        return job

    def _written(self, key: str) -> Job | None:
        for event in self._journal.events(kinds=("purse.job",)):
            if event.body["key"] == key:
                raw = event.body["terms"]
                return Job(**{**raw, "work_hash": bytes.fromhex(raw["work_hash"]), "salt": bytes.fromhex(raw["salt"])})
        return None

    async def _surely(self, do: Callable[[], Awaitable[T]], key: str, what: str) -> T:
        """Do it, again and again while the chain is away: it is one payment however often it is tried."""
        sent = self._passes(key) > 1  # before a kill, perhaps
        for pause in (*_TRIES, None):
            try:
                return await do()
            except ChainError as error:
                if isinstance(error, RevertedError) and not sent:
                    raise RefusedError(f"Nothing was paid: {error}") from error
                if isinstance(error, RevertedError) or pause is None:
                    raise AttemptError(
                        f"Nobody knows whether {what}: {error} Look before you have it paid anew.", final=True
                    ) from error
                sent = True
                log.warning("purse.again why=%r", str(error))
                await asyncio.sleep(pause)
        raise AssertionError

    def _passes(self, key: str) -> int:
        """How often the guard let this very act pass: once, and once more for each resume."""
        return sum(event.body["digest"] == key for event in self._journal.events(kinds=("guard.passed",)))

    def _validate_limit(self, amount: int, key: str) -> None:
        """What the run has paid, or may have, and this: not more than its person put into the purse."""
        promised: dict[str, int] = {}
        first = True  # of what waits beside this one, the earlier goes first
        for event in self._journal.events(kinds=("guard.passed", "tool")):
            digest = str(event.body.get("digest"))
            if event.kind == "tool" and "charged" in event.body:
                promised[digest] = int(event.body["charged"])
            elif event.kind == "guard.passed" and event.body["action"] == Reach.MONEY:
                first = first and digest != key
                if first:
                    promised.setdefault(digest, int(event.body["amount"]))
        promised.pop(key, None)
        left = self._limit - sum(promised.values())
        if amount > left:
            raise RefusedError(
                f"Nothing was paid: {Amount(amount, CREDIT)} is more than the {Amount(max(0, left), CREDIT)} left of the"
                f" {Amount(self._limit, CREDIT)} in this run's purse."
            )


def _address(text: str) -> str:
    try:
        return checksum_address(parse_address(text))
    except InvalidKeyError as error:
        raise RefusedError(f"Nothing was paid: {error}") from error
