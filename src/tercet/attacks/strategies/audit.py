"""Attacks on the audit itself: forged logs, blind or withheld attestations, false accusations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tercet.attacks.actors import STAKE, Town, Validator
from tercet.attacks.archive import Log
from tercet.attacks.arena import SAMPLES, Arena
from tercet.attacks.lab import Attack, Lab, Trial
from tercet.market import build_row


class Forger(Validator):
    """Measures nothing, votes out of a hat, and invents a log that fits its row."""

    def row(self, arena: Arena) -> Sequence[int]:
        """Numbers that look like scores."""
        scores = {uid: 0.5 + arena.random.random() for uid in arena.slots}
        place = (arena.market.address, arena.epoch, self.seat.pool)
        self.entries = arena.archive.invent(*place, scores, arena.generations)
        return build_row(scores, arena.columns)


class FalseAccuser(Validator):
    """Honest, but accuses an honest rival in every round, whose held pay would then be the market's."""

    def begin(self, arena: Arena) -> None:
        """Everybody else's samples reproduce; it accuses all the same."""
        super().begin(arena)
        epoch = arena.epoch - 1
        rivals = [other for other in arena.seats if other is not self.seat and other.revealed == epoch]
        if rivals and arena.weighs(self.seat):
            arena.accuse(self.seat, rivals[epoch % len(rivals)], epoch, 0)


class Blind(Validator):
    """Vouches for everybody and saves the cost of checking."""

    def check(self, arena: Arena, log: Log, beacon: bytes) -> int | None:
        """Not looked at."""
        return None

    def vouches(self, arena: Arena, log: Log) -> bool:
        """Everybody is in order."""
        return True


class Denier(Blind):
    """Vouches for nobody, so that rivals lose their held pay."""

    def vouches(self, arena: Arena, log: Log) -> bool:
        """Nobody is."""
        return False


def _saved(lab: Lab, others: int) -> int:
    """What somebody who checks nothing saves in a run."""
    return lab.epochs * others * SAMPLES * lab.economy.checking


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """All four in one market: there is a forger to be found, and one who accuses in vain."""
    arena = Arena(lab)
    town = Town(arena, validators=5)
    twin = town.seat("twin")
    kinds = {
        "forged log": Forger,
        "false accusation": FalseAccuser,
        "vouches blindly": Blind,
        "vouches for nobody": Denier,
    }
    cheats = {name: kind(arena.add_validator(arena.party(name), STAKE)) for name, kind in kinds.items()}
    town.add(*cheats.values())
    town.play()
    honest = twin.party.profit
    bounds = {"vouches for nobody": 1 + _saved(lab, len(arena.seats) - 1) / max(1, honest)}
    return {name: Trial(v.party.profit, honest, v.party.refusals, bounds.get(name)) for name, v in cheats.items()}


ATTACK = Attack(
    name="audit",
    about="A validator forges its log, accuses an honest one, or vouches without checking.",
    stopped_by="the beacon picks entries, a majority convicts and slashes; a rejected accuser loses its bond; who vouched "
    "for a convict loses its own held pay",
    twin="an honest validator with the same stake, which checks and vouches",
    play=play,
    epochs=8,
    proof="Its votes and its log are the twin's, so it earns no more than the twin; it saves at most the cost of checking "
    "every other log in every epoch, and withholding one attestation of many changes nobody's majority.",
)
