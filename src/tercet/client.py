"""The front door: facts from the ledger, and the intents that commands share.

Facts are frozen values read from contracts and their events. Intents are a few transactions each, sent by a key that
the caller holds. Knows no files, no settings and no terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tercet.chain.bindings import BoundContract
from tercet.chain.keys import Key, checksum_address, parse_address
from tercet.chain.ledger import Deployment, Ledger
from tercet.chain.logs import Event, read_events
from tercet.chain.market import MarketContract, MinerSlot, ValidatorSlot
from tercet.chain.registry import Listing, MarketParams
from tercet.chain.rpc import Rpc
from tercet.chain.sender import Sender
from tercet.errors import InvalidKeyError, UsageError
from tercet.market.epoch import unpack_row

__all__ = ["Balance", "Client", "ClosedEpoch", "UnknownMarketError", "connect"]

MARKET_EVENTS = ("PageSettled", "WeightsRevealed", "MinerRewarded", "ValidatorRewarded", "EpochClosed")
_PAGE_COLUMNS = 16


class UnknownMarketError(UsageError):
    """No market goes by that name, or several do."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds, in base units."""

    address: str
    gas: int
    """Of the chain's own coin, wei."""
    credit: int
    stake: int


@dataclass(frozen=True, slots=True)
class ClosedEpoch:
    """What one closed epoch agreed on and paid. Amounts in stake token base units."""

    number: int
    block: int
    reward: int
    to_miners: int
    to_validators: int
    refunded: int
    """Went back to the sponsors."""
    consensus: Mapping[int, int] = field(default_factory=dict)
    """By uid, 0 is unspent: weight in 65,535ths, zeros left out."""
    rows: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """By vid: the row it revealed, in 65,535ths by uid."""
    miners: Mapping[int, int] = field(default_factory=dict)
    """By uid: reward."""
    validators: Mapping[int, int] = field(default_factory=dict)
    """By vid: reward."""


@contextlib.asynccontextmanager
async def connect(url: str, deployment: Deployment) -> AsyncIterator[Client]:
    """A client of the contracts at `url`; makes sure that they are there.

    Raises:
        ChainUnreachableError: nobody answers.
        WrongChainError: another chain.
        DeploymentError: the contracts are not on it.

    """
    async with Rpc(url, chain_id=deployment.chain_id) as rpc:
        ledger = Ledger(rpc, deployment)
        await ledger.check()
        yield Client(ledger)


class Client:
    """The ledger with a person's words: markets by name, epochs as results, balances by address."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def sender(self, key: Key) -> Sender:
        """Who sends: one per key, kept by the caller."""
        return Sender(self.ledger.rpc, key)

    # facts

    async def find_market(self, name: str) -> Listing:
        """The market of this name or address; a name may also be that of its subnet when it is the only one.

        Raises:
            UnknownMarketError: there is none, or there are several.

        """
        listings = await self.ledger.registry.list_markets()
        with contextlib.suppress(InvalidKeyError):
            address = checksum_address(parse_address(name))
            listings = [listing for listing in listings if listing.market == address]
            return self._only(listings, name)
        named = [listing for listing in listings if listing.name == name]
        return self._only(named or [listing for listing in listings if listing.subnet == name], name)

    @staticmethod
    def _only(found: Sequence[Listing], name: str) -> Listing:
        if not found:
            raise UnknownMarketError(
                f"No market goes by {name!r} on this chain. List them with: tercet market list; open one with: tercet market create."
            )
        if len(found) > 1:
            addresses = ", ".join(listing.market for listing in found)
            raise UnknownMarketError(f"{len(found)} markets go by {name!r}. Say which by its address: {addresses}.")
        return found[0]

    async def balance(self, address: str) -> Balance:
        """What an account holds now."""
        gas, credit, stake = await asyncio.gather(
            self.ledger.rpc.balance(address), self.ledger.credit.balance(address), self.ledger.token.balance(address)
        )
        return Balance(address, gas, credit, stake)

    def contracts(self, markets: Iterable[MarketContract] = ()) -> Sequence[BoundContract]:
        """Everything that logs events: the deployment's contracts and some markets."""
        ledger = self.ledger
        return [
            ledger.token,
            ledger.credit,
            ledger.registry,
            ledger.escrow,
            ledger.jobs,
            ledger.fees,
            ledger.emission,
            *markets,
        ]

    async def events(
        self, contracts: Iterable[BoundContract], first: int | None = None, *, names: Iterable[str] = ()
    ) -> AsyncIterator[Event]:
        """What these contracts told, in chain order, since block `first` (or since they were deployed)."""
        start = self.ledger.deployment.block if first is None else first
        async for batch in read_events(self.ledger.rpc, contracts, start, events=names):
            for event in batch.events:
                yield event

    async def closed_epochs(self, market: MarketContract, first: int | None = None) -> list[ClosedEpoch]:
        """All epochs that `market` closed since block `first`, in order."""
        told: dict[int, list[Event]] = {}
        closed = []
        async for event in self.events([market], first, names=MARKET_EVENTS):
            told.setdefault(event.fields["epoch"], []).append(event)
            if event.name == "EpochClosed":
                closed.append(_build_epoch(event, told.pop(event.fields["epoch"])))
        return closed

    # intents

    async def open_market(self, sender: Sender, name: str, params: MarketParams) -> str:
        """Open a market that pays in the stake token, against the registry's refundable bond; its address."""
        ledger = self.ledger
        await ledger.token.ensure_allowance(sender, ledger.registry.address, await ledger.registry.bond())
        return await ledger.registry.open_market(sender, ledger.token.address, name, params)

    async def sponsor(self, sender: Sender, market: MarketContract, budget: int, epochs: int) -> int:
        """Pay `budget` stake units into the next `epochs`, the running one included; the sponsorship's number."""
        await self.ledger.token.ensure_allowance(sender, market.address, budget)
        return await market.sponsor(sender, budget, epochs)

    async def join_as_miner(self, sender: Sender, market: MarketContract, operator: str, endpoint: str) -> MinerSlot:
        """The sender's slot with this operator: taken against the deposit, or kept and its endpoint brought up to date."""
        slot = await self._miner_slot(market, operator)
        if slot is None:
            params = await market.params()
            await self.ledger.token.ensure_allowance(sender, market.address, params.miner_deposit)
            await market.register_miner(sender, operator, endpoint)
        elif slot.endpoint != endpoint:
            await market.set_endpoint(sender, slot.uid, endpoint)
        found = await self._miner_slot(market, operator)
        assert found is not None
        return found

    async def _miner_slot(self, market: MarketContract, operator: str) -> MinerSlot | None:
        return next((slot for slot in await market.miners() if slot.operator == operator), None)

    async def join_as_validator(
        self, sender: Sender, market: MarketContract, operator: str, stake: int
    ) -> ValidatorSlot:
        """The sender's seat with this operator: taken with `stake`, or kept as it is."""
        seat = await self.validator_seat(market, operator)
        if seat is None:
            await self.ledger.token.ensure_allowance(sender, market.address, stake)
            await market.register_validator(sender, operator, stake)
            seat = await self.validator_seat(market, operator)
        assert seat is not None
        return seat

    async def validator_seat(self, market: MarketContract, operator: str) -> ValidatorSlot | None:
        """The seat that `operator` votes for, if there is one."""
        return next((seat for seat in await market.validators() if seat.operator == operator), None)


def _build_epoch(close: Event, own: Sequence[Event]) -> ClosedEpoch:
    pages = {e.fields["page"]: unpack_row([e.fields["consensus"]]) for e in own if e.name == "PageSettled"}
    weights = {_PAGE_COLUMNS * page + i: w for page, row in pages.items() for i, w in enumerate(row) if w}
    return ClosedEpoch(
        number=close.fields["epoch"],
        block=close.block,
        reward=close.fields["reward"],
        to_miners=close.fields["to_miners"],
        to_validators=close.fields["to_validators"],
        refunded=close.fields["refunded"],
        consensus=dict(sorted(weights.items())),
        rows={e.fields["vid"]: tuple(unpack_row(e.fields["words"])) for e in own if e.name == "WeightsRevealed"},
        miners={e.fields["uid"]: e.fields["amount"] for e in own if e.name == "MinerRewarded"},
        validators={e.fields["vid"]: e.fields["amount"] for e in own if e.name == "ValidatorRewarded"},
    )
