"""The desk: every thought of a run passes here, is queued, held, paid and written down.

One per run. It knows no engine and no model: agents bring a `Call`, an `Upstream` answers it. A call reserves the most
that it can cost before it is sent and settles what it did cost; a receipt (`call`) stands in the journal before the
agent sees the answer. A call that a model works on is brought to its end even when its agent is killed meanwhile, so
that what was paid is written down. Where its answer does not come its seller is asked what it cost; where that cannot
say, all that was reserved is booked as `unknown` until somebody can.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Self

from tercet.errors import OutOfBudgetError, RefusedError, TercetError, ThinkingError
from tercet.swarm.gateway.amounts import Spent
from tercet.swarm.gateway.answers import ANY_VERSION, LOST_KINDS, Answers, Refusals, lost_calls, step_key
from tercet.swarm.gateway.budgets import BUDGET_KINDS, Budgets, Reservation
from tercet.swarm.gateway.call import Call, Completion, Cost, Reply, Upstream
from tercet.swarm.gateway.flights import Flight, Flights
from tercet.swarm.gateway.gates import Bell, Gates
from tercet.swarm.gateway.pricing import cost_of_answer, cost_of_failure, most_charged, most_used
from tercet.swarm.gateway.receipts import FREE, Receipt, Status, at_most, closing
from tercet.swarm.gateway.unsettled import Unsettled
from tercet.swarm.journal import Journal
from tercet.turns import FairQueue

__all__ = ["Desk"]

log = logging.getLogger(__name__)

_LONGEST_LINE = 100_000
_LEAST_SECONDS = 0.001


class Desk:
    """The one way of a run's agents to models. Use it as `async with`."""

    def __init__(
        self, journal: Journal, upstream: Upstream, *, slots: int = 16, call_seconds: float = 180.0, grace: float = 5.0
    ) -> None:
        """Take up where the journal ends.

        Args:
            journal: the run's.
            upstream: whoever has models; opened and closed with the desk.
            slots: calls in flight at once; more wait their turn.
            call_seconds: the longest that one may take.
            grace: seconds that `close` gives to calls in flight.

        """
        past = list(journal.events(kinds=(*BUDGET_KINDS, *LOST_KINDS)))
        self._bell = Bell()
        self.budgets = Budgets(journal.note, self._bell.ring)
        self.budgets.replay(past)
        self.upstream = upstream
        self._journal = journal
        self._gates = Gates(self._bell)
        self._queue = FairQueue(slots, _LONGEST_LINE)
        self._weights: dict[str, int] = {}
        self._answers = Answers(past)
        self._refusals = Refusals()
        self._lost = lost_calls(past)
        self._unsettled = Unsettled(journal, self.budgets, upstream, past)
        self._flights = Flights(self._gates)
        self._call_seconds = call_seconds
        self._grace = grace

    async def __aenter__(self) -> Self:
        await self.upstream.open()
        try:
            await self._unsettled.start()
            await self._settle_lost()
        except BaseException:
            await self.upstream.close()
            raise
        return self

    async def _settle_lost(self) -> None:
        """Book what the calls cost that were in flight when the process before was killed."""
        costs = await asyncio.gather(
            *(self._unsettled.find_cost(event.body["id"], event.body["upstream"]) for event in self._lost)
        )
        for event, cost in zip(self._lost, costs, strict=True):
            status: Status = "lost" if cost is not None else "unknown"
            body = {**event.body, **closing(status, cost or at_most(event.body))}
            booked = await self._journal.append("call", body, actor=event.actor, task=event.task)
            self.budgets.replay([booked])
            if status == "unknown":
                self._unsettled.keep(booked)
        self._lost = []

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End what waits, give calls in flight a moment to be written down, close the upstream."""
        self._gates.stop_all("the run's gateway is closed")
        self._unsettled.hurry = True
        await self._flights.close(self._grace)
        await self._unsettled.close()
        await self.upstream.close()

    # steering

    def hold(self, node: str) -> None:
        """Let calls of `node` and all below wait."""
        self._gates.hold(node)

    def release(self, node: str) -> None:
        """Let them go on."""
        self._gates.release(node)

    def end(self, node: str, why: str) -> None:
        """Refuse `node` and all below for good; who waits for an answer gets EndedError at once."""
        self._gates.end(node, why)

    def stop_all(self, why: str) -> None:
        """Refuse every new call from this moment."""
        self._gates.stop_all(why)

    def resume_all(self) -> None:
        """Accept calls again after `stop_all`."""
        self._gates.resume_all()

    def nice(self, node: str, weight: int) -> None:
        """Give each agent of `node` this many shares of the queue, 1 to 1000; 1 where nobody says."""
        self._weights[node] = min(max(weight, 1), 1000)

    def weight(self, node: str) -> int:
        """Its shares: its own, or those of the nearest node above that has some."""
        parts = node.split("/")
        paths = ("/".join(parts[:i]) for i in range(len(parts), 0, -1))
        return next((self._weights[path] for path in paths if path in self._weights), 1)

    def is_held(self, node: str) -> bool:
        """Whether calls of `node` wait."""
        return self._gates.is_held(node)

    def is_ended(self, node: str) -> bool:
        """Whether `node`, or one above it, was ended."""
        return self._gates.is_ended(node)

    @property
    def in_flight(self) -> int:
        """Calls that a model may be working on."""
        return self._flights.sent

    # asking

    async def ask(self, call: Call) -> Reply:
        """Answer a call, or the step from the journal.

        Raises:
            OutOfBudgetError: the node, or one above it, has too little left.
            EndedError: it was killed, or the run was stopped.
            ThinkingError: the model is down, slow or answers junk.

        """
        self._gates.validate_alive(call.agent)
        if known := self._answers.find(call):
            return known
        if refused := self._refusals.find(call, self.budgets.version):
            raise refused.with_traceback(None)
        key: object = step_key(call) if call.step else object()
        return await self._flights.join(key, call.agent, lambda flight: self._work(flight, call))

    async def _work(self, flight: Flight, call: Call) -> Reply:
        while True:
            await self._gates.passed(call.agent)
            with self._noting_refusals(flight, call):
                self._validate_hope(call)
                async with self._queue.turn(call.agent, self.weight(call.agent), None):
                    ring = self._bell.next()
                    if (reservation := self._try_reserve(call)) is not None:
                        flight.sent = True
                        return await self._send(call, reservation)
            if not self._gates.is_held(call.agent):
                await ring.wait()

    # money

    def _needs(self, call: Call) -> Spent:
        most, left = most_used(self.upstream, call), self.budgets.left(call.agent)
        credit = most_charged(self.upstream, call)
        if credit is None:  # nobody knows yet: one call at a time, with all there is behind it
            credit = max(1, self.budgets.unspent(call.agent) or 0)
        seconds = self._call_seconds if left.seconds is None else min(self._call_seconds, left.seconds)
        return Spent(credit, most.prompt + most.completion, max(seconds, _LEAST_SECONDS))

    def _validate_hope(self, call: Call) -> None:
        """Refuse at once what no call in flight can make possible."""
        try:
            self.budgets.validate_fits(call.agent, self._needs(call))
        except OutOfBudgetError as error:
            _validate_waiting(error)

    def _try_reserve(self, call: Call) -> Reservation | None:
        """None when it has to wait: it is held, or calls in flight hold what it needs."""
        self._gates.validate_alive(call.agent)
        if self._gates.is_held(call.agent):
            return None
        try:
            return self.budgets.reserve(call.agent, self._needs(call))
        except OutOfBudgetError as error:
            _validate_waiting(error)
            return None

    @contextlib.contextmanager
    def _noting_refusals(self, flight: Flight, call: Call) -> Iterator[None]:
        try:
            yield
        except OutOfBudgetError as error:
            if self._refusals.keep(call, error, self.budgets.version) and not flight.sent:
                receipt = Receipt(call, self.upstream)
                body = receipt.closed("refused", FREE, error=error)
                self._journal.note("call", body, actor=receipt.actor, task=call.task)
            raise
        except ThinkingError as error:
            if not error.again:
                self._refusals.keep(call, error, ANY_VERSION)
            raise

    # sending

    async def _send(self, call: Call, reservation: Reservation) -> Reply:
        receipt, usage = Receipt(call, self.upstream), most_used(self.upstream, call)
        most = Cost(reservation.amount.credit, usage.prompt, usage.completion)
        began = time.monotonic()
        try:
            opened = receipt.opened(most)
            await self._journal.append("call.opened", opened, actor=receipt.actor, task=call.task)
            self._gates.validate_alive(call.agent)
            completion = await self._complete(call.known_as(key=receipt.id), reservation)
        except BaseException as error:
            status, wasted = await self._aftermath(receipt, error, cost_of_failure(self.upstream, call, error), most)
            unknown = receipt.id if status == "unknown" else ""
            cost = self._settle(reservation, wasted, began, unknown)
            body = receipt.closed(status, cost, error=error)
            closed = self._journal.note("call", body, actor=receipt.actor, task=call.task)
            if unknown:
                self._unsettled.keep(closed)
            raise
        cost = self._settle(reservation, self._charged(call, completion, reservation), began)
        reply = receipt.reply(completion, cost)
        self._answers.keep(call, reply)
        body = receipt.closed("complete", cost, completion=completion)
        await self._journal.append("call", body, actor=receipt.actor, task=call.task)
        return reply

    async def _aftermath(self, receipt: Receipt, error: BaseException, wasted: Cost, most: Cost) -> tuple[Status, Cost]:
        """How a call ended without an answer, and what it cost; `most` is the most that it can have."""
        if not (isinstance(error, ThinkingError) and error.unsure):
            return _status(error), wasted
        try:
            found = await self._unsettled.find_cost(receipt.id)
        except asyncio.CancelledError:
            found = None
        return ("failed", found) if found is not None else ("unknown", most)

    async def _complete(self, call: Call, reservation: Reservation) -> Completion:
        seconds = reservation.amount.seconds
        try:
            async with asyncio.timeout(seconds):
                return await self.upstream.complete(call)
        except TimeoutError:
            raise ThinkingError(
                f"{self.upstream.name} did not answer within {seconds:g} s."
                " Ask for shorter answers, or give the run more seconds."
            ) from None

    def _charged(self, call: Call, completion: Completion, reservation: Reservation) -> Cost:
        cost, quoted = cost_of_answer(self.upstream, call, completion), reservation.amount.credit
        if cost.charged > quoted:
            log.warning("swarm.overcharged upstream=%s quoted=%d charged=%d", self.upstream.name, quoted, cost.charged)
        return cost

    def _settle(self, reservation: Reservation, cost: Cost, began: float, unknown: str = "") -> Cost:
        cost = replace(cost, seconds=round(min(time.monotonic() - began, reservation.amount.seconds), 3))
        spent = Spent(cost.charged, cost.prompt + cost.completion, cost.seconds)
        self.budgets.settle(reservation, spent, unknown=unknown)
        return cost


def _validate_waiting(error: OutOfBudgetError) -> None:
    """Raise it where waiting for what calls in flight give back would be in vain."""
    if error.needed > error.left + error.pending:
        raise error


def _status(error: BaseException) -> Status:
    if isinstance(error, RefusedError):
        return "refused"
    return "failed" if isinstance(error, TercetError) else "lost"
