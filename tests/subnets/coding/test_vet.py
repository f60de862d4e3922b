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


SPEAKS = """import os
import queue


def f(x, numbers):
    import token

    return numbers[0]


class Box:
    def grow(self):
        return 1
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("numbers[0]", "numbers[-1] + sum(numbers[:2])"),
        ("numbers[0]", "f(x, numbers=numbers[1:])"),
        ("return numbers[0]", "queue = [x]\n    while queue:\n        numbers += queue.pop()\n    return numbers"),
        ("return numbers[0]", "for code, test in x:\n        numbers[code] = test\n    return numbers"),
        ("numbers[0]", "[code for code in x if code]"),
        ("numbers[0]", "{site: [test for test in site] for site in x}"),
        ("numbers[0]", "sorted(x, key=lambda test: test[0])"),
        ("    return numbers[0]", "    def inner(site):\n        return site + numbers[1]\n\n    return inner(x)"),
        ("return 1", "time = 3\n        return time + 1"),
    ],
)
def test_a_functions_own_variable_may_be_called_as_a_module_is(old: str, new: str) -> None:
    """`numbers`, `queue`, `code` are modules, and what people call things."""
    assert old in SPEAKS
    assert find_tricks({"m.py": SPEAKS}, {"m.py": SPEAKS.replace(old, new)}) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("numbers[0]", "os.listdir(x)"),
        ("numbers[0]", "token.main()"),
        ("numbers[0]", "[os for os in os.walk(x)]"),
        ("numbers[0]", "[os for os in x] + os.listdir(x)"),
        ("numbers[0]", "(lambda os: 1)(2) + os.getpid()"),
        ("numbers[0]", "(lambda y=os.getpid: y())()"),
        ("return numbers[0]", "token = token.main()\n    return token"),
        ("return numbers[0]", "if x:\n        token = 1\n    return token.main()"),
        ("def f(x, numbers):", "def f(x, numbers, os=os.getpid()):"),
        ("def f(x, numbers):", "def f(x, numbers=lambda os: 1):\n    os.abort()"),
        ("def f(x, numbers):", "@os.getpid\ndef f(x, os):"),
        ("return numbers[0]", "def inner(os):\n        return os\n\n    return os.getpid()"),
        ("return numbers[0]", "def inner():\n        os = 1\n\n    return os.getpid()"),
        ("return numbers[0]", "(os): int\n    return os.getpid()"),
        ("return numbers[0]", "os: int\n    return os.getpid()"),
        ("return numbers[0]", "class os:\n        pass\n\n    return 1"),
        ("return 1", "global os\n        os = 1\n        return os"),
        ("    def grow(self):", "    x = os.getpid()\n    os = 1\n\n    def grow(self):"),
        ("    def grow(self):", "    os = 1\n\n    def grow(self):\n        return os.getpid()"),
        ("class Box:", "os = 1\nos.getpid()\n\n\nclass Box:"),
        ("return 1", "os = __import__\n        return os"),
        ("return 1", "code = os\n        return code"),
    ],
)
def test_a_name_that_may_be_the_module_is_still_found(old: str, new: str) -> None:
    """Python's own scopes: defaults, decorators, first iterables and bodies of classes look outside."""
    assert old in SPEAKS
    assert find_tricks({"m.py": SPEAKS}, {"m.py": SPEAKS.replace(old, new)})


def test_what_was_there_may_stay_but_not_move_to_where_it_does_something_else() -> None:
    assert find_tricks({"m.py": BEFORE}, {"m.py": BEFORE.replace("> 2", "> 3")}) == []
    moved = BEFORE.replace('return getattr(x, "name")', "return x").replace("self._value += 1", 'getattr(self, "name")')
    assert find_tricks({"m.py": BEFORE}, {"m.py": moved})
    changed = BEFORE.replace('getattr(x, "name")', 'getattr(x, "other")')
    assert find_tricks({"m.py": BEFORE}, {"m.py": changed})


def test_a_variable_that_an_inner_function_imports_is_the_module() -> None:
    before = "def f():\n    os = None\n    def g():\n        nonlocal os\n        import os\n    g()\n"
    assert find_tricks({"m.py": before}, {"m.py": f"{before}    return os\n"})


def test_a_program_that_is_too_deep_to_be_read_may_not_be_changed() -> None:
    """Not even where it was too deep before: anything could stand in it."""
    deep = f"x = {' + '.join(['1'] * 3000)}\n"
    assert find_tricks({"m.py": deep}, {"m.py": f"{deep}import os\n"})


@pytest.mark.parametrize("junk", ["def f(:", "(" * 500, "\0"])
def test_what_is_no_python_is_a_trick_too(junk: str) -> None:
    assert find_tricks({"m.py": BEFORE}, {"m.py": junk})
