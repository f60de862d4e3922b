"""Calls that were sent and whose answers never came: what they cost, as their seller says, now or later.

Until the seller can say, the most that such a call can have cost stays booked, as `unknown`. `call.reconciled` corrects it
once, however often the process is killed in between: what is corrected is no longer unknown when the journal is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tercet.errors import ThinkingError
from tercet.swarm.gateway.budgets import Budgets, cost_of
from tercet.swarm.gateway.call import Cost, Upstream
from tercet.swarm.gateway.receipts import seller_of
from tercet.swarm.journal import Event, Journal

__all__ = ["Unsettled"]

log = logging.getLogger(__name__)

_RESTS = (0.05, 0.2, 0.5, 1.0, 2.0)
"""Seconds between the first questions: a seller notices soon that its client hung up."""
_LATER_SECONDS = 30.0


class Unsettled:
    """The calls of a run whose cost nobody knows yet."""

    def __init__(self, journal: Journal, budgets: Budgets, upstream: Upstream, past: Iterable[Event]) -> None:
        """`past` are the run's `call` and `call.reconciled` events."""
        self._journal, self._budgets, self._upstream = journal, budgets, upstream
        self._events: dict[str, Event] = {}
        self._asking: asyncio.Task[None] | None = None
        self.hurry = False
        """Ask once, and not again: the run's gateway is closing."""
        for event in past:
            if event.kind == "call" and event.body.get("status") == "unknown":
                self._events[event.body["id"]] = event
            elif event.kind == "call.reconciled":
                self._events.pop(event.body["id"], None)

    @property
    def waiting(self) -> Sequence[Event]:
        """The `call` events of those whose cost nobody knows."""
        return tuple(self._events.values())

    async def find_cost(self, call: str, seller: Mapping[str, Any] | None = None) -> Cost | None:
        """What this call cost, asked a few times; None where its seller cannot say, or was another one."""
        if seller is not None and seller != seller_of(self._upstream):
            return None
        for rest in _RESTS:
            try:
                return await self._upstream.find_cost(call)
            except ThinkingError as error:
                log.info("swarm.cost_unknown call=%s why=%s", call, error)
                if self.hurry or not error.again:
                    return None
                await asyncio.sleep(rest)
        return None

    def keep(self, event: Event) -> None:
        """Ask again later what the call of this `call` event cost."""
        log.warning("swarm.cost_unknown call=%s booked=%d", event.body["id"], event.body["charged"])
        self._events[event.body["id"]] = event
        self._ask_later()

    async def start(self) -> None:
        """Ask what earlier processes left, then now and then while that may help."""
        if _may_help(await self.sweep()):
            self._ask_later()

    def _ask_later(self) -> None:
        if self._asking is None and not self.hurry:
            self._asking = asyncio.create_task(self._ask_on())

    async def close(self) -> None:
        """Ask a last time."""
        self.hurry = True
        if self._asking is not None:
            self._asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._asking
        await self.sweep()

    async def _ask_on(self) -> None:
        hope = True
        while hope:
            await asyncio.sleep(_LATER_SECONDS)
            hope = _may_help(await self.sweep())
        self._asking = None

    async def sweep(self) -> Mapping[str, ThinkingError]:
        """Ask for each once, all at the same time; of those that stay unknown, why, by their ids."""
        seller, errors = seller_of(self._upstream), {}
        own = [event for event in self._events.values() if event.body["upstream"] == seller]
        for event in self._events.values():
            if event not in own:
                errors[event.body["id"]] = _other_seller(event.body["upstream"], seller)
        answers = await asyncio.gather(*(self._ask(event) for event in own))
        if own:
            await self._journal.flush()
        return errors | {event.body["id"]: why for event, why in zip(own, answers, strict=True) if why is not None}

    async def _ask(self, event: Event) -> ThinkingError | None:
        try:
            cost = await self._upstream.find_cost(event.body["id"])
        except ThinkingError as error:
            return error
        self._correct(event, cost)
        return None

    def _correct(self, event: Event, cost: Cost) -> None:
        if self._events.pop(event.body["id"], None) is None:
            return
        body = {
            "id": event.body["id"], "agent": event.body["agent"], "charged": cost.charged, "prompt": cost.prompt,
            "completion": cost.completion, "seconds": event.body["seconds"], "booked": event.body["charged"],
        }  # fmt: skip
        corrected = self._journal.note("call.reconciled", body, actor=event.actor, task=event.task)
        self._budgets.correct(event.body["id"], cost_of(corrected))


def _may_help(errors: Mapping[str, ThinkingError]) -> bool:
    """Whether asking again may."""
    return any(error.again for error in errors.values())


def _other_seller(sold: Mapping[str, Any], seller: Mapping[str, str]) -> ThinkingError:
    def told(whom: Mapping[str, Any]) -> str:
        return f"{whom.get('name', 'nobody')}" + (f" with key {whom['account']}" if whom.get("account") else "")

    return ThinkingError(
        f"It was bought from {told(sold)}, and the run thinks with {told(seller)} now. Put that key into its key file.",
        again=False,
    )
