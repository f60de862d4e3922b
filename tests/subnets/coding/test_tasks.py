from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.errors import TaskError
from tercet.subnets.coding.diffs import MAX_DIFF_BYTES
from tercet.subnets.coding.tasks import (
    AnswerError,
    FixTask,
    RepositoryTask,
    parse_task,
    read_answer,
    repository_work,
    task_digest,
)

FIX = {"kind": "fix", "files": {"a.py": "x = 1\n"}, "tests": {"test_a.py": "def test(): pass\n"}, "failure": "no"}
REPOSITORY = {
    "kind": "repository",
    "job": "0x" + "ab" * 32,
    "files": {"a.py": "x = 1\n"},
    "binary": {"logo.png": "iVBORw=="},
    "command": "python -m pytest -q 'a b'",
    "failure": "",
}


def test_both_kinds_are_read() -> None:
    fix, repository = parse_task(FIX), parse_task(REPOSITORY)
    assert isinstance(fix, FixTask)
    assert isinstance(repository, RepositoryTask)
    assert list(repository.command) == ["python", "-m", "pytest", "-q", "a b"]
    assert repository.binary == {"logo.png": b"\x89PNG"}


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        (FIX, {"kind": "other"}),
        (FIX, {"kind": ["fix"]}),
        (FIX, {"files": None}),
        (FIX, {"files": {"a.py": 1}}),
        (FIX, {"files": {"/etc/passwd": ""}}),
        (FIX, {"files": {"../a.py": ""}}),
        (FIX, {"files": {"a": "", "a/b": ""}}),
        (FIX, {"files": {"a.py": "\ud800"}}),
        (FIX, {"files": {str(n): "" for n in range(500)}}),
        (FIX, {"files": {"a.py": "x" * 1_000_000}}),
        (FIX, {"tests": {}}),
        (FIX, {"tests": {"a.py": ""}}),
        (FIX, {"failure": 3}),
        (FIX, {"failure": "x" * 100_000}),
        (REPOSITORY, {"job": "0x12"}),
        (REPOSITORY, {"job": 5}),
        (REPOSITORY, {"binary": {"b": "%%%"}}),
        (REPOSITORY, {"binary": {"a.py": ""}}),
        (REPOSITORY, {"command": ""}),
        (REPOSITORY, {"command": "pytest 'x"}),
        (REPOSITORY, {"command": "pytest\nrm"}),
        (REPOSITORY, {"command": ["pytest"]}),
    ],
)
def test_a_malformed_task_is_refused(task: dict[str, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(TaskError):
        parse_task({**task, **changes})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(["kind", "files", "tests", "failure", "job", "command", "binary"]), JSON))
def test_no_json_breaks_the_reader(task: dict[str, Any]) -> None:
    with pytest.raises(TaskError):
        parse_task(task)


@pytest.mark.parametrize(
    "pieces", [[], [{}], [{"diff": 1}], [{"diff": "a"}, {"diff": "b"}], ["x"], [{"diff": "+" * (MAX_DIFF_BYTES + 1)}]]
)
def test_an_answer_is_one_piece_with_a_diff(pieces: list[Any]) -> None:
    with pytest.raises(AnswerError):
        read_answer(pieces)


def test_a_jobs_work_is_all_but_its_id_and_a_tasks_name_all_but_the_words() -> None:
    assert repository_work(REPOSITORY) == repository_work({**REPOSITORY, "job": "0x" + "00" * 32})
    assert repository_work(REPOSITORY) != repository_work({**REPOSITORY, "command": "true"})
    assert task_digest(FIX) == task_digest({**FIX, "failure": "otherwise"})
    assert task_digest(FIX) != task_digest({**FIX, "files": {"a.py": "x = 2\n"}})
