"""How a driver speaks: one JSON object a line. Imports nothing of ours.

First it reads its order: task, model, url, key, steps, home, inputs, outputs, options, and mcp where it was granted tools. Then it may say `note`, `claim`
(with sources and checked), `ask` or `fetch` (these two are answered), and at the end `end` ("done", or why not).
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_lock = threading.Lock()
_out = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # what libraries print is noise, and no line


def say(**what: Any) -> None:
    """Tell something."""
    with _lock:
        _out.write(json.dumps(what, default=str) + "\n")
        _out.flush()


def ask(**what: Any) -> dict[str, Any]:
    """Tell something, and read the answer."""
    say(**what)
    answer: dict[str, Any] = json.loads(sys.stdin.readline())
    return answer


def drive(work: Callable[[dict[str, Any]], str]) -> None:
    """Read the order, do the work, tell how it ended: what `work` returns, or what it raised."""
    order = json.loads(sys.stdin.readline())
    try:
        why = work(order)
    except Exception as error:
        say(end=type(error).__name__, why=str(error)[:2000])
    else:
        say(end="done", why=why)


def files(patterns: list[str], suffixes: tuple[str, ...]) -> list[Path]:
    """The files of the folder that are named by `patterns`, or all with these suffixes."""
    here = Path()
    found = [path for pattern in patterns for path in sorted(here.glob(pattern)) if path.is_file()]
    return found or sorted(path for path in here.rglob("*") if path.suffix in suffixes and path.is_file())


def output(order: dict[str, Any], default: str) -> Path:
    """The first file that it may write, its folder made."""
    plain = [name for name in order["outputs"] if "*" not in name and "?" not in name and not name.endswith("/")]
    path = Path(plain[0] if plain else default)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
