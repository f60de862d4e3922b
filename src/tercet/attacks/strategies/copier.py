"""Weight copiers: they measure nothing and vote what the market agreed on some epochs ago."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tercet.attacks.actors import STAKE, Town, Validator
from tercet.attacks.arena import Arena, Seat, spread_evenly
from tercet.attacks.lab import Attack, Lab, Trial
from tercet.attacks.scenario import SCENARIOS
from tercet.market.epoch import FULL, split

LAGS = (0, 1, 3)


class Copier(Validator):
    """Votes the consensus of the newest closed epoch, or of `lag` epochs before it."""

    def __init__(self, seat: Seat, lag: int) -> None:
        super().__init__(seat)
        self._lag = lag

    def row(self, arena: Arena) -> Sequence[int]:
        """The old consensus, scaled up to a row; equal weights while there is none."""
        old = arena.history[-1 - self._lag] if len(arena.history) > self._lag else []
        weights = [weight if uid in arena.slots else 0 for uid, weight in enumerate(old[: arena.columns])]
        if not sum(weights):
            return spread_evenly(sorted(arena.slots), arena.columns)
        row = [*split(FULL, weights), *[0] * (arena.columns - len(weights))]
        row[max(range(len(row)), key=row.__getitem__)] += FULL - sum(row)
        return row


def play(scenario: str, lab: Lab) -> Mapping[str, Trial]:
    """All lags in one market, beside honest validators of the same stake."""
    arena = Arena(lab, scenario)
    town = Town(arena, validators=4)
    twin = town.seat("twin")
    copiers = {lag: Copier(arena.add_validator(arena.party(f"copier {lag}"), STAKE), lag) for lag in LAGS}
    town.add(*copiers.values())
    town.play()
    honest = twin.party.profit
    return {f"lag {lag}": Trial(copier.party.profit, honest, copier.party.refusals) for lag, copier in copiers.items()}


ATTACK = Attack(
    name="copier",
    about="A validator saves the cost of measuring and votes an old consensus.",
    stopped_by="part of its pay waits for an audit, and it has no log to show",
    twin="an honest validator with the same stake, which pays for measuring",
    play=play,
    scenarios=SCENARIOS,
    epochs=8,
)
