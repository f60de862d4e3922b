"""A task has failed for good: it is done in another way, or the run ends, says why and returns the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.swarm.small_goals import CREDIT, Yes

from tercet.errors import RefusedError
from tercet.market import Price
from tercet.swarm.control import request
from tercet.swarm.events import read_events
from tercet.swarm.gateway import Call, ScriptedUpstream
from tercet.swarm.kernel import Kernel, Outcome, RunConfig, resume
from tercet.swarm.plan import Plan

SECRET = "the-secret-word"
SHOW = {
    "id": "show",
    "title": "Write show.py, which prints what words.txt says, twice",
    "role": "author",
    "needs": ["words"],
    "outputs": ["show.py", "twice.py"],
    "done": {"command": ["sh", "-c", 'test "$(python3 show.py)" = "hello hello"']},
    "budget": 400_000,
    "options": {"attempts": 1},
}
WORDS = {
    "id": "words",
    "title": "Write hello into words.txt",
    "role": "author",
    "outputs": ["words.txt"],
    "done": {"command": ["grep", "-q", "hello", "words.txt"]},
    "budget": 100_000,
}
NOTE = {
    "id": "note",
    "title": "Say how to run show.py",
    "role": "writer",
    "needs": ["show"],
    "outputs": ["note.txt"],
    "done": {"command": ["test", "-s", "note.txt"]},
    "budget": 100_000,
}
DOUBLE: Mapping[str, Any] = {
    "id": "double",
    "title": "Write twice.py with a function that doubles a text",
    "role": "author",
    "needs": [],
    "outputs": ["twice.py"],
    "done": {"command": ["python3", "-c", "import twice; assert twice.twice('a') == 'a a'"]},
}
LAST: Mapping[str, Any] = {
    "id": "show", "title": "Write show.py with twice.py", "role": "author", "outputs": ["show.py"]
}  # fmt: skip
MEND = {"before": [DOUBLE], "last": LAST}
FILES = {
    "words": {"words.txt": "hello\n"},
    "show": {"show.py": "print('hello')\n"},
    "double": {"twice.py": "def twice(text):\n    return f'{text} {text}'\n"},
    "show-2": {"show.py": "from twice import twice\n\nprint(twice(open('words.txt').read().strip()))\n"},
}


class Model:
    """Writes files by task, answers the planner with each of `plans` in turn, and keeps what it was asked."""

    def __init__(self, *plans: Any) -> None:
        self.plans = list(plans)
        self.asked: list[Call] = []
        self.heard: Callable[[Call], object] = lambda _call: None

    async def __call__(self, call: Call) -> Mapping[str, Any] | str:
        self.asked.append(call)
        found = self.heard(call)
        if asyncio.iscoroutine(found):
            await found
        if call.agent == "run":
            return self.plans.pop(0) if self.plans else "no idea"
        if call.task in FILES:
            return {"files": [{"path": path, "content": text} for path, text in FILES[call.task].items()]}
        return "run it with python3"

    @property
    def questions(self) -> list[str]:
        """What the planner was asked."""
        return [str(call.messages[-1]["content"]) for call in self.asked if call.agent == "run"]


def config_of(folder: Path, *tasks: Mapping[str, Any], **more: Any) -> RunConfig:
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"goal": "show a word twice", "tasks": tasks}))
    return RunConfig("show a word twice", CREDIT, plan=str(plan), gateway="scripted", agents=3, **more)


async def go(folder: Path, model: Model, *tasks: Mapping[str, Any], person: Yes | None = None) -> Outcome:
    upstream = ScriptedUpstream(model, price=Price(per_request=1000))
    return await Kernel(folder / "run", config_of(folder, *tasks), upstream, person or Yes()).run()


async def test_a_task_of_a_file_is_done_in_another_way(tmp_path: Path) -> None:
    """Two tasks take its place, its own done-test stands behind them, what was done stays done, the person is asked again."""
    model, person = Model(MEND), Yes()
    outcome = await go(tmp_path, model, WORDS, SHOW, NOTE, person=person)
    assert (outcome.status, outcome.why) == ("done", "")
    assert [[task.id for task in plan.tasks] for plan in person.plans] == [
        ["words", "show", "note"],
        ["words", "double", "show-2", "note"],
    ]
    mended = {task.id: task for task in person.plans[1].tasks}
    assert mended["show-2"].done == person.plans[0].tasks[1].done
    assert list(mended["note"].needs) == ["show-2"]
    assert mended["double"].budget + mended["show-2"].budget == 400_000 - 1000, "one call was paid for the failed try"
    assert [task.attempt for task in outcome.state.tasks.values()] == [1, 1, 1, 1]
    assert outcome.state.run.planned_by == "file; show anew by model scripted"
    assert len(model.questions) == 1
    assert "its done-test fails" in model.questions[0]
    replanned = list(read_events(tmp_path / "run" / "journal.db", kinds=("task.replanned",)))
    assert [(event.task, "done-test fails" in event.body["why"]) for event in replanned] == [("show", True)]
    assert (tmp_path / "run" / "work" / "note.txt").exists()
    assert "show anew by model scripted" in (tmp_path / "run" / "report.md").read_text()


WEAKER = {"before": [DOUBLE], "last": {**LAST, "done": {"command": ["test", "-s", "show.py"]}}}
WIDER = {"before": [DOUBLE], "last": {**LAST, "outputs": ["words.txt"]}}


@pytest.mark.parametrize("plans", [[], [WEAKER, WEAKER, WEAKER], [WIDER, {"tasks": [NOTE]}, "{"]])
async def test_a_planner_that_answers_junk_or_weakens_the_test_is_refused(tmp_path: Path, plans: list[Any]) -> None:
    """Three answers, and no more; the run says what failed first, begins nothing else, and returns the rest."""
    model, person = Model(*plans), Yes()
    outcome = await go(tmp_path, model, WORDS, SHOW, NOTE, person=person)
    assert outcome.status == "failed"
    assert outcome.why.startswith("Task 'show' (Write show.py")
    assert "its done-test fails" in outcome.why
    assert len(person.plans) == 1
    assert len(model.questions) == 3
    assert outcome.state.tasks["note"].attempt == 0
    assert outcome.state.run.returned == CREDIT - 1000 * len(model.asked)


TESTED = {"before": [{**DOUBLE, "done": {"command": ["python3", "-m", "pytest", "-q"]}}], "last": LAST}


@pytest.mark.parametrize("plans", [[TESTED, MEND], [TESTED, TESTED, TESTED]])
async def test_another_way_that_needs_what_is_not_installed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plans: list[Any]
) -> None:
    """The next answer is taken; where there is none, the run ends as it would without another way."""
    monkeypatch.setattr("tercet.swarm.sandboxes._installed", lambda name: name != "pytest")
    model, person = Model(*plans), Yes()
    outcome = await go(tmp_path, model, WORDS, SHOW, NOTE, person=person)
    good = MEND in plans
    assert (outcome.status, len(model.questions)) == ("done" if good else "failed", len(plans))
    assert (len(person.plans), "its done-test fails" in outcome.why) == (2 if good else 1, not good)


async def test_another_way_that_fails_as_well_is_planned_anew_once_more_and_then_it_ends(tmp_path: Path) -> None:
    """Twice at most: a goal that cannot be met ends with the reason of the last try."""
    same = {"before": [], "last": LAST}
    model = Model(same, same, same)
    never = {**SHOW, "done": {"command": ["test", "-s", "never"]}}
    outcome = await go(tmp_path, model, WORDS, never, NOTE)
    assert outcome.status == "failed"
    assert outcome.why.startswith("Task 'show-3'")
    assert len(model.questions) == 2
    assert len(list(read_events(tmp_path / "run" / "journal.db", kinds=("task.replanned",)))) == 2


async def test_a_test_of_the_whole_that_may_write_nothing_is_not_planned_anew(tmp_path: Path) -> None:
    """No other way to look makes it better: the run ends at once, and no model is asked how."""
    verify = {
        **SHOW,
        "id": "verify",
        "role": "tester",
        "needs": ["words"],
        "outputs": [],
        "done": {"command": ["test", "-s", "never"]},
    }
    model = Model(MEND)
    outcome = await go(tmp_path, model, WORDS, verify)
    assert (outcome.status, "'verify'" in outcome.why, model.questions) == ("failed", True, [])


async def test_a_task_that_may_pay_is_not_planned_anew(tmp_path: Path) -> None:
    """A model that has read why it failed would choose the words that pay, and each part would have the money again."""
    pays = {
        **SHOW,
        "options": {"attempts": 1, "money": "0.1", "payees": ["0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"]},
    }
    model = Model(MEND)
    outcome = await go(tmp_path, model, WORDS, pays, NOTE)
    assert (outcome.status, "'show'" in outcome.why, model.questions) == ("failed", True, [])


@pytest.mark.parametrize("right", [True, False])
async def test_a_part_is_judged_by_its_own_test_and_the_last_by_those_of_all_files(tmp_path: Path, right: bool) -> None:
    """A hidden test of twice.py needs show.py, which only the second part writes; it still has to pass in the end."""
    (tmp_path / "hidden").mkdir()
    wanted = "hello hello" if right else "hello, hello"
    check = ["sh", "-c", f'test "$(python3 show.py)" = "{wanted}" && test -s twice.py']
    (tmp_path / "hidden" / "checks.json").write_text(json.dumps({"outputs": {"twice.py": check}}))
    model = Model(MEND)
    config = config_of(tmp_path, WORDS, SHOW, NOTE, hidden=str(tmp_path / "hidden"))
    upstream = ScriptedUpstream(model, price=Price(per_request=1000))
    outcome = await Kernel(tmp_path / "run", config, upstream, Yes()).run()
    states = {name: view.state for name, view in outcome.state.tasks.items()}
    assert states["double"] == "done"
    assert states["show-2"] == ("done" if right else "failed")
    assert outcome.status == ("done" if right else "failed")


async def test_of_a_hidden_test_the_planner_learns_that_it_failed(tmp_path: Path) -> None:
    """Neither its command nor its output; a test of the model's own is lent nothing that is hidden."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "twice.sh").write_text(f'echo {SECRET}; test "$(python3 show.py)" = "hello hello"\n')
    hidden = {**SHOW, "done": {"command": ["sh", "/hidden/twice.sh"], "hidden": True}}
    spy = {**DOUBLE, "done": {"command": ["sh", "-c", "cat /hidden/*"]}}
    model = Model({"before": [spy], "last": LAST})
    assert (await go(tmp_path, model, WORDS, hidden, NOTE)).status == "failed"
    assert "No such file" in model.questions[1], "which is the spy's failure"
    tested = json.dumps([event.body for event in read_events(tmp_path / "run" / "journal.db", kinds=("task.tested",))])
    assert SECRET in tested, "the person can read it in the journal"
    (tmp_path / "run").rename(tmp_path / "spied")
    honest = Model(MEND)
    assert (await go(tmp_path, honest, WORDS, hidden, NOTE)).status == "done"
    said = json.dumps([list(call.messages) for call in (*model.asked, *honest.asked)])
    assert (SECRET in said, "twice.sh" in said) == (False, False)


async def test_a_no_to_the_other_way_ends_the_run_with_the_first_reason(tmp_path: Path) -> None:
    """It is the person's plan."""

    class Once(Yes):
        async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:
            if again:
                raise RefusedError("no")
            return await super().approve(plan, by, config, again=again)

    outcome = await go(tmp_path, Model(MEND), WORDS, SHOW, NOTE, person=Once())
    assert (outcome.status, "'show'" in outcome.why) == ("failed", True)


async def test_what_the_failed_task_has_no_part_in_goes_on_meanwhile(tmp_path: Path) -> None:
    """The planner thinks until the task beside has been merged; an agent that came later can be killed as any other."""
    beside = {
        **NOTE,
        "id": "beside",
        "needs": [],
        "outputs": ["beside.txt"],
        "done": {"command": ["test", "-s", "beside.txt"]},
    }
    model = Model(MEND)
    begun, merged = asyncio.Event(), asyncio.Event()

    async def hear(call: Call) -> None:
        if call.task == "beside":
            begun.set()
            await planning.wait()
        elif call.agent == "run":
            planning.set()
            await asyncio.to_thread(_until_done, tmp_path / "run", "beside")
            merged.set()
        elif call.task == "show":
            await begun.wait()

    planning = asyncio.Event()
    model.heard = hear
    outcome = await go(tmp_path, model, WORDS, SHOW, NOTE, beside)
    assert (outcome.status, merged.is_set()) == ("done", True)


def _until_done(run: Path, task: str) -> None:
    while not any(event.task == task for event in read_events(run / "journal.db", kinds=("task.done",))):
        pass


async def test_a_run_that_is_stopped_while_it_plans_can_be_resumed(tmp_path: Path) -> None:
    """What the planner was answered meanwhile is paid once, and is there for the next process."""
    model, asked, stopped = Model(MEND), asyncio.Event(), asyncio.Event()

    async def hear(call: Call) -> None:
        if call.agent == "run":
            asked.set()
            await stopped.wait()

    model.heard = hear
    running = asyncio.create_task(go(tmp_path, model, WORDS, SHOW, NOTE))
    await asyncio.wait_for(asked.wait(), 60)
    await request(tmp_path / "run", "stop")
    stopped.set()
    assert (await asyncio.wait_for(running, 60)).status == "stopped"
    upstream = ScriptedUpstream(model, price=Price(per_request=1000))
    assert (await resume(tmp_path / "run", lambda _: upstream, Yes())).status == "done"
    assert len(model.questions) == 1


async def test_a_run_that_is_stopped_while_it_makes_its_first_plan_can_be_resumed(tmp_path: Path) -> None:
    """It has not failed: the person stopped it."""
    asked, stopped = asyncio.Event(), asyncio.Event()

    async def plan(call: Call) -> Mapping[str, Any] | str:
        asked.set()
        await stopped.wait()
        return {"tasks": [{**NOTE, "needs": []}]} if call.agent == "run" else "run it with python3"

    config, upstream = RunConfig("two words about nothing", CREDIT, gateway="scripted"), ScriptedUpstream(plan)
    running = asyncio.create_task(Kernel(tmp_path / "run", config, upstream, Yes()).run())
    await asyncio.wait_for(asked.wait(), 60)
    await request(tmp_path / "run", "stop")
    stopped.set()
    assert (await asyncio.wait_for(running, 60)).status == "stopped"
    assert (await resume(tmp_path / "run", lambda _: upstream, Yes())).status == "done"


async def test_what_the_person_killed_is_not_planned_anew(tmp_path: Path) -> None:
    """Nobody is left who could do it, because the person said so."""
    model, asked, killed = Model(MEND), asyncio.Event(), asyncio.Event()

    async def hear(call: Call) -> None:
        if call.task == "show":
            asked.set()
            await killed.wait()

    model.heard = hear
    show = {**SHOW, "crew": "show"}
    running = asyncio.create_task(go(tmp_path, model, WORDS, show, {**NOTE, "crew": "note"}))
    await asyncio.wait_for(asked.wait(), 60)
    await request(tmp_path / "run", "kill", node=model.asked[-1].agent)
    killed.set()
    outcome = await asyncio.wait_for(running, 60)
    assert (outcome.status, "was killed" in outcome.why, model.questions) == ("failed", True, [])
