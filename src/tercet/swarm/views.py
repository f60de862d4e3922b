"""What a run looks like, as values: the run, its crews, agents, tasks, files, calls, money and questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

__all__ = [
    "AgentState",
    "AgentView",
    "ArtefactView",
    "AskView",
    "BudgetView",
    "CallView",
    "CrewView",
    "RunState",
    "RunView",
    "Spent",
    "StateOfRun",
    "TaskState",
    "TaskView",
    "node_of",
]

StateOfRun: TypeAlias = Literal[
    "planning", "waiting", "running", "paused", "stopped", "done", "failed", "out_of_budget"
]
AgentState: TypeAlias = Literal["idle", "working", "waiting", "paused", "killed", "stuck", "done"]
TaskState: TypeAlias = Literal["pending", "running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls of a model used, added up."""

    calls: int = 0
    prompt: int = 0
    """Tokens read."""
    completion: int = 0
    """Tokens written."""
    charged: int = 0
    """Credit units."""
    seconds: float = 0.0

    def plus(self, call: CallView) -> Spent:
        """One more call."""
        return Spent(
            self.calls + 1,
            self.prompt + call.prompt,
            self.completion + call.completion,
            self.charged + call.charged,
            self.seconds + call.seconds,
        )

    def corrected(self, old: CallView, new: CallView) -> Spent:
        """One of its calls cost something else than was booked."""
        return replace(
            self,
            prompt=self.prompt + new.prompt - old.prompt,
            completion=self.completion + new.completion - old.completion,
            charged=self.charged + new.charged - old.charged,
        )


@dataclass(frozen=True, slots=True)
class BudgetView:
    """What a node of the budget tree may use; None is no bound of its own."""

    credit: int | None = None
    """Credit units (1 credit = 10^6)."""
    tokens: int | None = None
    seconds: float | None = None
    attention: float | None = None
    """Decisions of the person in an hour."""


@dataclass(frozen=True, slots=True)
class CallView:
    """The receipt of one call of a model."""

    id: str
    node: str
    """Who asked, as a path in the budget tree, such as `run/repair/coder-1`."""
    task: str = ""
    step: str = ""
    model: str = ""
    status: str = ""
    prompt: int = 0
    completion: int = 0
    charged: int = 0
    seconds: float = 0.0
    upstream: Mapping[str, Any] = field(default_factory=dict)
    """The market's receipt, miner and operator, where the call went to a market."""
    time_ms: int = 0

    @property
    def agent(self) -> str:
        """Id of the agent that asked; empty when the run itself did."""
        return self.node.rpartition("/")[2] if self.node.count("/") == 2 else ""


@dataclass(frozen=True, slots=True)
class RunView:
    """The run itself."""

    goal: str = ""
    dir: str = ""
    budget: int = 0
    """Credit units it started with."""
    gateway: str = ""
    model: str = ""
    agents: int = 0
    """The most that work at once."""
    state: StateOfRun = "planning"
    why: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    planned_by: str = ""
    approved_by: str = ""
    """Empty until somebody, or a policy, agreed to the plan."""
    started_ms: int = 0
    ended_ms: int = 0
    """0 while it goes on."""
    status: str = ""
    """How it ended: done, failed, out_of_budget, stopped."""
    returned: int = 0
    """Credit units that were left when it ended."""
    last_ms: int = 0
    """Of the newest event."""
    seq: int = 0
    """Of the newest event."""


@dataclass(frozen=True, slots=True)
class CrewView:
    """A crew."""

    name: str
    lead: str = ""
    members: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent."""

    id: str
    role: str = ""
    kind: str = "model"
    """model, tool (a program that searches) or foreign."""
    crew: str = ""
    model: str = ""
    own_model: str = ""
    """The same, where the plan names a model for this agent."""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    state: AgentState = "idle"
    why: str = ""
    task: str = ""
    """What it works on now."""
    node: str = ""
    since_ms: int = 0
    """When its state changed last."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task of the plan."""

    id: str
    title: str = ""
    role: str = ""
    crew: str = ""
    needs: Sequence[str] = ()
    budget: int = 0
    state: TaskState = "pending"
    attempt: int = 0
    """The number of the newest one, from 1; 0 before the first."""
    agent: str = ""
    why: str = ""
    tested: int = 0
    """How often its done-test ran."""
    passed: bool = False
    """What the done-test said last."""
    proof: str = ""
    """What that it passed rests on, in words; empty when it failed."""
    detail: str = ""
    """What it printed last, shortened."""
    artefacts: Sequence[Mapping[str, Any]] = ()
    contracts: Sequence[Mapping[str, Any]] = ()
    """Who was given it after a call for proposals, the last one last; `failed` where that came to nothing, and why."""
    started_ms: int = 0
    ended_ms: int = 0


@dataclass(frozen=True, slots=True)
class ArtefactView:
    """A file that the run made or changed."""

    path: str
    sha256: str = ""
    bytes: int = 0
    agent: str = ""
    task: str = ""
    steps: Sequence[str] = ()
    receipts: Sequence[str] = ()
    """Ids of the calls that went into it."""
    claims: Sequence[str] = ()
    by: str = ""
    """How it was found: search, model, program, scripted."""
    time_ms: int = 0


@dataclass(frozen=True, slots=True)
class AskView:
    """A question for the person that is not answered yet."""

    id: str
    card: Mapping[str, Any]
    raised_ms: int = 0


@dataclass(frozen=True, slots=True)
class RunState:
    """All of it, as of event `run.seq`."""

    run: RunView = field(default_factory=RunView)
    crews: Mapping[str, CrewView] = field(default_factory=dict)
    agents: Mapping[str, AgentView] = field(default_factory=dict)
    tasks: Mapping[str, TaskView] = field(default_factory=dict)
    artefacts: Mapping[str, ArtefactView] = field(default_factory=dict)
    """By path; a later one replaces an earlier one."""
    calls: Mapping[str, CallView] = field(default_factory=dict)
    budgets: Mapping[str, BudgetView] = field(default_factory=dict)
    """By node, what was added included."""
    asks: Mapping[str, AskView] = field(default_factory=dict)
    by_node: Mapping[str, Spent] = field(default_factory=dict)
    """What each node spent, all below it included; only nodes that spent something."""

    def spent(self, node: str = "run") -> Spent:
        """What a node and all below it spent."""
        return self.by_node.get(node, _NOTHING)

    def unknown(self) -> list[CallView]:
        """Calls that are booked at the most that they can have cost, because their sellers could not say."""
        return [call for call in self.calls.values() if call.status == "unknown"]

    def calls_of(self, agent: str = "", task: str = "") -> list[CallView]:
        """The calls of an agent, for a task, or both."""
        return [
            call
            for call in self.calls.values()
            if (not agent or call.agent == agent) and (not task or call.task == task)
        ]


_NOTHING = Spent()


def node_of(crew: str = "", agent: str = "") -> str:
    """The path in the budget tree of the run, a crew, or an agent of it."""
    return "/".join(part for part in ("run", crew, agent) if part)
