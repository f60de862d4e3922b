"""How bubblewrap is started: the walls, one argument after another."""

from __future__ import annotations

import os
import pwd
import random
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tercet.errors import SandboxMissingError
from tercet.subnets.kit.sandbox.interpreter import NAMES, Interpreter
from tercet.subnets.kit.sandbox.limits import Limits
from tercet.subnets.kit.sandbox.process import sealed
from tercet.subnets.kit.sandbox.seccomp import build_filter

__all__ = ["FILTER", "OWN_BYTES", "SCRATCH", "SHARED_MEMORY", "WORK", "Launch", "bounds", "launches", "variables"]

WORK = "/w"
FILTER = 5
"""The descriptor that the seccomp program is read from."""
OWN_BYTES = 64 << 20
"""Memory of the sandbox's own shell and tar, on top of what the work may hold."""
SHARED_MEMORY = 16 << 20
"""Size of /dev/shm."""
SCRATCH = ("/dev/shm", "/tmp", WORK)  # noqa: S108 - inside
"""All places that can be written to; each is a file system of its own."""
_CAPABILITIES = (
    "--cap-add",
    "CAP_KILL",
    "--cap-add",
    "CAP_SETUID",
    "--cap-add",
    "CAP_SETGID",
    "--cap-add",
    "CAP_SETPCAP",
)
"""Enough to become another uid, and to end what that one started; given up with root."""
_PROC = ("--proc", "/proc", "--perms", "0555", "--size", "4096", "--tmpfs", "/proc/1", "--remount-ro", "/proc/1")
"""The shell inside is out of sight: where it has the work's uid, the work could write to its memory."""
_FEWEST_UIDS = 10_000
"""Below stand the uids of people and services."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One way of starting bubblewrap.

    `another uid` needs root: the walls are built as root, then the work runs as a uid that nobody else has.
    `user namespace` needs no rights; with `dropped` root becomes another uid first.
    """

    kind: str
    dropped: bool = False
    proc: bool = True

    @property
    def other_uid(self) -> bool:
        """Files that only their owner may read are closed to the work."""
        return self.kind == "another uid" or self.dropped

    def line(
        self,
        interpreter: Interpreter,
        limits: Limits,
        lent: Mapping[str, Path],
        own: Mapping[str, str],
        bounded: Sequence[str],
    ) -> list[str]:
        """The whole command line: bubblewrap, its walls, and `bounded` behind them."""
        line = [*(_become_other() if self.dropped else ()), _which("bwrap"), *self._namespaces()]
        line += ["--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox", "--clearenv"]
        line += [*_system(), *(_PROC if self.proc else ("--dir", "/proc")), "--dev", "/dev"]
        line += ["--perms", "0755", "--dir", "/opt", "--perms", "0755", "--dir", NAMES]
        line += _scratch("/dev/shm", SHARED_MEMORY) + _scratch("/tmp", limits.disk_bytes)  # noqa: S108
        line += _scratch(WORK, limits.disk_bytes)
        line += interpreter.mounts
        for inside, path in lent.items():
            line += ["--ro-bind", str(path), inside]
        line += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORK]
        for name, value in own.items():
            line += ["--setenv", name, value]
        if build_filter():
            line += ["--seccomp", str(FILTER)]
        return [*line, "--", *bounded]

    def guest(self) -> list[str]:
        """What the command is started with, behind the walls. The shell that starts it stays root, without reach.

        So the work cannot touch it, while bubblewrap, which has given up all rights, can still end it: both are root.
        """
        return _become_other() if self.kind == "another uid" else []

    def _namespaces(self) -> list[str]:
        shared = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        if self.kind == "another uid":
            return [*shared, "--cap-drop", "ALL", *_CAPABILITIES]
        return ["--unshare-user", *shared, "--uid", "65534", "--gid", "65534", "--cap-drop", "ALL"]

    def complaint(self, interpreter: Interpreter) -> str:
        """What is wrong with this way of starting, by trying it; empty when nothing is."""
        script = "command -v tar && " + shlex.join([*self.guest(), "python3", "-c", "pass"])
        bounded = [*bounds(Limits()), "/bin/sh", "-c", script]
        line = self.line(interpreter, Limits(), {}, variables(interpreter), bounded)
        program = build_filter()
        filters = [sealed(program)] if program else []
        if program:
            place = line.index("--seccomp") + 1
            line[place] = str(filters[0])
        try:
            done = subprocess.run(line, capture_output=True, pass_fds=filters, env={}, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        finally:
            for descriptor in filters:
                os.close(descriptor)
        return done.stderr.decode(errors="replace").strip()[-300:] or "it failed" if done.returncode else ""


def launches() -> Iterator[Launch]:
    """The ways to try, the strongest first."""
    kinds = [Launch("another uid"), Launch("user namespace", dropped=True)] if os.geteuid() == 0 else []
    for launch in kinds or [Launch("user namespace")]:
        yield launch
    for launch in kinds or [Launch("user namespace")]:
        yield Launch(launch.kind, launch.dropped, proc=False)


def bounds(limits: Limits) -> list[str]:
    """The command that sets what each process may use; nobody inside can raise it again."""
    return [
        _which("prlimit"),
        f"--as={limits.memory_bytes}",
        f"--cpu={limits.cpu_seconds + 1}",
        f"--fsize={limits.file_bytes}",
        f"--nofile={limits.open_files}",
        f"--nproc={limits.processes}",
        "--core=0",
        "--memlock=65536",
        "--msgqueue=0",
    ]


def variables(interpreter: Interpreter) -> dict[str, str]:
    """The whole environment of a run: the same everywhere, so that two judges see the same."""
    return {
        "PATH": ":".join((*interpreter.path, "/usr/local/bin", "/usr/bin", "/bin")),
        "HOME": "/tmp",  # noqa: S108 - inside
        "TMPDIR": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        **dict(interpreter.environment),
    }


def _system() -> Iterator[str]:
    """/usr, and what leads to it."""
    yield from ("--ro-bind", "/usr", "/usr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    yield from ("--perms", "0755", "--dir", "/etc")
    for name in ("ld.so.cache", "alternatives"):
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _scratch(path: str, size: int) -> list[str]:
    return ["--perms", "1777", "--size", str(size), "--tmpfs", path]


def _become_other() -> list[str]:
    """The command that turns root into a uid that nobody has, for good. Ends with whoever started it."""
    uid = str(_free_uid())
    return [
        *(_which("setpriv"), "--reuid", uid, "--regid", uid, "--clear-groups", "--no-new-privs"),
        *("--inh-caps=-all", "--bounding-set=-all", "--pdeathsig", "KILL"),
    ]


def _free_uid() -> int:
    """A uid that nobody has, drawn anew for each run, so that no two runs share a bound or can signal each other."""
    first, count = 0, 2**32
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, count = int(line.split()[0]), int(line.split()[2])
    low, high = max(_FEWEST_UIDS, first + count // 4), min(first + count, 2**31) - 2
    if low >= high:
        raise SandboxMissingError(
            "This container has no spare user ids for strangers' code. Map at least 65536 of them."
        )
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    while (uid := random.SystemRandom().randint(low, high)) in taken:
        pass
    return uid


def _which(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise SandboxMissingError(
            f"Strangers' code is not run here: {name} is missing. Install it: apt-get install util-linux bubblewrap."
        )
    return found
