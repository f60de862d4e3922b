"""Many miners, one machine."""

from __future__ import annotations

from collections.abc import Mapping

from tercet.attacks.actors import Miner, Town
from tercet.attacks.arena import Arena
from tercet.attacks.lab import Attack, Lab, Trial

NAMES = 3


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """One machine under three names, beside the same machine under one."""
    arena = Arena(lab)
    town = Town(arena)
    twin = town.mine("twin", quality=1.0)
    party = arena.party("sybil")
    machine = arena.scenario.build_machine(1.0)
    names = [arena.add_miner(party, machine) for _ in range(NAMES)]
    town.add(*(Miner(slot, pays=slot is names[0]) for slot in names))
    town.play()
    return {f"{NAMES} names": Trial(party.profit, twin.party.profit, party.refusals)}


ATTACK = Attack(
    name="sybil",
    about="One machine answers under three miners' names and hopes for three shares.",
    stopped_by="all are asked at the same moment, so names share a machine's throughput; each name pays the rising price",
    twin="the same machine under one name",
    play=play,
    epochs=8,
)
