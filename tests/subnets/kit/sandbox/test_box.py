"""What a command in the sandbox can do, and what it cannot, in every way of starting it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tercet.errors import SandboxError, SandboxMissingError
from tercet.subnets.kit import Limits, Outcome, Sandbox, read_result

QUICK = Limits(wall_seconds=8.0, memory_bytes=256 << 20)


async def python(sandbox: Sandbox, folder: Path, code: str, **options: object) -> Outcome:
    """Run a script inside."""
    (folder / "script.py").write_text(code)
    options = {"limits": QUICK, **options}
    return await sandbox.run(["python3", "script.py"], folder, **options)  # type: ignore[arg-type]


async def test_work_is_done_and_its_files_come_back(sandbox: Sandbox, tmp_path: Path) -> None:
    """What goes in is the folder, stdin and variables; what comes out is output, an exit code and files."""
    (tmp_path / "in.txt").write_text("4")
    (tmp_path / "gone.txt").write_text("")
    code = """
import os, sys
number = int(open("in.txt").read()) + int(sys.stdin.read()) + int(os.environ["MORE"])
os.makedirs("deep/er"); open("deep/er/out.txt", "w").write(str(number)); os.remove("gone.txt")
print("said"); print("complained", file=sys.stderr); sys.exit(3)
"""
    outcome = await python(sandbox, tmp_path, code, stdin=b"30", environment={"MORE": "8"})
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (3, b"said\n", b"complained\n")
    assert not outcome.ok
    assert not outcome.stopped
    assert 0 < outcome.cpu_seconds < 5
    assert read_result(tmp_path, "deep/er/out.txt", 10) == b"42"
    assert names(tmp_path) == ["deep", "in.txt", "script.py"]


async def test_what_is_not_writable_stays_as_it_was(sandbox: Sandbox, tmp_path: Path) -> None:
    """A run over a folder that must not change."""
    code = "import os; open('new', 'w'); os.remove('script.py'); print('done')"
    outcome = await python(sandbox, tmp_path, code, writable=False)
    assert outcome.stdout == b"done\n"
    assert names(tmp_path) == ["script.py"]


async def test_a_folder_is_lent_even_where_only_its_owner_may_read_it(
    sandbox: Sandbox, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Lent paths can be read and not changed, also below the work folder, and do not come back as results."""
    hidden = tmp_path_factory.mktemp("hidden")
    (hidden / "test_it.py").write_text("def test_it():\n    assert open('/w/answer').read() == '42'\n")
    (hidden / "test_it.py").chmod(0o600)
    (tmp_path / "answer").write_text("42")
    command = ["sh", "-c", "python3 -m pytest -q -p no:cacheprovider hidden && ! touch hidden/x && ls /lent"]
    lent = {"/w/hidden": hidden, "/lent": hidden}
    outcome = await sandbox.run(command, tmp_path, limits=QUICK, readonly=lent)
    assert outcome.ok, outcome
    assert b"1 passed" in outcome.stdout
    assert names(tmp_path) == ["answer"]


async def test_there_is_no_network(sandbox: Sandbox, tmp_path: Path) -> None:
    """A server on this machine cannot be reached, nor a name resolved, nor the host of a virtual machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"""
import socket
for what in (lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 1),
             lambda: socket.create_connection(("8.8.8.8", 53), 1), lambda: socket.socket(40, socket.SOCK_STREAM)):
    try:
        what()
        print("open")
    except OSError as error:
        print(type(error).__name__)
print([name for _, name in socket.if_nameindex()])
"""
        outcome = await python(sandbox, tmp_path, code)
    assert b"open" not in outcome.stdout
    assert b"['lo']" in outcome.stdout


async def test_the_host_is_out_of_sight(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No files of people, no secrets in the environment, no processes but its own, no descriptors left open."""
    monkeypatch.setenv("TERCET_SECRET", "hunter2")
    with (tmp_path.parent / "secret").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        code = """
import json, os
def exists(path):
    try:
        return bool(os.listdir(path)) if os.path.isdir(path) else os.path.exists(path)
    except PermissionError:
        return False
print(json.dumps({
    "files": [p for p in ("/etc/passwd", "/etc/shadow", "/root", "/home", "/var", "/sys", "/run", "/boot") if exists(p)],
    "environment": sorted(os.environ),
    "processes": [p for p in os.listdir("/proc") if p.isdigit()] if exists("/proc") else [],
    "open": [fd for fd in range(3, 64) if exists(f"/proc/self/fd/{fd}") and fd not in (3,)],
    "devices": sorted(os.listdir("/dev")),
}))
"""
        outcome = await python(sandbox, tmp_path, code)
    seen = json.loads(outcome.stdout)
    assert seen["files"] == []
    assert "TERCET_SECRET" not in seen["environment"]
    assert len(seen["processes"]) <= 3
    assert seen["open"] == []
    assert not {"mem", "kmem", "kvm", "vda", "sda", "fuse"} & set(seen["devices"])


async def test_rights_cannot_be_gained(sandbox: Sandbox, tmp_path: Path) -> None:
    """No capability, no new ones by a program's setuid bit, no namespaces of its own, no filter-free calls."""
    code = """
import ctypes, os, subprocess
libc = ctypes.CDLL(None, use_errno=True)
print("unshare", libc.unshare(0x10000000), ctypes.get_errno())
print("memfd", libc.memfd_create(b"x", 0), ctypes.get_errno())
print("mount", libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
for path in ("/x", "/usr/x", "/dev/x", "/opt/x", "/etc/x", "/opt/python/x"):
    try:
        open(path, "w")
        print("wrote", path)
    except OSError:
        pass
for device in ("/w/disk", "/tmp/disk"):
    try:
        os.mknod(device, 0o60666, os.makedev(254, 0))
        open(device, "rb").read(1)
        print("device", device)
    except OSError:
        pass
print("uid", os.getuid(), os.geteuid())
try:
    os.setuid(0)
    print("became root")
except OSError:
    pass
"""
    outcome = await python(sandbox, tmp_path, code)
    text = outcome.stdout.decode()
    assert "unshare -1 1" in text, outcome
    assert "memfd -1 1" in text
    assert "mount -1" in text
    assert "uid 0" not in text
    for word in ("wrote", "device", "became"):
        assert word not in text


async def test_limits_cannot_be_raised(sandbox: Sandbox, tmp_path: Path) -> None:
    """The hard limits are as low as the soft ones."""
    code = """
import resource
for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC"):
    try:
        resource.setrlimit(getattr(resource, name), (1 << 40, 1 << 40))
        print("raised", name)
    except (ValueError, OSError):
        pass
"""
    outcome = await python(sandbox, tmp_path, code)
    assert outcome.ok
    assert outcome.stdout == b""


async def test_a_fork_bomb_stays_small(sandbox: Sandbox, tmp_path: Path, no_descendants: Callable[[], bool]) -> None:
    """Forks beyond the limit fail, and none outlives the run."""
    code = """
import os, time
count = 0
try:
    for count in range(500):
        if os.fork() == 0:
            time.sleep(60)
except OSError as error:
    print(count, type(error).__name__)
"""
    outcome = await python(sandbox, tmp_path, code, limits=Limits(processes=16, wall_seconds=10))
    count, error = outcome.stdout.split()
    assert int(count) < 16
    assert error == b"BlockingIOError"
    assert no_descendants()


async def test_memory_is_bounded_also_over_many_processes(
    sandbox: Sandbox, tmp_path: Path, no_descendants: Callable[[], bool]
) -> None:
    """One process cannot map more than its limit, and many cannot hold more together."""
    outcome = await python(sandbox, tmp_path, "x = bytearray(600 << 20)")
    assert b"MemoryError" in outcome.stderr
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        x = bytearray(os.urandom(1 << 20)) * 150
        time.sleep(20)
time.sleep(20)
"""
    outcome = await python(
        sandbox, tmp_path, code, limits=Limits(memory_bytes=256 << 20, wall_seconds=15, disk_bytes=1 << 20)
    )
    assert outcome.stopped == "memory", outcome
    assert no_descendants()


async def test_time_is_bounded_by_the_clock_and_by_the_work(
    sandbox: Sandbox, tmp_path: Path, no_descendants: Callable[[], bool]
) -> None:
    """Sleeping ends at the wall, and so does work spread over processes at the CPU time of all of them."""
    outcome = await python(
        sandbox, tmp_path, "import time; print(1, flush=True); time.sleep(60)", limits=Limits(wall_seconds=4.0)
    )
    assert (outcome.stopped, outcome.returncode, outcome.stdout) == ("time", None, b"1\n")
    assert outcome.seconds < 20
    code = "import os\nos.fork(); os.fork()\nwhile True: pass"
    outcome = await python(sandbox, tmp_path, code, limits=Limits(cpu_seconds=1, wall_seconds=15))
    assert outcome.stopped == "time"
    assert outcome.seconds < 8
    assert no_descendants()


async def test_output_is_bounded(sandbox: Sandbox, tmp_path: Path) -> None:
    """Reading stops at the limit, and with it the run."""
    outcome = await python(sandbox, tmp_path, "while True: print('x' * 1000)", limits=Limits(output_bytes=5000))
    assert (outcome.stopped, outcome.truncated, len(outcome.stdout)) == ("output", True, 5000)


async def test_the_disk_is_bounded(sandbox: Sandbox, tmp_path: Path) -> None:
    """One file, all files together, and /tmp and shared memory: each has an end."""
    code = """
import os
for place in ("/w", "/tmp", "/dev/shm"):
    written = 0
    try:
        for number in range(100):
            with open(f"{place}/{number}", "wb") as file:
                written += file.write(bytes(1 << 20))
    except OSError as error:
        print(place, written >> 20, error.errno)
    for name in os.listdir(place):
        os.remove(f"{place}/{name}")
try:
    open("/w/large", "wb").write(bytes(8 << 20))
except OSError as error:
    print(error.errno)
"""
    outcome = await python(
        sandbox, tmp_path, code, limits=Limits(disk_bytes=6 << 20, file_bytes=2 << 20, wall_seconds=10)
    )
    lines = [line.split() for line in outcome.stdout.decode().splitlines()]
    assert [(place, int(size) <= 16, error) for place, size, error in lines[:3]] == [
        ("/w", True, "28"),
        ("/tmp", True, "28"),
        ("/dev/shm", True, "28"),
    ]
    assert lines[3:] == [["27"]]


async def test_holes_in_files_do_not_come_back_as_gigabytes(sandbox: Sandbox, tmp_path: Path) -> None:
    """A thousand sparse files cost nothing inside; reading them back ends the run."""
    code = "for n in range(1000):\n    open(f'{n}', 'wb').truncate(15 << 20)"
    outcome = await python(sandbox, tmp_path, code, limits=Limits(disk_bytes=4 << 20))
    assert outcome.stopped == "disk"
    assert names(tmp_path) == ["script.py"]


async def test_no_link_or_device_comes_back(sandbox: Sandbox, tmp_path: Path) -> None:
    """Results are plain files; a link to a file of the host never gets there."""
    code = """
import os
os.symlink("/etc/shadow", "result"); os.symlink("/etc", "folder"); os.mkfifo("pipe")
open("plain", "w").write("x"); os.link("plain", "twin"); os.chmod("plain", 0o6777)
os.makedirs("a" * 200 + "/" + "b" * 200)
open("a" * 200 + "/" + "b" * 200 + "/" + "c" * 200, "w")
"""
    outcome = await python(sandbox, tmp_path, code)
    assert outcome.left_out == 3, outcome
    assert names(tmp_path) == ["a" * 200, "plain", "script.py", "twin"]
    assert (tmp_path / ("a" * 200) / ("b" * 200) / ("c" * 200)).exists()
    assert (tmp_path / "plain").stat().st_mode & 0o7777 == 0o755
    assert links(tmp_path) == []


async def test_signals_stay_inside(sandbox: Sandbox, tmp_path: Path) -> None:
    """Everything it can see may be killed: that is only itself."""
    code = f"""
import os, signal
for pid in (1, {os.getpid()}, {os.getppid()}):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        print(type(error).__name__)
print("alive", flush=True)
try:
    os.kill(-1, signal.SIGKILL)
except ProcessLookupError:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""
    outcome = await python(sandbox, tmp_path, code)
    assert b"alive" in outcome.stdout
    assert outcome.returncode == 137


async def test_the_shell_inside_is_out_of_reach(sandbox: Sandbox, tmp_path: Path) -> None:
    """It says how the command ended, and where it has the same uid its memory could be written to."""
    code = """
import os
for path in ("/proc/1/mem", "/proc/1/task/1/mem", "/proc/1/root", "/proc/1/environ"):
    try:
        os.open(path, os.O_RDONLY if path.endswith("root") else os.O_RDWR)
        print("opened", path)
    except OSError:
        pass
print(os.getpid() > 1)
"""
    assert (await python(sandbox, tmp_path, code)).stdout == b"True\n"


async def test_empty_files_are_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    """They cost no disk, and the kernel's memory all the same."""
    code = "import itertools\nfor n in itertools.count():\n    open(f'/tmp/{n}', 'w').close()"
    outcome = await python(sandbox, tmp_path, code, limits=Limits(cpu_seconds=60, wall_seconds=60))
    assert outcome.stopped in {"disk", "memory"}


async def test_nothing_outlives_a_run(sandbox: Sandbox, tmp_path: Path, no_descendants: Callable[[], bool]) -> None:
    """A process that went its own way ends with the command, and cannot write to the result afterwards."""
    code = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            open("late", "w").write("x")
time.sleep(0.2)
print("done")
"""
    outcome = await python(sandbox, tmp_path, code)
    assert outcome.ok
    assert no_descendants()


async def test_cancelling_ends_the_run(sandbox: Sandbox, tmp_path: Path, no_descendants: Callable[[], bool]) -> None:
    """No process is left, and no zombie."""
    running = asyncio.create_task(python(sandbox, tmp_path, "import time\nwhile True: time.sleep(1)"))
    await asyncio.sleep(0.4)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert no_descendants()


async def test_runs_beside_each_other_share_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """Eight at once, each with its folder, its processes and its limits."""
    folders = [tmp_path / str(number) for number in range(8)]
    for folder in folders:
        folder.mkdir()
    code = "import os; open('pid', 'w').write(str(os.getpid())); print(os.listdir('/tmp'))"
    outcomes = await asyncio.gather(*(python(sandbox, folder, code, limits=Limits(processes=8)) for folder in folders))
    assert [outcome.stdout for outcome in outcomes] == [b"[]\n"] * 8
    assert all((folder / "pid").exists() for folder in folders)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ([], {}),
        (["true\0"], {}),
        (["true"], {"environment": {"A=B": "1"}}),
        (["true"], {"readonly": {"/usr/x": Path("/tmp")}}),
        (["true"], {"readonly": {"/w/../usr": Path("/tmp")}}),
        (["true"], {"readonly": {"relative": Path("/tmp")}}),
        (["true"], {"readonly": {"/w": Path("/tmp")}}),
        (["true"], {"readonly": {"/lent": Path("/nowhere/at/all")}}),
        (["true"], {"limits": Limits(disk_bytes=1 << 10)}),
    ],
)
async def test_misuse_is_named(tmp_path: Path, command: list[str], options: dict[str, object]) -> None:
    """Each has its own words, and starts nothing."""
    (tmp_path / "large").write_bytes(bytes(20 << 20))
    with pytest.raises(SandboxError):
        await Sandbox.find().run(command, tmp_path, **options)  # type: ignore[arg-type]


async def test_a_command_that_is_not_there(sandbox: Sandbox, tmp_path: Path) -> None:
    """It ends as in a shell."""
    outcome = await sandbox.run(["no-such-program"], tmp_path)
    assert outcome.returncode == 127


async def test_without_bubblewrap_nothing_runs_unless_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    no_descendants: Callable[[], bool],
) -> None:
    """The refusal names the package; the permission is logged as a warning."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxMissingError, match="apt-get install bubblewrap"):
        Sandbox.find()
    assert not caplog.records
    unsafe = Sandbox.find(unsafe=True)
    assert "sandbox.unsafe" in caplog.text
    assert unsafe.walls == ()
    monkeypatch.undo()
    outcome = await unsafe.run(["sh", "-c", "pwd > out; echo $TERCET_SECRET"], tmp_path, limits=Limits(wall_seconds=5))
    assert outcome.ok, outcome
    assert (tmp_path / "out").exists()
    with pytest.raises(SandboxError, match="copy it into the folder"):
        await unsafe.run(["true"], tmp_path, readonly={"/lent": tmp_path})
    outcome = await unsafe.run(["sh", "-c", "sleep 60 & sleep 60"], tmp_path, limits=Limits(wall_seconds=0.5))
    assert outcome.stopped == "time"
    assert no_descendants()


@pytest.fixture
def no_descendants() -> Callable[[], bool]:
    """Whether pytest has no child, alive or dead, but those it had before: a library's helper process may live on."""

    def children() -> set[str]:
        return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())

    before = children()
    return lambda: children() <= before


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def links(folder: Path) -> list[Path]:
    """Symbolic links below a folder."""
    return [path for path in folder.rglob("*") if path.is_symlink()]


def test_the_walls_are_named(sandbox: Sandbox) -> None:
    """For a judge's log."""
    assert sandbox.walls[0] == "bubblewrap"
