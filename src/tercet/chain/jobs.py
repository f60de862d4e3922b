"""Held jobs on chain: a price put aside until the work is accepted, or judged. Amounts are base units."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any

from tercet.chain.bindings import BoundContract
from tercet.chain.keys import keccak, parse_address
from tercet.chain.logs import Event, read_events
from tercet.chain.rpc import Receipt, Rpc
from tercet.chain.sender import Sender
from tercet.errors import UnknownJobError
from tercet.market import Cause, Job, JobState, JobVerdict, Split

_DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_JOB_TYPE = keccak(
    b"Job(address buyer,address worker,address market,address token,uint128 amount,bytes32 work_hash,"
    b"uint40 deliver_by,uint40 review_seconds,uint40 dispute_seconds,bytes32 salt)"
)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Where a job stands; all zero when it was never funded."""

    state: JobState
    deadline: int
    """Unix seconds: the last one of this state."""
    verdicts: int
    """How many there are."""
    offer: int | None
    """What the buyer offers to end it at; None while it offers nothing."""
    bond: int
    """Of the dispute; 0 while there is none."""
    result_hash: bytes
    voted: int
    """Weight of all verdicts."""
    electorate: int
    """Weight of which more than half must vote."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended."""

    cause: Cause
    split: Split


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job as its events tell it."""

    id: bytes
    terms: Job
    end: JobEnd | None
    """None while it runs."""


@lru_cache(maxsize=1024)
def job_id(chain_id: int, jobs: str, job: Job) -> bytes:
    """The 32-byte identity of a job at the contract `jobs`: the EIP-712 hash of its terms."""
    parts = (keccak(b"Tercet Jobs"), keccak(b"1"), chain_id.to_bytes(32, "big"), parse_address(jobs).rjust(32, b"\0"))
    separator = keccak(_DOMAIN_TYPE + b"".join(parts))
    words = [parse_address(party).rjust(32, b"\0") for party in (job.buyer, job.worker, job.market, job.token)]
    words += [job.amount.to_bytes(32, "big"), job.work_hash]
    words += [n.to_bytes(32, "big") for n in (job.deliver_by, job.review_seconds, job.dispute_seconds)]
    return keccak(b"\x19\x01" + separator + keccak(_JOB_TYPE + b"".join([*words, job.salt])))


class JobsContract(BoundContract):
    """The held jobs at an address."""

    def __init__(self, rpc: Rpc, address: str) -> None:
        super().__init__(rpc, "Jobs", address)

    async def id_of(self, job: Job) -> bytes:
        """A job's id, computed here."""
        return job_id(await self.rpc.chain_id(), self.address, job)

    async def record(self, job: bytes) -> JobRecord:
        """Where a job stands, by its id."""
        found = await self.read("get_job", job)
        state, deadline, verdicts, offered, offer, bond, result, voted, electorate = found
        return JobRecord(
            JobState(state), deadline, verdicts, offer if offered else None, bond, result, voted, electorate
        )

    async def verdicts(self, job: bytes) -> list[JobVerdict]:
        """What validators have said of a job, in order."""
        return [JobVerdict(*row) for row in await self.read("get_verdicts", job)]

    async def min_seconds(self) -> int:
        """Shortest review and shortest dispute."""
        return int(await self.read("MIN_SECONDS"))

    async def owed(self, token: str, owner: str) -> int:
        """What a token refused to move to its owner; `withdraw` tries again."""
        return int(await self.read("owed", token, owner))

    async def jobs(self, first: int, *, only: bytes | None = None) -> list[HeldJob]:
        """All jobs that were funded from block `first` on, oldest first; or the only one of an id."""
        found: dict[bytes, HeldJob] = {}
        async for batch in read_events(self.rpc, [self], first, events=("JobFunded", "JobEnded")):
            for event in batch.events:
                name = event.fields["job"]
                if only not in (None, name):
                    continue
                if event.name == "JobFunded":
                    found[name] = HeldJob(name, Job(*event.fields["terms"]), None)
                elif name in found:
                    found[name] = HeldJob(name, found[name].terms, _build_end(event))
        return list(found.values())

    async def find(self, job: bytes, first: int) -> HeldJob:
        """The job of an id, funded at block `first` or later.

        Raises:
            UnknownJobError: there is none.
        """
        found = await self.jobs(first, only=job)
        if not found:
            raise UnknownJobError(f"No job 0x{job.hex()} is held at {self.address}. List them with: tercet job list")
        return found[0]

    async def fund(self, sender: Sender, job: Job) -> bytes:
        """Put the price aside, which the sender, its buyer, has approved; the job's id."""
        receipt = await self.write(sender, "fund", astuple(job))
        return bytes(self.find_event(receipt, "JobFunded")["job"])

    async def deliver(self, sender: Sender, job: Job, result_hash: bytes) -> int:
        """Say that the work is done; Unix seconds until which the buyer can dispute it."""
        receipt = await self.write(sender, "deliver", astuple(job), result_hash)
        return int(self.find_event(receipt, "JobDelivered")["review_until"])

    async def release(self, sender: Sender, job: Job, amount: int) -> Receipt:
        """Pay the worker everything, or offer it less."""
        return await self.write(sender, "release", astuple(job), amount)

    async def accept(self, sender: Sender, job: Job, amount: int) -> JobEnd:
        """Take the part that the buyer offers."""
        return self._ended(await self.write(sender, "accept", astuple(job), amount))

    async def claim(self, sender: Sender, job: Job) -> JobEnd:
        """Pay the worker after a silent review."""
        return self._ended(await self.write(sender, "claim", astuple(job)))

    async def refund(self, sender: Sender, job: Job) -> JobEnd:
        """Return the price to the buyer: nothing was delivered in time, or the sender is the worker and gives it back."""
        return self._ended(await self.write(sender, "refund", astuple(job)))

    async def dispute(self, sender: Sender, job: Job) -> int:
        """Ask the validators, against a bond that the sender has approved; Unix seconds until which they vote."""
        receipt = await self.write(sender, "dispute", astuple(job))
        return int(self.find_event(receipt, "JobDisputed")["vote_until"])

    async def vote(self, sender: Sender, job: Job, bps: int) -> int:
        """Give a verdict as a validator's operator; the weight that it has."""
        receipt = await self.write(sender, "vote", astuple(job), bps)
        return int(self.find_event(receipt, "VerdictGiven")["weight"])

    async def settle(self, sender: Sender, job: Job) -> JobEnd:
        """End a dispute whose time is over."""
        return self._ended(await self.write(sender, "settle", astuple(job)))

    async def withdraw(self, sender: Sender, token: str, owner: str) -> Receipt:
        """Send what a token once refused to move."""
        return await self.write(sender, "withdraw", token, owner)

    def _ended(self, receipt: Receipt) -> JobEnd:
        return _end_of(self.find_event(receipt, "JobEnded"))


def _build_end(event: Event) -> JobEnd:
    return _end_of(event.fields)


def _end_of(fields: Any) -> JobEnd:
    names = ("paid", "fee", "returned", "bond_lost", "bond_returned")
    return JobEnd(Cause(fields["cause"]), Split(*(fields[name] for name in names)))
