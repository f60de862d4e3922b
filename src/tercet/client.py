"""The front door: facts from the ledger, and the intents that commands share.

Facts are frozen values read from contracts and their events. Intents are a few transactions each, sent by a key that
the caller holds. Knows no files, no settings and no terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tercet.chain.bindings import BoundContract
from tercet.chain.holdings import Holdings, read_holdings
from tercet.chain.keys import Key, checksum_address, parse_address
from tercet.chain.ledger import Deployment, Ledger
from tercet.chain.logs import Event, read_events
from tercet.chain.market import MarketContract, MinerSlot, ValidatorSlot
from tercet.chain.registry import Listing, MarketParams
from tercet.chain.rpc import Rpc
from tercet.chain.sender import Sender
from tercet.chain.tokens import TokenContract
from tercet.errors import InvalidKeyError, UsageError
from tercet.market.epoch import unpack_row

__all__ = ["Balance", "Client", "ClosedEpoch", "UnknownMarketError", "connect"]

EPOCH_EVENTS = (
    *("PageSettled", "WeightsRevealed", "MinerRewarded", "Rewarded"),
    *("Poked", "EpochPaid", "EmissionPaid", "EpochClosed"),
)
PRICE_ROOM = 2
"""A miner's registration may cost so many times the price that was seen, unless its owner sets a limit: others may
register between the look and the transaction, and each of them raises the price by an eighth.
"""
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
    """What one closed epoch agreed on and paid. Amounts in reward token base units, unless said otherwise."""

    number: int
    block: int
    reward: int
    to_miners: int
    to_validators: int
    """Before validators share with those who delegated to them."""
    refunded: int
    """Went back to the sponsors."""
    pokes: int = 0
    """Went to whoever closed the epoch."""
    carried: int = 0
    """Of fees and donations, into the next epoch."""
    emission: int = 0
    """Paid or burned on top, stake token base units."""
    burned: int = 0
    """Of the emission: what nobody earned."""
    consensus: Mapping[int, int] = field(default_factory=dict)
    """By uid, 0 is unspent: weight in 65,535ths, zeros left out."""
    rows: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """By vid: the row it revealed, in 65,535ths by uid."""
    miners: Mapping[int, int] = field(default_factory=dict)
    """By uid: reward, and where it is paid in the same token, emission."""
    validators: Mapping[int, int] = field(default_factory=dict)
    """By vid: the same, what delegators get of it included."""
    pokers: Mapping[str, int] = field(default_factory=dict)
    """By address: reward for steps of closing."""


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

    async def contracts(self, markets: Iterable[MarketContract] = ()) -> Sequence[BoundContract]:
        """Everything that logs events: the deployment's contracts and some markets, each with its other three."""
        ledger = self.ledger
        theirs = [contract for market in markets for contract in await market.contracts()]
        network = [
            ledger.token,
            ledger.credit,
            ledger.registry,
            ledger.escrow,
            ledger.audits,
            ledger.jobs,
            ledger.fees,
            ledger.emission,
        ]
        return [*network, *theirs]

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
        _, reward_token = await market.tokens()
        seats = {
            e.fields["generation"]: e.fields["vid"] async for e in self.events([market], names=["ValidatorRegistered"])
        }
        told: list[Event] = []
        closed = []
        async for event in self.events(await market.contracts(), first, names=EPOCH_EVENTS):
            told.append(event)
            if event.name == "EpochClosed":
                closed.append(_build_epoch(event, told, seats, reward_token))
                told.clear()
        return closed

    async def holdings(self, market: MarketContract, who: str) -> Holdings:
        """What an account has in a market, and what of it could come home now."""
        return await read_holdings(market, who, self.ledger.deployment.block)

    # intents

    async def open_market(
        self, sender: Sender, name: str, params: MarketParams, *, reward_token: str | None = None
    ) -> str:
        """Open a market against the registry's refundable bond; its address. It pays in the stake token unless told."""
        ledger = self.ledger
        await ledger.token.ensure_allowance(sender, ledger.registry.address, await ledger.registry.bond())
        return await ledger.registry.open_market(sender, reward_token or ledger.token.address, name, params)

    async def sponsor(self, sender: Sender, market: MarketContract, budget: int, epochs: int) -> int:
        """Pay `budget` of the market's reward token into `epochs`, the running one included; the sponsorship's number."""
        treasury, (_, reward) = await market.treasury(), await market.tokens()
        await TokenContract(self.ledger.rpc, reward).ensure_allowance(sender, treasury.address, budget)
        return await treasury.sponsor(sender, budget, epochs)

    async def stake(self, sender: Sender, market: MarketContract, pool: int, amount: int) -> None:
        """Put stake units into a pool, the sender's own or another's; they count from the next epoch on."""
        stakes = await market.stakes()
        await self.ledger.token.ensure_allowance(sender, stakes.address, amount)
        await stakes.stake(sender, pool, amount)

    async def join_as_miner(
        self, sender: Sender, market: MarketContract, operator: str, endpoint: str, max_price: int | None = None
    ) -> MinerSlot:
        """The sender's slot with this operator: bought, or kept and its endpoint brought up to date.

        Args:
            sender: becomes the owner.
            market: which one.
            operator: signs answers.
            endpoint: where it answers.
            max_price: most to pay, stake units; None allows `PRICE_ROOM` times the price of now.

        """
        slot = await self._miner_slot(market, operator)
        if slot is None:
            await buy_slot(self.ledger, sender, market, operator, endpoint, max_price)
        elif slot.endpoint != endpoint:
            await market.set_endpoint(sender, slot.uid, endpoint)
        found = await self._miner_slot(market, operator)
        assert found is not None
        return found

    async def _miner_slot(self, market: MarketContract, operator: str) -> MinerSlot | None:
        return next((slot for slot in await market.miners() if slot.operator == operator), None)

    async def join_as_validator(
        self, sender: Sender, market: MarketContract, operator: str, stake: int, take_bps: int = 0
    ) -> ValidatorSlot:
        """The sender's seat with this operator: taken with `stake`, or kept as it is. It votes from the next epoch on."""
        seat = await self.validator_seat(market, operator)
        if seat is None:
            await self.ledger.token.ensure_allowance(sender, (await market.stakes()).address, stake)
            await market.register_validator(sender, operator, stake, take_bps)
            seat = await self.validator_seat(market, operator)
        assert seat is not None
        return seat

    async def validator_seat(self, market: MarketContract, operator: str) -> ValidatorSlot | None:
        """The seat that `operator` votes for, if there is one."""
        return next((seat for seat in await market.validators() if seat.operator == operator), None)


async def buy_slot(
    ledger: Ledger, sender: Sender, market: MarketContract, operator: str, endpoint: str, max_price: int | None = None
) -> None:
    """Register a miner for the price of now; without a limit it may be `PRICE_ROOM` times that."""
    limit = PRICE_ROOM * await market.price() if max_price is None else max_price
    await ledger.token.ensure_allowance(sender, market.address, limit)
    await market.register_miner(sender, operator, endpoint, limit)


async def queue_for_slot(
    ledger: Ledger, sender: Sender, market: MarketContract, operator: str, endpoint: str, max_price: int | None = None
) -> None:
    """Apply for a slot of a full market, at the price of now, unless this operator waits already."""
    if any(waiting.operator == operator for waiting in await market.applicants()):
        return
    limit = PRICE_ROOM * await market.price() if max_price is None else max_price
    await ledger.token.ensure_allowance(sender, market.address, limit)
    await market.apply_miner(sender, operator, endpoint, limit)


def _build_epoch(close: Event, told: Sequence[Event], seats: Mapping[int, int], reward_token: str) -> ClosedEpoch:
    number = close.fields["epoch"]
    own = [e for e in told if e.name == "Poked" or e.fields["epoch"] == number]
    paid = next(e.fields for e in own if e.name == "EpochPaid")
    emission = next((e.fields for e in own if e.name == "EmissionPaid"), {})
    pages = {e.fields["page"]: unpack_row([e.fields["consensus"]]) for e in own if e.name == "PageSettled"}
    weights = {_PAGE_COLUMNS * page + i: w for page, row in pages.items() for i, w in enumerate(row) if w}
    return ClosedEpoch(
        number=number,
        block=close.block,
        reward=paid["reward"],
        to_miners=paid["to_miners"],
        to_validators=paid["to_validators"],
        refunded=paid["refunded"],
        pokes=paid["pokes"],
        carried=paid["carried"],
        emission=emission.get("emission", 0),
        burned=emission.get("burned", 0),
        consensus=dict(sorted(weights.items())),
        rows={e.fields["vid"]: tuple(unpack_row(e.fields["words"])) for e in own if e.name == "WeightsRevealed"},
        miners=_sum_up(own, "MinerRewarded", "uid", reward_token),
        validators={seats[pool]: units for pool, units in _sum_up(own, "Rewarded", "pool", reward_token).items()},
        pokers=_sum_up(own, "Poked", "poker", None),
    )


def _sum_up(events: Iterable[Event], name: str, key: str, token: str | None) -> dict[Any, int]:
    """What such events say was paid, by whom it was paid to."""
    found: dict[Any, int] = {}
    for event in events:
        if event.name == name and token in (None, event.fields.get("token")):
            found[event.fields[key]] = found.get(event.fields[key], 0) + event.fields["amount"]
    return found
