"""A market's owner turns its own rules against the people in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, replace

from tercet.attacks.actors import STAKE, Actor, Miner, Town, Validator
from tercet.attacks.arena import Arena, Party
from tercet.attacks.lab import TCT, Attack, Lab, Trial
from tercet.chain.registry import MarketParams

MORE = STAKE + TCT
"""The owner's stake: just above everybody else's."""
FLIPS: Mapping[str, Callable[[MarketParams], MarketParams]] = {
    "one permit": lambda rules: replace(rules, max_validators=1, weight_cap_bps=10_000),
    "higher minimum": lambda rules: replace(rules, min_stake=MORE, weight_cap_bps=10_000),
    "new version": lambda rules: replace(rules, mechanism_version=rules.mechanism_version + 1),
    "immunity": lambda rules: replace(rules, immunity_epochs=1_000, floor_miners=rules.max_miners),
}
"""Three under which only its own votes count, and one under which its own miner, the worst, can never be evicted."""
PLACES = 8
"""Miners in the market: all places are taken, and better ones wait. The floor shrinks with it."""
WORST = 0.4
"""Quality of the owner's miner: the others' is 0.5 to 1.5."""


class Owner(Validator):
    """Validates honestly, and in the first epoch proposes rules for its own good."""

    flip: Callable[[MarketParams], MarketParams] | None = None

    def begin(self, arena: Arena) -> None:
        """Proposes; then tries to have it in force at once, over and over."""
        if self.flip is None:
            return
        if not arena.epoch:
            flip = self.flip
            self._try(arena, "propose", astuple(flip(arena.rules)))
        self._try(arena, "take_effect")

    def commit(self, arena: Arena) -> None:
        """In the version in force, which it alone speaks."""
        with _in_force(arena):
            super().commit(arena)

    def reveal(self, arena: Arena) -> None:
        """The same."""
        with _in_force(arena):
            super().reveal(arena)

    def _try(self, arena: Arena, *call: object) -> None:
        arena.try_write(self.party, arena.rule_book, arena.owner, *call)


@contextmanager
def _in_force(arena: Arena) -> Iterator[None]:
    """Speak the mechanism's version that is in force; everybody else keeps to the one that the market opened with."""
    opened = arena.rules
    arena.rules = replace(opened, mechanism_version=arena.rule_book.read("phase_terms")["mechanism_version"])
    try:
        yield
    finally:
        arena.rules = opened


class Watcher(Actor):
    """A sponsor that reads proposals, as anybody can, and leaves before one takes effect that it never agreed to."""

    def __init__(self, party: Party) -> None:
        self.party, self._here = party, True

    def commit(self, arena: Arena) -> None:
        """Ends the sponsorship with the running epoch, if the next one may be under the new rules."""
        _, effective_at = arena.rule_book.read("proposal")
        if self._here and effective_at and effective_at <= arena.sandbox.now + _epoch_seconds(arena.rules):
            self._here = False
            arena.try_write(self.party, arena.treasury, self.party.addresses[0], "cancel", self.party.sponsorships[0])


class Newcomers(Actor):
    """In every epoch one good miner more waits for the weakest one's place."""

    def __init__(self, party: Party) -> None:
        self.party = party

    def commit(self, arena: Arena) -> None:
        """Queue up."""
        arena.apply_miner(self.party, arena.scenario.build_machine(1.5))


def _epoch_seconds(rules: MarketParams) -> int:
    return rules.commit_seconds + rules.reveal_seconds


def _run(lab: Lab, flip: Callable[[MarketParams], MarketParams] | None) -> Party:
    # The timelock is the shortest that lets a sponsor read and leave, so that most of the run is under the new rules.
    lab = replace(lab, economy=replace(lab.economy, timelock_seconds=2 * _epoch_seconds(lab.rules)))
    floor = -(-lab.rules.floor_miners * PLACES // lab.rules.max_miners)
    arena = Arena(replace(lab, rules=replace(lab.rules, max_miners=PLACES, floor_miners=floor)))
    town = Town(arena, validators=5, miners=PLACES - 1)
    owner = Owner(arena.add_validator(arena.party("owner"), MORE))
    town.add(
        Miner(arena.add_miner(owner.party, arena.scenario.build_machine(WORST))), Newcomers(arena.party("newcomers"))
    )
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
    about="The owner changes the rules so that only its own votes count, or so that its own miner is immune for ever.",
    stopped_by="a change shows for the timelock and never begins inside an epoch: sponsors leave before it is in force",
    twin="the same owner without the change, in a second run of the same world",
    play=play,
    epochs=7,
)
