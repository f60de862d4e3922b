"""A workbench in the real sandbox, and two small programs that no network is needed for."""

from __future__ import annotations

import pytest

from tercet.subnets.coding.bench import Bench
from tercet.subnets.coding.draw import Corpus
from tercet.subnets.coding.projects import Project
from tercet.subnets.kit import Sandbox

FUNCTION = '''def clamp_sum(numbers, low, high):
    """Sum of the numbers from low to high, both included."""
    total = 0
    for number in numbers:
        if low <= number <= high:
            total += number
    return total
'''
CALLS = [
    ([1, 2, 3], 1, 3),
    ([1, 2, 3], 2, 2),
    ([], 0, 1),
    ([5, 6, 7], 6, 7),
    ([-1, 0, 1], -1, 0),
    ([10, 20, 30], 10, 29),
    ([4, 4, 4], 4, 4),
    ([9], 0, 9),
]
LIBRARY = '''"""Words."""
import os


def shout(text):
    return text.upper() + "!"


def first_word(text):
    words = text.split()
    if len(words) > 0:
        return words[0]
    return ""


def count(text, word):
    found = 0
    for other in text.split():
        if other == word:
            found += 1
    return found


def folder(path):
    return os.path.dirname(path)
'''
LIBRARY_TESTS = """import pytest

from words import count, first_word, folder, shout


@pytest.mark.parametrize("text", ["a", "bc"])
def test_shout(text):
    assert shout(text) == text.upper() + "!"


def test_shout_empty():
    assert shout("") == "!"


def test_first_word():
    assert first_word("one two") == "one"


def test_first_word_of_nothing():
    assert first_word("  ") == ""


def test_first_word_alone():
    assert first_word("one") == "one"


def test_count():
    assert count("a b a", "a") == 2


def test_count_none():
    assert count("a b a", "c") == 0


def test_count_all():
    assert count("c c c", "c") == 3


def test_folder():
    assert folder("a/b") == "a"
"""


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    return Sandbox.find(python_packages=("pytest",))


@pytest.fixture
def bench(sandbox: Sandbox) -> Bench:
    return Bench(sandbox)


@pytest.fixture(scope="session")
def function_project() -> Project:
    asserts = [
        f"\n\ndef test_{n}():\n    assert clamp_sum{call!r} == {sum(x for x in call[0] if call[1] <= x <= call[2])}\n"
        for n, call in enumerate(CALLS, 1)
    ]
    tests = "from solution import clamp_sum\n" + "".join(asserts)
    probes = {f"test_{n}": list(call) for n, call in enumerate(CALLS, 1)}
    return Project(
        "clamp", {"solution.py": FUNCTION}, {"test_solution.py": tests}, ("solution.py",), "clamp_sum", probes
    )


@pytest.fixture(scope="session")
def library_project() -> Project:
    return Project("words", {"words.py": LIBRARY}, {"tests/test_words.py": LIBRARY_TESTS}, ("words.py",))


@pytest.fixture
def functions(bench: Bench, function_project: Project) -> Corpus:
    return Corpus(bench, [function_project], [], 0.0)


@pytest.fixture
def libraries(bench: Bench, library_project: Project) -> Corpus:
    return Corpus(bench, [], [library_project], 1.0)
