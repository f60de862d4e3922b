"""Calls whose answers never came: the run books what the market took, or the most that it can have taken, and no more."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tercet.errors import OutOfBudgetError, ThinkingError
from tercet.market import Price
from tercet.swarm.forks import fork
from tercet.swarm.gateway import Budget, Budgets, Call, Desk, HttpUpstream, Spent, unsettled, wire
from tercet.swarm.gateway.reconcile import reconcile
from tercet.swarm.journal import Event, Journal
from tercet.swarm.report import describe_run, render_report
from tercet.swarm.state import fold

from .faulty_market import COST, Fault, Line, faulty_market

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def call(**options: Any) -> Call:
    return Call(agent="run/c/a", messages=[{"role": "user", "content": "count"}], **{"max_tokens": 5, **options})


def of_kind(journal: Journal, *kinds: str) -> list[Event]:
    return list(journal.events(kinds=kinds or ("call",)))


def rebuilt(journal: Journal) -> Budgets:
    """The books as the next process makes them of the journal."""
    budgets = Budgets()
    budgets.replay(journal.events())
    return budgets


@pytest.fixture
async def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Line]:
    monkeypatch.setattr(wire, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(unsettled, "_RESTS", (0.01, 0.01))
    async with faulty_market(tmp_path) as line:
        yield line


@pytest.mark.parametrize(
    ("fault", "cost"),
    [("drop", COST), ("silent", COST), ("502", COST), ("junk", COST), ("502, then 401", COST), ("lose", 0)],
)
async def test_the_market_says_what_a_call_cost_whose_answer_is_lost(
    line: Line, journal: Journal, fault: Fault, cost: int
) -> None:
    """Dropped after it was paid, kept for too long, turned into junk: what it cost; never arrived: nothing."""
    line.fault = fault
    async with Desk(journal, line.upstream(seconds=2.0 if fault == "silent" else 20.0)) as desk:
        desk.budgets.open("run", Budget(credit=5_000))
        with pytest.raises(ThinkingError):
            await desk.ask(call(step="s"))
        assert desk.budgets.spent("run").credit == line.charged == cost
        assert desk.budgets.reserved("run") == desk.budgets.unknown("run") == Spent()
        line.fault = "none"
        assert (await desk.ask(call(step="s"))).charged == COST
        assert desk.budgets.spent("run").credit == line.charged == cost + COST
    assert [event.body["status"] for event in of_kind(journal)] == ["failed", "complete"]
    assert rebuilt(journal).spent("run").credit == cost + COST


async def test_nothing_is_bought_any_more_under_a_key_that_was_given_up(line: Line, journal: Journal) -> None:
    """A request that was lost on the way and comes after all, as a late packet does, is refused and costs nothing."""
    line.fault = "lose"
    async with Desk(journal, line.upstream()) as desk:
        with pytest.raises(ThinkingError):
            await desk.ask(call())
    headers = {"Authorization": f"Bearer {line.secret}", "Idempotency-Key": line.keys[0]}
    body = {"model": "fake", "messages": [{"role": "user", "content": "count"}], "max_tokens": 5}
    url = f"{line.market}/v1/chat/completions"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (409, "key_used")
    assert line.charged == 0


async def test_a_broken_line_is_tried_again_under_the_same_key_and_paid_once(line: Line, journal: Journal) -> None:
    """Three requests leave, one answer is bought, one is booked."""
    line.fault = "502"
    async with Desk(journal, line.upstream()) as desk:
        with pytest.raises(ThinkingError, match="status 502"):
            await desk.ask(call())
        assert (len(line.keys), len(set(line.keys))) == (3, 1)
        assert desk.budgets.spent("run").credit == line.charged == COST


async def test_samples_that_were_paid_before_one_was_lost_count(line: Line, journal: Journal) -> None:
    """Each has a key of its own: one is refused, one fits nothing, the next is dropped; what was bought is booked."""
    line.fault, line.spared = "drop", 2
    async with Desk(journal, line.upstream()) as desk:
        with pytest.raises(ThinkingError):
            await desk.ask(call(schema=SCHEMA))
        assert [name.rpartition("-")[2] for name in line.keys] == ["0", "1", "2"]
        assert desk.budgets.spent("run").credit == line.charged == 2 * COST


async def test_what_nobody_can_say_is_booked_at_the_most_until_somebody_can(line: Line, journal: Journal) -> None:
    """`unknown` in the journal, the books and the report; the next process asks again and corrects it, once."""
    async with Desk(journal, line.upstream()) as desk:
        desk.budgets.open("run", Budget(credit=5_000))
        await desk.ask(call())  # the price is known from here on
        line.fault, line.deaf = "drop", True
        with pytest.raises(ThinkingError):
            await desk.ask(call())
        (opened,) = of_kind(journal, "call.opened")[1:]
        most = opened.body["reserved"]
        assert most > COST
        assert desk.budgets.unknown("run/c").credit == most
        assert desk.budgets.spent("run").credit == COST + most <= 5_000
    await journal.flush()
    state = fold(journal.events())
    assert [(each.status, each.charged) for each in state.unknown()] == [("unknown", most)]
    report = describe_run("run", state)
    assert report["unknown"] == {"calls": 1, "booked": most}
    assert "booked for 1 calls whose answers never came" in render_report(report)
    line.fault, line.deaf = "none", False
    for _ in range(2):
        async with Desk(journal, line.upstream()) as desk:
            assert desk.budgets.spent("run").credit == line.charged == 2 * COST
            assert desk.budgets.unknown("run") == Spent()
    await journal.flush()
    (corrected,) = of_kind(journal, "call.reconciled")
    assert (corrected.body["charged"], corrected.body["booked"]) == (COST, most)
    assert rebuilt(journal).spent("run").credit == fold(journal.events()).spent().charged == 2 * COST


async def test_an_endpoint_that_keeps_no_books_is_booked_at_the_most(line: Line, journal: Journal) -> None:
    """Any OpenAI-compatible server but the market's: what was reserved is gone, the budget holds, and 402 is said after it."""
    line.fault = "drop"
    price = Price(per_request=100)
    upstream = HttpUpstream(line.url, line.secret, "fake", {"fake": price})
    async with Desk(journal, upstream) as desk:
        upstream._wire.sells_once = False
        desk.budgets.open("run", Budget(credit=150))
        with pytest.raises(ThinkingError):
            await desk.ask(call())
        assert desk.budgets.spent("run").credit == desk.budgets.unknown("run").credit == 100
        with pytest.raises(OutOfBudgetError):
            await desk.ask(call(seed=1))
        await journal.flush()
    assert [event.body["status"] for event in of_kind(journal)] == ["unknown", "refused"]


async def test_another_account_is_not_asked(line: Line, journal: Journal, tmp_path: Path) -> None:
    """With another key the market has never heard of the call, which does not mean that it was free."""
    line.fault, line.deaf = "drop", True
    async with Desk(journal, line.upstream()) as desk:
        desk.budgets.open("run", Budget(credit=500))
        with pytest.raises(ThinkingError):
            await desk.ask(call())
    async with faulty_market(tmp_path / "other") as other:
        other.market = line.market
        upstream = HttpUpstream(line.url, line.secret, "fake")
        line.deaf = False
        await upstream.open()
        upstream.account = other.key_id
        upstream.open = _nothing  # type: ignore[method-assign]
        async with Desk(journal, upstream) as desk:
            assert desk.budgets.unknown("run").credit == 500


async def _nothing() -> None: ...


KILLED = """
import asyncio, sys
from pathlib import Path
from tercet.swarm.forks import fork
from tercet.swarm.gateway import Budget, Call, Desk, HttpUpstream
from tercet.swarm.journal import Journal

async def main():
    folder, url, secret = sys.argv[1:]
    with Journal(Path(folder)) as journal:
        async with Desk(journal, HttpUpstream(url, secret, "fake")) as desk:
            desk.budgets.open("run", Budget(credit=5_000))
            question = [{"role": "user", "content": "count"}]
            await desk.ask(Call(agent="run/c/a", step="first", messages=question, max_tokens=5))
            print("first", flush=True)
            await desk.ask(Call(agent="run/c/a", step="second", messages=question, max_tokens=5))

asyncio.run(main())
"""


@pytest.mark.parametrize("deaf", [False, True], ids=["the market answers", "nobody can say"])
async def test_a_kill_9_while_a_paid_answer_is_on_its_way_is_booked_once(
    line: Line, tmp_path: Path, deaf: bool
) -> None:
    """The next process learns what the market took, or books the most; asked once more, the same; then it goes on."""
    path = tmp_path / "killed.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(path), line.url, line.secret, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"first\n"
    line.fault = "silent"
    await asyncio.wait_for(line.bought.wait(), 20)
    process.kill()
    await process.wait()
    line.fault, line.deaf = "none", deaf
    with Journal(path) as journal:
        most = of_kind(journal, "call.opened")[-1].body["reserved"]
        booked = COST + (most if deaf else COST)
        for _ in range(2):
            async with Desk(journal, line.upstream()) as desk:
                assert desk.budgets.spent("run").credit == booked
                assert desk.budgets.unknown("run").credit == (most if deaf else 0)
        assert [event.body["status"] for event in of_kind(journal)] == ["complete", "unknown" if deaf else "lost"]
        line.deaf = False
        async with Desk(journal, line.upstream()) as desk:
            assert desk.budgets.spent("run").credit == line.charged == 2 * COST
            await desk.ask(call(step="second"))
            assert desk.budgets.spent("run").credit == line.charged == 3 * COST
        assert rebuilt(journal).spent("run").credit == 3 * COST


async def test_a_fork_leaves_the_calls_of_its_parent_alone(line: Line, journal: Journal, tmp_path: Path) -> None:
    """Cut while the parent's call is under way: the parent gets its answer and books it, the fork neither asks nor books."""
    line.fault = "late"
    async with Desk(journal, line.upstream()) as desk:
        asked = asyncio.create_task(desk.ask(call(step="s")))
        await asyncio.wait_for(line.came.wait(), 5)
        (tmp_path / "fork").mkdir()
        fork(journal.path, tmp_path / "fork" / "journal.db")
        for _ in range(2):
            with Journal(tmp_path / "fork" / "journal.db") as forked:
                async with Desk(forked, line.upstream()) as other:
                    assert other.budgets.spent("run") == Spent()
                assert (await reconcile(forked, line.upstream())).settled == ()
        assert not line.asked.is_set()
        line.gate.set()
        assert (await asyncio.wait_for(asked, 5)).charged == line.charged == COST
