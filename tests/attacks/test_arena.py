"""The arena counts money as the contracts pay it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from tercet.attacks.actors import STAKE, Town, Validator
from tercet.attacks.arena import BOND, Arena, Party
from tercet.attacks.lab import TCT, Lab
from tercet.chain import ledger
from tercet.errors import RevertedError

LAB = Lab(epochs=4, seed=5)
MOST = 2**256 - 1


@pytest.fixture(scope="module")
def town() -> Town:
    """A market after four epochs, audits and all."""
    arena = Arena(LAB, "churning, noisy")
    town = Town(arena, validators=3, miners=4)
    town.mine("miner")
    town.play()
    return town


def take_home(arena: Arena, party: Party) -> int:
    """Do what `wealth` promises: leave everywhere, wait, withdraw and claim; what is in hand then."""
    for slot in [slot for slot in arena.slots.values() if slot.party is party]:
        arena.remove_miner(slot)
    for pool, address in party.pools:
        for call in (("unstake", pool, MOST), ("withdraw", pool), ("claim", pool)):
            with suppress(RevertedError):  # nothing there
                arena.stakes.write(address, *call)
    for address in party.addresses:
        with suppress(RevertedError):
            arena.treasury.write(address, "withdraw")
    return sum(int(arena.token.read("balanceOf", address)) for address in party.addresses)


def test_wealth_is_what_comes_home(town: Town) -> None:
    """To the unit, for miners, validators and the sponsor, after the market has been wound down."""
    arena = town.arena
    parties = [town.crowd.party, *(v.party for v in town.actors if isinstance(v, Validator)), town.sponsor]
    arena.market.write(arena.owner, "wind_down")
    arena.pass_time(arena.rules.commit_seconds + arena.rules.reveal_seconds)
    arena.close()
    promised = [party.wealth for party in parties]
    for seat in arena.seats:
        arena.market.write(seat.owner, "leave_validator", seat.vid)
    for number in town.sponsor.sponsorships:
        arena.treasury.write(town.sponsor.addresses[0], "claim_refund", number)
    for party, wealth in zip(parties, promised, strict=True):
        assert take_home(arena, party) == wealth > 0, party.name


def test_nobody_makes_money_out_of_nothing() -> None:
    """All wealth together is what was brought, less what was burned; and what is on the way lies in the contracts."""
    arena = Arena(LAB)
    town = Town(arena, validators=3, miners=3)
    town.play()
    everybody = [town.sponsor, town.crowd.party, *(v.party for v in town.validators), arena.keeper, arena.founder]
    burned = ledger.TOKEN_SUPPLY - int(arena.token.read("totalSupply"))
    held = sum(party.wealth for party in everybody)
    brought = sum(party.brought for party in everybody)
    books = arena.treasury.read("books")
    waiting = books["carry"] + arena.stakes.read("books")["reward"]
    assert burned > 0, "a part of every registration"
    assert brought - burned - waiting <= held <= brought - burned


def test_equal_labs_give_equal_runs() -> None:
    """Profits to the unit; another seed gives others."""

    def run(lab: Lab) -> list[int]:
        arena = Arena(lab, "drifting, noisy")
        town = Town(arena, validators=2, miners=3)
        town.play()
        return [town.crowd.party.profit, *(validator.party.profit for validator in town.validators)]

    lab = Lab(epochs=3, seed=9)
    assert run(lab) == run(lab) != run(replace(lab, seed=10))


def test_refusals_are_counted_and_cost_gas() -> None:
    """A second commit: refused, by its reason, and paid for."""
    arena = Arena(LAB)
    party = arena.party("hasty")
    seat = arena.add_validator(party, STAKE)
    spent = party.profit
    assert arena.commit(seat, [65_535])
    once = party.profit
    assert not arena.commit(seat, [65_535])
    assert party.refusals == {"market: already committed": 1}
    assert spent > once > party.profit


def test_a_party_starts_even_and_the_founder_gets_the_bond_back() -> None:
    """What was brought is no profit."""
    arena = Arena(LAB)
    assert arena.founder.wealth == BOND
    party = arena.party("newcomer")
    party.address(7 * TCT)
    assert party.wealth == 7 * TCT
    assert -TCT < party.profit < 0, "approvals cost gas"
