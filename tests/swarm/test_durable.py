"""Agents whose model calls and tools are steps: killed anywhere, they go on where they were."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from tercet.errors import DivergedError, ReplayEndError
from tercet.swarm.durable import JournalDurability, run_scope
from tercet.swarm.journal import Journal, read_events, verify_journal

DRIVER = Path(__file__).with_name("killed_agent.py")


class Town(BaseModel):
    name: str
    people: int


def build(done: list[str], *, last: int = 3) -> Agent[None, str]:
    """An agent that calls its tool until it has `last` answers; `done` gets what is really done."""

    def think(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        done.append(f"model {turn}")
        usage = RequestUsage(input_tokens=10, output_tokens=2, cost=Decimal("0.25"))
        if turn < last:
            calls = [ToolCallPart("measure", {"town": {"name": f"t{turn}", "people": n}}) for n in range(2)]
            return ModelResponse(parts=calls, usage=usage)
        return ModelResponse(parts=[TextPart("done")], usage=usage)

    agent = Agent(FunctionModel(think), name="coder", capabilities=[JournalDurability[None]()])

    @agent.tool_plain
    async def measure(town: Town) -> int:
        done.append(f"measure {town.name} {town.people}")
        await asyncio.sleep(0.001 * (2 - town.people))
        return town.people

    return agent


async def test_a_resumed_agent_does_nothing_twice(tmp_path: Path) -> None:
    """Output, history and cost are the same the second time, and nothing was done."""
    done: list[str] = []
    with Journal(tmp_path / "journal.db") as journal:
        results = []
        for _ in range(2):
            async with run_scope(journal, "fix/1"):
                results.append(await build(done).run("go"))
        names = [event.body["name"] for event in journal.events()]
    first, second = results
    assert done == [  # tools one after the other, so that their numbers are fixed
        "model 0", "measure t0 0", "measure t0 1", "model 1", "measure t1 0", "measure t1 1",
        "model 2", "measure t2 0", "measure t2 1", "model 3",
    ]  # fmt: skip
    assert len(names) == len(done)
    assert second.output == first.output == "done"
    assert second.usage == first.usage
    assert second.usage.cost == Decimal("1.00")
    assert (second.run_id, second.conversation_id) == (first.run_id, first.conversation_id)
    assert [message.parts for message in second.all_messages() if isinstance(message, ModelResponse)] == [
        message.parts for message in first.all_messages() if isinstance(message, ModelResponse)
    ]


def test_names_of_steps_are_what_journals_hold() -> None:
    """These stand in journals of users: another version of the engine has to keep them, or be told apart."""

    async def names(path: Path) -> list[str]:
        with Journal(path) as journal:
            async with run_scope(journal, "a"):
                await build([], last=1).run("go")
            return [event.body["name"] for event in journal.events()]

    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(names(Path(folder) / "journal.db"))
    tool = "coder__function_toolset__<agent>.call_tool:measure"
    assert found == ["coder__model.request", tool, tool, "coder__model.request"]


async def test_outside_of_a_scope_nothing_is_recorded(tmp_path: Path) -> None:
    """The capability is transparent there."""
    with Journal(tmp_path / "journal.db") as journal:
        assert (await build([]).run("go")).output == "done"
        assert journal.head == 0


async def test_a_tool_that_asks_to_be_called_again_is_recorded_too(tmp_path: Path) -> None:
    """What a tool refuses is an answer to the model, so it is read back as well."""
    done: list[str] = []

    def think(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        return ModelResponse(parts=[ToolCallPart("guess", {"n": turn})] if turn < 2 else [TextPart("right")])

    agent = Agent(FunctionModel(think), name="guesser", capabilities=[JournalDurability[None]()])

    @agent.tool_plain
    async def guess(n: int) -> str:
        done.append(str(n))
        if n == 0:
            raise ModelRetry("higher")
        return "yes"

    with Journal(tmp_path / "journal.db") as journal:
        for _ in range(2):
            async with run_scope(journal, "a"):
                assert (await agent.run("go")).output == "right"
    assert done == ["0", "1"]


async def test_an_agent_within_a_tool_is_a_part_of_the_tools_step(tmp_path: Path) -> None:
    """Asking a colleague is one step; it is not asked again."""
    done: list[str] = []
    colleague = build(done, last=1)

    def think(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        asked = any(isinstance(message, ModelResponse) for message in messages)
        return ModelResponse(parts=[TextPart("thanks")] if asked else [ToolCallPart("ask", {})])

    lead = Agent(FunctionModel(think), name="lead", capabilities=[JournalDurability[None]()])

    @lead.tool
    async def ask(ctx: RunContext[None]) -> str:
        return (await colleague.run("help", usage=ctx.usage)).output

    with Journal(tmp_path / "journal.db") as journal:
        for _ in range(2):
            async with run_scope(journal, "a"):
                assert (await lead.run("go")).output == "thanks"
        assert journal.head == 3
    assert done.count("model 0") == 1


async def test_changed_code_is_stopped_before_it_acts(tmp_path: Path) -> None:
    """An agent that now calls its tool with other arguments is told which step differs."""
    with Journal(tmp_path / "journal.db") as journal:
        async with run_scope(journal, "a"):
            await build([]).run("go")
        other = Agent(build([]).model, name="other", capabilities=[JournalDurability[None]()])
        async with run_scope(journal, "a"):
            with pytest.raises(DivergedError, match=r"'coder__model.request', not 'other__model.request'"):
                await other.run("go")


async def test_replay_ends_where_the_record_ends(tmp_path: Path) -> None:
    """A replay does not think anew."""
    done: list[str] = []
    with Journal(tmp_path / "journal.db") as journal:
        async with run_scope(journal, "a"):
            await build(done, last=1).run("go")
        count = len(done)
        async with run_scope(journal, "a", recorded_only=True):
            assert (await build(done, last=1).run("go")).output == "done"
        async with run_scope(journal, "b", recorded_only=True):
            with pytest.raises(ReplayEndError):
                await build(done).run("go")
    assert len(done) == count


async def test_a_resume_does_not_lengthen_a_timeout(tmp_path: Path) -> None:
    """The time that a run first started is a step."""
    with Journal(tmp_path / "journal.db") as journal:
        for _ in range(2):
            async with run_scope(journal, "a"):
                await build([], last=1).run("go", timeout=60)
        starts = [event for event in journal.events() if event.body["name"].endswith("run_start_time")]
    assert len(starts) == 1


def test_kill_9_at_every_step_repeats_only_the_one_in_flight(tmp_path: Path) -> None:
    """A real process is killed in the middle of each model call and tool; resumed, each was finished once."""
    out = subprocess.run(
        [sys.executable, str(DRIVER), str(tmp_path)], capture_output=True, text=True, check=True, timeout=120
    )
    report = json.loads(out.stdout)
    assert report["signals"] == [9] * report["operations"]
    started, finished = Counter(report["started"]), Counter(report["finished"])
    assert set(finished.values()) == {1}, "no model call and no tool was paid for twice"
    assert set(started.values()) == {2}, "each was in flight once when the process was killed"
    assert report["output"] == "done"
    path = tmp_path / "run-1" / "journal.db"
    assert verify_journal(path)[0] == report["operations"] == len(list(read_events(path)))
    assert report["keys_differ"] is False, "a repeated payment has the key of the first try"
