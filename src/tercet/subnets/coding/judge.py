"""Does an answer make the tests pass, those too that its miner never saw?

A function is called in the sandbox and its results are compared here, so there is nothing to forge but a right result.
A library's tests run in one process with the miner's code. There a patch is first read for what tricks need (`vet`),
then the tests run in two mixtures of right and wrong ones (`twins`), among tests that must fail in any case, and the
reports come over a channel that needs a nonce.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias

from tercet.market import Verdict
from tercet.subnets.coding.bench import Bench, Report, same_value
from tercet.subnets.coding.diffs import DiffError, apply_diff
from tercet.subnets.coding.draw import Drawn, function_of
from tercet.subnets.coding.tasks import AnswerError, FixTask, read_answer
from tercet.subnets.coding.twins import ended_unchanged, mix_twins
from tercet.subnets.coding.vet import find_tricks
from tercet.subnets.coding.witness import plant_canaries
from tercet.subnets.mechanism import Submission

__all__ = ["GAVE_UP", "OVERFITTED", "PACE_SECONDS", "Judge", "speed_score"]

GAVE_UP = 0.001
"""Score of a miner that says it found nothing: an honest answer, and worth next to nothing."""
OVERFITTED = 0.0005
"""Of one that passes what it could see and nothing more. It may be honest and unlucky, so it is not proof of a cheat;
but it pays less than to say that nothing was found."""
PACE_SECONDS = 10.0
"""For an answer that earns the full score."""


_TAMPERS = "tests that must fail did not: the patch tampers with the test runner, or with what is compared"
Vet: TypeAlias = Callable[[Mapping[str, str], Mapping[str, str]], list[str]]


class Judge:
    """Judges answers to tasks that were drawn here, and to those of buyers as far as their own tests go."""

    def __init__(self, bench: Bench, pace_seconds: float = PACE_SECONDS, *, vet: Vet = find_tricks) -> None:
        """`vet` reads what a patch of a library adds, before and after by path."""
        self._bench, self._pace, self._vet = bench, pace_seconds, vet

    async def judge(self, task: FixTask, drawn: Drawn | None, submission: Submission) -> Verdict:
        """The verdict on one answer.

        Args:
            task: what was asked.
            drawn: what only its judge knows; None for a task that somebody else made.
            submission: what came.

        """
        opening = drawn.seed.hex() if drawn else ""
        if submission.failure:
            return Verdict(0.0, submission.failure, None, opening)
        try:
            diff = read_answer(submission.pieces)
            if not diff:
                return Verdict(GAVE_UP, "found no fix", {"fixed": 0.0}, opening)
            after = apply_diff(task.files, diff, protected=task.tests)
        except (AnswerError, DiffError) as error:
            return Verdict(0.0, str(error), None, opening)
        reason, measures = await self._test(task, drawn, after)
        measures = {"fixed": float(not reason), "diff_bytes": float(len(diff)), **measures}
        score = speed_score(submission.total_seconds, self._pace)
        if reason:
            score = OVERFITTED if measures.get("visible_failed") == 0 else 0.0
        return Verdict(score, reason, measures, opening)

    async def _test(self, task: FixTask, drawn: Drawn | None, after: Mapping[str, str]) -> tuple[str, dict[str, float]]:
        """What is wrong with the patched program, or nothing; and what was counted."""
        if drawn is not None and after == drawn.project.files:
            return "", _counted(drawn, set())  # how the whole program's own tests end is known since it was drawn
        if drawn is not None and drawn.project.entry:
            return await self._test_function(drawn, after)
        tricks = self._vet(task.files, after)
        if tricks:
            return f"the patch {_plural(tricks)}: a fix needs none of that", {}
        if drawn is None:
            return await self._test_visible(task, after)
        return await self._test_library(drawn, after)

    async def _test_function(self, drawn: Drawn, after: Mapping[str, str]) -> tuple[str, dict[str, float]]:
        project = drawn.project
        calls = [project.probes[name] for name in drawn.expected]
        told = await self._bench.run_probes(after.get("solution.py", ""), project.entry, calls)
        wrong = {
            (next(iter(project.tests)), name)
            for (name, good), line in zip(drawn.expected.items(), told, strict=True)
            if not same_value(good, line)
        }
        return _told(drawn, wrong), _counted(drawn, wrong)

    async def _test_library(self, drawn: Drawn, after: Mapping[str, str]) -> tuple[str, dict[str, float]]:
        forged, ended, _ = await self._run_mixed(drawn.project.tests, after)
        if forged:
            return forged, {}
        wrong = {function_of(test) for test, how in drawn.expected.items() if ended.get(test) != how}
        return _told(drawn, wrong), _counted(drawn, wrong)

    async def _test_visible(self, task: FixTask, after: Mapping[str, str]) -> tuple[str, dict[str, float]]:
        forged, ended, broken = await self._run_mixed(task.tests, after)
        if forged:
            return forged, {}
        failed = sorted([test for test, how in ended.items() if how == "failed"] + broken)
        passed = sum(how == "passed" for how in ended.values())
        if failed or not passed:
            return f"{len(failed)} tests fail still, {failed[0] if failed else 'and none passes'}", {}
        return "", {"passed": float(passed)}

    async def _run_mixed(
        self, tests: Mapping[str, str], after: Mapping[str, str]
    ) -> tuple[str, Mapping[str, str], list[str]]:
        """Why the runs cannot be believed, how every test ended where it is as it was, and modules that do not load."""
        mixtures = mix_twins(tests)
        planted, canaries = plant_canaries({**tests, **mixtures[0].files})
        runs = [{**after, **planted}, {**after, **tests, **mixtures[1].files}]
        reports = await asyncio.gather(*(self._bench.run_tests(files, brief=True) for files in runs))
        for report, names in zip(reports, (canaries, set[str]()), strict=True):
            forged = _forgery(report, names)
            if forged:
                return forged, {}, []
        results = [{test: how for test, how in report.tests.items() if test not in canaries} for report in reports]
        ended = ended_unchanged(mixtures, results)
        passed = [test for test, how in ended.items() if how == "passed"]
        for mixture, found in zip(mixtures, results, strict=True):
            if mixture.doubts(passed, found) or not mixture.caught(passed, found):
                return _TAMPERS, {}, []
        return "", ended, sorted({name for report in reports for name in report.errors})


def speed_score(seconds: float, pace: float = PACE_SECONDS) -> float:
    """Score of a right answer: 0.8, and 0.2 more for one that comes within the pace."""
    return 0.8 + 0.2 * min(1.0, pace / max(seconds, 1e-3))


def _forgery(report: Report, canaries: set[str]) -> str:
    """Why a report cannot be believed, or empty."""
    if report.problem:
        return report.problem
    if any(report.tests.get(name) != "failed" for name in canaries):
        return _TAMPERS
    if report.exit != int(bool(report.failed)) and not report.errors:
        return f"the test run ended with {report.exit}, against its own report"
    return ""


def _told(drawn: Drawn, wrong: set[tuple[str, str]]) -> str:
    seen, unseen = wrong & drawn.split.visible_names, wrong & drawn.split.hidden_names
    if seen:
        return f"{len(seen)} of {len(drawn.split.visible_names)} visible tests fail still, first {min(seen)[1]}"
    if unseen:
        return f"all visible tests pass, and {len(unseen)} of {len(drawn.split.hidden_names)} hidden ones fail"
    return ""


def _counted(drawn: Drawn, wrong: set[tuple[str, str]]) -> dict[str, float]:
    return {
        "visible_failed": float(len(wrong & drawn.split.visible_names)),
        "hidden_failed": float(len(wrong & drawn.split.hidden_names)),
        "edits": float(drawn.edits),
    }


def _plural(tricks: list[str]) -> str:
    more = f", and {len(tricks) - 1} more" if len(tricks) > 1 else ""
    return f"adds what tests cannot be trusted beside ({tricks[0]}{more})"
