"""Other people's agents in a run: workers for tasks, roles for the kernel, and the tools that their tasks name."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tercet.errors import AgentError, AttemptError, EndedError
from tercet.subnets.kit import Sandbox
from tercet.swarm.a2a import A2aWorker
from tercet.swarm.agents import Agents
from tercet.swarm.capabilities import Capabilities
from tercet.swarm.claims import TOP, Origin
from tercet.swarm.gateway import read_lacking, serve_face
from tercet.swarm.inbox import InboxApprover
from tercet.swarm.journal import Journal
from tercet.swarm.plan import Task
from tercet.swarm.steps import current_scope
from tercet.swarm.store import plain_files, read_files
from tercet.swarm.tool_servers import hosts_of, open_granted
from tercet.swarm.tools import Toolbox
from tercet.swarm.workbench import Made, Workbench
from tercet.swarm.workers import SPECIALISTS, Fetch, GrantedTool, Saying, Specialist, SpecialistWorker, Worker

__all__ = ["ForeignRole", "foreign_roles", "open_worker"]

log = logging.getLogger(__name__)

_MOST_CLAIM = 1_000
"""Characters of a claim that is written down; the rest is in the files."""
_HELD_SECONDS = 0.2
"""How often an agent that is held is looked at, when it wants a tool."""


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
                async with (
                    serve_face(bench.desk, {token: bench.node}, task_of=lambda _: bench.task.id) as url,
                    _granted(self.agents, bench) as tools,
                ):
                    await worker.work(_told(bench), bench.folder, url, token, _Listener(bench, journal).hear, tools)
            except AgentError as error:
                _raise_for_money(journal, before, bench)
                raise AttemptError(str(error)) from error
            left = await asyncio.to_thread(bench.files)
            return {"files": plain_files(left), "receipts": _receipts(journal, before, bench)}

        found = await bench.step("foreign", do, key=self.name)
        bench.receipts += found["receipts"]
        await asyncio.to_thread(bench.store.lay_out, read_files(found["files"]), bench.folder)
        return Made(f"agent {self.name}", f"{len(found['receipts'])} calls")


@contextlib.asynccontextmanager
async def _granted(agents: Agents, bench: Workbench) -> AsyncIterator[Sequence[GrantedTool]]:
    """The tools of the servers that its task names: these and no others, each use through the run's guard and inbox."""
    named = bench.task.options.get("tools", ())
    if not named:
        yield ()
        return
    try:
        box = _StrangersTools(bench, hosts_of(agents, named))
    except AgentError as error:
        raise AttemptError(str(error), final=True) from error
    async with open_granted(agents, named, bench.sandbox, box) as servers:
        yield [tool for granted in servers.values() for tool in granted]


class _StrangersTools(Toolbox):
    """Nobody knows what a stranger has read, so nothing that it does counts as resting on checked claims alone."""

    def __init__(self, bench: Workbench, hosts: Sequence[str]) -> None:
        super().__init__(
            bench.agent,
            Capabilities(hosts=tuple(hosts)),
            bench.folder,
            bench.guard,
            approver=InboxApprover(bench.inbox, bench.node),
            task=bench.task.id,
            model=bench.model,
        )
        self.context = TOP
        self._bench = bench

    async def outside(
        self, tool: str, arguments: Mapping[str, Any], do: Callable[[], Awaitable[str]], **how: Any
    ) -> str:
        """Use somebody else's tool; while its agent is held it waits, and once that is ended it is refused."""
        desk, node = self._bench.desk, self._bench.node
        while desk.is_held(node):  # noqa: ASYNC110 - what is held is the desk's to know, and it rings for calls alone
            await asyncio.sleep(_HELD_SECONDS)
        if desk.is_ended(node):
            raise EndedError(node, "it was ended")
        return await super().outside(tool, arguments, do, **how)


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
            return (await bench.ask_lead(bench, saying.text)).words
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
    lacking = [found for body in _calls(journal, before, bench) if (found := read_lacking(body)) is not None]
    if lacking:
        raise lacking[-1]
