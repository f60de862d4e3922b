"""Do the books balance? Every unit of both tokens, every flow between accounts and contracts, to the last unit.

Reads the chain's events and balances and the roles' own books; believes none of them alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tercet.chain.keys import NOBODY, Key
from tercet.chain.logs import Event
from tercet.chain.market import MarketContract
from tercet.chain.stakes import StakesContract
from tercet.chain.tokens import TokenContract
from tercet.chain.treasury import TreasuryContract
from tercet.cli.record import Account, Books, Flow
from tercet.cli.stage import Stage
from tercet.client import Client
from tercet.nodes.buyer_book import BuyerBook
from tercet.nodes.miner_book import MinerBook

__all__ = ["ChannelAccount", "audit", "name_holders", "read_channels"]

Symbol: TypeAlias = Literal["credit", "TCT"]


@dataclass(frozen=True, slots=True)
class ChannelAccount:
    """One channel in the roles' own books, in credit units."""

    miner: str
    """The actor that is paid from it."""
    earned: int
    """By the miner's: charged for whole answers."""
    owed: int
    """By the buyer's: acknowledged as charged."""
    signed: int
    """By the buyer's: the most that its vouchers allow."""
    redeemed: int
    """On the chain."""
    is_open: bool
    """Whether its vouchers can still be redeemed."""

    @property
    def cut_off(self) -> int:
        """Charged for answers that did not reach the buyer whole; 0 when that would be more than it had signed for."""
        return self.earned - self.owed if self.owed <= self.earned <= self.signed else 0


async def read_channels(client: Client, buyers: Mapping[Key, Path], miners: Mapping[str, Path]) -> list[ChannelAccount]:
    """Every channel as both of its ends have it in their own books.

    Args:
        client: of the chain.
        buyers: payer to its book.
        miners: actor to its book.

    """
    domain = client.ledger.deployment.domain
    owed: dict[bytes, tuple[int, int]] = {}
    for payer, path in buyers.items():
        bought = BuyerBook(path, domain, payer)
        owed |= {account.channel: (account.debt.charged, account.debt.signed) for account in bought.accounts()}
        bought.close()
    found = []
    for name, path in miners.items():
        book = MinerBook(path, domain)
        for channel, account in book.channels().items():
            charged, signed = owed.get(channel, (0, 0))
            there = await client.ledger.escrow.channel(channel)
            earned = account.standing.charged
            found.append(ChannelAccount(name, earned, charged, signed, there.total_claimed, there.is_open))
        book.close()
    return found


async def name_holders(client: Client, stage: Stage, markets: Sequence[MarketContract]) -> dict[str, str]:
    """Address to whose it is; with several markets a contract's name says of which it is."""
    ledger = client.ledger
    names = {contract.address: contract.name.lower() for contract in (ledger.escrow, ledger.registry)}
    for market in markets:
        whose = f"{await market.title()} " if len(markets) > 1 else ""
        names |= {contract.address: whose + contract.name.lower() for contract in await market.contracts()}
    people = {key.address: name for name, key in stage.keys.items()}
    return {**names, stage.faucet().address: "faucet", **people}


def _total(events: Sequence[Event], name: str, field: str, **where: object) -> int:
    return sum(
        event.fields[field]
        for event in events
        if event.name == name and all(event.fields[key] == value for key, value in where.items())
    )


async def audit(
    client: Client, markets: Sequence[MarketContract], names: Mapping[str, str], accounts: Sequence[ChannelAccount]
) -> Books:
    """All flows of a deployment that is as old as the demo.

    Args:
        client: of the chain.
        markets: all there are.
        names: address to whose it is; an unknown holder is called by its address.
        accounts: every channel as the roles wrote it down.

    """
    ledger = client.ledger
    told: dict[str, list[Event]] = defaultdict(list)
    async for event in client.events(await client.contracts(markets)):
        told[event.contract].append(event)
    flows: list[Flow] = []
    holdings: dict[Symbol, dict[str, int]] = {}
    tokens: list[tuple[Symbol, TokenContract]] = [("credit", ledger.credit), ("TCT", ledger.token)]
    for symbol, token in tokens:
        found, of_token = await _audit_token(symbol, token, told[token.address])
        holdings[symbol], flows = found, [*flows, *of_token]
    flows += await _audit_escrow(client, told[ledger.escrow.address], told[ledger.credit.address], accounts)
    theirs: list[Event] = []
    for market in markets:
        stakes, treasury = await market.stakes(), await market.treasury()
        of_market = [
            *await _audit_market(client, market, told[market.address]),
            *await _audit_stakes(client, stakes, told[stakes.address]),
            *await _audit_treasury(client, treasury, told[treasury.address], told[stakes.address]),
        ]
        whose = f"{await market.title()}: " if len(markets) > 1 else ""
        flows += [flow.model_copy(update={"name": whose + flow.name}) for flow in of_market]
        theirs += [*told[market.address], *told[stakes.address], *told[treasury.address]]
    flows.append(_audit_fire(told[ledger.token.address], theirs))
    flows += await _audit_registry(client, told[ledger.registry.address])
    owners = sorted({*holdings["credit"], *holdings["TCT"]}, key=lambda owner: names.get(owner, f"~{owner}"))
    holders = [
        Account(name=names.get(o, o), address=o, credit=holdings["credit"].get(o, 0), stake=holdings["TCT"].get(o, 0))
        for o in owners
    ]
    return Books(accounts=holders, flows=flows)


async def _audit_token(
    symbol: Symbol, token: TokenContract, events: Sequence[Event]
) -> tuple[dict[str, int], list[Flow]]:
    """Who holds what, and whether that is all there is."""
    replayed: dict[str, int] = defaultdict(int)
    for event in events:
        if event.name == "Transfer":
            replayed[event.fields["sender"]] -= event.fields["value"]
            replayed[event.fields["receiver"]] += event.fields["value"]
    burned = _total(events, "Transfer", "value", receiver=NOBODY)
    made = burned - replayed.pop(NOBODY, 0)
    held = {owner: await token.balance(owner) for owner in replayed}
    off = sum(abs(held[owner] - replayed[owner]) for owner in held)
    supply = await token.total_supply()
    whole = sum(held.values())
    return held, [
        Flow(name="all balances = the supply", unit=symbol, left=whole, right=supply),
        Flow(name="what was ever made = the supply + burned", unit=symbol, left=made, right=supply + burned),
        Flow(name="each balance = what its transfers add up to", unit=symbol, left=whole, right=whole + off),
    ]


async def _audit_escrow(
    client: Client, events: Sequence[Event], moves: Sequence[Event], accounts: Sequence[ChannelAccount]
) -> list[Flow]:
    deposits = _total(events, "ChannelOpened", "amount") + _total(events, "ToppedUp", "amount")
    redeemed, returned = _total(events, "Redeemed", "amount"), _total(events, "ChannelClosed", "returned")
    fees = _total(events, "Redeemed", "fee")
    escrow, sink = client.ledger.escrow.address, (await client.ledger.escrow.fee()).sink
    rest, sunk = (
        await client.ledger.credit.balance(escrow),
        _total(moves, "Transfer", "value", sender=escrow, receiver=sink),
    )
    # A miner keeps small vouchers while it works on; once its channels are closed, what it did not redeem is lost.
    unredeemed = sum(account.earned - account.redeemed for account in accounts if account.is_open)
    earned, owed = sum(account.earned for account in accounts), sum(account.owed for account in accounts)
    cut_off = sum(account.cut_off for account in accounts)
    return [
        Flow(
            name="deposits in channels = to miners + the network's fees + returned to buyers + still there",
            unit="credit",
            left=deposits,
            right=(redeemed - fees) + sunk + returned + rest,
        ),
        Flow(
            name="what miners charged, by their own books = what buyers owe, by theirs + answers cut off on the way",
            unit="credit",
            left=earned,
            right=owed + cut_off,
        ),
        Flow(
            name="what miners charged = redeemed on the chain + not redeemed yet",
            unit="credit",
            left=earned,
            right=redeemed + unredeemed,
        ),
    ]


async def _audit_market(client: Client, market: MarketContract, events: Sequence[Event]) -> list[Flow]:
    """Of what miners paid for their slots, the deposits; the rest was burned."""
    held = await market.deposits()
    return [
        Flow(
            name="miners' deposits put in = given back + still there",
            unit="TCT",
            left=_total(events, "MinerRegistered", "deposit"),
            right=_total(events, "MinerLeft", "deposit") + _total(events, "DepositClaimed", "amount") + held,
        ),
        Flow(
            name="what the market holds = what its books say",
            unit="TCT",
            left=await client.ledger.token.balance(market.address),
            right=held,
        ),
    ]


def _audit_fire(token: Sequence[Event], theirs: Sequence[Event]) -> Flow:
    """What the contracts say they burned, and what the token says was burned."""
    prices, slashed = _total(theirs, "MinerRegistered", "burned"), _total(theirs, "Slashed", "burned")
    return Flow(
        name="burned of miners' prices + of slashed stake + of emission = burned of the token",
        unit="TCT",
        left=prices + slashed + _total(theirs, "EmissionPaid", "burned"),
        right=_total(token, "Transfer", "value", receiver=NOBODY),
    )


async def _audit_stakes(client: Client, stakes: StakesContract, events: Sequence[Event]) -> list[Flow]:
    books = await stakes.books()
    staked = _total(events, "PoolOpened", "amount") + _total(events, "Staked", "amount")
    slashed = _total(events, "Slashed", "bonded") + _total(events, "Slashed", "unbonding")
    rewarded, claimed = _total(events, "Rewarded", "amount"), _total(events, "Claimed", "reward")
    return [
        Flow(
            name="stakes put in = taken out + slashed + still there",
            unit="TCT",
            left=staked,
            right=_total(events, "Withdrawn", "amount") + slashed + books.bonded + books.unbonding,
        ),
        Flow(
            name="rewards of stake = claimed + still there",
            unit="TCT",
            left=rewarded,
            right=claimed + books.reward,
        ),
        Flow(
            name="what the stakes contract holds = what its books say",
            unit="TCT",
            left=await client.ledger.token.balance(stakes.address),
            right=books.bonded + books.unbonding + books.reward + books.stake_reward,
        ),
    ]


async def _audit_treasury(
    client: Client, treasury: TreasuryContract, events: Sequence[Event], of_stakes: Sequence[Event]
) -> list[Flow]:
    books = await treasury.books()
    granted = sum(
        e.fields["rate"] * (e.fields["end_epoch"] - e.fields["first_epoch"]) for e in events if e.name == "Sponsored"
    )
    to_validators = _total(events, "EpochPaid", "to_validators")
    pokes, to_miners = _total(events, "Poked", "amount"), _total(events, "MinerRewarded", "amount")
    withdrawn, refunded = _total(events, "Withdrawn", "reward_amount"), _total(events, "RefundClaimed", "amount")
    still = books.owed + books.budget + books.refundable + books.carry
    return [
        Flow(
            name="sponsors' budgets = rewards withdrawn + rewards of stake + refunds + still there",
            unit="TCT",
            left=granted + _total(events, "Funded", "amount"),
            right=withdrawn + to_validators + refunded + _total(events, "Swept", "amount") + still,
        ),
        Flow(
            name="rewards of miners and of those who closed epochs = withdrawn + owed",
            unit="TCT",
            left=to_miners + pokes,
            right=withdrawn + books.owed,
        ),
        Flow(
            name="rewards sent to the stakes = rewards that came there",
            unit="TCT",
            left=to_validators,
            right=_total(of_stakes, "Rewarded", "amount"),
        ),
        Flow(
            name="what the treasury holds = what its books say",
            unit="TCT",
            left=await client.ledger.token.balance(treasury.address),
            right=still + books.emission + books.owed_stake,
        ),
    ]


async def _audit_registry(client: Client, events: Sequence[Event]) -> list[Flow]:
    bonds, returned = _total(events, "MarketOpened", "bond"), _total(events, "BondReturned", "bond")
    held = await client.ledger.token.balance(client.ledger.registry.address)
    return [
        Flow(name="bonds of markets = returned + held by the registry", unit="TCT", left=bonds, right=returned + held)
    ]
