"""A buyer's payment channels: opened when first needed, topped up before they run dry, closed after notice."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

from tercet.chain.keys import Key
from tercet.chain.ledger import Ledger
from tercet.chain.sender import Sender
from tercet.chain.voucher import name_asker
from tercet.errors import BudgetError, InsufficientFundsError, MinerUnreachable
from tercet.market import CREDIT, Amount, ChannelConfig
from tercet.nodes.buyer_book import Account, BuyerBook, Promise
from tercet.nodes.directory import MinerEntry

log = logging.getLogger(__name__)

TOP_UP_BELOW = 0.5
"""A top-up starts when less than this part of a deposit is left to promise."""
LOST_SHARE = 0.25
"""When unanswered requests hold more than this part of the deposit, one request goes alone and settles them."""
LOST_DEPOSITS = 2
"""A miner that leaves more than so many deposits unanswered gets no more."""


class Channels:
    """One channel for each miner, all paid by one key. A request waits for the chain only when it must."""

    def __init__(
        self, key: Key, ledger: Ledger, path: Path, *, deposit: int, notice_seconds: int | None, account: str = ""
    ) -> None:
        """`account` is a smart account that pays and takes the key's signatures as its own; empty: the key pays."""
        self._key, self._ledger, self._deposit, self._notice = key, ledger, deposit, notice_seconds
        self._account = account
        self._sender = Sender(ledger.rpc, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.book = BuyerBook(path, ledger.deployment.domain, key)
        self._opening: dict[tuple[str, str], asyncio.Task[Account]] = {}
        self._topping: dict[bytes, asyncio.Task[None]] = {}
        self._quiet: dict[bytes, asyncio.Event] = {}
        self._checked: set[bytes] = set()

    async def close(self) -> None:
        """Write the book, end what runs."""
        running: list[asyncio.Task[Any]] = [*self._opening.values(), *self._topping.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self.book.close()

    def known(self, miner: MinerEntry) -> Account | None:
        """The open channel that pays a miner, when there is one that was checked already."""
        account = self.book.find(miner.operator, miner.owner)
        return account if account is not None and account.channel in self._checked else None

    async def ready(self, miner: MinerEntry) -> Account:
        """The open channel that pays a miner. Goes on opening when the one who waits is cancelled."""
        account = self.known(miner)
        if account is not None:
            return account
        name = (miner.operator, miner.owner)
        task = self._opening.get(name)
        if task is None:
            task = self._opening[name] = asyncio.create_task(self._open(miner))
            task.add_done_callback(lambda done: self._opened(name, done))
        return await asyncio.shield(task)

    def _opened(self, name: tuple[str, str], done: asyncio.Task[Account]) -> None:
        del self._opening[name]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.warning("channel.not_opened miner=%s why=%r", name[0], str(error))

    async def _open(self, miner: MinerEntry) -> Account:
        """A channel from the book, checked against the chain, or a new one."""
        account = self.book.find(miner.operator, miner.owner)
        if account is not None:
            on_chain = await self._ledger.escrow.channel(account.channel)
            self.book.set_deposit(account, on_chain.balance, closed=on_chain.closed or on_chain.withdrawable_at > 0)
            if account.closed:
                account = None
        if account is None:
            account = self.book.add(miner.operator, await self._config(miner))
        if account.deposit == 0:
            await self._pay_in(account, opening=True)
        self._checked.add(account.channel)
        return account

    async def _config(self, miner: MinerEntry) -> ChannelConfig:
        notice = self._notice
        if notice is None:
            notice = await self._ledger.escrow.min_withdraw_delay()
        me, credit = self._account or self._key.address, self._ledger.deployment.credit
        salt = name_asker(self._key.address, os.urandom(12)) if self._account else os.urandom(32)
        return ChannelConfig(me, me, miner.owner, miner.operator, credit, notice, salt)

    async def _pay_in(self, account: Account, *, opening: bool) -> None:
        """Deposit once more. Signed for by EIP-3009, so that one transaction does it."""
        escrow, amount = self._ledger.escrow, self._deposit
        try:
            permission = await escrow.authorize_deposit(self._key, account.config, amount, salt=os.urandom(32))
            if opening:
                await escrow.open_authorized(self._sender, account.config, amount, permission)
            else:
                await escrow.top_up_authorized(self._sender, account.config, amount, permission)
        except InsufficientFundsError as error:
            raise BudgetError(
                f"{account.config.payer} cannot pay {Amount(amount, CREDIT)} into a channel: {error}"
            ) from error
        finally:
            # Also when no receipt came: the deposit may be there all the same.
            on_chain = await escrow.channel(account.channel)
            self.book.set_deposit(account, on_chain.balance, closed=on_chain.closed)
        log.info("channel.paid_in miner=%s deposit=%d", account.operator, account.deposit)

    def promise_now(self, account: Account, reserve: int) -> Promise | None:
        """A promise, or None when there is something to wait for first: see `promise`."""
        if account.debt.lost > account.deposit * LOST_SHARE:
            return None
        try:
            return self._promise(account, reserve)
        except BudgetError:
            return None

    def _promise(self, account: Account, reserve: int) -> Promise:
        promise = self.book.promise(account, reserve)
        if account.deposit - promise.voucher.max_claimable < self._deposit * TOP_UP_BELOW:
            self._top_up(account)
        return promise

    def _top_up(self, account: Account) -> asyncio.Task[None]:
        """Start a top-up in the background, unless one is under way."""
        task = self._topping.get(account.channel)
        if task is None or task.done():
            task = self._topping[account.channel] = asyncio.create_task(self._pay_in(account, opening=False))
            task.add_done_callback(_log_failed)
        return task

    async def promise(self, account: Account, reserve: int) -> Promise:
        """A promise; waits for a top-up when the deposit is used up, or for quiet when too much is unanswered."""
        if account.debt.lost > LOST_DEPOSITS * self._deposit:
            raise MinerUnreachable(
                f"The miner {account.operator} left requests worth {Amount(account.debt.lost, CREDIT)} unanswered. "
                "It gets no more on this channel; take the rest back with request_close and withdraw."
            )
        while account.debt.lost > account.deposit * LOST_SHARE and account.pending:
            await self._quiet.setdefault(account.channel, asyncio.Event()).wait()
        if reserve > self._deposit:
            raise BudgetError(
                f"One request reserves {Amount(reserve, CREDIT)}, a channel is filled with {Amount(self._deposit, CREDIT)}"
                " at a time. Raise the deposit, or lower what the task may use."
            )
        while True:
            try:
                return self._promise(account, reserve)
            except BudgetError:
                await asyncio.shield(self._top_up(account))

    def ended(self, account: Account) -> None:
        """One request less in flight."""
        event = self._quiet.get(account.channel)
        if event is not None and not account.pending:
            event.set()
            event.clear()

    # the end of a channel

    async def request_close(self) -> int:
        """Give notice on every open channel that the key pays; how many. Finish with `withdraw` after the notices.

        A smart account has to do both itself, by calling the escrow.
        """
        count = 0
        for account in self._own():
            on_chain = await self._ledger.escrow.channel(account.channel)
            if on_chain.is_open and not on_chain.withdrawable_at:
                await self._ledger.escrow.request_close(self._sender, account.config)
                self._checked.discard(account.channel)
                count += 1
        return count

    async def withdraw(self) -> int:
        """Take back what is left in channels whose notice is over; credit units."""
        total, now = 0, (await self._ledger.rpc.head()).timestamp
        for account in self._own():
            on_chain = await self._ledger.escrow.channel(account.channel)
            if on_chain.is_open and 0 < on_chain.withdrawable_at <= now:
                total += await self._ledger.escrow.withdraw(self._sender, account.config)
                self.book.set_deposit(account, on_chain.total_claimed, closed=True)
        return total

    def _own(self) -> list[Account]:
        return [account for account in self.book.accounts() if account.config.payer == self._key.address]


def _log_failed(done: asyncio.Task[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("channel.not_topped_up why=%r", str(error))
