"""A validator's seat on the embedded chain: the chain's own time, the whole round of an epoch, who may sit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tercet.chain.devnet import serve
from tercet.chain.keys import Key
from tercet.chain.ledger import Ledger, deploy
from tercet.chain.market import MarketContract
from tercet.chain.registry import MarketParams
from tercet.chain.rpc import Rpc
from tercet.chain.sender import Sender
from tercet.client import Client
from tercet.errors import NotRegisteredError, RulesMismatchError, WrongPhaseError
from tercet.market import FULL_ROW
from tercet.nodes.book import Pledge
from tercet.nodes.schedule import Phase
from tercet.nodes.seat import ChainSeat
from tercet.nodes.validator import check_rules
from tercet.subnets.echo import Echo

PLEDGE = Pledge(0, 0, b"s" * 32, [FULL_ROW])


@dataclass(frozen=True, slots=True)
class Site:
    """An echo market with one validator, whose owner and operator are different keys."""

    ledger: Ledger
    market: MarketContract
    owner: Sender
    operator: Sender

    @property
    def seat(self) -> ChainSeat:
        return ChainSeat(self.ledger, self.market, self.operator)

    async def pass_time(self, seconds: int) -> None:
        await self.ledger.rpc.call("evm_increaseTime", hex(seconds))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serve(tmp_path / "chain", time_travel=True) as server, Rpc(server.url) as rpc:
        owner = Sender(rpc, Key.from_hex((tmp_path / "chain" / "faucet.key").read_text()))
        ledger = Ledger(rpc, await deploy(owner))
        client = Client(ledger)
        params = MarketParams("echo", commit_seconds=100, reveal_seconds=50)
        market = ledger.market(await client.open_market(owner, "echo", params))
        operator = Key.generate()
        await owner.send(operator.address, value=10**18)
        await client.join_as_validator(owner, market, operator.address, 10**18)
        yield Site(ledger, market, owner, Sender(rpc, operator))


async def test_an_epoch_goes_round(site: Site) -> None:
    """Commit, reveal and close, each in its phase, each seen at the next look."""
    seat = site.seat
    facts = await seat.look()
    assert (facts.epoch, facts.phase, facts.committed, facts.revealed) == (0, Phase.COMMIT, False, False)
    await seat.commit(PLEDGE)
    assert (await seat.look()).committed
    with pytest.raises(WrongPhaseError):
        await seat.reveal(PLEDGE)
    await site.pass_time(100)
    await seat.reveal(PLEDGE)
    facts = await seat.look()
    assert (facts.phase, facts.revealed) == (Phase.REVEAL, True)
    await site.pass_time(50)
    assert (await seat.look()).phase is Phase.OVER
    await seat.close_epoch()
    facts = await seat.look()
    assert (facts.epoch, facts.phase, facts.committed, facts.revealed) == (1, Phase.COMMIT, False, False)


async def test_time_is_the_chains(site: Site) -> None:
    """Not this machine's, and it runs on between blocks."""
    seat = site.seat
    assert abs((await seat.look()).now - time.time()) < 2
    await site.pass_time(40)
    ahead = (await seat.look()).now
    assert 38 < ahead - time.time() < 42
    async with asyncio.timeout(5):
        while (await seat.look()).now <= ahead:
            pass


async def test_two_close_at_once(site: Site) -> None:
    """Both return without an error, and one epoch is closed, not two."""
    await site.pass_time(151)
    other = ChainSeat(site.ledger, site.market, site.owner)
    await asyncio.gather(site.seat.close_epoch(), other.close_epoch())
    assert (await site.market.status()).epoch == 1


async def test_a_stranger_has_no_seat(site: Site) -> None:
    """And is told how to get one."""
    with pytest.raises(NotRegisteredError, match="tercet validate"):
        await ChainSeat(site.ledger, site.market, site.owner).look()


async def test_a_state_folder_belongs_to_one_seat_on_one_chain(site: Site) -> None:
    """Chain, market and owner are in its name; the operator may be replaced."""
    origin = await site.seat.origin()
    assert site.owner.address in origin
    assert site.market.address in origin
    assert f"chain {await site.ledger.rpc.chain_id()} from block 0x" in origin


@pytest.mark.parametrize(("name", "version"), [("echo", 2), ("inference", 1)])
async def test_a_validator_of_other_rules_does_not_start(site: Site, name: str, version: int) -> None:
    """Another mechanism, or another version of it: verdicts would not be comparable."""

    class Other(Echo):
        pass

    Other.name, Other.version = name, version
    await check_rules(site.market, Echo())
    with pytest.raises(RulesMismatchError, match=rf"judges by 'echo' version 1, here is '{name}' version {version}"):
        await check_rules(site.market, Other())
