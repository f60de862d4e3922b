"""Mend a program by undoing small edits: try every one on the lines that failing tests ran, best suspects first.

Knows no program and needs no model. A change that makes more tests pass, but not all, is a place to search on from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tercet.subnets.coding.bench import Report
from tercet.subnets.coding.miners.solver import Problem, suspicious_lines
from tercet.subnets.coding.mutate import apply_edits, find_edits

__all__ = ["Search"]

_BATCH = 12
_DEPTH = 3
_MOST_FAILING = 20
_LONGEST = 3000
"""Candidates tried at one depth."""


@dataclass(frozen=True, slots=True)
class _State:
    files: Mapping[str, str]
    failing: int


class Search:
    """Inverse-mutation search."""

    async def open(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to give back."""

    async def solve(self, problem: Problem, seconds: float) -> str:
        """A diff found in time, or an empty text."""
        try:
            async with asyncio.timeout(seconds):
                return await self._search(problem)
        except TimeoutError:
            return ""

    async def _search(self, problem: Problem) -> str:
        state = _State(problem.files, 1 << 30)
        for _ in range(_DEPTH):
            report = await problem.run(state.files, trace=True)
            if report.good:
                return problem.diff(state.files)
            if report.problem or not report.lines:
                return ""
            best = await self._climb(problem, state.files, report)
            if best is None:
                return ""
            state = best
            if not state.failing and (diff := await self._confirmed(problem, state.files)):
                return diff
        return ""

    async def _confirmed(self, problem: Problem, files: Mapping[str, str]) -> str:
        diff = problem.diff(files)
        return diff if diff and (await problem.run(files)).good else ""

    async def _climb(self, problem: Problem, files: Mapping[str, str], report: Report) -> _State | None:
        """The first change after which all tests pass, else the one after which the fewest fail, if it helps at all."""
        tests = [test for test in report.failed if test in report.tests][:_MOST_FAILING]
        best = _State(files, len(tests))
        candidates = _candidates(files, report)
        while batch := [change for change, _ in zip(candidates, range(_BATCH), strict=False)]:
            counts = await problem.bench.run_batch({**files, **problem.tests}, batch, tests, problem.binary)
            for change, (failed, passed) in zip(batch, counts, strict=True):
                if failed < 0 or not passed:
                    continue
                after = {**files, **change}
                if failed == 0 and await self._confirmed(problem, after):
                    return _State(after, 0)
                if 0 < failed < best.failing:
                    best = _State(after, failed)
        return best if best.files is not files else None


def _candidates(files: Mapping[str, str], report: Report) -> Iterator[dict[str, str]]:
    """Changed files by path, one small edit each, on the most suspicious lines first."""
    told = 0
    edits = {}
    for path, line, _ in suspicious_lines(report):
        if path not in files or not path.endswith(".py"):
            continue
        if path not in edits:
            try:
                edits[path] = find_edits(files[path])
            except (SyntaxError, ValueError, RecursionError):
                edits[path] = []
        for edit in edits[path]:
            if edit.line == line and edit.kind != "delete":
                told += 1
                if told > _LONGEST:
                    return
                yield {path: apply_edits(files[path], [edit])}
