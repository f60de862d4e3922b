"""Call one function with each line of arguments, and tell what it returned. Compares nothing: it knows no answers.

Standard input: a line {"path", "entry", "seconds"}, then one line of literal arguments for each call.
Standard output: for each call one line, `= LITERAL` or `! NAME` of what was raised. The code that is called may write
anything there; all it can forge is its own answer.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_MAX_LITERAL = 100_000
_MOST_SLOW = 2
"""Calls that may run out of time before the rest is not called any more."""


class _TooSlowError(BaseException):
    """A call took too long."""


def _stop(*_: object) -> None:
    raise _TooSlowError


def main() -> None:
    """Answer every line."""
    ask = json.loads(sys.stdin.readline())
    lines = sys.stdin.read().splitlines()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    signal.signal(signal.SIGALRM, _stop)
    names: dict[str, Any] = {"__name__": "solution"}
    try:
        signal.setitimer(signal.ITIMER_REAL, ask["seconds"])
        code = compile(Path(ask["path"]).read_bytes(), ask["path"], "exec")
        exec(code, names)  # noqa: S102 - this is what the sandbox around it is for
        function = names[ask["entry"]]
    except BaseException as error:  # noqa: BLE001 - whatever a stranger's code raises
        out.write(f"! {type(error).__name__}\n" * len(lines))
        out.flush()
        os._exit(0)
    slow = 0
    for line in lines:
        said = _called(function, ast.literal_eval(line), ask["seconds"]) if slow < _MOST_SLOW else "! TooSlow"
        slow += said == "! TooSlow"
        out.write(said + "\n")
        out.flush()
    os._exit(0)


def _called(function: Callable[..., Any], arguments: Sequence[Any], seconds: float) -> str:
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        text = repr(function(*arguments))
        ast.literal_eval(text)
    except _TooSlowError:
        return "! TooSlow"
    except BaseException as error:  # noqa: BLE001
        return "! " + type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "= " + text if len(text) <= _MAX_LITERAL and "\n" not in text else "! TooLong"


main()
