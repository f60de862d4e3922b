"""A validator's surroundings in memory, with a time that the test moves. What is measured here is ours, all of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tercet.market import Price, Task, Usage, Verdict
from tercet.nodes.book import Book, Pledge
from tercet.nodes.directory import MinerEntry
from tercet.nodes.epochs import Policy, Validator
from tercet.nodes.examiner import Question
from tercet.nodes.response import Response
from tercet.nodes.schedule import EpochFacts, Phase, Step
from tercet.nodes.scores import Finding
from tercet.subnets import Contest, Piece, Submission

COMMIT, REVEAL = 100.0, 40.0
POLICY = Policy(challenges_per_miner=4, budget=8_000, poll_seconds=0.001)


def miner(uid: int, generation: int = 1) -> MinerEntry:
    return MinerEntry(
        uid=uid,
        generation=generation,
        owner=f"0x{uid:040x}",
        operator=f"0x{uid:040x}",
        endpoint="http://127.0.0.1:1",
        share=1.0,
        proven=True,
        price=Price(per_request=10),
    )


def beacon_of(epoch: int) -> bytes:
    """What the salts of an epoch would have made."""
    return hashlib.sha256(b"beacon %d" % epoch).digest()


@dataclass
class FakeSeat:
    """A market of one seat in memory. The test sets `now`; closing starts the next epoch at once."""

    now: float = 0.0
    epoch: int = 0
    started_at: float = 0.0
    committed: dict[int, Pledge] = field(default_factory=dict)
    revealed: dict[int, Pledge] = field(default_factory=dict)
    closed: list[int] = field(default_factory=list)
    faults: dict[str, Exception] = field(default_factory=dict)
    """By method: raised by its next call, once."""
    market: str = "0x" + "ab" * 20

    async def beacon(self, epoch: int) -> bytes:
        """As the contract: of the newest closed epoch only."""
        return beacon_of(epoch) if 0 <= epoch == self.epoch - 1 else bytes(32)

    def _trip(self, name: str) -> None:
        if name in self.faults:
            raise self.faults.pop(name)

    async def look(self) -> EpochFacts:
        self._trip("look")
        age = self.now - self.started_at
        phase = Phase.COMMIT if age < COMMIT else Phase.REVEAL if age < COMMIT + REVEAL else Phase.OVER
        return EpochFacts(
            self.epoch,
            phase,
            self.now,
            self.started_at,
            self.started_at + COMMIT,
            self.started_at + COMMIT + REVEAL,
            self.epoch in self.committed,
            self.epoch in self.revealed,
        )

    async def commit(self, pledge: Pledge) -> None:
        self._trip("commit")
        self.committed[self.epoch] = pledge

    async def reveal(self, pledge: Pledge) -> None:
        self._trip("reveal")
        assert pledge == self.committed[self.epoch]
        self.revealed[self.epoch] = pledge

    async def close_epoch(self) -> None:
        self._trip("close")
        self.closed.append(self.epoch)
        self.epoch, self.started_at = self.epoch + 1, self.now


@dataclass
class FakeListing:
    entries: list[MinerEntry]

    def miners(self) -> Sequence[MinerEntry]:
        return self.entries


@dataclass
class FakeAsking:
    """Answers at once what `verdict` says of a miner; None is our own fault."""

    verdict: Callable[[int], Verdict | None] = lambda uid: Verdict(1.0, "")
    answer: Callable[[int, Task], Sequence[Piece] | str] = lambda uid, task: [{}]
    """Pieces, or why there are none."""
    asked: list[int] = field(default_factory=list)
    met: list[int] = field(default_factory=list)
    bursts: list[list[int]] = field(default_factory=list)
    """Who was in flight together."""
    in_flight: list[int] = field(default_factory=list)

    async def draw(self, entry: MinerEntry, price: Price) -> Question:
        return self.pose(entry, price, {"text": "?"})

    def pose(self, entry: MinerEntry, price: Price, task: Task) -> Question:
        return Question(entry, task, Usage(1, 1), price, price.charge(Usage(1, 1)))

    async def meet(self, entry: MinerEntry) -> None:
        self.met.append(entry.uid)

    async def ask(self, question: Question, seconds: float | None = None) -> Response | None:
        uid = question.miner.uid
        self.asked.append(uid)
        self.in_flight.append(uid)
        await asyncio.sleep(0)
        if self.in_flight:
            self.bursts.append(sorted(self.in_flight))
            self.in_flight.clear()
        if self.verdict(uid) is None:
            return None
        pieces = self.answer(uid, question.task)
        if isinstance(pieces, str):
            return Response.failed("missed", question.task, uid, pieces)
        return Response("judged", question.task, Submission(uid, pieces, 0.1, 0.2, b"signed"), charged=7)

    async def judge(self, entry: MinerEntry, response: Response) -> Finding | None:
        verdict = self.verdict(entry.uid) if response.kind == "judged" else Verdict(0.0, response.submission.failure)
        return None if verdict is None else self.find((entry.uid, entry.generation), response, verdict)

    def find(self, tenant: tuple[int, int], response: Response, verdict: Verdict) -> Finding:
        return Finding(0, *tenant, response.kind, verdict, response.charged)


@dataclass
class World:
    folder: Path
    seat: FakeSeat = field(default_factory=FakeSeat)
    listing: FakeListing = field(default_factory=lambda: FakeListing([miner(1), miner(2)]))
    asking: FakeAsking = field(default_factory=FakeAsking)
    policy: Policy = POLICY
    contest: Contest | None = None

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A fresh process over the same folder."""
        self.book = Book(self.folder, "here")
        self.validator = Validator(self.policy, self.seat, self.listing, self.asking, self.book, contest=self.contest)

    def kill(self) -> None:
        self.book.close()

    async def until(self, now: float) -> list[Step]:
        """Turn every second until the chain's time is `now`."""
        steps = []
        while self.seat.now < now:
            self.seat.now += 1
            steps.append(await self.validator.turn())
            await self.validator.quiet()
        return steps
