"""Stake that is there only while it is counted."""

from __future__ import annotations

from collections.abc import Mapping

from tercet.attacks.actors import STAKE, Town, Validator
from tercet.attacks.arena import Arena, Seat
from tercet.attacks.lab import Attack, Lab, Trial


class JustInTime(Validator):
    """Keeps the least stake, adds the rest just before the epoch is counted, and takes it out just after."""

    def __init__(self, seat: Seat, rest: int, arena: Arena) -> None:
        super().__init__(seat)
        self._rest = rest
        self.party.top_up(seat.owner, rest)
        self._arena = arena

    def _stakes(self, arena: Arena, *call: object) -> bool:
        return arena.try_write(self.party, arena.stakes, self.seat.owner, *call) is not None

    def close(self, arena: Arena) -> None:
        """All in, a moment before the closing begins."""
        free = min(self._rest, int(arena.token.read("balanceOf", self.seat.owner)))
        if free:
            self._stakes(arena, "stake", self.seat.pool, free)

    def end(self, arena: Arena) -> None:
        """All out again, and home with what has come free."""
        position = arena.stakes.read("get_position", self.seat.pool, self.seat.owner)
        spare = position["active"] + position["pending"] - arena.rules.min_stake
        if spare > 0:
            self._stakes(arena, "unstake", self.seat.pool, spare)
        if position["unbonding"] and arena.epoch >= position["release_epoch"]:
            self._stakes(arena, "withdraw", self.seat.pool)


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """The same money, in for the moment of counting only, or in from beginning to end."""
    arena = Arena(lab)
    town = Town(arena)
    twin = town.seat("twin")
    party = arena.party("attacker")
    town.add(JustInTime(arena.add_validator(party, lab.rules.min_stake), STAKE - lab.rules.min_stake, arena))
    town.play()
    return {"": Trial(party.profit, twin.party.profit, party.refusals)}


ATTACK = Attack(
    name="just-in-time",
    about="A validator adds its stake a moment before it is counted and takes it out a moment later.",
    stopped_by="the least stake over the epoch counts, and unstaked tokens wait for unbonding_epochs",
    twin="an honest validator that keeps the same money staked",
    play=play,
    epochs=8,
)
