"""Asking smart accounts whether they stand by a voucher. Ordinary keys never come here.

One question to the chain for each new voucher, with a deadline, remembered for a short time: what a
contract said a while ago is worth nothing, since it may change its mind until the voucher is redeemed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Hashable
from typing import TypeVar

from tercet.chain.ledger import Ledger
from tercet.errors import ChainError, RefusalError, UnreachableError
from tercet.market import ChannelConfig, Voucher

__all__ = ["ANSWER_SECONDS", "SmartAccounts"]

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)

ANSWER_SECONDS = 3.0
"""How long a buyer waits for the chain at most."""
GOOD_SECONDS = 10.0
"""How long an answer is believed."""
_KEPT = 4_096
_AT_ONCE = 8
"""Questions under way; more wait, within their deadline."""


class SmartAccounts:
    """What contracts said about vouchers, and which addresses are contracts."""

    def __init__(self, ledger: Ledger, *, seconds: float = ANSWER_SECONDS) -> None:
        self._ledger, self._seconds = ledger, seconds
        self._told: OrderedDict[tuple[bytes, int, bytes], tuple[bool, float]] = OrderedDict()
        self._smart: OrderedDict[str, tuple[bool, float]] = OrderedDict()
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def stands_by(self, config: ChannelConfig, voucher: Voucher) -> bool:
        """Whether the channel's authorizer is a smart account that stands by the voucher now.

        Raises:
            RefusalError: `busy`, when the chain does not say in time.
        """
        try:
            async with asyncio.timeout(self._seconds), self._places:
                return await self._ask(config, voucher)
        except (ChainError, UnreachableError, TimeoutError) as error:
            log.warning("voucher.unread channel=%s why=%r", voucher.channel.hex()[:8], str(error) or "out of time")
            raise RefusalError("busy", retry_after=2) from error

    async def _ask(self, config: ChannelConfig, voucher: Voucher) -> bool:
        name = (voucher.channel, voucher.max_claimable, voucher.signature)
        told = _recall(self._told, name)
        if told is None:
            told = await self._is_smart(config.payer_authorizer)
            told = told and await self._ledger.escrow.stands_by(config, voucher)
            _remember(self._told, name, told)
        return told

    async def _is_smart(self, address: str) -> bool:
        """A key has no code, so a voucher that is not signed by it is nobody's."""
        smart = _recall(self._smart, address)
        if smart is None:
            smart = bool(await self._ledger.rpc.code(address))
            _remember(self._smart, address, smart)
        return smart


def _recall(answers: OrderedDict[K, tuple[bool, float]], name: K) -> bool | None:
    found = answers.get(name)
    return found[0] if found is not None and found[1] > asyncio.get_running_loop().time() else None


def _remember(answers: OrderedDict[K, tuple[bool, float]], name: K, answer: bool) -> None:
    answers[name] = answer, asyncio.get_running_loop().time() + GOOD_SECONDS
    answers.move_to_end(name)
    if len(answers) > _KEPT:
        answers.popitem(last=False)
