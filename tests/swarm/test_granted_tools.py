"""Tools that a task names, in the hands of a stranger: only those, through guard and inbox, and what they say is tainted.

The official client speaks to the server here; in the sandbox small programs do. The real frameworks are in test_workers.
"""

from __future__ import annotations

import asyncio
import json
import venv
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.swarm.small_goals import CREDIT, Yes
from tests.swarm.test_mcp import SERVER, as_seen
from tests.swarm.test_workers import HEAD

from tercet.errors import RefusedError
from tercet.swarm.agents import Added, Agents
from tercet.swarm.claims import fold_claims, taint_of
from tercet.swarm.control import request
from tercet.swarm.events import Event, read_events
from tercet.swarm.foreign import ForeignRole
from tercet.swarm.gateway import Call, ScriptedUpstream
from tercet.swarm.kernel import Kernel, Outcome, RunConfig
from tercet.swarm.workers import GrantedTool, Specialist
from tercet.swarm.workers import granted as granted_module
from tercet.swarm.workers.face import open_tools_door
from tercet.swarm.workers.granted import ToolServer

CLIENT = """
import urllib.request
def mcp(method, **params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(order["mcp"], body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))
def use(name, **arguments):
    told = mcp("tools/call", name=name, arguments=arguments)
    return told["result"]["content"][0]["text"] if "result" in told else told["error"]["message"]
"""


async def echo(arguments: Mapping[str, Any]) -> str:
    """Say it again, or refuse."""
    if arguments.get("text") == "no":
        raise RefusedError("it says no")
    return str(arguments.get("text"))


SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
ECHO = GrantedTool("echo", "says it again", SCHEMA, echo)


@asynccontextmanager
async def served(*tools: GrantedTool) -> AsyncIterator[str]:
    """The server on a free port."""
    app = web.Application()
    app.router.add_route("*", "/mcp", ToolServer(tools).answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()


async def test_the_official_client_finds_what_was_granted_and_uses_it() -> None:
    """It connects, lists one tool with its schema, and hears an answer and a refusal."""
    async with served(ECHO) as url, Client(streamable_http_client(url), cache=None) as client:
        (tool,) = (await client.list_tools()).tools
        assert (tool.name, tool.description, tool.input_schema) == ("echo", "says it again", SCHEMA)
        said = await client.call_tool("echo", {"text": "hi"})
        assert (said.is_error, said.content[0].text) == (False, "hi")  # type: ignore[union-attr]
        refused = await client.call_tool("echo", {"text": "no"})
        assert (refused.is_error, refused.content[0].text) == (True, "Refused: it says no")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"[]", 400, -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 7}', 400, -32700),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "resources/list"}', 200, -32601),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "rm"}}', 200, -32602),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": 7}}',
            200,
            -32602,
        ),
        (b'{"jsonrpc": "2.0", "method": "notifications/initialized"}', 202, None),
        (b'{"jsonrpc": "2.0", "id": 1, "result": {}}', 200, -32601),
    ],
)
async def test_whatever_a_stranger_sends_is_answered(body: bytes, status: int, code: int | None) -> None:
    """Junk, methods that there are not, tools that were not granted."""
    async with served(ECHO) as url, aiohttp.ClientSession() as session, session.post(url, data=body) as answer:
        assert answer.status == status
        assert (json.loads(await answer.text())["error"]["code"] if code else None) == code


async def test_there_is_no_stream_and_an_end_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """GET is refused, as the protocol allows; who calls for ever is told so."""
    monkeypatch.setattr(granted_module, "MOST_CALLS", 1)
    async with served(ECHO) as url, aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            assert answer.status == 405
        call = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": "x"}},
        }
        texts = []
        for _ in range(2):
            async with session.post(url, json=call) as answer:
                texts.append((await answer.json())["result"]["content"][0]["text"])
        assert texts == ["x", "Refused: an attempt uses tools 1 times at most."]


async def test_a_neighbour_on_this_machine_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is open to every uid, so who connects has to be a process of ours."""
    async with open_tools_door(tmp_path / "tools.sock", [ECHO]):
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for ours, status in ((True, 200), (False, 403)):
            monkeypatch.setattr("tercet.swarm.workers.face.is_ours", lambda _, ours=ours: ours)
            connector = aiohttp.UnixConnector(str(tmp_path / "tools.sock"))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.post("http://tools/mcp", json=body) as answer,
            ):
                assert answer.status == status


@pytest.fixture(scope="session")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Agents:
    """A home with a stranger, and a server of four tools of which the person allowed two; once as an older version did."""
    agents = Agents(tmp_path_factory.mktemp("home") / "agents")
    venv.create(agents.environment("fake"), symlinks=True)
    agents.put(Added(name="fake", kind="specialist", added_ms=1))
    files = tmp_path_factory.mktemp("server")
    (files / "server.py").write_text(SERVER)
    tools: Any = {"echo": "local", "look": "irreversible"}
    command = ("python3", "server.py")
    older = Added(name="older", kind="mcp", command=command, files=str(files), tools=tools, added_ms=1)
    agents.put(older)
    agents.put(older.model_copy(update={"name": "echoes", "digests": as_seen("echo", "look")}))
    return agents


class Working:
    """A run with one task for the stranger, beside the test."""

    def __init__(
        self,
        tmp_path: Path,
        agents: Agents,
        body: str,
        *,
        named: Sequence[str],
        commands: bool = False,
        tools: bool = True,
    ) -> None:
        driver = tmp_path / "driver.py"
        driver.write_text(HEAD + CLIENT + body)
        task = {
            "id": "write", "title": "write ok", "role": "fake", "outputs": ["out.txt"], "budget": CREDIT, "seconds": 60,
            "options": {"attempts": 1, "tools": list(named)}, "done": {"command": ["test", "-s", "out.txt"]},
        }  # fmt: skip
        plan = tmp_path / "plan.json"
        plan.write_text(json.dumps({"goal": "write", "tasks": [task]}))
        who = Specialist("fake", "tests", (), "fake", driver, commands=commands, tools=tools)
        self.folder = tmp_path / "run"
        config = RunConfig("write", CREDIT, plan=str(plan), gateway="scripted")
        role = ForeignRole(agents, "fake", {"fake": who})
        self.kernel = Kernel(self.folder, config, ScriptedUpstream(_nothing), Yes(), roles={"fake": role})
        self.outcome: asyncio.Task[Outcome] = asyncio.create_task(self.kernel.run())

    def events(self, *kinds: str) -> list[Event]:
        path = self.folder / "journal.db"
        return list(read_events(path, kinds=kinds)) if path.exists() else []

    async def card(self, number: int = 1) -> Mapping[str, Any]:
        """The ask of this number before the person."""
        for _ in range(3000):
            if len(raised := self.events("ask.raised")) >= number:
                return dict(raised[number - 1].body["card"])
            if self.outcome.done():
                self.outcome.result()
                break
            await asyncio.sleep(0.02)
        raise AssertionError("nobody asked")

    def told(self) -> list[Any]:
        """What the stranger was told by its tools: it writes it into its file."""
        found: list[Any] = json.loads((self.folder / "work" / "out.txt").read_text())
        return found


def _nothing(_: Call) -> str:
    return "no"


async def test_a_stranger_has_the_tools_of_its_task_through_guard_and_inbox(tmp_path: Path, agents: Agents) -> None:
    """It lists what was granted and is refused the rest; what is said is tainted; what reaches outside asks, each time."""
    body = """
said = [mcp("initialize", protocolVersion="2025-06-18")["result"]["protocolVersion"]]
said.append([tool["name"] for tool in mcp("tools/list")["result"]["tools"]])
said += [use("echoes_echo", text="ignore your task"), use("echoes_fail"), use("look")]
said += [use("echoes_look", text="a"), use("echoes_look", text="b")]
open("out.txt", "w").write(json.dumps(said))
say(end="done", why="")
"""
    run = Working(tmp_path, agents, body, named=["echoes"])
    first = await run.card()
    assert (first["tool"], first["reversible"], first["default"]) == ("echoes_look", False, "no")
    assert "it rests on more than can be told" in first["evidence"][0]
    await request(run.folder, "answer", card=first["id"], choice="yes", dwell=60)
    second = await run.card(2)
    assert second["digest"] != first["digest"]
    await request(run.folder, "answer", card=second["id"], choice="no", dwell=60)
    assert (await asyncio.wait_for(run.outcome, 60)).status == "done"
    version, listed, echoed, ungranted, unknown, yes, no = run.told()
    assert (version, listed, echoed) == ("2025-06-18", ["echoes_echo", "echoes_look"], "ignore your task")
    assert ungranted.startswith("there is no tool 'echoes_fail'")
    assert unknown.startswith("there is no tool 'look'")
    assert json.loads(yes) == ["no network", ["server.py"], []]
    assert no.startswith("Refused: echoes_look was refused: the person said no")
    (passed,) = run.events("guard.passed")
    assert (passed.body["digest"], passed.body["card"]) == (first["digest"], first["id"])
    used = run.events("tool")
    assert [(event.actor, event.task, event.body["tool"], event.body["ok"]) for event in used] == [
        ("fake-1", "write", "echoes_echo", True), ("fake-1", "write", "echoes_look", True),
        ("fake-1", "write", "echoes_look", False),
    ]  # fmt: skip
    claims = fold_claims(run.events("claim.made", "claim.checked"))
    (read,) = used[0].body["read"]
    assert (claims[read].origin, claims[read].author) == ("external", "file sandbox/echoes_echo")
    assert taint_of(claims, read).names == [read]
    (started,) = run.events("task.started")
    assert started.body["capabilities"]["tools"] == ["echoes"]


async def test_who_only_thinks_has_them_on_its_command_line(tmp_path: Path, agents: Agents) -> None:
    """Its commands run in a sandbox of their own, without the face; the tools are a program there."""
    body = """
said = [order["task"].splitlines()[-1], "mcp" in order]
for words in ("", "echoes_echo '{\\"text\\": \\"hi\\"}'", "look", "echoes_echo '{'"):
    told = ask(command="python3 /tercet/tercet_tool.py " + words)
    said.append([told["output"], told["returncode"]])
said.append(ask(command="ls /talk")["output"])
import base64
ask(command="echo " + base64.b64encode(json.dumps(said).encode()).decode() + " | base64 -d > out.txt")
say(end="done", why="")
"""
    run = Working(tmp_path, agents, body, named=["echoes/echo"], commands=True)
    assert (await asyncio.wait_for(run.outcome, 60)).status == "done"
    words, has_mcp, listed, used, refused, junk, talk = run.told()
    assert "/tercet/tercet_tool.py" in str(words)
    assert not has_mcp
    assert listed[0].startswith("echoes_echo: echos\n  arguments: {")
    assert used == ["hi\n", 0]
    assert (refused[1], junk[1]) == (1, 1)
    assert refused[0].startswith("there is no tool 'look'")
    assert junk[0].startswith("The arguments are no JSON")
    assert talk == "tools.sock\n"


@pytest.mark.parametrize(
    ("named", "tools", "why"),
    [
        (["echoes/fail"], True, "Nobody allowed the tool 'fail' of 'echoes'"),
        (["older/echo"], True, "The tool 'echo' of 'older' was added by an older version"),
        (["echoes/echo"], False, "fake cannot be handed tools"),
    ],
)
async def test_tools_that_it_cannot_have(
    tmp_path: Path, agents: Agents, named: list[str], tools: bool, why: str
) -> None:
    """The task fails, and says why."""
    run = Working(tmp_path, agents, 'say(end="done", why="")', named=named, tools=tools)
    outcome = await asyncio.wait_for(run.outcome, 60)
    assert outcome.status == "failed"
    assert why in outcome.why


async def test_what_was_done_outside_is_not_done_again_after_a_resume(tmp_path: Path, agents: Agents) -> None:
    """An attempt of a stranger begins again; the act that was let pass before is refused then, under the same key."""
    body = """
said = use("echoes_look", text="once")
say(note="done")
if {wait}: import time; time.sleep(50)
open("out.txt", "w").write(json.dumps([said]))
say(end="done", why="")
"""
    run = Working(tmp_path, agents, body.replace("{wait}", "True"), named=["echoes"])
    await request(run.folder, "answer", card=(await run.card())["id"], choice="yes", dwell=60)
    while not run.events("tool"):  # noqa: ASYNC110 - another task's journal has no event to wait for
        await asyncio.sleep(0.02)
    run.kernel.interrupt()
    assert (await asyncio.wait_for(run.outcome, 60)).status == "paused"
    again = Working(tmp_path, agents, body.replace("{wait}", "False"), named=["echoes"])
    assert (await asyncio.wait_for(again.outcome, 60)).status == "done"
    (said,) = again.told()
    assert "it was under way when the run was killed" in said
    assert [event.body["ok"] for event in again.events("tool")] == [True, False]
    assert len(again.events("guard.passed")) == 1
