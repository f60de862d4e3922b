"""Try many variants of a program, one after the other, in a process of their own each; pytest is loaded once.

Standard input: {"nonce", "settings", "tests", "seconds", "candidates": [{path: text}]}; `settings` are words for pytest. Standard output: for each candidate a line
`NONCE NUMBER FAILED PASSED`, both -1 where it did not end. For a miner's own search: nothing here is proof against a cheat.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest


class _Count:
    def __init__(self) -> None:
        self.failed, self.passed = 0, 0

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.failed += report.failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed += report.failed
        self.passed += report.passed and report.when == "call"


def main() -> None:
    """Answer with a line for each candidate as soon as it is known."""
    order = json.load(sys.stdin)
    empty = os.open(os.devnull, os.O_RDWR)
    out = os.dup(1)
    for number in (0, 1, 2):
        os.dup2(empty, number)
    for number, candidate in enumerate(order["candidates"]):
        failed, passed = _try(candidate, [*order["settings"], *order["tests"]], order["seconds"])
        os.write(out, f"{order['nonce']} {number} {failed} {passed}\n".encode())


def _try(candidate: Mapping[str, str], words: Sequence[str], seconds: float) -> tuple[int, int]:
    before = {path: Path(path).read_bytes() for path in candidate}
    for path, text in candidate.items():
        Path(path).write_bytes(text.encode())
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        signal.alarm(int(seconds) + 1)
        count = _Count()
        arguments = ["-p", "no:cacheprovider", "-q", "--tb=no", *words]
        with contextlib.suppress(BaseException):
            pytest.main(arguments, plugins=[count])
            os.write(write, f"{count.failed} {count.passed}".encode())
        os._exit(0)
    os.close(write)
    ready, _, _ = select.select([read], [], [], seconds)
    said = os.read(read, 100).decode() if ready else ""
    os.close(read)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for path, raw in before.items():
        Path(path).write_bytes(raw)
    failed, _, passed = (said or "-1 -1").partition(" ")
    return int(failed), int(passed)


main()
