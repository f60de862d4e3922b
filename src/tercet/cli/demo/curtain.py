"""The end of the demo: everybody takes home what is theirs, by the same doors that are open to everybody always."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tercet.chain.closing import close_epoch
from tercet.chain.holdings import bring_home
from tercet.chain.keys import Key
from tercet.chain.market import MarketContract, Phase
from tercet.chain.stakes import EVERYTHING
from tercet.chain.voucher import channel_id
from tercet.client import Client
from tercet.errors import WrongPhaseError
from tercet.market import ChannelConfig
from tercet.nodes.miner_book import MinerBook

__all__ = ["Curtain", "wind_clock"]


async def wind_clock(client: Client, seconds: int) -> int:
    """Let the development chain's clock run ahead, and tell what it shows then; any other chain refuses."""
    drift = await client.ledger.rpc.call("evm_increaseTime", max(0, seconds))
    return int(time.time()) + int(drift, 16)


@dataclass(slots=True)
class Curtain:
    """Who owns what: keys by name, and the market they were in."""

    client: Client
    market: MarketContract

    async def redeem(self, key: Key, book: Path) -> int:
        """Redeem what a dead miner's book still holds; what it was worth in credit units."""
        ledger, paid = self.client.ledger, 0
        store = MinerBook(book, ledger.deployment.domain)
        try:
            for due in store.redemptions():
                on_chain = await ledger.escrow.channel(due.channel)
                if on_chain.is_open and on_chain.total_claimed < due.total:
                    paid += await ledger.escrow.redeem(self.client.sender(key), due.config, due.total, due.voucher)
        finally:
            store.close()
        return paid

    async def close_channels(self, keys: Sequence[Key], *, gone: Sequence[str]) -> None:
        """End every channel: receivers release theirs at once; where one is gone, its payer gives notice and waits."""
        ledger, by_address = self.client.ledger, {key.address: key for key in keys}
        opened = [event async for event in self.client.events([ledger.escrow], names=["ChannelOpened"])]
        waiting: list[ChannelConfig] = []
        for event in opened:
            config = ChannelConfig(*event.fields["config"])
            if not (await ledger.escrow.channel(event.fields["channel"])).is_open:
                continue
            if config.receiver in gone:
                await ledger.escrow.request_close(self.client.sender(by_address[config.payer]), config)
                waiting.append(config)
            else:
                await ledger.escrow.release(self.client.sender(by_address[config.receiver]), config)
        await wind_clock(self.client, max((config.withdraw_delay for config in waiting), default=0))
        for config in waiting:
            assert channel_id(ledger.deployment.domain, config)
            await ledger.escrow.withdraw(self.client.sender(by_address[config.payer]), config)

    async def leave(self, keys: Sequence[Key]) -> None:
        """All miners and validators give up their slots; the market has ended, so stake is free as soon as it is taken out."""
        by_address = {key.address: key for key in keys}
        stakes = await self.market.stakes()
        for slot in await self.market.miners():
            await self.market.leave_miner(self.client.sender(by_address[slot.owner]), slot.uid)
        for seat in await self.market.validators():
            sender = self.client.sender(by_address[seat.owner])
            await self.market.leave_validator(sender, seat.vid)
            await stakes.unstake(sender, seat.pool, EVERYTHING)

    async def withdraw(self, keys: Sequence[Key]) -> None:
        """Everybody takes what is due: rewards, refunds, stake."""
        for key in keys:
            holdings = await self.client.holdings(self.market, key.address)
            await bring_home(self.market, self.client.sender(key), holdings)

    async def finish_epoch(self, key: Key) -> None:
        """Close an epoch that somebody began to close, or whose time is over."""
        if (await self.market.status()).phase in (Phase.READY, Phase.CLOSING):
            with contextlib.suppress(WrongPhaseError):  # a validator was faster
                await close_epoch(self.market, self.client.sender(key))

    async def skip_epoch(self, key: Key) -> None:
        """End the running epoch now, whatever was revealed in it, by winding the development chain's clock."""
        status = await self.market.status()
        now = await wind_clock(self.client, 0)
        await wind_clock(self.client, status.reveal_ends - now + 1)
        await self.finish_epoch(key)

    async def wind_down(self, owner: Key) -> None:
        """The owner ends the market: its last epoch closes, nobody waits for unbonding any more, the bond comes back."""
        sender = self.client.sender(owner)
        await self.finish_epoch(owner)
        await self.market.wind_down(sender)
        await self.skip_epoch(owner)
        await self.client.ledger.registry.return_bond(sender, self.market.address)
