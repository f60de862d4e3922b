"""`tercet journal`: a run's record, read and checked."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tercet.swarm.journal import Journal


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one run of three events."""
    folder = tmp_path / "runs" / "fair-otter"
    folder.mkdir(parents=True)
    with Journal(folder / "journal.db") as journal:
        journal.note("run.started", {"goal": "g"})
        journal.note("tool", {"text": "\x1b[2J" + "x" * 300}, actor="coder-1\x1b[2J", task="fix")
        journal.note("run.state", {"state": "running"})
    return tmp_path


def tercet(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tercet.cli", *arguments, "--home", str(home)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_run_is_verified_by_its_id_or_path(home: Path) -> None:
    """The same figures by id, folder and file; a head that was kept is found, another is not."""
    folder = home / "runs" / "fair-otter"
    found = [
        json.loads(tercet(home, "journal", "verify", run, "--json").stdout)
        for run in ("fair-otter", str(folder), str(folder / "journal.db"))
    ]
    assert [report["events"] for report in found] == [3, 3, 3]
    head = found[0]["head"]
    assert tercet(home, "journal", "verify", "fair-otter", "--head", head).returncode == 0
    other = tercet(home, "journal", "verify", "fair-otter", "--head", "00" * 32)
    assert other.returncode == 1
    assert "its end was cut off" in other.stderr
    assert tercet(home, "journal", "verify", "fair-otter", "--head", "xyz").returncode == 2


def test_a_run_is_named_by_how_it_begins(home: Path) -> None:
    """As for every other command; a name that nobody has is answered with what is near, and exit code 2."""
    assert json.loads(tercet(home, "journal", "verify", "fair", "--json").stdout)["events"] == 3
    unknown = tercet(home, "journal", "show", "fair-oter")
    assert unknown.returncode == 2
    assert "'fair-oter' names no run, crew or agent. Near: fair-otter" in unknown.stderr
    assert not (home / "runs" / "fair-oter").exists()


def test_a_changed_run_is_named(home: Path) -> None:
    """Exit code 1, and the event."""
    path = home / "runs" / "fair-otter" / "journal.db"
    db = sqlite3.connect(path)
    db.execute('UPDATE events SET body = \'{"goal":"h"}\' WHERE seq = 1')
    db.commit()
    db.close()
    result = tercet(home, "journal", "verify", "fair-otter")
    assert result.returncode == 1
    assert "at or before event 1" in result.stderr


def test_events_are_shown_and_cannot_move_the_cursor(home: Path) -> None:
    """A table for people, JSON for programs; what agents wrote is escaped."""
    table = tercet(home, "journal", "show", "fair-otter")
    assert table.returncode == 0
    assert "\x1b" not in table.stdout
    assert max(map(len, table.stdout.splitlines())) < 200
    plain = json.loads(tercet(home, "journal", "show", "fair-otter", "--kind", "tool", "--json").stdout)
    (event,) = plain["events"]
    assert event["body"]["text"].startswith("\x1b[2J")
    last = json.loads(tercet(home, "journal", "show", "fair-otter", "--last", "1", "--json").stdout)
    assert [event["seq"] for event in last["events"]] == [3]
    behind = json.loads(tercet(home, "journal", "show", "fair-otter", "--after", "1", "--json").stdout)
    assert [event["seq"] for event in behind["events"]] == [2, 3]


def test_a_run_that_is_not_there(home: Path) -> None:
    """It says how to see the runs there are."""
    result = tercet(home, "journal", "show", "nobody")
    assert result.returncode == 2
    assert "tercet ps --all" in result.stderr
