"""Done-tests, run in the sandbox over a set of files; of one that runs pytest more is asked than to end with success.

Code under test can end the process with 0, leave tests out or overrule the runner. So pytest's success counts only where
our plugin saw the session to its end and a test passed; where no test that ran before the change is left out or skipped
now, in files that the change did not touch; and where tests that must fail, planted in a second run, do fail.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tercet.subnets.coding import Report, Witness, plant_canaries, runs_pytest
from tercet.subnets.coding.diffs import is_test
from tercet.subnets.kit import Limits, Outcome, Sandbox
from tercet.swarm.plan import DoneTest
from tercet.swarm.store import Files, Store

__all__ = ["DoneTests", "find_faults", "left_out"]

_DETAIL = 2_000
_REPAIR = "/checks/repair.py"
_PYTEST = ("python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider")
"""What `repair.py` runs once it has seen that no test was touched."""
_RAN = frozenset({"passed", "failed"})
_PLANTED = "tests that must fail did not: the change tampers with the test runner"


@dataclass(frozen=True, slots=True)
class DoneTests:
    """Runs them for a run."""

    store: Store
    sandbox: Sandbox
    lent: Mapping[str, Path]
    """What programs in the sandbox can read."""
    hidden: Mapping[str, Path]
    """What hidden ones can read besides."""

    async def run(self, done: DoneTest, files: Files, before: Files | None = None) -> dict[str, Any]:
        """{ok, seconds, detail} of `done` over `files`; `before` is what they were before the change that is tested."""
        if not (runs_pytest(done.command) or _REPAIR in done.command):
            outcome = await self._run(done, files, None)
            return {"ok": outcome.ok, "seconds": round(outcome.seconds, 3), "detail": _said(outcome)}
        outcome, report = await self._witnessed(done, files)
        fault = _why(outcome, report)
        if outcome.ok and not fault:
            fault = await self._compared(done, files, report, files if before is None else before)
            fault = fault and f"Its tests end with success, which is not believed: {fault}."
        return {
            "ok": outcome.ok and not fault,
            "seconds": round(outcome.seconds, 3),
            "detail": f"{_said(outcome)}\n{fault}".strip()[-_DETAIL:],
        }

    async def _compared(self, done: DoneTest, files: Files, report: Report, before: Files) -> str:
        """What is wrong with a success, beside what was and with tests that must fail."""
        direct = _direct(done)
        runs = [self._planted(direct, each) for each in ([files] if before == files else [files, before])]
        (planted, canaries), *rest = await asyncio.gather(*runs)
        fault = find_faults(planted, canaries, rest[0] if rest else None)
        changed = {path for path in {*files, *before} if files.get(path) != before.get(path)}
        gone = left_out(rest[0][0], report, changed, but=rest[0][1]) if rest else []
        return f"left out or skipped: {', '.join(gone[:3])}" if gone else fault

    async def _planted(self, done: DoneTest, files: Files) -> tuple[Report, set[str]]:
        texts = {path: _text(self.store.get(mark)) for path, mark in files.items() if _holds_tests(path)}
        planted, canaries = plant_canaries({path: text for path, text in texts.items() if text is not None})
        _, report = await self._witnessed(done, files, planted)
        return report, canaries

    async def _witnessed(
        self, done: DoneTest, files: Files, planted: Mapping[str, str] | None = None
    ) -> tuple[Outcome, Report]:
        with Witness() as witness:
            outcome = await self._run(done, files, witness, planted)
        report = witness.read(outcome)
        shown = outcome.stdout.decode(errors="replace").split("\n")
        text = "\n".join(line for line in shown if not line.startswith(witness.nonce)).rstrip()
        return replace(outcome, stdout=text.encode()), report

    async def _run(
        self, done: DoneTest, files: Files, witness: Witness | None, planted: Mapping[str, str] | None = None
    ) -> Outcome:
        limits = Limits(
            cpu_seconds=max(1, int(done.seconds)), wall_seconds=done.seconds, memory_bytes=1 << 30, processes=64
        )
        environment = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": "/w"}
        with tempfile.TemporaryDirectory(prefix="tercet-test-") as name:
            folder = Path(name) / "w"
            await asyncio.to_thread(self._lay_out, files, folder, planted or {})
            return await self.sandbox.run(
                done.command,
                folder,
                limits=limits,
                stdin=witness.stdin if witness else b"",
                readonly={
                    **self.lent,
                    **(self.hidden if done.hidden else {}),
                    **(witness.lent if witness else {}),
                },
                environment={**environment, **(witness.environment if witness else {})},
                writable=False,
            )

    def _lay_out(self, files: Files, folder: Path, planted: Mapping[str, str]) -> None:
        self.store.lay_out(files, folder)
        for path, text in planted.items():
            (folder / path).write_text(text, encoding="utf-8")


def find_faults(planted: Report, canaries: Iterable[str], before: tuple[Report, Iterable[str]] | None) -> str:
    """Why the runner cannot be believed, by tests that must fail; empty where there is no doubt.

    Args:
        planted: the report with them.
        canaries: their ids. A command may select none of them.
        before: the same of the files before the change, which tells whether it selects any.

    """
    found = [planted.tests[name] for name in canaries if name in planted.tests]
    if any(how != "failed" for how in found):
        return _PLANTED
    known = before is not None and any(before[0].tests.get(name) == "failed" for name in before[1])
    if not found and known:
        return planted.problem or _PLANTED
    return ""


def left_out(before: Report, after: Report, changed: Iterable[str], *, but: Iterable[str] = ()) -> list[str]:
    """Tests that ran before and do not run now, of files that are not in `changed`; those of one name count as one.

    A module that could not be loaded before has to have a test that passes now.
    """
    touched, planted = set(changed), set(but)
    ran = {_function(name) for name, how in after.tests.items() if how in _RAN}
    wanted = {_function(name) for name, how in before.tests.items() if how in _RAN and name not in planted}
    loaded = {_module(name) for name, how in after.tests.items() if how in _RAN}
    broken = {_module(name) for name in before.errors} - loaded
    return sorted(name for name in (wanted - ran) | broken if _module(name) not in touched)


def _direct(done: DoneTest) -> DoneTest:
    """The same with pytest's own command, where a program of ours runs it."""
    return done.model_copy(update={"command": _PYTEST}) if _REPAIR in done.command else done


def _function(test: str) -> str:
    return test.partition("[")[0]


def _module(test: str) -> str:
    return test.partition("::")[0]


def _holds_tests(path: str) -> bool:
    name = Path(path).name
    return is_test(path) and (name.startswith("test_") or name.endswith("_test.py")) and path.endswith(".py")


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _why(outcome: Outcome, report: Report) -> str:
    if not outcome.ok or report.good:
        return ""
    return f"It ends with success, and there is no proof of it: {report.problem or 'no test passed'}."


def _said(outcome: Outcome) -> str:
    said = (outcome.stdout + outcome.stderr).decode(errors="replace").strip()
    return (f"stopped: over its limit of {outcome.stopped}. {said}" if outcome.stopped else said)[-_DETAIL:]
