"""The desk: queue, holds, kills, budgets, steps and receipts, as its agents see them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tercet.errors import EndedError, OutOfBudgetError, ThinkingError
from tercet.market import Price, Usage
from tercet.swarm.gateway import Budget, Call, Completion, Desk, Reply, Script, ScriptedUpstream, Spent
from tercet.swarm.journal import Event, Journal


def call(agent: str = "run/crew/coder-1", *, text: str = "hello", **options: Any) -> Call:
    return Call(agent=agent, messages=[{"role": "user", "content": text}], **{"max_tokens": 16, **options})


def receipts(journal: Journal) -> list[Event]:
    return list(journal.events(kinds=("call",)))


class Slow:
    """A script that answers when it is told to, and counts."""

    def __init__(self) -> None:
        self.asked: list[Call] = []
        self.go = asyncio.Event()
        self.came = asyncio.Event()

    async def __call__(self, call: Call) -> str:
        self.asked.append(call)
        self.came.set()
        await self.go.wait()
        return "done"

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.asked) < count:
                self.came.clear()
                await self.came.wait()


async def test_an_answer_comes_with_its_receipt(open_desk: Any, journal: Journal) -> None:
    """What it cost is booked for the agent, its crew and the run, and stands in the journal, which says `scripted`."""

    def script(_: Call) -> Completion:
        return Completion(text="42", usage=Usage(7, 3))

    desk = await open_desk(ScriptedUpstream(script, price=Price(1, 1000, 2000)))
    reply = await desk.ask(call(task="fix", step="fix/1/0"))
    assert reply == Reply(text="42", prompt=7, completion=3, charged=14, receipt=reply.receipt)
    (event,) = receipts(journal)
    assert event.body["id"] == reply.receipt
    assert (event.actor, event.task, event.body["status"], event.body["charged"]) == ("coder-1", "fix", "complete", 14)
    assert event.body["upstream"]["name"] == "scripted"
    for node in ("run", "run/crew", "run/crew/coder-1"):
        assert (desk.budgets.spent(node).credit, desk.budgets.spent(node).tokens) == (14, 10)
        assert desk.budgets.reserved(node) == Spent()


async def test_a_step_is_answered_and_paid_once(open_desk: Any, journal: Journal) -> None:
    """Asked again, at the same time or after a restart, it is answered from what was written down."""
    answers = iter(["first", "second"])
    script: Script = lambda _: Completion(text=next(answers), usage=Usage(1, 1), charged=0)  # noqa: E731
    desk = await open_desk(script)
    replies = await asyncio.gather(*(desk.ask(call(step="s", task="t")) for _ in range(3)))
    assert {reply.text for reply in replies} == {"first"}
    async with Desk(journal, ScriptedUpstream(script)) as again:
        assert await again.ask(call(step="s", task="t")) == replies[0]
        assert len(receipts(journal)) == 1
        assert (await again.ask(call(step="s", task="other"))).text == "second"


async def test_a_call_waits_for_money_that_calls_in_flight_may_give_back(open_desk: Any) -> None:
    """Both calls fit the budget, though not both reservations at once: they go one after the other."""
    slow = Slow()
    desk = await open_desk(slow)
    limit = call().limit
    desk.budgets.open("run", Budget(tokens=(limit.prompt + limit.completion) * 3 // 2))
    asks = [asyncio.create_task(desk.ask(call(f"run/crew/a-{n}"))) for n in range(2)]
    await slow.until(1)
    await asyncio.sleep(0.01)
    assert len(slow.asked) == 1
    slow.go.set()
    assert [reply.text for reply in await asyncio.gather(*asks)] == ["done", "done"]


async def test_out_of_budget_is_said_without_asking_anybody(open_desk: Any, journal: Journal) -> None:
    """Refused at once, written down once however often it is repeated, and over when something is added."""
    desk = await open_desk()
    desk.budgets.open("run", Budget(tokens=10))
    for _ in range(50):
        with pytest.raises(OutOfBudgetError, match="tercet budget add"):
            await desk.ask(call())
    await journal.append("mark", {})
    assert [event.body["status"] for event in receipts(journal)] == ["refused"]
    desk.budgets.add("run", tokens=10_000)
    assert (await desk.ask(call())).text == "yes"


async def test_money_added_wakes_who_waits(open_desk: Any) -> None:
    """A call that waits for a reservation goes on when the budget grows instead."""
    slow = Slow()
    desk = await open_desk(slow)
    limit = call().limit
    one = limit.prompt + limit.completion
    desk.budgets.open("run", Budget(tokens=one))
    asks = [asyncio.create_task(desk.ask(call(f"run/crew/a-{n}"))) for n in range(2)]
    await slow.until(1)
    desk.budgets.add("run", tokens=one)
    await slow.until(2)
    slow.go.set()
    await asyncio.gather(*asks)


async def test_held_calls_wait_and_go_on(open_desk: Any) -> None:
    """Holding a crew holds its agents, not its neighbours; releasing lets them go on with nothing lost."""
    desk = await open_desk()
    desk.hold("run/crew")
    held = asyncio.create_task(desk.ask(call("run/crew/coder-1")))
    assert (await desk.ask(call("run/other/coder-2"))).text == "yes"
    assert not held.done()
    desk.release("run/crew")
    assert (await held).text == "yes"


async def test_a_killed_agent_is_told_at_once_and_its_call_is_still_paid(open_desk: Any, journal: Journal) -> None:
    """In flight: EndedError now, the receipt when the model is done. Later calls are refused, neighbours go on."""
    slow = Slow()
    desk = await open_desk(slow)
    ask = asyncio.create_task(desk.ask(call(step="s")))
    await slow.until(1)
    desk.end("run/crew/coder-1", "killed by the person")
    with pytest.raises(EndedError, match="killed by the person"):
        await ask
    with pytest.raises(EndedError):
        await desk.ask(call())
    slow.go.set()
    assert (await desk.ask(call("run/crew/coder-2"))).text == "done"
    assert [event.body["status"] for event in receipts(journal)] == ["complete", "complete"]
    assert desk.budgets.reserved("run") == Spent()


async def test_after_a_stop_no_call_of_a_hundred_agents_is_accepted(open_desk: Any) -> None:
    """A hundred agents that ask without end: from the stop on the model is asked nothing, within far less than 1 s."""
    sent: list[float] = []

    async def script(_: Call) -> str:
        sent.append(time.monotonic())
        await asyncio.sleep(0.01)
        return "more"

    desk = await open_desk(script, slots=32)

    async def agent(number: int) -> None:
        while True:
            await desk.ask(call(f"run/crew-{number % 7}/a-{number}"))

    agents = [asyncio.create_task(agent(number)) for number in range(100)]
    await asyncio.sleep(0.3)
    before = time.monotonic()
    desk.stop_all("the person said stop")
    asked = len(sent)
    ended = await asyncio.gather(*agents, return_exceptions=True)
    assert all(isinstance(error, EndedError) for error in ended)
    assert len(sent) == asked > 50  # they were at work
    assert time.monotonic() - before < 1
    desk.resume_all()
    assert (await desk.ask(call())).text == "more"


async def test_weights_share_the_queue(open_desk: Any) -> None:
    """With one place and everybody waiting, an agent of weight 3 gets three turns to one of weight 1."""
    served: list[str] = []

    def script(call: Call) -> str:
        served.append(call.agent)
        return "ok"

    slow = Slow()
    desk = await open_desk(lambda call: slow(call) if call.agent == "run/first/x" else script(call), slots=1)
    desk.nice("run/heavy", 3)
    first = asyncio.create_task(desk.ask(call("run/first/x")))
    await slow.until(1)
    asks = [asyncio.create_task(desk.ask(call(f"run/{crew}/a"))) for _ in range(12) for crew in ("heavy", "light")]
    await asyncio.sleep(0.01)
    slow.go.set()
    await asyncio.gather(first, *asks)
    assert Counter(served[:8]) == {"run/heavy/a": 6, "run/light/a": 2}


async def test_a_model_that_fails_costs_what_it_cost(open_desk: Any, journal: Journal) -> None:
    """Junk that was paid is charged, an exception that nobody foresaw is charged nothing; reservations come back."""

    def script(call: Call) -> str:
        raise ThinkingError("junk", charged=5, prompt=2, completion=3)

    desk = await open_desk(script)
    with pytest.raises(ThinkingError, match="junk"):
        await desk.ask(call())
    await journal.append("mark", {})
    assert receipts(journal)[0].body["status"] == "failed"
    spent = desk.budgets.spent("run")
    assert (spent.credit, spent.tokens) == (5, 5)
    assert desk.budgets.reserved("run") == Spent()


async def test_a_slow_model_is_given_up(open_desk: Any) -> None:
    """After the time there is for a call, or what the budget leaves of it."""
    desk = await open_desk(Slow(), call_seconds=30)
    desk.budgets.open("run", Budget(seconds=0.05))
    with pytest.raises(ThinkingError, match=r"did not answer within 0\.05 s"):
        await desk.ask(call())
    with pytest.raises(OutOfBudgetError, match="seconds"):
        await desk.ask(call())


async def test_a_question_that_is_refused_for_good_is_not_sent_again(open_desk: Any) -> None:
    """A model's final no is repeated from memory."""
    asked = []

    def script(call: Call) -> str:
        asked.append(call)
        raise ThinkingError("no such model", again=False)

    desk = await open_desk(script)
    for _ in range(5):
        with pytest.raises(ThinkingError, match="no such model"):
            await desk.ask(call())
    assert len(asked) == 1


async def test_an_agent_that_goes_away_leaves_no_mess(open_desk: Any, journal: Journal) -> None:
    """Cancelled while it waits: nothing is sent. Cancelled while a model works: the receipt is written."""
    slow = Slow()
    desk = await open_desk(slow, slots=1)
    sent, waiting = (asyncio.create_task(desk.ask(call(f"run/c/a-{n}"))) for n in range(2))
    await slow.until(1)
    sent.cancel()
    waiting.cancel()
    await asyncio.gather(sent, waiting, return_exceptions=True)
    slow.go.set()
    await desk.ask(call("run/c/last"))
    assert len(slow.asked) == 2
    assert [event.actor for event in receipts(journal)] == ["a-0", "last"]
    assert desk.budgets.reserved("run") == Spent()


KILLED = """
import asyncio, os, sys
from pathlib import Path
from tercet.swarm.gateway import Budget, Call, Desk, ScriptedUpstream
from tercet.swarm.journal import Journal

async def script(call):
    if call.step == "second":
        os.kill(os.getpid(), 9)
    return "ok"

async def main():
    journal = Journal(Path(sys.argv[1]))
    async with Desk(journal, ScriptedUpstream(script)) as desk:
        desk.budgets.open("run", Budget(tokens=10_000))
        for step in ("first", "second"):
            await desk.ask(Call(agent="run/c/a", step=step, messages=[{"role": "user", "content": "x"}], max_tokens=8))

asyncio.run(main())
"""


async def test_a_call_in_flight_at_a_kill_9_is_lost_and_costs_nothing(tmp_path: Path) -> None:
    """The next process books it as lost, keeps the step before it, and has the whole reservation back."""
    path = tmp_path / "killed.db"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, str(path), stderr=subprocess.PIPE)
    assert await process.wait() == -9, await process.communicate()
    with Journal(path) as journal:
        async with Desk(journal, ScriptedUpstream(lambda _: "again")) as desk:
            assert [event.body["status"] for event in receipts(journal)] == ["complete", "lost"]
            assert desk.budgets.left("run").tokens == 10_000 - desk.budgets.spent("run").tokens
            first = await desk.ask(Call(agent="run/c/a", step="first", messages=[]))
            second = await desk.ask(Call(agent="run/c/a", step="second", messages=[]))
            assert (first.text, second.text) == ("ok", "again")
        async with Desk(journal, ScriptedUpstream(lambda _: "no")):
            statuses = [event.body["status"] for event in receipts(journal)]
            assert statuses == ["complete", "lost", "complete"]
