"""Done-tests, run in the sandbox over a set of files; of pytest and of Python programs more is asked than to end with 0.

Code under test can end the process with success, leave tests out or overrule the runner. So success counts only where
the program was seen to its end, where no test that ran before the change is left out or skipped now, in files that the
change did not touch, and where what is made to fail does: tests of ours, every test of the program's own that can be
turned round, in one of two further runs (`twins`), and an assertion of a program without tests.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tercet.subnets.coding import (
    Mixture,
    Report,
    Witness,
    function_id,
    mix_twins,
    plant_canaries,
    runs_pytest,
    splits_python,
    spoil_script,
)
from tercet.subnets.coding.diffs import is_test
from tercet.subnets.kit import Limits, Outcome, Sandbox
from tercet.swarm.plan import DoneTest
from tercet.swarm.store import Files, Store

__all__ = ["DoneTests", "find_faults", "find_twins", "left_out"]

_DETAIL = 2_000
_REPAIR = "/checks/repair.py"
_PYTEST = ("python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider")
"""What `repair.py` runs once it has seen that no test was touched."""
_RAN = frozenset({"passed", "failed"})
_PATIENCE = 3
"""Times the seconds for runs that are made side by side, and in which many tests fail."""
_TURNED = "tests that were turned round end as they should not"
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
        """{ok, seconds, detail, proof} of `done` over `files`; `before` is what they were before the change that is tested.

        `proof` says in words what a success rests on; it is empty without one.
        """
        if not (_runs_pytest(done) or splits_python(done.command)[1]):
            outcome = await self._run(done, files, None)
            return _found(outcome, outcome.ok, "", "known by its exit code")
        outcome, report = await self._witnessed(done, files)
        fault, proof = _why(done, outcome, report), ""
        if outcome.ok and not fault:
            if report.tests:
                fault, proof = await self._compared(done, files, report, files if before is None else before)
            else:
                fault, proof = await self._spoilt(done, files)
            fault = fault and f"It ends with success, which is not believed: {fault}."
        return _found(outcome, outcome.ok and not fault, fault, proof)

    async def _compared(self, done: DoneTest, files: Files, report: Report, before: Files) -> tuple[str, str]:
        """What is wrong with a success of tests, beside what was and with tests that must fail; and what it rests on."""
        tests = self._tests(done, files)
        mixtures = mix_twins(tests)
        planted, canaries = plant_canaries({**tests, **mixtures[0].files})
        planted_before, canaries_before = plant_canaries(self._tests(done, before))
        runs = [(files, planted), (files, {**tests, **mixtures[1].files})]
        runs += [] if before == files else [(before, planted_before)]
        told = await asyncio.gather(*(self._witnessed(_direct(done), *each) for each in runs))
        first, second, *earlier = [report for _, report in told]
        changed = {path for path in {*files, *before} if files.get(path) != before.get(path)}
        gone = left_out(earlier[0], report, changed, but=canaries_before) if earlier else []
        if gone:
            return f"left out or skipped: {', '.join(gone[:3])}", ""
        fault = find_faults(first, canaries, (earlier[0], canaries_before) if earlier else None)
        passed = [test for test, how in report.tests.items() if how == "passed"]
        turned = sum(function_id(test) in mixtures[0].wrong | mixtures[1].wrong for test in passed)
        proof = f"seen to its end; {turned} of {len(passed)} tests that pass fail turned round"
        return fault or find_twins(report, mixtures, (first, second)), proof

    async def _spoilt(self, done: DoneTest, files: Files) -> tuple[str, str]:
        """The same of a program that runs no tests: it stays a success when an assertion is turned round."""
        flags, program = splits_python(done.command)
        name, text = ("", program[1]) if program[0] == "-c" else self._script(done, files)
        spoilt = spoil_script(text)
        if spoilt == text:
            return "", "seen to its end"
        if program[0] == "-c":
            done = done.model_copy(update={"command": (*flags, "-c", spoilt, *program[2:])})
        outcome, _ = await self._witnessed(done, files, {name: spoilt} if name else {})
        if outcome.ok:
            return "it ends so too when one of its assertions is turned round", ""
        return "", "seen to its end, and it fails with an assertion turned round"

    def _tests(self, done: DoneTest, files: Files) -> dict[str, str]:
        """Modules with tests by path; of a hidden done-test, those that it brings, by their places in the sandbox."""
        if done.hidden:
            found = {
                f"{place}/{file.relative_to(folder).as_posix()}": _text(file.read_bytes())
                for place, folder in self.hidden.items()
                for file in sorted(folder.rglob("*.py"))
                if _holds_tests(file.name)
            }
        else:
            found = {path: _text(self.store.get(mark)) for path, mark in files.items() if _holds_tests(path)}
        name, text = self._script(done, files)
        return {**{path: text for path, text in found.items() if text is not None}, **({name: text} if text else {})}

    def _script(self, done: DoneTest, files: Files) -> tuple[str, str]:
        """The path and the text of the program that a command names; empty where it is no file of these."""
        name = (*splits_python(done.command)[1], "")[0]
        path = Path(name)
        for place, folder in self.hidden.items() if done.hidden else ():
            if path.is_relative_to(place) and (folder / path.relative_to(place)).is_file():
                return name, _text((folder / path.relative_to(place)).read_bytes()) or ""
        mark = files.get(path.as_posix())
        return (path.as_posix(), _text(self.store.get(mark)) or "") if mark is not None else ("", "")

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
        patience = 1 if planted is None else _PATIENCE
        limits = Limits(
            cpu_seconds=max(1, int(done.seconds * patience)),
            wall_seconds=done.seconds * patience,
            memory_bytes=1 << 30,
            processes=64,
        )
        environment = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": "/w"}
        command: Sequence[str] = done.command
        if witness is not None and _runs_pytest(done):
            environment |= witness.environment
            environment["PYTEST_ADDOPTS"] += "" if planted is None else " --tb=line"
        elif witness is not None:
            command = witness.command(command)
        with tempfile.TemporaryDirectory(prefix="tercet-test-") as name:
            folder, hidden = Path(name) / "w", self.hidden if done.hidden else {}
            await asyncio.to_thread(self._lay_out, files, folder, planted or {})
            hidden = await asyncio.to_thread(_lay_out_hidden, hidden, Path(name) / "hidden", planted or {})
            lent = {place: each for place, each in self.lent.items() if planted is None or _asks_for(place, planted)}
            return await self.sandbox.run(
                command,
                folder,
                limits=limits,
                stdin=witness.stdin if witness else b"",
                readonly={**lent, **hidden, **(witness.lent if witness else {})},
                environment=environment,
                writable=False,
            )

    def _lay_out(self, files: Files, folder: Path, planted: Mapping[str, str]) -> None:
        self.store.lay_out(files, folder)
        for path, text in planted.items():
            if not path.startswith("/"):
                (folder / path).write_text(text, encoding="utf-8")


def _asks_for(place: str, planted: Mapping[str, str]) -> bool:
    """Whether tests need what is lent; else it stays away: the original files tell which tests were turned round."""
    return any(place in text for text in planted.values())


def _lay_out_hidden(hidden: Mapping[str, Path], room: Path, planted: Mapping[str, str]) -> Mapping[str, Path]:
    """The same, or copies with what is planted in them."""
    places: dict[str, Path] = {}
    for number, (place, folder) in enumerate(hidden.items()):
        changed = {path: text for path, text in planted.items() if path.startswith(f"{place}/")}
        places[place] = shutil.copytree(folder, room / str(number)) if changed else folder
        for path, text in changed.items():
            (places[place] / path.removeprefix(f"{place}/")).write_text(text, encoding="utf-8")
    return places


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


def find_twins(plain: Report, mixtures: Sequence[Mixture], mixed: Sequence[Report]) -> str:
    """Why a report cannot be believed, by the program's own tests, each turned round in one of two runs."""
    passed = [test for test, how in plain.tests.items() if how == "passed"]
    for mixture, report in zip(mixtures, mixed, strict=True):
        if doubts := mixture.doubts(passed, report.tests):
            return f"{_TURNED} ({', '.join(doubts[:3])})"
        if not mixture.caught(passed, report.tests):
            return f"{_TURNED} ({report.problem or 'none of them ran'})"
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


def _runs_pytest(done: DoneTest) -> bool:
    return runs_pytest(done.command) or _REPAIR in done.command


def _holds_tests(path: str) -> bool:
    name = Path(path).name
    return is_test(path) and (name.startswith("test_") or name.endswith("_test.py")) and path.endswith(".py")


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _why(done: DoneTest, outcome: Outcome, report: Report) -> str:
    tests = _runs_pytest(done) or splits_python(done.command)[1][:2] == ("-m", "unittest")
    if not outcome.ok or report.good or not (tests or report.problem or report.failed):
        return ""
    return f"It ends with success, and there is no proof of it: {report.problem or 'no test passed'}."


def _found(outcome: Outcome, ok: bool, fault: str, proof: str) -> dict[str, Any]:
    detail = f"{_said(outcome)}\n{fault}".strip()[-_DETAIL:]
    return {"ok": ok, "seconds": round(outcome.seconds, 3), "detail": detail, "proof": proof if ok else ""}


def _said(outcome: Outcome) -> str:
    said = (outcome.stdout + outcome.stderr).decode(errors="replace").strip()
    return (f"stopped: over its limit of {outcome.stopped}. {said}" if outcome.stopped else said)[-_DETAIL:]
