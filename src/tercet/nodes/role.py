"""What every process that stays up shares: one holder of a state folder, a `ready` line, leaving when told to."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from tercet.errors import StateLockedError

__all__ = ["announce", "held", "told_to_stop"]

INTERRUPTED = 130
"""Exit code after SIGINT, as shells expect."""


def announce(role: str, **facts: str | int) -> None:
    """The one line on stdout by which a parent knows that this role serves."""
    sys.stdout.write(json.dumps({"ready": True, "role": role, **facts}) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def held(state: Path, role: str) -> Iterator[None]:
    """Hold a state folder while the block runs; the system lets go when the process dies, however it dies.

    Raises:
        StateLockedError: another process of this role works with it.

    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(state / f"{role}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StateLockedError(
                f"Another {role} works with {state}. Stop it, or give this one a state folder of its own."
            ) from None
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def told_to_stop() -> Iterator[asyncio.Future[int]]:
    """Yields what becomes the exit code: 130 after SIGINT, 0 after SIGTERM. A second signal changes nothing."""
    loop = asyncio.get_running_loop()
    code: asyncio.Future[int] = loop.create_future()

    def tell(value: int) -> None:
        if not code.done():
            code.set_result(value)

    loop.add_signal_handler(signal.SIGINT, tell, INTERRUPTED)
    loop.add_signal_handler(signal.SIGTERM, tell, 0)
    try:
        yield code
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
