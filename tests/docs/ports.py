"""Who listens where, read from /proc: for a test that cannot have its port."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

__all__ = ["tell_holder", "tell_taken_ports"]

_LISTENS = "0A"
_TAKEN = re.compile(r"(?:Port |Cannot listen on [^\s:]*:)(\d+)")


def tell_taken_ports(words: str) -> str:
    """For what a command said when it could not listen: who holds its port, and how to free it. Else empty."""
    return "\n".join(tell_holder(int(port)) for port in dict.fromkeys(_TAKEN.findall(words)))


def tell_holder(port: int) -> str:
    """One line: which process has the port, and how to end it."""
    held = _sockets(port)
    for folder in Path("/proc").glob("[0-9]*"):
        if held & _files(folder):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return f"Port {port} is held by process {folder.name} ({command[:200]}). Free it with: kill {folder.name}"
    whose = "a process of another user" if held else "nobody any more"
    return f"Port {port} is held by {whose}. Look with: ss -ltnp 'sport = :{port}'"


def _sockets(port: int) -> set[str]:
    """The sockets that listen on a port, as links of /proc/PID/fd name them."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for row in Path(table).read_text().splitlines()[1:]:
            cells = row.split()
            if cells[3] == _LISTENS and int(cells[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{cells[9]}]")
    return found


def _files(folder: Path) -> set[str]:
    """What a process has open; what it closes meanwhile, and what is somebody else's, is left out."""
    found = set()
    with contextlib.suppress(OSError):
        for link in (folder / "fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(str(link.readlink()))
    return found
