"""Tests made to fail: an honest program passes each as it is and fails it turned round, and nothing else changes."""

from __future__ import annotations

import random
import unittest
from collections.abc import Callable
from typing import Any

import pytest

from tercet.subnets.coding.twins import ended_unchanged, mix_twins, spoil_script

NAMES = {"twice": lambda n: n * 2, "says": lambda: "a b", "none": lambda: None, "nan": float("nan")}
LASTS = [
    "assert twice(2) == 4", "assert 4 == twice(2)", "assert twice(2.5) == 5.0", "assert twice(0) == 0", "assert says() == 'a b'",
    "assert twice('') == ''", "assert twice([1]) == [1, 1]", "assert twice(()) == ()", "assert twice(b'a') == b'aa'",
    "assert none() == None", "assert none() is None", "assert twice(True) == 2, 'said'", "assert {1: twice(1)} == {1: 2}",
    "assert {twice(1)} == {2}", "assert twice(1) == twice(1)", "assert max == max", "assert twice(10**9) == 2 * 10**9",
    "assert twice(float('inf')) == 1e999", "assert 'a' in says()", "assert twice(1) in {2}", "assert 'z' not in says()",
    "assert twice(1) != 3", "assert twice(1) < 3 <= twice(2)", "assert twice(1) <= 2", "assert not none()", "assert twice(1)",
    "assert twice(1) and says()", "assert isinstance(twice(1), int) or none()", "assert (\n        twice(2)\n        == 4\n    ), 'é'",
    "assert nan != nan", "assert(says())", "assert all(twice(n) == 2 * n for n in range(3))",
]  # fmt: skip
CALLS = [
    "self.assertEqual(twice(2), 4)", "self.assertEqual(4, twice(2))", "self.assertEqual(twice(2), twice(2))",
    "self.assertTrue(twice(1), 'said')", "self.assertFalse(none())", "self.assertIs(none(), None)", "self.assertIsNone(none())",
    "self.assertIn('a', says())", "self.assertNotIn('z', says())", "self.assertIsInstance(twice(1), int)",
    "self.assertNotEqual(twice(1), 1)", "self.assertListEqual(twice([1]), [1, 1])", "self.assertDictEqual({1: twice(1)}, {1: 2})",
]  # fmt: skip
LEFT_ALONE = [
    "def test_it():\n    if twice(1):\n        return\n    assert twice(1) == 2\n",
    "def test_it():\n    assert twice(1) == 2\n    twice(2)\n",
    "@unknown\ndef test_it():\n    assert twice(1) == 2\n",
    "def test_it():\n    assert twice(1) == 2\n\ndef test_more():\n    test_it()\n",
    "def test_it():\n    assert twice(1) == 2\n\ndef test_it():\n    assert twice(2) == 4\n",
    "def test_it():\n    with raises(KeyError):\n        {}[twice(1)]\n",
    "class TestIt:\n    def test_it(self):\n        self.assertAlmostEqual(twice(1), 2)\n        self.close()\n",
    "def test_it(:\n",
]


def spoilt(source: str, seed: int) -> str:
    """The one of both mixtures that is not the source."""
    changed = [
        mixture.files["test_it.py"]
        for mixture in mix_twins({"test_it.py": source}, random.Random(seed))
        if mixture.files
    ]
    assert len(changed) == 1
    return changed[0]


def names_of(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {**NAMES, "unittest": unittest}
    exec(source, names)
    return names


def in_case(source: str) -> Callable[[], object]:
    case = names_of(source)["TestIt"]("test_it")
    return case.debug  # type: ignore[no-any-return]


@pytest.mark.parametrize("last", LASTS)
def test_a_test_turned_round_fails(last: str) -> None:
    """Whatever is drawn; the original passes."""
    source = f"def test_it():\n    here = 1  # ünïcode\n    {last}\n"
    names_of(source)["test_it"]()
    for seed in range(5):
        with pytest.raises(AssertionError):
            names_of(spoilt(source, seed))["test_it"]()


@pytest.mark.parametrize("last", CALLS)
def test_a_method_of_unittest_turned_round_fails(last: str) -> None:
    source = f"class TestIt(unittest.TestCase):\n    def test_it(self):\n        {last}\n"
    in_case(source)()
    for seed in range(5):
        with pytest.raises(AssertionError):
            in_case(spoilt(source, seed))()


@pytest.mark.parametrize("source", LEFT_ALONE)
def test_what_may_end_before_its_last_statement_is_left_alone(source: str) -> None:
    for mixture in mix_twins({"test_it.py": source}, random.Random(1)):
        assert "test_it.py::test_it" not in mixture.wrong
        assert not mixture.files or "test_more" in source


def test_every_test_is_wrong_in_one_mixture_and_nothing_else_changes() -> None:
    """Half of them in each, by chance; the other lines are the same to the letter."""
    source = "# a comment, 'quoted'\n" + "".join(
        f"\n\ndef test_{n}():\n    assert twice({n}) == {2 * n}\n" for n in range(40)
    )
    one, other = mix_twins({"a_test.py": source})
    assert not one.wrong & other.wrong
    assert one.wrong | other.wrong == one.known == {f"a_test.py::test_{n}" for n in range(40)}
    assert one.wrong
    assert other.wrong
    for mixture in (one, other):
        lines = zip(source.splitlines(), mixture.files["a_test.py"].splitlines(), strict=True)
        assert sum(before != after for before, after in lines) == len(mixture.wrong)


def test_whoever_says_the_same_in_both_is_found_out() -> None:
    """All passed, all failed, or the truth of a broken program: each is wrong somewhere."""
    source = "".join(f"def test_{n}():\n    assert twice({n}) == {2 * n}\n" for n in range(4))
    mixtures = mix_twins({"t.py": source})
    names = [f"t.py::test_{n}" for n in range(4)]
    honest = [{name: "failed" if name in each.wrong else "passed" for name in names} for each in mixtures]
    assert not any(each.doubts(names, run) for each, run in zip(mixtures, honest, strict=True))
    assert set(ended_unchanged(mixtures, honest).values()) == {"passed"}
    for forged in ("passed", "failed"):
        runs = [dict.fromkeys(names, forged)] * 2
        assert any(each.doubts(names, run) for each, run in zip(mixtures, runs, strict=True))
    broken = [{**run, "t.py::test_2": "failed"} for run in honest]
    assert any(each.doubts(names, run) for each, run in zip(mixtures, broken, strict=True))
    assert ended_unchanged(mixtures, broken)["t.py::test_2"] == "failed"
    assert all(each.caught(names, run) for each, run in zip(mixtures, honest, strict=True))
    assert not all(each.caught(names, {}) for each in mixtures)


def test_inherited_tests_and_cut_runs_are_held_against_nobody() -> None:
    (one, other) = mix_twins({"t.py": "class TestA:\n    def test_a(self):\n        assert twice(1) == 2\n"})
    wrong = one if one.wrong else other
    assert not wrong.doubts(["t.py::TestB::test_a", "u.py::test_b"], {"t.py::TestB::test_a": "failed"})
    assert not wrong.doubts(["t.py::TestA::test_a"], {})


def test_a_script_turned_round_fails() -> None:
    source = "seen = twice(2)\nassert seen == 4\nfor n in range(3):\n    assert twice(n) == 2 * n\nassert says()\n"
    for seed in range(5):
        with pytest.raises(AssertionError):
            names_of(spoil_script(source, random.Random(seed)))
    for same in ("print(1)\n", "import sys\nif twice(0):\n    sys.exit()\nassert twice(1)\n", "assert (\n"):
        assert spoil_script(same) == same
