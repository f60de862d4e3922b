"""One paid request at a miner: read it, price it, take it on under a voucher, charge for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeAlias

from tercet.errors import RefusalError, SubnetError, WireError
from tercet.market import ChannelConfig, Price, Task, Usage, Voucher
from tercet.nodes.channel_text import parse_config, parse_voucher
from tercet.nodes.directory import parse_price
from tercet.nodes.miner_book import MinerBook, Ticket
from tercet.nodes.server import read_object
from tercet.nodes.wire import parse_usage
from tercet.subnets.mechanism import Mechanism, Piece

__all__ = ["Answering", "Order", "PaidWork", "choose_price", "read_order"]


Answering: TypeAlias = Callable[[Task], AsyncIterator[Piece]]
"""A mechanism's `answer`, or what stands before it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a buyer asks for, and how it pays."""

    task: Task
    limit: Usage
    """The most that is reserved for."""
    offer: Price
    voucher: Voucher
    config: ChannelConfig | None
    """None when the buyer thinks that the miner knows the channel."""


def read_order(body: bytes) -> Order:
    """Read a stranger's order; refuses with `bad_request`."""
    value = read_object(body)
    task, offer, config = value.get("task"), parse_price(value.get("price")), value.get("config")
    if not isinstance(task, dict) or offer is None:
        raise RefusalError("bad_request")
    try:
        voucher, limit = parse_voucher(value.get("voucher")), parse_usage(value.get("limit"))
        return Order(task, limit, offer, voucher, None if config is None else parse_config(config))
    except WireError:
        raise RefusalError("bad_request") from None


def validate_limit(mechanism: Mechanism, order: Order) -> None:
    """Refuse with `bad_task` what the subnet cannot read, with `limit_too_low` what may use more than is reserved."""
    try:
        most = mechanism.limit(order.task)
    except SubnetError:
        raise RefusalError("bad_task") from None
    if most.prompt > order.limit.prompt or most.completion > order.limit.completion:
        facts = {"limit": {"prompt": most.prompt, "completion": most.completion}}
        raise RefusalError("limit_too_low", facts=facts)


def choose_price(offer: Price, ask: Price, probation: Price, *, proven: bool) -> Price:
    """What is charged by: the ask where the offer covers it, else the probation price while we are unproven.

    Raises:
        RefusalError: `price_too_low`.
    """
    if offer.covers(ask):
        return ask
    if not proven and offer.covers(probation):
        return probation
    raise RefusalError("price_too_low")


class PaidWork:
    """An order that was taken on."""

    def __init__(
        self, answer: Answering, book: MinerBook, order: Order, ticket: Ticket, price: Price, throttle: float
    ) -> None:
        """`answer` does the work of a task."""
        self._answer, self._book, self._order = answer, book, order
        self._ticket, self._price, self._throttle = ticket, price, throttle

    def pieces(self) -> AsyncIterator[Piece]:
        """Do the work."""
        return self._slowed() if self._throttle else self._answer(self._order.task)

    async def _slowed(self) -> AsyncIterator[Piece]:
        await asyncio.sleep(self._throttle)
        async for piece in self._answer(self._order.task):
            yield piece

    def settle(self, usage: Usage) -> tuple[int, int]:
        """Charge for what was used, at most what was reserved; on disk when this returns."""
        limit = self._order.limit
        if usage.prompt > limit.prompt or usage.completion > limit.completion:
            raise SubnetError(f"The subnet used {usage}, more than its own limit {limit} for the task.")
        return self._book.settle(self._ticket, self._charge(usage))

    def fail(self) -> None:
        """Charge nothing."""
        self._book.release(self._ticket)

    def abandon(self, pieces: int) -> None:
        """The buyer left: charge for the prompt and at least one unit for each piece that it took."""
        if not pieces:
            return self.fail()
        limit = self._order.limit
        partial = Usage(limit.prompt, min(limit.completion, pieces))
        self._book.settle(self._ticket, self._charge(partial))
        return None

    def _charge(self, usage: Usage) -> int:
        return min(self._price.charge(usage), self._ticket.reserve)
