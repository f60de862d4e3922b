"""Taking the place of a good miner after the votes for it are in."""

from __future__ import annotations

from collections.abc import Mapping

from tercet.attacks.actors import Actor, Crowd, Miner, Town
from tercet.attacks.arena import Arena, Party, Slot
from tercet.attacks.lab import Attack, Lab, Trial


class Sniper(Actor):
    """Waits until the votes are committed, gets a miner to leave, takes its uid, and goes when the epoch is paid."""

    def __init__(self, party: Party, crowd: Crowd) -> None:
        self.party, self._crowd = party, crowd
        self._slot: Slot | None = None

    def reveal(self, arena: Arena) -> None:
        """The best miner leaves (it is in the plot, at no charge); its uid is the lowest free one."""
        best = max(self._crowd.slots, key=lambda slot: slot.machine.quality)
        arena.remove_miner(best)
        self._crowd.slots.remove(best)
        self._slot = arena.add_miner(self.party, arena.scenario.build_machine(0.0))
        assert self._slot.uid == best.uid

    def end(self, arena: Arena) -> None:
        """The deposit comes home; an honest miner takes the place, so that the next one is the only free one again."""
        assert self._slot is not None
        arena.remove_miner(self._slot)
        self._crowd.slots.append(arena.add_miner(self._crowd.party))


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """In every epoch, beside a newcomer that comes at the same time and works."""
    arena = Arena(lab)
    town = Town(arena)
    party = arena.party("sniper")
    twin: Miner = town.mine("twin", quality=1.0)
    town.add(Sniper(party, town.crowd))
    town.play()
    return {"": Trial(party.profit, twin.party.profit, party.refusals)}


ATTACK = Attack(
    name="uid-sniping",
    about="After the votes are committed, a good miner leaves and the attacker registers into its uid.",
    stopped_by="a weight counts only for the generation it measured; part of each registration's price is burned",
    twin="a newcomer that registers once and works",
    play=play,
    epochs=8,
)
