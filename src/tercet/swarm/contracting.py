"""Who gets a task that more than one agent could do: the crew's lead calls for proposals over the hub, and takes the best.

All of it is signed envelopes in the journal. What entitles an agent to a task is the lead's `accept-proposal`, in reply to
its own `propose`; `task.contracted` says so in the task's events, and is worked out from the envelopes alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tercet.chain.keys import Key
from tercet.errors import EnvelopeError, UnreachableError
from tercet.market import Price
from tercet.swarm.awards import answers_in, contracts_in, done_digest, unnoted
from tercet.swarm.bidding import PAST_KINDS, Kind, PastWork, Proposal, first_call, quote
from tercet.swarm.crews import Agent, Team
from tercet.swarm.hub import Hub
from tercet.swarm.link import Link, call_for_proposals, open_link
from tercet.swarm.plan import Slot, Task
from tercet.swarm.run import Run
from tercet.swarm.views import TaskView

__all__ = ["Contract", "Contracting"]

log = logging.getLogger(__name__)

_PATIENCE = 10.0
"""Seconds that a lead waits for proposals. Agents here answer at once; a process that stalls does not."""
_RATE = 2000.0
"""Messages a second: these agents are the kernel's own, and a lead has to answer a whole crew."""
_NOBODY = "nobody made an offer within the task's budget and time; it goes to the role that was planned"


@dataclass(frozen=True, slots=True)
class Contract:
    """An agent's right to a task, and how far it goes."""

    id: str
    """Of the `accept-proposal`."""
    price: int
    """Credit units."""
    attempt: int
    """Number of the first attempt under it."""
    spent: Callable[[], int]
    """Credit units that the agent has spent on the task."""
    has_next: Callable[[], bool]
    """Whether somebody else could be asked."""

    def is_used_up(self) -> bool:
        """Whether its price was spent, and somebody else could be asked."""
        return self.spent() >= self.price > 0 and self.has_next()


class Contracting:
    """The calls of one run. Nothing is opened, written or computed before the first task with a choice."""

    def __init__(self, run: Run, team: Team) -> None:
        self._run, self._team = run, team
        self._tasks: Mapping[str, Task] = {}
        self._past = PastWork()
        self._open = contextlib.AsyncExitStack()
        self._hub: Hub | None = None
        self._links: dict[str, Link] = {}
        self._budget = 0
        self._bidding: set[asyncio.Task[None]] = set()

    async def take(self, tasks: Mapping[str, Task]) -> None:
        """The tasks of the plan from now on. Awards that a killed process did not come to note are noted."""
        self._tasks = tasks
        noted = [event.body["contract"] for event in self._run.journal.events(kinds=("task.contracted",))]
        for task, body in contracts_in(unnoted(self._run.journal.events(kinds=("message",)), noted)):
            if task in tasks:
                await self._note(task, body)

    async def close(self) -> None:
        """Let go of the hub, if there is one."""
        for bidding in self._bidding:
            bidding.cancel()
        await asyncio.gather(*self._bidding, return_exceptions=True)
        await self._open.aclose()

    # who has it

    def candidates(self, task: Task, view: TaskView) -> list[Agent]:
        """Who could do it, but for those who are as good as somebody who failed."""
        failed = {self._slot(each) for each in view.contracts if each.get("failed")}
        return [agent for agent in self._team.able(task) if agent.slot not in failed]

    def is_open(self, task: Task, view: TaskView) -> bool:
        """Whether proposals have to be called for: there is a choice, or was one, and nobody has the task."""
        if view.state == "running" and not self._is_gone(view.agent):
            return False
        return self.award(task, view) is None and (bool(view.contracts) or len(self._team.able(task)) > 1)

    def award(self, task: Task, view: TaskView) -> Mapping[str, Any] | None:
        """The body of the `task.contracted` that stands; one without a contract gives it to the planned role."""
        last = view.contracts[-1] if view.contracts else None
        if last is None or last.get("failed"):
            return None
        if last["contract"]:
            return None if self._is_gone(str(last["agent"])) else last
        return last if any(agent.slot == Slot(task.role) for agent in self.candidates(task, view)) else None

    def is_exhausted(self, task: Task, view: TaskView) -> bool:
        """Whether all who could be asked have failed, or nobody offers and the planned role has failed or is gone."""
        if not view.contracts or self.award(task, view) is not None:
            return False
        last = view.contracts[-1]
        return not self.candidates(task, view) or not (last["contract"] or last.get("failed"))

    def contract(self, task: Task, view: TaskView, agent: Agent) -> Contract | None:
        """What the agent works under; None where it needs no contract."""
        award = self.award(task, view)
        if award is None or award["agent"] != agent.id or not award["contract"]:
            return None

        def has_next() -> bool:
            now = self._run.now().tasks[task.id]
            return any(other.slot != agent.slot for other in self.candidates(task, now))

        def spent() -> int:
            return sum(call.charged for call in self._run.now().calls_of(agent.id, task.id))

        return Contract(award["contract"], int(award["price"]), int(award["attempt"]), spent, has_next)

    def _is_gone(self, agent: str) -> bool:
        return agent not in self._team.agents or self._team.agents[agent].killed

    def _slot(self, award: Mapping[str, Any]) -> Slot | None:
        agent = self._team.agents.get(str(award.get("agent")))
        return None if agent is None else agent.slot

    # calling

    async def call(self, task: Task, view: TaskView, budget: int) -> None:
        """Call for proposals, and write down who got the task.

        Args:
            task: that has no owner.
            view: what it is now.
            budget: credit units that it may cost.

        """
        before, asked = self._run.journal.head, self.candidates(task, view)
        lead = self._team.leads[task.crew]
        self._budget = budget
        self._past.take(self._run.journal.events(after=self._past.seen, kinds=PAST_KINDS))
        work = {
            "task": task.id,
            "title": task.title,
            "role": task.role,
            "budget": budget,
            "seconds": task.seconds,
            "done": done_digest(task),
            "attempt": view.attempt + 1,
        }
        why = _NOBODY
        try:
            link = await self._link(lead)
            for agent in asked:
                await self._link(agent.id)
            names = [agent.id for agent in asked]
            await call_for_proposals(link, names, work, seconds=_PATIENCE, budget=budget, within=task.seconds)
        except (EnvelopeError, UnreachableError) as error:  # the task is none the worse for it
            why = f"the call for proposals failed: {error}"
        said = list(self._run.journal.events(after=before, kinds=("message",)))
        body = next((body for name, body in contracts_in(said) if name == task.id), None)
        if body is None:
            body = {"contract": "", "agent": "", "lead": lead, "attempt": view.attempt + 1, "why": why}
            body["offers"] = answers_in(said)
        await self._note(task.id, body)

    async def _note(self, task: str, body: Mapping[str, Any]) -> None:
        await self._run.journal.append("task.contracted", body, actor=str(body["lead"]), task=task)

    async def _link(self, agent: str) -> Link:
        """The agent's end of the hub: its key is made with it, and nobody else has it."""
        if self._hub is None:
            self._hub = await self._open.enter_async_context(Hub(self._run.journal, rate=_RATE, burst=_RATE))
        if agent not in self._links:
            key = Key.generate()
            token = self._hub.admit(agent, key.address)
            link = await self._open.enter_async_context(open_link(self._hub.url, token, agent, key))
            self._links[agent] = link
            bidding = asyncio.create_task(self._bid(link, agent), name=f"proposals of {agent}")
            self._bidding.add(bidding)
        return self._links[agent]

    # bidding

    async def _bid(self, link: Link, agent: str) -> None:
        """Answer every call that the agent hears, until the hub is closed."""
        with contextlib.suppress(UnreachableError):
            while True:
                said = await link.hear()
                if said.performative != "cfp":
                    continue
                offer = self._offer(self._team.agents[agent], str(said.content.get("task")))
                try:
                    if isinstance(offer, Proposal):
                        await link.reply(said, "propose", offer.model_dump(exclude={"note"}))
                    else:
                        await link.reply(said, "refuse", {"why": offer})
                except EnvelopeError as error:
                    log.warning("swarm.proposal.refused agent=%s code=%s why=%r", agent, error.code, str(error))

    def _offer(self, agent: Agent, name: str) -> Proposal | str:
        """What the agent offers for a task, or why it offers nothing."""
        task, models = self._tasks.get(name), self._run.desk.upstream.models
        if task is None:
            return "there is no such task"
        if agent.killed or self._run.desk.is_held(agent.node):
            return "it was killed" if agent.killed else "it is paused"
        if agent.model and agent.model not in models:
            return f"the model {agent.model!r} is not to be had here"
        queue = sum(self._seconds(agent, other) for other in self._queue(agent) if other is not task)
        return self._quote(agent, task, queue)

    def _quote(self, agent: Agent, task: Task, queue: float) -> Proposal:
        files = self._run.workspace.inputs(task.inputs, task.outputs)
        asked = len(task.title) + len(task.detail) + sum(file.bytes for file in files.values())
        return quote(
            self._past.of(Kind(task.role, agent.slot)),
            price=self._price(agent, task),
            call=first_call(asked),
            budget=self._budget,
            seconds=task.seconds,
            queue=queue,
        )

    def _price(self, agent: Agent, task: Task) -> Price | None:
        if agent.kind == "tool":
            return Price()
        named = str(task.options.get("model", "")) if agent.kind == "foreign" else ""
        return self._run.desk.upstream.price(agent.model or named or self._run.model)

    def _seconds(self, agent: Agent, task: Task) -> float:
        return self._quote(agent, task, 0.0).seconds

    def _queue(self, agent: Agent) -> Iterator[Task]:
        """What it works on, and what it was given and has not begun."""
        for name, view in self._run.now().tasks.items():
            task = self._tasks.get(name)
            if task is None or view.state not in {"pending", "running"}:
                continue
            award = self.award(task, view)
            if agent.task == name or (award is not None and award["agent"] == agent.id):
                yield task
