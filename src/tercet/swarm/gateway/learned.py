"""Prices at a market, learned from its answers: what its gateway tells, else the most that the charge allows.

No margins here: what a dearer miner may ask is the business of whoever reserves.
"""

from __future__ import annotations

from functools import reduce

from tercet.market import Price, Usage
from tercet.swarm.gateway.call import Completion

__all__ = ["LearnedPrices"]


class LearnedPrices:
    """The most that the miners of each model ask, as far as they were seen."""

    def __init__(self) -> None:
        self._most: dict[str, dict[object, Price]] = {}
        """By model and miner."""

    def dearest(self, model: str) -> Price | None:
        """The dearest seen, each part for itself; None before the first."""
        seen = self._most.get(model)
        return reduce(Price.at_least, seen.values()) if seen else None

    def learn(self, model: str, completion: Completion) -> None:
        """Take in an answer that says what it cost."""
        usage, charged = completion.usage, completion.charged or 0
        told, by = completion.price, completion.receipt
        miner = by.get("operator") or by.get("receipt")  # one without a name is nobody that was seen before
        known = self._most.get(model, {}).get(miner)
        if told is not None and told.charge(usage) >= charged:
            most = told.at_least(known or Price())
        elif usage.prompt and usage.completion:
            most = _narrowed(known, _bound(usage, charged), usage, charged)
        else:
            return  # it says nothing of one side, which may be the dear one
        self._most.setdefault(model, {})[miner] = most


def _bound(usage: Usage, charged: int) -> Price:
    """The most that each part of a price can be that charged this: as if all of it had been for that part alone."""
    return Price(charged, charged * 1000 // usage.prompt, charged * 1000 // usage.completion)


def _narrowed(known: Price | None, bound: Price, usage: Usage, charged: int) -> Price:
    # Both bound the price of the same miner, part by part, so the lesser of each does too. Bounds of two miners would
    # not: the cheap one's says nothing of the dear one. A charge above what is known tells that its price has risen.
    if known is None or known.charge(usage) < charged:
        return bound
    return Price(
        min(known.per_request, bound.per_request),
        min(known.prompt_per_1k, bound.prompt_per_1k),
        min(known.completion_per_1k, bound.completion_per_1k),
    )
