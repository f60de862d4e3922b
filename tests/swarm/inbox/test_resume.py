"""An inbox outlives its kernel: what waited waits again, what was answered stays answered, once."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

from tercet.swarm.forks import fork
from tercet.swarm.inbox import Choice, Inbox, InboxState, Scope, VirtualClock, build_queue
from tercet.swarm.inbox.state import KINDS
from tercet.swarm.journal import Journal, read_events

from .conftest import CREDIT, HOUR, MINUTE, Office

KERNEL = """
import asyncio, sys
from pathlib import Path
from tercet.swarm.forks import fork
from tercet.swarm.inbox import Choice, Inbox, build_card
from tercet.swarm.journal import Journal

async def main():
    inbox = Inbox(Journal(Path(sys.argv[1])), canary_every=0)
    def card(step):
        return build_card(action="Pay 1 credit", kind="money", agent="run/c/payer-1", tool="pay", call={"to": step},
                          loss=10**6, reversible=False, deadline=inbox.clock.now() + 600, step=step)
    asks = [asyncio.create_task(inbox.ask(card(step))) for step in ("s1", "s2")]
    await asyncio.sleep(0.05)
    await inbox.answer(card("s1").id, "yes", dwell=5)
    await inbox.use(await asks[0], card("s1").digest, "s1")
    await inbox.journal.append("control", {})
    print("parked", flush=True)
    await asyncio.gather(*asks)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_after_a_kill_nothing_is_asked_twice(tmp_path: Path) -> None:
    """Kill -9 with one approval used and one ask parked; the agents come back and ask the same again."""
    path = tmp_path / "journal.db"
    kernel = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs here
        [sys.executable, "-c", KERNEL, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert kernel.stdout is not None
    assert kernel.stdout.readline() == "parked\n"
    kernel.send_signal(signal.SIGKILL)
    kernel.wait()
    kernel.stdout.close()
    with Journal(path) as journal:
        inbox = Inbox(journal, canary_every=0)
        (item,) = inbox.queue().items
        waiting = item.top
        (used,) = inbox.state.used
        again = asyncio.create_task(inbox.ask(waiting))
        await asyncio.sleep(0.05)
        await inbox.answer(item.id, "no", dwell=1)
        assert not (await again).yes
        done = inbox.state.answers[used]
        await inbox.use(done, done.digest, "s1")  # the replayed step passes, and nothing is written twice
        inbox.close()
    kinds = [event.kind for event in read_events(path, kinds=("ask.raised", "ask.used"))]
    assert sorted(kinds) == ["ask.raised", "ask.raised", "ask.used"]


async def test_what_is_rebuilt_is_what_there_was(office: Office) -> None:
    """A seeded hour of everything: the state by the journal equals the one that lived through it."""
    draw = random.Random(7)
    office.inbox.canary_every = 3
    for _ in range(120):
        kind = draw.choice(["network", "files", "money"])
        cause = draw.choice(["", "", "down", "limit"])
        await office.raise_(
            f"fixer-{draw.randrange(30)}", f"crew-{draw.randrange(4)}", minutes=draw.randrange(2, 90), kind=kind,
            cause=cause, reversible=kind != "money", loss=draw.randrange(3 * CREDIT),
        )  # fmt: skip
        await office.clock.wind(draw.uniform(0, 5 * MINUTE))
        items = [item for item in office.inbox.queue().items if not item.is_container]
        if items and draw.random() < 0.6:
            item = draw.choice(items)
            scope = Scope(item.top.kind, 4 * CREDIT, office.clock.now() + HOUR) if draw.random() < 0.2 else None
            choice: Choice = "yes" if draw.random() < 0.8 or item.top.kind == "money" else "no"
            bounded = scope if item.top.reversible and item.top.id not in office.inbox.state.canaries else None
            await office.inbox.answer(item.id, choice, scope=bounded, dwell=draw.uniform(0, 9))
        if draw.random() < 0.05:
            office.inbox.withdraw(f"run/crew-{draw.randrange(4)}", "killed")
    await office.events()
    lived, read = office.inbox.state, InboxState.of(read_events(office.inbox.journal.path, kinds=KINDS))
    for name in (
        "open",
        "groups",
        "canaries",
        "answers",
        "policies",
        "shown",
        "showings",
        "verdicts",
        "tally",
        "arrivals",
    ):
        assert getattr(read, name) == getattr(lived, name), name
    now = office.clock.now()
    assert build_queue(read, now) == build_queue(lived, now)
    assert lived.decisions > 20


async def test_a_deadline_that_passed_in_the_meantime(office: Office) -> None:
    """Its default holds as soon as somebody opens the journal again."""
    await office.raise_(minutes=10)
    await office.events()
    office.inbox.close()
    later = VirtualClock(office.clock.now() + HOUR)
    reopened = Inbox(office.inbox.journal, clock=later)
    reopened.tick()
    assert not list(reopened.state.waiting())
    assert [answer.by for answer in reopened.state.answers.values()] == ["default"]


async def test_a_yes_up_to_an_amount_is_one_runs(tmp_path: Path) -> None:
    """A fork asks again, else the person had agreed to the amount twice; what they refused stays refused there."""
    clock, folders = VirtualClock(), (tmp_path / "parent", tmp_path / "fork")
    for folder in folders:
        folder.mkdir()
    with Journal(folders[0] / "journal.db") as journal:
        office = Office(Inbox(journal, clock=clock, canary_every=0), clock)
        until = clock.now() + HOUR
        await office.inbox.make_policy(Scope("network", CREDIT, until))
        await office.inbox.make_policy(Scope("network:ads.example", 0, until), "no")
        assert (await office.inbox.ask(office.card())).yes
        office.close()
    fork(folders[0] / "journal.db", folders[1] / "journal.db")
    with Journal(folders[1] / "journal.db") as journal:
        office = Office(Inbox(journal, clock=clock, canary_every=0), clock, count=1)
        assert [policy.choice for policy in office.inbox.state.policies.values()] == ["no"]
        waiting = await office.ask(office.card())
        assert not waiting.done()
        assert not (await office.inbox.ask(office.card(kind="network:ads.example"))).yes
        office.close()
        await asyncio.gather(waiting, return_exceptions=True)
