"""Every code block in the docs runs, page by page, in the order a reader would run it.

A fence says what it is:

- ```` ```sh ```` runs, and must succeed.
- ```` ```sh background ```` is a command that stays up: the page goes on once it printed its `ready` line.
- ```` ```sh skip ```` cannot run here (it sets up the machine itself); what it names is checked elsewhere.
  ```` ```sh skip testnet ```` runs against a foreign chain, in `test_testnet.py`.
- ```` ```python ```` runs as a script; ```` ```python file=NAME ```` is written to NAME instead.
- any other name (`text`, `json`, `toml`, ...) is for reading. A fence without a name fails.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.docs.ports import tell_taken_ports

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    if "```" in path.read_text()
)
READY_SECONDS = 120
BLOCK_SECONDS = 240
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """In a child, before its program: SIGTERM when the test's process is gone, however it went (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    line: int
    info: str
    text: str


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for match in re.finditer(r"^```([^\n`]*)\n(.*?)^```\s*$", page.read_text(), re.MULTILINE | re.DOTALL):
        yield Block(page.read_text()[: match.start()].count("\n") + 1, match[1].strip(), match[2])


class Reader:
    """Follows one page in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stays_up: list[subprocess.Popen[bytes]] = []
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "TERCET_HOME": str(folder / "tercet"),
            "TERCET_MODELS": os.environ.get("TERCET_MODELS", str(Path.home() / ".cache/tercet/models")),
            "SOURCE": str(ROOT),
            "NO_COLOR": "1",
            "LANG": "C.UTF-8",
        }

    def follow(self, block: Block) -> None:
        """Do what the block says."""
        kind, _, rest = block.info.partition(" ")
        if kind == "sh" and rest == "background":
            self.start(block)
        elif kind == "sh" and rest.split()[:1] != ["skip"]:
            self.run(["bash", "-euo", "pipefail", "-c", block.text], block)
        elif kind == "python" and rest.startswith("file="):
            (self.folder / rest.removeprefix("file=")).write_text(block.text)
        elif kind == "python" and not rest:
            self.run([sys.executable, "-c", block.text], block)

    def run(self, command: list[str], block: Block) -> None:
        """Run to the end; show what it printed when it fails."""
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=end_with_parent,  # noqa: PLW1509 - no threads here
        )  # fmt: skip
        try:
            shown = process.communicate(timeout=BLOCK_SECONDS)[0].decode(errors="replace")
        finally:
            if process.poll() is None:  # what it started, as well
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        told = f"line {block.line} ended with {process.returncode}:\n{block.text}\n{shown}"
        assert process.returncode == 0, f"{tell_taken_ports(shown)}\n{told}".strip()

    def start(self, block: Block) -> None:
        """Start what stays up, and wait until it says that it is ready."""
        output = self.folder / f"background-{block.line}.log"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-c", "exec " + block.text.strip()],
                cwd=self.folder,
                env=self.environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - no threads here
            )
        self.stays_up.append(process)
        deadline = time.monotonic() + READY_SECONDS
        while '"ready"' not in output.read_text(errors="replace"):
            if process.poll() is not None:
                shown = output.read_text(errors="replace")
                pytest.fail(f"{tell_taken_ports(shown)}\nline {block.line} stopped:\n{shown}".strip(), pytrace=False)
            assert time.monotonic() < deadline, f"line {block.line} is not ready:\n{output.read_text(errors='replace')}"
            time.sleep(0.1)

    def close(self) -> None:
        """Stop what stays up, the last started first."""
        for process in reversed(self.stays_up):
            for stop in (signal.SIGINT, signal.SIGKILL):
                if process.poll() is None:
                    os.killpg(process.pid, stop)
                    try:
                        process.wait(30)
                    except subprocess.TimeoutExpired:
                        continue


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fence_says_what_it_is(page: Path) -> None:
    """A block without a name would be run by nobody."""
    assert [block.line for block in blocks_of(page) if not block.info] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.info.split()[:1] in (["sh"], ["python"]) for block in blocks_of(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_reader_who_types_the_page_succeeds(page: Path, tmp_path: Path) -> None:
    """The blocks run in order, in one folder, with one home."""
    reader = Reader(tmp_path)
    try:
        for block in blocks_of(page):
            reader.follow(block)
    finally:
        reader.close()
