"""Strangers' programs at work: one contract, kept by a fake driver here and by the real agents where they are installed.

The real ones run where TERCET_TEST_AGENTS names a folder that has their environments, as `tercet agent add` makes them.
"""

from __future__ import annotations

import asyncio
import os
import re
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.swarm import stub

from tercet.errors import AgentError, AgentMissingError, RefusedError
from tercet.subnets.kit import Sandbox
from tercet.swarm.workers import SPECIALISTS, GrantedTool, Specialist, SpecialistWorker

HEAD = """
import json, os, sys
out = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
order = json.loads(sys.stdin.readline())
def say(**line):
    out.write(json.dumps(line) + "\\n"); out.flush()
def ask(**line):
    say(**line); return json.loads(sys.stdin.readline())
"""
THINK = """
import urllib.request
def think(text):
    body = json.dumps({"model": order["model"], "messages": [{"role": "user", "content": text}]}).encode()
    request = urllib.request.Request(order["url"] + "/chat/completions", body)
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]
"""


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    return Sandbox.find()


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty virtual environment."""
    folder = tmp_path_factory.mktemp("agents") / "fake" / "venv"
    venv.create(folder, symlinks=True)
    return folder


@pytest.fixture
def fake(sandbox: Sandbox, environment: Path, tmp_path: Path) -> Callable[..., SpecialistWorker]:
    """Makes a worker of a driver's body."""

    def build(body: str, *, commands: bool = False, **more: Any) -> SpecialistWorker:
        driver = tmp_path / "driver.py"
        driver.write_text(HEAD + body)
        who = Specialist("fake", "tests", (), "fake", driver, commands=commands)
        return SpecialistWorker(who, environment, sandbox, "small", **more)

    return build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "task"
    made.mkdir()
    (made / "in.txt").write_text("in\n")
    return made


async def test_a_worker_thinks_through_the_face_and_leaves_files(
    fake: Callable[..., SpecialistWorker], folder: Path
) -> None:
    """The call arrives with the token; the token, our environment and the network do not arrive inside."""
    body = """
import socket
open("env.txt", "w").write(repr(dict(os.environ)) + json.dumps(order))
try:
    socket.create_connection(("1.1.1.1", 53), 1)
    say(note="network")
except OSError:
    say(note="no network")
open("out.txt", "w").write(think(order["task"] + open("in.txt").read()))
say(claim="it is done", sources=["in.txt"], checked=True)
say(end="done", why="")
"""
    worker, ear = fake(THINK + body), stub.Ear()
    async with stub.serve_stub(lambda body: body["messages"][0]["content"].upper()) as model:
        await worker.work(stub.task_of("shout", outputs=["out.txt"]), folder, model.url, "sekret", ear)
    assert model.tokens == ["Bearer sekret"]
    assert (folder / "out.txt").read_text().startswith("SHOUT")
    assert ear.of("note") == ["no network"]
    assert [(said.text, said.sources, said.ok) for said in ear.said if said.kind == "claim"] == [
        ("it is done", ("in.txt",), True)
    ]
    inside = (folder / "env.txt").read_text()
    assert "sekret" not in inside
    assert "TERCET" not in inside


async def test_only_chats_pass_the_face(fake: Callable[..., SpecialistWorker], folder: Path) -> None:
    """Nothing else of the gateway is in reach, such as its receipts."""
    body = """
import urllib.error, urllib.request
try:
    urllib.request.urlopen(order["url"] + "/receipts")
except urllib.error.HTTPError as error:
    say(note=str(error.code))
say(end="done", why="")
"""
    ear = stub.Ear()
    async with stub.serve_stub(lambda body: "") as model:
        await fake(body).work(stub.task_of("look"), folder, model.url, "t", ear)
    assert ear.of("note") == ["404"]


async def test_commands_run_in_the_tasks_folder_and_not_where_it_thinks(
    fake: Callable[..., SpecialistWorker], folder: Path
) -> None:
    """A worker that only thinks sees an empty folder; what its commands change stays."""
    body = """
say(note=str(os.listdir(".")))
told = ask(command="cat in.txt; echo new > made.txt")
say(note=told["output"] + str(told["returncode"]))
told = ask(command="ls /talk; exit 3")
say(note=str(told["returncode"]))
say(end="Submitted", why="")
"""
    ear = stub.Ear()
    await fake(body, commands=True).work(stub.task_of("look"), folder, "http://127.0.0.1:9/v1", "t", ear)
    assert ear.of("note") == ["[]", "in\n0", "3"]
    assert [(said.text[:6], said.ok) for said in ear.said if said.kind == "tool"] == [
        ("cat in", True),
        ("ls /ta", False),
    ]
    assert (folder / "made.txt").read_text() == "new\n"


async def test_a_worker_that_may_not_run_commands_gets_no_answer_to_one(
    fake: Callable[..., SpecialistWorker], folder: Path
) -> None:
    """Its line is heeded by nobody."""
    await fake('say(command="touch bad"); say(end="done", why="")').work(
        stub.task_of("look"), folder, "http://127.0.0.1:9/v1", "t", stub.Ear()
    )
    assert not (folder / "bad").exists()


async def test_questions_are_answered_and_the_web_is_a_capability(
    fake: Callable[..., SpecialistWorker], folder: Path
) -> None:
    """Without one a page is refused; with one the caller fetches it."""
    body = """
say(note=ask(ask="which colour?")["answer"])
say(note=str(ask(fetch="http://example.org/")))
say(end="done", why="")
"""

    async def fetch(address: str) -> str:
        if "example" not in address:
            raise RefusedError("no")
        return "a page"

    ear = stub.Ear("blue")
    task = stub.task_of("ask")
    await fake(body).work(task, folder, "http://127.0.0.1:9/v1", "t", ear)
    assert ear.of("note")[0] == "blue"
    assert "no capability" in ear.of("note")[1]
    ear = stub.Ear("red")
    await fake(body, fetch=fetch).work(task, folder, "http://127.0.0.1:9/v1", "t", ear)
    assert ear.of("note") == ["red", "{'text': 'a page'}"]


async def test_an_empty_budget_reaches_the_worker_as_402(fake: Callable[..., SpecialistWorker], folder: Path) -> None:
    """It gives up with that, after one call."""
    body = """
try:
    think("more")
except Exception as error:
    say(end="failed", why=str(error))
"""
    async with stub.serve_stub(lambda body: "no money") as model:
        with pytest.raises(AgentError, match="gave up: failed: HTTP Error 402"):
            await fake(THINK + body).work(stub.task_of("think"), folder, model.url, "t", stub.Ear())
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit(3)", "did not say how it went"),
        ("raise ValueError('broken')", "ValueError: broken"),
        ("out.write('junk\\n'); out.flush()", "did not say how it went"),
        ("out.write('x' * (2 << 20) + '\\n'); out.flush()", "did not say how it went"),
        ("import time; time.sleep(60)", "limit of time"),
        ("say(end='LimitsExceeded', why='too many steps')", "LimitsExceeded: too many steps"),
        ("[say(note='again') for _ in range(20000)]", "circles"),
        ("os.kill(os.getpid(), 9)", "did not say how it went"),
    ],
)
async def test_a_worker_that_fails_says_so_and_changes_nothing(
    fake: Callable[..., SpecialistWorker], folder: Path, body: str, why: str
) -> None:
    """Death, junk, floods, silence: each is an error that can be read."""
    task = stub.task_of("fail", seconds=1.5 if "sleep" in body else 60)
    with pytest.raises(AgentError, match=why):
        await fake(body).work(task, folder, "http://127.0.0.1:9/v1", "t", stub.Ear())
    assert os.listdir(folder) == ["in.txt"]  # noqa: PTH208 - names


async def test_stopping_ends_all_that_it_started(fake: Callable[..., SpecialistWorker], folder: Path) -> None:
    """Children in sessions of their own are gone too, at once."""
    mark = f"{os.getpid()}.{id(folder)}"
    body = f"""
import subprocess
subprocess.Popen(["sleep", "9{mark}"], start_new_session=True)
say(note="up")
sys.stdin.readline()
"""
    worker, up = fake(body), asyncio.Event()

    async def hear(saying: object) -> str:
        up.set()
        return ""

    working = asyncio.create_task(worker.work(stub.task_of("wait"), folder, "http://127.0.0.1:9/v1", "t", hear))
    await asyncio.wait_for(up.wait(), 30)
    assert mark in running()
    await worker.stop()
    assert mark not in running()
    with pytest.raises(asyncio.CancelledError):
        await working
    await worker.stop()


def running() -> str:
    """The command lines of all processes."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def test_an_environment_that_is_none(sandbox: Sandbox, tmp_path: Path) -> None:
    """The message says how to get one."""
    with pytest.raises(AgentMissingError, match="tercet agent add"):
        SpecialistWorker(SPECIALISTS["pandasai"], tmp_path, sandbox, "small")


def bash(command: str) -> str:
    return f"THOUGHT: on it.\n\n```mswea_bash_command\n{command}\n```"


def swe_script(body: Mapping[str, Any]) -> str:
    """Change a file, then submit."""
    turn = sum(message["role"] == "assistant" for message in body["messages"])
    return bash(["cat data.txt; echo fixed > out.txt", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"][min(turn, 1)])


def pandas_script(body: Mapping[str, Any]) -> str:
    """Sum a column; and try to look around, as a bare `exec` lets it."""
    table = re.search(r'<table[^>]*table_name="([^"]+)"', body["messages"][-1]["content"])
    assert table is not None
    return f"""```python
import os
os.system("env > env.txt")
found = execute_sql_query("SELECT SUM(amount) AS s FROM {table[1]}")
result = {{"type": "number", "value": float(found["s"][0])}}
```"""


def crew_script(body: Mapping[str, Any]) -> str:
    """Write, then review."""
    final = "fixed" if "Reviewer" in body["messages"][0]["content"] else "draft"
    return f"Thought: I now can give a great answer\nFinal Answer: {final}"


def research_script(body: Mapping[str, Any]) -> dict[str, Any]:
    """Search, then answer with one sound quotation and one that is made up."""
    called: Callable[..., dict[str, Any]] = stub.tool_call
    if not any(message["role"] == "assistant" for message in body["messages"]):
        return called("search", {"words": "capital France"})
    citations = [
        {"document": "doc.md", "quotation": "The capital of France is Paris"},
        {"document": "doc.md", "quotation": "Lyon is the capital"},
    ]
    return called("final_result", {"answer": "Paris.", "citations": citations})


REAL: Mapping[str, tuple[stub.Script, str]] = {
    "mini-swe-agent": (swe_script, "fixed\n"),
    "pandasai": (pandas_script, "3.0\n"),
    "crewai": (crew_script, "fixed\n"),
    "research-agent": (research_script, "Paris.\n"),
}


def test_every_specialist_has_a_test_of_its_own() -> None:
    """The table below and the table of specialists have the same names."""
    assert set(REAL) == set(SPECIALISTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
async def test_the_real_agents_keep_the_contract(sandbox: Sandbox, folder: Path, name: str) -> None:
    """Each does a task with a scripted model, and its process never has the token."""
    home = os.environ.get("TERCET_TEST_AGENTS")
    if not home or not (Path(home) / name / "venv").is_dir():
        pytest.skip(f"TERCET_TEST_AGENTS names no folder with {name}/venv; make it with: tercet agent add {name}")
    script, wanted = REAL[name]
    (folder / "data.txt").write_text("hello\n")
    (folder / "sales.csv").write_text("city,amount\na,1\nb,2\n")
    (folder / "doc.md").write_text("# France\nThe capital of\nFrance is Paris, a city.\n")
    worker, ear = SpecialistWorker(SPECIALISTS[name], Path(home) / name / "venv", sandbox, "small"), stub.Ear()
    async with stub.serve_stub(script) as model:
        task = stub.task_of("What is the total amount?", outputs=["out.txt"])
        await worker.work(task, folder, model.url, "sekret", ear)
    assert set(model.tokens) == {"Bearer sekret"}
    assert (folder / "out.txt").read_text().startswith(wanted)
    if name == "pandasai":
        assert "sekret" not in (folder / "env.txt").read_text()
    if name == "research-agent":
        states = [said.ok for said in ear.said if said.kind == "claim"]
        assert states == [True, False, False]


def last_of(body: Mapping[str, Any], role: str) -> str:
    """The last message of a role; empty where there is none."""
    return next((str(m["content"]) for m in reversed(body["messages"]) if m["role"] == role), "")


def swe_uses(body: Mapping[str, Any]) -> str:
    """On the command line of its sandbox."""
    turn = sum(message["role"] == "assistant" for message in body["messages"])
    use = """python3 /tercet/tercet_tool.py far_echo '{"text": "from afar"}' > out.txt"""
    return bash([use, "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"][min(turn, 1)])


def research_uses(body: Mapping[str, Any]) -> dict[str, Any]:
    """By MCP; its answer is what the tool said."""
    called: Callable[..., dict[str, Any]] = stub.tool_call
    if said := last_of(body, "tool"):
        citations = [{"document": "doc.md", "quotation": "France"}]
        return called("final_result", {"answer": said, "citations": citations})
    return called("far_echo", {"text": "from afar"})


def crew_uses(body: Mapping[str, Any]) -> str | dict[str, Any]:
    """As tools of its own; its last word is what the tool said."""
    if said := last_of(body, "tool"):
        return said
    name = next(tool["function"]["name"] for tool in body["tools"] if "far_echo" in tool["function"]["name"])
    called: Callable[..., dict[str, Any]] = stub.tool_call
    return called(name, {"text": "from afar"})


USES: Mapping[str, stub.Script] = {
    "mini-swe-agent": swe_uses, "crewai": crew_uses, "research-agent": research_uses,
}  # fmt: skip


def test_every_specialist_that_can_be_handed_tools_has_a_test_of_it() -> None:
    """The others say that they cannot."""
    assert set(USES) == {name for name, one in SPECIALISTS.items() if one.tools}


@pytest.mark.slow
@pytest.mark.parametrize("name", USES)
async def test_the_real_agents_use_the_tools_that_they_were_granted(sandbox: Sandbox, folder: Path, name: str) -> None:
    """Out of the sandbox, each in its own way; what the tool says reaches its model or its files."""
    home = os.environ.get("TERCET_TEST_AGENTS")
    if not home or not (Path(home) / name / "venv").is_dir():
        pytest.skip(f"TERCET_TEST_AGENTS names no folder with {name}/venv; make it with: tercet agent add {name}")
    used: list[Mapping[str, Any]] = []

    async def echo(arguments: Mapping[str, Any]) -> str:
        used.append(arguments)
        return f"heard {arguments['text']}"

    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    (folder / "doc.md").write_text("France\n")
    worker = SpecialistWorker(SPECIALISTS[name], Path(home) / name / "venv", sandbox, "small")
    async with stub.serve_stub(USES[name]) as model:
        task = stub.task_of("What is heard?", outputs=["out.txt"])
        tools = [GrantedTool("far_echo", "says it again", schema, echo)]
        await worker.work(task, folder, model.url, "sekret", stub.Ear(), tools)
    assert (folder / "out.txt").read_text().startswith("heard from afar\n")
    assert {tuple(arguments.items()) for arguments in used} == {(("text", "from afar"),)}
