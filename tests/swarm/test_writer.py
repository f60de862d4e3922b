"""What a small model says becomes an entry, or is refused: pure rules."""

from __future__ import annotations

import pytest

from tercet.swarm.roles.checks.changelog import faults, function_text
from tercet.swarm.roles.writer import insert_entries, judge_sentence, tidy_sentence

CUT = "The function `most_common` was fixed by changing the logic to subtract 1 from the count of each word when it's a"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("This function now returns the most frequent word; the first of several.", "returns the most frequent word"),
        ("The function `most_common` was fixed. It now counts each word. If,", "counts each word"),
        ("most_common() takes the largest count, not the smallest.", "takes the largest count, not the smallest"),
        (
            "The function `most_common` was fixed by adding a check to ensure that the input list is not empty before it is divided by",
            "adding a check to ensure that the input list is not empty",
        ),
        (CUT, "changing the logic to subtract 1 from the count of each word"),
        ("The function `most_common` counts" + " every single one of the words" * 3, ""),
        (
            "It now returns the first word, the longest one, and takes the largest of all the counts there are in the dict",
            "returns the first word, the longest one",
        ),
        ("", ""),
    ],
)
def test_what_tells_nothing_is_taken_off(said: str, kept: str) -> None:
    """How a model begins, what comes after its first clause, and what it did not finish."""
    assert tidy_sentence(said, "most_common") == kept


@pytest.mark.parametrize(
    "said", ["short", "return `x` + 1 == {y}", "word " * 12, "I am sorry that I cannot do it", "x" * 99]
)
def test_what_is_no_plain_sentence_is_refused(said: str) -> None:
    """Code, repetition, apologies, and what does not fit."""
    assert judge_sentence(said, 78, set()) == 0


@pytest.mark.parametrize(
    "old",
    ["", "# Changelog\n\n## Unreleased\n\n## 1.0\n\n- First.\n", "# Changelog\n\n## 1.0\n\n- First.\n",
     "# Changelog\n\n## [Unreleased]\n\n### Fixed\n\n- Other.\n\n## 1.0\n"],
)  # fmt: skip
def test_an_entry_goes_where_the_checker_wants_it(old: str) -> None:
    """Whatever headings there are; the checker is another program than the one that writes."""
    new = insert_entries(old, ["- Fix `f`: it adds up now."])
    assert faults(old, new, ["f"]) == []


def test_a_checker_notices_a_lost_line_a_long_one_and_a_missing_name() -> None:
    """Each fault is named."""
    found = faults(
        "# Changelog\n\n## Unreleased\n\n- Old.\n", f"# Changelog\n\n## Unreleased\n\n- {'x' * 120}\n", ["f"]
    )
    assert [word for word in ("is gone", "longer than", "full stop", "no entry names `f`") if word in "; ".join(found)] == [
        "is gone", "longer than", "full stop", "no entry names `f`",
    ]  # fmt: skip


def test_a_function_is_shown_alone_by_its_whole_name() -> None:
    """With its layout, also inside of a class; nothing of what is not there, or is no Python."""
    source = "class A:\n    def f(self):\n        return 1\n\n\ndef f(): return 2\n"
    assert function_text(source, "A.f") == "    def f(self):\n        return 1"
    assert function_text(source, "f") == "def f(): return 2"
    assert function_text(source, "g") == function_text("def (", "g") == ""
