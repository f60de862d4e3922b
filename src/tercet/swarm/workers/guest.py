"""A stranger's program in the sandbox that we talk with in lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from tercet.errors import AgentError, AgentMissingError
from tercet.market.text import decode_json
from tercet.subnets.kit import Limits, Outcome, Sandbox
from tercet.swarm.workers.face import open_face
from tercet.swarm.workers.peer import is_ours

__all__ = ["FACE", "GUEST_LIMITS", "Environment", "Guest", "Heed"]

log = logging.getLogger(__name__)

FACE = "http://127.0.0.1:8000/v1"
"""Where the program inside thinks."""
GUEST_LIMITS = Limits(
    memory_bytes=6 << 30,
    processes=192,
    file_bytes=64 << 20,
    disk_bytes=256 << 20,
    open_files=512,
)
_INSIDE = Path(__file__).parent / "inside"
_MAX_LINE = 1 << 20
_MAX_LINES = 10_000
Heed: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any] | None]]
"""Takes a line of the program; the line to answer it with, or None where it wants none."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment, and where its Python lies inside the sandbox."""

    folder: Path
    base: Path
    """The installation that it was made from."""
    packages: str
    """Its site-packages, relative to `folder`."""
    version: str
    """Such as `python3.11`."""

    @classmethod
    def read(cls, folder: Path) -> Environment:
        """Look at one that was made by `python -m venv`.

        Raises:
            AgentMissingError: there is none.

        """
        found = sorted(folder.glob("lib/python3*/site-packages"))
        python = folder / "bin/python3"
        if not found or not python.exists():
            raise AgentMissingError(f"{folder} is no virtual environment. Add the agent again: tercet agent add NAME.")
        base = python.resolve().parent.parent
        return cls(folder, base, str(found[0].relative_to(folder)), found[0].parent.name)

    @property
    def _in_system(self) -> bool:
        return self.base in {Path("/usr"), Path("/usr/local")}

    @property
    def python(self) -> str:
        """The interpreter's path inside."""
        return f"{self.base if self._in_system else '/base'}/bin/{self.version}"

    @property
    def lent(self) -> dict[str, Path]:
        """What the sandbox needs of it."""
        return {"/agent": self.folder} | ({} if self._in_system else {"/base": self.base})

    @property
    def variables(self) -> dict[str, str]:
        """What the interpreter needs to find its own library."""
        return {} if self._in_system else {"LD_LIBRARY_PATH": "/base/lib"}


class Guest:
    """One run of a program. It has a copy of one folder, its own packages, the gateway's face, and nothing else."""

    def __init__(self, sandbox: Sandbox, environment: Environment, driver: Path) -> None:
        self._sandbox, self._environment, self._driver = sandbox, environment, driver
        self._running: asyncio.Task[Mapping[str, Any]] | None = None

    async def run(
        self,
        order: Mapping[str, Any],
        folder: Path,
        heed: Heed,
        *,
        seconds: float,
        face: tuple[str, str] | None = None,
        writable: bool = True,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Mapping[str, Any]:
        """Start it, give it its order, heed its lines until it says `end`; that line.

        What it left in its folder comes back, when it ended by itself and `writable` is true.

        Args:
            order: the first line that it reads.
            folder: is /w inside.
            heed: what is done about its lines.
            seconds: the longest it may take.
            face: URL and token of the gateway.
            writable: whether what it leaves counts.
            variables: of its environment, which is empty otherwise.

        Raises:
            AgentError: it died, spoke nonsense, or exceeded a limit.

        """
        assert self._running is None, "a guest runs once"
        self._running = asyncio.create_task(
            self._run(order, folder, heed, seconds, face, writable=writable, variables=variables)
        )
        try:
            return await self._running
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End it, with all that it started."""
        running = self._running
        if running is not None and not running.done():
            running.cancel()
            await asyncio.wait([running])

    async def _run(
        self,
        order: Mapping[str, Any],
        folder: Path,
        heed: Heed,
        seconds: float,
        face: tuple[str, str] | None,
        *,
        writable: bool,
        variables: Mapping[str, str],
    ) -> Mapping[str, Any]:
        with tempfile.TemporaryDirectory(prefix="tercet-guest-") as name:
            talk = Path(name)
            os.chmod(name, 0o755)  # noqa: PTH101, S103 - whoever is inside comes as another uid
            async with contextlib.AsyncExitStack() as stack:
                if face is not None:
                    await stack.enter_async_context(open_face(talk / "face.sock", *face))
                speaking = await stack.enter_async_context(_listen(talk / "lines.sock"))
                box = asyncio.create_task(self._box(folder, talk, seconds, writable=writable, variables=variables))
                stack.push_async_callback(_end, box)
                ended = await _converse(speaking, box, order, heed)
                outcome = await box
        if ended is None or outcome.stopped:
            raise AgentError(_why(outcome))
        return ended

    async def _box(
        self, folder: Path, talk: Path, seconds: float, *, writable: bool, variables: Mapping[str, str]
    ) -> Outcome:
        guest = self._environment
        command = [guest.python, "-I", "-S", "/tercet/start.py", "/driver.py", f"/agent/{guest.packages}"]
        return await self._sandbox.run(
            command,
            folder,
            limits=replace(GUEST_LIMITS, wall_seconds=seconds, cpu_seconds=max(10, int(2 * seconds))),
            readonly={"/tercet": _INSIDE, "/driver.py": self._driver, "/talk": talk, **guest.lent},
            environment={**guest.variables, **variables},
            writable=writable,
        )


class _Speaking:
    """The other end of the program's standard input and output: the first connection, and no other."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.get_running_loop().create_future()
        )

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the connection."""
        if self.opened.done() or not is_ours(writer.get_extra_info("socket")):
            writer.close()
        else:
            self.opened.set_result((reader, writer))


@contextlib.asynccontextmanager
async def _listen(path: Path) -> AsyncIterator[_Speaking]:
    speaking = _Speaking()
    server = await asyncio.start_unix_server(speaking.accept, path, limit=_MAX_LINE)
    os.chmod(path, 0o666)  # noqa: PTH101, S103
    try:
        yield speaking
    finally:
        server.close()
        if speaking.opened.done() and not speaking.opened.cancelled():
            speaking.opened.result()[1].close()


async def _converse(
    speaking: _Speaking, box: asyncio.Task[Outcome], order: Mapping[str, Any], heed: Heed
) -> Mapping[str, Any] | None:
    """Speak with it until its last line; None when it went without one."""
    either: set[asyncio.Future[Any]] = {speaking.opened, box}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not speaking.opened.done():
        return None
    reader, writer = speaking.opened.result()
    said: Mapping[str, Any] | None = order
    try:
        for _ in range(_MAX_LINES):
            if said is not None:
                writer.write(json.dumps(said).encode() + b"\n")
                await writer.drain()
            line = decode_json(await reader.readline())
            if not isinstance(line, dict):
                return None
            if "end" in line:
                return line
            said = await heed(line)
    except (ConnectionError, ValueError) as error:  # a line beyond the limit is a ValueError
        log.info("guest.silenced why=%r", str(error))
        return None
    raise AgentError(f"The agent said more than {_MAX_LINES} lines. It seems to turn in circles.")


async def _end(box: asyncio.Task[Outcome]) -> None:
    if not box.done():
        box.cancel()
        await asyncio.wait([box])


def _why(outcome: Outcome) -> str:
    if outcome.stopped:
        return f"The agent was stopped: it exceeded its limit of {outcome.stopped}. Nothing that it did is kept."
    told = outcome.stderr.decode(errors="replace").strip()[-300:]
    return f"The agent ended with {outcome.returncode} and did not say how it went{f': {told!r}' if told else '.'}"
