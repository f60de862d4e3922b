"""What a call can cost at most, and what it did cost, by the prices of whoever answers it."""

from __future__ import annotations

from tercet.errors import ThinkingError
from tercet.market import Price, Usage
from tercet.swarm.gateway.call import Call, Completion, Cost, Upstream
from tercet.swarm.gateway.receipts import FREE

__all__ = ["cost_of_answer", "cost_of_failure", "most_charged", "most_used"]


def most_used(upstream: Upstream, call: Call) -> Usage:
    """The most tokens that all its samples together can take."""
    samples, limit = upstream.samples(call), call.limit
    return Usage(limit.prompt * samples, limit.completion * samples)


def most_charged(upstream: Upstream, call: Call) -> int | None:
    """The most credit units that it can cost; None while nobody knows the price."""
    price = upstream.price(call.model)
    if price is None:
        return None
    return price.charge(most_used(upstream, call)) + price.per_request * (upstream.samples(call) - 1)


def cost_of_answer(upstream: Upstream, call: Call, completion: Completion) -> Cost:
    """What its seller charged, else what its usage comes to."""
    usage, charged = completion.usage, completion.charged
    if charged is None:
        charged = (upstream.price(call.model) or Price()).charge(usage)
    return Cost(charged, usage.prompt, usage.completion)


def cost_of_failure(upstream: Upstream, call: Call, error: BaseException) -> Cost:
    """What was used before it failed."""
    if not isinstance(error, ThinkingError):
        return FREE
    usage = Usage(error.prompt, error.completion)
    price = upstream.price(call.model) if usage != Usage() and not error.charged else None
    return Cost(price.charge(usage) if price else error.charged, error.prompt, error.completion)
