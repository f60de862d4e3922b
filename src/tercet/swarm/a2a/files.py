"""What travels with a task that somebody elsewhere does: the files it reads there, and the files that come back."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from a2a.types import Artifact, Part

from tercet.errors import AgentError, CapabilityError
from tercet.swarm.capabilities import clean_path, pattern_matches
from tercet.swarm.folder import Folder
from tercet.swarm.plan import Task
from tercet.swarm.workers.face import task_text
from tercet.swarm.workers.worker import MAX_TEXT, Say, Saying

__all__ = ["MAX_SENT", "build_parts", "keep"]

MAX_SENT = 1 << 20
"""Bytes of files that go with a task."""


def build_parts(task: Task, folder: Folder) -> list[Part]:
    """The task in words, and the files that it names as inputs: nothing else leaves the machine.

    Raises:
        AgentError: they are too large to send.

    """
    named = [
        (name, size)
        for name, size in folder.files()
        if any(pattern_matches(clean_path(pattern), name) for pattern in task.inputs)
    ]
    if sum(size for _, size in named) > MAX_SENT:
        raise AgentError(
            f"The inputs of task {task.id!r} are larger than {MAX_SENT} bytes, too much to send. Name fewer."
        )
    return [Part(text=task_text(task)), *(Part(raw=folder.read(name), filename=name) for name, _ in named)]


async def keep(found: Sequence[Artifact], task: Task, folder: Folder, say: Say) -> None:
    """Write what came into the files that the task may write; whatever it says is a claim besides.

    A text without a name goes into the task's only output, if it has one that is still missing.
    """
    nameless = []
    for artifact in found:
        for part in artifact.parts:
            target = _target(part.filename or artifact.name, task)
            if part.HasField("raw") and target:
                folder.write(target, part.raw)
            elif part.HasField("text"):
                await say(Saying("claim", part.text[:MAX_TEXT]))
                if target:
                    folder.write(target, part.text.encode())
                else:
                    nameless.append(part.text)
    plain = [name for name in task.outputs if not set("*?[") & set(name) and not name.endswith("/")]
    if nameless and len(plain) == 1 and plain[0] not in dict(folder.files()):
        folder.write(plain[0], "\n\n".join(nameless).encode())


def _target(name: str, task: Task) -> str:
    """The path to write, where the task allows it; else nothing."""
    with contextlib.suppress(CapabilityError):
        path = clean_path(name)
        if path != "." and any(pattern_matches(clean_path(pattern), path) for pattern in task.outputs):
            return path
    return ""
