"""Who is better, over many contests: a rating that grows surer with each, where one lucky round moves little."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tercet.errors import SubnetError

__all__ = ["Ladder"]

_MU, _SIGMA = 25.0, 25.0 / 3
"""A newcomer's belief, as in OpenSkill: its ordinal is 0."""


class Ladder:
    """Ratings by the Plackett-Luce model of Weng and Lin (JMLR 12, 2011), as OpenSkill computes them.

    Scores of different contests never meet, only their order within one does: so an easy epoch pays no more than a
    hard one, and no single score, however huge, moves a rating further than a win does.

    Args:
        state: what `state` gave before: uid to (mu, sigma).
        beta: how much luck there is in one contest, in units of mu. Higher moves ratings more slowly.
        tau: how much skill may drift between contests. Higher forgets sooner.

    Raises:
        SubnetError: openskill is not installed.
        ValueError: a state that is none: not finite, or a sigma that is not above zero.

    """

    def __init__(
        self,
        state: Mapping[int, tuple[float, float]] | None = None,
        *,
        beta: float = _SIGMA / 2,
        tau: float = _SIGMA / 100,
    ) -> None:
        self._model = _load(beta, tau)
        self._ratings: dict[int, Any] = {}
        for uid, (mu, sigma) in (state or {}).items():
            if not (math.isfinite(mu) and math.isfinite(sigma) and sigma > 0):
                raise ValueError(f"The rating of uid {uid} is no rating: ({mu!r}, {sigma!r}).")
            self._ratings[uid] = self._model.rating(mu=mu, sigma=sigma)

    def rate(self, scores: Mapping[int, float]) -> None:
        """One contest: uid to score, higher is better, equal scores draw. NaN shares the last place with -inf.

        A contest of fewer than two changes nothing. The same contests in the same order give the same state anywhere.
        """
        uids = sorted(scores)
        if len(uids) < 2:
            return
        teams = [[self._ratings.get(uid) or self._model.rating(mu=_MU, sigma=_SIGMA)] for uid in uids]
        for uid, (rated,) in zip(
            uids, self._model.rate(teams, ranks=_places([scores[uid] for uid in uids])), strict=True
        ):
            self._ratings[uid] = rated

    def ordinal(self, uid: int) -> float:
        """What `uid` is worth at least: mu - 3 sigma. 0 for whoever was never rated."""
        rating = self._ratings.get(uid)
        return float(rating.ordinal()) if rating else 0.0

    def state(self) -> dict[int, tuple[float, float]]:
        """All ratings as plain data, to be kept and given back."""
        return {uid: (rating.mu, rating.sigma) for uid, rating in sorted(self._ratings.items())}

    def forget(self, uid: int) -> None:
        """Somebody else has the uid now: it starts anew."""
        self._ratings.pop(uid, None)


def _places(scores: list[float]) -> list[float]:
    """0 for the best. Ranks, since the model takes scores as numbers, and a stranger may send one that is none."""
    clean = [-math.inf if math.isnan(score) else score for score in scores]
    places = {score: float(place) for place, score in enumerate(sorted(set(clean), reverse=True))}
    return [places[score] for score in clean]


def _load(beta: float, tau: float) -> Any:
    try:
        from openskill.models import PlackettLuce  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SubnetError("Ratings need openskill. Install it: pip install 'tercet[rating]'.") from error
    return PlackettLuce(mu=_MU, sigma=_SIGMA, beta=beta, tau=tau)
