"""The buyer: asks a miner, pays with vouchers, and opens or tops up the channel when it has to.

Knows nothing of what is asked. One channel for each miner; a request waits for the chain only when its
channel is not open yet, or has run dry before the top-up came through.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tercet.chain.keys import Key
from tercet.chain.ledger import Ledger
from tercet.errors import (
    MinerMisbehaved,
    MinerRefused,
    MinerUnreachable,
    WireError,
)
from tercet.market import CREDIT, Amount, Answer, Price, Task, Usage
from tercet.nodes import wire
from tercet.nodes.buyer_book import Account, Promise
from tercet.nodes.caller import Caller, Peer, Reply
from tercet.nodes.channel_text import config_object, voucher_object
from tercet.nodes.channels import Channels
from tercet.nodes.directory import PROBATION_BPS, MinerEntry
from tercet.subnets.mechanism import Piece

__all__ = ["Buyer", "Exchange", "Transcript", "offer_price"]

log = logging.getLogger(__name__)
T = TypeVar("T")


def offer_price(miner: MinerEntry) -> Price | None:
    """What is offered to `miner`: its ask when it is proven, the probation price when not, None when it never told.

    Never less than the market's pay floor.
    """
    if miner.price is None:
        return None
    return (miner.price if miner.proven else miner.price.scaled(PROBATION_BPS)).at_least(miner.floor)


class Buyer:
    """Pays miners of one market out of one key. `close` it; what it owes is in its book."""

    def __init__(
        self,
        key: Key,
        ledger: Ledger,
        market_address: str,
        state_path: Path,
        *,
        deposit: int,
        notice_seconds: int | None = None,
        path: str = "",
        account: str = "",
    ) -> None:
        """Nothing is sent yet.

        Args:
            key: pays gas and deposits, signs requests and vouchers.
            ledger: where the escrow is.
            market_address: the market that is bought from.
            state_path: the book's SQLite file.
            deposit: credit units put into a channel when it is opened, and again when it runs low.
            notice_seconds: a channel's notice; None takes the shortest that the escrow allows.
            path: the subnet's name on the wire; asked from the market when empty.
            account: a smart account that pays, and that takes the key's signatures as its own (EIP-1271);
                the key still signs requests and pays gas. Empty: the key pays.
        """
        self._market, self.path = ledger.market(market_address), wire.PREFIX + path if path else ""
        self.caller = Caller(key)
        self.channels = Channels(
            key, ledger, state_path, deposit=deposit, notice_seconds=notice_seconds, account=account
        )

    def ask(
        self,
        miner: MinerEntry,
        task: Task,
        usage_limit: Usage,
        *,
        deadline_seconds: float,
        price: Price | None = None,
        keep: bool = False,
    ) -> Exchange:
        """One paid request: `async with buyer.ask(...) as exchange: async for piece in exchange: ...`.

        Args:
            miner: from a `Directory`.
            task: the subnet's question.
            usage_limit: the most it can use; what is reserved.
            deadline_seconds: for the whole answer, opening a channel included.
            price: what to offer; None offers what the miner's class is paid.
            keep: have a `transcript` at the end.

        Raises (from entering or iterating):
            MinerUnreachable, MinerRefused, MinerMisbehaved: see their docstrings.
            BudgetError: the buyer has no credit or no gas for the channel.
            ChainError: the channel cannot be opened.
        """
        return Exchange(self, miner, task, usage_limit, deadline_seconds, price or offer_price(miner), keep=keep)

    async def close(self) -> None:
        """Write the book, end what runs, drop the connections."""
        await self.channels.close()
        await self.caller.close()

    async def request_close(self) -> int:
        """Give notice on every open channel that the key pays; how many. Finish with `withdraw` after the notices."""
        return await self.channels.request_close()

    async def withdraw(self) -> int:
        """Take back what is left in channels whose notice is over; credit units."""
        return await self.channels.withdraw()

    async def subnet_path(self) -> str:
        """The path that the market's subnet is asked at."""
        if not self.path:
            self.path = wire.PREFIX + (await self._market.params()).subnet
        return self.path


@dataclass(frozen=True, slots=True)
class Transcript:
    """An exchange byte by byte: enough for anybody to check who answered what."""

    head: bytes
    """The canonical request text."""
    body: bytes
    """Of the request."""
    lines: bytes
    """All pieces of the answer."""
    answer: Answer
    """The signed trailer."""


class Exchange:
    """One request and its answer as it comes: enter, iterate over the pieces, then read the rest."""

    def __init__(
        self,
        buyer: Buyer,
        miner: MinerEntry,
        task: Task,
        limit: Usage,
        seconds: float,
        price: Price | None,
        *,
        keep: bool = False,
    ) -> None:
        self._buyer, self._miner, self._task, self._limit = buyer, miner, task, limit
        self._seconds, self._price = seconds, price
        self._keep, self._body = keep, b""
        self._reply: Reply | None = None
        self._promise: Promise | None = None
        self._answer: Answer | None = None
        self._began = 0.0
        self.first_seconds = 0.0
        """From sending the request to the first piece; 0 before it."""
        self.total_seconds = 0.0
        """From sending the request to the verified end; 0 before it."""
        self.request_hash = b""
        """sha256 of the canonical request text."""
        self.at_risk = 0
        """Credit units that the miner may take although no answer of it could be believed: a voucher for them is out."""

    @property
    def answer(self) -> Answer:
        """The verified trailer; only after the end."""
        assert self._answer is not None, "read the exchange to its end first"
        return self._answer

    @property
    def transcript(self) -> Transcript:
        """All bytes that the miner's signature covers; only after the end, and when they were kept."""
        assert self._reply is not None, "enter the exchange first"
        assert self._reply.lines is not None, "ask with keep=True first"
        return Transcript(self._reply.text, self._body, b"".join(self._reply.lines), self.answer)

    @property
    def charged(self) -> int:
        """Credit units that the answer cost; 0 before the end."""
        return self._answer.charged if self._answer is not None else 0

    async def __aenter__(self) -> Self:
        deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            await self._begin(deadline)
        except BaseException:
            self._end(lost=True)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(lost=True)
        if self._reply is not None:
            await self._reply.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        assert self._reply is not None, "use the exchange in `async with`"
        try:
            piece = await anext(self._reply)
        except StopAsyncIteration:
            self._finish(self._reply.answer)
            raise
        except MinerRefused:
            self._end(lost=False)
            raise
        if not self.first_seconds:
            self.first_seconds = asyncio.get_running_loop().time() - self._began
        return piece

    async def _begin(self, deadline: float) -> None:
        if self._price is None:
            raise MinerUnreachable(f"The miner {self._miner.operator} has not told its price yet.")
        buyer, reserve = self._buyer, self._price.charge(self._limit)
        peer = buyer.caller.peer(self._miner.endpoint, self._miner.operator)
        path = buyer.path or await self._wait(buyer.subnet_path(), deadline)
        channels = buyer.channels
        account = channels.known(self._miner)
        if account is None:
            account = await self._wait(channels.ready(self._miner), deadline)
        mended = 0
        while True:
            now = channels.promise_now(account, reserve)
            self._promise = now or await self._wait(channels.promise(account, reserve), deadline)
            try:
                await self._send(peer, path, account, deadline)
            except MinerRefused as refused:
                self._end(lost=refused.code in wire.UNSIGNED_CODES)
                mended += 1
                if mended > 2 or not self._mend(account, refused):
                    raise
            except MinerUnreachable as error:
                self._end(lost=error.sent)
                raise
            else:
                account.sent_config = True
                return

    async def _wait(self, work: Coroutine[Any, Any, T], deadline: float) -> T:
        """What only the first request, or one in a dry channel, has to wait for."""
        try:
            async with asyncio.timeout_at(deadline):
                return await work
        except TimeoutError:
            raise MinerUnreachable(
                f"The channel to the miner {self._miner.operator} was not ready within {self._seconds:g} s."
            ) from None

    async def _send(self, peer: Peer, path: str, account: Account, deadline: float) -> None:
        assert self._promise is not None
        assert self._price is not None
        body: dict[str, Any] = {
            "task": self._task,
            "limit": {"prompt": self._limit.prompt, "completion": self._limit.completion},
            "price": {
                "per_request": self._price.per_request,
                "prompt_per_1k": self._price.prompt_per_1k,
                "completion_per_1k": self._price.completion_per_1k,
            },
            "voucher": voucher_object(self._promise.voucher),
        }
        if not account.sent_config:
            body["config"] = config_object(account.config)
        self._began = asyncio.get_running_loop().time()
        self._body = wire.encode_json(body)
        self._reply = await self._buyer.caller.begin(peer, path, self._body, deadline=deadline, keep=self._keep)
        self.request_hash = self._reply.request

    def _mend(self, account: Account, refused: MinerRefused) -> bool:
        """Whether a second try has a reason to succeed: the books disagreed, or the miner forgot the channel."""
        if refused.code == "channel_unknown":
            again, account.sent_config = account.sent_config, False
            return again
        stated = refused.facts.get("account")
        if refused.code != "voucher_stale" or not isinstance(stated, dict):
            return False
        total, best, signature = stated.get("charged_total"), stated.get("best"), stated.get("signature")
        if type(total) is not int or type(best) is not int or total < 0:
            raise MinerMisbehaved(
                f"The miner {self._miner.operator} misbehaved: its account of the channel is malformed."
            )
        try:
            raw = wire.parse_hex(signature, 65) if best else b""
        except WireError:
            raw = b""
        self._buyer.channels.book.catch_up(account, total, best, raw)
        log.info("channel.caught_up miner=%s charged=%d", account.operator, total)
        return True

    def _finish(self, answer: Answer | None) -> None:
        promise = self._promise
        if promise is None or answer is None:
            return
        assert self._price is not None
        within = answer.usage.prompt <= self._limit.prompt and answer.usage.completion <= self._limit.completion
        if not within or answer.charged > self._price.charge(answer.usage):
            self._end(lost=True)
            raise MinerMisbehaved(
                f"The miner {self._miner.operator} misbehaved: it charged {Amount(answer.charged, CREDIT)} for {answer.usage}, "
                f"agreed were {self._price} and at most {self._limit}.",
                evidence=wire.encode_answer(answer),
            )
        try:
            self._buyer.channels.book.acknowledge(promise, answer)
        except MinerMisbehaved as error:
            self._end(lost=True)
            raise MinerMisbehaved(str(error), evidence=wire.encode_answer(answer)) from error
        self._promise, self._answer = None, answer
        self._buyer.channels.ended(promise.account)
        self.total_seconds = asyncio.get_running_loop().time() - self._began

    def _end(self, *, lost: bool) -> None:
        """The promise is over without an answer: lost, unless the miner signed that it charged nothing."""
        promise, self._promise = self._promise, None
        if promise is None:
            return
        book = self._buyer.channels.book
        (book.lose if lost else book.release)(promise)
        if lost:
            self.at_risk += promise.reserve
        self._buyer.channels.ended(promise.account)
