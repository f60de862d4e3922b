"""Other people's agents in a run: workers for tasks, roles for the kernel, tools for our own agents."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic_ai.toolsets import FunctionToolset

from tercet.errors import AgentError, AttemptError, OutOfBudgetError
from tercet.subnets.kit import Sandbox
from tercet.swarm.a2a import A2aWorker
from tercet.swarm.agents import Added, Agents
from tercet.swarm.claims import Origin
from tercet.swarm.gateway import serve_face
from tercet.swarm.journal import Journal
from tercet.swarm.mcp import Address, as_toolset, open_tools
from tercet.swarm.plan import Task
from tercet.swarm.steps import current_scope
from tercet.swarm.store import plain_files, read_files
from tercet.swarm.tools import Toolbox
from tercet.swarm.workbench import Made, Workbench
from tercet.swarm.workers import SPECIALISTS, Fetch, Saying, Specialist, SpecialistWorker, Worker

__all__ = ["ForeignRole", "address_of", "foreign_roles", "hosts_of", "open_toolsets", "open_worker"]

log = logging.getLogger(__name__)

_MOST_CLAIM = 1_000
"""Characters of a claim that is written down; the rest is in the files."""


def open_worker(
    agents: Agents,
    name: str,
    sandbox: Sandbox,
    model: str,
    *,
    fetch: Fetch | None = None,
    specialists: Mapping[str, Specialist] = SPECIALISTS,
) -> Worker:
    """A worker for the tasks whose role is `name`.

    Args:
        agents: the ones that were added.
        name: of one of them.
        sandbox: where it runs, if it runs here.
        model: what it asks the gateway for, unless the task's options name another.
        fetch: how it gets pages of the web; None when it may not.
        specialists: the table of those that run here.

    Raises:
        AgentMissingError: it is not added, or its environment is gone.
        AgentError: it is no agent but a server of tools.

    """
    added = agents.find(name)
    if added.kind == "a2a":
        return A2aWorker(added.url, token=agents.token(name))
    if added.kind == "mcp":
        raise AgentError(f"{name!r} is a server of tools and does no tasks. Give the task to an agent.")
    return SpecialistWorker(specialists[name], agents.environment(name), sandbox, model, fetch=fetch)


def foreign_roles(agents: Agents) -> Mapping[str, ForeignRole]:
    """A role for every agent that was added, for `Kernel(roles={**ROLES, **foreign_roles(agents)})`."""
    return {added.name: ForeignRole(agents, added.name) for added in agents.all() if added.kind != "mcp"}


@dataclass(frozen=True, slots=True)
class ForeignRole:
    """Somebody else's agent as the kernel sees it: it works at a copy, and what it leaves is tested like anybody's."""

    agents: Agents
    name: str
    specialists: Mapping[str, Specialist] = field(default_factory=lambda: SPECIALISTS)
    kind: Literal["foreign"] = field(default="foreign", init=False)

    async def work(self, bench: Workbench) -> Made:
        """Let it work; see `Role`. An attempt of its is one step: after a kill in the middle it begins again."""
        scope = current_scope()
        assert scope is not None, "a role works in an attempt"
        journal = scope.journal
        worker = open_worker(self.agents, self.name, bench.sandbox, bench.model, specialists=self.specialists)

        async def do() -> dict[str, Any]:
            before = journal.head
            token = secrets.token_urlsafe(24)
            try:
                async with serve_face(bench.desk, {token: bench.node}, task_of=lambda _: bench.task.id) as url:
                    await worker.work(_told(bench), bench.folder, url, token, _Listener(bench, journal).hear)
            except AgentError as error:
                _raise_for_money(journal, before, bench)
                raise AttemptError(str(error)) from error
            left = await asyncio.to_thread(bench.files)
            return {"files": plain_files(left), "receipts": _receipts(journal, before, bench)}

        found = await bench.step("foreign", do, key=self.name)
        bench.receipts += found["receipts"]
        await asyncio.to_thread(bench.store.lay_out, read_files(found["files"]), bench.folder)
        return Made(f"agent {self.name}", f"{len(found['receipts'])} calls")


def _told(bench: Workbench) -> Task:
    """The task, with what went wrong before."""
    if not bench.failure:
        return bench.task
    words = f"{bench.task.detail}\n\nAn earlier attempt was refused: {bench.failure[:1000]}".strip()
    return bench.task.model_copy(update={"detail": words})


class _Listener:
    """Writes down what a worker says, as the external claims that it all is; its lead answers its questions."""

    def __init__(self, bench: Workbench, journal: Journal) -> None:
        self._bench, self._journal, self._claims = bench, journal, bench.guard.claims

    async def hear(self, saying: Saying) -> str:
        """See `Say`."""
        bench = self._bench
        if saying.kind == "ask":
            return await bench.ask_lead(bench, saying.text)
        if saying.kind == "tool":
            body = {
                "agent": bench.agent,
                "tool": "run",
                "digest": hashlib.sha256(saying.text.encode()).hexdigest(),
                "ok": saying.ok,
                "seconds": round(saying.seconds, 3),
                "detail": saying.text[:500],
            }
            self._journal.note("tool", body, actor=bench.agent, task=bench.task.id)
        elif saying.kind == "claim" and saying.text.strip():
            await self._claims.make(
                saying.text.strip()[:_MOST_CLAIM],
                author=bench.agent,
                origin=Origin.EXTERNAL,
                sources=[source[:200] for source in saying.sources if source],
                task=bench.task.id,
            )
        else:
            log.info("foreign.said agent=%s what=%r", bench.agent, saying.text[:200])
        return ""


def _calls(journal: Journal, before: int, bench: Workbench) -> Sequence[Mapping[str, Any]]:
    """What it asked of models since then."""
    calls = [event.body for event in journal.events(after=before, kinds=("call",)) if event.task == bench.task.id]
    return [body for body in calls if body.get("agent") == bench.node]


def _receipts(journal: Journal, before: int, bench: Workbench) -> list[str]:
    return [str(body["id"]) for body in _calls(journal, before, bench) if body.get("status") == "complete"]


def _raise_for_money(journal: Journal, before: int, bench: Workbench) -> None:
    """Whatever words it found for it: when the gateway refused it for want of budget, that is the reason."""
    if any(body.get("status") == "refused" for body in _calls(journal, before, bench)):
        raise OutOfBudgetError(node=bench.node, needed=1, left=bench.desk.budgets.left(bench.node).credit or 0)


def address_of(agents: Agents, added: Added) -> Address:
    """Where a server of tools is."""
    environment = agents.environment(added.name)
    return Address(
        url=added.url,
        command=added.command,
        environment=environment if environment.is_dir() else None,
        files=Path(added.files) if added.files else None,
        token=agents.token(added.name),
    )


def hosts_of(agents: Agents, named: Sequence[str]) -> Sequence[str]:
    """The hosts that a task's servers of tools are on: what its agent's capabilities have to name.

    Raises:
        AgentMissingError: one of them was not added.
        AgentError: it is no server of tools.

    """
    return tuple(dict.fromkeys(address_of(agents, added).host for added, _ in _servers(agents, named)))


@contextlib.asynccontextmanager
async def open_toolsets(
    agents: Agents, named: Sequence[str], sandbox: Sandbox, box: Toolbox
) -> AsyncIterator[list[FunctionToolset[Any]]]:
    """The tools that a task names, for the agent of `box`; open while they are used.

    Args:
        agents: the ones that were added.
        named: `SERVER` for all of its tools that the person allowed, `SERVER/TOOL` for one.
        sandbox: where a server runs that is a command. It is reached as host `sandbox`.
        box: of the agent; each call goes through it.

    Raises:
        AgentMissingError: a server was not added.
        AgentError: it cannot be used, or the person allowed no such tool.

    """
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for added, allowed in _servers(agents, named):
            tools = await stack.enter_async_context(open_tools(address_of(agents, added), sandbox))
            found.append(await as_toolset(added.name, tools, allowed, box))
        yield found


def _servers(
    agents: Agents, named: Sequence[str]
) -> list[tuple[Added, Mapping[str, Literal["local", "irreversible"]]]]:
    """Each server once, with those of its tools that the task names and the person allowed."""
    wanted: dict[str, set[str]] = {}
    for each in named:
        server, _, tool = each.partition("/")
        wanted.setdefault(server, set()).add(tool)
    found: list[tuple[Added, Mapping[str, Literal["local", "irreversible"]]]] = []
    for server, tools in wanted.items():
        added = agents.find(server)
        if added.kind != "mcp":
            raise AgentError(f"{server!r} is an agent and no server of tools. Give it a task by its role.")
        if refused := sorted(tools - {"", *added.tools}):
            raise AgentError(
                f"Nobody allowed the tool {refused[0]!r} of {server!r}. Allowed: {', '.join(sorted(added.tools)) or 'none'}."
                f" Add the server again with --allow {refused[0]}."
            )
        found.append((added, {name: reach for name, reach in added.tools.items() if name in tools or "" in tools}))
    return found
