"""The whole market through the typed client, on the embedded chain and on anvil."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from tercet.chain import (
    Deployment,
    Event,
    Key,
    Ledger,
    MarketContract,
    MarketParams,
    Phase,
    Proposal,
    Sender,
    bring_home,
    build_commit_digest,
    close_epoch,
    deploy,
    read_events,
    read_holdings,
    read_state,
    recompute_epochs,
)
from tercet.chain.bindings import BoundContract
from tercet.errors import (
    AlreadyDoneError,
    DeploymentError,
    InsufficientFundsError,
    LimitError,
    NotAllowedError,
    NotRegisteredError,
    WrongChainError,
    WrongPhaseError,
)
from tercet.market import build_row
from tercet.market.epoch import close_market_epoch, pack_row
from tercet.market.treasury import pay_poke

from .conftest import Node

TCT = 10**18
PARAMS = MarketParams("echo", commit_seconds=60, reveal_seconds=60)
FLAT = replace(PARAMS, min_price=1, max_price=1)
"""The same for many miners: registering does not get dearer."""


class Stage:
    """A deployed market with some actors, driven through the public client."""

    def __init__(self, node: Node, ledger: Ledger, market: MarketContract, opener: Sender) -> None:
        self.node, self.ledger, self.market, self.opener = node, ledger, market, opener

    @classmethod
    async def open(cls, node: Node, params: MarketParams = PARAMS) -> Stage:
        """Deploy everything and open a market."""
        opener = node.sender
        ledger = Ledger(node.rpc, await deploy(opener))
        await ledger.token.approve(opener, ledger.registry.address)
        address = await ledger.registry.open_market(opener, ledger.token.address, "Echo", params)
        stage = cls(node, ledger, ledger.market(address), opener)
        await stage.allow(opener)
        return stage

    async def allow(self, sender: Sender) -> None:
        """Let the market's contracts take what the sender pays."""
        for contract in (self.market, await self.market.stakes(), await self.market.treasury()):
            await self.ledger.token.approve(sender, contract.address)

    async def actor(self, stake: int = 100 * TCT) -> Sender:
        """A fresh key with gas and stake token, the market's contracts allowed to take it."""
        (sender,) = await self.node.fund(Key.generate())
        await self.ledger.token.transfer(self.opener, sender.address, stake)
        await self.allow(sender)
        return sender

    async def miner(self, sender: Sender, endpoint: str = "http://127.0.0.1:1", operator: str = "") -> int:
        """A slot for the price of now; the uid."""
        return await self.market.register_miner(sender, operator or sender.address, endpoint, await self.market.price())

    async def sit(self, *validators: Sender, stake: int = 10 * TCT) -> None:
        """Seats for validators, and the epoch passed in which their stake does not count yet."""
        for sender in validators:
            await self.market.register_validator(sender, sender.address, stake)
        await self.node.pass_time(120)
        await close_epoch(self.market, self.opener)

    async def vote(self, validators: list[Sender], scores: list[dict[int, float]]) -> None:
        """One epoch's commits and reveals; an empty score dictionary never reveals."""
        status, chain_id = await self.market.status(), await self.node.rpc.chain_id()
        rows = [tuple(pack_row(build_row(score, status.columns))) for score in scores]
        salts = [secrets.token_bytes(32) for _ in validators]
        for sender, row, salt in zip(validators, rows, salts, strict=True):
            owner, as_of = sender.address, status.generation
            digest = build_commit_digest(chain_id, self.market.address, status.epoch, owner, salt, as_of, row)
            await self.market.commit(sender, digest)
        await self.node.pass_time(60)
        for sender, row, salt, score in zip(validators, rows, salts, scores, strict=True):
            if score:
                await self.market.reveal(sender, status.generation, salt, row)
        await self.node.pass_time(60)


async def test_an_epoch_is_played_closed_and_paid(chain: Node) -> None:
    """Register, sponsor, vote, close, withdraw; the chain pays exactly what the Python twin computes."""
    stage = await Stage.open(chain)
    market, treasury, stakes = stage.market, await stage.market.treasury(), await stage.market.stakes()
    miners = [await stage.actor() for _ in range(2)]
    validators = [await stage.actor() for _ in range(2)]
    uids = [await stage.miner(m, f"http://127.0.0.1:{i}") for i, m in enumerate(miners)]
    assert uids == [1, 2]
    await stage.sit(*validators)
    assert await treasury.sponsor(stage.opener, 90_000, 3) == 0
    await stage.vote(validators, [{1: 3.0, 2: 1.0}, {1: 2.0, 2: 1.0}])

    state = await read_state(market)
    pokes = pay_poke(state.reward, 3, 3)
    expected = close_market_epoch(replace(state, reward=state.reward - pay_poke(state.reward, 1, 1)))
    closed = await close_epoch(market, stage.opener)
    assert (closed.epoch, closed.transactions) == (1, 1)
    assert await market.consensus() == (*expected.hints, *[0] * 15)
    token = stage.ledger.token.address
    for sender, pay in zip(miners, expected.miner_pay[1:], strict=True):
        assert await treasury.owed(token, sender.address) == pay > 0
    for sender, seat, pay in zip(validators, await market.validators(), expected.validator_pay, strict=True):
        assert await stakes.claim(sender, seat.pool) == (pay, 0)
        assert pay > 0
    assert await treasury.withdraw(stage.opener) == (pokes, 0)
    assert await treasury.withdraw(miners[0]) == (expected.miner_pay[1], 0)
    with pytest.raises(AlreadyDoneError, match="nothing to withdraw"):
        await treasury.withdraw(miners[0])
    await books_balance(stage)


async def books_balance(stage: Stage) -> None:
    """Each of the market's contracts holds what its books say, to the last unit."""
    market, balance = stage.market, stage.ledger.token.balance
    stakes, treasury = await market.stakes(), await market.treasury()
    staked, held = await stakes.books(), await treasury.books()
    assert await balance(market.address) == await market.deposits()
    assert await balance(stakes.address) == staked.bonded + staked.unbonding + staked.reward + staked.stake_reward
    reward = held.owed + held.budget + held.refundable + held.carry
    assert await balance(treasury.address) == reward + held.emission + held.owed_stake


async def test_two_parties_close_at_once(chain: Node) -> None:
    """Three pokers race for an epoch of several pages; it is closed once, and nobody fails."""
    stage = await Stage.open(chain, FLAT)
    validator = await stage.actor()
    for _ in range(33):  # three pages
        await stage.miner(stage.opener, operator=Key.generate().address)
    await stage.sit(validator)
    await (await stage.market.treasury()).sponsor(stage.opener, 1_000, 1)
    await stage.vote([validator], [dict.fromkeys(range(1, 34), 1.0)])
    pokers = await chain.fund(*[Key.generate() for _ in range(3)])
    before = close_market_epoch(await read_state(stage.market))
    await stage.market.begin_close(pokers[0])
    assert close_market_epoch(await read_state(stage.market)) == before, "the weights stand in the market from now on"
    reports = await asyncio.gather(*(close_epoch(stage.market, poker) for poker in pokers))
    status = await stage.market.status()
    assert (status.epoch, status.phase) == (2, Phase.COMMIT)
    assert sum(report.transactions for report in reports) == 2
    assert [event.fields["epoch"] for event in await all_events(stage, "EpochClosed")] == [0, 1]


async def test_a_closing_is_taken_up_where_another_left_it(chain: Node) -> None:
    """Begun and half settled by somebody who died, the epoch is finished by the next one."""
    stage = await Stage.open(chain, FLAT)
    validator = await stage.actor()
    for _ in range(17):
        await stage.miner(stage.opener, operator=Key.generate().address)
    await stage.sit(validator)
    await stage.vote([validator], [{1: 1.0, 17: 2.0}])
    hints = close_market_epoch(await read_state(stage.market)).hints
    await stage.market.begin_close(stage.opener)
    await stage.market.settle_pages(stage.opener, 0, hints[:1])
    with pytest.raises(WrongPhaseError, match="tercet epoch close"):
        await stage.market.leave_miner(stage.opener, 1)
    report = await close_epoch(stage.market, stage.opener)
    assert report.transactions == 2
    assert (await stage.market.status()).epoch == 2


@pytest.mark.slow
async def test_a_large_markets_miners_are_paid_in_a_transaction_of_their_own(chain: Node) -> None:
    """Begin, pages, miners, the rest; and somebody who finds the miners paid goes on from there."""
    stage = await Stage.open(chain, FLAT)
    market, validator = stage.market, await stage.actor()
    for _ in range(129):
        await stage.miner(stage.opener, operator=Key.generate().address)
    await stage.sit(validator)
    await (await market.treasury()).sponsor(stage.opener, 10**9, 2)
    everybody = dict.fromkeys(range(1, 130), 1.0)
    await stage.vote([validator], [everybody])
    assert (await close_epoch(market, stage.opener)).transactions == 4
    await stage.vote([validator], [everybody])
    hints = close_market_epoch(await read_state(market)).hints
    await market.begin_close(stage.opener)
    await market.settle_pages(stage.opener, 0, hints)
    await market.pay_miners(stage.opener)
    status = await market.status()
    assert status.next_page == status.pages + 1
    assert (await close_epoch(market, stage.opener)).transactions == 1
    paid = await all_events(stage, "MinerRewarded", of=await market.treasury())
    assert len(paid) == 2 * 129
    assert all([past.exact async for past in recompute_epochs(market, stage.ledger.deployment.block)])
    await books_balance(stage)


async def test_validators_all_down_pays_nobody(chain: Node) -> None:
    """Without a single reveal the whole reward goes back to the sponsor, but for what closing the epoch earns."""
    stage = await Stage.open(chain)
    miner, treasury = await stage.actor(), await stage.market.treasury()
    await stage.miner(miner)
    grant = await treasury.sponsor(stage.opener, 1_000, 1)
    await chain.pass_time(120)
    await close_epoch(stage.market, miner)
    pokes = pay_poke(1_000, 3, 3)
    assert await treasury.owed(stage.ledger.token.address, miner.address) == pokes == 3
    assert await treasury.claim_refund(stage.opener, grant) == 1_000 - pokes


async def test_stake_is_delegated_earns_and_comes_home(chain: Node) -> None:
    """A delegator's stake counts an epoch later, earns its part less the take, and is free three closings after unstaking."""
    stage = await Stage.open(chain)
    market, stakes, treasury = stage.market, await stage.market.stakes(), await stage.market.treasury()
    judge, saver = await stage.actor(), await stage.actor()
    await stage.miner(await stage.actor())
    await market.register_validator(judge, judge.address, 10 * TCT, 1_000)
    (seat,) = await market.validators()
    await stakes.stake(saver, seat.pool, 30 * TCT)
    assert await stakes.effective([seat.pool], TCT) == (0,)
    pool = await stakes.pool(seat.pool)
    assert (pool.owner, pool.active, pool.pending, pool.take_bps) == (judge.address, 0, 40 * TCT, 1_000)
    await chain.pass_time(120)
    await close_epoch(market, stage.opener)
    assert await stakes.effective([seat.pool], TCT) == (40 * TCT,)
    await treasury.sponsor(stage.opener, 10**6, 1)
    await stage.vote([judge], [{1: 1.0}])
    await close_epoch(market, stage.opener)

    first = stage.ledger.deployment.block
    holdings = await read_holdings(market, saver.address, first)
    whole = sum(event.fields["amount"] for event in await all_events(stage, "Rewarded", of=stakes))
    share = (whole - whole // 10) * 30 // 40
    assert whole > 0
    assert holdings.due == (share, 0)
    assert await stakes.unstake(saver, seat.pool, 2**256 - 1) == 5
    with pytest.raises(WrongPhaseError, match="still unbonding"):
        await stakes.withdraw(saver, seat.pool)
    for _ in range(3):
        assert (await read_holdings(market, saver.address, first)).unbonded == {}
        await chain.pass_time(120)
        await close_epoch(market, stage.opener)
    before = await stage.ledger.token.balance(saver.address)
    await bring_home(market, saver, await read_holdings(market, saver.address, first))
    assert await stage.ledger.token.balance(saver.address) == before + 30 * TCT + share
    await books_balance(stage)


async def test_rules_change_behind_a_timelock_and_between_epochs(chain: Node) -> None:
    """Proposed by the owner only, shown, and in force with the first closing after the notice."""
    opener = chain.sender
    ledger = Ledger(chain.rpc, await deploy(opener, timelock_seconds=60))
    await ledger.token.approve(opener, ledger.registry.address)
    address = await ledger.registry.open_market(opener, ledger.token.address, "Echo", PARAMS)
    market = ledger.market(address)
    rules, wanted = await market.rules(), replace(PARAMS, mechanism_version=2)
    stranger = (await chain.fund(Key.generate()))[0]
    with pytest.raises(NotAllowedError):
        await rules.propose(stranger, wanted)
    at = await rules.propose(opener, wanted)
    assert await rules.proposal() == Proposal(wanted, at)
    await chain.pass_time(120)
    assert await market.params() == PARAMS, "no rule changes inside an epoch"
    await close_epoch(market, opener)
    assert await market.params() == wanted
    assert await rules.proposal() is None
    await rules.transfer_ownership(opener, stranger.address)
    assert await rules.pending_owner() == stranger.address
    await rules.accept_ownership(stranger)
    assert await market.owner() == stranger.address


async def test_an_epoch_is_recomputed_from_events_alone(chain: Node) -> None:
    """Several epochs with delegation, a leaver and an unrevealed row: weights, consensus and pay come out to the unit."""
    stage = await Stage.open(chain)
    market, stakes, treasury = stage.market, await stage.market.stakes(), await stage.market.treasury()
    miners, judges = [await stage.actor() for _ in range(3)], [await stage.actor() for _ in range(3)]
    saver = await stage.actor()
    for miner in miners:
        await stage.miner(miner)
    await stage.sit(*judges)
    await treasury.sponsor(stage.opener, 10**9, 10)
    await stage.vote(judges, [{1: 1.0, 2: 1.0}, {1: 2.0, 3: 1.0}, {}])
    await close_epoch(market, stage.opener)
    await stakes.stake(saver, (await market.validators())[0].pool, 7 * TCT)
    await market.leave_miner(miners[1], 2)
    await stage.miner(miners[1])
    await stakes.unstake(judges[1], (await market.validators())[1].pool, 5 * TCT)
    await stage.vote(judges, [{1: 1.0, 2: 3.0}, {2: 2.0, 3: 1.0}, {2: 1.0}])
    await close_epoch(market, stage.opener)
    await stage.vote(judges, [{1: 1.0}, {1: 1.0, 3: 1.0}, {1: 1.0}])
    await close_epoch(market, stage.opener)

    found = [past async for past in recompute_epochs(market, stage.ledger.deployment.block)]
    assert [past.number for past in found] == [0, 1, 2, 3]
    assert all(past.exact for past in found)
    assert found[1].effective == {0: 10 * TCT, 1: 10 * TCT, 2: 10 * TCT}
    assert found[3].effective == {0: 17 * TCT, 1: 5 * TCT, 2: 10 * TCT}
    pool = (await market.validators())[0].pool
    assert found[3].active[pool] == {judges[0].address: 10 * TCT, saver.address: 7 * TCT}
    for who in (judges[0], saver):
        earned = sum(past.dividends.get((pool, who.address), (0, 0))[0] for past in found)
        assert earned == (await stakes.position(pool, who.address)).reward > 0


async def test_refusals_are_typed(chain: Node) -> None:
    """What the contract refuses arrives as the class for it, before any gas is spent."""
    stage = await Stage.open(chain)
    stranger = (await chain.fund(Key.generate()))[0]
    with pytest.raises(NotRegisteredError, match="tercet validate"):
        await stage.market.commit(stranger, b"\1" * 32)
    with pytest.raises(InsufficientFundsError):
        await stage.miner(stranger)
    with pytest.raises(LimitError, match="price above the limit"):
        await stage.market.register_miner(stage.opener, stranger.address, "http://127.0.0.1:1", 1)
    with pytest.raises(WrongPhaseError, match="runs until"):
        await close_epoch(stage.market, stranger)


async def test_the_registry_lists_what_was_opened(chain: Node) -> None:
    """A market is found by its listing; its rules read back as they were given."""
    stage = await Stage.open(chain)
    (listing,) = await stage.ledger.registry.list_markets()
    assert (listing.market, listing.subnet, listing.name) == (stage.market.address, "echo", "Echo")
    assert await stage.market.params() == PARAMS
    others = [contract.address for contract in await stage.market.contracts()]
    assert others == [listing.market, listing.stakes, listing.treasury, listing.rules]
    assert await stage.ledger.registry.is_market(stage.market.address)
    assert not await stage.ledger.registry.is_market(stage.opener.address)


async def all_events(stage: Stage, *names: str, span: int = 2_000, of: BoundContract | None = None) -> list[Event]:
    """The events of a market, or of another contract, since the deployment."""
    found: list[Event] = []
    first = stage.ledger.deployment.block
    async for batch in read_events(stage.node.rpc, [of or stage.market], first, events=names, span=span):
        found += batch.events
    return found


async def test_events_read_in_small_ranges_and_resumed_are_the_same(chain: Node) -> None:
    """Ranges of one block, or a stop and a resume in between, neither lose nor repeat an event."""
    stage = await Stage.open(chain)
    miner = await stage.actor()
    uid = await stage.miner(miner)
    await stage.market.set_endpoint(miner, uid, "http://127.0.0.1:2")
    await stage.market.leave_miner(miner, uid)
    whole = await all_events(stage)
    names = [event.name for event in whole]
    assert names == ["MinerRegistered", "EndpointChanged", "MinerLeft"]
    assert await all_events(stage, span=1) == whole
    assert await all_events(stage, "MinerLeft") == whole[-1:]
    resumed: list[Event] = []
    first, head = 0, (await chain.rpc.head()).number
    while first <= head:
        async for batch in read_events(chain.rpc, [stage.market], first, span=3):
            resumed += batch.events
            first = batch.last + 1
            break
    assert resumed == whole


async def test_a_deployment_file_says_where_it_belongs(chain: Node, tmp_path: Path) -> None:
    """Saved and loaded it is the same; on another chain, or a chain started anew, it is refused."""
    stage = await Stage.open(chain)
    path = tmp_path / "state" / "deployment.json"
    stage.ledger.deployment.save(path)
    again = Deployment.load(path)
    assert again == stage.ledger.deployment
    await Ledger(chain.rpc, again).check()
    with pytest.raises(WrongChainError, match="was made on 5"):
        await Ledger(chain.rpc, replace(again, chain_id=5)).check()
    with pytest.raises(DeploymentError, match="started anew"):
        await Ledger(chain.rpc, replace(again, registry=Key.generate().address)).check()
    with pytest.raises(DeploymentError, match="There is no Market"):
        await MarketContract(chain.rpc, Key.generate().address).status()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"chain_id": 1, "block": "x"}'])
def test_a_damaged_deployment_file_is_reported(tmp_path: Path, text: str) -> None:
    """Junk and a missing file name the file and what is wrong."""
    with pytest.raises(DeploymentError, match="no deployment file"):
        Deployment.load(tmp_path / "missing.json")
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(DeploymentError, match=r"d\.json"):
        Deployment.load(tmp_path / "d.json")
