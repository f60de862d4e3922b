"""What the desk remembers: answers of steps, which are paid once, and refusals, which need no second look."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from tercet.errors import TercetError
from tercet.swarm.gateway.budgets import path_of
from tercet.swarm.gateway.call import Call, Reply
from tercet.swarm.gateway.receipts import read_reply
from tercet.swarm.journal import Event

__all__ = ["ANY_VERSION", "LOST_KINDS", "Answers", "Refusals", "lost_calls", "step_key"]

LOST_KINDS = ("call.opened", "run.forked")
"""Events that say, beside those of budgets, which calls were lost."""
ANY_VERSION = -1
"""Of budgets: the refusal was not theirs."""
_MOST_REFUSALS = 1024
_REFUSED_SECONDS = 60.0


class Answers:
    """The answered steps of a run, from its journal and since."""

    def __init__(self, events: Iterable[Event]) -> None:
        """`events` are of kind `call`."""
        self._replies: dict[tuple[str, str, str], Reply] = {}
        for event in events:
            if event.kind == "call" and event.body.get("step") and "answer" in event.body:
                key = (path_of(event), event.task, str(event.body["step"]))
                self._replies.setdefault(key, read_reply(event.body))

    def find(self, call: Call) -> Reply | None:
        """What the step was answered; None where it was not, or the call is no step."""
        return self._replies.get(step_key(call)) if call.step else None

    def keep(self, call: Call, reply: Reply) -> None:
        """Remember it, if the call is a step."""
        if call.step:
            self._replies.setdefault(step_key(call), reply)


def step_key(call: Call) -> tuple[str, str, str]:
    """What makes two calls the same step. The question is no part of it: a step that was made stays made."""
    return (call.agent, call.task, call.step)


def lost_calls(events: Iterable[Event]) -> list[Event]:
    """The `call.opened` events that no `call` followed: their process was killed.

    What was under way where a run was forked is its parent's, who may be at work, and would lose the answer if the seller
    was asked: it gives up a call that it is asked about.
    """
    opened: dict[str, Event] = {}
    for event in events:
        if event.kind == "call.opened":
            opened[event.body["id"]] = event
        elif event.kind == "run.forked":
            opened.clear()
        elif event.kind == "call":
            opened.pop(event.body["id"], None)
    return list(opened.values())


class Refusals:
    """Questions that were refused, so that an agent that asks them over and over costs nothing."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], _Refused] = OrderedDict()

    def find(self, call: Call, version: int) -> TercetError | None:
        """The error it got, while a minute has not passed and, where it was a budget's, budgets stand as they did."""
        kept = self._kept.get((call.agent, call.digest))
        if kept is None or kept.version not in (ANY_VERSION, version) or time.monotonic() > kept.until:
            return None
        return kept.error

    def keep(self, call: Call, error: TercetError, version: int) -> bool:
        """Remember it for a minute; the oldest are forgotten when there are many.

        Returns:
            Whether it was news, which is worth an entry in the journal.

        """
        key, now = (call.agent, call.digest), time.monotonic()
        before = self._kept.get(key)
        self._kept[key] = _Refused(error, now + _REFUSED_SECONDS, version)
        while len(self._kept) > _MOST_REFUSALS:
            self._kept.popitem(last=False)
        return before is None or now > before.until


@dataclass(frozen=True, slots=True)
class _Refused:
    error: TercetError
    until: float
    version: int
