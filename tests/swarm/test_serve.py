"""Our assistant, served: another home's run has it do a task; each caller has a token, a budget and tasks of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.cli.conftest import Shell
from tests.swarm import stub
from tests.swarm.small_goals import CREDIT, Yes

from tercet.errors import OutOfBudgetError
from tercet.market import Price
from tercet.subnets.kit import Sandbox
from tercet.swarm.a2a import A2aWorker, Answered, Asked
from tercet.swarm.a2a.service import Service
from tercet.swarm.agents import Added, Agents
from tercet.swarm.events import read_events
from tercet.swarm.foreign import foreign_roles
from tercet.swarm.gateway import Desk, ScriptedUpstream
from tercet.swarm.journal import Journal
from tercet.swarm.kernel import Kernel, RunConfig

pytestmark = pytest.mark.slow

RULES = [
    {
        "says": "Greet",
        "tool": "write_file",
        "arguments": {"path": "hello.py", "text": "print(open('name.txt').read())\n"},
    },
    {"says": "Wrote", "tool": "run", "arguments": {"command": ["python3", "hello.py"]}},
    {"says": "exit code 0", "text": "hello.py greets by name."},
    {"says": "Which", "tool": "ask_caller", "arguments": {"question": "which one?"}},
    {"says": "blue", "text": "It is blue."},
    {"says": "", "text": "No."},
]


@dataclass(frozen=True)
class Served:
    """A server in a process of its own."""

    url: str
    tokens: dict[str, str]
    home: Path

    def calls(self) -> list[Any]:
        """What its models were asked, as its journal has it."""
        events = read_events(self.home / "agents" / "served" / "journal.db", kinds=("call",))
        return [event.body for event in events]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`tercet agent serve` for two callers, with a script in the model's place."""
    shell = Shell(tmp_path_factory.mktemp("there"))
    (shell.folder / "script.json").write_text(json.dumps({"rules": RULES}))
    words = ["agent", "serve", "--port", "0", "--scripted", "script.json", "--caller", "ann", "--caller", "bob"]
    server = shell.start(*words, "--budget", "0.5")
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith('{"ready": true'), server.stderr and server.stderr.read()
        told = json.loads(line)
        tokens = {name: Path(file).read_text().strip() for name, file in told["tokens"].items()}
        yield Served(told["url"], tokens, shell.folder / "home")
    finally:
        server.terminate()
        server.communicate(timeout=20)


async def test_a_run_has_it_do_a_task(served: Served, tmp_path: Path) -> None:
    """Two processes: the run sends an input, ours works with tools in its sandbox, its file passes the run's done-test."""
    agents = Agents(tmp_path / "agents")
    agents.keep_token("far", served.tokens["ann"])
    agents.put(Added(name="far", kind="a2a", url=served.url, added_ms=1))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "name.txt").write_text("Ada")
    task = {
        "id": "greet", "title": "Greet by name.txt", "role": "far", "inputs": ["name.txt"], "outputs": ["hello.py"], "seconds": 60,
        "done": {"command": ["sh", "-c", 'test "$(python3 hello.py)" = Ada']}, "budget": 0, "options": {"attempts": 1},
    }  # fmt: skip
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"goal": "greet", "tasks": [task]}))

    def never(_call: object) -> str:
        raise AssertionError("the run's own model is not asked")

    config = RunConfig("greet", CREDIT, dir=str(mine), plan=str(plan), gateway="scripted")
    kernel = Kernel(tmp_path / "run", config, ScriptedUpstream(never), Yes(), roles=foreign_roles(agents))
    outcome = await kernel.run()
    assert (outcome.status, outcome.why) == ("done", "")
    assert (mine / "hello.py").exists()
    assert outcome.state.artefacts["hello.py"].by == "agent far"
    assert {call["agent"] for call in served.calls()} == {"run/ann"}
    claims = [e.body for e in read_events(tmp_path / "run" / "journal.db", kinds=("claim.made",))]
    assert [c["origin"] for c in claims if c["text"] == "hello.py greets by name."] == ["external"]


async def test_it_asks_its_caller_back(served: Served, tmp_path: Path) -> None:
    """And goes on with the answer."""
    ear = stub.Ear("the blue one")
    worker = A2aWorker(served.url, token=served.tokens["bob"])
    await worker.work(stub.task_of("Which?", outputs=["out.txt"]), tmp_path, "", "", ear)
    assert ear.of("ask") == ["which one?"]
    assert (tmp_path / "out.txt").read_text() == "It is blue."


async def test_a_token_opens_its_own_door_only(served: Served) -> None:
    """None, a wrong one; and no caller sees another's tasks."""
    ask = {
        "jsonrpc": "2.0", "id": 1, "method": "SendMessage",
        "params": {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "No?"}]}},
    }  # fmt: skip
    async with httpx.AsyncClient(headers={"A2A-Version": "1.0"}) as http:

        async def post(body: object, token: str) -> httpx.Response:
            return await http.post(served.url, json=body, headers={"Authorization": f"Bearer {token}"})

        for token in ("none", "tca_wrong"):
            assert (await post(ask, token)).status_code == 401
        made = (await post(ask, served.tokens["ann"])).json()["result"]["task"]["id"]
        get = {"jsonrpc": "2.0", "id": 2, "method": "GetTask", "params": {"id": made}}
        assert (await post(get, served.tokens["ann"])).json()["result"]["id"] == made
        assert "error" in (await post(get, served.tokens["bob"])).json()
        assert "error" in (await post({**get, "method": "CancelTask"}, served.tokens["bob"])).json()


def test_it_listens_on_this_machine_and_tokens_are_secret(served: Served) -> None:
    """By default nobody else reaches it; who can read the files is its owner."""
    assert served.url.startswith("http://127.0.0.1:")
    folder = served.home / "agents" / "served"
    assert {oct((folder / name / "token").stat().st_mode & 0o777) for name in served.tokens} == {"0o600"}
    assert len(set(served.tokens.values())) == 2


async def test_a_caller_spends_its_own_budget_and_no_more(tmp_path: Path) -> None:
    """One is out and is told so, the other goes on; a server that starts anew remembers who spent what."""

    async def nobody(_question: str) -> str:
        raise AssertionError

    def asked(caller: str) -> Asked:
        return Asked(caller, "Say yes", {"a.txt": b"a"}, nobody)

    for _ in range(2):
        with Journal(tmp_path / "journal.db") as journal:
            upstream = ScriptedUpstream(lambda _call: "yes", price=Price(per_request=400_000))
            async with Desk(journal, upstream) as desk:
                service = Service(journal, desk, Sandbox.find(), "scripted")
                service.admit("ann", 500_000)
                service.admit("bob", 5 * CREDIT)
                if desk.budgets.spent("run/ann").credit == 0:
                    assert await service.answer(asked("ann")) == Answered("yes", {})
                with pytest.raises(OutOfBudgetError):
                    await service.answer(asked("ann"))
                assert (await service.answer(asked("bob"))).text == "yes"
    spent = {name: desk.budgets.spent(f"run/{name}").credit for name in ("ann", "bob")}
    assert spent == {"ann": 400_000, "bob": 800_000}


def test_a_bad_caller_is_told(tmp_path: Path) -> None:
    """A name that is none."""
    shell = Shell(tmp_path)
    refused = shell.run("agent", "serve", "--caller", "Ann/..")
    assert (refused.code, "is no name of a caller" in refused.err) == (2, True), refused.err
