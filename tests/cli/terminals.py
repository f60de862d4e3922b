"""People at terminals: `tercet` on a pty, what they see and what they press."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .conftest import Shell

CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")
_MODES = (("\x1b[?25l", "\x1b[?25h"), ("\x1b[?1049h", "\x1b[?1049l"))
"""What hides the cursor and takes the whole screen, and what gives them back."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@dataclass
class Terminal:
    """A person at a terminal of 80 columns and 24 rows."""

    master: int
    slave: int
    process: subprocess.Popen[bytes]
    before: list[Any]
    seen: str = ""
    chunks: list[tuple[float, str]] = field(default_factory=list)

    def read(self) -> str:
        """All that was drawn so far, without colours."""
        while select.select([self.master], [], [], 0.02)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break
            if not data:
                break
            self.chunks.append((time.monotonic(), data.decode(errors="replace")))
            self.seen += data.decode(errors="replace")
        return CONTROLS.sub("", self.seen)

    def until(self, words: str, seconds: float = 20) -> str:
        """Wait until these words stand on the screen; what came before is forgotten."""
        wait_for(lambda: words in self.read(), f"{words!r} on the screen", seconds)
        text = CONTROLS.sub("", self.seen)
        self.seen = ""
        return text

    def press(self, keys: str) -> None:
        """Type; the letter of code 3 is Ctrl-C."""
        self.seen = ""
        os.write(self.master, keys.encode())

    def left(self) -> int:
        """The exit code, once the command has ended and all that it wrote has been read."""
        wait_for(lambda: self.read() is not None and self.process.poll() is not None, "the end")
        self.read()
        return int(self.process.returncode)

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal is as it was lent: keys are echoed, the cursor is seen, the screen is the usual one."""
        shown = all(self.seen.rfind(on) <= self.seen.rfind(off) for on, off in _MODES)
        return shown and termios.tcgetattr(self.slave) == self.before


@contextlib.contextmanager
def terminals(shell: Shell) -> Iterator[Callable[..., Terminal]]:
    """Opens commands on terminals of their own; the last of them ends with the block."""
    sat: list[Terminal] = []

    def sit(*arguments: str, term: str = "xterm", columns: int = 80) -> Terminal:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        before = termios.tcgetattr(slave)
        process = subprocess.Popen(
            [sys.executable, "-m", "tercet.cli", *arguments],
            stdin=slave, stdout=slave, stderr=slave, cwd=shell.folder, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
            env={**shell.environment, "TERM": term, "COLUMNS": str(columns), "LINES": "24"},
        )  # fmt: skip
        sat.append(Terminal(master, slave, process, before))
        return sat[-1]

    yield sit
    for terminal in sat:
        if terminal.process.poll() is None:
            terminal.process.send_signal(signal.SIGKILL)
        terminal.process.wait()
        os.close(terminal.slave)
        os.close(terminal.master)
