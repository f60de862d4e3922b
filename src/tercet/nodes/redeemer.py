"""Turns vouchers into money on chain, and watches that no payer leaves with what is owed.

Redeeming is a total, not an amount, so doing it twice pays once: a miner that dies between sending
and hearing of it reads the chain when it comes back, and finds what happened.
"""

from __future__ import annotations

import asyncio
import logging

from tercet.chain.ledger import Ledger
from tercet.chain.sender import Sender
from tercet.errors import ChainError, RevertedError, TercetError, UnreachableError
from tercet.market import ChannelConfig
from tercet.nodes.miner_book import MinerBook, Redemption

log = logging.getLogger(__name__)


class Redeemer:
    """Redeems a book's vouchers from `threshold` credit units, and any of a channel that closes."""

    def __init__(self, ledger: Ledger, sender: Sender, book: MinerBook, *, threshold: int, poll_seconds: float) -> None:
        self._ledger, self._sender, self._book = ledger, sender, book
        self._threshold, self._poll_seconds = threshold, poll_seconds
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Look at the chain and redeem, until cancelled."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.look()
                await self.redeem(self._threshold)
            except (ChainError, UnreachableError) as error:
                log.warning("redeem.postponed why=%r", str(error))

    async def look(self) -> None:
        """Read every channel that still owes us, or may: deposits grow, and payers give notice."""
        for channel, known in self._book.channels().items():
            if known.standing.charged > known.claimed or not known.closing:
                await self.read(channel, known.config)

    async def read(self, channel: bytes, config: ChannelConfig) -> None:
        """Write down what the chain says of one channel."""
        found = await self._ledger.escrow.channel(channel)
        closing = found.closed or found.withdrawable_at > 0
        self._book.put(config, found.balance, found.total_claimed, closing=closing)

    async def redeem(self, threshold: int) -> int:
        """Redeem all that is worth it; credit units taken from the channels, the network's fee included.

        What fails is logged and tried again later.
        """
        paid = 0
        async with self._one_at_a_time:
            for redemption in self._book.redemptions(threshold):
                try:
                    paid += await self._redeem_one(redemption)
                except TercetError as error:
                    log.warning("redeem.failed channel=%s why=%r", redemption.channel.hex()[:8], str(error))
        return paid

    async def _redeem_one(self, redemption: Redemption) -> int:
        await self.read(redemption.channel, redemption.config)
        known = self._book.get(redemption.channel)
        if known is None or known.claimed >= redemption.total:
            return 0
        try:
            paid = await self._ledger.escrow.redeem(
                self._sender, redemption.config, redemption.total, redemption.voucher
            )
        except RevertedError:
            await self.read(redemption.channel, redemption.config)
            known = self._book.get(redemption.channel)
            if known is not None and known.claimed >= redemption.total:
                return 0  # the other one who redeemed was us, before a restart
            raise
        await self.read(redemption.channel, redemption.config)
        log.info("redeem.done channel=%s units=%d total=%d", redemption.channel.hex()[:8], paid, redemption.total)
        return paid
