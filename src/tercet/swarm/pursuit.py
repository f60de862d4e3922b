"""Attempts at one task, until it is done, has failed for good, or its time is up."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tercet.errors import (
    AttemptError,
    BodyError,
    DivergedError,
    EndedError,
    JournalError,
    OutOfBudgetError,
    TercetError,
)
from tercet.market import CREDIT, Amount
from tercet.swarm.attempt import attempt
from tercet.swarm.capabilities import granted
from tercet.swarm.contracting import Contract
from tercet.swarm.crews import Agent
from tercet.swarm.deadline import Deadline
from tercet.swarm.guard import Reach
from tercet.swarm.journal import Journal
from tercet.swarm.plan import Task
from tercet.swarm.shop import Shop
from tercet.swarm.stops import no_progress

__all__ = ["failures_of", "give_up", "pursue"]

log = logging.getLogger(__name__)

_ATTEMPTS = 3


async def pursue(
    shop: Shop,
    task: Task,
    agent: Agent,
    number: int,
    failures: dict[int, str],
    *,
    begun: bool,
    contract: Contract | None = None,
) -> None:
    """Try until it is done, or has failed for good; failures are written down, not raised.

    Args:
        shop: of the run.
        task: what is to be done.
        agent: who does it.
        number: of the first attempt.
        failures: why the attempts before failed, by number; it grows.
        begun: that attempt is in the journal already, and goes on.
        contract: by which it is the agent's, where others could do it. What ends it gives the task to the next of them.

    Raises:
        EndedError: the agent was killed; somebody else may take the task.
        OutOfBudgetError: the money is out.
        JournalError: nothing can be written down any more.

    """
    deadline = Deadline(task.seconds, lambda: shop.run.desk.is_held(agent.node) or shop.inbox.awaits(agent.node))
    while True:
        if not begun:
            body = {"attempt": number, "agent": agent.id, "capabilities": _capabilities(task)}
            body |= {"contract": contract.id} if contract else {}
            await shop.run.journal.append("task.started", body, actor=agent.id, task=task.id)
        begun = False
        try:
            made = await deadline.run(attempt(shop, task, number, agent, _last(failures)))
        except DivergedError as error:  # this attempt's record is of no use; the journal is sound
            why, final = str(error), False
        except BodyError as error:  # neither is the journal harmed by what does not fit into it
            why, final = f"What it made cannot be written down. {error} Divide the task, or ask for less.", False
        except (OutOfBudgetError, JournalError, EndedError):
            raise  # the work loop ends the run, or gives the task to whoever is left
        except TercetError as error:
            why, final = str(error), isinstance(error, AttemptError) and error.final
        except OSError as error:  # files that strangers name and fill are laid out, tested and taken here
            why, final = f"The attempt was stopped by this machine: {error}.", False
        else:
            log.info("swarm.task.done task=%s by=%r", task.id, made.by)
            return
        failures[number] = why = why + _unsettled(shop.run.journal, task, why)
        over = final or _is_over(task, number, failures, contract)
        last = over and not (contract is not None and contract.has_next())
        await give_up(
            shop.run.journal, task, number, why, final=last, contract=contract.id if contract and over else ""
        )
        if over:
            return
        number += 1


def _is_over(task: Task, number: int, failures: Mapping[int, str], contract: Contract | None) -> bool:
    """Whether the agent gets no other attempt. What others tried before it does not count."""
    first = contract.attempt if contract else 1
    own = [failures[each] for each in sorted(failures) if each >= first]
    most = int(task.options.get("attempts", _ATTEMPTS))
    return number - first + 1 >= most or no_progress(own) or (contract is not None and contract.is_used_up())


def _last(failures: Mapping[int, str]) -> str:
    """Why the attempt before failed, whoever made it; empty for the first."""
    return failures[max(failures)] if failures else ""


def _unsettled(journal: Journal, task: Task, why: str) -> str:
    """Payments of the task that were let pass and of which nobody knows, such as one that was cut off with it."""
    events = [event.body for event in journal.events(kinds=("guard.passed", "tool")) if event.task == task.id]
    known = {body["digest"] for body in events if "charged" in body}
    passed = {body["digest"]: int(body["amount"]) for body in events if body.get("action") == Reach.MONEY}
    return "".join(
        f" {Amount(amount, CREDIT)} may have been paid (nonce 0x{digest}): look before you have it paid anew."
        for digest, amount in passed.items()
        if digest not in known and digest not in why
    )


async def give_up(journal: Journal, task: Task, number: int, why: str, *, final: bool, contract: str = "") -> None:
    """Write down that an attempt failed, and the contract that it ends; final means that there will be no other."""
    body = {"attempt": number, "why": why[:2000], "final": final, **({"contract": contract} if contract else {})}
    await journal.append("task.failed", body, task=task.id)


def failures_of(journal: Journal) -> dict[str, dict[int, str]]:
    """Why each task's attempts failed so far, by number."""
    found: dict[str, dict[int, str]] = {}
    for event in journal.events(kinds=("task.failed",)):
        found.setdefault(event.task, {})[int(event.body["attempt"])] = str(event.body.get("why", ""))
    return found


def _capabilities(task: Task) -> dict[str, Any]:
    """What the task lets its agent touch: files by its patterns, programs in the sandbox, tools and money that it names."""
    given = granted(task).as_json() | {"sandbox": True}
    return given | ({"tools": task.options["tools"]} if task.options.get("tools") else {})
