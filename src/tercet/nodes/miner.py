"""The miner: serves one subnet's work for vouchers, redeems them, and goes on where it was after any death."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tercet.chain.keys import Key
from tercet.chain.ledger import Ledger
from tercet.chain.sender import Sender
from tercet.chain.voucher import asker_of, channel_id
from tercet.client import buy_slot, queue_for_slot
from tercet.errors import (
    AlreadyDoneError,
    ChainError,
    InvalidSignatureError,
    LimitError,
    RefusalError,
    TercetError,
    UnreachableError,
    UsageError,
)
from tercet.market import ChannelConfig, Price
from tercet.nodes.admission import Limits
from tercet.nodes.directory import PROBATION_BPS, build_entries
from tercet.nodes.held_work import HeldWork
from tercet.nodes.miner_book import MinerBook, Ticket
from tercet.nodes.paid_work import Order, PaidWork, choose_price, read_order, validate_limit
from tercet.nodes.redeemer import Redeemer
from tercet.nodes.role import announce, held, told_to_stop
from tercet.nodes.server import Call, WireServer, Work
from tercet.nodes.smart_accounts import SmartAccounts
from tercet.subnets.mechanism import Mechanism, least_price

__all__ = ["Miner", "MinerConfig", "run_miner"]

log = logging.getLogger(__name__)

CHANNEL_WEIGHT = 0.2
"""What any open channel weighs at the door: opening one took gas, so it is no stranger's."""
CREDIT_PER_WEIGHT = 100_000
"""Credit units of deposit that add 1 to it: a tenth of a credit."""
GRACE_EPOCH_SECONDS = 20.0
"""How long the old price class is still taken after it changed: buyers look at the ledger now and then."""
REREAD_SECONDS = 0.25
_MENDABLE = 3
"""Reasons to refuse that the chain may take away: an unknown channel, a voucher without a key, an old deposit."""


@dataclass(frozen=True, slots=True)
class MinerConfig:
    """What a miner needs to know."""

    key: Key
    """The operator: signs answers, redeems; needs gas."""
    ledger: Ledger
    market: str
    """Address of the market."""
    mechanism: Mechanism
    state: Path
    """Vouchers and seen nonces; one miner at a time."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 takes any free one."""
    endpoint: str | None = None
    """How buyers reach it from outside; None makes it of host and port. Registered on the ledger when it differs."""
    register: bool = False
    """Buy a slot in the market when the operator has none, with this key as owner; keep its endpoint up to date."""
    max_price: int | None = None
    """Most to pay for it, stake token base units; None allows twice the price of the moment."""
    queue: bool = False
    """In a full market: wait for a slot, which the weakest miner may have to give up at an epoch's end."""
    price: Price | None = None
    """What to ask; None takes the mechanism's own."""
    redeem_threshold: int = 1_000_000
    """Credit units on a channel from which redeeming is worth a transaction. A smart account may owe twice as much."""
    poll_seconds: float = 5.0
    """How often the ledger is looked at; must be well below the shortest notice."""
    throttle: float = 0.0
    """Seconds to wait before each answer: makes a slow machine for tests and demonstrations."""
    grace_seconds: float = 10.0
    """How long running work may go on when the miner is told to stop."""
    redeem_seconds: float = 30.0
    """How long redeeming may take at the end."""
    limits: Limits = Limits()  # noqa: RUF009 - frozen


class Miner:
    """What serves: tells its price, takes on work under vouchers. `run_miner` gives it a process."""

    def __init__(self, config: MinerConfig, owner: str, min_notice: int) -> None:
        """`owner` is who is paid, `min_notice` the shortest channel notice that is taken, seconds."""
        self._config, self._owner, self._min_notice = config, owner, min_notice
        self._ask = config.price or config.mechanism.price()
        floor = least_price(config.mechanism)
        if not self._ask.covers(floor):
            raise UsageError(
                f"This price ({self._ask}) is under the pay floor of the market ({floor}). Ask for more, "
                "or name the floor that the market has."
            )
        self._probation = self._ask.scaled(PROBATION_BPS).at_least(floor)
        self._domain = config.ledger.deployment.domain
        self.book = MinerBook(config.state / "vouchers.sqlite", self._domain, trust=2 * config.redeem_threshold)
        self._smart_accounts = SmartAccounts(config.ledger)
        sender = Sender(config.ledger.rpc, config.key)
        self._held_work = HeldWork(config.ledger, sender, config.market, config.mechanism, config.state / "jobs")
        self.redeemer = Redeemer(
            config.ledger,
            sender,
            self.book,
            threshold=config.redeem_threshold,
            poll_seconds=config.poll_seconds,
        )
        self._proven_until = 0.0
        self.proven = False
        self._weights: dict[str, float] = {}
        self._readings: dict[bytes, asyncio.Task[None]] = {}
        self._reread: dict[bytes, float] = {}
        for known in self.book.channels().values():
            self._weigh(known.config, known.standing.deposit)
        name = config.mechanism.name
        self.server = WireServer(
            config.key, config.state, {name: self._take_on}, info=self._info, weigh=self._weight, limits=config.limits
        )

    async def close(self) -> None:
        """Let the book go; the server is stopped before."""
        readings = list(self._readings.values())
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)
        await self._held_work.close()
        self.book.close()

    async def look(self) -> None:
        """Read our own standing: unproven miners work for the probation price."""
        slots = await self._config.ledger.market(self._config.market).miners()
        me = self._config.key.address
        proven = any(entry.proven for entry in build_entries(slots) if entry.operator == me)
        if proven and not self.proven:  # buyers that do not know it yet are still served
            self._proven_until = asyncio.get_running_loop().time() + GRACE_EPOCH_SECONDS
        self.proven = proven

    async def look_forever(self) -> None:
        """Look at the ledger until cancelled."""
        while True:
            await asyncio.sleep(self._config.poll_seconds)
            try:
                await self.look()
            except (ChainError, UnreachableError) as error:
                log.warning("miner.stale why=%r", str(error))

    def _info(self) -> dict[str, Any]:
        mechanism = self._config.mechanism
        return {
            "market": self._config.market,
            "subnet": mechanism.name,
            "version": mechanism.version,
            "price": asdict(self._ask),
            "proven": self.proven,
        }

    async def _take_on(self, call: Call) -> Work:
        order = read_order(call.body)
        validate_limit(self._config.mechanism, order)
        graced = asyncio.get_running_loop().time() < self._proven_until
        price = choose_price(order.offer, self._ask, self._probation, proven=self.proven and not graced)
        ticket = await self._accept(order, call.head.sender, order.offer.charge(order.limit))
        try:
            answer = await self._held_work.take(order.task, price)
        except BaseException:
            self.book.release(ticket)
            raise
        return PaidWork(answer, self.book, order, ticket, price, self._config.throttle)

    async def _accept(self, order: Order, sender: str, reserve: int) -> Ticket:
        """Cover for the work; asks the chain only when the book refuses, and once for each reason it may mend."""
        proven = False
        for _ in range(_MENDABLE):
            try:
                return self.book.accept(order.voucher, sender, reserve, proven=proven)
            except RefusalError as refusal:
                if refusal.code == "voucher_invalid" and not proven:
                    mended = proven = await self._is_smart(order, sender)
                else:
                    mended = await self._learn(order, refusal.code)
                if not mended:
                    raise
        return self.book.accept(order.voucher, sender, reserve, proven=proven)

    async def _is_smart(self, order: Order, sender: str) -> bool:
        """Whether no key, but a smart account stands by the voucher; strangers cannot make us ask."""
        known = self.book.get(order.voucher.channel)
        if known is None or sender not in (known.config.payer_authorizer, asker_of(known.config)):
            return False
        return await self._smart_accounts.stands_by(known.config, order.voucher)

    async def _learn(self, order: Order, code: str) -> bool:
        """Whether the chain has more to say of the channel than the book had; one reading for all who wait."""
        channel, known = order.voucher.channel, self.book.get(order.voucher.channel)
        config = known.config if known is not None else order.config
        if code not in {"channel_unknown", "voucher_overspent"} or config is None or (known and known.closing):
            return False
        if known is None and not self._pays_us(config, channel):
            return False
        for _ in range(2):  # a reading under way may have begun before the top-up
            reading = self._readings.get(channel)
            if reading is None:
                reading = self._readings[channel] = asyncio.create_task(self._read(channel, config))
            try:
                await asyncio.shield(reading)
            except (ChainError, UnreachableError) as error:
                log.warning("channel.unread why=%r", str(error))
                raise RefusalError("busy", retry_after=2) from error
            now = self.book.get(channel)
            if now is not None and now.standing.deposit >= order.voucher.max_claimable:
                return True
        return False

    async def _read(self, channel: bytes, config: ChannelConfig) -> None:
        """One look at the chain, at most one every `REREAD_SECONDS` for a channel."""
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(self._reread.get(channel, 0.0) - loop.time())
            self._reread = {name: until for name, until in self._reread.items() if until > loop.time()}
            self._reread[channel] = loop.time() + REREAD_SECONDS
            found = await self._config.ledger.escrow.channel(channel)
        finally:
            self._readings.pop(channel, None)
        closing = found.closed or found.withdrawable_at > 0
        if self.book.get(channel) is not None or (found.is_open and not closing):
            self.book.put(config, found.balance, found.total_claimed, closing=closing)
            self._weigh(config, found.balance)

    def _pays_us(self, config: ChannelConfig, channel: bytes) -> bool:
        """Whether a channel is what it says, and we could redeem what it owes."""
        try:
            same = channel_id(self._domain, config) == channel
        except (InvalidSignatureError, OverflowError):
            return False
        me = self._config.key.address
        redeemable = config.receiver == self._owner and me in (config.receiver, config.receiver_authorizer)
        right_money = config.token == self._config.ledger.deployment.credit
        return same and redeemable and right_money and config.withdraw_delay >= self._min_notice

    def _weigh(self, config: ChannelConfig, deposit: int) -> None:
        weight = CHANNEL_WEIGHT + deposit / CREDIT_PER_WEIGHT
        for payer in (config.payer_authorizer, asker_of(config)):
            self._weights[payer] = max(self._weights.get(payer, 0.0), weight)

    def _weight(self, sender: str) -> float:
        return self._weights.get(sender, 0.0)


async def run_miner(config: MinerConfig) -> int:
    """Serve until SIGTERM (returns 0) or SIGINT (returns 130); redeem what is owed before leaving.

    Prints one `ready` line when it serves.

    Raises:
        StateLockedError: another miner works on the same state.
        UsageError: the port is taken, or the key is no operator of the market and may not register.
        ChainError, UnreachableError: the ledger cannot be read at the start.
        SubnetError: the mechanism cannot be opened.
    """
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(held(config.state, "miner"))
        told = stack.enter_context(told_to_stop())
        await config.ledger.check()
        await config.mechanism.open("miner")
        stack.push_async_callback(config.mechanism.close)
        owner = await _find_owner(config)
        miner = Miner(config, owner, await config.ledger.escrow.min_withdraw_delay())
        stack.push_async_callback(miner.close)
        port = await miner.server.start(config.host, config.port)
        stack.push_async_callback(_leave, config, miner)
        endpoint = config.endpoint or f"http://{config.host}:{port}"
        await _announce_on_ledger(config, endpoint, told)
        if told.done():
            return told.result()
        await miner.look()
        await miner.redeemer.look()
        for loop in (miner.look_forever(), miner.redeemer.run()):
            stack.push_async_callback(_ended, asyncio.create_task(loop))
        gc.freeze()  # what start-up made stays; looking through it again and again costs every answer
        announce("miner", endpoint=endpoint, address=config.key.address)
        return await told
    raise AssertionError


async def _leave(config: MinerConfig, miner: Miner) -> None:
    """No new work, the running work out, the money in."""
    await miner.server.stop(config.grace_seconds)
    try:
        async with asyncio.timeout(config.redeem_seconds):
            paid = await miner.redeemer.redeem(1)
    except (TercetError, TimeoutError) as error:
        log.warning("redeem.unfinished why=%r", str(error) or "out of time")
    else:
        log.info("miner.left redeemed=%d", paid)


async def _find_owner(config: MinerConfig) -> str:
    slots = await config.ledger.market(config.market).miners()
    for slot in slots:
        if slot.operator == config.key.address:
            return slot.owner
    if not config.register:
        raise UsageError(
            f"{config.key.address} is no miner's operator in the market {config.market}. Register it first, or let the miner do it."
        )
    return config.key.address


async def _announce_on_ledger(config: MinerConfig, endpoint: str, told: asyncio.Future[int]) -> None:
    """A slot if there is none, and the right endpoint in it. May wait for it until it is told to stop."""
    market, me = config.ledger.market(config.market), config.key.address
    sender = Sender(config.ledger.rpc, config.key)
    slot = next((slot for slot in await market.miners() if slot.operator == me), None)
    if slot is None:
        try:
            await buy_slot(config.ledger, sender, market, me, endpoint, config.max_price)
        except AlreadyDoneError:
            pass
        except LimitError as error:
            if not config.queue or error.reason != "market: no free miner slot":
                raise
            await queue_for_slot(config.ledger, sender, market, me, endpoint, config.max_price)
            log.info("miner.waits applicants=%d", len(await market.applicants()))
            while not told.done() and await market.uid_of(me) is None:
                await asyncio.wait([told], timeout=config.poll_seconds)
    elif slot.endpoint != endpoint and config.register:
        await market.set_endpoint(sender, slot.uid, endpoint)
    elif slot.endpoint != endpoint:
        log.warning("miner.endpoint registered=%s serving=%s", slot.endpoint, endpoint)
    if slot is None or slot.owner == me:
        await _declare_market(config, sender)


async def _declare_market(config: MinerConfig, sender: Sender) -> None:
    """Let our fees count for the market that we serve."""
    escrow = config.ledger.escrow
    if await escrow.market_of(sender.address) != config.market:
        await escrow.declare_market(sender, config.market)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, TercetError):
        await task
