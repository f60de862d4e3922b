"""The sandbox: what strangers' code tries, whether it is contained, and what the walls cost.

python benchmarks/sandbox.py [--rounds 15] [--every-way]

Each attempt is a program that does its worst and says what it got; what it could not say itself (does something still
run, did the judge survive) is looked at from outside. Ends with 1 when an attempt got through. `--every-way` repeats
the attempts in the weaker ways of starting that other machines would be left with. Start-up is compared in turns with
the same Python without walls, so that whatever else the machine does hits both.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tercet.subnets.kit import Limits, Outcome, Sandbox
from tercet.subnets.kit.sandbox.interpreter import find_interpreter
from tercet.subnets.kit.sandbox.launch import launches

SMALL = Limits(
    cpu_seconds=2,
    wall_seconds=10,
    memory_bytes=256 << 20,
    processes=16,
    file_bytes=4 << 20,
    output_bytes=64 << 10,
    disk_bytes=16 << 20,
)
SECRET = "a-secret-of-the-judge"
TRY = """
import os, sys
def attempt(name, action):
    try:
        got = action()
    except BaseException as error:
        print("held", name, type(error).__name__)
    else:
        print("OUT" if got else "held", name, repr(got)[:80])
def read(path):
    return lambda: open(path, "rb").read(1)
def write(path):
    return lambda: open(path, "wb") or True
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way out."""

    name: str
    code: str
    how: Callable[[Outcome, Path], str]
    """What held it, or an empty text when it got through."""
    limits: Limits = SMALL


def said(how: str) -> Callable[[Outcome, Path], str]:
    """Held when the program ran to its end and nothing it tried came off."""

    def look(outcome: Outcome, _folder: Path) -> str:
        lines = outcome.stdout.decode(errors="replace").splitlines()
        return how if lines and not outcome.stopped and all(line.startswith("held") for line in lines) else ""

    return look


def stopped(why: str, how: str) -> Callable[[Outcome, Path], str]:
    """Held when the run was ended for this reason."""
    return lambda outcome, _folder: how if outcome.stopped == why else ""


def no_link(outcome: Outcome, folder: Path) -> str:
    """Held when nothing but plain files came back."""
    plain = all(path.is_dir() or (path.is_file() and not path.is_symlink()) for path in folder.rglob("*"))
    return f"only plain files come back ({outcome.left_out} left out)" if plain and outcome.left_out else ""


def bounded_forks(outcome: Outcome, _folder: Path) -> str:
    """Held when forking failed early."""
    count = int(outcome.stdout or b"999999")
    return f"RLIMIT_NPROC after {count} forks" if count < SMALL.processes else ""


def nothing_left(outcome: Outcome, folder: Path) -> str:
    """Held when no process of the run is alive after it."""
    mark = str(folder.name).encode()
    alive = [path for path in Path("/proc").glob("[0-9]*/cmdline") if mark in _read(path)]
    return "the pid namespace ends with the command" if outcome.ok and not alive else ""


def named(outcome: Outcome, folder: Path) -> str:
    """Held when long names came back as they were, or not at all."""
    inside = all(folder in path.parents for path in folder.rglob("*"))
    return "names stay names, in the folder" if outcome.ok and inside else ""


def attempts(port: int, folder: Path) -> list[Attempt]:
    """Everything that is tried."""
    home = str(Path.home())
    return [
        Attempt(
            "network: the judge's own server, the internet, a VM's host, netlink",
            f"""
import socket
attempt("server", lambda: socket.create_connection(("127.0.0.1", {port}), 1))
attempt("internet", lambda: socket.create_connection(("1.1.1.1", 53), 1))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW))
attempt("unix", lambda: socket.socket(socket.AF_UNIX).connect("\\0tercet-bench") or True)
attempt("interfaces", lambda: [name for _, name in socket.if_nameindex() if name != "lo"])
""",
            said("network namespace, seccomp"),
        ),
        Attempt(
            "host files",
            f"""
for path in ("/etc/shadow", "/etc/passwd", "/proc/1/root/etc/shadow", "/proc/kcore", "/sys/kernel", "/run", "/var/log"):
    attempt(path, read(path) if not os.path.isdir(path) else lambda: os.listdir(path))
attempt("home", lambda: os.listdir({home!r}))
attempt("the folder itself", lambda: os.listdir({str(folder)!r}))
""",
            said("mount namespace, another uid"),
        ),
        Attempt(
            "symbolic links and devices as results",
            """
os.symlink("/etc/shadow", "result.json"); os.symlink("/", "all"); os.mkfifo("pipe"); os.link("script.py", "twin")
""",
            no_link,
        ),
        Attempt(
            "other processes: see, signal, trace",
            f"""
pids = [int(name) for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc") else []
attempt("see", lambda: [pid for pid in pids if pid not in (1, os.getpid(), os.getppid())])
for pid in ({os.getpid()}, {os.getppid()}):
    attempt("signal", lambda: os.kill(pid, 9) or True)
import ctypes
attempt("trace", lambda: ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0)
attempt("memory of the first process", lambda: os.open("/proc/1/mem", os.O_RDWR))
attempt("by its thread", lambda: os.open("/proc/1/task/1/mem", os.O_RDWR))
""",
            said("pid namespace, seccomp, the first process is out of sight"),
        ),
        Attempt(
            "the environment",
            f"""
attempt("own", lambda: {SECRET!r} in str(os.environ))
attempt("of the first process", lambda: {SECRET!r}.encode() in open("/proc/1/environ", "rb").read())
attempt("open descriptors", lambda: [fd for fd in range(4, 60) if os.path.exists(f"/proc/self/fd/{{fd}}")])
""",
            said("cleared; no descriptor is inherited"),
        ),
        Attempt(
            "fork bomb",
            """
import time
count = 0
try:
    for count in range(10_000):
        if os.fork() == 0:
            time.sleep(30)
except OSError:
    print(count)
""",
            bounded_forks,
        ),
        Attempt(
            "memory in one process",
            "attempt('map', lambda: bytearray(1 << 30))\n",
            said("RLIMIT_AS"),
        ),
        Attempt(
            "memory over many processes",
            """
import time
for _ in range(10):
    if os.fork() == 0:
        held = bytearray(os.urandom(1 << 20)) * 150
        time.sleep(30)
time.sleep(30)
""",
            stopped("memory", "memory cgroup, or the watcher where there is none"),
        ),
        Attempt(
            "memory that no limit counts: memfd, System V",
            """
import ctypes
libc = ctypes.CDLL(None)
attempt("memfd", lambda: os.memfd_create("x"))
attempt("shm", lambda: libc.shmget(0, 1 << 20, 0o1666) >= 0)
attempt("messages", lambda: libc.msgget(0, 0o1666) >= 0)
""",
            said("seccomp"),
        ),
        Attempt(
            "CPU time over many processes",
            "os.fork(); os.fork()\nwhile True: pass\n",
            stopped("time", "the watcher adds up all processes"),
        ),
        Attempt("wall time", "import time\ntime.sleep(60)\n", stopped("time", "the clock"), Limits(wall_seconds=1.0)),
        Attempt(
            "disk: fill every place that can be written to",
            """
for place in ("/w", "/tmp", "/dev/shm"):
    def fill():
        for number in range(1000):
            open(f"{place}/{number}", "wb").write(bytes(1 << 20))
        return True
    attempt(place, fill)
    for name in os.listdir(place):
        if name != "script.py":
            os.remove(f"{place}/{name}")
attempt("one large file", lambda: open("large", "wb").write(bytes(8 << 20)))
""",
            said("sized tmpfs, RLIMIT_FSIZE"),
        ),
        Attempt(
            "a flood of empty files",
            "import itertools\nfor n in itertools.count():\n    open(f'/tmp/{n}', 'w').close()\n",
            lambda outcome, _folder: "files are counted" if outcome.stopped in {"disk", "memory"} else "",
            Limits(cpu_seconds=30, wall_seconds=30),
        ),
        Attempt(
            "sparse files as a bomb for the reader",
            "for n in range(2000):\n    open(str(n), 'wb').truncate(4 << 20)\n",
            stopped("disk", "reading back is bounded"),
        ),
        Attempt(
            "endless output",
            "while True: print('x' * 4096)\n",
            stopped("output", "reading stops, and with it the run"),
        ),
        Attempt(
            "become root, setuid programs, capabilities",
            """
import subprocess
attempt("setuid", lambda: os.setuid(0) or True)
attempt("su", lambda: subprocess.run(["su", "-c", "id"], capture_output=True, stdin=0).returncode == 0)
attempt("mount program", lambda: subprocess.run(["mount", "-t", "tmpfs", "x", "/tmp"], capture_output=True).returncode == 0)
attempt("capabilities", lambda: [l for l in open("/proc/self/status") if l.startswith("Cap") and int(l.split()[1], 16)])
""",
            said("no new privileges, no capabilities"),
        ),
        Attempt(
            "namespaces of its own, keyrings, io_uring, handles",
            """
import ctypes
libc = ctypes.CDLL(None)
for name, number in {"user": 0x10000000, "mount": 0x20000, "net": 0x40000000}.items():
    attempt(name, lambda: libc.unshare(number) == 0)
numbers = {"x86_64": (425, 250, 304, 321), "aarch64": (425, 219, 265, 280)}[os.uname().machine]
for name, number in zip(("io_uring", "keyctl", "open_by_handle", "bpf"), numbers):
    attempt(name, lambda: libc.syscall(number, 0, 0, 0, 0, 0) >= 0)
""",
            said("seccomp"),
        ),
        Attempt(
            "device nodes",
            """
for place in ("/w", "/tmp", "/dev/shm"):
    def disk():
        os.mknod(f"{place}/disk", 0o60666, os.makedev(254, 0))
        return open(f"{place}/disk", "rb").read(1)
    attempt(place, disk)
attempt("names", lambda: sorted(set(os.listdir("/dev")) & {"mem", "kmem", "kvm", "vda", "sda", "fuse", "vsock"}))
""",
            said("no capabilities, nodev"),
        ),
        Attempt(
            "write outside of the work folder",
            """
for path in ("/x", "/usr/x", "/etc/x", "/opt/x", "/opt/python/x", "/dev/x", "/proc/sys/kernel/hostname", "/sys/x"):
    attempt(path, write(path))
""",
            said("read-only mounts"),
        ),
        Attempt(
            "the terminal",
            """
import fcntl, termios
attempt("open", read("/dev/tty"))
attempt("push", lambda: fcntl.ioctl(0, termios.TIOCSTI, b"x") or True)
""",
            said("new session"),
        ),
        Attempt(
            "long and strange file names",
            "os.makedirs('/'.join(['n' * 200] * 15)); open('/'.join(['n' * 200] * 15) + '/' + 'f' * 250, 'w')\n"
            "open(b'\\xff\\n.. ', 'w')\nos.makedirs('..a/...')\n",
            named,
        ),
        Attempt(
            "stay behind",
            f"""
import time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("python3", ["python3", "-c", "import time; time.sleep(300)", {folder.name!r}])
    os._exit(0)
time.sleep(0.3)
""",
            nothing_left,
        ),
    ]


async def show(sandbox: Sandbox, name: str) -> bool:
    """Print the table of one sandbox; whether all was contained."""
    print(f"\n### {name}: {', '.join(sandbox.walls)}\n\n| attempt | contained | how |\n|---|---|---|")
    every = True
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0tercet-bench")
        abstract.listen()
        for place in range(len(attempts(0, Path()))):
            with tempfile.TemporaryDirectory(prefix="tercet-bench-") as made:
                folder = Path(made)
                attempt = attempts(server.getsockname()[1], folder)[place]
                (folder / "script.py").write_text(TRY + attempt.code)
                outcome = await sandbox.run(["python3", "script.py"], folder, limits=attempt.limits)
                how = attempt.how(outcome, folder)
            every = every and bool(how)
            print(f"| {attempt.name} | {'yes' if how else 'NO'} | {how or outcome} |", flush=True)
    return every


async def start_up(sandbox: Sandbox, rounds: int) -> None:
    """Print what the walls cost, against the same command without them."""
    print("\n### Start-up\n\n| command | bare, ms | in the sandbox, ms | ratio |\n|---|---|---|---|")
    for label, bare, inside in (
        ("`true`", ["true"], ["true"]),
        ("`python3 -I -c pass`", [sys.executable, "-I", "-c", "pass"], ["python3", "-I", "-c", "pass"]),
    ):
        pairs = []
        for _ in range(rounds):
            began = time.perf_counter()
            process = await asyncio.create_subprocess_exec(*bare, stdout=asyncio.subprocess.PIPE)
            await process.communicate()
            middle = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                await sandbox.run(inside, Path(folder))
            pairs.append((middle - began, time.perf_counter() - middle))
        first, second = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(walled / plain for plain, walled in pairs)
        print(f"| {label} | {first:.1f} | {second:.1f} | {ratio:.1f} |")


def other_ways() -> dict[str, Sandbox]:
    """The sandboxes that `find` would give on poorer machines, as far as this one can play them."""
    found = {}
    interpreters = [find_interpreter(), find_interpreter(prefix=Path("/usr"))]
    for launch in launches():
        name = launch.kind + ("" if launch.proc else ", no /proc") + ", no cgroups"
        for interpreter in itertools.takewhile(lambda _: name not in found, interpreters):  # noqa: B023
            if not launch.complaint(interpreter):
                found[name] = Sandbox(launch, interpreter, [])
    return found


async def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15, help="pairs of runs for each start-up figure")
    parser.add_argument("--every-way", action="store_true", help="also without cgroups, and without root")
    options = parser.parse_args()
    os.environ["TERCET_BENCHMARK_SECRET"] = SECRET
    sandbox = Sandbox.find()
    held = await show(sandbox, "This machine")
    if options.every_way:
        for name, way in other_ways().items():
            held = await show(way, name) and held
    await start_up(sandbox, options.rounds)
    return 0 if held else 1


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
