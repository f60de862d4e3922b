"""Tools that run programs: in the sandbox, over a copy of what the agent may read; what it may write comes back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tercet.errors import ToolError
from tercet.subnets.kit import Outcome
from tercet.swarm.folder import Folder
from tercet.swarm.tools.calls import MOST_SHOWN, Calls

__all__ = ["CommandTools"]

_MOST_LISTED = 500
_MOST_ARGUMENTS = 64


class CommandTools(Calls):
    """Run a command; have a claim checked by a program."""

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
                told = _told(outcome)[:500]  # it may quote the files that it looked at
                await self._take_in(
                    note, await self._external(f"checker:{checker}", f"how {checker} failed", told.encode())
                )
                raise ToolError(f"{checker} could not decide: {told}")
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


def _told(outcome: Outcome) -> str:
    """What a command said and how it ended, in bounds."""
    half = MOST_SHOWN // 2
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
