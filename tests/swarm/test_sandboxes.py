"""Which packages a plan needs, and what is said where one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tercet.errors import PackageMissingError
from tercet.swarm.plan import Plan, parse_plan
from tercet.swarm.sandboxes import find_replay_sandbox, validate_packages


def plan_of(command: Sequence[str] = ("test", "-s", "a"), **more: Any) -> Plan:
    """One task."""
    task = {"id": "a", "title": "a", "role": "writer", "budget": 0, "done": {"command": command}, **more}
    return parse_plan({"goal": "a", "tasks": [task]}, budget=0)


@pytest.fixture(autouse=True)
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them is installed."""
    monkeypatch.setattr("tercet.swarm.sandboxes._installed", lambda _name: False)


@pytest.mark.parametrize(
    "command", [("pytest", "-q"), ("python3", "-m", "pytest"), ("python3", "-B", "-m", "pytest", "-q", "tests")]
)
def test_a_done_test_that_runs_pytest_needs_it(command: Sequence[str]) -> None:
    """By its own name, or as a module."""
    with pytest.raises(PackageMissingError, match=r"needs pytest, .* pip install 'tercet\[coding\]'\.$"):
        validate_packages(plan_of(command))


@pytest.mark.parametrize(
    "command",
    [("grep", "pytest", "requirements.txt"), ("test", "-s", "pytest"), ("python3", "-m", "unittest", "pytest")],
)
def test_a_done_test_that_speaks_of_pytest_needs_nothing(command: Sequence[str]) -> None:
    """It is a word like any other there."""
    validate_packages(plan_of(command))


def test_all_that_is_missing_is_said_at_once() -> None:
    """Packages of ours by their extras, lent ones by their names; whoever may do a task counts as who does it."""
    plan = plan_of(("pytest",), role="assistant", options={"candidates": ["analyst"]})
    with pytest.raises(PackageMissingError) as missing:
        validate_packages(plan, ["numpy"])
    assert str(missing.value) == (
        "The run needs matplotlib and numpy and pydantic-ai-slim and pytest, not installed here. Install: pip install "
        "'tercet[coding,swarm]' numpy."
    )


@pytest.mark.parametrize(("role", "wanted"), [("coder", "numpy and pytest"), ("assistant", "pydantic-ai-slim")])
def test_a_replay_needs_what_its_roles_do_again(role: str, wanted: str) -> None:
    """A coder's tests would fail without it, and the replay would say that the record differs."""
    with pytest.raises(PackageMissingError, match=f"needs {wanted}, "):
        find_replay_sandbox(plan_of(role=role), ["numpy"])


def test_a_replay_of_other_roles_lends_what_there_is() -> None:
    """An analyst's plots are read back."""
    find_replay_sandbox(plan_of(("pytest",), role="analyst"), ["numpy"])
