"""What every tool shares: it is held against capabilities, guard and person, numbered, and written down."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tercet.errors import CapabilityError, GuardError, TercetError, ToolError
from tercet.subnets.kit import Limits, Sandbox
from tercet.swarm.capabilities import Capabilities
from tercet.swarm.claims import (
    CLEAN,
    Claim,
    Origin,
    Taint,
    document_author,
    join,
)
from tercet.swarm.folder import Folder
from tercet.swarm.guard import Act, Approval, Approver, Guard, Reach
from tercet.swarm.steps import payment_key
from tercet.swarm.tools.needs import Purse, Shelf

__all__ = ["MOST_SHOWN", "MOST_TOLD", "Calls", "Note"]

MOST_SHOWN = 20_000
"""Characters of an answer to a model."""
MOST_TOLD = 4000
"""Characters of a statement or a question."""


@dataclass(slots=True)
class Note:
    """What is written down about a call."""

    act: Act
    detail: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


class Calls:
    """One agent's tools for one task: what it is, what it has read, done and paid."""

    def __init__(
        self,
        agent: str,
        caps: Capabilities,
        folder: Path,
        guard: Guard,
        *,
        sandbox: Sandbox | None = None,
        approver: Approver | None = None,
        memory: Shelf | None = None,
        purse: Purse | None = None,
        checkers: Mapping[str, Sequence[str]] = MappingProxyType({}),
        task: str = "",
        model: str = "",
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        """Make the tools.

        Args:
            agent: its id.
            caps: what it may touch.
            folder: its files.
            guard: the run's.
            sandbox: where its commands run; without one it has no commands.
            approver: who puts money and irreversible acts before the person; without one they rest on checked claims alone.
            memory: where it remembers.
            purse: who pays.
            checkers: name to command that checks a claim: the claim is its stdin as JSON, exit code 0 is true, 1 is false.
                The kernel's or the plan's, never the agent's own.
            task: what it works on.
            model: which model it thinks with.
            limits: of one command.

        """
        self.agent, self.caps, self.task, self.model = agent, caps, task, model
        self.guard, self.claims, self.journal = guard, guard.claims, guard.claims.journal
        self.folder = Folder(folder, most_bytes=limits.disk_bytes)
        self.context: Taint = CLEAN
        """What nobody has checked of all that it has read."""
        self.checkers = checkers
        self._sandbox, self._approver, self._memory, self._purse, self._limits = (
            sandbox, approver, memory, purse, limits,
        )  # fmt: skip
        self._commands, self._acts = asyncio.Lock(), asyncio.Lock()
        self._sources: dict[str, None] = {}
        self._done: dict[str, int] = {}
        self._paid: dict[str, int] = {}
        self._remember_before()

    def _remember_before(self) -> None:
        """What it had read and done before the run was interrupted; and what its task has paid, whoever worked at it then."""
        for event in self.journal.events(kinds=("tool", "guard.passed")):
            body = event.body
            if event.task == self.task and "charged" in body:
                self._paid[body["digest"]] = body["charged"]
            elif event.task == self.task and body.get("action") == Reach.MONEY:
                self._paid[body["digest"]] = body["amount"]
            if body.get("agent") != self.agent:
                continue
            if event.kind == "tool" and event.task == self.task:
                self._note_read(self.claims.known[name] for name in body.get("read", ()))
            # An act that cannot be undone and was under way is not repeated under its old approval; a payment is, once.
            finished = "charged" in body if event.kind == "tool" else body["action"] != Reach.MONEY
            if finished and event.task == self.task and "twin" in body:
                self._done[body["twin"]] = self._done.get(body["twin"], 0) + 1

    @property
    def money_left(self) -> int:
        """Credit units of its capability that its task has not paid or promised."""
        return self.caps.money - sum(self._paid.values())

    @property
    def has_sandbox(self) -> bool:
        """Commands can run."""
        return self._sandbox is not None

    @property
    def has_approver(self) -> bool:
        """Somebody can be asked."""
        return self._approver is not None

    @property
    def has_memory(self) -> bool:
        """There is a memory."""
        return self._memory is not None

    @property
    def has_purse(self) -> bool:
        """Money can move."""
        return self._purse is not None

    async def hear(self, sender: str, text: str, claims: Iterable[str] = ()) -> None:
        """Take note that the agent is about to be told this: its words are the sender's, and rest on these claims."""
        async with self._call("hear", {"sender": sender, "sha256": hashlib.sha256(text.encode()).hexdigest()}) as note:
            claim = await self._external(f"message:{sender}", f"what {sender} said", text.encode(), claims)
            await self._take_in(note, claim)

    async def claim(self, text: str, sources: Sequence[str] = ()) -> Claim:
        """Say something: a claim of this agent, that rests on all it has read."""
        sources = [self._source(name) for name in sources]
        fresh = self.context if self.context.everything else self.claims.taint(*self.context.claims)
        return await self.claims.make(
            text, author=self.agent, sources=sources, rests=fresh.names, model=self.model, task=self.task
        )

    def _source(self, name: str) -> str:
        """The document that this agent read under a name, the newest one: nobody cites what they have not read."""
        for known in reversed(self._sources):
            if name in {known, known.rpartition("@sha256:")[0]}:
                return known
        raise ToolError(
            f"You have not read {name[:200]!r}, so you cannot name it as a source. Read it, or leave it out."
        )

    async def _let_pass(self, act: Act, claims: Sequence[str]) -> None:
        approval: Approval | None = None
        if self._approver is not None and act.reach in {Reach.MONEY, Reach.IRREVERSIBLE}:
            why = self.guard.complaint(act.reach, claims, self.context)
            approval = await self._approver.approve(act, why)
            if approval is None:
                raise GuardError(f"{act.tool} was refused: the person said no, or said nothing in time. Go on without.")
        await self.guard.check(act, claims, self.context, approval)

    @contextlib.asynccontextmanager
    async def _call(
        self, tool: str, arguments: Mapping[str, Any], *, reach: Reach = Reach.LOCAL, amount: int = 0, host: str = ""
    ) -> AsyncIterator[Note]:
        """Around every call: number it, and write down how it ended."""
        act = Act(self.agent, tool, arguments, reach, self.task, amount if type(amount) is int else 0, host=host)
        key = payment_key(act.twin) if reach in {Reach.MONEY, Reach.IRREVERSIBLE} else ""
        note = Note(replace(act, step=key) if key else replace(act, number=self._done.get(act.twin, 0)))
        begun, ok = time.monotonic(), False
        try:
            yield note
            ok = True
        except TercetError as error:
            note.detail = str(error)[:500]
            raise
        finally:
            if "charged" in note.fields:
                self._done[act.twin] = note.act.number + 1
                note.fields["twin"] = act.twin
            body = {
                "agent": self.agent, "tool": tool, "digest": note.act.digest, "ok": ok,
                "seconds": round(time.monotonic() - begun, 3), "detail": note.detail[:500], **note.fields,
            }  # fmt: skip
            self.journal.note("tool", body, actor=self.agent, task=self.task)

    def _need(self, allowed: bool, what: str) -> None:
        if not allowed:
            raise CapabilityError(f"{self.agent} may not {what[:200]}. Nobody gave it that; only the run's person can.")

    async def _document(self, name: str) -> Claim:
        data = await asyncio.to_thread(self.folder.read, name, limit=self.folder.most_bytes)
        return await self._external(name, f"what {name} says", data)

    async def _external(self, source: str, text: str, said: bytes, rests: Iterable[str] = ()) -> Claim:
        digest = hashlib.sha256(said).hexdigest()
        cited = f"{source}@sha256:{digest}"
        known = [name for name in rests if name in self.claims.known]
        return await self.claims.make(
            f"{text} ({len(said)} bytes, sha256 {digest[:16]})"[:MOST_TOLD],
            author=source.partition(":")[2] if source.startswith("message:") else document_author(cited),
            origin=Origin.EXTERNAL,
            sources=[cited],
            rests=known,
            task=self.task,
        )

    async def _take_in(self, note: Note, *claims: Claim) -> None:
        names = [claim.id for claim in claims]
        note.fields["read"] = [*note.fields.get("read", ()), *names]
        self._note_read(claims)

    def _note_read(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            self.context = join([self.context, self.claims.taint(claim.id)])
            if claim.origin is Origin.EXTERNAL:
                for source in claim.sources:
                    self._sources.pop(source, None)
                    self._sources[source] = None
