"""A specialist at work on a task: its program in the sandbox, its lines heeded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tercet.errors import AgentError, RefusedError
from tercet.subnets.coding.bench import Bench
from tercet.subnets.kit import Sandbox
from tercet.swarm.plan import Task
from tercet.swarm.workers.box import INSIDE, Environment
from tercet.swarm.workers.face import open_tools_door, task_text
from tercet.swarm.workers.granted import GrantedTool
from tercet.swarm.workers.guest import FACE, MCP, Guest
from tercet.swarm.workers.specialists import Specialist
from tercet.swarm.workers.worker import MAX_TEXT, Say, Saying

__all__ = ["Fetch", "SpecialistWorker"]

log = logging.getLogger(__name__)

STEPS = 30
"""Thoughts that an agent may have on one task, unless its options say otherwise."""
_MOST_STEPS = 500
_BY_COMMAND = """

You have tools beside the shell: `python3 /tercet/tercet_tool.py` lists them, `python3 /tercet/tercet_tool.py NAME '{"argument": "value"}'` uses one."""
_GOOD = frozenset({"done", "Submitted"})
"""How a driver's last line says that all went well."""
Fetch: TypeAlias = Callable[[str], Awaitable[str]]
"""Fetches a page of the web for an agent, or raises RefusedError: whoever gives it knows what the agent may."""


class SpecialistWorker:
    """A `Worker` for one of the table's specialists. Each task has a process and a sandbox of its own."""

    def __init__(
        self,
        specialist: Specialist,
        environment: Path,
        sandbox: Sandbox,
        model: str,
        *,
        fetch: Fetch | None = None,
    ) -> None:
        """`environment` is the folder of its virtual environment, `model` what it asks the gateway for."""
        self._specialist, self._sandbox, self._model, self._fetch = specialist, sandbox, model, fetch
        self._environment = Environment.read(environment)
        self._bench = Bench(sandbox)
        self._guest: Guest | None = None
        self._lent: Mapping[str, Path] = {}

    async def work(
        self, task: Task, folder: Path, face_url: str, token: str, say: Say, tools: Sequence[GrantedTool] = ()
    ) -> None:
        """Do the task; see `Worker`."""
        if tools and not self._specialist.tools:
            raise AgentError(f"{self._specialist.name} cannot be handed tools. Give the task to an agent that can.")
        guest = self._guest = Guest(self._sandbox, self._environment, self._specialist.driver)
        started = time.monotonic()

        async def heed(line: Mapping[str, Any]) -> Mapping[str, Any] | None:
            left = task.seconds - (time.monotonic() - started)
            return await self._heed(line, folder, say, left)

        commands = self._specialist.commands
        async with self._door(tools if commands else ()):
            with tempfile.TemporaryDirectory(prefix="tercet-empty-") as empty:
                ended = await guest.run(
                    self._order(task, tools),
                    Path(empty) if commands else folder,
                    heed,
                    seconds=task.seconds,
                    face=(face_url, token),
                    tools=() if commands else tools,
                    writable=not commands,
                )
        how, why = str(ended.get("end", "")), str(ended.get("why", ""))[:2000]
        log.info("agent.ended agent=%s how=%r why=%r", self._specialist.name, how, why)
        if how not in _GOOD:
            raise AgentError(f"{self._specialist.name} gave up: {f'{how}: {why}'.rstrip(': ')}.")

    @contextlib.asynccontextmanager
    async def _door(self, tools: Sequence[GrantedTool]) -> AsyncIterator[None]:
        """Of an agent that only thinks: its commands have the tools, on a socket of their own."""
        if not tools:
            yield
            return
        with tempfile.TemporaryDirectory(prefix="tercet-tools-") as name:
            os.chmod(name, 0o755)  # noqa: PTH101, S103 - whoever is inside comes as another uid
            async with open_tools_door(Path(name) / "tools.sock", tools):
                self._lent = {"/talk": Path(name), "/tercet": INSIDE}
                try:
                    yield
                finally:
                    self._lent = {}

    async def stop(self) -> None:
        """End its process, and all that it started."""
        if self._guest is not None:
            await self._guest.stop()

    def _order(self, task: Task, tools: Sequence[GrantedTool]) -> dict[str, Any]:
        wanted = task.options.get("steps", STEPS)
        steps = wanted if isinstance(wanted, int) and 0 < wanted <= _MOST_STEPS else STEPS
        return {
            "task": task_text(task) + (_BY_COMMAND if tools and self._specialist.commands else ""),
            "model": str(task.options.get("model", self._model)),
            "url": FACE,
            "key": "none",
            "steps": steps,
            "home": "/tmp",  # noqa: S108 - inside
            "inputs": list(task.inputs),
            "outputs": list(task.outputs),
            "options": dict(task.options),
            **({"mcp": MCP} if tools and not self._specialist.commands else {}),
        }

    async def _heed(self, line: Mapping[str, Any], folder: Path, say: Say, left: float) -> Mapping[str, Any] | None:
        if "command" in line and self._specialist.commands:
            return await self._run(str(line["command"]), folder, say, left)
        if "fetch" in line:
            return await self._fetched(str(line["fetch"])[:2000], say)
        if "ask" in line:
            return {"answer": await say(Saying("ask", _cut(line["ask"])))}
        if "claim" in line:
            named = line.get("sources")
            sources = tuple(_cut(each) for each in named[:64]) if isinstance(named, list) else ()
            await say(Saying("claim", _cut(line["claim"]), sources, ok=line.get("checked") is True))
        elif "note" in line:
            await say(Saying("note", _cut(line["note"])))
        return None

    async def _run(self, command: str, folder: Path, say: Say, left: float) -> Mapping[str, Any]:
        """A command over the task's folder, without network, face or token; with the tools that were granted."""
        try:
            async with asyncio.timeout(max(1.0, left)):
                outcome = await self._bench.shell(command, folder, lent=self._lent)
        except TimeoutError:
            raise AgentError(f"{self._specialist.name} used up its time.") from None
        output = (outcome.stdout + outcome.stderr).decode(errors="replace")[-MAX_TEXT:]
        problem = f"stopped: it exceeded its limit of {outcome.stopped}" if outcome.stopped else ""
        await say(Saying("tool", _cut(command), ok=outcome.ok, seconds=outcome.seconds))
        code = -1 if outcome.returncode is None else outcome.returncode
        return {"output": output, "returncode": code, "problem": problem}

    async def _fetched(self, address: str, say: Say) -> Mapping[str, Any]:
        started = time.monotonic()
        try:
            if self._fetch is None:
                raise RefusedError("this agent has no capability for the web")
            text = await self._fetch(address)
        except RefusedError as error:
            await say(Saying("tool", f"fetch {address}", ok=False))
            return {"refused": str(error)}
        await say(Saying("tool", f"fetch {address}", seconds=time.monotonic() - started))
        return {"text": text[:200_000]}


def _cut(value: object) -> str:
    return str(value)[:MAX_TEXT]
