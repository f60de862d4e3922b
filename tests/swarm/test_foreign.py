"""Somebody else's agent in a run: it thinks at the run's cost, its files are tested, and its words are claims."""

from __future__ import annotations

import asyncio
import json
import venv
from pathlib import Path
from typing import Any

import pytest
from tests.swarm.small_goals import CREDIT, Yes
from tests.swarm.test_workers import HEAD, THINK

from tercet.market import Price
from tercet.swarm.agents import Added, Agents
from tercet.swarm.control import request
from tercet.swarm.events import read_events
from tercet.swarm.foreign import ForeignRole
from tercet.swarm.gateway import Call, ScriptedUpstream
from tercet.swarm.kernel import Kernel, Outcome, RunConfig
from tercet.swarm.plan import Plan
from tercet.swarm.roles import ROLES
from tercet.swarm.workers import Specialist

pytestmark = pytest.mark.slow
WORKS = """
open("out.txt", "w").write(think(order["task"]))
say(claim="out.txt is right", sources=["out.txt"])
say(end="done", why="")
"""


@pytest.fixture(scope="session")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Agents:
    """A home with one agent added."""
    agents = Agents(tmp_path_factory.mktemp("home") / "agents")
    venv.create(agents.environment("fake"), symlinks=True)
    agents.put(Added(name="fake", kind="specialist", added_ms=1))
    return agents


def kernel_of(tmp_path: Path, agents: Agents, body: str, *, price: Price | None = None, answer: str = "ok") -> Kernel:
    """A run with one task for the agent."""
    driver = tmp_path / "driver.py"
    driver.write_text(HEAD + THINK + body)
    task = {
        "id": "write", "title": "write ok", "role": "fake", "outputs": ["out.txt"], "budget": CREDIT, "seconds": 60, "options": {"attempts": 1},
        "done": {"command": ["grep", "-q", "ok", "out.txt"]},
    }  # fmt: skip
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"goal": "write", "tasks": [task]}))

    def script(call: Call) -> str:
        return answer

    config = RunConfig("write", CREDIT, plan=str(plan), gateway="scripted")
    role = ForeignRole(agents, "fake", {"fake": Specialist("fake", "tests", (), "fake", driver)})
    return Kernel(tmp_path / "run", config, ScriptedUpstream(script, price=price), Yes(), roles={"fake": role})


def bodies(tmp_path: Path, kind: str) -> list[Any]:
    return [event.body for event in read_events(tmp_path / "run" / "journal.db", kinds=(kind,))]


async def test_it_does_a_task_and_everything_is_accounted(tmp_path: Path, agents: Agents) -> None:
    """Its calls are the agent's, its file is the task's, its word is an external claim."""
    outcome = await kernel_of(tmp_path, agents, WORKS, price=Price(per_request=7)).run()
    assert (outcome.status, outcome.why) == ("done", "")
    assert outcome.state.artefacts["out.txt"].by == "agent fake"
    calls = bodies(tmp_path, "call")
    assert [(call["status"], call["charged"], call["task"]) for call in calls] == [("complete", 7, "write")]
    assert outcome.state.artefacts["out.txt"].receipts == [calls[0]["id"]]
    assert [agent["kind"] for agent in bodies(tmp_path, "agent.started")] == ["foreign"]
    claims = [claim for claim in bodies(tmp_path, "claim.made") if claim["text"] == "out.txt is right"]
    assert [claim["origin"] for claim in claims] == ["external"]
    assert (tmp_path / "run" / "work" / "out.txt").read_text() == "ok"


async def test_it_gets_the_task_of_one_of_ours_who_failed(tmp_path: Path, agents: Agents) -> None:
    """Named as a candidate it offers as ours does, by what is known of its model, and is asked next."""
    kernel = kernel_of(tmp_path, agents, WORKS, price=Price(per_request=7))
    plan = json.loads((tmp_path / "plan.json").read_text())
    plan["tasks"][0] |= {"role": "author", "options": {"candidates": ["fake"], "attempts": 1}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))

    def script(call: Call) -> str:
        return json.dumps({"files": [{"path": "out.txt", "content": "bad"}]}) if call.schema else "ok"

    upstream, roles = ScriptedUpstream(script, price=Price(per_request=7)), {**ROLES, **kernel._roles}
    outcome = await Kernel(tmp_path / "run", kernel.config, upstream, Yes(), roles=roles).run()
    assert (outcome.status, outcome.why) == ("done", "")
    awards = bodies(tmp_path, "task.contracted")
    assert [(each["agent"], each["price"]) for each in awards] == [("author-1", 56), ("fake-1", 56)]
    assert outcome.state.artefacts["out.txt"].by == "agent fake"


async def test_work_that_fails_the_done_test_is_not_taken(tmp_path: Path, agents: Agents) -> None:
    """Whatever it says of itself."""
    outcome = await kernel_of(tmp_path, agents, WORKS, answer="bad").run()
    assert outcome.status == "failed"
    assert "done-test fails" in outcome.why
    assert outcome.state.artefacts == {}


async def test_last_words_cut_within_a_character_are_told(tmp_path: Path, agents: Agents) -> None:
    """The run ends as runs do, with a report."""
    outcome = await kernel_of(tmp_path, agents, 'say(end="stuck", why="I was at \\ud83d")').run()
    assert outcome.status == "failed"
    assert "gave up: stuck: I was at ?." in outcome.why
    assert "gave up: stuck: I was at ?." in (tmp_path / "run" / "report.md").read_text()


async def test_without_budget_the_run_says_so(tmp_path: Path, agents: Agents) -> None:
    """Not that the agent gave up with some words about HTTP."""
    outcome = await kernel_of(tmp_path, agents, WORKS, price=Price(per_request=2 * CREDIT)).run()
    assert outcome.status == "out_of_budget"
    assert "the call may need 2 credit, and 1 credit is left" in outcome.why


class FewTokens(Yes):
    """Limits the tokens of the run before anybody thinks."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:
        await request(self.folder, "budget_set", tokens=5)
        return await super().approve(plan, by, config, again=again)


async def test_out_of_tokens_is_not_out_of_credit(tmp_path: Path, agents: Agents) -> None:
    """What it lacked is told, so that the person adds that."""
    kernel = kernel_of(tmp_path, agents, WORKS)
    outcome = await Kernel(
        tmp_path / "run", kernel.config, kernel._upstream, FewTokens(tmp_path / "run"), roles=kernel._roles
    ).run()
    assert outcome.status == "out_of_budget"
    lacking = outcome.lacking
    assert lacking is not None
    assert (lacking.node, lacking.resource, lacking.left) == ("run", "tokens", 5)
    assert lacking.needed > 5
    assert str(lacking) == outcome.why


async def test_an_interrupted_run_goes_on_with_it(tmp_path: Path, agents: Agents) -> None:
    """Pausing ends its process; the next kernel begins its attempt again and pays once for what it asks."""
    waiting = "say(note='up')\n" + WORKS.replace(
        "say(end", "if not os.path.exists('/tmp/never'): import time; time.sleep(50)\nsay(end"
    )
    kernel = kernel_of(tmp_path, agents, waiting)
    running = asyncio.create_task(kernel.run())
    while not bodies_or_none(tmp_path):  # noqa: ASYNC110 - another process's journal has no event to wait for
        await asyncio.sleep(0.05)
    kernel.interrupt()
    outcome: Outcome = await running
    assert outcome.status == "paused"
    outcome = await kernel_of(tmp_path, agents, WORKS).run()
    assert (outcome.status, outcome.why) == ("done", "")


def bodies_or_none(tmp_path: Path) -> list[Any]:
    """The calls so far."""
    return bodies(tmp_path, "call") if (tmp_path / "run" / "journal.db").exists() else []
