"""A run's kernel is killed with SIGKILL after every event; resumed, it ends as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.faults.killed_kernel import PRICE, TASKS

from tercet.subnets.kit import Sandbox
from tercet.swarm.events import Event, read_events, verify_journal

DRIVER = Path(__file__).with_name("killed_kernel.py")


def run(folder: Path, how: str) -> tuple[dict[str, Any], list[Event]]:
    """The driver's report, and the journal."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder), how], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["last"] == 0, f"{report}: {done.stderr[-3000:]}"
    return report, list(read_events(folder / "run-1" / "journal.db"))


def paid(events: list[Event]) -> list[Event]:
    return [event for event in events if event.kind == "call" and event.body["status"] == "complete"]


@pytest.mark.slow
def test_a_kernel_that_is_killed_after_every_event_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Same files, same money; no task done twice, no answer paid twice, and the record holds."""
    Sandbox.find()
    _, calm = run(tmp_path / "calm", "calm")
    report, events = run(tmp_path / "killed", "killing")
    assert set(report["signals"]) == {9}
    assert len(report["signals"]) >= 25, "the kills really came, one for each thing that happened"
    assert sorted(path.name for path in (tmp_path / "killed" / "mine").iterdir()) == ["0.txt", "1.txt"]
    for n in range(TASKS):
        assert (tmp_path / "killed" / "mine" / f"{n}.txt").read_text() == "a\nb\nrun\n"
    ended = events[-1]
    assert (ended.kind, ended.body["status"]) == ("run.ended", "done")
    assert ended.body["spent"] == calm[-1].body["spent"] == 2 * TASKS * PRICE
    assert sum(event.body["charged"] for event in events if event.kind == "call") == ended.body["spent"]
    steps = Counter((event.task, event.body["step"]) for event in paid(events))
    assert set(steps.values()) == {1}, "each answer has one receipt"
    asked = Counter((tmp_path / "killed" / "asked").read_text().splitlines())
    assert len(asked) == 2 * TASKS
    assert max(asked.values()) <= 2, "only what was in flight was asked again"
    assert Counter(event.task for event in events if event.kind == "task.done") == {
        f"make-{n}": 1 for n in range(TASKS)
    }
    assert [event.body["attempt"] for event in events if event.kind == "task.failed"] == []
    assert verify_journal(tmp_path / "killed" / "run-1" / "journal.db")[0] == len(events)
    assert (tmp_path / "killed" / "run-1" / "report.md").is_file()
