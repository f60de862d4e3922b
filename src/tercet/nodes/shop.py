"""The shop: one person buys one answer, or the same one from several miners, within a budget.

Chooses like the gateway and pays like it, but in-process and without keys: `Directory` says who sells, `market.rank`
whom to ask first, `Buyer` pays. The rules:

- Nothing is sent before the purchase's budget holds what the miner may charge at most.
- A miner that fails makes room for the next one, while there is time and budget. What its voucher lets it take all the
  same stays taken from the budget: all that a purchase can cost, failures included, is within it.
- Every attempt leaves a receipt (`tercet ledger receipts --state FOLDER`).
- Whether an answer is any good is for the caller to find out: `mechanism.judge` takes `Purchase.submission`. Say
  `reject` when it is not, and buy again with `avoid`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from tercet.chain.keys import Key
from tercet.chain.market import MarketContract
from tercet.client import Client
from tercet.errors import (
    BudgetError,
    ChainError,
    MinerError,
    MinerRefused,
    MinerUnreachable,
    NoMinerError,
    TaskError,
    TercetError,
)
from tercet.market import CREDIT, Amount, Price, Receipt, Status, Task, Usage
from tercet.nodes.budgets import ApiKey, Budgets
from tercet.nodes.buyer import Buyer, Exchange
from tercet.nodes.directory import Directory, MinerEntry
from tercet.nodes.gateway_keys import gateway_db
from tercet.nodes.gateway_miners import MinerNotes
from tercet.nodes.role import held
from tercet.subnets import Mechanism, Piece, Submission, least_price

__all__ = ["Purchase", "Quote", "Shop"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Purchase:
    """An answer that was bought and paid: whole, signed by its miner, not judged."""

    uid: int
    operator: str
    """Whose signature it carries."""
    pieces: Sequence[Piece]
    charged: int
    """Credit units."""
    seconds: float
    """From sending the request to the verified end."""
    submission: Submission
    """The same answer as a judge takes it."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What one miner would charge for a task, at most."""

    miner: MinerEntry
    price: Price
    most: int
    """Credit units."""


@dataclass(slots=True)
class _Lane:
    """One answer to be bought. Lanes of one purchase share its budget, its deadline and the miners that were asked."""

    key: ApiKey
    task: Task
    limit: Usage
    ends: float
    """Loop time."""
    patience: float | None
    asked: set[int]
    failures: list[MinerError | ChainError] = field(default_factory=list)


class Shop:
    """Buys from one market with one key. `async with Shop.open(...) as shop`."""

    def __init__(
        self,
        mechanism: Mechanism,
        directory: Directory,
        buyer: Buyer,
        books: Budgets,
        *,
        deposit: int,
    ) -> None:
        """Of parts that the caller opens and closes; see `open`."""
        self._mechanism, self._directory, self._buyer, self._books = mechanism, directory, buyer, books
        self._deposit, self._dice = deposit, random.Random()
        self._notes = MinerNotes()
        self.spent = 0
        """Credit units since it was opened: charged, and what miners that failed may take all the same."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        client: Client,
        market: MarketContract,
        mechanism: Mechanism,
        key: Key,
        state: Path,
        *,
        deposit: int,
        poll_seconds: float = 2.0,
    ) -> AsyncIterator[Self]:
        """A shop whose channels and receipts are kept in `state`, and found again by the next one there.

        Args:
            client: where the ledger is.
            market: which market is bought from.
            mechanism: what is bought; only its `limit` and `name` are used, so it need not be open.
            key: pays deposits and gas, signs requests and vouchers.
            state: a folder; one shop at a time. Each chain and key has a folder of its own in it.
            deposit: credit units put into a miner's channel when it is opened, and again when it runs low. What is not
                spent comes home with `tercet withdraw`.
            poll_seconds: how often the ledger is looked at.

        Raises:
            StateLockedError: another shop works there.
            ChainError: the ledger cannot be read.

        """
        place = state / f"{client.ledger.deployment.chain_id}-{key.address.lower()}"
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(held(place, "shop"))
            books = stack.enter_context(Budgets(gateway_db(place)))
            for receipt in books.recover():
                log.warning("shop.lost id=%s miner=%d", receipt.id, receipt.uid)
            directory = Directory(client.ledger, market.address, poll_seconds, floor=least_price(mechanism))
            stack.push_async_callback(directory.close)
            buyer = Buyer(key, client.ledger, market.address, place / "buyer.db", deposit=deposit)
            stack.push_async_callback(buyer.close)
            await directory.refresh()
            stack.push_async_callback(_end, asyncio.create_task(directory.run()))
            yield cls(mechanism, directory, buyer, books, deposit=deposit)

    # before buying

    def quotes(self, task: Task, avoid: Collection[int] = ()) -> list[Quote]:
        """What the task can cost with whom, the miner that would be asked first in front.

        Raises:
            SubnetError: the task is malformed.

        """
        return self._quotes(self._mechanism.limit(task), avoid)

    def _quotes(self, limit: Usage, avoid: Collection[int]) -> list[Quote]:
        miners = (miner for miner in self._directory.miners() if miner.uid not in avoid)
        ranked = self._notes.rank(miners, self._mechanism.name, limit, self._dice)
        return [Quote(miner, price, price.charge(limit)) for miner, price in ranked]

    # buying

    async def buy(
        self,
        task: Task,
        *,
        budget: int,
        deadline_seconds: float,
        avoid: Collection[int] = (),
        patience_seconds: float | None = None,
    ) -> Purchase:
        """One whole, signed answer from the best miner that gives one.

        Args:
            task: the subnet's question.
            budget: credit units that the purchase may cost in all, failed attempts included.
            deadline_seconds: for all attempts together.
            avoid: uids not to ask.
            patience_seconds: a miner that is silent for so long is given up for the next one. None takes half of the
                time that is left, so that a miner that hangs never uses up the whole of it.

        Raises:
            SubnetError: the task is malformed; `TaskError` when every miner says that it cannot be done.
            BudgetError: the budget, the deposit or the wallet is too small.
            NoMinerError: nobody answered in time; says why each did not.
            ChainError: the ledger let nobody be paid.

        """
        (purchase,) = await self._buy(task, 1, budget, deadline_seconds, avoid, patience_seconds)
        return purchase

    async def buy_many(
        self,
        task: Task,
        count: int,
        *,
        budget: int,
        deadline_seconds: float,
        avoid: Collection[int] = (),
        patience_seconds: float | None = None,
    ) -> Sequence[Purchase]:
        """Up to `count` answers to one task, at least one, each from another miner, bought at the same time.

        Fewer come back when miners, time or budget run out; `budget` is for all of them. The rest is as for `buy`.
        """
        return await self._buy(task, count, budget, deadline_seconds, avoid, patience_seconds)

    async def _buy(
        self, task: Task, count: int, budget: int, seconds: float, avoid: Collection[int], patience: float | None
    ) -> list[Purchase]:
        limit = self._mechanism.limit(task)
        key, asked = self._purse(budget), set(avoid)
        ends = asyncio.get_running_loop().time() + seconds
        lanes = [_Lane(key, task, limit, ends, patience, asked) for _ in range(max(1, count))]
        errands = [asyncio.create_task(self._serve(lane)) for lane in lanes]
        try:
            results = await asyncio.gather(*errands, return_exceptions=True)
        finally:
            for errand in errands:
                errand.cancel()
            await asyncio.gather(*errands, return_exceptions=True)
            self._books.revoke(key.id)
        bought = [result for result in results if isinstance(result, Purchase)]
        failed = [result for result in results if isinstance(result, BaseException)]
        for error in failed:
            if not isinstance(error, TercetError):  # a fault of ours: others may have brought an answer all the same
                log.error("shop.lane_broke", exc_info=error)
        if not bought:
            raise failed[0]
        return bought

    def reject(self, purchase: Purchase) -> None:
        """Its answer was found wrong: rank the miner last for a while."""
        entry = self._directory.entry(purchase.uid)
        if entry is not None and entry.operator == purchase.operator:
            self._notes.failed(entry, weight=4)

    def receipts(self, limit: int = 20) -> Sequence[Receipt]:
        """Of all attempts ever made here, the newest first."""
        return self._books.receipts(limit=limit)

    def _purse(self, budget: int) -> ApiKey:
        """The budget of one purchase, in the book."""
        name = self._mechanism.name
        key = ApiKey("buy_" + secrets.token_hex(8), name, 1, max(0, budget), 0, 0, _now_ms(), None, None)
        self._books.add_key(key, secrets.token_bytes(32))  # opens nothing: no secret has this hash
        return key

    # one lane

    async def _serve(self, lane: _Lane) -> Purchase:
        while True:
            quote = self._pick(lane)
            lane.asked.add(quote.miner.uid)
            try:
                return await self._try(lane, quote)
            except (MinerError, ChainError) as error:
                lane.failures.append(error)
                self._blame(quote.miner, error)
                if asyncio.get_running_loop().time() >= lane.ends:
                    raise _give_up(lane) from error

    def _pick(self, lane: _Lane) -> Quote:
        """The first in rank that the budget and the deposit can pay."""
        quotes = self._quotes(lane.limit, lane.asked)
        left = self._books.key(lane.key.id).left
        for quote in quotes:
            if quote.most <= min(left, self._deposit):
                return quote
        if not quotes:
            raise _give_up(lane)
        least = min(quote.most for quote in quotes)
        costs = f"This task can cost {Amount(least, CREDIT)} with the cheapest miner"
        if least <= left:
            raise BudgetError(
                f"{costs}, a channel is filled with {Amount(self._deposit, CREDIT)} at a time."
                " Raise the deposit, or ask for less work."
            )
        budget, spent = Amount(lane.key.budget, CREDIT), Amount(lane.key.budget - left, CREDIT)
        taken = f", of which {spent} is spent or at risk with miners asked before" if spent.units else ""
        why = "".join(f" Failed before: {error}" for error in lane.failures[-1:])
        raise BudgetError(f"{costs}, the budget is {budget}{taken}. Raise the budget, or ask for less work.{why}")

    async def _try(self, lane: _Lane, quote: Quote) -> Purchase:
        miner = quote.miner
        draft = Receipt(
            id="call_" + secrets.token_hex(8),
            key=lane.key.id,
            kind=self._mechanism.name,
            model=self._mechanism.name,
            status="failed",
            time_ms=_now_ms(),
            uid=miner.uid,
            generation=miner.generation,
            operator=miner.operator,
            price=quote.price,
            probation=not miner.proven,
            attempts=len(lane.failures) + 1,
        )
        self._books.reserve(draft, quote.most)
        self._notes.started(miner)
        began = asyncio.get_running_loop().time()
        exchange = self._buyer.ask(
            miner, lane.task, lane.limit, deadline_seconds=max(0.1, lane.ends - began), price=quote.price
        )
        status: Status = "failed"
        detail = ""
        try:
            pieces = await _listen(lane, quote.miner, exchange)
            status = "complete"
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                status = "client_gone"
            detail = str(error)
            raise
        finally:
            self._notes.ended(miner)
            self._settle(draft, exchange, status, detail, asyncio.get_running_loop().time() - began)
        answer, first, total = exchange.answer, exchange.first_seconds, exchange.total_seconds
        self._notes.succeeded(miner, self._mechanism.name, first, total, answer.usage)
        submission = Submission(miner.uid, pieces, first, total, answer.signature)
        return Purchase(miner.uid, miner.operator, pieces, exchange.charged, total, submission)

    def _settle(self, draft: Receipt, exchange: Exchange, status: Status, detail: str, seconds: float) -> None:
        """Write the receipt: what was charged, or what the miner may take although no answer came."""
        done = status == "complete"
        receipt = replace(
            draft,
            status=status,
            request=exchange.request_hash,
            usage=exchange.answer.usage if done else Usage(),
            charged=exchange.charged if done else exchange.at_risk,
            first_seconds=exchange.first_seconds,
            total_seconds=seconds,
            answer=exchange.answer if done else None,
            detail=detail[:500],
        )
        self._books.settle(receipt)
        self.spent += receipt.charged
        log.info(
            "shop.call id=%s status=%s miner=%d charged=%d seconds=%.3f",
            *(receipt.id, status, receipt.uid, receipt.charged, seconds),
        )

    def _blame(self, miner: MinerEntry, error: Exception) -> None:
        log.warning("shop.miner_failed miner=%d why=%s", miner.uid, error)
        if isinstance(error, MinerError):
            self._notes.blame(miner, error)


async def _listen(lane: _Lane, miner: MinerEntry, exchange: Exchange) -> list[Piece]:
    """All pieces, unless the miner is silent for too long."""
    pieces: list[Piece] = []
    try:
        async with contextlib.AsyncExitStack() as stack:
            async with _patience(lane):
                await stack.enter_async_context(exchange)
            while True:
                async with _patience(lane):
                    piece = await anext(exchange, None)
                if piece is None:
                    return pieces
                pieces.append(piece)
    except TimeoutError:
        late = asyncio.get_running_loop().time() >= lane.ends
        how = "was not done when the time was over" if late else "was silent for too long"
        raise MinerUnreachable(f"The miner {miner.operator} {how} ({len(pieces)} pieces had come).") from None


def _patience(lane: _Lane) -> asyncio.Timeout:
    """How long to wait for the next word."""
    left = max(0.1, lane.ends - asyncio.get_running_loop().time())
    return asyncio.timeout(left / 2 if lane.patience is None else min(lane.patience, left))


def _give_up(lane: _Lane) -> Exception:
    """What to tell when nobody is left to ask, or no time."""
    failures = lane.failures
    if not failures:
        return NoMinerError(
            "No miner offers this now: none is registered, none has told its price yet, or all were asked already."
        )
    if all(isinstance(error, MinerRefused) and error.code == "bad_task" for error in failures):
        return TaskError(f"No miner can do this: {failures[-1]}")
    if all(isinstance(error, ChainError) for error in failures):
        return failures[-1]
    why = "; ".join(dict.fromkeys(str(error) for error in failures))
    asked = (
        "One miner was asked and gave no answer"
        if len(failures) == 1
        else f"{len(failures)} miners were asked and none answered"
    )
    refusals = frozenset(error.code for error in failures if isinstance(error, MinerRefused))
    return NoMinerError(f"{asked}: {why}", refusals=refusals)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
