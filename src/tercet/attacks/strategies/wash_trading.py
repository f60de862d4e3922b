"""Buying from oneself, for the emission that follows fees."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import astuple

from tercet.attacks.actors import STAKE, Actor, Miner, Town, Validator
from tercet.attacks.arena import NOTICE, Arena, Party
from tercet.attacks.lab import TCT, Attack, Lab, Trial
from tercet.chain.keys import NOBODY
from tercet.chain.voucher import EscrowDomain, channel_id, sign_voucher
from tercet.errors import AlreadyDoneError
from tercet.market import ChannelConfig

VOLUME = 2_000 * TCT
"""Sent round in each epoch. The fee on it is what the group pays."""


class Circle(Actor):
    """A buyer and a miner of one person: the miner redeems, and hands the money back."""

    def __init__(self, party: Party, miner: Miner, arena: Arena) -> None:
        self.party, self._buyer, self._miner = party, party.key(VOLUME), miner.slot.owner
        me, token = self._buyer.address, arena.token.address
        self._config = ChannelConfig(me, me, self._miner, NOBODY, token, NOTICE, bytes(32))
        self._domain = EscrowDomain(arena.sandbox.chain_id, arena.escrow.address)
        self._paid = 0
        arena.escrow.write(self._miner, "declare_market", arena.market.address)

    def commit(self, arena: Arena) -> None:
        """Pay in, redeem, hand back; then take whatever emission is due."""
        money = min(VOLUME, int(arena.token.read("balanceOf", self._buyer.address)))
        arena.escrow.write(self._buyer.address, "top_up" if self._paid else "open", astuple(self._config), money)
        self._paid += money
        voucher = sign_voucher(self._domain, self._buyer, channel_id(self._domain, self._config), self._paid)
        promise = (self._paid, voucher.max_claimable, voucher.signature)
        arena.escrow.write(self._miner, "redeem", astuple(self._config), *promise)
        back = int(arena.token.read("balanceOf", self._miner))
        arena.token.write(self._miner, "transfer", self._buyer.address, back)

    def reveal(self, arena: Arena) -> None:
        """Anybody may bring a market its fees and its emission."""
        for period in range(int(arena.fees.read("period"))):
            with suppress(AlreadyDoneError):  # nothing is due
                arena.emission.write(self._buyer.address, "collect", arena.market.address, period)
        with suppress(AlreadyDoneError):  # nothing is pending
            arena.fees.write(self._buyer.address, "forward", arena.market.address)


def _run(lab: Lab, *, closed: bool, trades: bool) -> Party:
    """`closed`: all validators and miners are the group's, and only the sponsor is not."""
    arena = Arena(lab)
    town = Town(arena)
    group = arena.party("group")
    friend = Miner(arena.add_miner(group, arena.scenario.build_machine(1.0)))
    town.add(friend, Validator(arena.add_validator(group, STAKE)))
    if trades:
        town.add(Circle(group, friend, arena))
    town.play()
    if closed:
        for other in [town.crowd.party, *(validator.party for validator in town.validators)]:
            group.absorb(other)
    return group


def play(_scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """The same people, with and without sending money round."""
    trials = {}
    for name, closed in (("one miner of eight", False), ("owns the whole market", True)):
        honest = _run(lab, closed=closed, trades=False).profit
        group = _run(lab, closed=closed, trades=True)
        trials[name] = Trial(group.profit, honest, group.refusals)
    return trials


ATTACK = Attack(
    name="wash-trading",
    about="A group buys from its own miner, so that fees are burned and emission follows.",
    stopped_by="emission is at most half of what was burned for the market (docs/explanation/allocator.md)",
    twin="the same people without the trade, in a second run of the same world",
    play=play,
    epochs=6,
)
