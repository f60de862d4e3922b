"""One call from reservation to receipt: rank the miners, buy from the best that answers, settle, whatever happens.

Knows nothing of HTTP or of OpenAI's shapes; money only moves in `Budgets`. The rules:

- Nothing is sent before the key's budget holds what the call can cost at most with that miner. Where the budget holds
  less than the whole, the answer is asked for as long as the rest pays for, and the receipt says `budget`.
- Another miner is tried while nothing has reached the client. After that a failure ends the call: a second miner's
  answer is never glued to the first one's.
- Only a whole, verified answer is charged in full. A client that hangs up pays for what had come by then; a call whose
  miner failed pays nothing.
- The receipt is written before the caller learns that the call is over.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from tercet.errors import (
    BudgetError,
    BudgetSpentError,
    BusyError,
    CallError,
    ChainError,
    MinerError,
    MinerRefused,
    MinerUnreachable,
    NoMinerError,
)
from tercet.market import Price, Receipt, Task, Taste, Usage
from tercet.nodes.budgets import ApiKey, Budgets, budget_spent
from tercet.nodes.directory import MinerEntry
from tercet.nodes.gateway_market import Buying, Exchange, Listing
from tercet.nodes.gateway_metrics import Metrics
from tercet.nodes.gateway_miners import MinerNotes
from tercet.subnets import Piece
from tercet.turns import FairQueue

__all__ = ["Desk", "Order", "Terms"]

log = logging.getLogger(__name__)

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Terms:
    """How a gateway buys."""

    deadline_seconds: float = 120.0
    """For a whole call: waiting for a turn, every attempt, the answer."""
    stall_seconds: float = 30.0
    """The longest silence of a miner, before its first piece and between two."""
    attempts: int = 3
    """Miners tried for one call."""
    least_tokens: int = 16
    """An answer is not cut below this many tokens for want of budget; the call is refused instead."""
    taste: Taste = Taste()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class Order(Generic[P, R]):
    """What to buy, and how to read what comes."""

    id: str
    key: ApiKey
    kind: str
    model: str
    time_ms: int
    task: Task
    limit: Usage
    """The most that `task` can consume."""
    read: Callable[[Piece], P]
    """Reads one piece; raises `MinerMisbehaved`."""
    build: Callable[[Sequence[P]], R]
    """Reads the whole answer; raises `MinerMisbehaved`."""
    shorten: Callable[[int], Task] | None = None
    """The same task for fewer completion tokens; None where an answer has no length."""


@dataclass(frozen=True, slots=True)
class _Deal:
    """A miner, and what it is asked for at which price."""

    miner: MinerEntry
    price: Price
    task: Task
    limit: Usage
    cut: bool
    """Whether the task was shortened to what the budget holds."""

    @property
    def reserve(self) -> int:
        return self.price.charge(self.limit)


class Desk:
    """Serves calls, many at once."""

    def __init__(
        self,
        listing: Listing,
        buying: Buying,
        budgets: Budgets,
        metrics: Metrics,
        queue: FairQueue,
        *,
        terms: Terms | None = None,
        dice: random.Random | None = None,
    ) -> None:
        self.listing = listing
        self.buying = buying
        self.budgets = budgets
        self.metrics = metrics
        self.queue = queue
        self.terms = terms or Terms()
        self.dice = dice or random.Random()
        self.notes = MinerNotes()
        self.stopping = False

    async def buy(self, order: Order[P, R]) -> tuple[R, Receipt]:
        """The whole answer, read, with its receipt.

        Raises:
            BudgetSpentError, UnknownKeyError: the key cannot pay.
            NoMinerError, BusyError: nobody answered in time.

        """
        return await self._serve(_Call(self, order, None))

    async def relay(self, order: Order[P, R], send: Callable[[P, MinerEntry], Awaitable[None]]) -> tuple[R, Receipt]:
        """The same, with each piece passed to `send` as it comes, before the answer as a whole is verified."""
        return await self._serve(_Call(self, order, send))

    async def _serve(self, call: _Call[P, R]) -> tuple[R, Receipt]:
        if self.stopping:
            raise BusyError("The gateway is shutting down. Ask another one.")
        with self.metrics.call(call.order.kind) as note:
            try:
                result, receipt = await call.run()
            finally:
                note(call.receipt)
            return result, receipt


class _Call(Generic[P, R]):
    """One call while it lasts."""

    def __init__(self, desk: Desk, order: Order[P, R], send: Callable[[P, MinerEntry], Awaitable[None]] | None) -> None:
        self.desk = desk
        self.order = order
        self.receipt = Receipt(order.id, order.key.id, order.kind, order.model, "failed", order.time_ms)
        self._send = send
        self._begun = time.monotonic()
        self._tried: set[int] = set()
        self._failures: list[MinerError] = []
        self._came: list[Piece] = []
        self._deal: _Deal | None = None

    @property
    def _left(self) -> float:
        """Seconds until the deadline."""
        return self._begun + self.desk.terms.deadline_seconds - time.monotonic()

    async def run(self) -> tuple[R, Receipt]:
        """Buy; end with exactly one receipt, also when cancelled."""
        key = self.order.key
        try:
            self._pick()  # a key without money, or a market without miners, need not wait for a turn
            async with self.desk.queue.turn(key.id, key.weight, self._left):
                return await self._try_all()
        except (_ClientGoneError, asyncio.CancelledError):
            self._settle("lost" if self.desk.stopping else "client_gone", self._due(), "the client hung up")
            raise
        except BaseException as error:
            self._settle("failed", 0, str(error))
            raise

    async def _try_all(self) -> tuple[R, Receipt]:
        while True:
            deal = self._reserve()
            try:
                return await self._try(deal)
            except MinerError as error:
                self._blame(deal.miner, error)
                if self._send is not None and self._came:
                    raise
                if len(self._tried) >= self.desk.terms.attempts or self._left <= 0:
                    raise self._give_up() from error

    async def _try(self, deal: _Deal) -> tuple[R, Receipt]:
        notes, self._came = self.desk.notes, []
        notes.started(deal.miner)
        try:
            async with AsyncExitStack() as stack:
                async with self._patience():  # a miner may also be silent before it says anything at all
                    exchange = await stack.enter_async_context(self._asking(deal))
                self.receipt = replace(self.receipt, request=exchange.request_hash)
                pieces = await self._listen(deal, exchange)
        except (TimeoutError, ChainError, BudgetError) as error:  # BudgetError: our own channel holds too little
            raise MinerUnreachable(str(error) or self._silence(deal.miner)) from error
        finally:
            notes.ended(deal.miner)
        result = self.order.build(pieces)
        self._record(deal, exchange)
        return result, self.receipt

    def _asking(self, deal: _Deal) -> AbstractAsyncContextManager[Exchange]:
        return self.desk.buying.ask(
            deal.miner, deal.task, deal.limit, deadline_seconds=max(0.1, self._left), price=deal.price
        )

    async def _listen(self, deal: _Deal, exchange: Exchange) -> list[P]:
        """All pieces, read; each passed on if there is somebody to pass it to."""
        pieces: list[P] = []
        stream = aiter(exchange)
        while True:
            async with self._patience():
                piece = await anext(stream, None)
            if piece is None:
                return pieces
            read = self.order.read(piece)
            self._came.append(piece)
            pieces.append(read)
            if self._send is not None:
                await self._pass_on(self._send(read, deal.miner))

    async def _pass_on(self, sending: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self.desk.terms.stall_seconds):
                await sending
        except (ConnectionError, TimeoutError) as error:
            raise _ClientGoneError from error

    def _patience(self) -> asyncio.Timeout:
        """How long to wait for a miner's next word."""
        return asyncio.timeout(min(self.desk.terms.stall_seconds, max(0.1, self._left)))

    def _silence(self, miner: MinerEntry) -> str:
        """Which limit a silent miner met, so that whoever serves a slow model knows what to raise."""
        terms = self.desk.terms
        if self._left > 0:
            return f"miner {miner.uid} was silent for {terms.stall_seconds:g} s (--silence of the gateway)"
        return f"miner {miner.uid} was not done when the call's {terms.deadline_seconds:g} s were over (--deadline of the gateway)"

    # choosing

    def _pick(self) -> _Deal:
        """The best deal that the key can pay in full, of miners not tried yet; else the best that it can pay in part."""
        left = self.desk.budgets.key(self.order.key.id).left + self._held
        cut: _Deal | None = None
        refused: BudgetSpentError | None = None
        for miner, price in self._ranked():
            try:
                deal = self._fit(miner, price, left)
            except BudgetSpentError as error:
                refused = error
                continue
            if not deal.cut:
                return deal
            cut = cut or deal
        if cut is not None:
            return cut
        raise refused or self._give_up()

    @property
    def _held(self) -> int:
        return 0 if self._deal is None else self._deal.reserve

    def _ranked(self) -> list[tuple[MinerEntry, Price]]:
        desk, order = self.desk, self.order
        untried = (miner for miner in desk.listing.miners() if miner.uid not in self._tried)
        return desk.notes.rank(untried, order.kind, order.limit, desk.dice, desk.terms.taste)

    def _fit(self, miner: MinerEntry, price: Price, left: int) -> _Deal:
        """The order at this price, shortened to what `left` credit units pay for."""
        order, limit = self.order, self.order.limit
        needed = price.charge(limit)
        if needed <= left:
            return _Deal(miner, price, order.task, limit, cut=False)
        if order.shorten is None or price.completion_per_1k == 0:
            raise budget_spent(needed, left)
        tokens = ((left - price.per_request) * 1000 - limit.prompt * price.prompt_per_1k) // price.completion_per_1k
        if tokens < min(self.desk.terms.least_tokens, limit.completion):
            raise budget_spent(needed, left)
        return _Deal(miner, price, order.shorten(tokens), replace(limit, completion=tokens), cut=True)

    def _reserve(self) -> _Deal:
        """Pick, and hold the money for it."""
        deal = self._pick()
        self._tried.add(deal.miner.uid)
        self.receipt = replace(
            self.receipt,
            request=b"",
            uid=deal.miner.uid,
            generation=deal.miner.generation,
            operator=deal.miner.operator,
            price=deal.price,
            probation=not deal.miner.proven,
            attempts=len(self._tried),
        )
        self.desk.budgets.reserve(self.receipt, deal.reserve)
        self._deal = deal
        return deal

    # ending

    def _record(self, deal: _Deal, exchange: Exchange) -> None:
        """A whole and verified answer: charge it, remember how quick it was."""
        answer = exchange.answer
        assert answer is not None, "an exchange that ended has its trailer"
        first, total = exchange.first_seconds, exchange.total_seconds
        self.desk.notes.succeeded(deal.miner, self.order.kind, first, total, answer.usage)
        self.receipt = replace(
            self.receipt,
            usage=answer.usage,
            first_seconds=first,
            answer=answer,
        )
        spent_out = deal.cut and answer.usage.completion >= deal.limit.completion
        why = f"the budget paid for {deal.limit.completion} tokens" if spent_out else ""
        self._settle("budget" if spent_out else "complete", exchange.charged, why)

    def _due(self) -> int:
        """What a client owes that left: the miner's price for what had come, within what was held."""
        if self._deal is None or self.desk.stopping or not self._came:
            return 0
        tokens = sum(_count(piece) for piece in self._came)
        usage = Usage(self._deal.limit.prompt, min(tokens, self._deal.limit.completion))
        self.receipt = replace(self.receipt, usage=usage)
        return min(self._deal.price.charge(usage), self._deal.reserve)

    def _settle(self, status: Any, charged: int, detail: str) -> None:
        if self.receipt.total_seconds or not self._tried:
            return  # it is written already, or nothing was sent and there is nothing to write
        self.receipt = replace(
            self.receipt,
            status=status,
            charged=charged,
            detail=detail[:500],
            total_seconds=max(1e-6, time.monotonic() - self._begun),
        )
        self.desk.budgets.settle(self.receipt)
        log.info(
            "gateway.call id=%s key=%s kind=%s status=%s miner=%d charged=%d tokens=%d attempts=%d seconds=%.3f",
            *(self.receipt.id, self.receipt.key, self.receipt.kind, status, self.receipt.uid, charged),
            *(self.receipt.usage.completion, self.receipt.attempts, self.receipt.total_seconds),
        )

    def _blame(self, miner: MinerEntry, error: MinerError) -> None:
        """Remember a failure, by its kind."""
        self._failures.append(error)
        self.desk.metrics.miner_failed(type(error).__name__)
        log.warning("gateway.miner_failed id=%s miner=%d why=%s", self.order.id, miner.uid, error)
        self.desk.notes.blame(miner, error)

    def _give_up(self) -> Exception:
        """What to tell the caller when nobody is left to ask."""
        if not self._failures:
            return NoMinerError("No miner offers this now: none is registered, or none has told its price yet.")
        refusals = [error for error in self._failures if isinstance(error, MinerRefused)]
        if len(refusals) == len(self._failures) and all(error.code == "bad_task" for error in refusals):
            return CallError(f"No miner can read this: {refusals[-1]}", code="unsupported_value")
        waits = [error.retry_after for error in refusals if error.retry_after]
        why = "; ".join(dict.fromkeys(str(error) for error in self._failures))
        count = len(self._failures)
        asked = (
            "one miner was asked and gave no answer" if count == 1 else f"{count} miners were asked and none answered"
        )
        return NoMinerError(f"{asked}: {why}", retry_after=min(waits, default=2.0))


def _count(piece: Piece) -> int:
    """How many tokens a piece brought; text without tokens counts as one."""
    tokens = piece.get("tokens")
    return len(tokens) if isinstance(tokens, list) else int(bool(piece.get("text")))


class _ClientGoneError(ConnectionError):
    """The client closed its connection, or takes nothing any more."""
