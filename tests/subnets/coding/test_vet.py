from __future__ import annotations

import pytest

from tercet.subnets.coding.vet import find_tricks

BEFORE = """import sys


def f(x):
    if len(x) > 2:
        return sorted(x)
    return getattr(x, "name")


class Box:
    def __init__(self):
        self._value = 1

    def grow(self):
        self._value += 1
"""

TRICKS = [
    "import os",
    "import pytest",
    "from _pytest import runner",
    "import os.path as path",
    "from enum import sys as s",
    "import re; re.enum.sys.exit(0)",
    "import random; random._os._exit(0)",
    "import json; json.decoder.__dict__",
    "__import__('os')",
    "eval('1')",
    "exec('1')",
    "open('x')",
    "getattr(f, 'x')",
    "setattr(f, 'x', 1)",
    "f.x = 1",
    "f.__code__ = g",
    "globals()['x']",
    "type('X', (), {})",
    "k = type\nk('X', (), {})",
    "sys.exit(0)",
    "sys.modules['pytest']",
    "raise SystemExit",
    "class X:\n    pass",
    "def __getattr__(name):\n    return 1",
    "(x for x in [1]).gi_frame.f_back",
    "'{0.__globals__}'.format(f)",
    "x = '_' + '__class__'",
    "from collections import namedtuple",
    "import typing; typing.NamedTuple",
    "import string; string.Formatter().get_field('0', (1,), {})",
    "from functools import update_wrapper",
    "def g():\n    global f\n    f = 1",
    "try:\n    f(1)\nexcept:\n    pass",
    "try:\n    f(1)\nexcept BaseException:\n    pass",
    "import abc; abc.ABCMeta",
    "import enum",
    "import builtins",
    "import gc, inspect",
    "import ctypes",
    "import threading",
    "import signal, atexit",
    "import unittest.mock",
    "match f:\n    case object(__class__=c):\n        pass",
    "raise AssertionError",
    "AssertionError = ValueError",
]


@pytest.mark.parametrize("code", TRICKS)
def test_what_cheats_need_is_found(code: str) -> None:
    assert find_tricks({"m.py": BEFORE}, {"m.py": f"{BEFORE}\n\n{code}\n"})
    assert find_tricks(
        {"m.py": BEFORE}, {"m.py": BEFORE, "new.py": f"{code}\n"} if "f" not in code else {"m.py": f"{code}\n"}
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("> 2", ">= 2"),
        ("sorted(x)", "sorted(x, reverse=True)"),
        ("    if len(x) > 2:", "    import math\n    if math.isfinite(len(x)):"),
        ("return sorted(x)", "return [y for y in x if y not in {1, 2}][::-1]"),
        ("self._value += 1", "self._value = self._value + 2"),
        ("def f(x):", "def helper(y):\n    return y * 2\n\n\ndef f(x):"),
        (
            "    if len(x) > 2:",
            "    try:\n        x = list(x)\n    except (TypeError, ValueError):\n        x = []\n    if len(x) > 2:",
        ),
    ],
)
def test_an_ordinary_fix_has_none(old: str, new: str) -> None:
    assert find_tricks({"m.py": BEFORE}, {"m.py": BEFORE.replace(old, new)}) == []


def test_what_was_there_may_stay_but_not_move_to_where_it_does_something_else() -> None:
    assert find_tricks({"m.py": BEFORE}, {"m.py": BEFORE.replace("> 2", "> 3")}) == []
    moved = BEFORE.replace('return getattr(x, "name")', "return x").replace("self._value += 1", 'getattr(self, "name")')
    assert find_tricks({"m.py": BEFORE}, {"m.py": moved})
    changed = BEFORE.replace('getattr(x, "name")', 'getattr(x, "other")')
    assert find_tricks({"m.py": BEFORE}, {"m.py": changed})


@pytest.mark.parametrize("junk", ["def f(:", "(" * 500, "\0"])
def test_what_is_no_python_is_a_trick_too(junk: str) -> None:
    assert find_tricks({"m.py": BEFORE}, {"m.py": junk})
