"""Control of a living run: what clients may send, hostile ones included, and what stopping a hundred agents takes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import socket
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tercet.errors import EndedError, RefusedError, RunLockedError, SwarmError, UnreachableError, UsageError
from tercet.swarm.control import Handler, follow, is_served, request, serve_control
from tercet.swarm.gateway import Budget, Call, Desk, ScriptedUpstream
from tercet.swarm.journal import Journal
from tercet.swarm.steering import Steering


async def echo(text: str = "", count: int = 1) -> dict[str, Any]:
    return {"text": text * count}


async def refuse() -> dict[str, Any]:
    raise RefusedError("A guard said no.")


async def fault() -> dict[str, Any]:
    return {"no": 1 / 0}


async def count(until: int) -> AsyncIterator[dict[str, Any]]:
    for number in range(until):
        yield {"number": number}


HANDLERS: dict[str, Handler] = {"echo": echo, "refuse": refuse, "fault": fault, "count": count}


async def test_a_request_is_answered(tmp_path: Path) -> None:
    """Results, streams, refusals and faults each come back as what they are; the socket is the owner's alone."""
    async with serve_control(tmp_path, HANDLERS):
        assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
        assert await request(tmp_path, "echo", text="ab", count=2) == {"text": "abab"}
        assert [item["number"] async for item in follow(tmp_path, "count", until=3)] == [0, 1, 2]
        with pytest.raises(RefusedError, match="A guard said no"):
            await request(tmp_path, "refuse")
        with pytest.raises(SwarmError, match="ZeroDivisionError"):
            await request(tmp_path, "fault")
        with pytest.raises(UsageError, match=r"knows no verb 'dance'\. It knows: count, echo, fault, refuse"):
            await request(tmp_path, "dance")
        with pytest.raises(UsageError, match="unexpected keyword argument 'wrong'"):
            await request(tmp_path, "echo", wrong=1)


@pytest.mark.parametrize("turns", range(8))
async def test_who_comes_as_it_closes_is_hung_up_on(tmp_path: Path, turns: int) -> None:
    """However far the loop came with the client, from connected to served: it reads an end, and nothing stays open."""
    loop, faults = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    with socket.socket(socket.AF_UNIX) as client:
        async with serve_control(tmp_path, HANDLERS):
            client.connect(str(tmp_path / "control.sock"))
            for _ in range(turns):
                await asyncio.sleep(0)
        client.setblocking(False)
        with contextlib.suppress(ConnectionResetError):  # it was in the queue of the listener
            assert await asyncio.wait_for(loop.sock_recv(client, 1), 5) == b""
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()  # what was left open warns now
    assert faults == []


async def test_nobody_there_is_said(tmp_path: Path) -> None:
    """No socket, and one that a killed process left, read alike; the next process takes its place."""
    with pytest.raises(UnreachableError, match="tercet resume"):
        await request(tmp_path, "echo")
    async with serve_control(tmp_path, HANDLERS):
        os.link(tmp_path / "control.sock", tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "control.sock")
    with pytest.raises(UnreachableError, match="No process works on the run"):
        await request(tmp_path, "echo")
    async with serve_control(tmp_path, HANDLERS):
        assert await is_served(tmp_path)


async def test_two_kernels_cannot_serve_one_run(tmp_path: Path) -> None:
    """The second is told; the first goes on."""
    async with serve_control(tmp_path, HANDLERS):
        with pytest.raises(RunLockedError, match="Another process serves the run"):
            async with serve_control(tmp_path, HANDLERS):
                pass
        assert await request(tmp_path, "echo", text="x") == {"text": "x"}


async def test_a_deep_folder_works(tmp_path: Path) -> None:
    """A path longer than a socket's may be is named by a file, and cleaned up."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    async with serve_control(deep, HANDLERS):
        named = Path((deep / "control.path").read_text())
        assert await request(deep, "echo", text="x") == {"text": "x"}
        assert stat.S_IMODE(named.parent.stat().st_mode) == 0o700
    assert not named.parent.exists()
    assert not list(deep.iterdir())


JUNK = [
    b"\n",
    b"null\n",
    b"[]\n",
    b"[" * 100_000 + b"\n",
    b'{"verb": ["echo"]}\n',
    b'{"verb": "echo", "args": [1]}\n',
    b'{"verb": "echo", "args": {"count": {}}}\n',
    b'{"verb": "__class__"}\n',
    b"\xff\xfe\x00 not json\n",
    b"x" * 1_000_000,
    b"GET / HTTP/1.1\r\n\r\n",
]


async def test_hostile_clients_change_nothing(tmp_path: Path) -> None:
    """Junk is answered with an error or hung up on; those that only connect do not keep others out."""
    async with serve_control(tmp_path, HANDLERS):
        idle = [await asyncio.open_unix_connection(str(tmp_path / "control.sock")) for _ in range(40)]
        for junk in JUNK:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
            writer.write(junk)
            writer.write_eof()
            try:
                answers = (await asyncio.wait_for(reader.read(), 5)).splitlines()
            except ConnectionError:
                answers = []
            assert not any(json.loads(answer)["ok"] for answer in answers)
            writer.close()
        assert await request(tmp_path, "echo", text="x") == {"text": "x"}
        for _, writer in idle:
            writer.close()


async def test_one_request_stops_a_hundred_agents(tmp_path: Path) -> None:
    """A hundred busy agents, paused over the socket: no call is accepted once it answers, which takes far below 1 s."""
    sent: list[float] = []
    busy, going = asyncio.Event(), asyncio.Event()

    async def script(_: Call) -> str:
        sent.append(time.monotonic())
        going.set()
        if len(sent) > 100:
            busy.set()
        await asyncio.sleep(0.02)
        return "more"

    with Journal(tmp_path / "journal.db") as journal:
        async with Desk(journal, ScriptedUpstream(script), slots=32) as desk:
            steering = Steering(desk, journal)
            stopped: list[str] = []

            async def agent(number: int) -> None:
                node = f"run/crew-{number % 7}/a-{number}"
                steering.on("kill", node, lambda: note(node))
                while True:
                    await desk.ask(Call(agent=node, messages=[{"role": "user", "content": "go"}]))

            async def note(node: str) -> None:
                stopped.append(node)

            agents = [asyncio.create_task(agent(number)) for number in range(100)]
            async with serve_control(tmp_path, steering.handlers()):
                await asyncio.wait_for(busy.wait(), 30)
                began = time.monotonic()
                await request(tmp_path, "pause", node="run")
                paused = time.monotonic()
                await asyncio.sleep(0.1)
                assert max(sent) < paused
                assert paused - began < 1
                assert not any(task.done() for task in agents)
                count = len(sent)
                going.clear()
                await request(tmp_path, "resume", node="run")
                await asyncio.wait_for(going.wait(), 30)
                assert len(sent) > count
                await request(tmp_path, "kill", node="run")
                ended = time.monotonic()
                results = await asyncio.gather(*agents, return_exceptions=True)
                assert all(isinstance(error, EndedError) for error in results)
                assert max(sent) < ended
                assert len(stopped) == 100


async def test_what_was_said_holds_in_the_next_process(tmp_path: Path) -> None:
    """Kills, pauses and weights of a crew or agent are taken up again; a kill of the whole run is not."""
    script = ScriptedUpstream(lambda _: "yes")
    with Journal(tmp_path / "journal.db") as journal:
        async with Desk(journal, script) as desk:
            steering = Steering(desk, journal)
            await steering.kill("run/a/x")
            await steering.pause("run/b")
            await steering.pause("run/c")
            await steering.resume("run/c")
            await steering.nice("run/a", 5)
            await steering.budget_add("run", credit=3)
            await steering.kill("run")
        async with Desk(journal, script) as desk:
            Steering(desk, journal)
            assert desk.is_ended("run/a/x")
            assert desk.is_held("run/b/y")
            assert not desk.is_held("run/c/z")
            assert desk.weight("run/a/w") == 5
            assert (await desk.ask(Call(agent="run/a/w", messages=[]))).text == "yes"


async def test_a_worker_that_cannot_be_stopped_does_not_save_the_others(tmp_path: Path) -> None:
    """A hook that fails is counted, and every other is called."""
    stopped: list[str] = []

    async def stop() -> None:
        stopped.append("x")

    async def broken() -> None:
        raise OSError("gone")

    with Journal(tmp_path / "journal.db") as journal:
        async with Desk(journal, ScriptedUpstream(lambda _: "yes")) as desk:
            steering = Steering(desk, journal)
            steering.on("kill", "run/a/x", broken)
            unhook = steering.on("kill", "run/a/y", stop)
            steering.on("kill", "run/b/z", stop)
            said = await steering.kill("run/a")
            assert (said["told"], said["failed"], stopped) == (1, 1, ["x"])
            unhook()
            assert (await steering.kill("run/a"))["told"] == 0


@pytest.mark.parametrize(
    "amount",
    [{"credit": 0.5}, {"credit": True}, {"credit": "5"}, {"credit": 10**40}, {"tokens": 1.5}, {"seconds": math.inf},
     {"seconds": math.nan}, {"attention": math.nan}, {"attention": "6"}],
)  # fmt: skip
async def test_what_is_no_amount_changes_no_budget(tmp_path: Path, amount: dict[str, Any]) -> None:
    """Over the socket anything can be said: wrong usage, and the limits are what they were."""
    before = Budget(credit=5, tokens=5, seconds=5.0, attention=5)
    with Journal(tmp_path / "journal.db") as journal:
        async with Desk(journal, ScriptedUpstream(lambda _: "yes")) as desk:
            desk.budgets.open("run", before)
            async with serve_control(tmp_path, Steering(desk, journal).handlers()):
                for verb in ("budget_add", "budget_set"):
                    with pytest.raises(UsageError, match=f"{next(iter(amount))} is a (whole )?number"):
                        await request(tmp_path, verb, **amount)
            assert desk.budgets.limit("run") == before


async def test_budgets_are_steered(tmp_path: Path) -> None:
    """Added and set while the run lives; a limit below what is spent is refused, and so is a bad path or weight."""
    with Journal(tmp_path / "journal.db") as journal:
        async with Desk(journal, ScriptedUpstream(lambda _: "yes")) as desk:
            desk.budgets.open("run", Budget(credit=5))
            steering = Steering(desk, journal)
            assert await steering.budget_add("run", credit=2) == {"node": "run", "credit": 7, "left": 7}
            assert await steering.budget_set("run", tokens=9) == {"node": "run", "credit": 7, "left": 7}
            assert desk.budgets.limit("run") == Budget(credit=7, tokens=9)
            with pytest.raises(UsageError, match="no part of a run"):
                await steering.pause("elsewhere")
            with pytest.raises(UsageError, match="1 to 1000"):
                await steering.nice("run", 0)
