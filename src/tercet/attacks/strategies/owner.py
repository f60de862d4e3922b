"""A market's owner turns its own rules against the people in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, replace

from tercet.attacks.actors import STAKE, Actor, Town, Validator
from tercet.attacks.arena import Arena, Party
from tercet.attacks.lab import TCT, Attack, Lab, Trial
from tercet.chain.registry import MarketParams

MORE = STAKE + TCT
"""The owner's stake: just above everybody else's."""
FLIPS: Mapping[str, Callable[[MarketParams], MarketParams]] = {
    "one permit": lambda rules: replace(rules, max_validators=1, weight_cap_bps=10_000),
    "higher minimum": lambda rules: replace(rules, min_stake=MORE, weight_cap_bps=10_000),
    "new version": lambda rules: replace(rules, mechanism_version=rules.mechanism_version + 1),
}


class Owner(Validator):
    """Validates honestly, and in the first epoch proposes rules under which only its own votes count."""

    flip: Callable[[MarketParams], MarketParams] | None = None

    def begin(self, arena: Arena) -> None:
        """Proposes; then tries to have it in force at once, over and over."""
        if self.flip is None:
            return
        if not arena.epoch:
            flip = self.flip
            self._try(arena, "propose", astuple(flip(arena.rules)))
        self._try(arena, "take_effect")

    def _try(self, arena: Arena, *call: object) -> None:
        arena.try_write(self.party, arena.rule_book, arena.owner, *call)


class Watcher(Actor):
    """A sponsor that reads proposals, as anybody can, and leaves before one takes effect that it never agreed to."""

    def __init__(self, party: Party) -> None:
        self.party = party

    def commit(self, arena: Arena) -> None:
        """Ends the sponsorship with the running epoch."""
        _, effective_at = arena.rule_book.read("proposal")
        if effective_at:
            arena.try_write(self.party, arena.treasury, self.party.addresses[0], "cancel", self.party.sponsorships[0])


def _run(lab: Lab, flip: Callable[[MarketParams], MarketParams] | None) -> Party:
    arena = Arena(lab)
    town = Town(arena, validators=5)
    owner = Owner(arena.add_validator(arena.party("owner"), MORE))
    owner.party.addresses.append(arena.owner)  # its gas counts; the bond that it brought is no profit
    owner.party.brought += arena.founder.brought
    owner.flip = flip
    town.add(owner, Watcher(town.sponsor))
    town.play()
    return owner.party


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """The same owner in the same market, with and without the flip."""
    honest = _run(lab, None).profit
    runs = {name: _run(lab, flip) for name, flip in FLIPS.items()}
    return {name: Trial(party.profit, honest, party.refusals) for name, party in runs.items()}


ATTACK = Attack(
    name="owner",
    about="The owner changes the rules so that only its own votes count.",
    stopped_by="a change shows for the timelock and never begins inside an epoch: sponsors leave before it is in force",
    twin="the same owner without the change, in a second run of the same world",
    play=play,
    epochs=7,
)
