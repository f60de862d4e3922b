"""Closings that are begun and left lying."""

from __future__ import annotations

from collections.abc import Mapping

from tercet.attacks.actors import Actor, Town
from tercet.attacks.arena import Arena, Party
from tercet.attacks.lab import Attack, Lab, Trial


class Beginner(Actor):
    """Begins every closing, takes that step's pay, and leaves the rest, which nothing can move past, to others."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self.address = party.address()

    def close(self, arena: Arena) -> None:
        """Only the cheap step."""
        arena.try_write(self.party, arena.market, self.address, "begin_close")


class Liar(Beginner):
    """Brings wrong hints, and tries to finish what is not settled."""

    def close(self, arena: Arena) -> None:
        """Every way to end an epoch on one's own terms."""
        full = sum(65_535 << (16 * column) for column in range(16))
        for call in (("close_epoch", [full]), ("close_epoch", []), ("settle_pages", 0, [0]), ("finish_close",)):
            arena.try_write(self.party, arena.market, self.address, *call)


class Finisher(Actor):
    """The twin: brings whatever it finds to its end."""

    def __init__(self, party: Party) -> None:
        self.party = party
        self.address = party.address()

    def close(self, arena: Arena) -> None:
        """All steps that are left."""
        arena.close(self.address)


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """One who begins and one who lies, before one who works."""
    arena = Arena(lab)
    town = Town(arena)
    parties = {name: arena.party(name) for name in ("begins only", "wrong hints")}
    twin = arena.party("twin")
    town.add(Liar(parties["wrong hints"]), Beginner(parties["begins only"]), Finisher(twin))
    town.play()
    return {name: Trial(party.profit, twin.profit, party.refusals) for name, party in parties.items()}


ATTACK = Attack(
    name="half-closed",
    about="Somebody begins to close every epoch and stops, or brings wrong hints, so that nothing moves.",
    stopped_by="every step is paid by itself and anybody may go on; a wrong hint costs only its sender",
    twin="somebody who brings every closing to its end",
    play=play,
    epochs=6,
)
