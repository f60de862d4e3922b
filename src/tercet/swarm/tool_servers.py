"""Servers of tools that a task names: where they are, which of their tools the person allowed, and the way to them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from tercet.errors import AgentError
from tercet.subnets.kit import Sandbox
from tercet.swarm.agents import Added, Agents
from tercet.swarm.mcp import Address, grant, open_tools
from tercet.swarm.tools import Toolbox
from tercet.swarm.workers import GrantedTool

__all__ = ["address_of", "hosts_of", "open_granted"]


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
async def open_granted(
    agents: Agents, named: Sequence[str], sandbox: Sandbox, box: Toolbox
) -> AsyncIterator[Mapping[str, Sequence[GrantedTool]]]:
    """The tools that a task names, by their servers, for the agent of `box`; open while they are used.

    Args:
        agents: the ones that were added.
        named: `SERVER` for all of its tools that the person allowed, `SERVER/TOOL` for one.
        sandbox: where a server runs that is a command. It is reached as host `sandbox`.
        box: of the agent; each call goes through it.

    Raises:
        AgentMissingError: a server was not added.
        AgentError: it cannot be used, the person allowed no such tool, or it says something else than when it was added.

    """
    async with contextlib.AsyncExitStack() as stack:
        found: dict[str, Sequence[GrantedTool]] = {}
        for added, allowed in _servers(agents, named):
            tools = await stack.enter_async_context(open_tools(address_of(agents, added), sandbox))
            found[added.name] = await grant(added, tools, allowed, box)
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
