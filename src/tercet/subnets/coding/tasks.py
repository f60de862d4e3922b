"""The forms of a task and of an answer. What comes from strangers is read here, and bounded.

A task is a program whose tests fail. `fix` is the market's ordinary question: source files, the visible half of the tests,
and how those fail. `repository` is a user's own code under a held job: all its files, and the command that tests it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeAlias

from tercet.errors import TaskError
from tercet.market import Task
from tercet.subnets.coding.diffs import MAX_DIFF_BYTES, DiffError, validate_path
from tercet.subnets.mechanism import Piece

__all__ = [
    "MAX_FILES",
    "MAX_TASK_BYTES",
    "AnswerError",
    "CodeTask",
    "FixTask",
    "RepositoryTask",
    "parse_task",
    "read_answer",
    "repository_work",
    "task_digest",
]

MAX_TASK_BYTES = 900_000
"""All files of a task together, as they travel; a request holds 1 MiB."""
MAX_FILES = 400
_MAX_FAILURE = 20_000
_MAX_COMMAND = 500
_JOB = re.compile(r"0x[0-9a-f]{64}")


class AnswerError(Exception):
    """What a miner sent is no answer; the message is for the miner."""


@dataclass(frozen=True, slots=True)
class FixTask:
    """Make the tests pass, the hidden ones too."""

    files: Mapping[str, str]
    tests: Mapping[str, str]
    """The visible test modules."""
    failure: str
    """How they fail now."""


@dataclass(frozen=True, slots=True)
class RepositoryTask:
    """Make a user's command succeed."""

    job: str
    """Id of the held job that pays, 0x and 64 hexadecimal digits."""
    files: Mapping[str, str]
    """Text files by path."""
    binary: Mapping[str, bytes]
    """All others."""
    command: Sequence[str]
    """What tests it, run in its folder."""
    failure: str


CodeTask: TypeAlias = FixTask | RepositoryTask


def parse_task(task: Task) -> CodeTask:
    """Read a stranger's task.

    Raises:
        TaskError: it has not the form of one, or is too large.

    """
    kind = task.get("kind")
    if kind == "fix":
        files, tests = _texts(task.get("files"), "files"), _texts(task.get("tests"), "tests")
        if not tests or set(files) & set(tests):
            raise TaskError("A task has tests, and none of them is also a source file.")
        _validate_size(files, tests)
        return FixTask(files, tests, _text(task.get("failure", ""), "failure", _MAX_FAILURE))
    if kind == "repository":
        job = _text(task.get("job"), "job", 66)
        if _JOB.fullmatch(job) is None:
            raise TaskError(f"'job' is a held job's id, 0x and 64 digits, not {job!r}.")
        files, packed = _texts(task.get("files"), "files"), _texts(task.get("binary", {}), "binary")
        _validate_size(files, packed)
        if set(files) & set(packed):
            raise TaskError("A file is in the task twice.")
        try:
            binary = {path: base64.b64decode(text, validate=True) for path, text in packed.items()}
        except (binascii.Error, ValueError):
            raise TaskError("A binary file of the task is not base64.") from None
        command = _command(task.get("command"))
        return RepositoryTask(job, files, binary, command, _text(task.get("failure", ""), "failure", _MAX_FAILURE))
    raise TaskError(f"A task's kind is 'fix' or 'repository', not {kind!r:.80}.")


def repository_work(task: Task) -> bytes:
    """What a held job's buyer and worker agree on, as bytes: all of the task but the job's own id."""
    agreed = {name: task.get(name) for name in ("kind", "files", "binary", "command", "failure")}
    return json.dumps(agreed, sort_keys=True, separators=(",", ":")).encode()


def task_digest(task: Task) -> bytes:
    """Names a task: 32 bytes over all of it but the words of the failure, which other machines may put otherwise."""
    named = {name: value for name, value in task.items() if name != "failure"}
    return sha256(json.dumps(named, sort_keys=True, separators=(",", ":")).encode()).digest()


def read_answer(pieces: Sequence[Piece]) -> str:
    """The diff of an answer; empty when the miner says that it found none.

    Raises:
        AnswerError: it is something else.

    """
    if len(pieces) != 1 or not isinstance(pieces[0], Mapping):
        raise AnswerError('an answer is one piece: {"diff": "...", "usage": {...}}')
    diff = pieces[0].get("diff")
    if not isinstance(diff, str):
        raise AnswerError("the answer has no diff")
    if len(diff) > MAX_DIFF_BYTES:
        raise AnswerError(f"the diff is longer than {MAX_DIFF_BYTES} bytes")
    return diff


def _texts(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_FILES:
        raise TaskError(f"{name!r} is an object of at most {MAX_FILES} texts by path.")
    for path, text in value.items():
        if not isinstance(text, str):
            raise TaskError(f"{name!r} holds something that is no text.")
        try:
            validate_path(path)
            text.encode()
        except DiffError as error:
            raise TaskError(f"In {name!r}, {error}.") from None
        except UnicodeEncodeError:
            raise TaskError(f"{path!r} in {name!r} is not Unicode.") from None
    folders = {"/".join(parts[:n]) for parts in (path.split("/") for path in value) for n in range(1, len(parts))}
    if folders & set(value):
        raise TaskError(f"{name!r} has a file that is also a folder.")
    return value


def _validate_size(*groups: Mapping[str, str]) -> None:
    size = sum(len(path) + len(text.encode()) for group in groups for path, text in group.items())
    if size > MAX_TASK_BYTES:
        raise TaskError(f"The files of a task have {size} bytes, and {MAX_TASK_BYTES} at most may travel.")


def _text(value: Any, name: str, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise TaskError(f"{name!r} is a text of at most {most} characters.")
    return value


def _command(value: Any) -> Sequence[str]:
    text = _text(value, "command", _MAX_COMMAND)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise TaskError(f"The test command {text!r} cannot be read: {error}.") from None
    if not words or not text.isprintable():
        raise TaskError("The test command is empty.")
    return words
