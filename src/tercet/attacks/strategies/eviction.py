"""Buying rivals out of a full market with applications of worthless miners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tercet.attacks.actors import Actor, Miner, Town
from tercet.attacks.arena import Arena, Party, Slot
from tercet.attacks.lab import TCT, Attack, Lab, Trial

PLACES = 8
"""Miners in the market: small, so that runs are short. The floor shrinks with it."""
CALLERS = {"one at a time": (1, 1_000), "all at once": (16, 1_000), "while it is cheap": (16, 4)}
"""How many applications in an epoch, and in how many epochs: the price is lowest before others have come."""
BEST = 1.5
"""Quality of the attacker's own miner: as good as the best of the others, so that it is the last to be evicted."""
PAYS = 10 * TCT
"""What an honest miner pays at most to come back: about an epoch's income."""


class Evictor(Actor):
    """Has an honest miner, and applies with worthless ones, which push out whoever is weakest, unless that is its own."""

    def __init__(self, party: Party, own: Slot, at_once: int, epochs: int) -> None:
        self.party, self._own, self._at_once, self._epochs = party, own, at_once, epochs

    def commit(self, arena: Arena) -> None:
        """As many as the queue takes, as long as there are weaker rivals that can go."""
        if arena.epoch >= self._epochs:
            return
        rivals = sum(
            slot.party is not self.party and slot.machine.quality < self._own.machine.quality
            for slot in arena.slots.values()
        )
        for _ in range(min(self._at_once, rivals - len(arena.waiting))):
            arena.apply_miner(self.party, arena.scenario.build_machine(0.0))


class Returning(Actor):
    """Evicted honest miners: they apply again while it is worth its price."""

    def __init__(self, town: Town) -> None:
        self._crowd = town.crowd

    def begin(self, arena: Arena) -> None:
        """Queue up."""
        for place, slot in enumerate(self._crowd.slots):
            here = arena.slots.get(slot.uid) is slot or slot in arena.waiting.values()
            if not here and int(arena.market.read("price")) <= PAYS and arena.is_full:
                self._crowd.slots[place] = arena.apply_miner(self._crowd.party, slot.machine) or slot


def _run(lab: Lab, evictor: tuple[int, int] | None) -> Party:
    floor = -(-lab.rules.floor_miners * PLACES // lab.rules.max_miners)
    arena = Arena(replace(lab, rules=replace(lab.rules, max_miners=PLACES, floor_miners=floor)))
    town = Town(arena, miners=PLACES - 1)
    party = arena.party("evictor")
    own = arena.add_miner(party, arena.scenario.build_machine(BEST))
    town.add(Miner(own), Returning(town))
    if evictor is not None:
        town.add(Evictor(party, own, *evictor))
    town.play()
    return party


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """The same miner in the same world, with and without buying rivals out."""
    honest = _run(lab, None).profit
    runs = {name: _run(lab, evictor) for name, evictor in CALLERS.items()}
    return {name: Trial(party.profit, honest, party.refusals) for name, party in runs.items()}


ATTACK = Attack(
    name="eviction-race",
    about="A good miner applies with worthless ones, which are immune at first and push rivals out.",
    stopped_by="each application raises the price, which is partly burned; a floor of miners cannot be evicted",
    twin="the same miner without that, in a second run of the same world",
    play=play,
    epochs=8,
)
