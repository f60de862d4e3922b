"""Who connected to a socket of ours that anybody on this machine could open: one of our own processes, or a stranger."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import Any

__all__ = ["is_ours"]

_DEEPEST = 64


def is_ours(connection: Any) -> bool:
    """Whether the other end of a unix socket is this process or below it. What is in a sandbox of ours is below it."""
    try:
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except (AttributeError, OSError):
        return False
    pid = int(struct.unpack("3i", told)[0])
    for _ in range(_DEEPEST):
        if pid == os.getpid():
            return True
        if pid <= 1:
            return False
        pid = _parent(pid)
    return False


def _parent(pid: int) -> int:
    """0 when it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return 0
