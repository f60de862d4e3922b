"""Saying again what somebody else, or oneself, has said before: in another epoch, market or chain."""

from __future__ import annotations

from collections.abc import Mapping

from tercet.attacks.actors import STAKE, Actor, Town, Validator
from tercet.attacks.arena import Arena, Party, Seat
from tercet.attacks.lab import Attack, Lab, Trial
from tercet.attacks.strategies.voucher import DEPOSIT, PRICE, Buyer, Channel, Worker, redeem
from tercet.chain.devnet.sandbox import CHAIN_ID


class Echo(Actor):
    """Commits to the digest that an honest validator has just published, and opens it with that one's own words."""

    def __init__(self, seat: Seat, model: Validator) -> None:
        self.seat, self.party, self._model = seat, seat.party, model

    def commit(self, arena: Arena) -> None:
        """Copied from the chain."""
        digest = self._model.seat.digest
        arena.try_write(self.party, arena.market, self.seat.operator, "commit", digest)

    def reveal(self, arena: Arena) -> None:
        """Copied too: it stands in the reveal's data."""
        self.seat.ballot = self._model.seat.ballot
        arena.reveal(self.seat)


class Reprise(Validator):
    """Measures once, and plays its own first commit and reveal again in every later epoch."""

    def commit(self, arena: Arena) -> None:
        """The same digest."""
        if self.seat.ballot is None:
            super().commit(arena)
        else:
            arena.try_write(self.party, arena.market, self.seat.operator, "commit", self.seat.digest)


def _other_chain(lab: Lab) -> tuple[Party, int]:
    """A miner that was promised test money on one chain cashes the promise on another, where all addresses are the same."""
    first, second = Arena(lab), Arena(lab, chain_id=CHAIN_ID + 1)
    channels = []
    for arena in (first, second):
        buyer, miner = Buyer(arena.party("buyer")), Worker(arena.party("miner"))
        channel = Channel(arena, buyer, miner)
        channel.open(DEPOSIT)
        channels.append(channel)
    here, there = channels
    assert here.config == there.config
    here.buyer.buy(here, DEPOSIT // PRICE)
    voucher = here.miner.best[here.id][1]
    redeem(there.miner.party, there.miner.address, there, DEPOSIT, voucher)
    here.miner.cash()
    return there.miner.party, here.miner.party.profit


def play(scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """Votes in one market; or vouchers on two chains."""
    if scenario == "other chain":
        miner, honest = _other_chain(lab)
        return {"": Trial(miner.profit, honest, miner.refusals)}
    arena = Arena(lab, "drifting, quiet")
    town = Town(arena)
    twin = town.seat("twin")
    echo = Echo(arena.add_validator(arena.party("echo"), STAKE), twin)
    reprise = Reprise(arena.add_validator(arena.party("reprise"), STAKE))
    town.add(echo, reprise)
    town.play()
    honest = twin.party.profit
    parties = {"another's": echo.party, "own, old": reprise.party}
    return {name: Trial(party.profit, honest, party.refusals) for name, party in parties.items()}


ATTACK = Attack(
    name="replay",
    about="Commits, reveals and vouchers are sent again by another person, in another epoch or on another chain.",
    stopped_by="every digest names chain, contract, epoch and owner",
    twin="an honest validator with the same stake; for vouchers, the miner on the chain they were signed for",
    play=play,
    scenarios=("votes", "other chain"),
    epochs=6,
)
