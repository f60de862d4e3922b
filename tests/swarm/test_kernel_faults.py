"""What a run does when something goes wrong: it dies, the money ends, an agent is killed, a goal cannot be met."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.swarm.small_goals import CREDIT, Yes, build_repository, say_yes, scripted

from tercet.errors import (
    AttemptError,
    GoalError,
    NotInstalledError,
    PackageMissingError,
    PlanError,
    RefusedError,
    RunLockedError,
)
from tercet.market import Price
from tercet.swarm.control import request
from tercet.swarm.events import read_events, verify_journal
from tercet.swarm.gateway import Budgets, Call, ScriptedUpstream
from tercet.swarm.journal import Journal
from tercet.swarm.kernel import Kernel, Outcome, RunConfig, resume
from tercet.swarm.plan import Plan
from tercet.swarm.state import fold
from tercet.swarm.workbench import Made, Workbench

ROOT = Path(__file__).parents[2]


def note_task(name: str, path: str, **more: Any) -> dict[str, Any]:
    """A writer's task that writes a short note."""
    done = {"command": ["test", "-s", path]}
    return {"id": name, "title": f"Write {path}", "role": "writer", "outputs": [path], "done": done, **more}


def write_plan(folder: Path, *tasks: Mapping[str, Any]) -> Path:
    """A plan file."""
    path = folder / "plan.json"
    path.write_text(json.dumps({"goal": "notes", "tasks": list(tasks)}))
    return path


def config_of(plan: Path, **more: Any) -> RunConfig:
    """Two agents at most, a scripted model."""
    return RunConfig("notes", CREDIT, plan=str(plan), gateway="scripted", agents=2, **more)


@pytest.mark.slow
def test_a_run_that_is_killed_anywhere_goes_on_and_asks_no_question_twice(tmp_path: Path) -> None:
    """Kill -9 at each turn of a run; each thought is bought once, the person is asked once about each plan, and the
    files are there in the end, those of a task that was done in another way too.
    """
    mine = tmp_path / "mine"
    build_repository(mine)
    (mine / "till.py").write_text((mine / "till.py").read_text().replace("+ discount", "- discount"))
    write_plan(
        tmp_path,
        note_task("one", "one.txt"),
        note_task("two", "two.txt", needs=["one"], options={"attempts": 1})
        | {"outputs": ["two.txt", "more.txt"], "done": {"command": ["sh", "-c", "test -s two.txt -a -s more.txt"]}},
        {
            "id": "check",
            "title": "Test",
            "role": "tester",
            "needs": ["two"],
            "done": {"command": ["test", "-s", "two.txt"]},
        },
    )
    run, calls = tmp_path / "run", tmp_path / "calls"
    said, deaths = "", 0
    for last in (4, 2, 11, 6, 5, 8, 16, 2, 3, 3, 2, 2, 6, 0):
        done = subprocess.run(
            [sys.executable, "-m", "tests.swarm.killed_run", str(run), str(mine), str(calls), str(last)],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        said = done.stdout.strip()
        deaths += done.returncode == -9
        if said:
            break
    assert (said, done.stderr) == ("done", "")
    assert deaths >= 6
    asked = [json.loads(line) for line in calls.read_text().splitlines()]
    unrecorded = len(asked) - len({tuple(call) for call in asked})
    lost = sum(event.body["status"] == "lost" for event in read_events(run / "journal.db", kinds=("call",)))
    assert unrecorded <= lost, "only a thought whose receipt was not written is asked again"
    assert (mine / "one.txt").exists()
    assert (mine / "two.txt").exists()
    assert (mine / "more.txt").exists()
    assert (tmp_path / "calls.approved").read_text() == "file\nfile; two anew by model scripted\n"
    replanned = list(read_events(run / "journal.db", kinds=("task.replanned",)))
    assert [event.task for event in replanned] == ["two"]
    verify_journal(run / "journal.db")


async def test_a_run_out_of_budget_keeps_its_work_and_goes_on_with_more(tmp_path: Path) -> None:
    """The first note is written, the second costs too much; after `budget add` the run is resumed and done."""
    plan = write_plan(
        tmp_path, note_task("one", "one.txt", budget=600_000), note_task("two", "two.txt", needs=["one"], budget=0)
    )
    price = Price(per_request=550_000)
    outcome = await Kernel(tmp_path / "run", config_of(plan), scripted(price), Yes()).run()
    assert outcome.status == "out_of_budget"
    assert "tercet budget add" in outcome.why
    assert outcome.lacking is not None
    assert (outcome.lacking.node, outcome.lacking.resource) == ("run", "credit")
    assert (tmp_path / "run" / "work" / "one.txt").exists()
    with Journal(tmp_path / "run" / "journal.db") as journal:
        await journal.append("budget.added", {"node": "run", "credit": CREDIT})
    again = await resume(tmp_path / "run", lambda _: scripted(price), Yes())
    assert again.status == "done"
    assert again.state.spent().charged == 1_100_000
    assert len([call for call in again.state.calls.values() if call.status == "complete"]) == 2
    with pytest.raises(GoalError, match="done"):
        await resume(tmp_path / "run", lambda _: scripted(price), Yes())


async def test_a_goal_that_cannot_be_met_stops_early_and_returns_the_rest(tmp_path: Path) -> None:
    """The task after the failed one is never begun."""
    bad = note_task("one", "one.txt") | {"done": {"command": ["test", "-s", "never"]}}
    plan = write_plan(tmp_path, bad, note_task("two", "two.txt", needs=["one"]))
    outcome = await Kernel(tmp_path / "run", config_of(plan), scripted(), Yes()).run()
    assert outcome.status == "failed"
    assert "'one'" in outcome.why
    assert outcome.state.tasks["two"].attempt == 0
    assert outcome.state.run.returned == CREDIT
    assert "The goal was not met" in (tmp_path / "run" / "report.md").read_text()


async def test_a_write_outside_the_claim_is_refused_and_said(tmp_path: Path) -> None:
    """Nothing of the attempt is merged."""

    class Sprawler:
        kind = "tool"

        async def work(self, bench: Any) -> Any:
            bench.write("mine.txt", "x")
            bench.write("yours.txt", "x")
            from tercet.swarm.workbench import Made

            return Made("program")

    task = note_task("one", "mine.txt", role="sprawler", options={"attempts": 1})
    kernel = Kernel(
        tmp_path / "run", config_of(write_plan(tmp_path, task)), scripted(), Yes(), roles={"sprawler": Sprawler()}
    )
    outcome = await kernel.run()
    assert outcome.status == "failed"
    assert "'yours.txt' is outside its claim (mine.txt)" in outcome.why
    assert list((tmp_path / "run" / "work").iterdir()) == []


async def test_a_no_to_the_plan_starts_nothing(tmp_path: Path) -> None:
    """The run ends, and no agent ever was."""

    class No(Yes):
        async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:
            raise RefusedError("no")

    with pytest.raises(RefusedError):
        await Kernel(tmp_path / "run", config_of(write_plan(tmp_path, note_task("a", "a.txt"))), scripted(), No()).run()
    state = fold(read_events(tmp_path / "run" / "journal.db"))
    assert (state.run.status, state.agents) == ("failed", {})


async def test_two_kernels_never_work_at_one_run(tmp_path: Path) -> None:
    """The second is told."""
    (tmp_path / "run").mkdir()
    plan = write_plan(tmp_path, note_task("a", "a.txt"))
    with Journal(tmp_path / "run" / "journal.db"), pytest.raises(RunLockedError):
        await Kernel(tmp_path / "run", config_of(plan), scripted(), Yes()).run()


async def test_a_plan_of_nobodys_role_is_refused(tmp_path: Path) -> None:
    """The known roles are named."""
    plan = write_plan(tmp_path, note_task("a", "a.txt", role="astronaut"))
    with pytest.raises(PlanError, match=r"astronaut.*coder"):
        await Kernel(tmp_path / "run", config_of(plan), scripted(), Yes()).run()


async def test_a_plan_that_needs_what_is_not_installed_begins_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to install is said before anybody works, and nothing is ended for it."""
    monkeypatch.setattr("tercet.swarm.sandboxes._installed", lambda name: name not in {"pytest", "matplotlib"})
    tested = note_task("a", "a.txt", done={"command": ["python3", "-m", "pytest"]})
    for task, wanted in ((tested, "pytest.*coding"), (note_task("a", "a.md", role="analyst"), "matplotlib.*swarm")):
        folder = tmp_path / task["role"]
        folder.mkdir()
        with pytest.raises(PackageMissingError, match=wanted) as missing:
            await Kernel(folder / "run", config_of(write_plan(folder, task)), scripted(), Yes()).run()
        assert not list(read_events(folder / "run" / "journal.db", kinds=("task.started", "call")))
        left = fold(read_events(folder / "run" / "journal.db")).run
        assert (left.state, left.status, left.returned, left.why) == ("paused", "", 0, str(missing.value))


TESTED = {
    "id": "tested",
    "title": "Write a test",
    "role": "author",
    "outputs": ["test_sum.py"],
    "done": {"command": ["python3", "-m", "pytest", "-q"]},
}
"""Its done-test runs pytest."""


def write_test(call: Call) -> Mapping[str, Any] | str:
    """Plays a model that does it, and every writer's task."""
    text = "def test_sum():\n    assert 1 + 1 == 2\n"
    return {"files": [{"path": "test_sum.py", "content": text}]} if call.task == "tested" else say_yes(call)


@contextlib.contextmanager
def lacking(what: str, monkeypatch: pytest.MonkeyPatch, empty: Path) -> Iterator[None]:
    """A machine without pytest, or without bubblewrap."""
    with monkeypatch.context() as patched:
        if what == "pytest":
            patched.setattr("tercet.swarm.sandboxes._installed", lambda name: name != "pytest")
        else:
            patched.setenv("PATH", str(empty))
        yield


def written(run: Path) -> tuple[int, list[str]]:
    """Calls that were paid, and tasks that were done, with those that were paid or done twice."""
    events = list(read_events(run / "journal.db", kinds=("call", "task.done")))
    paid = sum(event.kind == "call" and event.body["status"] == "complete" for event in events)
    return paid, [event.task for event in events if event.kind == "task.done"]


@pytest.mark.parametrize("what", ["pytest", "bubblewrap"])
async def test_a_run_begun_where_something_is_missing_is_done_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It was agreed to, and is not asked about again."""
    upstream, person = ScriptedUpstream(write_test, price=Price(per_request=1000)), Yes()
    kernel = Kernel(tmp_path / "run", config_of(write_plan(tmp_path, TESTED)), upstream, person)
    with lacking(what, monkeypatch, tmp_path), pytest.raises(NotInstalledError, match=what):
        await kernel.run()
    outcome = await resume(tmp_path / "run", lambda _: upstream, person)
    assert (outcome.status, outcome.why, len(person.plans)) == ("done", "", 1)
    assert written(tmp_path / "run") == (1, ["tested"])


@pytest.mark.parametrize("what", ["pytest", "bubblewrap"])
async def test_a_half_done_run_is_not_lost_where_something_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Resumed there, it stays paused however often; resumed elsewhere, it does the rest, and pays nothing again."""

    def play(call: Call) -> Mapping[str, Any] | str:
        if call.task == "two":
            kernel.interrupt()
        return write_test(call)

    upstream, run = ScriptedUpstream(play, price=Price(per_request=1000)), tmp_path / "run"
    tasks = note_task("one", "one.txt"), note_task("two", "two.txt", needs=["one"]), {**TESTED, "needs": ["two"]}
    kernel = Kernel(run, config_of(write_plan(tmp_path, *tasks)), upstream, Yes())
    assert (await kernel.run()).status == "paused"
    for _ in range(2):
        with lacking(what, monkeypatch, tmp_path), pytest.raises(NotInstalledError, match=what):
            await resume(run, lambda _: upstream, Yes())
        state = fold(read_events(run / "journal.db"))
        assert (state.run.state, what in state.run.why, state.tasks["one"].state) == ("paused", True, "done")
        assert not (run / "report.md").exists()
    outcome = await resume(run, lambda _: upstream, Yes())
    assert (outcome.status, outcome.why) == ("done", "")
    assert written(run) == (3, ["one", "two", "tested"])
    assert (outcome.state.spent().charged, outcome.state.run.returned) == (3000, CREDIT - 3000)
    verify_journal(run / "journal.db")


async def test_a_models_plan_that_needs_what_is_missing_is_sampled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every plan needs it, the run is paused, and goes on with the plans that were paid."""
    plans, asked = [{"tasks": [{**TESTED, "needs": []}]}] * 6, list[str]()

    def play(call: Call) -> Mapping[str, Any] | str:
        asked.append(call.agent)
        return plans[asked.count("run") - 1] if call.agent == "run" else write_test(call)

    config, upstream = RunConfig("two words about nothing", CREDIT, gateway="scripted"), ScriptedUpstream(play)
    with lacking("pytest", monkeypatch, tmp_path), pytest.raises(PackageMissingError, match=r"pytest.*coding"):
        await Kernel(tmp_path / "run", config, upstream, Yes()).run()
    assert asked == ["run"] * 6
    assert (await resume(tmp_path / "run", lambda _: upstream, Yes())).status == "done"
    assert asked.count("run") == 6
    plans[1:3] = [{"tasks": [note_task("a", "a.txt", needs=[])]}] * 2
    asked.clear()
    with lacking("pytest", monkeypatch, tmp_path):
        outcome = await Kernel(tmp_path / "other", config, upstream, Yes()).run()
    assert (outcome.status, list(outcome.state.tasks), asked.count("run")) == ("done", ["a"], 3)


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (note_task("a", "a.png", role="analyst"), "name no page"),
        (
            note_task("a", "a.md", role="analyst", options={"data": "b.csv", "facts": "b.json"}),
            "does not hold the facts",
        ),
        (note_task("a", "a.md", role="analyst", options={"part": "facts", "data": 1}, outputs=[]), "IndexError"),
        (note_task("a", "a.txt", options={"words": "few"}), "invalid literal"),
    ],
)
async def test_a_task_that_its_role_cannot_do_fails_and_not_the_kernel(
    tmp_path: Path, task: dict[str, Any], why: str
) -> None:
    """A planning model wrote it: the run ends as runs do, with the reason, a report and the rest of its budget."""
    plan = write_plan(tmp_path, task)
    outcome = await Kernel(tmp_path / "run", config_of(plan), scripted(), Yes()).run()
    assert outcome.status == "failed"
    assert why in outcome.why
    assert outcome.state.run.returned == CREDIT
    assert (tmp_path / "run" / "report.md").is_file()
    traced = list(read_events(tmp_path / "run" / "journal.db", kinds=("task.tripped",)))
    assert bool(traced) == ("tercet journal show run --kind task.tripped" in outcome.why)
    assert all("Traceback" in event.body["traceback"] and why in event.body["traceback"] for event in traced)


class Full:
    """A role on a full disk."""

    kind = "tool"

    async def work(self, bench: Workbench) -> Made:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(bench.folder))


async def test_a_full_disk_is_not_the_plans_fault(tmp_path: Path) -> None:
    """The task fails with what the machine said."""
    config = config_of(write_plan(tmp_path, note_task("a", "a.txt")))
    outcome = await Kernel(tmp_path / "run", config, scripted(), Yes(), roles={"writer": Full()}).run()
    assert outcome.status == "failed"
    assert "stopped by this machine: [Errno 28] No space left on device" in outcome.why


class Nested:
    """A role that leaves files so deep that this machine has no name for them."""

    kind = "tool"

    async def work(self, bench: Workbench) -> Made:
        here = os.open(bench.folder, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=here)
            below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        return Made("program")


async def test_files_that_the_machine_cannot_take_fail_their_task_and_not_the_kernel(tmp_path: Path) -> None:
    """The run ends as runs do, with what the machine said."""
    config = config_of(write_plan(tmp_path, note_task("a", "a.txt")))
    outcome = await Kernel(tmp_path / "run", config, scripted(), Yes(), roles={"writer": Nested()}).run()
    assert outcome.status == "failed"
    assert "stopped by this machine: [Errno 36] File name too long" in outcome.why
    assert (tmp_path / "run" / "report.md").is_file()


class Verbose:
    """A role that says more than a journal takes, and a model's calls by the thousand."""

    kind = "tool"

    def __init__(self, most: int) -> None:
        self.most = most

    async def work(self, bench: Workbench) -> Made:
        async def say() -> str:
            return "x" * self.most

        await bench.step("say", say)
        bench.receipts += [f"{number:032x}" for number in range(500)]
        for number in range(1000):
            bench.write(f"{number}.txt", "x")
        return Made("program")


async def test_what_is_too_large_for_the_journal_fails_its_task_and_not_the_run(tmp_path: Path) -> None:
    """It is told what to do; the journal is whole, and a resume finds a run that has ended."""
    plan = write_plan(tmp_path, note_task("a", "1.txt"))
    roles = {"writer": Verbose(17 << 20)}
    outcome = await Kernel(tmp_path / "run", config_of(plan), scripted(), Yes(), roles=roles).run()
    assert outcome.status == "failed"
    assert "17 MiB long, 16 MiB are the most" in outcome.why
    assert "Divide the task" in outcome.why
    assert outcome.state.run.returned == CREDIT
    verify_journal(tmp_path / "run" / "journal.db")
    with pytest.raises(GoalError, match="has ended"):
        await resume(tmp_path / "run", lambda _: scripted(), Yes())


async def test_many_files_that_took_many_calls_are_written_down(tmp_path: Path) -> None:
    """The calls once for all, and with each file."""
    plan = write_plan(tmp_path, note_task("a", "1.txt") | {"outputs": ["*.txt"]})
    outcome = await Kernel(tmp_path / "run", config_of(plan), scripted(), Yes(), roles={"writer": Verbose(1)}).run()
    assert (outcome.status, outcome.why) == ("done", "")
    (done,) = read_events(tmp_path / "run" / "journal.db", kinds=("task.done",))
    assert (len(done.body["artefacts"]), len(done.body["receipts"])) == (1000, 500)
    assert {len(view.receipts) for view in outcome.state.artefacts.values()} == {500}


class Torn:
    """A role whose last words end within a character."""

    kind = "tool"

    async def work(self, bench: Workbench) -> Made:
        raise AttemptError("I was at \ud83d")


async def test_a_report_is_written_whatever_text_a_journal_holds(tmp_path: Path) -> None:
    """At the run's end, and of a run that was left without one."""
    plan, run = write_plan(tmp_path, note_task("a", "a.txt")), tmp_path / "run"
    outcome = await Kernel(run, config_of(plan), scripted(), Yes(), roles={"writer": Torn()}).run()
    assert outcome.status == "failed"
    assert "I was at" in (run / "report.md").read_text()
    (run / "report.md").unlink()
    assert (await resume(run, lambda _: scripted(), Yes())).status == "failed"
    assert "I was at" in (run / "report.md").read_text()
    assert "I was at ?" in json.loads((run / "report.json").read_text())["why"]


class Drafter:
    """A role that writes a file, and one that is called like a draft of it."""

    kind = "tool"

    async def work(self, bench: Workbench) -> Made:
        bench.write("out/.x.part/y", "y")
        bench.write("out/x", "x")
        return Made("program")


async def test_a_file_called_like_a_draft_of_another_is_tested_and_merged(tmp_path: Path) -> None:
    """The done-test sees both."""
    done = {"command": ["sh", "-c", "test -s out/x -a -s out/.x.part/y"]}
    task = note_task("a", "out/x") | {"outputs": ["out/"], "done": done}
    kernel = Kernel(
        tmp_path / "run", config_of(write_plan(tmp_path, task)), scripted(), Yes(), roles={"writer": Drafter()}
    )
    outcome = await kernel.run()
    assert (outcome.status, outcome.why) == ("done", "")
    assert (tmp_path / "run" / "work" / "out" / ".x.part" / "y").read_text() == "y"


class Slow:
    """A scripted model that waits until it is let go."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.calls: list[str] = []

    async def __call__(self, call: Call) -> Mapping[str, Any] | str:
        self.calls.append(call.agent)
        self.asked.set()
        await self.go.wait()
        return say_yes(call)


async def start(
    tmp_path: Path, model: Slow, *tasks: Mapping[str, Any], price: Price | None = None
) -> tuple[Kernel, asyncio.Task[Outcome]]:
    """A run in which an agent thinks."""
    upstream = ScriptedUpstream(model, price=price)
    kernel = Kernel(tmp_path / "run", config_of(write_plan(tmp_path, *tasks)), upstream, Yes())
    running = asyncio.create_task(kernel.run())
    await asyncio.wait_for(model.asked.wait(), 60)
    return kernel, running


async def test_an_interrupted_run_pauses_and_is_resumed(tmp_path: Path) -> None:
    """Ctrl-C: what was asked is paid once, and the resume finishes."""
    model = Slow()
    kernel, running = await start(tmp_path, model, note_task("a", "a.txt"))
    kernel.interrupt()
    model.go.set()
    assert (await running).status == "paused"
    again = await resume(tmp_path / "run", lambda _: scripted(), Yes())
    assert again.status == "done"
    assert sum(call.status == "complete" for call in again.state.calls.values()) == 1


async def test_a_killed_agents_task_goes_to_somebody_else(tmp_path: Path) -> None:
    """The killed one thinks no more."""
    model = Slow()
    _, running = await start(tmp_path, model, note_task("a", "a.txt"), note_task("b", "b.txt", needs=["a"]))
    victim = model.calls[0]
    await request(tmp_path / "run", "kill", node=victim)
    model.go.set()
    outcome = await asyncio.wait_for(running, 60)
    assert outcome.status == "done"
    assert outcome.state.agents[victim.split("/")[-1]].state == "killed"
    assert outcome.state.tasks["a"].agent != victim.split("/")[-1]


async def test_a_limit_that_the_person_set_on_an_agent_outlives_its_tasks_and_a_resume(tmp_path: Path) -> None:
    """It is no task's allowance: the next task begins under the same limit, and what was added to a task stays added."""
    model, price, node = Slow(), Price(per_request=100), "run/crew/writer-1"
    tasks = note_task("a", "a.txt", budget=300), note_task("b", "b.txt", needs=["a"], budget=300)
    _, running = await start(tmp_path, model, *tasks, price=price)
    await request(tmp_path / "run", "budget_set", node=node, credit=150)
    model.go.set()
    outcome = await asyncio.wait_for(running, 60)
    assert (outcome.status, f"budget of {node!r} is out" in outcome.why) == ("out_of_budget", True)
    assert outcome.state.tasks["a"].state == "done"
    budgets = Budgets()
    with Journal(tmp_path / "run" / "journal.db") as journal:
        budgets.replay(journal.events())
        assert budgets.limit(node).credit == 150
        allowed = budgets.allowance(node)
        assert allowed is not None
        assert (allowed.task, allowed.credit >= 400) == ("b", True), "100 were spent, and 300 are b's own"
        journal.note("budget.added", {"node": node, "credit": 60})
    again = await resume(tmp_path / "run", lambda _: scripted(price), Yes())
    assert again.status == "done"
    budgets = Budgets()
    budgets.replay(read_events(tmp_path / "run" / "journal.db"))
    assert budgets.limit(node).credit == 210
    assert budgets.allowance(node) == replace(allowed, credit=allowed.credit + 60)


async def test_when_everybody_is_killed_the_goal_fails_and_says_so(tmp_path: Path) -> None:
    """No run waits for the dead."""
    model = Slow()
    _, running = await start(tmp_path, model, note_task("a", "a.txt"))
    await request(tmp_path / "run", "kill", node=model.calls[0])
    outcome = await asyncio.wait_for(running, 60)
    assert (outcome.status, "was killed" in outcome.why) == ("failed", True)


async def test_a_stopped_run_can_be_resumed(tmp_path: Path) -> None:
    """Stop refuses all thinking at once; nobody counts as killed afterwards."""
    model = Slow()
    _, running = await start(tmp_path, model, note_task("a", "a.txt"))
    await request(tmp_path / "run", "stop")
    model.go.set()
    assert (await asyncio.wait_for(running, 60)).status == "stopped"
    assert (await resume(tmp_path / "run", lambda _: scripted(), Yes())).status == "done"


async def test_a_paused_run_waits_and_its_clock_with_it(tmp_path: Path) -> None:
    """Nothing new is begun while it is paused; then it goes on to its end."""
    model = Slow()
    _, running = await start(tmp_path, model, note_task("a", "a.txt"), note_task("b", "b.txt", needs=["a"]))
    await request(tmp_path / "run", "pause")
    model.go.set()
    await asyncio.sleep(1.0)
    assert not running.done()
    found = await request(tmp_path / "run", "state")
    assert found["state"] == "paused"
    assert found["tasks"]["b"] == "pending"
    await request(tmp_path / "run", "resume")
    assert (await asyncio.wait_for(running, 60)).status == "done"


async def test_a_task_over_its_time_fails(tmp_path: Path) -> None:
    """A model that never answers holds nobody up for ever."""
    model = Slow()
    _, running = await start(tmp_path, model, note_task("a", "a.txt", seconds=2, options={"attempts": 1}))
    outcome = await asyncio.wait_for(running, 60)
    assert outcome.status == "failed"
    assert "seconds are over" in outcome.why


async def test_a_models_plan_is_sampled_until_it_can_be_run_and_made_again_when_a_task_fails(tmp_path: Path) -> None:
    """The first three are no plans, the next fail at their test, the last are good. A model gives nobody money."""
    plans: list[Mapping[str, Any]] = [
        {"tasks": [note_task("a", "a.txt", options={"money": "1", "payees": ["0x"]})]},
        {"tasks": [note_task("a", "../a.txt")]},
        {"tasks": [note_task("a", "a.txt", needs=["a"])]},
        {"tasks": [note_task("a", "a.txt") | {"done": {"command": ["test", "-s", "nowhere"]}}]},
        {"tasks": [note_task("a", "a.txt") | {"done": {"command": ["test", "-s", "nowhere"]}}]},
        {"tasks": [note_task("b", "b.txt")]},
        {"tasks": [note_task("b", "b.txt")]},
    ]
    made = iter(plans)

    def play(call: Call) -> Mapping[str, Any] | str:
        return next(made) if call.agent == "run" else say_yes(call)

    person = Yes()
    config = RunConfig("two words about nothing", CREDIT, gateway="scripted")
    outcome = await Kernel(tmp_path / "run", config, ScriptedUpstream(play), person).run()
    assert (outcome.status, outcome.why) == ("done", "")
    assert [task.id for plan in person.plans for task in plan.tasks] == ["a", "b"]
    assert (tmp_path / "run" / "work" / "b.txt").exists()
