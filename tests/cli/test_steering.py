"""`tercet ps`, `top`, `logs`, `pause`, `resume`, `kill`, `nice`, `budget`, `attach`, as processes beside a living run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tercet.cli import frame
from tercet.cli.targets import find_run
from tercet.errors import JournalError
from tercet.swarm.journal import Journal, read_events

from .conftest import Outcome

RUN = "fair-otter-1"


@pytest.fixture
def folder(shell: Any) -> Path:
    folder: Path = shell.folder / "home" / "runs" / RUN
    folder.mkdir(parents=True)
    return folder


@dataclass(frozen=True, slots=True)
class Inside:
    """`tercet` in the test's own process, for what needs no process of its own: most of a command is its start."""

    capture: pytest.CaptureFixture[str]

    def run(self, *words: str) -> Outcome:
        self.capture.readouterr()
        code = frame.run([*words, "--no-color"])
        return Outcome(code, *self.capture.readouterr())


@pytest.fixture
def inside(shell: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    monkeypatch.setenv("TERCET_HOME", str(shell.folder / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    return Inside(capsys)


@contextlib.contextmanager
def living(folder: Path, agents: int = 7, foreign: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process that works on the run."""
    script = Path(__file__).parent / "steered_run.py"
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder), str(agents), str(foreign)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()
        assert process.wait(20) == 0
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


def opened(folder: Path) -> list[tuple[int, str]]:
    """(seq, node) of each call that was sent to a model."""
    events = read_events(folder / "journal.db", kinds=("call.opened",))
    return [(event.seq, str(event.body["agent"])) for event in events]


def said(folder: Path, verb: str) -> int:
    """Where in the journal a verb was last said."""
    return [
        event.seq for event in read_events(folder / "journal.db", kinds=("control",)) if event.body["verb"] == verb
    ][-1]


def grow(folder: Path, node: str = "run") -> bool:
    """Whether calls of `node` are sent, looked at for a moment."""
    count = sum(path.startswith(node) for _, path in opened(folder))
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if sum(path.startswith(node) for _, path in opened(folder)) > count:
            return True
        time.sleep(0.02)
    return False


def test_a_run_is_looked_at(inside: Inside, folder: Path) -> None:
    """Runs, agents, the glance and the log, on a terminal and as JSON; a stranger's colours do not reach the screen."""
    with living(folder):
        deadline = time.monotonic() + 20
        while not list(read_events(folder / "journal.db", kinds=("call",))) and time.monotonic() < deadline:
            time.sleep(0.02)
        runs = inside.run("ps", "--json").json["runs"]
        assert [(run["run"], run["state"], run["live"], run["working"]) for run in runs] == [(RUN, "running", True, 7)]
        assert "\x1b" not in inside.run("ps").out
        agents = inside.run("ps", f"{RUN}/repair", "--json").json["agents"]
        assert [agent["agent"] for agent in agents] == ["coder-0"]
        assert "coder-6" in inside.run("ps", "fair").out
        glance = inside.run("top", "--json").json
        assert (glance["run"], len(glance["crews"]), glance["first"]) == (RUN, 7, None)
        assert glance["crews"][0]["states"] == {"working": 1}
        assert "Nobody needs you" in inside.run("top", RUN).out
        log = inside.run("logs", RUN, "--json").json["events"]
        assert {"run.started", "crew.formed", "call"} <= {event["kind"] for event in log}
        mine = inside.run("logs", "coder-2", "--json").json["events"]
        assert {event["actor"] for event in mine if event["kind"] == "call"} == {"coder-2"}
        assert "complete scripted by scripted" in inside.run("logs", RUN, "--last", "5").out


def test_the_glance_is_flat_in_the_number_of_agents(inside: Inside, folder: Path) -> None:
    """A hundred agents have as many rows as seven."""
    with living(folder, 100):
        glance = inside.run("top", RUN).out
        assert len(glance.splitlines()) == 4 + 7


def test_a_hundred_agents_are_paused_and_go_on(shell: Any, folder: Path) -> None:
    """Ours and foreign ones: once `pause` is said no call is accepted, in the very event that says it."""
    with living(folder, 90, 10):
        deadline = time.monotonic() + 30
        while len({node for _, node in opened(folder)}) < 100 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len({node for _, node in opened(folder)}) == 100
        outcome = shell.run("pause", RUN)
        assert outcome.code == 0, outcome.err
        paused, count = said(folder, "pause"), len(opened(folder))
        time.sleep(0.3)
        assert all(seq < paused for seq, _ in opened(folder))
        assert len(opened(folder)) == count
        assert shell.run("resume", RUN).code == 0
        assert grow(folder)
        assert shell.run("kill", RUN, "--all").code == 0
        killed = said(folder, "kill")
        time.sleep(0.3)
        assert all(seq < killed for seq, _ in opened(folder))


def test_one_foreign_agent_is_held_and_killed(inside: Inside, folder: Path) -> None:
    """By its id alone; its neighbours go on, and `--dry-run` ends nobody."""
    with living(folder, 6, 1):
        assert inside.run("pause", "coder-6", "--json").json["agents"] == ["coder-6"]
        node = "run/ship/coder-6"
        assert grow(folder, "run/repair")
        assert all(seq < said(folder, "pause") for seq, its in opened(folder) if its == node)
        assert inside.run("resume", "coder-6").code == 0
        assert grow(folder, node)
        assert "would end" in inside.run("kill", "coder-6", "--dry-run").err
        assert grow(folder, node)
        assert inside.run("kill", "coder-6", "--json").json["target"] == f"{RUN}/ship/coder-6"
        assert grow(folder, "run/repair")
        assert all(seq < said(folder, "kill") for seq, its in opened(folder) if its == node)
    with living(folder, 6, 1):
        assert grow(folder, "run/repair")
        assert all(seq < said(folder, "kill") for seq, its in opened(folder) if its == node)


def test_a_run_that_cannot_be_read_hides_no_other(inside: Inside, folder: Path) -> None:
    """A journal that is being made, or is none, is a row that says so."""
    broken = folder.parent / "broken-run"
    broken.mkdir()
    (broken / "journal.db").write_bytes(b"not a database" * 100)
    with living(folder):
        shown = inside.run("ps").out
        assert ("its journal cannot be read" in shown, RUN in shown) == (True, True)
        assert (broken.name, "unreadable", "0/0") in {tuple(line.split()[:3]) for line in shown.splitlines()}
        assert inside.run("pause", "coder-1").code == 0


def test_what_nobody_knows_is_said_with_what_is_near(inside: Inside, folder: Path) -> None:
    """A typo, a whole run without --all, and no run at all."""
    empty = inside.run("top")
    assert (empty.code, "tercet run GOAL" in empty.err) == (2, True)
    with living(folder):
        typo = inside.run("kill", "coder-66")
        assert (typo.code, f"{RUN}/ship/coder-6" in typo.err) == (2, True)
        typo = inside.run("pause", f"{RUN}/repare")
        assert (typo.code, f"{RUN}/repair" in typo.err) == (2, True)
        whole = inside.run("kill", RUN)
        assert (whole.code, "--all" in whole.err) == (2, True)
        assert inside.run("nice", "coder-1", "0").code == 2
        assert grow(folder)


def test_the_newest_run_is_the_one_that_began_last(inside: Inside, folder: Path) -> None:
    """For every command, whatever was read or written in others since; but one that goes on comes first."""
    younger = folder.with_name("young-ibex-2")
    younger.mkdir()
    for each, began in ((folder, 1000), (younger, 2000)):
        with Journal(each / "journal.db") as journal:
            journal.note("run.started", {"goal": "x"})
        os.utime(each / "journal.lock", (began, began))
    for each in (younger, folder):
        assert inside.run("logs", each.name).code == 0
    (folder / "later").touch()
    assert [run["run"] for run in inside.run("ps", "--all", "--json").json["runs"]] == ["young-ibex-2", RUN]
    for words in (("top",), ("inbox",)):
        assert inside.run(*words, "--json").json["run"] == "young-ibex-2"
    assert find_run(folder.parents[1], None).name == "young-ibex-2"
    with living(folder):
        assert [inside.run(*words, "--json").json["run"] for words in (("top",), ("inbox",))] == [RUN, RUN]


def test_budgets_are_shown_added_and_set(inside: Inside, folder: Path) -> None:
    """Asked about first, not in a dry run; what has no limit cannot be raised; JSON in units as text."""
    with living(folder):
        assert grow(folder)
        rows = inside.run("budget", "show", RUN, "--json").json["nodes"]
        assert (rows[0]["name"], rows[0]["credit"]) == (RUN, "5000000")
        assert int(rows[0]["left"]) == 5_000_000 - int(rows[0]["spent"]) - int(rows[0]["reserved"])
        assert len(rows) >= 3
        refused = inside.run("budget", "add", RUN, "2")
        assert (refused.code, "may then spend 7 credit in all" in refused.err) == (3, True)
        assert "Dry run" in inside.run("budget", "add", RUN, "2", "--dry-run").err
        assert inside.run("budget", "add", RUN, "2", "--yes", "--json").json["credit"] == "7000000"
        unlimited = inside.run("budget", "add", "coder-1", "2", "--yes")
        assert (unlimited.code, "no limit of credit" in unlimited.err) == (2, True)
        assert inside.run("budget", "set", f"{RUN}/docs", "--credit", "3", "--tokens", "900000", "--yes").code == 0
        below = inside.run("budget", "set", RUN, "--credit", "0", "--yes")
        assert (below.code, "already" in below.err) == (2, True)
        rows = {row["name"]: row for row in inside.run("budget", "show", RUN, "--json").json["nodes"]}
        assert (rows[RUN]["credit"], rows[f"{RUN}/docs"]["tokens"]) == ("7000000", 900_000)


def test_a_run_that_nobody_works_on_is_steered_for_later(inside: Inside, folder: Path) -> None:
    """After a kill -9: it is said to be left, and what is told it holds in the next process."""
    with contextlib.suppress(AssertionError), living(folder) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "running, left" in inside.run("ps").out
    assert inside.run("attach", RUN).code == 4
    assert "paused in the next one" in inside.run("pause", "coder-3").err
    assert inside.run("nice", f"{RUN}/docs", "4").code == 0
    assert inside.run("budget", "add", RUN, "1", "--no-resume", "--yes").code == 0
    assert inside.run("budget", "show", RUN, "--json").json["nodes"][0]["credit"] == "6000000"
    with living(folder):
        assert grow(folder, "run/repair")
        assert all(seq < said(folder, "pause") for seq, node in opened(folder) if node.endswith("coder-3"))


def test_a_log_is_followed(shell: Any, folder: Path) -> None:
    """Lines come as they happen; Ctrl-C ends the looking, not the run."""
    with living(folder):
        for words in (("logs", "-f", RUN, "--last", "1"), ("attach", RUN)):
            looker = shell.start(*words)
            assert looker.stdout is not None
            lines = [looker.stdout.readline() for _ in range(20)]
            assert any("call" in line for line in lines)
            looker.send_signal(signal.SIGINT)
            looker.communicate(timeout=20)
            assert looker.returncode == (0 if words[0] == "attach" else 130)
        assert grow(folder)


@pytest.mark.slow
def test_a_run_that_was_killed_and_then_out_of_budget_goes_on_with_more(shell: Any) -> None:
    """A real run: kill -9, too little to think with (exit 3), then `budget add` takes it up and it reaches its goal."""
    shop = shell.folder / "shop"
    shop.mkdir()
    (shop / "till.py").write_text("def total(prices, discount=0):\n    return sum(prices) + discount\n")
    (shop / "test_till.py").write_text(
        "from till import total\n\n\ndef test_discount():\n    assert total([5, 5], 3) == 7\n"
    )
    (shop / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 1.0.0\n\n- First release.\n")
    sentence = "the discount is taken off the total instead of being added to it"
    (shell.folder / "script.json").write_text(json.dumps({"rules": [{"object": {"sentence": sentence}}]}))
    goal = "Make the failing tests pass and write the changelog entry"
    run = shell.start("run", goal, "--dir", "shop", "--scripted", "script.json", "--yes")
    runs = shell.folder / "home" / "runs"
    deadline = time.monotonic() + 60
    while not _has_begun(runs) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.kill()
    run.communicate()
    (name,) = [path.name for path in runs.iterdir()]
    assert "left" in shell.run("ps").out
    assert shell.run("budget", "set", name, "--tokens", "100", "--yes").code == 0
    broke = shell.run("resume", name, seconds=120)
    assert broke.code == 3, broke.err
    mend = broke.err.partition("Go on with more: tercet ")[2].partition("\n")[0]
    assert mend.startswith(f"budget add {name} --tokens "), (
        "of tokens more, since they were out, and no resume behind it"
    )
    assert "out_of_budget" in shell.run("ps", "--all").out
    assert shell.run("budget", "set", f"{name}/repair/writer-1", "--credit", "0.25", "--yes").code == 0
    done = shell.run(*mend.split(), "--yes", seconds=120)
    assert done.code == 0, done.err
    assert "taken off the total" in (shop / "CHANGELOG.md").read_text().lower()
    rows = {row["name"]: row for row in shell.run("budget", "show", name, "--json").json["nodes"]}
    writer = rows[f"{name}/repair/writer-1"]
    assert writer["credit"] == "250000", "the limit is mine, whatever its task was allowed"
    assert int(writer["allowed"]) > 250_000
    assert writer["left"] == "250000"
    again = shell.run("pause", name)
    assert (again.code, "has ended: done" in again.err) == (3, True)


def _has_begun(runs: Path) -> bool:
    with contextlib.suppress(JournalError):  # it is being made
        return any(any(read_events(path, kinds=("task.started",))) for path in runs.glob("*/journal.db"))
    return False
