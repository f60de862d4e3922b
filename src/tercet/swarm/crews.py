"""Crews: the agents that a plan needs, who of them is free, and who leads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tercet.errors import PlanError
from tercet.swarm.journal import Journal
from tercet.swarm.plan import SPAN, Plan, Slot, Task, crews_of, slots_of
from tercet.swarm.views import RunState, node_of
from tercet.swarm.workbench import Role

__all__ = ["Agent", "Team", "shape_team"]


@dataclass(slots=True)
class Agent:
    """One worker."""

    id: str
    role: str
    kind: str
    crew: str
    model: str = ""
    """The one that it thinks with, where the plan names it; empty for the run's."""
    task: str = ""
    """What it works on; empty while it is free."""
    killed: bool = False

    @property
    def slot(self) -> Slot:
        """Whom it is as good as."""
        return Slot(self.role, self.model)

    @property
    def node(self) -> str:
        """Its place in the budget tree."""
        return node_of(self.crew, self.id)


def shape_team(plan: Plan, agents: int) -> list[tuple[str, Slot]]:
    """Crew and slot of each agent: one for every slot of a crew, more where tasks can share them, `agents` in all.

    Raises:
        PlanError: a crew needs more roles than a lead can look after.

    """
    wanted = {crew: _wanted(tasks) for crew, tasks in crews_of(plan).items()}
    for crew, slots in wanted.items():
        if len(slots) > SPAN:
            raise PlanError(f"Crew {crew!r} has {len(slots)} roles; {SPAN} are the most. Make two crews of it.")
    shape = [(crew, slot) for crew, slots in wanted.items() for slot in slots]
    grew = True
    while grew and len(shape) < agents:
        grew = False
        for crew, slots in wanted.items():
            slot, room = max(slots, key=lambda slot: slots[slot] / shape.count((crew, slot))), shape.count
            crowded = sum(crew == other for other, _ in shape) >= SPAN
            if len(shape) < agents and not crowded and room((crew, slot)) < slots[slot]:
                shape.append((crew, slot))
                grew = True
    return shape


def _wanted(tasks: Sequence[Task]) -> Mapping[Slot, int]:
    """How many tasks each slot is planned for; one for who is a candidate only."""
    planned = Counter(Slot(task.role) for task in tasks)
    return dict.fromkeys((slot for task in tasks for slot in slots_of(task)), 1) | planned


class Team:
    """The agents of a run."""

    def __init__(self, journal: Journal, model: str, roles: Mapping[str, Role]) -> None:
        self._journal, self._model, self._roles = journal, model, roles
        self.agents: dict[str, Agent] = {}
        self.leads: dict[str, str] = {}
        """Crew to its lead's id; a crew of one has none."""

    async def form(self, plan: Plan, agents: int, state: RunState) -> None:
        """Make the agents that the plan needs and are not there yet."""
        self._recall(state)
        have = Counter((agent.crew, agent.slot) for agent in self.agents.values() if not agent.killed)
        for crew, slot in shape_team(plan, agents):
            if have[crew, slot] > 0:
                have[crew, slot] -= 1
                continue
            self._start(slot, self._roles[slot.role].kind, crew)
        for crew in crews_of(plan):
            members = [agent.id for agent in self.agents.values() if agent.crew == crew and agent.role != "lead"]
            if len(members) > 1 and crew not in self.leads:
                self.leads[crew] = self._start(Slot("lead"), "model", crew).id
            known = state.crews.get(crew)
            if known is None or tuple(known.members) != tuple(members):
                lead = self.leads.get(crew, "")
                await self._journal.append("crew.formed", {"crew": crew, "lead": lead, "members": members})

    def free(self, task: Task) -> Agent | None:
        """Somebody of the crew and the planned role who has nothing to do."""
        return next((agent for agent in self.able(task) if agent.slot == Slot(task.role) and not agent.task), None)

    def hopeless(self, task: Task) -> bool:
        """Nobody is left who could do it."""
        return not self.able(task)

    def take(self, agent: Agent, task: Task) -> None:
        """Put it to work."""
        agent.task = task.id
        self.note(agent, "working", task=task.id)

    def release(self, agent: Agent) -> None:
        """It has nothing to do."""
        agent.task = ""
        if not agent.killed:
            self.note(agent, "idle")

    def note(self, agent: Agent, state: str, why: str = "", task: str = "") -> None:
        """Write its state down."""
        body = {"agent": agent.id, "state": state, "why": why}
        self._journal.note("agent.state", body, actor=agent.id, task=task or agent.task)

    def below(self, node: str) -> list[Agent]:
        """The agents at a node and below."""
        return [agent for agent in self.agents.values() if f"{agent.node}/".startswith(f"{node}/")]

    def able(self, task: Task) -> list[Agent]:
        """Who of the crew can do it and was not killed: the planned role first, then the candidates as they are named."""
        crew = [agent for agent in self.agents.values() if agent.crew == task.crew and not agent.killed]
        return [agent for slot in slots_of(task) for agent in crew if agent.slot == slot]

    def _recall(self, state: RunState) -> None:
        for view in state.agents.values():
            if view.id not in self.agents:
                killed = view.state == "killed"
                self.agents[view.id] = Agent(view.id, view.role, view.kind, view.crew, view.own_model, killed=killed)
                if view.role == "lead":
                    self.leads[view.crew] = view.id

    def _start(self, slot: Slot, kind: str, crew: str) -> Agent:
        number = 1 + sum(agent.role == slot.role for agent in self.agents.values())
        agent = Agent(f"{slot.role}-{number}", slot.role, kind, crew, slot.model)
        self.agents[agent.id] = agent
        body = {
            "agent": agent.id,
            "role": slot.role,
            "kind": kind,
            "crew": crew,
            "model": slot.model or (self._model if kind == "model" else ""),
            "capabilities": {},
            "budget": 0,
            **({"own_model": slot.model} if slot.model else {}),
        }
        self._journal.note("agent.started", body, actor=agent.id)
        return agent
