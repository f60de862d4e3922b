"""Pumps: small odd amounts in and out, to collect what rounding leaves."""

from __future__ import annotations

from collections.abc import Mapping

from tercet.attacks.actors import Actor, Town, Validator
from tercet.attacks.arena import Arena, Party
from tercet.attacks.lab import TCT, Attack, Lab, Trial

CAPITAL = 100 * TCT
CYCLES = 4
ODD = 10**6 + 7


class Staker(Actor):
    """The twin: delegates its money once."""

    def __init__(self, party: Party, at: Validator, capital: int = CAPITAL) -> None:
        self.party, self.pool, self.capital = party, at.seat.pool, capital
        self.address = party.address(capital)
        party.pools.add((self.pool, self.address))

    def begin(self, arena: Arena) -> None:
        """In the first epoch, all of it."""
        if not arena.epoch:
            arena.stakes.write(self.address, "stake", self.pool, self.capital)


class Pump(Staker):
    """Stakes, unstakes and claims in odd amounts, several times in every epoch."""

    def begin(self, arena: Arena) -> None:
        """Most of it stays in, so that it earns; the rest goes round."""
        if not arena.epoch:
            arena.stakes.write(self.address, "stake", self.pool, CAPITAL - CYCLES * arena.lab.epochs * ODD)

    def commit(self, arena: Arena) -> None:
        """Round and round."""
        for cycle in range(1, CYCLES + 1):
            for call in (("stake", ODD), ("unstake", ODD - cycle), ("unstake", 1)):
                arena.try_write(self.party, arena.stakes, self.address, call[0], self.pool, call[1])
        for name in ("claim", "withdraw"):
            arena.try_write(self.party, arena.stakes, self.address, name, self.pool)


class PettySponsor(Staker):
    """Sponsors single base units for many epochs, cancels and claims, to be first at every remainder."""

    def begin(self, arena: Arena) -> None:
        """Nothing is staked."""

    def commit(self, arena: Arena) -> None:
        """Sponsor, cancel, claim; claims of all that went before."""
        for _ in range(CYCLES):
            made = arena.try_write(self.party, arena.treasury, self.address, "sponsor", 999_983, 999_983)
            if made is not None:
                self.party.sponsorships.append(int(made.value))
                arena.try_write(self.party, arena.treasury, self.address, "cancel", int(made.value))
        for number in self.party.sponsorships[-2 * CYCLES :]:
            arena.try_write(self.party, arena.treasury, self.address, "claim_refund", number)


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """Both pumps beside somebody who stakes the same money once."""
    arena = Arena(lab)
    town = Town(arena)
    at = town.validators[0]
    twin = Staker(arena.party("twin"), at)
    pumps = {"stake in and out": Pump(arena.party("pump"), at), "sponsor units": PettySponsor(arena.party("petty"), at)}
    town.add(twin, *pumps.values())
    town.play()
    return {name: Trial(pump.party.profit, twin.party.profit, pump.party.refusals) for name, pump in pumps.items()}


ATTACK = Attack(
    name="dust",
    about="Odd amounts go in and out many times, to collect what every division leaves over.",
    stopped_by="every share is floored against the one who moves; remainders stay with those who stay",
    twin="somebody who stakes the same money once",
    play=play,
    epochs=6,
)
