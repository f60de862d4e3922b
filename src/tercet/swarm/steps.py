"""Steps: work that is done once, however often its run is killed and started again.

Within `run_scope`, each `step` has the next number. A step that finished before is read back from the journal and not
done again; only the one that was in flight when the run died is repeated, and it is repeated under the same key, so
that whoever is paid for it can tell. Code in a scope has to ask for the same steps in the same order each time:
what it decides by must come from steps, not from clocks or chance.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from tercet.errors import DivergedError, JournalError, ReplayEndError
from tercet.swarm.events import Event, encode
from tercet.swarm.journal import Journal

__all__ = ["Scope", "current_scope", "payment_key", "run_scope", "step", "step_key"]


@dataclass(slots=True, eq=False)
class Scope:
    """The steps of one piece of work, such as an attempt at a task."""

    journal: Journal
    name: str
    actor: str = "kernel"
    task: str = ""
    recorded_only: bool = False
    """A replay: a step that is not in the journal raises."""
    number: int = 0
    """Of the next step."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A step that is being done now."""

    key: str
    paid: Counter[str] = field(default_factory=Counter)


_SCOPE: ContextVar[Scope | None] = ContextVar("tercet_scope", default=None)
_FLIGHT: ContextVar[_Flight | None] = ContextVar("tercet_step", default=None)


def current_scope() -> Scope | None:
    """The scope whose steps are taken here; None outside, and within a step, which is one whole."""
    return _SCOPE.get() if _FLIGHT.get() is None else None


@asynccontextmanager
async def run_scope(
    journal: Journal, scope: str, *, actor: str = "kernel", task: str = "", recorded_only: bool = False
) -> AsyncGenerator[Scope]:
    """Number the steps that are taken inside; those that the journal has are read back.

    Args:
        journal: of the run.
        scope: a name that is this work's alone in the run. A new attempt at a task is new work: `fix-1/2`.
        actor: who is noted as the doer of the steps.
        task: id of the task they belong to.
        recorded_only: replay: read back, do nothing, and raise where the record ends.

    Raises:
        JournalError: the scope is open already; two of one name would take each other's steps.

    """
    if scope in journal.scopes:
        raise JournalError(f"The scope {scope!r} is open already. Give each piece of work a name of its own.")
    journal.scopes.add(scope)
    opened = Scope(journal, scope, actor, task, recorded_only)
    outer, flight = _SCOPE.set(opened), _FLIGHT.set(None)
    try:
        yield opened
    finally:
        _FLIGHT.reset(flight)
        _SCOPE.reset(outer)
        journal.scopes.discard(scope)


async def step(name: str, do: Callable[[], Awaitable[Any]], *, key: str = "") -> Any:
    """Do it once, and give back what it gave, as JSON.

    What `do` raises is not recorded, so it runs again after a resume: catch inside it what counts as an answer.
    Within another step it is a part of that one; outside of any scope it just runs.

    Args:
        name: what it is, the same each time the run comes here.
        do: the work; its result must be plain JSON.
        key: what the work depends on, such as its arguments; another key at the same place is another step.

    Raises:
        DivergedError: the record has another step at this place.
        ReplayEndError: this is a replay, and the record ends here.

    """
    scope = current_scope()
    if scope is None:
        return await do()
    number, scope.number = scope.number, scope.number + 1
    recorded = scope.journal.step(scope.name, number)
    if recorded is not None:
        return read_back(scope, recorded, name, key)
    if scope.recorded_only:
        raise ReplayEndError(
            f"The record of {scope.name!r} ends before step {number} ({name}). Resume the run to go on from there.",
            scope=scope.name,
            number=number,
        )
    own = step_key(scope.journal.run, scope.name, number, name, key)
    with _in_flight(own):
        output = await do()
    body = {"name": name, "key": own, "input": _digest(key), "output": output}
    event = await scope.journal.append(
        "step", body, actor=scope.actor, task=scope.task, scope=scope.name, number=number
    )
    return event.body["output"]


def read_back(scope: Scope, recorded: Event, name: str, key: str) -> Any:
    """The output of a step that was done before, if it is the one that is asked for."""
    was = recorded.body
    if was.get("name") != name or was.get("input") != _digest(key):
        differs = f"{was.get('name')!r}, not {name!r}" if was.get("name") != name else f"{name!r} with other arguments"
        raise DivergedError(
            f"Step {recorded.number} of {scope.name!r} was {differs}: the code or its input changed since the run was"
            f" started. Resume with what it was started with, or fork the run before event {recorded.seq}.",
            scope=scope.name,
            number=recorded.number or 0,
        )
    return was.get("output")


def step_key(run: str, scope: str, number: int, name: str, key: str = "") -> str:
    """sha256 of run, scope, number, name and arguments: the same each time this step of this run is tried."""
    return _digest(encode([run, scope, number, name, key]))


def payment_key(content: object = "") -> str:
    """A key for something that the step in flight pays for, or `""` where there is no step.

    The same request in the same step has the same key after a resume; a second one like it has another.

    Args:
        content: the request as JSON.

    """
    flight = _FLIGHT.get()
    if flight is None:
        return ""
    text = encode(content)
    flight.paid[text] += 1
    return _digest(encode([flight.key, flight.paid[text], text]))


@contextmanager
def _in_flight(key: str) -> Generator[None]:
    token = _FLIGHT.set(_Flight(key))
    try:
        yield
    finally:
        _FLIGHT.reset(token)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else ""
