"""What the kernel asks of whoever does a task, be it ours or somebody else's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from tercet.swarm.plan import Task
from tercet.swarm.workers.granted import GrantedTool

__all__ = ["Say", "Saying", "Worker"]

MAX_TEXT = 20_000
"""Characters of one saying; what is longer is cut."""


@dataclass(frozen=True, slots=True)
class Saying:
    """Something that a worker tells while it works. Nobody here has checked it: all of it is an external claim."""

    kind: Literal["note", "tool", "claim", "ask"]
    """Progress; a command that was run for it; a result that it states; a question, which is answered."""
    text: str
    sources: Sequence[str] = ()
    """Of a claim: the files, or addresses, that it says it rests on."""
    ok: bool = True
    """Of a tool: it succeeded. Of a claim: a program found its quotations in its sources."""
    seconds: float = 0.0
    """Of a tool: how long it took."""


Say: TypeAlias = Callable[[Saying], Awaitable[str]]
"""Takes a saying; the answer where it was a question, else an empty text."""


class Worker(Protocol):
    """Does tasks, one at a time."""

    async def work(
        self, task: Task, folder: Path, face_url: str, token: str, say: Say, tools: Sequence[GrantedTool] = ()
    ) -> None:
        """Do the task in `folder`, which is a copy that the kernel checks and merges afterwards.

        Args:
            task: what is to be done.
            folder: its files; what is left there counts.
            face_url: OpenAI-compatible address to think through, ends in /v1. The only one it may spend at.
            token: what the address takes as API key. It never enters the worker's own process.
            say: tell how it goes.
            tools: what the task was granted beside its folder: these and no others.

        Raises:
            AgentError: it could not do it, or cannot be handed tools; the text says why.

        """

    async def stop(self) -> None:
        """End it now, with every process that it started; `work` ends with `asyncio.CancelledError`. Twice is fine."""
