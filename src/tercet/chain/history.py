"""A market's epochs, recomputed from what its contracts told: events are all that is asked for.

Follows slots, pools of stake, rows and bonds from the first block on, and at each closing hands the epoch's maths what
the contract had. What comes out carries bonds into the next epoch, and is compared with what the contract itself said.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tercet.chain.keys import NOBODY
from tercet.chain.logs import DEFAULT_SPAN, Event, read_events
from tercet.chain.market import MarketContract
from tercet.chain.registry import MarketParams
from tercet.market.epoch import MarketOutcome, MarketState, Seat, close_market_epoch, unpack_row
from tercet.market.stakes import REWARD, STAKE, Pool
from tercet.market.treasury import pay_poke

_COLUMNS = 256
_OF_STAKES = frozenset({"PoolOpened", "PoolClosed", "Staked", "Unstaked", "TakeSet", "Slashed", "Rewarded", "Released"})


@dataclass(slots=True)
class _Tenant:
    """Who holds a validator's seat."""

    owner: str
    pool: int
    committed: int = 0
    revealed: int = 0
    as_of: int = 0
    row: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PastEpoch:
    """One closed epoch: what went in, what the maths makes of it, what the contracts said and paid."""

    number: int
    params: MarketParams
    """In force while it ran."""
    state: MarketState
    """Of the reward after pokes."""
    outcome: MarketOutcome
    effective: Mapping[int, int]
    """By vid: stake token base units that counted, before permits and cap."""
    miners: Mapping[int, str]
    """By uid: owner."""
    validators: Mapping[int, tuple[str, int]]
    """By vid: owner and pool."""
    active: Mapping[int, Mapping[str, int]]
    """By pool, by owner: stake token base units that counted."""
    takes: Mapping[int, int]
    """By pool: what its owner keeps of the delegators' rewards, ten-thousandths."""
    dividends: Mapping[tuple[int, str], tuple[int, int]]
    """By pool and owner: what its stake, and the take, earned; reward token and stake token."""
    events: tuple[Event, ...]
    """All that the market's contracts told since the closing before."""

    @property
    def exact(self) -> bool:
        """Whether the contract weighed, agreed and paid as was recomputed here."""
        weight = next(event.fields["total_weight"] for event in self.events if event.name == "ClosingBegan")
        agreed = {e.fields["page"]: e.fields["consensus"] for e in self.events if e.name == "PageSettled"}
        paid = next(event.fields for event in self.events if event.name == "EpochPaid")
        outcome = self.outcome
        return (
            weight == outcome.total_weight
            and agreed == dict(enumerate(outcome.hints))
            and paid["to_miners"] == sum(outcome.miner_pay)
            and paid["to_validators"] == sum(outcome.validator_pay)
        )


class History:
    """Follows one market. Give it all events of its four contracts, in chain order."""

    def __init__(self, stakes: str, reward_token: str) -> None:
        """`stakes` is the address of the market's stakes contract; events of its names count only from there."""
        self._stakes, self._reward_token = stakes, reward_token
        self._params = MarketParams("")
        self._epoch = self._generation = self._closed_generation = 0
        self._born = [0] * _COLUMNS
        self._miners: dict[int, str] = {}
        self._tenants: dict[int, _Tenant] = {}
        self._pools: dict[int, Pool] = {}
        self._bonds: dict[int, tuple[int, ...]] = {}
        self._dividends: dict[tuple[int, str], tuple[int, int]] = {}
        self._told: list[Event] = []
        self._closing: PastEpoch | None = None

    def take(self, event: Event) -> PastEpoch | None:
        """Follow one event; the epoch that it closed, if it did."""
        self._told.append(event)
        if event.name in _OF_STAKES:
            if event.contract == self._stakes:
                self._take_stake(event.name, event.fields)
            return None
        return self._take_other(event.name, event.fields)

    def _take_other(self, name: str, told: Mapping[str, Any]) -> PastEpoch | None:
        match name:
            case "MinerRegistered":
                self._born[told["uid"]], self._miners[told["uid"]] = told["generation"], told["owner"]
                self._generation = told["generation"]
            case "MinerLeft" | "MinerEvicted":
                self._born[told["uid"]] = 0
                del self._miners[told["uid"]]
            case "ValidatorRegistered":
                self._tenants[told["vid"]] = _Tenant(told["owner"], told["generation"])
                self._generation = told["generation"]
            case "ValidatorLeft":
                del self._tenants[told["vid"]]
            case "WeightsCommitted":
                tenant = self._tenants[told["vid"]]
                tenant.committed, tenant.as_of = told["epoch"] + 1, told["generation"]
            case "WeightsRevealed":
                tenant = self._tenants[told["vid"]]
                tenant.revealed, tenant.as_of = told["epoch"] + 1, told["as_of"]
                tenant.row = tuple(unpack_row(told["words"]))
            case "ParamsChanged":
                self._params = MarketParams(*told["params"])
            case "ClosingBegan":
                self._closing = self._begin(told["epoch"])
            case "EpochClosed":
                return self._finish()
        return None

    def _take_stake(self, name: str, told: Mapping[str, Any]) -> None:
        if name == "PoolOpened":
            self._pools[told["pool"]] = Pool(told["owner"], take_bps=told["take_bps"], epoch=self._epoch)
            self._pools[told["pool"]].stake(told["owner"], told["amount"])
            return
        pool = self._pools[told["pool"]]
        pool.roll(self._epoch)
        match name:
            case "PoolClosed":
                pool.closed = True
            case "Staked":
                pool.stake(told["owner"], told["amount"])
            case "Unstaked":
                # The contract let it pass, so what was left was above any minimum.
                pool.unstake(told["owner"], told["amount"], min_stake=0, unbonding_epochs=0)
            case "TakeSet":
                pool.set_take(told["take_bps"], unbonding_epochs=max(0, told["from_epoch"] - self._epoch - 1))
            case "Slashed":
                pool.slash(told["bps"])
            case "Rewarded":
                token = REWARD if told["token"] == self._reward_token else STAKE
                self._share_out(told["pool"], pool, token, told)
            case "Released":
                pool.release(told["epoch"])

    def _share_out(self, number: int, pool: Pool, token: int, told: Mapping[str, Any]) -> None:
        """Who of a pool's holders earns what, to the unit."""
        before = {who: pool.claimable(who) for who in {pool.owner, *pool.positions}}
        pool.reward(token, told["amount"], self._params.audit_share_bps if told["held"] else 0)
        for who, had in before.items():
            earned, now = self._dividends.get((number, who), (0, 0)), pool.claimable(who)
            self._dividends[number, who] = (earned[0] + now[0] - had[0], earned[1] + now[1] - had[1])

    def _begin(self, epoch: int) -> PastEpoch:
        """The state that the weights are fixed in."""
        pools = {tenant.pool: self._pools[tenant.pool] for tenant in self._tenants.values()}
        for pool in pools.values():
            pool.roll(epoch)
        effective = {v: pools[t.pool].effective(self._params.min_stake) for v, t in self._tenants.items()}
        columns = 1 + max((uid for uid, born in enumerate(self._born) if born), default=0)
        vids = range(max(self._tenants, default=-1) + 1)
        state = MarketState(
            epoch=epoch,
            rules=self._params.rules(),
            seats=tuple(self._seat(vid, effective.get(vid, 0)) for vid in vids),
            generations=tuple(self._born[:columns]),
            bonds=tuple(self._bonds.get(vid, (0,) * _COLUMNS)[:columns] for vid in vids),
            closed_generation=self._closed_generation,
            reward=0,
        )
        return PastEpoch(
            number=epoch,
            params=self._params,
            state=state,
            outcome=close_market_epoch(state),
            effective=effective,
            miners=dict(self._miners),
            validators={vid: (tenant.owner, tenant.pool) for vid, tenant in self._tenants.items()},
            active={n: {w: pool.worth(p.active) for w, p in pool.positions.items()} for n, pool in pools.items()},
            takes={number: pool.take_bps for number, pool in pools.items()},
            dividends={},
            events=(),
        )

    def _seat(self, vid: int, stake: int) -> Seat | None:
        tenant = self._tenants.get(vid)
        if tenant is None:
            return None
        return Seat(stake, tenant.pool, tenant.committed, tenant.revealed, tenant.as_of, tenant.row)

    def _finish(self) -> PastEpoch:
        assert self._closing is not None, "an epoch closes after its closing began"
        told = tuple(self._told)
        paid = next(event.fields for event in told if event.name == "EpochPaid")
        state = replace(self._closing.state, reward=paid["reward"] - pay_poke(paid["reward"], 1, 1))
        outcome = close_market_epoch(state)
        found = replace(self._closing, state=state, outcome=outcome, dividends=dict(self._dividends), events=told)
        for vid, row in enumerate(outcome.bonds):
            self._bonds[vid] = (*row, *self._bonds.get(vid, (0,) * _COLUMNS)[len(row) :])
        self._told.clear()
        self._dividends.clear()
        self._closing = None
        # Applicants get slots after this: the bonds that are stored are not theirs.
        self._epoch, self._closed_generation = found.number + 1, self._generation
        return found


async def recompute_epochs(market: MarketContract, first: int) -> AsyncIterator[PastEpoch]:
    """Every closed epoch of a market, in order. `first` is a block before the market's."""
    _, reward_token = await market.tokens()
    history = History((await market.stakes()).address, reward_token)
    async for batch in read_events(market.rpc, await market.contracts(), first):
        for event in batch.events:
            found = history.take(event)
            if found is not None:
                yield found


async def find_epoch_start(market: MarketContract, epoch: int, first: int) -> int:
    """When an epoch began, Unix seconds by the chain's clock; 0 where the logs do not say.

    Args:
        market: whose.
        epoch: a recent one: the search goes back from the newest block.
        first: a block before the market's.

    """
    contracts, last = (market, await market.rules()), (await market.rpc.head()).number
    while last >= first:
        since = max(first, last - DEFAULT_SPAN + 1)
        names = ["EpochClosed" if epoch else "OwnershipTransferred"]
        async for batch in read_events(market.rpc, contracts, since, last, events=names):
            for event in batch.events:
                # Nobody owned the market before it was opened.
                if event.fields.get("epoch") == epoch - 1 or event.fields.get("old_owner") == NOBODY:
                    return (await market.rpc.block(event.block)).timestamp
        last = since - 1
    return 0
