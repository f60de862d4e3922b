"""Mend a program by undoing small edits: try every one on the lines that failing tests ran, best suspects first.

Knows no program and needs no model. A change that makes more tests pass, but not all, is a place to search on from;
where none helps alone, two are tried together. A lone `pass` may be what is left of a statement: simple ones are tried there.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, islice, permutations

from tercet.subnets.coding.bench import Report
from tercet.subnets.coding.miners.solver import Problem, suspicious_functions, suspicious_lines
from tercet.subnets.coding.mutate import Edit, apply_edits, find_edits

__all__ = ["Search"]

_BATCH = 16
_DEPTH = 3
_MOST_FAILING = 20
_LONGEST = 3000
"""Candidates tried at one depth."""
_PAIRED = 48
"""Edits, the most suspicious ones, that are tried two at a time."""
_NAMES = 6
"""Of a function's variables, for statements that may be missing."""


@dataclass(frozen=True, slots=True)
class _State:
    files: Mapping[str, str]
    failing: int
    diff: str = ""
    """That leads there and was found to mend it; empty when it does not."""


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

    async def improve(self, problem: Problem, seconds: float) -> Mapping[str, str] | None:
        """The files after the best change found in time: all tests pass, or at least fewer fail; None when none helps.

        For whoever has another way to go on with what this one cannot mend.
        """
        best: Mapping[str, str] | None = None
        try:
            async with asyncio.timeout(seconds):
                for _ in range(_DEPTH):
                    report = await problem.run(best or problem.files, trace=True)
                    if report.good or report.problem or not report.lines:
                        break
                    found = await self._best_single(problem, best or problem.files, report)
                    if found is None:
                        break
                    best = found.files
        except TimeoutError:
            pass
        return best if best is not None and problem.diff(best) else None

    async def _best_single(self, problem: Problem, files: Mapping[str, str], report: Report) -> _State | None:
        places = await asyncio.to_thread(lambda: list(islice(_edits(files, report), _LONGEST)))
        single = ({path: apply_edits(files[path], [edit])} for path, edit in places)
        return await self._best(problem, files, report, single)

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
            if best.diff:
                return best.diff
            state = best
        return ""

    async def _confirmed(self, problem: Problem, files: Mapping[str, str]) -> str:
        diff = problem.diff(files)
        return diff if diff and (await problem.run(files)).good else ""

    async def _climb(self, problem: Problem, files: Mapping[str, str], report: Report) -> _State | None:
        """The first change after which all tests pass, else the one after which the fewest fail, if it helps at all."""
        best = await self._best_single(problem, files, report)
        if best is not None:
            return best
        places = await asyncio.to_thread(lambda: list(islice(_edits(files, report), _LONGEST)))
        return await self._best(problem, files, report, _pairs(files, places[:_PAIRED]))

    async def _best(
        self, problem: Problem, files: Mapping[str, str], report: Report, candidates: Iterable[dict[str, str]]
    ) -> _State | None:
        tests = [test for test in report.failed if test in report.tests][:_MOST_FAILING]
        best, left = _State(files, len(tests)), iter(candidates)
        while batch := list(islice(left, _BATCH)):
            counts = await problem.bench.run_batch(
                {**files, **problem.tests}, batch, tests, problem.binary, own_settings=bool(problem.command)
            )
            for change, (failed, passed) in zip(batch, counts, strict=True):
                if failed < 0 or not passed:
                    continue
                after = {**files, **change}
                if failed == 0 and (diff := await self._confirmed(problem, after)):
                    return _State(after, 0, diff)
                if 0 < failed < best.failing:
                    best = _State(after, failed)
        return best if best.files is not files else None


def _pairs(files: Mapping[str, str], places: list[tuple[str, Edit]]) -> Iterator[dict[str, str]]:
    """Two edits of one file at a time that do not touch each other."""
    for (path, one), (other_path, other) in sorted(
        combinations(places, 2), key=lambda pair: places.index(pair[0]) + places.index(pair[1])
    ):
        if path == other_path and (one.end <= other.start or other.end <= one.start):
            yield {path: apply_edits(files[path], [one, other])}


def _edits(files: Mapping[str, str], report: Report) -> Iterator[tuple[str, Edit]]:
    """(path, edit), on the most suspicious lines first, then statements for every lone `pass`."""
    known: dict[str, list[Edit]] = {}
    for path, line, _ in suspicious_lines(report):
        if path in files and path.endswith(".py"):
            if path not in known:
                known[path] = _edits_of(files[path])
            for edit in known[path]:
                if edit.line == line and edit.kind != "delete":
                    yield path, edit
    for function in suspicious_functions(files, report):
        for edit in _fillings(files[function.path], function.first, function.last):
            yield function.path, edit


def _edits_of(text: str) -> list[Edit]:
    try:
        return find_edits(text)
    except (SyntaxError, ValueError, RecursionError):
        return []


def _fillings(text: str, first: int, last: int) -> Iterator[Edit]:
    """Simple statements in the place of each `pass` from line `first` to `last`."""
    starts = [0]
    for line in text.encode().split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    inside = [node for node in ast.walk(ast.parse(text)) if first <= getattr(node, "lineno", 0) <= last]
    stored = [node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    names = list(dict.fromkeys(stored))[:_NAMES]
    statements = ["continue", "break", *(f"{name} {sign} 1" for name in names for sign in ("+=", "-="))]
    for one, other in permutations(names, 2):
        statements += [f"{one}.append({other})", f"{one} += {other}", f"{one} = {other}"]
    for node in inside:
        if isinstance(node, ast.Pass):
            start = starts[node.lineno - 1] + node.col_offset
            for statement in statements:
                yield Edit(start, start + len("pass"), statement, node.lineno, "delete")
