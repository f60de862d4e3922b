"""A validator's seat on a real chain: where the market stands, and the transactions that a validator sends.

Knows the contract's client; decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from tercet.chain.closing import close_epoch
from tercet.chain.ledger import Ledger
from tercet.chain.market import MarketContract, ValidatorSlot, build_commit_digest
from tercet.chain.sender import Sender
from tercet.errors import NotRegisteredError
from tercet.market.epoch import pack_row
from tercet.nodes.book import Pledge
from tercet.nodes.collector import Collector
from tercet.nodes.schedule import ChainClock, EpochFacts, Phase

__all__ = ["ChainSeat"]

log = logging.getLogger(__name__)

_TIMESTAMP_PROGRAM = "0x4260005260206000f3"
"""Creation code that returns block.timestamp: what a view of a contract sees as now, on every EVM node.

The newest block's own timestamp will not do: a chain that mines on demand stands still between transactions.
"""


class ChainSeat:
    """The seat that `sender`'s key votes for, with verdicts of a mechanism of this version."""

    def __init__(self, ledger: Ledger, market: MarketContract, sender: Sender, version: int = 1) -> None:
        self._ledger, self._market, self._sender, self._version = ledger, market, sender, version
        self._clock = ChainClock()
        self.collector = Collector(ledger, market, sender)
        """Brings in, once an epoch, what waits outside the market."""

    async def slot(self) -> ValidatorSlot:
        """The seat as the contract has it.

        Raises:
            NotRegisteredError: this key votes for no seat.

        """
        slots = await self._market.validators()
        return slots[self._place(slots)]

    def _place(self, slots: Sequence[ValidatorSlot]) -> int:
        """Where our seat stands among all."""
        for place, slot in enumerate(slots):
            if slot.operator == self._sender.address:
                return place
        raise NotRegisteredError(
            f"{self._sender.address} is no validator's operator in the market {self._market.address}. "
            "Register with: tercet validate SUBNET, and a stake.",
            reason="market: caller is not a validator's operator",
        )

    async def identity(self) -> tuple[str, int]:
        """(market, pool): whose log an evaluation stands in."""
        return self._market.address, (await self.slot()).pool

    async def origin(self) -> str:
        """What a state folder of this seat belongs to; a chain that was started anew is another one."""
        chain_id, first, slot = await asyncio.gather(
            self._ledger.rpc.chain_id(), self._ledger.rpc.block(1), self.slot()
        )
        return f"chain {chain_id} from block 0x{first.hash.hex()[:16]}, market {self._market.address}, {slot.owner}"

    async def look(self) -> EpochFacts:
        """Where the market stands now."""
        status, slots, now = await asyncio.gather(self._market.status(), self._market.validators(), self._now())
        slot = slots[place := self._place(slots)]
        self.collector.notice(status.epoch, place, len(slots), status.reveal_ends - status.started_at)
        return EpochFacts(
            epoch=status.epoch,
            phase=Phase(int(status.phase)),
            now=now,
            started_at=status.started_at,
            commit_ends=status.commit_ends,
            reveal_ends=status.reveal_ends,
            committed=slot.committed == status.epoch + 1,
            revealed=slot.revealed == status.epoch + 1,
        )

    async def _now(self) -> float:
        found = await self._ledger.rpc.call("eth_call", {"data": _TIMESTAMP_PROGRAM}, "latest")
        return self._clock.observe(int(found, 16), time.monotonic())

    @property
    def market(self) -> str:
        """Address of the market."""
        return self._market.address

    async def beacon(self, epoch: int) -> bytes:
        """Chance that nobody knew before this epoch's reveals; zeros for all but the newest closed epoch."""
        return await self._market.beacon(epoch)

    async def commit(self, pledge: Pledge) -> None:
        """Send the digest of `pledge`."""
        chain_id, slot = await self._ledger.rpc.chain_id(), await self.slot()
        digest = build_commit_digest(
            chain_id,
            self._market.address,
            pledge.epoch,
            slot.owner,
            pledge.salt,
            pledge.as_of,
            pack_row(pledge.row),
            version=self._version,
            evidence=pledge.evidence,
        )
        await self._market.commit(self._sender, digest)

    async def reveal(self, pledge: Pledge) -> None:
        """Send the row and the salt."""
        await self._market.reveal(
            self._sender,
            pledge.as_of,
            pledge.salt,
            pack_row(pledge.row),
            version=self._version,
            evidence=pledge.evidence,
        )

    async def close_epoch(self) -> None:
        """Do what is left of closing the epoch; returns when it is closed, by whomever."""
        closing = await close_epoch(self._market, self._sender)
        log.info("epoch.closed epoch=%d transactions=%d gas=%d", closing.epoch, closing.transactions, closing.gas_used)
