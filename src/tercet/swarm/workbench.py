"""What an agent has while it works at a task: its files, the sandbox, a model to think with, and steps that last.

Everything that costs or may come out otherwise goes through here and is a step of the attempt, so an attempt that was
killed goes on where it was: files are laid out again from the record, answers are read back, nothing is paid twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tercet.errors import AttemptError, ThinkingError, UsageError
from tercet.market.text import decode_json
from tercet.subnets.kit import Limits, Sandbox
from tercet.swarm.gateway import Call, Desk
from tercet.swarm.guard import Guard
from tercet.swarm.inbox import Inbox
from tercet.swarm.journal import Journal
from tercet.swarm.plan import Task
from tercet.swarm.run_memory import RunMemory, known_words
from tercet.swarm.steps import step
from tercet.swarm.stops import Loops
from tercet.swarm.store import Files, Store, plain_files, read_files
from tercet.swarm.tools import Purse
from tercet.swarm.workspace import changes

__all__ = ["CHECKS", "AskLead", "Made", "Ran", "Role", "Thought", "Told", "Workbench"]

CHECKS = "/checks"
"""Where our own checking programs are in the sandbox."""
_TRIES = 3
_OUTPUT = 8_000


@dataclass(frozen=True, slots=True)
class Thought:
    """What a model said."""

    text: str
    receipt: str
    """Id of the call."""
    finish: str = "stop"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command in the sandbox ended."""

    code: int | None
    """None when it was stopped."""
    output: str
    """Of both streams, the end of it."""
    stopped: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """It ended by itself with 0."""
        return self.code == 0 and not self.stopped


@dataclass(frozen=True, slots=True)
class Made:
    """How a task was done, for the report."""

    by: str
    """search, program, or the model that did it."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What an agent is told."""

    words: str
    lead: str = ""
    """`lead:` and the node path of the crew whose lead said it; empty where it is the person's word, or nobody's."""


class AskLead(Protocol):
    """Asks what a task leaves open: first the crew's lead, then the person."""

    async def __call__(self, bench: Workbench, question: str, options: Sequence[str] = ()) -> Told:
        """What the agent is told; `options` are answers to choose from.

        Raises:
            CardError: it names options that cannot be shown.

        """
        ...


class Role(Protocol):
    """A way to work at tasks; one object serves all agents of the role."""

    @property
    def kind(self) -> str:
        """model, tool or foreign."""
        ...

    async def work(self, bench: Workbench) -> Made:
        """Change the files in `bench.folder` as the task asks.

        Raises:
            AttemptError: it did not succeed.

        """
        ...


@dataclass(slots=True)
class Workbench:
    """One attempt's tools."""

    goal: str
    task: Task
    attempt: int
    agent: str
    node: str
    """In the budget tree."""
    folder: Path
    before: Files
    """The files as they were at the beginning."""
    original: Files
    """The files as the person gave them."""
    sandbox: Sandbox
    store: Store
    desk: Desk
    model: str
    ask_lead: AskLead
    guard: Guard
    """What holds back acts that rest on what nobody checked."""
    inbox: Inbox
    """Who waits for the person."""
    memory: RunMemory | None = None
    """What all agents of the run share; None for none."""
    purse: Purse | None = None
    """Who pays for what agents owe others; None for nobody. What they think the desk pays."""
    seed: int = 0
    """Of the run; added to the seed of each sample."""
    lent: Mapping[str, Path] = field(default_factory=dict)
    failure: str = ""
    """Why the attempt before failed; empty for a hidden done-test."""
    receipts: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    loops: Loops = field(default_factory=Loops)

    # files

    def read(self, path: str) -> str:
        """A text of the task's files; empty when there is no such file."""
        place = self._inside(path)
        return place.read_bytes().decode(errors="replace") if place.is_file() else ""

    def write(self, path: str, text: str) -> None:
        """Write a text. What is outside the task's claim is refused when it is merged."""
        place = self._inside(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")

    def files(self) -> Files:
        """What is there now."""
        return self.store.take(self.folder)

    def _inside(self, path: str) -> Path:
        parts = path.split("/")
        if path.startswith("/") or ".." in parts or "\0" in path or any(part == "" for part in parts):
            raise AttemptError(f"{path!r} is not a path in the task's folder.")
        place = self.folder
        for part in parts:
            place /= part
            if place.is_symlink():
                raise AttemptError(f"{path!r} leads through a link.")
        return place

    # steps

    async def step(self, name: str, do: Callable[[], Awaitable[Any]], key: str = "") -> Any:
        """Do something once, however often the run is killed. `do` gives plain JSON."""
        self.steps.append(name)
        return await step(name, do, key=key)

    async def run(
        self, command: Sequence[str], *, seconds: float = 60.0, memory: int = 1 << 30, stdin: bytes = b""
    ) -> Ran:
        """Run a command over the task's files, in the sandbox; what it changes stays, now and after a resume."""
        limits = Limits(cpu_seconds=max(1, int(seconds)), wall_seconds=seconds, memory_bytes=memory, processes=64)

        async def do() -> dict[str, Any]:
            outcome = await self.sandbox.run(command, self.folder, limits=limits, readonly=self.lent, stdin=stdin)
            output = (outcome.stdout + outcome.stderr).decode(errors="replace")[-_OUTPUT:]
            left = await asyncio.to_thread(self.store.take, self.folder)
            return {
                "code": outcome.returncode,
                "output": output,
                "stopped": outcome.stopped,
                "seconds": round(outcome.seconds, 3),
                "files": plain_files(left),
            }

        said = json.dumps([list(command), hashlib.sha256(stdin).hexdigest()])
        found = await self.step("run", do, key=said)
        await self._catch_up(read_files(found["files"]))
        return Ran(found["code"], found["output"], found["stopped"], found["seconds"])

    async def _catch_up(self, files: Files) -> None:
        """After a resume: have the files that a recorded command left."""
        if changes(await asyncio.to_thread(self.files), files):
            await asyncio.to_thread(self.store.lay_out, files, self.folder)

    async def keep_files(self) -> None:
        """Write down what the folder holds, for agents whose tools are steps: a resume lays it out again."""
        left = await asyncio.to_thread(self.files)
        body = {"scope": f"{self.task.id}/{self.attempt}", "files": plain_files(left)}
        await self.journal.append("task.files", body, actor=self.agent, task=self.task.id)

    async def note_action(self, action: str, arguments: Any) -> None:
        """Notice an agent that does the same to the same files over and over. Raises `AttemptError` then."""
        self.loops.note(action, [arguments, plain_files(await asyncio.to_thread(self.files))])

    @property
    def journal(self) -> Journal:
        """Of the run."""
        return self.guard.claims.journal

    # what is known

    async def recall(self) -> str:
        """What the run has found to hold about this task, as a paragraph for a prompt; mostly empty. A step."""
        if self.memory is None:
            return ""
        memory, question = self.memory, f"{self.task.title}\n{self.task.detail}".strip()

        async def do() -> list[dict[str, str]]:
            found = await memory.relevant(question, agent=self.agent, task=self.task.id)
            return [{"id": claim.id, "text": claim.text} for claim in found]

        return known_words(await self.step("recall", do, key=question))

    async def claim_checked(self, text: str, *, tool: str, evidence: str, sources: Sequence[str] = ()) -> None:
        """Write down what the agent says and what a program of ours, that did the work again, found true."""
        claims = self.guard.claims
        claim = await claims.make(
            text, author=self.agent, sources=sources, model=self.model if self.receipts else "", task=self.task.id
        )
        if not claim.holds:
            await claims.check_by_tool(claim.id, ok=True, by="kernel", tool=tool, evidence=evidence, task=self.task.id)

    # thinking

    async def think(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
        schema: Mapping[str, Any] | None = None,
    ) -> Thought:
        """Ask the model; the answer is metered, paid and receipted by the desk.

        Raises:
            AttemptError: no answer after some tries.
            OutOfBudgetError: the agent, its crew or the run has too little left.
            EndedError: it was killed.

        """
        key = f"{self.attempt}/{len(self.steps)}"
        call = Call(
            agent=self.node,
            task=self.task.id,
            step=key,
            model=self.model,
            messages=[dict(message) for message in messages],
            max_tokens=max_tokens,
            temperature=temperature,
            seed=(self.seed + seed) % 2**31,
            schema=schema,
        )

        async def do() -> dict[str, str]:
            reply = await ask_patiently(self.desk, call)
            return {"text": reply.text, "receipt": reply.receipt, "finish": reply.finish}

        found = await self.step("think", do, key=call.digest)
        self.receipts.append(found["receipt"])
        return Thought(found["text"], found["receipt"], found["finish"])

    async def think_json(
        self,
        messages: Sequence[Mapping[str, str]],
        schema: Mapping[str, Any],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Mapping[str, Any] | None:
        """An answer that has to fit a schema; None when it is no JSON object all the same."""
        thought = await self.think(messages, max_tokens=max_tokens, temperature=temperature, seed=seed, schema=schema)
        found = decode_json(thought.text)
        return found if isinstance(found, dict) else None


async def ask_patiently(desk: Desk, call: Call, *, tries: int = _TRIES, pause: float = 1.0) -> Any:
    """Ask again when the model is down for a moment; the same question under the same key, so nothing is paid twice."""
    for attempt in range(1, tries + 1):
        try:
            return await desk.ask(call)
        except ThinkingError as error:
            if not error.again or attempt == tries:
                raise AttemptError(f"The model gives no answer: {error}") from error
            await asyncio.sleep(pause * attempt)
        except UsageError as error:
            raise AttemptError(str(error), final=True) from error
    raise AssertionError
