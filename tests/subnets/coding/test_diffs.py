from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.subnets.coding.diffs import MAX_DIFF_BYTES, DiffError, apply_diff, build_diff, is_protected, parse_diff

FILES = {"pkg/code.py": "a = 1\nb = 2\nc = 3\n", "crlf.py": "x = 1\r\ny = 2\r\n", "no_end.py": "z = 1\nlast = 2"}
TEXTS = st.text(st.sampled_from("ab \n\r\t\u2028é"), max_size=40)


def change(path: str = "pkg/code.py", old: str = "b = 2", new: str = "b = 5") -> str:
    return f"--- a/{path}\n+++ b/{path}\n@@ -1,3 +1,3 @@\n a = 1\n-{old}\n+{new}\n c = 3\n"


@given(
    st.dictionaries(st.sampled_from(["a.py", "b/c.py", "d.txt"]), TEXTS),
    st.dictionaries(st.sampled_from(["a.py", "b/c.py", "d.txt"]), TEXTS),
)
def test_a_diff_leads_from_any_files_to_any_others(before: dict[str, str], after: dict[str, str]) -> None:
    """Whatever ends the lines, and whether the last one ends at all. Empty files are not in a diff."""
    before = {path: text for path, text in before.items() if text}
    after = {path: text for path, text in after.items() if text}
    diff = build_diff(before, after)
    assert bool(diff) == (before != after)
    if diff:
        assert apply_diff(before, diff) == after


def test_git_reads_our_diffs_and_we_read_gits(tmp_path: Path) -> None:
    after = {**FILES, "pkg/code.py": "a = 1\nb = 9\nc = 3\n", "no_end.py": "z = 2\nlast = 2", "pkg/new.py": "n = 1\n"}
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(text.encode())
    git = [
        "git",
        "-C",
        str(tmp_path),
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@example.org",
        "-c",
        "core.autocrlf=false",
    ]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    subprocess.run([*git, "apply", "-"], input=build_diff(FILES, after).encode(), check=True)
    assert {path: (tmp_path / path).read_bytes().decode() for path in after} == after
    subprocess.run([*git, "add", "."], check=True)
    theirs = subprocess.run([*git, "diff", "--cached"], check=True, capture_output=True).stdout.decode()
    assert apply_diff(FILES, theirs) == after


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        ("", "empty"),
        ("hello\n", "no header"),
        (change("/etc/passwd"), "inside the folder"),
        (change("../up.py"), "inside the folder"),
        (change("pkg/../../up.py"), "inside the folder"),
        (change("pkg//code.py"), "inside the folder"),
        (change("C:/x.py"), "inside the folder"),
        (change("pkg\\code.py"), "inside the folder"),
        (change("tests/test_a.py"), "leave it alone"),
        (change("test_a.py"), "leave it alone"),
        (change("pkg/conftest.py"), "leave it alone"),
        (change("pytest.ini"), "leave it alone"),
        (change("sitecustomize.py"), "leave it alone"),
        (change("x.pth"), "leave it alone"),
        (change(".git/config"), "leave it alone"),
        (change("other.py"), "no file"),
        (change(old="b = 3"), "does not apply"),
        (change().replace("-1,3", "-1,2"), "more lines|begin with"),
        (change().replace("-1,3 +1,3", "-1,4 +1,4"), "ends inside"),
        (change()[:-1], "ends inside"),
        (change(new="b = 2"), "changes nothing"),
        (change() + change(), "each of them once"),
        ("diff --git a/x b/x\nold mode 100644\nnew mode 100755\n", "mode"),
        (
            "diff --git a/x b/x\nnew file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+/etc/passwd\n",
            "plain file",
        ),
        ("diff --git a/x b/x\nnew file mode 100755\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n", "plain file"),
        ("diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n", "rename"),
        ("diff --git a/x b/x\nGIT binary patch\n", "binary"),
        ("--- a/pkg/code.py\n+++ b/pkg/other.py\n@@ -1 +1 @@\n-a\n+b\n", "rename"),
        ("--- /dev/null\n+++ b/random.py\n@@ -0,0 +1 @@\n+a = 1\n", "in the way"),
        ("--- /dev/null\n+++ b/pytest.py\n@@ -0,0 +1 @@\n+a = 1\n", "in the way|leave it"),
        ("--- /dev/null\n+++ b/tercet_outcomes.py\n@@ -0,0 +1 @@\n+a = 1\n", "in the way"),
        ("--- /dev/null\n+++ b/pkg/code.py\n@@ -0,0 +1 @@\n+a = 1\n", "already"),
        ("--- /dev/null\n+++ b/pkg\n@@ -0,0 +1 @@\n+a = 1\n", "folder"),
        ("--- a/pkg/code.py\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a = 1\n", "whole file"),
        ("x\0y", "not text"),
        ("+" * (MAX_DIFF_BYTES + 1), "longer"),
    ],
)
def test_a_diff_that_does_what_it_may_not_is_refused(diff: str, words: str) -> None:
    with pytest.raises(DiffError, match=words):
        apply_diff(FILES, diff)


@given(st.text(st.sampled_from("@-+ \n\\d,019a/b\r"), max_size=120))
def test_junk_is_refused_or_read_and_never_breaks_the_reader(junk: str) -> None:
    with contextlib.suppress(DiffError):
        parse_diff("--- a/x\n+++ b/x\n" + junk)


def test_the_tasks_own_tests_are_protected_under_any_name() -> None:
    with pytest.raises(DiffError, match="leave it alone"):
        apply_diff(FILES, change(), protected=["pkg/code.py"])


@pytest.mark.parametrize(
    ("name", "before", "after", "allowed"),
    [
        ("pyproject.toml", "[project]\nname = 'x'\n", "[project]\nname = 'y'\n", True),
        (
            "pyproject.toml",
            "[project]\nname = 'x'\n",
            "[project]\nname = 'x'\n[tool.pytest.ini_options]\naddopts = '-k nothing'\n",
            False,
        ),
        ("pyproject.toml", "[tool.pytest.ini_options]\nx = 1\n", "[project]\n", False),
        ("pyproject.toml", "[project]\nname = 'x'\n", "[project\n", False),
        ("setup.cfg", "[metadata]\nname = x\n", "[metadata]\nname = y\n", True),
        ("setup.cfg", "[metadata]\nname = x\n", "[metadata]\nname = x\n[tool:pytest]\naddopts = --co\n", False),
        ("tox.ini", "[tox]\n", "[tox]\n[pytest]\naddopts = --co\n", False),
    ],
)
def test_settings_may_change_but_not_the_test_runners(name: str, before: str, after: str, allowed: bool) -> None:
    diff = build_diff({name: before}, {name: after})
    if allowed:
        assert apply_diff({name: before}, diff) == {name: after}
    else:
        with pytest.raises(DiffError, match="test runner"):
            apply_diff({name: before}, diff)


def test_carriage_returns_in_headers_are_forgiven_and_in_lines_they_count() -> None:
    diff = build_diff(FILES, {**FILES, "crlf.py": "x = 1\r\ny = 3\r\n"}).replace("a/crlf.py\n", "a/crlf.py\r\n")
    assert apply_diff(FILES, diff)["crlf.py"] == "x = 1\r\ny = 3\r\n"
    with pytest.raises(DiffError, match="other lines stand there"):
        apply_diff(FILES, diff.replace("-y = 2\r\n", "-y = 2\n"))


def test_what_is_a_test_goes_by_pytests_customs() -> None:
    assert all(map(is_protected, ["test_x.py", "a/x_test.py", "tests/data.json", "a/conftest.py", "tests.py"]))
    assert not any(map(is_protected, ["x.py", "a/contest.py", "attest/x.py", "protest.py", "setup.py"]))
