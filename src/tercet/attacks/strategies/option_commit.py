"""Commits as options: decide after the others' reveals what one's own shall have been."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tercet.attacks.actors import STAKE, Actor, Town, Validator
from tercet.attacks.arena import Arena, Party, Seat, spread_evenly
from tercet.attacks.lab import Attack, Lab, Trial
from tercet.market.epoch import unpack_row


class TwoFaced(Actor):
    """Splits its stake over two seats, commits to two rows, and reveals the one that fits better."""

    def __init__(self, party: Party, seats: Sequence[Seat]) -> None:
        self.party = party
        self._measuring, self._guessing = (Validator(seat) for seat in seats)

    def commit(self, arena: Arena) -> None:
        """What it saw on one seat, a guess on the other."""
        self._measuring.commit(arena)
        arena.commit(self._guessing.seat, spread_evenly(sorted(arena.slots), arena.columns))

    def reveal(self, arena: Arena) -> None:
        """Comes last, and reveals the row that is nearer to what the others said."""
        others = [
            unpack_row(arena.market.read("get_row", seat.vid), arena.columns)
            for seat in arena.seats
            if seat.revealed == arena.epoch
        ]
        arena.reveal(min((self._measuring.seat, self._guessing.seat), key=lambda seat: _distance(seat, others)))


def _distance(seat: Seat, others: Sequence[Sequence[int]]) -> int:
    assert seat.ballot is not None
    row = unpack_row(seat.ballot[3], len(others[0]) if others else None)
    return sum(abs(a - b) for other in others for a, b in zip(row, other, strict=True))


class Withholding(Validator):
    """Commits, sees the others' rows, and never reveals: its stake counts against every miner."""

    def reveal(self, arena: Arena) -> None:
        """Says nothing."""


class Late(Validator):
    """Reveals when the phase is over and all is known."""

    def reveal(self, arena: Arena) -> None:
        """Not yet."""

    def close(self, arena: Arena) -> None:
        """Now."""
        arena.reveal(self.seat)


class Changing(Validator):
    """Measures nothing, commits to anything, and reveals what the others turn out to have said."""

    def commit(self, arena: Arena) -> None:
        """Any row will do; a second commit is tried for good measure."""
        for _ in range(2):
            arena.commit(self.seat, spread_evenly(sorted(arena.slots), arena.columns))

    def reveal(self, arena: Arena) -> None:
        """Another's row, now that it is known."""
        assert self.seat.ballot is not None
        shown = [seat.ballot for seat in arena.seats if seat.revealed == arena.epoch and seat.ballot is not None]
        self.seat.ballot = (*self.seat.ballot[:3], shown[0][3])
        arena.reveal(self.seat)


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """All four in one market, beside an honest validator of the same stake."""
    arena = Arena(lab)
    town = Town(arena, validators=6)  # two withhold: the others must be a majority by themselves
    twin = town.seat("twin")
    names = ("two rows", "withheld", "late", "another row")
    parties = {name: arena.party(name) for name in names}
    halves = [arena.add_validator(parties["two rows"], STAKE // 2) for _ in range(2)]
    town.add(TwoFaced(parties["two rows"], halves))
    for name, kind in (("withheld", Withholding), ("late", Late), ("another row", Changing)):
        town.add(kind(arena.add_validator(parties[name], STAKE)))
    town.play()
    return {name: Trial(party.profit, twin.party.profit, party.refusals) for name, party in parties.items()}


ATTACK = Attack(
    name="option-commit",
    about="A validator keeps a choice: two commits, a withheld, late or different reveal.",
    stopped_by="one commit an epoch binds owner, epoch and row; unrevealed stake earns nothing",
    twin="an honest validator with the same stake",
    play=play,
    epochs=8,
)
