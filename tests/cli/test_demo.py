"""The demo itself: real models, real processes, real payments; and what is left after Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tercet.cli.record import Record

from .conftest import Shell
from .lean import extras_of, lean


def of_this_run(folder: Path) -> list[str]:
    """Command lines of processes that work in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TERCET_HOME={folder}".encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(600)
def test_the_whole_market_runs_pays_and_balances(shell: Shell) -> None:
    """Three epochs with smol: honest miners earn, cheats do not, agents reach their goal on what they buy, the books balance.

    With the packages alone that `make demo` installs.
    """
    packages = lean(shell.folder / "site", extras_of("run"))
    done = shell.run("demo", "--model", "smol", "--dir", "run", "--json", seconds=590, environment=packages)
    assert done.code == 0, done.err
    record = Record.model_validate_json(done.out)
    miners = {miner.name: miner for miner in record.miners}
    assert len(record.epochs) >= 3, "one more where the machine is busy"
    assert record.balanced
    assert sum(request.stream for request in record.requests) > 0
    assert sum(not request.stream for request in record.requests) > 0
    for name in ("honest", "honest-slow"):
        assert miners[name].earned.stake > 0
        assert miners[name].earned.credit > 0
    for name in ("liar", "cacher"):
        assert miners[name].earned.stake == 0
        assert max(miners[name].ratio) < 0.10, done.err
        assert "challenges failed" in miners[name].why
    assert miners["mortal"].answered < miners["mortal"].requests
    check_agents(record)
    assert Path(record.report).read_text().startswith("<!doctype html>")
    assert of_this_run(shell.folder / "run") == []


def check_agents(record: Record) -> None:
    """Goal, task, receipt, miner, payout: every answer that an agent bought was charged by a miner and redeemed on the chain."""
    agents = record.agents
    assert agents is not None
    assert agents.status == "done"
    assert {task.id for task in agents.tasks if task.text} == {"open", "welcome"}
    assert agents.calls
    earned = {miner.name: miner.earned.credit for miner in record.miners}
    for call in agents.calls:
        assert call.receipt.startswith("chatcmpl-")
        assert 0 < call.charged <= call.miner_earned == earned[call.miner]
        assert call.miner_redeemed == call.miner_earned
    assert sum(call.charged for call in agents.calls) == agents.spent == agents.budget - agents.returned
    page = Path(record.report).read_text()
    assert all(call.receipt in page for call in agents.calls)


@pytest.mark.model
def test_ctrl_c_leaves_nothing_running(shell: Shell) -> None:
    """Exit code 130, no child survives, in the middle of loading."""
    process = shell.start("demo", "--model", "smol", "--dir", "run")
    log = shell.folder / "run" / "logs" / "honest.log"
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    assert of_this_run(shell.folder / "run")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert of_this_run(shell.folder / "run") == []


@pytest.mark.model
def test_a_killed_demo_takes_its_children_along(shell: Shell) -> None:
    """Even SIGKILL leaves nothing running."""
    process = shell.start("demo", "--model", "smol", "--dir", "run")
    log = shell.folder / "run" / "logs" / "honest.log"
    deadline = time.monotonic() + 60
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    while of_this_run(shell.folder / "run") and time.monotonic() < deadline + 30:
        time.sleep(0.2)
    assert of_this_run(shell.folder / "run") == []


def test_stopping_what_does_not_run_says_so(shell: Shell) -> None:
    """`demo --stop` on a folder without processes is no error."""
    done = shell.run("demo", "--stop", str(shell.folder / "nothing"))
    assert done.code == 0
    assert "Nothing" in done.err
