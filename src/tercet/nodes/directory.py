"""Who can be bought from: one market's miners as the ledger has them, and what each asks, in its own signed words."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Any

from tercet.chain.keys import Key
from tercet.chain.ledger import Ledger
from tercet.chain.market import MarketStatus, MinerSlot
from tercet.errors import ChainError, MinerError, UnreachableError
from tercet.market import Price
from tercet.nodes.caller import Caller

__all__ = ["PROBATION_BPS", "PROVEN_SHARE", "Directory", "MinerEntry", "build_entries", "parse_price"]

log = logging.getLogger(__name__)

PROVEN_SHARE = 0.10
"""A miner is proven from this part of the best miner's consensus weight."""
PROBATION_BPS = 200
"""What an unproven miner is paid of its ask, ten-thousandths."""
PRICE_SECONDS = 15.0
"""A known price is asked for again after so long."""
INFO_SECONDS = 2.0
_FIRST_REST, _LONGEST_REST = 1.0, 60.0
_SAME_BLOCK_TRIES = 4
_MAX_PRICE = 10**15


@dataclass(frozen=True, slots=True)
class MinerEntry:
    """One registered miner."""

    uid: int
    generation: int
    owner: str
    """Who is paid."""
    operator: str
    """Whose signature its answers carry."""
    endpoint: str
    share: float
    """Consensus weight of the last closed epoch over the best miner's, 0 to 1."""
    proven: bool
    """Whether it is paid its ask in full."""
    price: Price | None
    """What it asks; None until it has told."""
    floor: Price = Price()  # noqa: RUF009 - frozen
    """What nobody in this market is offered less than, whatever it asks."""


@dataclass(slots=True)
class _Quote:
    """What we know of one miner's price."""

    price: Price | None = None
    next_try: float = 0.0
    """Loop time."""
    rest: float = _FIRST_REST


def build_entries(slots: list[MinerSlot]) -> list[MinerEntry]:
    """Entries without prices: the share is measured against the best miner of the last closed epoch."""
    best = max((slot.consensus for slot in slots), default=0)
    entries = []
    for slot in slots:
        share = slot.consensus / best if best else 0.0
        proven = share >= PROVEN_SHARE
        entries.append(
            MinerEntry(slot.uid, slot.generation, slot.owner, slot.operator, slot.endpoint, share, proven, price=None)
        )
    return entries


class Directory:
    """A market's miners, refreshed by polling. All of one picture belongs to one block; prices are newer."""

    def __init__(
        self,
        ledger: Ledger,
        market: str,
        poll_seconds: float = 2.0,
        *,
        caller: Caller | None = None,
        floor: Price | None = None,
    ) -> None:
        """Nothing is read yet. `floor` is the market's pay floor: see `subnets.PayFloor`."""
        self._floor = floor or Price()
        self._ledger, self._market, self._poll_seconds = ledger, ledger.market(market), poll_seconds
        # Anybody may ask for a price, so nobody needs to know who asks.
        self._caller, self._owns_caller = caller or Caller(Key.generate()), caller is None
        self._entries: dict[int, MinerEntry] = {}
        self._quotes: dict[tuple[str, str], _Quote] = {}
        self._status: MarketStatus | None = None
        self.block = 0
        """The block that the picture belongs to."""

    @property
    def status(self) -> MarketStatus:
        """Epoch, phase and their ends, as of `block`."""
        assert self._status is not None, "refresh() comes first"
        return self._status

    @property
    def epoch(self) -> int:
        """The running epoch."""
        return self.status.epoch

    def miners(self) -> list[MinerEntry]:
        """Those registered, in order of uid."""
        return list(self._entries.values())

    def entry(self, uid: int) -> MinerEntry | None:
        """The miner in a slot, None when it is empty."""
        return self._entries.get(uid)

    async def refresh(self) -> None:
        """Read the ledger, and ask those whose price is unknown or old. A miner that is silent is asked less often.

        Raises:
            ChainError: the ledger cannot be read; the last picture stays.
        """
        status, slots = await self._read()
        entries = build_entries(slots)
        async with asyncio.TaskGroup() as group:
            for entry in entries:
                group.create_task(self._quote(entry))
        self._status = status
        known = {(entry.endpoint, entry.operator) for entry in entries}
        self._quotes = {name: quote for name, quote in self._quotes.items() if name in known}
        self._entries = {
            entry.uid: replace(entry, price=self._quotes[entry.endpoint, entry.operator].price, floor=self._floor)
            for entry in entries
        }

    async def run(self) -> None:
        """Refresh until cancelled; an unreachable chain is waited for."""
        try:
            while True:
                await asyncio.sleep(self._poll_seconds)
                try:
                    await self.refresh()
                except (ChainError, UnreachableError) as error:
                    log.warning("directory.stale why=%r", str(error))
        finally:
            await self.close()

    async def close(self) -> None:
        """Drop the connections."""
        if self._owns_caller:
            await self._caller.close()

    async def _read(self) -> tuple[MarketStatus, list[MinerSlot]]:
        """Status and slots of one block: read again when a block came in between."""
        for _ in range(_SAME_BLOCK_TRIES):
            head = await self._ledger.rpc.head()
            status, slots = await asyncio.gather(self._market.status(), self._market.miners())
            self.block = head.number
            if (await self._ledger.rpc.head()).hash == head.hash:
                break
        return status, slots

    async def _quote(self, entry: MinerEntry) -> None:
        quote = self._quotes.setdefault((entry.endpoint, entry.operator), _Quote())
        loop = asyncio.get_running_loop()
        if loop.time() < quote.next_try:
            return
        try:
            peer = self._caller.peer(entry.endpoint, entry.operator)
            info = await self._caller.fetch_info(peer, deadline=loop.time() + INFO_SECONDS)
            quote.price = parse_price(info.get("price"))
        except MinerError as error:
            log.info("directory.silent uid=%d why=%r", entry.uid, str(error))
        else:
            quote.next_try, quote.rest = loop.time() + PRICE_SECONDS, _FIRST_REST
            return
        quote.next_try = loop.time() + quote.rest
        quote.rest = min(2 * quote.rest, _LONGEST_REST)


def parse_price(value: Any) -> Price | None:
    """Read a price from a stranger's JSON; None when it is none."""
    if not isinstance(value, dict):
        return None
    parts = [value.get(name) for name in ("per_request", "prompt_per_1k", "completion_per_1k")]
    if not all(type(part) is int and 0 <= part <= _MAX_PRICE for part in parts):
        return None
    return Price(*(int(part) for part in parts if part is not None))
