"""A program of a stranger's in the sandbox, its standard input and output joined to us by a socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from tercet.errors import AgentMissingError
from tercet.subnets.kit import Limits, Outcome, Sandbox
from tercet.swarm.workers.face import open_face
from tercet.swarm.workers.granted import GrantedTool
from tercet.swarm.workers.peer import is_ours

__all__ = ["BOX_LIMITS", "INSIDE", "Box", "Environment", "Streams", "last_words", "open_box"]

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
BOX_LIMITS = Limits(
    memory_bytes=6 << 30,
    processes=192,
    file_bytes=64 << 20,
    disk_bytes=256 << 20,
    open_files=512,
)
MAX_LINE = 1 << 20
_LAST_LINES, _LONGEST_LINE = 5, 200
INSIDE = Path(__file__).parent / "inside"
"""Programs of ours for the sandbox; at /tercet there."""


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


class Box:
    """One run: its streams once it has begun, its outcome once it has ended."""

    def __init__(self) -> None:
        self._opened: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Task[Outcome]

    async def streams(self) -> Streams | None:
        """What it says and reads; None when it ended before it began."""
        either: set[asyncio.Future[Any]] = {self._opened, self.ended}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return self._opened.result() if self._opened.done() else None

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the first connection, and no other: whatever runs inside can reach the socket, and so can neighbours."""
        if self._opened.done() or not is_ours(writer.get_extra_info("socket")):
            writer.close()
        else:
            self._opened.set_result((reader, writer))

    async def close(self) -> None:
        """End it, with all that it started."""
        if not self.ended.done():
            self.ended.cancel()
            await asyncio.wait([self.ended])
        if self._opened.done():
            self._opened.result()[1].close()
        self._opened.cancel()


def last_words(outcome: Outcome) -> str:
    """How a program ended, and the last lines that it wrote to stderr, quoted: they are a stranger's."""
    how = f"it exceeded its limit of {outcome.stopped}" if outcome.stopped else f"it ended with {outcome.returncode}"
    lines = [_quiet(line) for line in outcome.stderr.decode(errors="replace").splitlines()]
    told = [line[:_LONGEST_LINE] for line in lines if line][-_LAST_LINES:]
    return f"{how}, and its last words were {' | '.join(told)!r}" if told else f"{how} without a word"


def _quiet(line: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in line).strip()


@contextlib.asynccontextmanager
async def open_box(
    sandbox: Sandbox,
    words: Sequence[str],
    folder: Path,
    *,
    seconds: float,
    environment: Environment | None = None,
    lent: Mapping[str, Path] = MappingProxyType({}),
    face: tuple[str, str] | None = None,
    tools: Sequence[GrantedTool] = (),
    writable: bool = False,
) -> AsyncIterator[Box]:
    """Start a program; leaving ends it.

    Args:
        sandbox: where.
        words: arguments of `inside/start.py`.
        folder: is /w inside; copied.
        seconds: the longest it may live.
        environment: whose packages it has; the sandbox's own Python without any if None.
        lent: further files, by their path inside.
        face: URL and token of the gateway that it may think through.
        tools: what it was granted; served beside the face, and only there.
        writable: whether what it leaves in the folder comes back.

    """
    with tempfile.TemporaryDirectory(prefix="tercet-talk-") as name:
        talk, box = Path(name), Box()
        os.chmod(name, 0o755)  # noqa: PTH101, S103 - whoever is inside comes as another uid
        async with contextlib.AsyncExitStack() as stack:
            if face is not None:
                await stack.enter_async_context(open_face(talk / "face.sock", *face, tools))
            server = await asyncio.start_unix_server(box.accept, talk / "lines.sock", limit=MAX_LINE)
            stack.callback(server.close)
            os.chmod(talk / "lines.sock", 0o666)  # noqa: PTH101, S103
            inside = {"/tercet": INSIDE, "/talk": talk, **lent, **(environment.lent if environment else {})}
            box.ended = asyncio.create_task(
                sandbox.run(
                    [environment.python if environment else "python3", "-I", "-S", "/tercet/start.py", *words],
                    folder,
                    limits=replace(BOX_LIMITS, wall_seconds=seconds, cpu_seconds=max(10, int(2 * seconds))),
                    readonly=inside,
                    environment=environment.variables if environment else {},
                    writable=writable,
                )
            )
            stack.push_async_callback(box.close)
            yield box
