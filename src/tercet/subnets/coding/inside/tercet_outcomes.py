"""A pytest plugin that tells one reader, and nobody else, how every test ended.

Standard input holds one line {"nonce", "trace"}. It is read before any code under test is loaded, and is gone then.
At the end one line goes to standard output: the nonce, a space, and JSON. Whoever did not read the nonce cannot write
that line; a process that ends early never does.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

_MAX_TESTS = 5000
_MAX_MESSAGE = 300
_MAX_LINES = 20000


def _read_order() -> dict[str, Any]:
    order: dict[str, Any]
    try:
        order = json.loads(os.read(0, 4096) or b"{}")
    except (OSError, ValueError):
        order = {}
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return order


class _Outcomes:
    """Collects; lives in pytest's registry alone."""

    def __init__(self, order: dict[str, Any], root: Path) -> None:
        self._nonce, self._trace = order.get("nonce", ""), bool(order.get("trace"))
        self._out = os.dup(1)
        self._tests: dict[str, str] = {}
        self._messages: dict[str, str] = {}
        self._errors: dict[str, str] = {}
        self._lines: dict[str, list[tuple[str, int]]] = {}
        self._base, self._tests_root = _base(), root
        self._root = f"{self._base}{os.sep}"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and len(self._errors) < _MAX_TESTS:
            self._errors[self._name(report.nodeid)] = _message(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = self._name(report.nodeid)
        before = self._tests.get(name)
        if before is None and len(self._tests) >= _MAX_TESTS:
            return
        if report.failed:
            self._tests[name] = "failed"
            self._messages.setdefault(name, _message(report))
        elif report.skipped and before != "failed":
            self._tests[name] = "xfailed" if hasattr(report, "wasxfail") else "skipped"
        elif report.when == "call" and before is None:
            self._tests[name] = "passed"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        if not self._trace:
            return (yield)
        seen: set[tuple[str, int]] = set()
        root, test = self._root, str(item.path)

        def local(frame: FrameType, event: str, _: object) -> Any:
            if event == "line" and len(seen) < _MAX_LINES:
                seen.add((frame.f_code.co_filename[len(root) :], frame.f_lineno))
            return local

        def trace(frame: FrameType, _event: str, _: object) -> Any:
            name = frame.f_code.co_filename
            return local if name.startswith(root) and name != test else None

        sys.settrace(trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self._lines[self._name(item.nodeid)] = sorted(seen)

    def _name(self, node: str) -> str:
        """The id by the module's path in the program, whatever folder pytest was started in; absolute outside."""
        module, colons, rest = node.partition("::")
        path = os.path.normpath(self._tests_root / module) if module else ""
        return f"{path.removeprefix(self._root)}{colons}{rest}"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        found: dict[str, Any] = {
            "tests": self._tests,
            "messages": self._messages,
            "errors": self._errors,
            "exit": int(exitstatus),
        }
        if self._trace:
            found["lines"] = self._lines
        rest = f"\n{self._nonce} {json.dumps(found)}\n".encode()
        while rest:
            rest = rest[os.write(self._out, rest) :]


def _base() -> Path:
    """The program's folder: that of the sandbox, where there is one."""
    here, sandbox = Path.cwd(), Path("/w")
    return sandbox if here.is_relative_to(sandbox) else here


def _message(report: pytest.CollectReport | pytest.TestReport) -> str:
    text = getattr(report, "longreprtext", "") or ""
    told = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")] or text.splitlines()[-1:]
    return re.sub(r"0x[0-9a-f]{6,}", "0x...", " | ".join(told[:4]))[:_MAX_MESSAGE]


def pytest_configure(config: pytest.Config) -> None:
    """Take part in the run."""
    config.option.maxfail = 0  # with -x it would end at the first of the tests that are to fail
    config.pluginmanager.register(_Outcomes(_ORDER.pop(), config.rootpath), "tercet-outcomes-collector")


_ORDER = [_read_order()]
