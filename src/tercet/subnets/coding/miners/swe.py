"""Mend a program with mini-swe-agent: the reference among miners that run an agent.

The agent stays a stranger. It has a virtual environment and a process of its own, thinks through an OpenAI-compatible
URL such as a gateway (so what it spends is bounded there), and never runs a command: it tells us, and we run it in the
sandbox. Its task holds a stranger's code, which may talk to it as well as anybody.

    python -m venv swe && swe/bin/pip install 'mini-swe-agent==2.4.6' 'mcp>=2.2,<3'
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from tercet.errors import SubnetError
from tercet.market.text import decode_json
from tercet.subnets.coding.bench import write_files
from tercet.subnets.coding.miners.solver import Problem

__all__ = ["SWE_DRIVER", "SweAgent"]

log = logging.getLogger(__name__)

SWE_DRIVER = Path(__file__).with_name("swe_driver.py")
_STEPS = 30
_MAX_LINE = 1 << 20
_MAX_OUTPUT = 20_000
_TASK = """The tests of the program in this folder fail. Change the program so that they pass. Do not change any test or test setting.
Run the tests with: {command}

They fail like this:
{failure}
"""


class SweAgent:
    """A mini-swe-agent for every task."""

    def __init__(self, python: str, url: str, model: str, key: str, steps: int = _STEPS) -> None:
        """`python` is of the environment that mini-swe-agent is installed in, `url` ends in /v1."""
        self._python, self._url, self._model, self._key, self._steps = python, url, model, key, steps
        self.commands = 0
        """Run for it so far."""

    async def open(self) -> None:
        """See that the agent is there."""
        try:
            process = await asyncio.create_subprocess_exec(
                self._python,
                "-c",
                "from importlib.metadata import version; print(version('mini-swe-agent'))",
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise SubnetError(f"{self._python!r} cannot be run: {error.strerror}. {_INSTALL}") from error
        await process.communicate()
        if process.returncode:
            raise SubnetError(f"{self._python!r} has no mini-swe-agent. {_INSTALL}")

    async def close(self) -> None:
        """Nothing stays up between tasks."""

    async def solve(self, problem: Problem, seconds: float) -> str:
        """What the agent made of the program, when its tests pass; else an empty text."""
        with tempfile.TemporaryDirectory(prefix="tercet-swe-") as name:
            folder, home = Path(name) / "work", Path(name) / "home"
            home.mkdir()
            await asyncio.to_thread(write_files, folder, {**problem.files, **problem.tests}, problem.binary)
            try:
                async with asyncio.timeout(seconds):
                    await self._run(problem, folder, home, seconds)
            except TimeoutError:
                log.info("swe.stopped seconds=%g", seconds)
            after = await asyncio.to_thread(_read_back, folder, problem)
        diff = problem.diff(after)
        return diff if diff and (await problem.run(after)).good else ""

    async def _run(self, problem: Problem, folder: Path, home: Path, seconds: float) -> None:
        process = await asyncio.create_subprocess_exec(
            self._python,
            "-I",
            str(SWE_DRIVER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.defpath, "HOME": str(home)},
            cwd=home,
            limit=_MAX_LINE,
            start_new_session=True,
        )
        try:
            await self._converse(process, problem, folder, home, seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _converse(
        self, process: asyncio.subprocess.Process, problem: Problem, folder: Path, home: Path, seconds: float
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        command = " ".join(problem.command) or "python3 -m pytest -q"
        order = {
            "task": _TASK.format(command=command, failure=problem.failure[:4000]),
            "model": self._model,
            "url": self._url,
            "key": self._key,
            "steps": self._steps,
            "seconds": seconds,
            "home": str(home),
        }
        said: dict[str, Any] = order
        while True:
            process.stdin.write(json.dumps(said).encode() + b"\n")
            await process.stdin.drain()
            try:
                line = decode_json(await process.stdout.readline())
            except ValueError:  # longer than `_MAX_LINE`
                line = None
            if not isinstance(line, dict):
                line = {}
            if "command" not in line:
                log.info("swe.ended status=%r why=%r", line.get("end", "died"), line.get("why", ""))
                return
            self.commands += 1
            outcome = await problem.bench.shell(str(line["command"]), folder)
            output = (outcome.stdout + outcome.stderr).decode(errors="replace")[-_MAX_OUTPUT:]
            problem_text = f"stopped: it exceeded its limit of {outcome.stopped}" if outcome.stopped else ""
            returncode = -1 if outcome.returncode is None else outcome.returncode
            said = {"output": output, "returncode": returncode, "problem": problem_text}


_INSTALL = "Make an environment for it: python -m venv swe && swe/bin/pip install 'mini-swe-agent==2.4.6' 'mcp>=2.2,<3', and give swe/bin/python."


def _read_back(folder: Path, problem: Problem) -> dict[str, str]:
    """The program as the agent left it: the files that were there, and new modules."""
    after = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file() or name in problem.tests or name in problem.binary:
            continue
        if name in problem.files or path.suffix == ".py":
            try:
                after[name] = path.read_bytes().decode()
            except (OSError, UnicodeDecodeError):
                after[name] = problem.files.get(name, "")
    scratch = {name for name in after if name not in problem.files and "/" not in name}
    return {name: text for name, text in after.items() if name not in scratch}
