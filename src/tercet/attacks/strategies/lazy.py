"""Lazy validators: they vote without looking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tercet.attacks.actors import STAKE, Town, Validator
from tercet.attacks.arena import Arena, spread_evenly
from tercet.attacks.lab import Attack, Lab, Trial
from tercet.market import build_row


class Random(Validator):
    """Weights out of a hat."""

    def row(self, arena: Arena) -> Sequence[int]:
        """Every miner gets something between nothing and all."""
        return build_row({uid: arena.random.random() for uid in sorted(arena.slots)}, arena.columns)


class Constant(Validator):
    """Equal weights for everybody who is there."""

    def row(self, arena: Arena) -> Sequence[int]:
        """Looks at the list of miners only."""
        return spread_evenly(sorted(arena.slots), arena.columns)


class Repeating(Validator):
    """Looks once, in its first epoch, and says the same ever after."""

    _scores: Mapping[int, float] = {}

    def row(self, arena: Arena) -> Sequence[int]:
        """What it saw once, of the miners who are still there, by uid."""
        if not self._scores:
            self._scores = self.measure(arena)
        return build_row({uid: s for uid, s in self._scores.items() if uid in arena.slots}, arena.columns)


def play(scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """All three in one market, beside honest validators of the same stake."""
    arena = Arena(lab, scenario)
    town = Town(arena)
    twin = town.seat("twin")
    kinds = {"random": Random, "constant": Constant, "last epoch's": Repeating}
    lazy = {name: kind(arena.add_validator(arena.party(name), STAKE)) for name, kind in kinds.items()}
    town.add(*lazy.values())
    town.play()
    return {name: Trial(v.party.profit, twin.party.profit, v.party.refusals) for name, v in lazy.items()}


ATTACK = Attack(
    name="lazy",
    about="A validator saves the cost of measuring and votes at random, the same for all, or what it once saw.",
    stopped_by="part of its pay waits for an audit, and a log of every epoch is the work it wants to save",
    twin="an honest validator with the same stake, which pays for measuring",
    play=play,
    scenarios=("stable, quiet", "drifting, noisy", "churning, quiet"),
    epochs=8,
)
