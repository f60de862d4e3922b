"""One contained process: started with exactly the descriptors it needs, read, watched, ended, reaped."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tercet.subnets.kit.sandbox.limits import Stopped

__all__ = ["Process", "sealed"]

_CHUNK = 1 << 16
_FIRST_FREE = 64
"""Descriptors are kept from here up until they are given out, so that none is in the way of another."""
_PATIENCE_MILLISECONDS = 5000
_TICKS = os.sysconf("SC_CLK_TCK")


def sealed(data: bytes) -> int:
    """A descriptor from which `data` can be read, and which nobody can write to."""
    descriptor = os.memfd_create("tercet", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


class _Stream:
    """What comes out of one pipe, up to a limit."""

    def __init__(self, descriptor: int, limit: int, over: Callable[[], None]) -> None:
        self._descriptor, self._limit, self._over = descriptor, limit, over
        self.data = bytearray()
        self.truncated = False
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self.read)

    def read(self) -> bool:
        """Take what is there; whether there may be more."""
        try:
            chunk = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            return False
        room = self._limit - len(self.data)
        self.data += chunk[:room]
        if len(chunk) > room:
            self.truncated = True
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._over()
            return False
        return True

    def close(self) -> None:
        """Take what is still in the pipe, and let go of it."""
        while not self.truncated and self.read():
            pass
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)


class Process:
    """A child in a session of its own, its output bounded.

    Args:
        command: the program by its path, and its arguments.
        inputs: descriptor in the child to the one here that it gets; closed here.
        outputs: descriptor in the child to the most bytes that are read from it, and to what ends the run beyond.
        nested: the child makes a process that holds all others (a pid namespace's first) and ends after it.

    """

    def __init__(
        self,
        command: Sequence[str],
        inputs: Mapping[int, int],
        outputs: Mapping[int, tuple[int, Stopped]],
        *,
        nested: bool,
    ) -> None:
        self._nested = nested
        self._reaped = False
        self.stopped: Stopped = ""
        self.returncode = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.started = time.monotonic()
        pipes = {number: os.pipe2(os.O_CLOEXEC) for number in outputs}
        given = {**inputs, **{number: ends[1] for number, ends in pipes.items()}}
        try:
            self.pid = _spawn(command, given)
        except BaseException:
            for reading, _ in pipes.values():
                os.close(reading)
            raise
        finally:
            for descriptor in given.values():
                os.close(descriptor)
        loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[None] = loop.create_future()
        self._handle = os.pidfd_open(self.pid)
        loop.add_reader(self._handle, self._reap)
        self.streams = {
            number: _Stream(reading, outputs[number][0], self._stopper(outputs[number][1]))
            for number, (reading, _) in pipes.items()
        }

    async def wait(self, *, wall: float, watch: Callable[[Process], Stopped], every: float = 0.1) -> None:
        """Until it has ended, by itself or because `watch` or the clock said so. Cancelling ends it as well."""
        try:
            while not self._exit.done():
                left = self.started + wall - time.monotonic()
                await asyncio.wait([self._exit], timeout=max(0.0, min(every, left)))
                if self.stopped:
                    self._kill()
                elif not self._exit.done():
                    self.stop("time" if left <= 0 else watch(self))
        finally:
            self._close()

    def stop(self, why: Stopped) -> None:
        """End it now, with all that it started; nothing happens for an empty reason."""
        if why and not self._exit.done():
            self.stopped = self.stopped or why
            self._kill()

    def family(self) -> list[int]:
        """All living processes below this one, as the host numbers them."""
        found, new = [], [self.pid]
        while new:
            new = [child for parent in new for child in _children(parent)]
            found += new
        return found

    def usage(self, *, memory: bool) -> tuple[float, int]:
        """CPU seconds used so far, and bytes held now (0 when `memory` is not asked for), of the whole family."""
        family = self.family()
        return sum(map(_cpu_seconds, family)), sum(map(_memory_bytes, family)) if memory else 0

    def inodes(self, paths: Iterable[str]) -> int:
        """Files and folders on the file systems at `paths` inside; 0 where we may not look."""
        used = 0
        for first in _children(self.pid):
            for path in paths:
                with contextlib.suppress(OSError):
                    found = os.statvfs(f"/proc/{first}/root{path}")
                    used += found.f_files - found.f_ffree
        return used

    def _stopper(self, why: Stopped) -> Callable[[], None]:
        return lambda: self.stop(why)

    def _kill(self) -> None:
        """Kill the one whose end is everybody's: below a pid namespace its first process, which the child then reaps."""
        targets = _children(self.pid) if self._nested else []
        for target in targets:
            with contextlib.suppress(OSError):
                handle = os.pidfd_open(target)
                try:
                    if target in _children(self.pid):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)
        if not targets:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Take the exit status; called once it has one, or to wait for it."""
        if self._reaped:
            return
        _, status, usage = os.wait4(self.pid, 0)
        self._reaped = True
        if not self._nested:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.seconds = time.monotonic() - self.started
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        if not self._exit.done():
            self._exit.set_result(None)

    def _close(self) -> None:
        """Leave nothing behind, also when the waiting was cancelled: then this blocks until the kernel is done."""
        if not self._reaped:
            self._kill()
            ending = select.poll()
            ending.register(self._handle, select.POLLIN)
            if not ending.poll(_PATIENCE_MILLISECONDS):
                os.killpg(self.pid, signal.SIGKILL)
            self._reap()
        for stream in self.streams.values():
            stream.close()


def _spawn(command: Sequence[str], given: Mapping[int, int]) -> int:
    high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE) for number, fd in given.items()}
    try:
        actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in high.items()]
        # Python's own are all closed by exec; these are what it was started with, or what a library in C left open.
        actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited() if fd not in given]
        defaults = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT]
        return os.posix_spawn(
            command[0], [*command], {}, file_actions=actions, setsid=True, setsigdef=defaults, setsigmask=[]
        )
    finally:
        for descriptor in high.values():
            os.close(descriptor)


def _inherited() -> Iterator[int]:
    """Descriptors that a child would get without being given them."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names
        with contextlib.suppress(OSError):
            if os.get_inheritable(int(name)):
                yield int(name)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _cpu_seconds(pid: int) -> float:
    """Its own time, and that of the children it has reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _memory_bytes(pid: int) -> int:
    """Its share of the pages it maps; where we may not see that, all of them."""
    for file, name in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
                if line.startswith(name):
                    return int(line.split()[1]) * 1024
    return 0
