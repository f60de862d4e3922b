"""Where a validator's questions go out: so many at a time, for so much money in an epoch, to whoever is there now.

Knows who is registered and what was spent; not when to ask, nor what an answer is worth.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tercet.market import CREDIT, Amount, Price, Task, Verdict
from tercet.nodes.book import Book
from tercet.nodes.buyer import offer_price
from tercet.nodes.directory import MinerEntry
from tercet.nodes.examiner import Question
from tercet.nodes.response import Response
from tercet.nodes.scores import Finding

__all__ = ["Asking", "Desk", "Errands", "Listing", "Policy", "Tenant"]

log = logging.getLogger(__name__)

Tenant = tuple[int, int]
"""(uid, generation): one miner in one slot."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a validator measures. Validators of one market do best with the same capacity."""

    challenges_per_miner: int = 4
    """Questions to each miner in one epoch; at as many moments, each for all miners at once."""
    budget: int = 1_000_000
    """Credit units for questions in one epoch, shared evenly by the miners."""
    capacity: float = 1.0
    """Miners' worth of perfect work that the market asks for; what is missing is a vote for unspent."""
    concurrency: int = 64
    """Questions in flight. With more miners than that not all are asked in the same moment."""
    answer_seconds: float = 30.0
    """How long a miner has for an answer."""
    judge_seconds: float = 60.0
    """How long the mechanism has for a verdict; longer is our fault, not the miner's."""
    poll_seconds: float = 1.0
    """How often the chain is looked at."""
    margin_seconds: float = 0.0
    """The commit leaves between this and half of it before the phase ends; 0 means a quarter of it, 60 at most."""


class Asking(Protocol):
    """Whoever asks and judges: `nodes.examiner.Examiner`."""

    async def draw(self, miner: MinerEntry, price: Price) -> Question:
        """A question nobody could have prepared."""

    def pose(self, miner: MinerEntry, price: Price, task: Task) -> Question:
        """A given task as a question."""

    async def meet(self, miner: MinerEntry) -> None:
        """Have all in place to ask at once: a channel. Never fails: asking tells what is wrong."""

    async def ask(self, question: Question, seconds: float | None = None) -> Response | None:
        """What came of it, within `seconds` or as long as an answer may take; None when the fault is ours."""

    async def judge(self, miner: MinerEntry, response: Response) -> Finding | None:
        """What it is worth; None when the fault is ours."""

    def find(self, tenant: Tenant, response: Response, verdict: Verdict) -> Finding:
        """A verdict as a finding, with what auditors need."""


class Listing(Protocol):
    """Who is registered: `nodes.directory.Directory`."""

    def miners(self) -> Sequence[MinerEntry]:
        """Those registered at the last look."""


class Errands:
    """Work in the background that ends with its owner."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def send(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start it."""
        errand = asyncio.create_task(work)
        self._running.add(errand)
        errand.add_done_callback(self._running.discard)
        return errand

    async def done(self) -> None:
        """Wait until nothing runs."""
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)

    async def close(self) -> None:
        """Cancel what runs."""
        for errand in self._running:
            errand.cancel()
        await self.done()


class Desk:
    """Asks miners within an epoch's budget."""

    def __init__(self, policy: Policy, listing: Listing, asking: Asking, book: Book) -> None:
        self.policy, self.asking, self.book = policy, asking, book
        self._listing = listing
        self._turns = asyncio.Semaphore(policy.concurrency)

    def tenants(self) -> Mapping[Tenant, MinerEntry]:
        """Who is registered, in the listing's newest word."""
        return {(miner.uid, miner.generation): miner for miner in self._listing.miners()}

    async def meet(self, miners: Iterable[MinerEntry]) -> None:
        """Open the channels that are missing, so that nothing keeps a burst from going out in one moment.

        It waits for the chain and never for a miner; for as long as an answer may take, at most.
        """
        allowed = [miner for miner in miners if offer_price(miner) is not None]
        try:
            async with asyncio.timeout(self.policy.answer_seconds):
                await asyncio.gather(*(self.asking.meet(miner) for miner in allowed))
        except TimeoutError:
            log.warning("channels.late seconds=%g", self.policy.answer_seconds)

    async def ask(
        self,
        miner: MinerEntry,
        questions: int,
        target: Callable[[], int],
        pose: Callable[[MinerEntry, Price], Awaitable[Question]],
        task: Task | None = None,
        until: float | None = None,
    ) -> Response | None:
        """Ask one question when it is its turn; None when it cannot be asked, and the fault is ours.

        Args:
            miner: as it was when this was planned.
            questions: to each miner in an epoch: its budget is shared evenly.
            target: whose budget pays, once it is its turn.
            pose: makes the question, at the price that is offered then.
            task: what stands in the response of a miner that cannot be asked.
            until: loop time by which the answer must be in, if that is sooner than it usually must.

        """
        async with self._turns:
            # A queue may be longer than an epoch's end is away: what counts is who the miner is, and what it is
            # paid, when it is asked.
            tenants = self.tenants()
            miner = tenants.get((miner.uid, miner.generation), miner)
            price, allowance = offer_price(miner), self.policy.budget // max(1, questions * len(tenants))
            if price is None:
                why = "nobody answers at its endpoint: /tercet/v1/info is silent"
                return Response.failed("missed", task or {}, miner.uid, why)
            question = await pose(miner, price)
            if question.cost > allowance:
                cost, most = Amount(question.cost, CREDIT), Amount(allowance, CREDIT)
                why = f"asks up to {cost}, a validator may spend {most} on a question"
                return Response.failed("missed", task or {}, miner.uid, why)
            epoch = target()
            if self.book.spent(epoch) + question.cost > self.policy.budget:
                log.warning("budget.spent epoch=%d units=%d", epoch, self.policy.budget)
                return None
            seconds = self.policy.answer_seconds
            if until is not None:
                seconds = min(seconds, until - asyncio.get_running_loop().time())
            if seconds <= 0:
                log.warning("question.late epoch=%d uid=%d", epoch, miner.uid)
                return None
            self.book.spend(epoch, question.cost)
            response = await self.asking.ask(question, seconds)
            self.book.spend(epoch, (response.charged if response else 0) - question.cost)
            return response
