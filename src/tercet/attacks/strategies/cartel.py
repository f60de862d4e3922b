"""A cartel of validators that votes for its own miner instead of measuring."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from tercet.attacks.actors import STAKE, Actor, Miner, Town, Validator
from tercet.attacks.archive import Log
from tercet.attacks.arena import Arena, Party, Seat
from tercet.attacks.lab import TCT, Attack, Lab, Trial
from tercet.market import build_row
from tercet.market.epoch import FULL, PRECISE, find_consensus, unpack_row

SHARES = {"20 %": (1, 4), "33 %": (2, 4), "40 %": (2, 3), "49 %": (3, 3)}
"""How many validators are in the cartel, and how many are not. No member has more stake than an honest validator, and
nobody has so much that the cap binds."""
QUALITY = 0.5
"""Of the cartel's miner: half of what the average miner is worth."""
_WORLD = "stable, noisy"


class Crony(Validator):
    """Votes everything for one miner."""

    def __init__(self, seat: Seat, friend: Miner) -> None:
        super().__init__(seat)
        self.friend = friend

    def row(self, arena: Arena) -> Sequence[int]:
        """Nothing for anybody else, which also pulls the others' median down."""
        row = [0] * arena.columns
        row[self.friend.slot.uid] = FULL
        return row


class Tilting(Crony):
    """Votes honestly for the others, and three times what it saw for its friend."""

    def row(self, arena: Arena) -> Sequence[int]:
        """Hides in the noise."""
        scores = self.measure(arena)
        scores[self.friend.slot.uid] *= 3
        return build_row(scores, arena.columns)


class Favoured(Crony):
    """Its friend knows who asks, and answers it three times as well: what is voted was truly seen, so no audit objects."""

    def measure(self, arena: Arena) -> dict[int, float]:
        """As for everybody, but for one machine."""
        quality = self.friend.slot.machine.quality
        self.friend.slot.machine.quality *= 3
        scores = super().measure(arena)
        self.friend.slot.machine.quality = quality
        return scores

    def row(self, arena: Arena) -> Sequence[int]:
        """Honest, as far as it can see."""
        return build_row(self.measure(arena), arena.columns)


class Withholding(Favoured):
    """The same, and it vouches for nobody but itself: what rivals forfeit comes into the next reward."""

    def vouches(self, arena: Arena, log: Log) -> bool:
        """Friends only."""
        return log.entries[0].pool in {seat.pool for seat in arena.seats if seat.party is self.party}


class Loyal(Crony):
    """The twin: has a miner too, and votes what it saw."""

    def row(self, arena: Arena) -> Sequence[int]:
        """As any honest validator."""
        return build_row(self.measure(arena), arena.columns)


class Limit(Actor):
    """Adds up the most that the cartel could be paid, whatever it votes: see the proof.

    Reads nothing but the rows of those who are not in the cartel, and the epoch's reward.
    """

    def __init__(self, cartel: Party, friend: Miner, members: int) -> None:
        self._cartel, self._friend, self._members = cartel, friend, members
        self._bonds: list[float] = []
        """Of all honest validators together, by column, as parts of one row."""
        self._full = 0.0
        """How much of a whole row one validator's bonds make up by now."""
        self.most = 0.0

    def close(self, arena: Arena) -> None:
        """One epoch more."""
        if not arena.epoch:
            return  # stake that came in this epoch does not count yet
        honest = [seat for seat in arena.seats if seat.party is not self._cartel and seat.revealed == arena.epoch]
        weights = arena.stakes.read("effective", [seat.pool for seat in arena.seats], arena.rules.min_stake)
        inside = sum(w for seat, w in zip(arena.seats, weights, strict=True) if seat.party is self._cartel)
        stakes = {seat.pool: weight for seat, weight in zip(arena.seats, weights, strict=True)}
        rows = [(unpack_row(seat.ballot[3], arena.columns), stakes[seat.pool]) for seat in honest if seat.ballot]
        needed = arena.rules.kappa * sum(weights) // PRECISE
        tops = [
            find_consensus([(FULL, inside), *((row[uid], stake) for row, stake in rows)], needed) / FULL
            for uid in range(arena.columns)
        ]
        self._age(arena, [row for row, _ in rows])
        reward = int(arena.treasury.read("reward"))  # what the sponsors gave, and what was forfeited before
        for_validators = reward * arena.rules.validator_share_bps / 10_000
        parts = share_at_most(tops[1:], self._bonds[1:], self._members * self._full)
        self.most += (reward - for_validators) * tops[self._friend.slot.uid] + for_validators * parts

    def _age(self, arena: Arena, rows: Sequence[Sequence[int]]) -> None:
        """Bonds follow rows by the rules' alpha."""
        alpha = arena.rules.bond_alpha / PRECISE
        old = self._bonds or [0.0] * arena.columns
        now = [sum(row[uid] for row in rows) / FULL for uid in range(arena.columns)]
        self._bonds = [bond + alpha * (new - bond) for bond, new in zip(old, now, strict=True)]
        self._full += alpha * (1 - self._full)


NEGLIGIBLE = 1e-12
"""A part of all pay that makes no difference."""


def share_at_most(tops: Sequence[float], bonds: Sequence[float], own: float) -> float:
    """The largest sum of top * x / (x + bond) over columns, where the x are not negative and sum to `own`.

    The sum is concave in x, so at its maximum all columns that are used have the same slope: top * bond / (x + bond)**2
    = m, hence x = sqrt(top * bond / m) - bond. Bisection over m; a column without others' bonds is taken whole, and so
    is one too small for arithmetic to tell.
    """
    columns = list(zip(tops, bonds, strict=True))
    free = sum(top for top, bond in columns if bond <= 0 or top <= NEGLIGIBLE)
    used = [(top, bond) for top, bond in columns if bond > 0 and top > NEGLIGIBLE]
    if not used or own <= 0:
        return free

    def spread(slope: float) -> list[float]:
        return [max(0.0, math.sqrt(top * bond / slope) - bond) for top, bond in used]

    # At the low end every column takes all that there is, at the high end none takes anything.
    low, high = min(top * bond / (own + bond) ** 2 for top, bond in used), max(top / bond for top, bond in used)
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if sum(spread(middle)) > own else (low, middle)
    return free + sum(top * x / (x + bond) for (top, bond), x in zip(used, spread(low), strict=True))


def _run(scenario: str, lab: Lab, kind: Callable[[Seat, Miner], Crony]) -> tuple[Party, float]:
    members, others = SHARES[scenario]
    arena = Arena(lab, _WORLD)
    town = Town(arena, validators=others)
    cartel = arena.party("cartel")
    friend = Miner(arena.add_miner(cartel, arena.scenario.build_machine(QUALITY)))
    percent = int(scenario.removesuffix(" %"))
    stake = others * STAKE * percent // (100 - percent) // members // TCT * TCT
    town.add(friend, *(kind(arena.add_validator(cartel, stake), friend) for _ in range(members)))
    limit = Limit(cartel, friend, members)
    town.add(limit)
    town.play()
    return cartel, limit.most


def play(scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """The same people in the same world: honest, all for the friend, hiding in the noise, favoured, and withholding."""
    honest = _run(scenario, lab, Loyal)[0].profit
    kinds: Mapping[str, Callable[[Seat, Miner], Crony]] = {
        "all in": Crony,
        "tilted": Tilting,
        "favoured": Favoured,
        "withholding": Withholding,
    }
    trials = {}
    for name, kind in kinds.items():
        party, most = _run(scenario, lab, kind)
        trials[name] = Trial(party.profit, honest, party.refusals, most / honest)
    return trials


ATTACK = Attack(
    name="cartel",
    about="Validators with this part of all stake vote for a poor miner of their own.",
    stopped_by="only votes that agreed are paid, and agreement takes kappa above one half; rows that do not follow from "
    "their logs are not vouched for",
    twin="the same people, stake and miner, honest, in a second run of the same world",
    play=play,
    scenarios=tuple(SHARES),
    epochs=6,
    proof="A miner is paid the miners' pot times its consensus c at most, and below kappa c is at most the largest weight "
    "that reaches kappa when all of the cartel's stake is added to the honest votes for it, whatever else the cartel "
    "does. Validators with no more stake than an honest one share the validators' pot by sums of c times their part of "
    "the bonds in a column; the bound takes the best split of the cartel's bonds over the columns.",
)
