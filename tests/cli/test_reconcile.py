"""`tercet budget reconcile` over a real journal, against the market's own gateway behind a line that loses answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.swarm.gateway.faulty_market import COST, Line, faulty_market

from tercet.cli import frame
from tercet.errors import TercetError, ThinkingError
from tercet.swarm.config import RunConfig
from tercet.swarm.control import request, serve_control
from tercet.swarm.gateway import Budget, Call, Desk, unsettled, wire
from tercet.swarm.journal import Journal, read_events
from tercet.swarm.report import write_report
from tercet.swarm.state import fold

from .conftest import Outcome, Shell

RUN = "fair-otter-1"
BUDGET = 5_000


@dataclass
class Over:
    """A run that is over, and owes the market an answer."""

    line: Line
    folder: Path
    shell: Shell
    capture: pytest.CaptureFixture[str]

    @property
    def key_file(self) -> Path:
        return self.folder.parent / "key"

    async def lose(self, *, ended: bool = True) -> int:
        """One call that was answered, and one whose answer never came; what is booked for the second."""
        upstream = {"kind": "http", "url": self.line.url, "key_file": str(self.key_file), "model": "fake"}
        self.key_file.write_text(self.line.secret)
        with Journal(self.folder / "journal.db") as journal:
            await journal.append("run.started", asdict(RunConfig("count", BUDGET, upstream=upstream)))
            async with Desk(journal, self.line.upstream()) as desk:
                desk.budgets.open("run", Budget(credit=BUDGET))
                await desk.ask(call())
                self.line.fault, self.line.deaf = "drop", True
                with pytest.raises(ThinkingError):
                    await desk.ask(call())
                unknown = desk.budgets.unknown("run").credit
                spent = desk.budgets.spent("run").credit
            if ended:
                await journal.append("run.ended", {"status": "failed", "why": "", "spent": spent, "returned": 0})
                write_report(self.folder, fold(journal.events()))
        self.line.fault = "none"
        return unknown

    async def reconcile(self, *words: str) -> Outcome:
        """The command, beside the market's loop."""
        self.capture.readouterr()
        code = await asyncio.to_thread(frame.run, ["budget", "reconcile", *words, "--no-color"])
        return Outcome(code, *self.capture.readouterr())

    def events(self, *kinds: str) -> list[Any]:
        return [event.body for event in read_events(self.folder / "journal.db", kinds=kinds)]

    def spent(self) -> int:
        return fold(read_events(self.folder / "journal.db")).spent().charged


@pytest.fixture
async def over(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Over]:
    monkeypatch.setenv("TERCET_HOME", str(shell.folder / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(wire, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(unsettled, "_RESTS", (0.01, 0.01))
    folder = shell.folder / "home" / "runs" / RUN
    folder.mkdir(parents=True)
    async with faulty_market(tmp_path / "town") as line:
        yield Over(line, folder, shell, capsys)


def call() -> Call:
    return Call(agent="run/c/a", messages=[{"role": "user", "content": "count"}], max_tokens=5)


async def test_what_stays_unknown_is_settled_once_its_seller_says(over: Over) -> None:
    """Exit 4 while nobody can say; then 0, once: the journal, the books and the report agree with the market."""
    most = await over.lose()
    assert most > COST
    silent = await over.reconcile()
    assert silent.code == 4
    assert "does not say what a call cost" in silent.out
    assert "0 settled" in silent.err
    assert over.spent() == COST + most
    over.line.deaf = False
    done = await over.reconcile(RUN, "--json")
    assert done.code == 0
    (settled,) = done.json["settled"]
    assert (settled["agent"], settled["booked"], settled["charged"]) == ("run/c/a", most, COST)
    assert over.spent() == over.line.charged == 2 * COST
    report = json.loads((over.folder / "report.json").read_text())
    assert (report["spent"], report["returned"]) == (2 * COST, BUDGET - 2 * COST)
    assert report["unknown"] == {"calls": 0, "booked": 0}
    again = await over.reconcile("--json")
    assert (again.code, again.json["settled"], again.json["unknown"]) == (0, [], [])
    assert len(over.events("call.reconciled")) == 1


async def test_a_kill_while_it_asks_books_nothing_twice(over: Over) -> None:
    """Kill -9 when the market has closed the call and its answer is on the way; two at once: the second is refused."""
    await over.lose(ended=False)
    over.line.deaf, over.line.mute = False, True
    first = over.shell.start("budget", "reconcile", RUN)
    await asyncio.wait_for(over.line.asked.wait(), 30)
    second = await over.reconcile(RUN)
    assert second.code != 0
    assert "Another process" in second.err
    first.kill()
    await asyncio.to_thread(first.communicate)
    assert not over.events("call.reconciled")
    over.line.mute = False
    assert (await over.reconcile(RUN)).code == 0
    assert (await over.reconcile(RUN)).code == 0
    assert [body["charged"] for body in over.events("call.reconciled")] == [COST]
    assert over.spent() == over.line.charged == 2 * COST


async def test_calls_that_were_in_flight_when_the_run_was_killed(over: Over) -> None:
    """Opened and never closed: booked at the most first, then at what the market says."""
    await over.lose(ended=False)
    with Journal(over.folder / "journal.db") as journal:
        opened = list(journal.events(kinds=("call.opened",)))[-1]
        body = {**opened.body, "id": "call-of-the-killed"}
        await journal.append("call.opened", body, actor=opened.actor)
    over.line.deaf = False
    done = await over.reconcile(RUN)
    assert done.code == 0
    assert "2 settled" in done.err
    assert {body["id"]: body["charged"] for body in over.events("call.reconciled")} == {
        opened.body["id"]: COST, "call-of-the-killed": 0,
    }  # fmt: skip
    assert [body["status"] for body in over.events("call")][-1] == "unknown"
    assert over.spent() == over.line.charged == 2 * COST


async def test_another_key_cannot_say(over: Over, tmp_path: Path) -> None:
    """It has never heard of the call, which does not mean that the call was free: exit 1, told which key it was."""
    most = await over.lose()
    over.line.deaf = False
    async with faulty_market(tmp_path / "other") as other:
        config = {"kind": "http", "url": other.url, "key_file": str(over.key_file), "model": "fake"}
        over.key_file.write_text(other.secret)
        with Journal(over.folder / "journal.db") as journal:
            await journal.append("run.forked", {"config": {"upstream": config}})
        done = await over.reconcile("--json")
    assert done.code == 1
    (doubt,) = done.json["unknown"]
    assert f"It was bought from {over.line.url} with key {over.line.key_id}" in doubt["why"]
    assert (doubt["booked"], doubt["again"]) == (most, False)


async def test_nobody_there(over: Over) -> None:
    """Exit 4; nothing changes but the try."""
    most = await over.lose()
    with Journal(over.folder / "journal.db") as journal:
        config = {"kind": "http", "url": "http://127.0.0.1:9/v1", "key_file": "", "model": "fake"}
        await journal.append("run.forked", {"config": {"upstream": config}})
    done = await over.reconcile()
    assert done.code == 4
    assert "127.0.0.1:9" in done.out
    assert over.spent() == COST + most


async def test_who_is_not_reconciled(over: Over) -> None:
    """A living run asks by itself; a part of a run is none; a run without doubts says so."""
    await over.lose(ended=False)
    async with serve_control(over.folder, {}):
        assert (await over.reconcile(RUN)).code == 3
        with pytest.raises(TercetError, match="verb"):
            await request(over.folder, "nothing")  # it has hung up on who only looked
    part = await over.reconcile(f"{RUN}/c")
    assert part.code == 2
    over.line.deaf = False
    await over.reconcile(RUN)
    assert "No call of" in (await over.reconcile(RUN)).err
