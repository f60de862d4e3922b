"""Brings a market the money that waits outside: its part of fees, and emission that has fallen due. Anyone may do it.

Validators do it by turns, in each epoch another one first, so that the gas is shared; who comes later finds it done, or
steps in for one that is away. It runs beside the epochs: no closing waits for it, and none fails with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tercet.chain.emission import Award, live_awards
from tercet.chain.ledger import Ledger
from tercet.chain.market import MarketContract
from tercet.chain.sender import Sender
from tercet.errors import AlreadyDoneError, ChainError, UnreachableError, WrongPhaseError

__all__ = ["Collector", "Due", "choose_due"]

log = logging.getLogger(__name__)

LEAST_OF_REWARD = 1_000
"""Fees are worth the gas from this part of an epoch's reward on; less waits until there is more."""
LEAST_OF_AWARD = 24
"""An award is collected in at most so many parts."""
LONGEST_PAUSE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Due:
    """What is worth bringing in now."""

    fees: int
    """Reward token base units; 0 means none."""
    periods: tuple[int, ...]
    """Whose awards."""


def choose_due(pending: int, reward: int, awards: dict[int, Award]) -> Due:
    """Decide what is worth the gas.

    Args:
        pending: fees that wait for the market, reward token base units.
        reward: of its running epoch, the same.
        awards: by period, those whose claims live.

    """
    fees = pending if pending * LEAST_OF_REWARD >= reward else 0
    periods = [
        period
        for period, award in awards.items()
        if award.due and (award.due * LEAST_OF_AWARD >= award.amount or award.paid + award.due == award.amount)
    ]
    return Due(fees, tuple(periods))


class Collector:
    """Does it for one market with one key."""

    def __init__(self, ledger: Ledger, market: MarketContract, sender: Sender) -> None:
        self._ledger, self._market, self._sender = ledger, market, sender
        self._errand: asyncio.Task[None] | None = None
        self._epoch: int | None = None

    def notice(self, epoch: int, place: int, seats: int, epoch_seconds: float) -> None:
        """An epoch runs: once in each, look what is due when our turn comes. Returns at once.

        Args:
            epoch: its number.
            place: our seat's, among all in order of vid.
            seats: how many there are.
            epoch_seconds: how long it lasts at the least; all have had their turn in its first half.

        """
        if epoch == self._epoch:
            return
        self._epoch = epoch
        if self._errand is not None and not self._errand.done():
            return  # still sending; what is left is left for the next epoch
        pause = min(LONGEST_PAUSE_SECONDS, epoch_seconds / 2 / seats)
        self._errand = asyncio.create_task(self._wait_and_bring((place - epoch) % seats * pause))

    async def done(self) -> None:
        """Wait for what was begun."""
        if self._errand is not None:
            await self._errand

    async def _wait_and_bring(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            await self.bring_in()
        except (ChainError, UnreachableError) as error:
            log.warning("collect.postponed why=%r", str(error))
        except Exception:
            # Never the end of anything: the money waits where it is, and the next epoch brings another look.
            log.exception("collect.failed")

    async def bring_in(self) -> int:
        """Look, and send what is worth it; how many transactions went through.

        Raises:
            ChainError: the chain refuses, for instance because the key has no gas.
            UnreachableError: no answer from the node.

        """
        ledger, address = self._ledger, self._market.address
        pending, awards, status = await asyncio.gather(
            ledger.fees.pending(address), live_awards(ledger.emission, address), self._market.status()
        )
        due, sent = choose_due(pending, status.reward, awards), 0
        if due.fees:
            sent += await self._send("fees", lambda: ledger.fees.forward(self._sender, address))
        for period in due.periods:
            sent += await self._send("emission", lambda: ledger.emission.collect(self._sender, address, period))  # noqa: B023 - awaited here
        return sent

    async def _send(self, what: str, transaction: Callable[[], Awaitable[int]]) -> int:
        try:
            units = await transaction()
        except (AlreadyDoneError, WrongPhaseError) as error:
            log.info("collect.late what=%s why=%r", what, error.reason)
            return 0
        log.info("collect.brought what=%s units=%d", what, units)
        return 1
