"""The workbench: run a program's tests in the sandbox, and say how each of them ended. Judges and miners share it.

How a run of pytest ended is told by a plugin of ours over a channel that the code under test cannot write: it does not
know the nonce. A single function is called with arguments, and what it returned is compared out here.
"""

from __future__ import annotations

import ast
import asyncio
import json
import math
import secrets
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tercet.subnets.coding.witness import Report, Witness, runs_pytest
from tercet.subnets.kit import Limits, Outcome, Sandbox

__all__ = ["TEST_LIMITS", "Bench", "Report", "same_value", "write_files"]

_INSIDE = Path(__file__).parent / "inside"
_LENT = "/tercet"
"""Where `inside` is in the sandbox."""
TEST_LIMITS = Limits(cpu_seconds=30, wall_seconds=60.0, memory_bytes=1 << 30)
_PROBE_LIMITS = Limits(cpu_seconds=10, wall_seconds=20.0)
_PROBE_SECONDS = 2.0
_NOTHING: Mapping[str, Path] = {}
_NO_COMMAND = frozenset({126, 127})


class Bench:
    """Runs code that nobody trusts."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.cpu_seconds = 0.0
        """Used by all runs so far."""

    async def run_tests(
        self,
        files: Mapping[str, str],
        *,
        trace: bool = False,
        brief: bool = False,
        limits: Limits = TEST_LIMITS,
    ) -> Report:
        """Run pytest over a program.

        Args:
            files: all of it, tests included.
            trace: tell which lines each test ran; slower.
            brief: do not find out why tests fail; faster where many do.
            limits: of the run.

        """
        how = ["--tb=line", "--assert=plain"] if brief else ["--tb=short"]
        command = ["python3", "-B", "-m", "pytest", "-q", *how]
        command += ["-c", f"{_LENT}/pytest.ini", "--rootdir=/w"]
        environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return await self._pytest(files, {}, command, environment, trace=trace, limits=limits)

    async def run_command(
        self,
        files: Mapping[str, str],
        binary: Mapping[str, bytes],
        command: Sequence[str],
        *,
        trace: bool = False,
        limits: Limits = TEST_LIMITS,
    ) -> Report:
        """Run a user's own test command in its repository. What runs no pytest is known by its exit code alone."""
        report = await self._pytest(files, binary, _ours(command), {}, trace=trace, limits=limits)
        if report.exit in _NO_COMMAND:
            return replace(report, problem=f"{command[0]!r} is not there in the sandbox")
        if report.problem and report.exit is not None and not runs_pytest(command):
            name = shlex.join(command)
            how = "passed" if report.exit == 0 else "failed"
            return replace(report, problem="", tests={name: how}, messages={name: report.output[-300:]})
        return report

    async def _pytest(
        self,
        files: Mapping[str, str],
        binary: Mapping[str, bytes],
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        trace: bool,
        limits: Limits,
    ) -> Report:
        with Witness(trace=trace) as witness:
            options = f"{witness.environment['PYTEST_ADDOPTS']} -p no:cacheprovider"
            environment = {**witness.environment, "PYTEST_ADDOPTS": options, "LC_ALL": "C.UTF-8", **environment}
            outcome = await self._run(files, binary, command, witness.stdin, environment, limits, witness.lent)
        return witness.read(outcome)

    async def run_batch(
        self,
        files: Mapping[str, str],
        candidates: Sequence[Mapping[str, str]],
        tests: Sequence[str],
        binary: Mapping[str, bytes],
        *,
        seconds: float = 5.0,
        own_settings: bool = False,
    ) -> list[tuple[int, int]]:
        """Try changes of our own making: how many of `tests` fail and pass after each, (-1, -1) where they never end.

        Args:
            files: the whole program, tests included.
            candidates: changed files by path, each on its own.
            tests: ids.
            binary: its other files.
            seconds: for each candidate.
            own_settings: pytest reads the program's settings, as a user's own command does.

        """
        nonce = secrets.token_hex(16)
        settings = [] if own_settings else ["-c", f"{_LENT}/pytest.ini", "--rootdir=/w"]
        order = {
            "nonce": nonce,
            "settings": settings,
            "tests": list(tests),
            "seconds": seconds,
            "candidates": list(candidates),
        }
        wall = 5 + seconds * len(candidates)
        outcome = await self._run(
            files,
            binary,
            ["python3", "-B", f"{_LENT}/batch.py"],
            json.dumps(order).encode(),
            {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": "/w"},
            replace(TEST_LIMITS, wall_seconds=wall, cpu_seconds=int(wall)),
        )
        counts = [(-1, -1)] * len(candidates)
        for line in outcome.stdout.decode(errors="replace").splitlines():
            words = line.split(" ")
            if len(words) == 4 and words[0] == nonce and int(words[1]) < len(counts):
                counts[int(words[1])] = (int(words[2]), int(words[3]))
        return counts

    async def run_probes(self, source: str, entry: str, calls: Sequence[Sequence[Any]]) -> list[str]:
        """Call a function of a module: for each call `= LITERAL` or `! NAME`; `! Nothing` where the process ended early."""
        order = json.dumps({"path": "solution.py", "entry": entry, "seconds": _PROBE_SECONDS})
        lines = "\n".join([order, *(repr(tuple(call)) for call in calls)])
        outcome = await self._run(
            {"solution.py": source},
            {},
            ["python3", "-s", "-B", f"{_LENT}/probe.py"],  # with -I, hashes would be drawn anew in each run
            lines.encode(),
            {},
            _PROBE_LIMITS,
        )
        told = outcome.stdout.decode(errors="replace").splitlines()
        told = [line for line in told if line.startswith(("= ", "! "))][: len(calls)]
        return told + ["! Nothing"] * (len(calls) - len(told))

    async def shell(
        self, command: str, folder: Path, limits: Limits = TEST_LIMITS, lent: Mapping[str, Path] = _NOTHING
    ) -> Outcome:
        """Run a shell command in a folder; what it changes there stays. `lent` are further files, by their path inside."""
        environment = {"LC_ALL": "C.UTF-8", "PAGER": "cat"}
        outcome = await self._sandbox.run(
            ["sh", "-c", command], folder, limits=limits, readonly=lent, environment=environment
        )
        self.cpu_seconds += outcome.cpu_seconds
        return outcome

    async def _run(
        self,
        files: Mapping[str, str],
        binary: Mapping[str, bytes],
        command: Sequence[str],
        stdin: bytes,
        environment: Mapping[str, str],
        limits: Limits,
        lent: Mapping[str, Path] = _NOTHING,
    ) -> Outcome:
        place = tempfile.TemporaryDirectory(prefix="tercet-bench-")
        try:
            folder = Path(place.name)
            await asyncio.to_thread(write_files, folder, files, binary)
            outcome = await self._sandbox.run(
                command,
                folder,
                limits=limits,
                stdin=stdin,
                readonly={_LENT: _INSIDE, **lent},
                environment=environment,
                writable=False,
            )
        finally:
            await asyncio.to_thread(place.cleanup)
        self.cpu_seconds += outcome.cpu_seconds
        return outcome


def write_files(folder: Path, files: Mapping[str, str], binary: Mapping[str, bytes]) -> None:
    """Lay a program out in a folder."""
    for path, content in {**{path: text.encode() for path, text in files.items()}, **binary}.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def same_value(expected: str, found: str) -> bool:
    """Whether two `= LITERAL` lines say the same value: lists and tuples are alike, floats to a millionth."""
    if expected == found:
        return True
    if not (expected.startswith("= ") and found.startswith("= ")):
        return False
    try:
        return _alike(ast.literal_eval(expected[2:]), ast.literal_eval(found[2:]))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_alike(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
        return numbers and (one == other or math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9))
    return bool(one == other)


def _ours(command: Sequence[str]) -> list[str]:
    """The command by names that the sandbox knows."""
    first, rest = command[0], list(command[1:])
    if first in {"pytest", "py.test"}:
        return ["python3", "-m", "pytest", *rest]
    return ["python3" if first == "python" else first, *rest]
