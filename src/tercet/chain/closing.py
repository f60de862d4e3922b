"""Closing an epoch: begin, settle its pages with hints, finish. Anybody may, any number at once.

Each step looks where the chain stands, so it can be stopped and taken up at any point, also by
somebody else; whoever is slower finds the step done and goes on with the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tercet.chain.market import MarketContract, MarketStatus, Phase, ValidatorSlot
from tercet.chain.rpc import Receipt
from tercet.chain.sender import Sender
from tercet.errors import AlreadyDoneError, WrongHintError, WrongPhaseError
from tercet.market.epoch import STAKE_UNIT, MarketState, Seat, close_market_epoch, unpack_row

_GAS_A_TRANSACTION = 2_000_000
"""Aimed at; a single page of a full market may take more, up to 3 million."""
_GAS_A_SEAT = 35_000
"""For one page and one validator, measured, the first epoch's storage included."""
_UNCAPPED = 10_000
_MANY_COLUMNS = 128
"""From here on miners are paid in a transaction of their own: two pots for a full market's first pay do not fit one."""
_ATTEMPTS = 12
_PATIENCE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Closing:
    """What closing took of us."""

    epoch: int
    """The epoch that is closed now."""
    transactions: int
    """Of ours that went through; 0 when others did it all."""
    gas_used: int


async def read_state(market: MarketContract, *, bonds: bool = True) -> MarketState:
    """All that the epoch's maths reads, from the chain. Exact while the market is closing.

    From the closing's begin on the weights of the stakes stand in the market, permits and cap applied; before that
    they are what the stakes contract would answer now.

    Args:
        market: which one.
        bonds: False leaves them 0, which is enough for hints.
    """
    status, params = await market.status(), await market.params()
    seats, generations = await market.validators(), await market.generations()
    rules = params.rules()
    if status.phase is Phase.CLOSING:
        stakes = [slot.weight * STAKE_UNIT for slot in seats]
        rules = replace(rules, weight_cap_bps=_UNCAPPED, max_validators=len(seats))
    else:
        stakes = list(await (await market.stakes()).effective([slot.pool for slot in seats], params.min_stake))
    by_vid = {slot.vid: (slot, stake) for slot, stake in zip(seats, stakes, strict=True)}
    count = max(by_vid, default=-1) + 1
    rows = {slot.vid: await market.row(slot.vid) for slot in seats if slot.revealed == status.epoch + 1}
    stored = {vid: await market.bonds(vid) for vid in by_vid} if bonds else {}
    empty = (0,) * status.columns
    return MarketState(
        epoch=status.epoch,
        rules=rules,
        seats=tuple(_seat(by_vid.get(vid), rows.get(vid, ())) for vid in range(count)),
        generations=generations[: status.columns],
        bonds=tuple(stored[vid][: status.columns] if vid in stored else empty for vid in range(count)),
        closed_generation=await market.closed_generation(),
        reward=status.reward,
    )


def _seat(found: tuple[ValidatorSlot, int] | None, words: tuple[int, ...]) -> Seat | None:
    if found is None:
        return None
    slot, stake = found
    row = tuple(unpack_row(words))
    return Seat(stake, slot.generation, slot.committed, slot.revealed, slot.as_of, row)


async def close_epoch(market: MarketContract, sender: Sender) -> Closing:
    """Close the epoch that is over; return when it is closed, by us or by others.

    Raises:
        WrongPhaseError: the epoch is still running, or the market has ended.
        RevertedError: the contract keeps refusing.
    """
    start = await market.status()
    if start.phase not in (Phase.READY, Phase.CLOSING):
        raise WrongPhaseError(_not_yet(start), reason="market: epoch is not over")
    work = _Work(market, sender, start.epoch)
    failures = 0
    while True:
        status = await market.status()
        if status.epoch != start.epoch:
            return Closing(start.epoch, work.transactions, work.gas_used)
        try:
            await work.step(status)
        except (AlreadyDoneError, WrongPhaseError, WrongHintError):
            # Somebody was faster, or the stakes moved before the closing began: look again.
            failures += 1
            if failures >= _ATTEMPTS:
                raise
            await asyncio.sleep(_PATIENCE_SECONDS * failures / _ATTEMPTS)


def _not_yet(status: MarketStatus) -> str:
    if status.phase is Phase.ENDED:
        return "The market is wound down; no epoch is left to close."
    return f"Epoch {status.epoch} runs until {status.reveal_ends} (Unix seconds, the chain's clock). Close it then."


class _Work:
    """One party's part in closing one epoch."""

    def __init__(self, market: MarketContract, sender: Sender, epoch: int) -> None:
        self._market, self._sender, self._epoch = market, sender, epoch
        self._hints: tuple[int, ...] = ()
        self._seats = 1
        self.transactions = 0
        self.gas_used = 0

    async def step(self, status: MarketStatus) -> None:
        """One transaction further."""
        if status.phase is Phase.READY:
            await self._begin(status)
        elif status.next_page < status.pages:
            await self._settle(status)
        elif status.next_page == status.pages and status.columns > _MANY_COLUMNS:
            await self._do(lambda: self._market.pay_miners(self._sender))
        else:
            await self._do(lambda: self._market.finish_close(self._sender))

    async def _begin(self, status: MarketStatus) -> None:
        await self._compute()
        if status.pages <= self._pages_at_once() and status.columns <= _MANY_COLUMNS:
            try:
                await self._do(lambda: self._market.close_at_once(self._sender, self._hints))
            except WrongHintError:
                self._hints = ()
                raise
        else:
            await self._do(lambda: self._market.begin_close(self._sender))
            self._hints = ()

    async def _settle(self, status: MarketStatus) -> None:
        if not self._hints:
            await self._compute()  # nothing can move while the market is closing
        first = status.next_page
        hints = self._hints[first : first + self._pages_at_once()]
        try:
            await self._do(lambda: self._market.settle_pages(self._sender, first, hints))
        except WrongHintError:
            self._hints = ()
            raise

    async def _compute(self) -> None:
        state = await read_state(self._market, bonds=False)
        if state.epoch != self._epoch:
            raise AlreadyDoneError(
                f"Epoch {self._epoch} was closed meanwhile.", reason="market: page is not the next one"
            )
        self._seats = max(1, sum(seat is not None for seat in state.seats))
        self._hints = close_market_epoch(state).hints

    def _pages_at_once(self) -> int:
        return max(1, _GAS_A_TRANSACTION // (_GAS_A_SEAT * self._seats))

    async def _do(self, transaction: Callable[[], Awaitable[Receipt]]) -> None:
        receipt = await transaction()
        self.transactions += 1
        self.gas_used += receipt.gas_used
