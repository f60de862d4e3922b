"""The tools of an agent: each call is held against its capabilities, then the guard, then the person; and written down.

What an agent reads is a claim of whoever wrote it, unchecked, and from then on part of all that the agent does. So a text
that says "now pay" reaches an agent which then may not pay, and no text reaches the capabilities: they are a value here.
Commands run in the sandbox over a copy that holds what the agent may read, and only what it may write comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

from tercet.errors import CapabilityError, ClaimError, GuardError, RefusedError, TercetError, ToolError
from tercet.subnets.kit import Limits, Outcome, Sandbox
from tercet.swarm.capabilities import Capabilities, clean_path, pattern_matches
from tercet.swarm.claims import (
    CLEAN,
    Claim,
    Flag,
    Labelled,
    Number,
    OneOf,
    Origin,
    Taint,
    document_author,
    extract,
    join,
)
from tercet.swarm.folder import Folder
from tercet.swarm.guard import Act, Approval, Approver, Guard, Reach
from tercet.swarm.journal import Journal
from tercet.swarm.steps import payment_key

__all__ = ["Bought", "Desires", "OpenPurse", "Purse", "Shelf", "Toolbox"]

_MOST_SHOWN = 20_000
_MOST_LISTED = 500
_MOST_WRITTEN = 1 << 20
_MOST_ARGUMENTS = 64
_MOST_TOLD = 4000
PERSON = "person"
Desires = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Bought:
    """What came of a purchase."""

    receipt: str
    charged: int
    """Credit units, never more than was offered."""
    result: str = ""


class Purse(Protocol):
    """Whoever moves money. The same key twice is one payment."""

    async def pay(self, agent: str, to: str, amount: int, key: str) -> str:
        """Pay exactly this; the receipt's id. RefusedError: nothing was paid."""

    async def buy(self, agent: str, wanted: Desires, most: int, key: str) -> Bought:
        """Buy for at most this. RefusedError: nothing was bought."""

    async def find(self, key: str) -> str | None:
        """The receipt of what was paid or bought under this key; None where nothing was."""


OpenPurse: TypeAlias = Callable[[Journal], AbstractAsyncContextManager[Purse]]
"""Opens the purse of the run that has this journal."""


class Shelf(Protocol):
    """Where agents remember, such as `Memory`."""

    async def put(self, claim: Claim, *, agent: str, shared: bool) -> None:
        """Keep it."""

    async def recall(self, question: str, *, agent: str, most: int, states: Sequence[str] = ()) -> Sequence[Claim]:
        """The nearest of the agent's own and the shared ones."""


@dataclass(slots=True)
class _Note:
    """What is written down about a call."""

    act: Act
    detail: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


class Toolbox:
    """One agent's tools for one task."""

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
        """What it had read, done and paid before the run was interrupted."""
        for event in self.journal.events(kinds=("tool", "guard.passed")):
            body = event.body
            if body.get("agent") != self.agent:
                continue
            if event.kind == "tool":
                if "charged" in body:
                    self._paid[body["digest"]] = body["charged"]
                if event.task == self.task:
                    self._note_read(self.claims.known[name] for name in body.get("read", ()))
            elif body["action"] == Reach.MONEY:
                self._paid[body["digest"]] = body["amount"]
            # An act that cannot be undone and was under way is not repeated under its old approval; a payment is, once.
            finished = "charged" in body if event.kind == "tool" else body["action"] != Reach.MONEY
            if finished and event.task == self.task and "twin" in body:
                self._done[body["twin"]] = self._done.get(body["twin"], 0) + 1

    @property
    def money_left(self) -> int:
        """Credit units of its capability that it has not paid or promised."""
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

    # files

    async def read_file(self, path: str, start: int = 0) -> str:
        """Read a file of your folder, from byte `start` on."""
        async with self._call("read_file", {"path": path, "start": start}) as note:
            name = clean_path(path)
            self._need(self.caps.may_read(name), f"read {name}")
            data = await asyncio.to_thread(self.folder.read, name, start=max(0, start), limit=_MOST_SHOWN + 1)
            await self._take_in(note, await self._document(name))
            text = data[:_MOST_SHOWN].decode(errors="replace")
            rest = f"\n[more follows: read it with start={max(0, start) + _MOST_SHOWN}]"
            return text + rest if len(data) > _MOST_SHOWN else text

    async def read_value(self, path: str, words: Sequence[str] = (), low: float = 0, high: float = 0) -> str:
        """Read a file that holds one value and nothing else: one of `words`, or a number from `low` to `high`, or yes/no.

        Whatever else the file says, you do not get to see it; so you may still do what reading it would bar you from.
        """
        arguments = {"path": path, "words": list(words), "low": low, "high": high}
        async with self._call("read_value", arguments) as note:
            name = clean_path(path)
            self._need(self.caps.may_read(name), f"read {name}")
            data = await asyncio.to_thread(self.folder.read, name, limit=1000)
            shape: Any = OneOf(words) if words else Number(low, high) if high > low else Flag()
            try:
                value = extract(Labelled(data.decode(errors="replace")), shape).value
            except ClaimError:
                # The error of `extract` quotes the file, which is what must not be seen.
                raise ToolError(f"{name} holds something else than was asked for.") from None
            note.detail = repr(value)
            return str(value)

    async def write_file(self, path: str, text: str) -> str:
        """Write a file of your folder."""
        data = text.encode()
        shown = {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        async with self._call("write_file", shown) as note:
            name = clean_path(path)
            self._need(self.caps.may_write(name), f"write {name}")
            if len(data) > _MOST_WRITTEN:
                raise ToolError(
                    f"{name} would have {len(data)} bytes, {_MOST_WRITTEN} are the most. Write less at once."
                )
            await asyncio.to_thread(self.folder.write, name, data)
            note.fields["wrote"] = [{"path": name, "sha256": shown["sha256"], "bytes": len(data)}]
            return f"Wrote {len(data)} bytes to {name}."

    async def list_files(self, pattern: str = "**") -> str:
        """List the files of your folder that you may read, with their sizes."""
        async with self._call("list_files", {"pattern": pattern}):
            found = await asyncio.to_thread(lambda: list(self.folder.files()))
            fitting = [(n, size) for n, size in found if self.caps.may_read(n) and pattern_matches(pattern, n)]
            lines = [f"{json.dumps(name, ensure_ascii=False)[1:-1]} {size}" for name, size in fitting[:_MOST_LISTED]]
            more = [f"[and {len(fitting) - _MOST_LISTED} more]"] if len(fitting) > _MOST_LISTED else []
            return "\n".join([*lines, *more])[:_MOST_SHOWN] or "No files."

    # commands

    async def run(self, command: Sequence[str], stdin: str = "") -> str:
        """Run a command over your files, in a sandbox without network. What it changes comes back if you may write it."""
        arguments = {"command": list(command)[:_MOST_ARGUMENTS], "stdin": hashlib.sha256(stdin.encode()).hexdigest()}
        async with self._call("run", arguments) as note, self._commands:
            if not command or len(command) > _MOST_ARGUMENTS:
                raise ToolError(f"A command is a program and up to {_MOST_ARGUMENTS} arguments, as a list.")
            self._need(self.caps.may_start(command[0]), f"start {command[0]}")
            outcome, wrote = await self._contained(command, stdin.encode(), keep=True)
            note.detail = f"exit code {outcome.returncode}" if not outcome.stopped else f"stopped: {outcome.stopped}"
            note.fields["wrote"] = wrote
            said = outcome.stdout + outcome.stderr
            claim = await self._external(f"command:{command[0]}", f"what {command[0]} printed", said)
            await self._take_in(note, claim)
            return _told(outcome)

    async def check(self, claim: str, checker: str) -> str:
        """Have a claim checked by one of the programs that the plan named."""
        async with self._call("check", {"claim": claim, "checker": checker}) as note:
            command = self.checkers.get(checker)
            if command is None:
                known = ", ".join(sorted(self.checkers)) or "none in this run"
                raise ToolError(f"There is no checker {checker!r}. There are: {known}.")
            found = self.claims.known.get(claim)
            if found is None:
                raise ToolError(f"There is no claim {claim[:60]!r} in this run.")
            asked = json.dumps({"id": found.id, "text": found.text, "sources": list(found.sources)}).encode()
            outcome, _ = await self._contained(command, asked, keep=False)
            if outcome.returncode not in {0, 1}:
                raise ToolError(f"{checker} could not decide: {_told(outcome)[:500]}")
            evidence = hashlib.sha256(note.act.digest.encode() + asked + outcome.stdout + outcome.stderr).hexdigest()
            ok = outcome.returncode == 0
            tool = f"{checker}: {' '.join(command)}"
            await self.claims.check_by_tool(
                found.id, ok=ok, by=self.agent, tool=tool, evidence=evidence, task=self.task
            )
            note.detail, note.fields["evidence"] = ("holds" if ok else "is false"), evidence
            return f"{found.id} {'holds' if ok else 'is false'}, says {checker}."

    async def _contained(self, command: Sequence[str], stdin: bytes, *, keep: bool) -> tuple[Outcome, list[Any]]:
        if self._sandbox is None:
            raise ToolError(
                "There is no sandbox here, so nothing is run. Install bubblewrap: apt-get install bubblewrap."
            )
        view = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="tercet-view-"))
        try:
            before = await asyncio.to_thread(_copy, self.folder, Folder(view), self.caps.may_read)
            # Its environment is what the sandbox sets, and nothing of ours: no key of this process is ever in there.
            outcome = await self._sandbox.run(command, view, limits=self._limits, stdin=stdin, writable=keep)
            wrote: list[Any] = []
            if keep and not outcome.stopped:
                wrote = await asyncio.to_thread(_bring_back, Folder(view), self.folder, before, self.caps.may_write)
            return outcome, wrote
        finally:
            await asyncio.to_thread(shutil.rmtree, view, ignore_errors=True)

    # memory

    async def remember(self, text: str, sources: Sequence[str] = (), shared: bool = False) -> str:
        """Remember a statement; with `shared` for all agents, once it is checked. Gives its id."""
        async with self._call("remember", {"text": text[:_MOST_TOLD], "shared": shared}, reach=Reach.SHARED) as note:
            memory = self._shelf()
            claim = await self.claim(text, sources)
            note.fields["claim"] = claim.id
            if shared:
                await self.guard.check(replace(note.act, arguments={"claim": claim.id}), [claim.id])
            await memory.put(claim, agent=self.agent, shared=shared)
            return claim.id

    async def share(self, claim: str) -> str:
        """Give a checked claim to all agents."""
        async with self._call("share", {"claim": claim}, reach=Reach.SHARED) as note:
            memory = self._shelf()
            await self.guard.check(note.act, [claim])
            await memory.put(self.claims.known[claim], agent=self.agent, shared=True)
            return f"{claim} is shared."

    async def recall(self, question: str, most: int = 5, checked: bool = False) -> str:
        """What you or all agents remember about `question`; with `checked` only what was checked."""
        async with self._call("recall", {"question": question[:_MOST_TOLD], "most": most, "checked": checked}) as note:
            states = ("checked-by-tool", "checked-by-other") if checked else ()
            found = await self._shelf().recall(question, agent=self.agent, most=min(max(most, 1), 20), states=states)
            await self._take_in(note, *found)
            lines = [f"{claim.id} [{claim.state}, {claim.origin}, by {claim.author}] {claim.text}" for claim in found]
            return "\n".join(lines)[:_MOST_SHOWN] or "Nothing."

    async def claim(self, text: str, sources: Sequence[str] = ()) -> Claim:
        """Say something: a claim of this agent, that rests on all it has read."""
        sources = [self._source(name) for name in sources]
        fresh = self.context if self.context.everything else self.claims.taint(*self.context.claims)
        return await self.claims.make(
            text, author=self.agent, sources=sources, rests=fresh.names, model=self.model, task=self.task
        )

    async def state(self, text: str, sources: Sequence[str] = ()) -> str:
        """Say something that can be checked, so that a payment can rest on it. Gives the claim's id."""
        async with self._call("state", {"text": text[:_MOST_TOLD]}) as note:
            claim = await self.claim(text, sources)
            note.fields["claim"] = claim.id
            return claim.id

    async def review(self, claim: str, holds: bool) -> str:
        """Say whether another agent's claim holds. You must have read what it was read from, and think with another model."""
        async with self._call("review", {"claim": claim, "holds": holds}) as note:
            known = self.claims.known.get(claim)
            read = [source for source in known.sources if source in self._sources] if known else []
            found = await self.claims.check_by_other(
                claim, ok=holds, by=self.agent, model=self.model, sources=read, task=self.task
            )
            note.detail = found.state
            return f"{claim} is {found.state}."

    def _source(self, name: str) -> str:
        """The document that this agent read under a name, the newest one: nobody cites what they have not read."""
        for known in reversed(self._sources):
            if name in {known, known.rpartition("@sha256:")[0]}:
                return known
        raise ToolError(
            f"You have not read {name[:200]!r}, so you cannot name it as a source. Read it, or leave it out."
        )

    async def hear(self, sender: str, text: str, claims: Iterable[str] = ()) -> None:
        """Take note that the agent is about to be told this: its words are the sender's, and rest on these claims."""
        async with self._call("hear", {"sender": sender, "sha256": hashlib.sha256(text.encode()).hexdigest()}) as note:
            claim = await self._external(f"message:{sender}", f"what {sender} said", text.encode(), claims)
            await self._take_in(note, claim)

    # people and money

    async def ask_person(self, question: str) -> str:
        """Ask the person a question that yes or no answers. You wait, nobody else does."""
        async with self._call("ask_person", {"question": question[:_MOST_TOLD]}) as note:
            self._need(self.caps.may_address(PERSON), "address the person")
            if self._approver is None:
                raise ToolError("Nobody can be asked in this run. Decide by what you know, or leave it.")
            answer = await self._approver.approve(note.act, "the agent asks")
            text = f"{'yes' if answer else 'no'}: {question[:_MOST_TOLD]}"
            if answer is not None and answer.by == PERSON:
                claim = await self.claims.make(text, author=PERSON, origin=Origin.OPERATOR, task=self.task)
                note.fields["claim"] = claim.id
            note.detail = text[:3]
            return "yes" if answer else "no"

    async def pay(self, to: str, amount: int, claims: Sequence[str], why: str = "") -> str:
        """Pay somebody, resting on checked claims."""

        async def do(purse: Purse, key: str) -> Bought:
            return Bought(await purse.pay(self.agent, to, amount, key), amount)

        arguments = {"to": to, "amount": amount, "claims": sorted(set(claims)), "why": why[:_MOST_TOLD]}
        return await self._spend("pay", arguments, amount, do, to)

    async def buy(self, wanted: Desires, most: int, claims: Sequence[str]) -> str:
        """Buy something on the market for at most `most`, resting on checked claims."""

        async def do(purse: Purse, key: str) -> Bought:
            return await purse.buy(self.agent, wanted, most, key)

        arguments = {"wanted": dict(wanted), "most": most, "claims": sorted(set(claims))}
        # Of a job, whoever is to be paid for it is somebody that the agent may pay.
        return await self._spend("buy", arguments, most, do, str(wanted.get("worker", "")))

    async def _spend(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        most: int,
        do: Callable[[Purse, str], Awaitable[Bought]],
        to: str = "",
    ) -> str:
        async with self._acts, self._call(tool, arguments, reach=Reach.MONEY, amount=most) as note:
            if type(most) is not int or most <= 0:
                raise ToolError(f"An amount is a number of credit units above 0, not {most!r}.")
            self._need(not to or self.caps.may_address(to), f"pay {to}")
            # A payment that was under way when the run was killed is in the sum already, under the same digest.
            left = self.money_left + self._paid.get(note.act.digest, 0)
            self._need(most <= left, f"spend {most} of the {left} credit units it has left")
            if self._purse is None:
                raise ToolError("This run has no purse, so nothing can be paid or bought in it.")
            bought = await self._made_before(note.act, most, self._purse)
            if bought is None:
                await self._let_pass(note.act, arguments["claims"])
                bought = await self._paid_once(note, most, do, self._purse)
            charged = max(0, bought.charged)
            note.fields |= {"charged": charged, "receipt": bought.receipt, "claims": list(arguments["claims"])}
            self._paid[note.act.digest] = charged
            note.detail = f"{charged} credit units, receipt {bought.receipt}"
            said = bought.result[:_MOST_SHOWN]
            if said:
                await self._take_in(
                    note, await self._external(f"{tool}:{bought.receipt}", "what was bought", said.encode())
                )
            return f"Paid {charged} credit units, receipt {bought.receipt}." + (f"\n{said}" if said else "")

    async def _made_before(self, act: Act, most: int, purse: Purse) -> Bought | None:
        """The payment of a step that was killed, where it was made: no guard and no person unmakes it. Else it is tried anew."""
        if not act.step or act.digest not in self._paid:
            return None
        receipt = await purse.find(act.digest)
        if receipt is None:
            self.guard.reopen(act)
            return None
        return Bought(receipt, most)

    async def _paid_once(
        self, note: _Note, most: int, do: Callable[[Purse, str], Awaitable[Bought]], purse: Purse
    ) -> Bought:
        self._paid[note.act.digest] = most
        try:
            return await do(purse, note.act.digest)
        except RefusedError:
            note.fields["charged"] = self._paid[note.act.digest] = 0
            raise
        except BaseException:
            self.guard.reopen(note.act)
            raise

    async def outside(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        do: Callable[[], Awaitable[str]],
        *,
        host: str,
        reach: Reach = Reach.IRREVERSIBLE,
        claims: Sequence[str] = (),
    ) -> str:
        """Use somebody else's tool, such as one of an MCP server on `host`: guarded, and what it says is its word."""
        async with self._acts, self._call(tool, {**arguments, "host": host}, reach=reach) as note:
            self._need(self.caps.may_reach(host), f"reach {host}")
            await self._let_pass(note.act, claims)
            self._done[note.act.twin] = note.act.number + 1
            said = (await do())[:_MOST_SHOWN]
            await self._take_in(note, await self._external(f"{host}/{tool}", f"what {tool} said", said.encode()))
            return said

    # what all calls share

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
        self, tool: str, arguments: Mapping[str, Any], *, reach: Reach = Reach.LOCAL, amount: int = 0
    ) -> AsyncIterator[_Note]:
        """Around every call: number it, and write down how it ended."""
        act = Act(self.agent, tool, arguments, reach, self.task, amount if type(amount) is int else 0)
        key = payment_key(act.twin) if reach in {Reach.MONEY, Reach.IRREVERSIBLE} else ""
        note = _Note(replace(act, step=key) if key else replace(act, number=self._done.get(act.twin, 0)))
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

    def _shelf(self) -> Shelf:
        if self._memory is None:
            raise ToolError("This run has no memory. Start it with one: pip install 'tercet[swarm]'.")
        return self._memory

    async def _document(self, name: str) -> Claim:
        data = await asyncio.to_thread(self.folder.read, name, limit=self.folder.most_bytes)
        return await self._external(name, f"what {name} says", data)

    async def _external(self, source: str, text: str, said: bytes, rests: Iterable[str] = ()) -> Claim:
        digest = hashlib.sha256(said).hexdigest()
        cited = f"{source}@sha256:{digest}"
        known = [name for name in rests if name in self.claims.known]
        return await self.claims.make(
            f"{text} ({len(said)} bytes, sha256 {digest[:16]})"[:_MOST_TOLD],
            author=source.partition(":")[2] if source.startswith("message:") else document_author(cited),
            origin=Origin.EXTERNAL,
            sources=[cited],
            rests=known,
            task=self.task,
        )

    async def _take_in(self, note: _Note, *claims: Claim) -> None:
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


def _told(outcome: Outcome) -> str:
    """What a command said and how it ended, in bounds."""
    half = _MOST_SHOWN // 2
    parts = [part.decode(errors="replace") for part in (outcome.stdout, outcome.stderr) if part]
    shown = [part if len(part) <= half else f"{part[: half // 2]}\n[...]\n{part[-half // 2 :]}" for part in parts]
    end = f"[stopped: too much {outcome.stopped}]" if outcome.stopped else f"[exit code {outcome.returncode}]"
    return "\n".join([*shown, end])


def _copy(source: Folder, target: Folder, allowed: Callable[[str], bool]) -> dict[str, str]:
    """What may be read, into an empty folder; name to sha256."""
    digests: dict[str, str] = {}
    for name, _ in source.files():
        if allowed(name):
            data = source.read(name, limit=source.most_bytes)
            path = target.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            digests[name] = hashlib.sha256(data).hexdigest()
    return digests


def _bring_back(
    view: Folder, target: Folder, before: Mapping[str, str], allowed: Callable[[str], bool]
) -> list[dict[str, Any]]:
    """What changed and may be written; what is gone and may be written is removed."""
    wrote: list[dict[str, Any]] = []
    left = set()
    for name, size in view.files():
        left.add(name)
        if not allowed(name):
            continue
        data = view.read(name, limit=view.most_bytes)
        if (digest := hashlib.sha256(data).hexdigest()) != before.get(name):
            target.write(name, data)
            wrote.append({"path": name, "sha256": digest, "bytes": size})
    for name in sorted(set(before) - left):
        if allowed(name):
            target.remove(name)
            wrote.append({"path": name, "sha256": "", "bytes": 0})
    return wrote[:_MOST_LISTED]
