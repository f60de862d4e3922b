"""Runs a Python program as Python does, and tells one reader, and nobody else, that it came to its end by itself.

Standard input holds one line {"nonce"}; it is gone before the program is loaded, and the program's own arguments stand
behind this file's name: `SCRIPT ...`, `-m MODULE ...` or `-c CODE ...`. At the end one line goes to standard output, the
nonce, a space, and JSON. What ends the process early never writes it; what raises SystemExit outside of the program
itself is named in it. How the program's unit tests ended is told too.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

_MAX_TESTS = 5000
_MAX_MESSAGE = 300
_ENDS = {
    "addSuccess": "passed", "addFailure": "failed", "addError": "failed", "addSkip": "skipped",
    "addExpectedFailure": "xfailed", "addUnexpectedSuccess": "failed",
}  # fmt: skip
_HERE = Path.cwd()


class _UnitTests:
    """How the tests of unittest ended, by ids as of pytest."""

    def __init__(self) -> None:
        self.tests: dict[str, str] = {}
        self.messages: dict[str, str] = {}
        self.errors: dict[str, str] = {}

    def watch(self) -> None:
        """Have every result tell it as well."""
        from unittest import TestResult  # noqa: PLC0415 - a program without tests need not load it

        for name, how in _ENDS.items():
            setattr(TestResult, name, self._telling(getattr(TestResult, name), how))
        keep = TestResult.addSubTest

        def add_subtest(result: TestResult, test: Any, subtest: Any, error: Any) -> None:
            if error is not None:
                self._note(test, "failed", error)
            keep(result, test, subtest, error)

        TestResult.addSubTest = add_subtest  # type: ignore[method-assign,assignment] # typeshed names its first argument

    def _telling(self, keep: Callable[..., Any], how: str) -> Callable[..., Any]:
        def tell(result: Any, test: Any, *more: Any) -> Any:
            self._note(test, how, more[0] if more else None)
            return keep(result, test, *more)

        return tell

    def _note(self, test: Any, how: str, error: Any) -> None:
        kind, method = type(test), getattr(test, "_testMethodName", "")
        words = str(error[1])[:_MAX_MESSAGE] if isinstance(error, tuple) else ""
        if not method or kind.__module__ == "unittest.loader":
            self.errors[test.id()] = words or "cannot be loaded"
            return
        name = f"{_path(getattr(sys.modules.get(kind.__module__), '__file__', None) or '')}::{kind.__name__}::{method}"
        if self.tests.get(name) != "failed" and (name in self.tests or len(self.tests) < _MAX_TESTS):
            self.tests[name] = how
        if how == "failed":
            self.messages.setdefault(name, words)


def _path(file: str) -> str:
    """From the program's folder, absolute outside."""
    path = Path(file)
    return path.relative_to(_HERE).as_posix() if path.is_relative_to(_HERE) else path.as_posix()


def _read_nonce() -> str:
    try:
        nonce = str(json.loads(os.read(0, 4096) or b"{}").get("nonce", ""))
    except (OSError, ValueError):
        nonce = ""
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return nonce


def _run(words: Sequence[str]) -> None:
    """What `python WORDS` does."""
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        _first_path("")
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - it is what is to be run
    elif words[0] == "-m":
        sys.argv = [words[1], *words[2:]]
        _first_path(str(_HERE))
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        _first_path(str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")


def _first_path(place: str) -> None:
    if not sys.flags.safe_path:
        sys.path[0] = place


def _tests_units(words: Sequence[str]) -> bool:
    """Whether it may run unittest, to spare others the time of loading that."""
    if words[0] in {"-m", "-c"}:
        return "unittest" in words[1]
    return Path(words[0]).is_file() and b"unittest" in Path(words[0]).read_bytes()


def _ended_by(trace: TracebackType | None, words: Sequence[str]) -> str:
    """The program's file that ended it and is not what was started; empty where it ended itself."""
    if words[0] == "-m":
        place = words[1].replace(".", "/")
        mains = {f"{place}.py", f"{place}/__main__.py"}
    else:
        mains = {os.path.normpath(words[0])}
    files = [_path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(trace)]
    return next((file for file in files if not file.startswith(("/", "<")) and file not in mains), "")


def main() -> int:
    """Run it; its exit code."""
    nonce, out, words = _read_nonce(), os.dup(1), sys.argv[1:]
    units, ended = _UnitTests(), ""
    if _tests_units(words):
        units.watch()
    code: Any = 0
    try:
        _run(words)
    except SystemExit as end:
        code, ended = end.code, _ended_by(end.__traceback__, words)
        if isinstance(code, str):
            print(code, file=sys.stderr)  # noqa: T201 - as Python does
    except BaseException as error:  # noqa: BLE001 - as Python does
        error.__traceback__ = _beyond_us(error.__traceback__)
        traceback.print_exception(error)
        code = 1
    status = int(code) if isinstance(code, int) else int(code is not None)
    found = {"tests": units.tests, "messages": units.messages, "errors": units.errors, "exit": status, "ended": ended}
    sys.stdout.flush()
    rest = f"\n{nonce} {json.dumps(found)}\n".encode()
    while rest:
        rest = rest[os.write(out, rest) :]
    return status


def _beyond_us(trace: TracebackType | None) -> TracebackType | None:
    """Without the frames that only this file has put there."""
    ours = {__file__, runpy.__file__, "<frozen runpy>"}
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return trace


if __name__ == "__main__":
    sys.exit(main())
