"""Draw a task: from 32 bytes to a broken program, a half of its tests, and what the judge keeps to itself."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tercet.errors import SubnetError
from tercet.market import Task
from tercet.subnets.coding.bench import TEST_LIMITS, Bench, Report, same_value
from tercet.subnets.coding.diffs import build_diff
from tercet.subnets.coding.mutate import mutate
from tercet.subnets.coding.projects import Project, Split, split_tests
from tercet.subnets.coding.vet import find_tricks
from tercet.subnets.kit import lottery

__all__ = ["Corpus", "Drawn", "function_of"]

_ATTEMPTS = 60
_TRACE_LIMITS = replace(TEST_LIMITS, cpu_seconds=120, wall_seconds=240.0, output_bytes=32 << 20)
_EDITS = (1, 1, 1, 2, 3)
"""How many edits a mutant has, each as likely as it stands here."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A task with what its judge knows."""

    seed: bytes
    task: Task
    project: Project
    broken: Mapping[str, str]
    """The source files as the task has them."""
    split: Split
    expected: Mapping[str, str]
    """Of a function: test to the line that it returns. Of a library: test id to how it ends."""
    reference: str
    """A diff that mends it."""
    edits: int


class Corpus:
    """Projects to draw from. The same seed gives the same task on every machine with the same Python and pytest."""

    def __init__(self, bench: Bench, functions: Sequence[Project], libraries: Sequence[Project], share: float) -> None:
        """`share` of the tasks are libraries, the rest single functions."""
        self._bench, self._functions, self._libraries, self._share = bench, functions, libraries, share
        self._expected: dict[str, Mapping[str, str]] = {}
        self._covered: dict[tuple[str, str], list[tuple[int, int]]] = {}
        """(Library, file) to the lines that two or more of its test functions run."""

    async def draw(self, seed: bytes) -> Drawn:
        """The task of a seed.

        Raises:
            SubnetError: nothing that was tried breaks a test; it does not happen with the projects that we ship.

        """
        draws = lottery(seed, "coding", 1)
        pool = (
            self._libraries if self._libraries and draws.random() < self._share else self._functions or self._libraries
        )
        for _ in range(_ATTEMPTS):
            drawn = await self._try(seed, draws.choice(pool), draws)
            if drawn is not None:
                return drawn
        raise SubnetError(
            f"No mutant of {_ATTEMPTS} fails two of its tests. Use larger projects, or projects with more tests."
        )

    async def _try(self, seed: bytes, project: Project, draws: random.Random) -> Drawn | None:
        path, count = draws.choice(project.targets), draws.choice(_EDITS)
        expected = await self.expected(project)
        mutant, edits = mutate(project.files[path], draws, count, self._covered.get((project.name, path)))
        broken = {**project.files, path: mutant}
        if mutant == project.files[path] or find_tricks(broken, project.files):
            return None
        if project.entry:
            failing, failure = await self._function_failures(project, mutant, expected)
        else:
            failing, failure = await self._library_failures(project, broken, expected)
        if len({name for _, name in failing}) < 2:
            return None
        split = split_tests(project, draws, failing)
        told = "\n".join(failure[name] for name in sorted(failing & split.visible_names) if name in failure)
        task = {"kind": "fix", "files": broken, "tests": dict(split.visible), "failure": told[:8000]}
        reference = build_diff(broken, project.files)
        return Drawn(seed, task, project, broken, split, expected, reference, len(edits))

    async def expected(self, project: Project) -> Mapping[str, str]:
        """How the tests of the unbroken project end."""
        known = self._expected.get(project.name)
        if known is None:
            if project.entry:
                told = await self._bench.run_probes(
                    project.files["solution.py"], project.entry, list(project.probes.values())
                )
                known = {name: line for name, line in zip(project.probes, told, strict=True) if line.startswith("= ")}
            else:
                report = await self._bench.run_tests(
                    {**project.files, **project.tests}, trace=True, limits=_TRACE_LIMITS
                )
                known = _steady(project, report)
                for path, lines in _covered(report).items():
                    self._covered[project.name, path] = lines
            self._expected[project.name] = known
        return known

    async def _function_failures(
        self, project: Project, mutant: str, expected: Mapping[str, str]
    ) -> tuple[set[tuple[str, str]], dict[tuple[str, str], str]]:
        told = await self._bench.run_probes(mutant, project.entry, [project.probes[name] for name in expected])
        (path,) = project.tests
        failure = {
            (path, name): f"FAILED {path}::{name}: {project.entry}{_call(project.probes[name])} {_how(line)}"
            for (name, good), line in zip(expected.items(), told, strict=True)
            if not same_value(good, line)
        }
        return set(failure), failure

    async def _library_failures(
        self, project: Project, broken: Mapping[str, str], expected: Mapping[str, str]
    ) -> tuple[set[tuple[str, str]], dict[tuple[str, str], str]]:
        report = await self._bench.run_tests({**broken, **project.tests})
        if report.problem or report.errors:
            return set(), {}
        failure: dict[tuple[str, str], str] = {}
        for test in sorted(expected):
            if report.tests.get(test) != expected[test]:
                failure.setdefault(function_of(test), f"FAILED {test}: {report.messages.get(test, 'did not run')}")
        return set(failure), failure


def function_of(test: str) -> tuple[str, str]:
    """(module's path, function) of a test id."""
    path, _, name = test.partition("::")
    return path, name.split("[")[0].split("::")[0]


def _steady(project: Project, report: Report) -> Mapping[str, str]:
    """The tests that pass here; those that cannot run on this machine are left out."""
    passed = {test: how for test, how in report.tests.items() if how == "passed"}
    if report.problem or not passed:
        raise SubnetError(
            f"The tests of {project.name!r} do not pass unbroken: {report.problem or report.words(2) or report.output[-300:]}"
        )
    return passed


def _covered(report: Report) -> dict[str, list[tuple[int, int]]]:
    """The lines of each file that more than one test function runs."""
    functions: dict[tuple[str, int], set[tuple[str, str]]] = {}
    for test, lines in report.lines.items():
        for line in lines:
            functions.setdefault(line, set()).add(function_of(test))
    covered: dict[str, list[tuple[int, int]]] = {}
    for (path, number), names in sorted(functions.items()):
        if len(names) > 1:
            covered.setdefault(path, []).append((number, number))
    return covered


def _call(arguments: Sequence[object]) -> str:
    text = ", ".join(repr(argument) for argument in arguments)
    return f"({text if len(text) < 200 else text[:200] + '...'})"


def _how(line: str) -> str:
    return f"returns {line[2:][:200]}" if line.startswith("= ") else f"raises {line[2:]}"
