"""Strangers' tasks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from tercet.errors import TaskError
from tercet.subnets.training.tasks import RoundTask, Rules, parse_task

TASK = RoundTask(Rules("small", "c" * 64), 3, "a" * 64, bytes(32))


def test_a_task_survives_the_way() -> None:
    assert parse_task(TASK.to_json()) == TASK
    assert TASK.limit.completion == 20 * 16 * 64


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "chat"),
        ("round", -1),
        ("round", True),
        ("round", 1 << 40),
        ("checkpoint", "A" * 64),
        ("checkpoint", None),
        ("seed", "0" * 63),
        ("rules", None),
        ("rules", {}),
        ("rules", {**asdict(TASK.rules), "more": 1}),
        *(
            ("rules", {**asdict(TASK.rules), name: value})
            for name, value in [
                ("model", "os; rm"),
                ("model", 7),
                ("corpus", "../../etc"),
                ("steps", 0),
                ("steps", 1e3),
                ("batch", 10**9),
                ("context", -1),
                ("rate", float("nan")),
                ("rate", "1"),
                ("momentum", 3),
                ("base", "x"),
                ("rank", -1),
            ]
        ),
        ("rules", {**asdict(TASK.rules), "steps": 100_000, "batch": 4096, "context": 8192}),
    ],
)
def test_what_is_no_task_is_refused(field: str, value: Any) -> None:
    with pytest.raises(TaskError):
        parse_task({**TASK.to_json(), field: value})
