"""Whole runs: one that shares another's beginning and goes its own way, and one that is played again from its record."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.swarm.small_goals import CREDIT, Yes, use_tool

from tercet.errors import JournalError, WorkspaceError
from tercet.market import Price
from tercet.swarm.events import read_events, verify_journal
from tercet.swarm.forks import find_cut, fork_run
from tercet.swarm.gateway import Call, Completion, ScriptedUpstream
from tercet.swarm.kernel import Kernel, RunConfig, resume
from tercet.swarm.replay import replay
from tercet.swarm.roles import ROLES
from tercet.swarm.state import fold
from tercet.swarm.workbench import Made, Workbench

PRICE = 1000


def author_task(name: str, *needs: str) -> dict[str, Any]:
    """An author's task of one file."""
    done = {"command": ["test", "-s", f"{name}.txt"]}
    return {"id": name, "title": name, "role": "author", "needs": needs, "outputs": [f"{name}.txt"], "done": done}


class Author:
    """A model that writes its word and the task's name, and keeps what it was asked for."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.asked: list[str] = []

    def __call__(self, call: Call) -> Mapping[str, Any]:
        self.asked.append(call.task)
        return {"files": [{"path": f"{call.task}.txt", "content": f"{self.word} {call.task}\n"}]}

    @property
    def upstream(self) -> ScriptedUpstream:
        return ScriptedUpstream(self, price=Price(per_request=PRICE))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three tasks, one after the other; done."""
    folder = tmp_path_factory.mktemp("finished")
    plan = folder / "plan.json"
    tasks = author_task("one"), author_task("two", "one"), author_task("three", "two")
    plan.write_text(json.dumps({"goal": "a chain", "tasks": tasks}))
    config = RunConfig("a chain", CREDIT, plan=str(plan), gateway="scripted")
    outcome = asyncio.run(Kernel(folder / "parent", config, Author("first").upstream, Yes()).run())
    assert outcome.status == "done"
    return folder / "parent"


@pytest.fixture
def parent(finished: Path, tmp_path: Path) -> Path:
    """The same, for one test to do with as it likes."""
    return shutil.copytree(finished, tmp_path / "parent")


def contents(folder: Path) -> dict[str, str]:
    """Path to sha256 of all that is below."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and not path.name.endswith(("-shm", "-wal"))
    }


async def test_a_fork_goes_its_own_way_from_a_task_on(parent: Path, tmp_path: Path) -> None:
    """What was before is shared and counts as spent, what comes after is thought and paid anew; the parent stays."""
    before = contents(parent)
    state = fork_run(parent, tmp_path / "child", upto=find_cut(parent / "journal.db", "two"))
    assert {name: view.state for name, view in state.tasks.items()} == {
        "one": "done",
        "two": "pending",
        "three": "pending",
    }
    assert state.spent().charged == PRICE
    assert contents(parent) == before
    shutil.move(parent, tmp_path / "elsewhere")  # the child has all that it needs
    other = Author("second")
    outcome = await resume(tmp_path / "child", lambda _: other.upstream, Yes())
    assert (outcome.status, other.asked) == ("done", ["two", "three"])
    assert (outcome.state.spent().charged, outcome.state.run.returned) == (3 * PRICE, CREDIT - 3 * PRICE)
    said = {path.name: path.read_text() for path in (tmp_path / "child" / "work").iterdir()}
    assert said == {"one.txt": "first one\n", "two.txt": "second two\n", "three.txt": "second three\n"}
    assert contents(tmp_path / "elsewhere") == before
    verify_journal(tmp_path / "child" / "journal.db")


async def test_a_fork_anywhere_comes_to_the_end_and_pays_nothing_twice(parent: Path, tmp_path: Path) -> None:
    """As a resume after a kill at that event: what has a receipt is not bought again."""
    events = list(read_events(parent / "journal.db"))
    last = max(event.seq for event in events if event.kind != "run.ended")
    for upto in [*range(1, last, 15), last]:
        child, model = tmp_path / f"child-{upto}", Author("first")
        shared, upstream = fork_run(parent, child, upto=upto).spent(), model.upstream
        outcome = await resume(child, lambda _, upstream=upstream: upstream, Yes())  # type: ignore[misc]  # cannot be inferred
        assert (upto, outcome.status, outcome.why) == (upto, "done", "")
        assert shared.charged + PRICE * len(model.asked) == outcome.state.spent().charged == 3 * PRICE
        assert contents(child / "work") == contents(parent / "work")


async def test_a_fork_may_think_with_another_model(parent: Path, tmp_path: Path) -> None:
    """An attempt that was under way with the first one's thoughts is begun anew."""
    steps = read_events(parent / "journal.db", kinds=("step",))
    thought = next(event for event in steps if event.scope == "two/1" and event.body["name"] == "think")
    changes = {"model": "other", "gateway": "elsewhere"}
    state = fork_run(
        parent, tmp_path / "child", upto=find_cut(parent / "journal.db", f"two/1#{thought.number}"), changes=changes
    )
    assert state.run.seq == thought.seq + 1
    assert (state.run.model, state.run.gateway) == ("other", "elsewhere")
    seen: list[RunConfig] = []
    upstream = ScriptedUpstream(Author("second"), model="other")

    def opened(config: RunConfig) -> ScriptedUpstream:
        seen.append(config)
        return upstream

    outcome = await resume(tmp_path / "child", opened, Yes())
    assert (outcome.status, seen[0].model, seen[0].gateway) == ("done", "other", "elsewhere")
    assert outcome.state.tasks["two"].attempt == 2
    assert {call.model for call in outcome.state.calls_of(task="three")} == {"other"}


async def test_a_fork_with_nothing_to_go_on_with_is_refused(parent: Path, tmp_path: Path) -> None:
    """An end, a task that never began, an event that never was; and nothing is left lying about."""
    for where, why in (
        ("", "had ended at event"),
        ("nine", "No task 'nine' was begun"),
        ("999", "no event 999"),
        ("two/1#9", "no step 9"),
    ):
        with pytest.raises(JournalError, match=why):
            fork_run(parent, tmp_path / "child", upto=find_cut(parent / "journal.db", where))
        assert not (tmp_path / "child").exists()
    (parent / "original.json").unlink()
    with pytest.raises(WorkspaceError, match="cannot be copied"):
        fork_run(parent, tmp_path / "child", upto=find_cut(parent / "journal.db", "two"))
    assert not (tmp_path / "child" / "journal.db").exists(), "half a fork is no run"


async def test_a_run_with_tools_is_played_again(tmp_path: Path) -> None:
    """Tools are steps: what they left is in the record."""
    plan = tmp_path / "plan.json"
    task = author_task("hello") | {"role": "assistant"}
    plan.write_text(json.dumps({"goal": "say hello", "tasks": [task]}))

    def play(call: Call) -> Completion:
        if any(message["role"] == "tool" for message in call.messages):
            return Completion(text="It is there.")
        return use_tool(0, "write_file", {"path": "hello.txt", "text": "hello"})

    config = RunConfig("say hello", CREDIT, plan=str(plan), gateway="scripted")
    assert (await Kernel(tmp_path / "run", config, ScriptedUpstream(play), Yes()).run()).status == "done"
    (found,) = await replay(tmp_path / "run")
    assert (found.same, [file.recorded for file in found.files]) == (True, [hashlib.sha256(b"hello").hexdigest()])


async def test_a_replay_needs_no_package_for_what_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Done-tests are in the record: where pytest is not installed, the files come out the same."""
    plan = tmp_path / "plan.json"
    task = author_task("one") | {"outputs": ["test_one.py"], "done": {"command": ["python3", "-m", "pytest", "-q"]}}
    plan.write_text(json.dumps({"goal": "a test", "tasks": [task]}))
    written = {"path": "test_one.py", "content": "def test_one():\n    assert 1 + 1 == 2\n"}
    upstream = ScriptedUpstream(lambda _: {"files": [written]})
    config = RunConfig("a test", CREDIT, plan=str(plan), gateway="scripted", lend=["iniconfig"])
    assert (await Kernel(tmp_path / "run", config, upstream, Yes()).run()).status == "done"
    monkeypatch.setattr("tercet.swarm.sandboxes._installed", lambda _name: False)
    (found,) = await replay(tmp_path / "run")
    assert (found.same, [file.path for file in found.files]) == (True, ["test_one.py"])


class Shouting:
    """An author whose program changed: the same thoughts become other files."""

    kind = "model"

    async def work(self, bench: Workbench) -> Made:
        made = await ROLES["author"].work(bench)
        if bench.task.id == "two":
            bench.write("two.txt", bench.read("two.txt").upper())
        return made


class Talkative:
    """One that asks something else."""

    kind = "model"

    async def work(self, bench: Workbench) -> Made:
        await bench.think([{"role": "user", "content": "How are you?"}])
        return await ROLES["author"].work(bench)


async def test_a_replay_names_the_first_file_that_differs(parent: Path) -> None:
    """And stops there: what follows would be made of other files. Other questions are another run."""
    found = await replay(parent, roles={**ROLES, "author": Shouting()})
    assert [(task.task, task.same) for task in found] == [("one", True), ("two", False)]
    (file,) = found[1].files
    assert (file.path, file.recorded) == ("two.txt", hashlib.sha256(b"first two\n").hexdigest())
    assert file.found == hashlib.sha256(b"FIRST TWO\n").hexdigest()
    (asked,) = await replay(parent, roles={**ROLES, "author": Talkative()})
    assert (asked.task, asked.same, "the code or its input changed" in asked.fault) == ("one", False, True)
    state = fold(read_events(parent / "journal.db"))
    assert state.spent().calls == 3, "nobody was asked"
