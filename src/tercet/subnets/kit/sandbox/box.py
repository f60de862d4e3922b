"""The sandbox: strangers' code runs here, and nothing of it reaches the machine but what it says and leaves."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from tercet.errors import SandboxError, SandboxMissingError, SubmissionError
from tercet.subnets.kit.sandbox.cgroups import Group, Place, find_places
from tercet.subnets.kit.sandbox.interpreter import Interpreter, find_interpreter
from tercet.subnets.kit.sandbox.launch import (
    FILTER,
    OWN_BYTES,
    SCRATCH,
    SHARED_MEMORY,
    WORK,
    Launch,
    bounds,
    launches,
    variables,
)
from tercet.subnets.kit.sandbox.limits import Limits, Outcome, Stopped
from tercet.subnets.kit.sandbox.parcel import MAX_ENTRIES, pack, unpack
from tercet.subnets.kit.sandbox.process import Process, sealed
from tercet.subnets.kit.sandbox.seccomp import build_filter

__all__ = ["Sandbox"]

log = logging.getLogger(__name__)

_TAKEN = {"bin", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "sbin", "tmp", "usr"}
_PARCEL_IN, _PARCEL_OUT = 3, 4
"""Descriptors in the child beyond stdin, stdout and stderr."""
_STARTED = b"+"
"""Comes out before the command runs: what follows is its doing, what comes before is ours."""

_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 126; shift; done; shift; exec "$@"'
_INSIDE = """cd "$1" && {guest} tar -xf - <&3 && printf + >&4 || exit 125
shift
{guest} "$@" 3<&- 4>&-
code=$?
{after}
exit $code"""
_KILL_OTHERS = "[ $$ = 1 ] && kill -9 -1 2>/dev/null"
_RETURN = """{kill}
{guest} tar -cf - {options} . >&4 2>/dev/null || printf ! >&4"""
_OPTIONS = "--format=gnu --owner=0 --group=0 --numeric-owner --hard-dereference --one-file-system"


class Sandbox:
    """Runs commands over a folder, contained by bubblewrap.

    No network, no files of the host but /usr and what is lent, no other processes in sight, another uid, an empty
    environment, no way to gain rights, bounded time, memory, processes, disk and output. What each wall stops, and
    what no wall here stops, stands in docs/explanation/sandbox.md.
    """

    def __init__(self, launch: Launch, interpreter: Interpreter, places: Sequence[Place]) -> None:
        self._launch = launch
        self._interpreter = interpreter
        self._places = places

    @classmethod
    def find(cls, *, unsafe: bool = False, python_packages: Sequence[str] = ()) -> Sandbox:
        """The strongest sandbox that this machine allows, tried out once.

        Args:
            unsafe: where there is none, run commands as ordinary processes with this user's rights. For a machine
                that holds nothing and is thrown away.
            python_packages: distributions installed here that the Python inside can import, with what they need.

        Raises:
            SandboxMissingError: this machine has none and `unsafe` was not said.
            SandboxError: a package is not installed.

        """

        @cache
        def find(prefix: Path | None) -> Interpreter:
            """Looked up only when it is that one's turn."""
            return find_interpreter(python_packages, prefix=prefix)

        complaint = "bubblewrap is not installed"
        if shutil.which("bwrap"):
            for launch, prefix in itertools.product(launches(), (None, Path("/usr"))):
                complaint = launch.complaint(find(prefix))
                if not complaint:
                    return cls(launch, find(prefix), find_places())
        if not unsafe:
            raise SandboxMissingError(
                f"Strangers' code is not run here: {complaint}. Install it: apt-get install bubblewrap. Where it is"
                " installed, the machine must allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, and on"
                " Ubuntu kernel.apparmor_restrict_unprivileged_userns=0."
            )
        log.warning(
            "sandbox.unsafe why=%r strangers' code runs with all rights of this user: its files, its keys, its network",
            complaint,
        )
        return cls(Launch("unsafe"), find(None), [])

    @property
    def walls(self) -> tuple[str, ...]:
        """What holds on this machine, for a log: a judge's verdicts are worth no more than this."""
        if self._launch.kind == "unsafe":
            return ()
        kinds = {kind for place in self._places for kind, _ in place.bounds} - {"swap"}
        groups = tuple(f"{kind} cgroup" for kind in sorted(kinds))
        return ("bubblewrap", self._launch.kind, *(("seccomp",) if build_filter() else ()), *groups)

    async def run(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        stdin: bytes = b"",
        readonly: Mapping[str, Path] = MappingProxyType({}),
        environment: Mapping[str, str] = MappingProxyType({}),
        writable: bool = True,
    ) -> Outcome:
        """Run `command` in a copy of `folder`, which is /w inside; afterwards bring back what it left there.

        Only plain files and folders come back, so reading the folder afterwards follows nobody's link. Nothing comes
        back from a run that was stopped, and nothing where `writable` is false. Cancelling ends the run.

        Args:
            command: a program found on the PATH inside (`python3`, `sh`, what /usr has) and its arguments.
            folder: its files, at most `limits.disk_bytes`, are copied in.
            limits: what the run may use.
            stdin: what the command reads.
            readonly: absolute path inside to a file or folder of the host that is lent, not copied.
            environment: variables beside the few that are set for every run.
            writable: False throws away what the run changes.

        Raises:
            SandboxError: it could not be started: the folder is too large, a path inside is taken. Never for what the
                command did.

        """
        _check(command, readonly, environment)
        parcel = await asyncio.to_thread(pack, folder, limits.disk_bytes)
        with contextlib.ExitStack() as stack:
            lent = {
                inside: await asyncio.to_thread(_lend, path, stack, self._launch) for inside, path in readonly.items()
            }
            group = self._group(limits)
            try:
                process = self._start(
                    command, limits, parcel, stdin, lent, environment, group, stack, writable=writable
                )
                await process.wait(wall=limits.wall_seconds, watch=self._watch(limits, group))
                if group and group.ran_out_of_memory():
                    process.stopped = process.stopped or "memory"
            finally:
                if group:
                    await asyncio.to_thread(group.remove)
        returned = bytes(process.streams[_PARCEL_OUT].data)
        outcome = Outcome(
            returncode=None if process.stopped else process.returncode,
            stdout=bytes(process.streams[1].data),
            stderr=bytes(process.streams[2].data),
            seconds=process.seconds,
            cpu_seconds=process.cpu_seconds,
            stopped=process.stopped,
            truncated=process.streams[1].truncated or process.streams[2].truncated,
        )
        if outcome.stopped:
            return outcome
        if not returned.startswith(_STARTED):
            raise SandboxError(f"The sandbox could not be set up: {outcome.stderr[-500:].decode(errors='replace')!r}.")
        if not writable:
            return outcome
        lent_inside = [str(PurePosixPath(path).relative_to(WORK)) for path in readonly if path.startswith(WORK + "/")]
        try:
            left_out = await asyncio.to_thread(unpack, returned[len(_STARTED) :], folder, lent=lent_inside)
        except SubmissionError as error:
            log.info("sandbox.discarded why=%r", str(error))
            return replace(outcome, returncode=None, stopped="disk")
        return replace(outcome, left_out=left_out)

    def _watch(self, limits: Limits, group: Group | None) -> Callable[[Process], Stopped]:
        """What no bound of the kernel's ends: CPU time of all processes, their memory, and files beyond counting."""
        counted = any(kind == "memory" for place in self._places for kind, _ in place.bounds)

        def look(process: Process) -> Stopped:
            cpu, held = process.usage(memory=not counted)
            if cpu > limits.cpu_seconds:
                return "time"
            begun = process.streams[_PARCEL_OUT].data and self.walls
            if begun and process.inodes(SCRATCH) > MAX_ENTRIES:
                return "disk"
            over = held > limits.memory_bytes + OWN_BYTES or (group is not None and group.ran_out_of_memory())
            return "memory" if over else ""

        return look

    def _group(self, limits: Limits) -> Group | None:
        if not self._places:
            return None
        memory = limits.memory_bytes + 2 * limits.disk_bytes + SHARED_MEMORY + OWN_BYTES
        return Group(self._places, memory=memory, processes=limits.processes + 4)

    def _start(
        self,
        command: Sequence[str],
        limits: Limits,
        parcel: bytes,
        stdin: bytes,
        lent: Mapping[str, Path],
        environment: Mapping[str, str],
        group: Group | None,
        stack: contextlib.ExitStack,
        *,
        writable: bool,
    ) -> Process:
        unsafe = self._launch.kind == "unsafe"
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix="tercet-")) if unsafe else WORK
        guest = shlex.join(self._launch.guest())
        after = _RETURN.format(kill="" if unsafe else _KILL_OTHERS, guest=guest, options=_OPTIONS) if writable else ""
        bounded = [
            *bounds(limits),
            *("/bin/sh", "-c", _INSIDE.format(guest=guest, after=after), "sh", work, *command),
        ]
        own = {**variables(self._interpreter), **environment}
        if unsafe:
            if lent:
                raise SandboxError("Without bubblewrap nothing can be lent: copy it into the folder.")
            own |= {"PATH": os.defpath, "HOME": work, "TMPDIR": work}
            line = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in own.items()), *bounded]
        else:
            line = self._launch.line(self._interpreter, limits, lent, own, bounded)
        if group:
            line = ["/bin/sh", "-c", _JOIN, "sh", *group.joins, "--", *line]
        inputs = {0: sealed(stdin), _PARCEL_IN: sealed(parcel)}
        program = None if unsafe else build_filter()
        if program:
            inputs[FILTER] = sealed(program)
        outputs: dict[int, tuple[int, Stopped]] = {
            1: (limits.output_bytes, "output"),
            2: (limits.output_bytes, "output"),
            _PARCEL_OUT: (2 * limits.disk_bytes + (1 << 20), "disk"),
        }
        return Process(line, inputs, outputs, nested=not unsafe)


def _check(command: Sequence[str], readonly: Mapping[str, Path], environment: Mapping[str, str]) -> None:
    if not command or any("\0" in word for word in (*command, *environment, *environment.values())):
        raise SandboxError("A command is at least one word, and no word has a zero byte.")
    if any("=" in name or not name for name in environment):
        raise SandboxError("The name of a variable is not empty and has no '='.")
    for inside in readonly:
        parts = PurePosixPath(inside).parts
        if not inside.startswith("/") or ".." in parts or inside != str(PurePosixPath(inside)) or len(parts) < 2:
            raise SandboxError(f"What is lent needs a plain absolute path inside, not {inside!r}.")
        if parts[1] in _TAKEN or inside == WORK:
            raise SandboxError(f"{inside!r} is the sandbox's own. Lend it somewhere else, such as {WORK}/lent.")


def _lend(path: Path, stack: contextlib.ExitStack, launch: Launch) -> Path:
    """The path itself, or a copy of it where the work's uid may not read all of it."""
    found = path.resolve()
    if not found.exists():
        raise SandboxError(f"{path} cannot be lent: there is no such file or folder.")
    way = found.parents if launch.dropped else ()
    if not launch.other_uid or (
        all(each.stat().st_mode & 0o001 for each in way) and all(map(_open_to_all, (found, *found.rglob("*"))))
    ):
        return found
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tercet-")))
    home.chmod(0o711)
    copy = home / "lent"
    if found.is_file():
        shutil.copyfile(found, copy)
    else:
        shutil.copytree(found, copy, symlinks=True)
    for each in (copy, *copy.rglob("*")):
        if not each.is_symlink():
            each.chmod(0o755 if each.is_dir() or each.stat().st_mode & 0o100 else 0o644)
    return copy


def _open_to_all(path: Path) -> bool:
    mode = path.lstat().st_mode
    needed = 0o005 if stat.S_ISDIR(mode) else 0o004
    return mode & needed == needed
