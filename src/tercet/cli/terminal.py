"""A terminal lent whole: the alternate screen, keys as they are pressed. It is given back as it was, however one leaves."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.live import Live

__all__ = ["can_draw", "keys_at_once", "wait_for_key", "whole_screen"]


def can_draw() -> bool:
    """Whether stdout is a terminal that can draw anew what it has drawn."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextlib.contextmanager
def whole_screen(console: Console) -> Iterator[Live]:
    """The alternate screen, its cursor hidden, and keys at once where stdin is a terminal."""
    with _ended_in_order(), keys_at_once(), Live(console=console, screen=True, auto_refresh=False) as live:
        yield live


@contextlib.contextmanager
def keys_at_once() -> Iterator[None]:
    """Keys arrive as they are pressed, unseen; Ctrl-C still interrupts."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def wait_for_key(seconds: float) -> str:
    """What was typed within so many seconds; empty for nothing, or where nobody can type."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return ""
    ready = select.select([sys.stdin.fileno()], [], [], seconds)[0]
    return os.read(sys.stdin.fileno(), 64).decode(errors="replace") if ready else ""


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM leaves by the way that gives the terminal back, not on the spot."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
