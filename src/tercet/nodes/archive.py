"""The validator's door for other validators: hands out its log of a closed epoch, and the entries that the beacon picked.

Nothing else of it, nothing before the epoch is closed, and to nobody but the validators of its market.
"""

from __future__ import annotations

from typing import Any

from tercet.chain.audits import AuditsContract
from tercet.chain.market import MarketContract
from tercet.errors import RefusalError
from tercet.market.audit import sample_index
from tercet.nodes.audit_log import build_entries, list_entries
from tercet.nodes.book import Book
from tercet.nodes.server import Call, FreeWork, Route, Work, read_object

__all__ = ["ENTRY_ROUTE", "LOG_ROUTE", "Archive"]

LOG_ROUTE, ENTRY_ROUTE = "audit-log", "audit-entry"


class Archive:
    """Routes over one validator's book. `refresh` it whenever the chain was looked at."""

    def __init__(self, market: MarketContract, audits: AuditsContract, book: Book) -> None:
        self._market, self._audits, self._book = market, audits, book
        self._peers: frozenset[str] = frozenset()
        self._epoch = 0
        self._beacons: dict[int, bytes] = {}

    @property
    def routes(self) -> dict[str, Route]:
        """For a `WireServer`."""
        return {LOG_ROUTE: self._log, ENTRY_ROUTE: self._entry}

    def weigh(self, sender: str) -> float:
        """Validators of this market are known, everybody else is a stranger."""
        return 1.0 if sender in self._peers else 0.0

    def info(self) -> dict[str, Any]:
        """What stands at /tercet/v1/info."""
        return {"role": "validator", "market": self._market.address}

    async def refresh(self, epoch: int) -> None:
        """Learn who the validators are in the running epoch."""
        self._epoch = epoch
        self._peers = frozenset(slot.operator for slot in await self._market.validators())

    async def _log(self, call: Call) -> Work:
        """`{"epoch": n}` -> `{"pool", "entries": [[uid, generation, kind, score, package hash], ...]}`."""
        epoch = self._closed_epoch(call)
        pool, kept = self._book.log(epoch)
        return FreeWork({"pool": pool, "entries": list_entries(build_entries(self._market.address, epoch, pool, kept))})

    async def _entry(self, call: Call) -> Work:
        """`{"epoch": n, "sample": i}` -> `{"index", "package"}`."""
        epoch = self._closed_epoch(call)
        sample = read_object(call.body).get("sample")
        pool, kept = self._book.log(epoch)
        if type(sample) is not int or not 0 <= sample < await self._audits.samples() or not kept:
            raise RefusalError("bad_task")
        index = sample_index(await self._beacon(epoch), pool, sample, len(kept))
        return FreeWork({"index": index, "package": kept[index][1].decode()})

    def _closed_epoch(self, call: Call) -> int:
        epoch = read_object(call.body).get("epoch")
        if not self.weigh(call.head.sender):
            raise RefusalError("not_found")
        if type(epoch) is not int or not 0 <= epoch < self._epoch:
            raise RefusalError("bad_task")
        return epoch

    async def _beacon(self, epoch: int) -> bytes:
        """Only of a round that was opened: until then nobody needs entries."""
        if epoch not in self._beacons:
            opened = await self._audits.round(self._market.address, epoch)
            if opened is None:
                raise RefusalError("bad_task")
            self._beacons = {epoch: opened.beacon, **dict(list(self._beacons.items())[:3])}
        return self._beacons[epoch]
