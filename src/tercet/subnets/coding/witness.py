"""Proof that a run of pytest, or of a Python program, was whole: a report that only who read a nonce can write.

A program's exit code proves nothing about its tests: the code under test can end the process with success, leave tests
out, or overrule the runner. A plugin of ours (for other programs a runner) reads a nonce from standard input before
anything under test is loaded, and says at the end how every test ended. Code that searches its own process finds the
nonce. So whether the report is true is asked by tests that must fail: a few of our own here, those of the program
itself in `twins`.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tercet.market.text import decode_json
from tercet.subnets.kit import Outcome

__all__ = ["Report", "Witness", "plant_canaries", "runs_pytest", "splits_python"]

_PLUGIN = Path(__file__).parent / "inside" / "tercet_outcomes.py"
_RUNNER = Path(__file__).parent / "inside" / "tercet_ending.py"
_PLACE = "/witness"
"""Where they are in the sandbox."""
_MAX_NAME = 1000
_TESTS = frozenset({"passed", "failed", "skipped", "xfailed"})


@dataclass(frozen=True, slots=True)
class Report:
    """How a test run ended."""

    tests: Mapping[str, str]
    """Test id to passed, failed, skipped or xfailed."""
    messages: Mapping[str, str]
    """Test id to the first words of its failure."""
    errors: Mapping[str, str]
    """Modules that could not be loaded, and why."""
    exit: int | None
    """Of the runner; None when it did not end by itself."""
    problem: str = ""
    """Why there is no report at all; empty when there is one."""
    output: str = ""
    """The end of what was printed."""
    lines: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    """Test id to the (file, line) pairs that it ran, when asked for."""
    cpu_seconds: float = 0.0

    @property
    def failed(self) -> list[str]:
        """Ids of failing tests, and modules that cannot be loaded."""
        return sorted([name for name, how in self.tests.items() if how == "failed"] + list(self.errors))

    @property
    def good(self) -> bool:
        """All tests that ran passed, there are some, and the runner agrees."""
        passed = any(how == "passed" for how in self.tests.values())
        return not self.problem and self.exit == 0 and not self.errors and not self.failed and passed

    def words(self, most: int = 40) -> str:
        """The failures as text, the same on every machine."""
        if self.problem:
            return self.problem
        told = {**self.errors, **self.messages}
        lines = [f"FAILED {name}: {told.get(name, '')}".rstrip(": ") for name in self.failed]
        more = [f"... and {len(lines) - most} more"] if len(lines) > most else []
        return "\n".join([*lines[:most], *more])


class Witness:
    """What one run of pytest, or of a Python program, needs for its proof. Use it as `with Witness() as witness`."""

    def __init__(self, *, trace: bool = False) -> None:
        """`trace`: tell which lines each test ran; slower."""
        self.nonce, self._trace = secrets.token_hex(16), trace
        # By a name that nobody can know, so that no file of the program stands in for it.
        self.plugin = f"tercet_outcomes_{secrets.token_hex(8)}"

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="tercet-witness-")
        shutil.copyfile(_PLUGIN, Path(self._folder.name) / f"{self.plugin}.py")
        shutil.copyfile(_RUNNER, Path(self._folder.name) / f"run_{self.plugin}.py")
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @property
    def stdin(self) -> bytes:
        """What the process reads first."""
        return (json.dumps({"nonce": self.nonce, "trace": self._trace}) + "\n").encode()

    @property
    def lent(self) -> Mapping[str, Path]:
        """What the sandbox lends it."""
        return {_PLACE: Path(self._folder.name)}

    @property
    def environment(self) -> Mapping[str, str]:
        """Has every pytest beneath load the plugin."""
        return {"PYTHONPATH": f"{_PLACE}:/w", "PYTEST_ADDOPTS": f"-p {self.plugin}"}

    def command(self, command: Sequence[str]) -> list[str]:
        """A Python program's command, run so that it is seen to end; see `splits_python`."""
        flags, program = splits_python(command)
        return [*flags, f"{_PLACE}/run_{self.plugin}.py", *program]

    def read(self, outcome: Outcome) -> Report:
        """How the run ended, and every test in it."""
        return _read_report(outcome, self.nonce)


def plant_canaries(tests: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """The modules with tests that must fail, before and after the others and by names that nobody can know."""
    planted, names = {}, set()
    for path, source in tests.items():
        first, last = (f"test_{secrets.token_hex(6)}" for _ in range(2))
        planted[path] = (
            f"{source.rstrip()}\n\n\ndef {first}():\n    assert [1, 2] == [2, 1]\n\n\n"
            f"def {last}():\n    raise ValueError({secrets.token_hex(4)!r})\n"
        )
        names |= {f"{path}::{first}", f"{path}::{last}"}
    return planted, names


def runs_pytest(command: Sequence[str]) -> bool:
    """Whether pytest is among a command's words, or in a line of shell among them."""
    words = [part for word in command for part in (word, *_split(word))]
    return any(Path(word).name in {"pytest", "py.test"} for word in words)


def splits_python(command: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Python with its own options, and the program with its arguments; ((), ()) for any other command."""
    if not re.fullmatch(r"python(3(\.\d+)?)?", command[0]):
        return (), ()
    place = 1
    while place < len(command) and re.fullmatch(r"-([bBdEIOPqsSuv]+|[WX]\S*)", command[place]):
        place += 2 if command[place] in {"-W", "-X"} else 1
    program = command[place:]
    known = bool(program) and (not program[0].startswith("-") or (program[0] in {"-m", "-c"} and len(program) > 1))
    return (tuple(command[:place]), tuple(program)) if known else ((), ())


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _read_report(outcome: Outcome, nonce: str) -> Report:
    output = (outcome.stdout + outcome.stderr).decode(errors="replace")
    lines = [line for line in outcome.stdout.decode(errors="replace").split("\n") if line.startswith(f"{nonce} ")]
    shown = "\n".join(line for line in output.split("\n") if not line.startswith(nonce))[-4000:]
    spent = outcome.cpu_seconds
    if outcome.stopped:
        why = f"the tests were stopped: they exceeded their limit of {outcome.stopped}"
        return Report({}, {}, {}, None, why, shown, cpu_seconds=spent)
    if len(lines) != 1:
        why = "the test run ended before it was over"
        return Report({}, {}, {}, outcome.returncode, why, shown, cpu_seconds=spent)
    try:
        found = decode_json(lines[0][len(nonce) + 1 :])
        tests = {str(name)[:_MAX_NAME]: str(how) for name, how in found["tests"].items() if how in _TESTS}
        traced = {
            name: [(str(file), int(line)) for file, line in pairs] for name, pairs in found.get("lines", {}).items()
        }
        why = _early_end(found, outcome)
        return Report(
            tests, found["messages"], found["errors"], outcome.returncode, why, shown, lines=traced, cpu_seconds=spent
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Report({}, {}, {}, outcome.returncode, "the report of the tests is damaged", shown, cpu_seconds=spent)


def _early_end(found: Mapping[str, Any], outcome: Outcome) -> str:
    """Why a Python program's success is none, by its own report."""
    if "ended" in found and found["exit"] and not outcome.returncode:
        return "it failed, and something made a success of that when it ended"
    return f"{str(found['ended'])[:_MAX_NAME]} ended it, not the program that was run" if found.get("ended") else ""
