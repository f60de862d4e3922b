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
    Sender,
    build_commit_digest,
    close_epoch,
    deploy,
    read_events,
    read_state,
)
from tercet.errors import (
    AlreadyDoneError,
    DeploymentError,
    InsufficientFundsError,
    NotRegisteredError,
    WrongChainError,
    WrongPhaseError,
)
from tercet.market import build_row
from tercet.market.epoch import close_market_epoch, pack_row

from .conftest import Node

PARAMS = MarketParams("echo", commit_seconds=60, reveal_seconds=60)
TCT = 10**18


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
        await ledger.token.approve(opener, address)
        return cls(node, ledger, ledger.market(address), opener)

    async def actor(self, stake: int = 100 * TCT) -> Sender:
        """A fresh key with gas and stake token, the market allowed to take it."""
        (sender,) = await self.node.fund(Key.generate())
        await self.ledger.token.transfer(self.opener, sender.address, stake)
        await self.ledger.token.approve(sender, self.market.address)
        return sender

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
    market = stage.market
    miners = [await stage.actor() for _ in range(2)]
    validators = [await stage.actor() for _ in range(2)]
    uids = [await market.register_miner(m, m.address, f"http://127.0.0.1:{i}") for i, m in enumerate(miners)]
    assert uids == [1, 2]
    for sender in validators:
        await market.register_validator(sender, sender.address, 10 * TCT)
    assert await market.sponsor(stage.opener, 9_000, 3) == 0
    await stage.vote(validators, [{1: 3.0, 2: 1.0}, {1: 2.0, 2: 1.0}])

    expected = close_market_epoch(await read_state(market))
    closed = await close_epoch(market, stage.opener)
    assert (closed.epoch, closed.transactions) == (0, 1)
    assert await market.consensus() == (*expected.hints, *[0] * 15)
    for sender, pay in zip(miners, expected.miner_pay[1:], strict=True):
        assert await market.owed(sender.address) == pay > 0
    for sender, pay in zip(validators, expected.validator_pay, strict=True):
        assert await market.owed(sender.address) == pay
    paid = await market.withdraw(miners[0])
    assert paid == expected.miner_pay[1]
    with pytest.raises(AlreadyDoneError, match="nothing to withdraw"):
        await market.withdraw(miners[0])
    books = await market.books()
    held = await stage.ledger.token.balance(market.address)
    assert held == books.staked + books.deposits + books.owed + books.budget + books.refundable


async def test_two_parties_close_at_once(chain: Node) -> None:
    """Three pokers race for an epoch of several pages; it is closed once, and nobody fails."""
    stage = await Stage.open(chain, replace(PARAMS, miner_deposit=1))
    validator = await stage.actor()
    await stage.market.register_validator(validator, validator.address, 10 * TCT)
    for _ in range(33):  # three pages
        await stage.market.register_miner(stage.opener, Key.generate().address, "http://127.0.0.1:1")
    await stage.market.sponsor(stage.opener, 1_000, 1)
    await stage.vote([validator], [dict.fromkeys(range(1, 34), 1.0)])
    pokers = await chain.fund(*[Key.generate() for _ in range(3)])
    await stage.market.begin_close(pokers[0])
    first = (await read_state(stage.market, bonds=False)).seats[0]
    assert first is not None
    reports = await asyncio.gather(*(close_epoch(stage.market, poker) for poker in pokers))
    status = await stage.market.status()
    assert (status.epoch, status.phase) == (1, Phase.COMMIT)
    assert sum(report.transactions for report in reports) == 2
    assert [event.name for event in await all_events(stage, "EpochClosed")] == ["EpochClosed"]


async def test_a_closing_is_taken_up_where_another_left_it(chain: Node) -> None:
    """Begun and half settled by somebody who died, the epoch is finished by the next one."""
    stage = await Stage.open(chain, replace(PARAMS, miner_deposit=1))
    validator = await stage.actor()
    await stage.market.register_validator(validator, validator.address, 10 * TCT)
    for _ in range(17):
        await stage.market.register_miner(stage.opener, Key.generate().address, "http://127.0.0.1:1")
    await stage.vote([validator], [{1: 1.0, 17: 2.0}])
    hints = close_market_epoch(await read_state(stage.market)).hints
    await stage.market.begin_close(stage.opener)
    await stage.market.settle_pages(stage.opener, 0, hints[:1])
    with pytest.raises(WrongPhaseError, match="tercet epoch close"):
        await stage.market.leave_miner(stage.opener, 1)
    report = await close_epoch(stage.market, stage.opener)
    assert report.transactions == 2
    assert (await stage.market.status()).epoch == 1


async def test_validators_all_down_pays_nobody(chain: Node) -> None:
    """Without a single reveal the whole reward goes back to the sponsor."""
    stage = await Stage.open(chain)
    miner = await stage.actor()
    await stage.market.register_miner(miner, miner.address, "http://127.0.0.1:1")
    grant = await stage.market.sponsor(stage.opener, 1_000, 1)
    await chain.pass_time(120)
    await close_epoch(stage.market, stage.opener)
    assert await stage.market.owed(miner.address) == 0
    assert await stage.market.claim_refund(stage.opener, grant) == 1_000


async def test_refusals_are_typed(chain: Node) -> None:
    """What the contract refuses arrives as the class for it, before any gas is spent."""
    stage = await Stage.open(chain)
    stranger = (await chain.fund(Key.generate()))[0]
    with pytest.raises(NotRegisteredError, match="tercet validate"):
        await stage.market.commit(stranger, b"\1" * 32)
    with pytest.raises(InsufficientFundsError):
        await stage.market.register_miner(stranger, stranger.address, "http://127.0.0.1:1")
    with pytest.raises(WrongPhaseError, match="runs until"):
        await close_epoch(stage.market, stranger)


async def test_the_registry_lists_what_was_opened(chain: Node) -> None:
    """A market is found by its listing; its rules read back as they were given."""
    stage = await Stage.open(chain)
    (listing,) = await stage.ledger.registry.list_markets()
    assert (listing.market, listing.subnet, listing.name) == (stage.market.address, "echo", "Echo")
    assert await stage.market.params() == PARAMS
    assert await stage.ledger.registry.is_market(stage.market.address)
    assert not await stage.ledger.registry.is_market(stage.opener.address)


async def all_events(stage: Stage, *names: str, span: int = 2_000) -> list[Event]:
    """A market's events since the deployment."""
    found: list[Event] = []
    first = stage.ledger.deployment.block
    async for batch in read_events(stage.node.rpc, [stage.market], first, events=names, span=span):
        found += batch.events
    return found


async def test_events_read_in_small_ranges_and_resumed_are_the_same(chain: Node) -> None:
    """Ranges of one block, or a stop and a resume in between, neither lose nor repeat an event."""
    stage = await Stage.open(chain)
    miner = await stage.actor()
    uid = await stage.market.register_miner(miner, miner.address, "http://127.0.0.1:1")
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
