"""Tasks that more than one agent could do: a call for proposals over the hub, an award, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.swarm.small_goals import CREDIT, Yes, seen

from tercet.chain.keys import Key
from tercet.errors import PlanError
from tercet.market import Price
from tercet.swarm.awards import contracts_in, done_digest
from tercet.swarm.control import request
from tercet.swarm.crews import Agent, Team, shape_team
from tercet.swarm.envelope import FIRST, Envelope, seal
from tercet.swarm.events import Event, verify_journal
from tercet.swarm.explanation import render
from tercet.swarm.forks import find_cut, fork_run
from tercet.swarm.gateway import Call, ScriptedUpstream
from tercet.swarm.journal import Journal
from tercet.swarm.kernel import Kernel, Outcome, RunConfig, resume
from tercet.swarm.plan import Slot, parse_plan
from tercet.swarm.replay import replay
from tercet.swarm.why import explain

ROOT = Path(__file__).parents[2]
CHEAP, DEAR = Price(per_request=10), Price(per_request=100)


class TwoModels(ScriptedUpstream):
    """A script plays a cheap model, whose work never passes, and a dear one, whose work does."""

    def __init__(self, good: Sequence[str] = ("dear",)) -> None:
        super().__init__(self._write, model="cheap")
        self.models: Sequence[str] = ("cheap", "dear")
        self.asked: list[str] = []
        self.then: Callable[[], object] = lambda: None
        """What happens while the cheap one thinks."""
        self.seconds = 0.0
        self._good = good

    def price(self, model: str) -> Price:
        return DEAR if model == "dear" else CHEAP

    async def _write(self, call: Call) -> Mapping[str, Any]:
        self.asked.append(call.model)
        if call.model == "cheap":
            self.then()
            await asyncio.sleep(self.seconds)
        word = "right" if call.model in self._good else f"wrong {len(self.asked)}"
        return {"files": [{"path": f"{call.task}.txt", "content": word + "\n"}]}


def task_of(name: str = "one", **more: Any) -> dict[str, Any]:
    """A task of an author, which the dear model can do too."""
    done = {"command": ["grep", "-qx", "right", f"{name}.txt"]}
    return {
        "id": name, "title": name, "role": "author", "outputs": [f"{name}.txt"], "done": done, "budget": 5000,
        "options": {"candidates": ["author@dear"], "attempts": 2}, **more,
    }  # fmt: skip


def config_of(folder: Path, *tasks: Mapping[str, Any], **more: Any) -> RunConfig:
    """A run of these tasks."""
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"goal": "words", "tasks": list(tasks)}))
    return RunConfig("words", CREDIT, plan=str(plan), gateway="scripted", memory="off", **more)


async def run(folder: Path, config: RunConfig, upstream: ScriptedUpstream | None = None) -> Outcome:
    """All of it."""
    return await Kernel(folder / "run", config, upstream or TwoModels(), Yes()).run()


def said(run: Path) -> list[tuple[str, str, str]]:
    """Performative, sender and receiver of each message, in order."""
    envelopes = [event.body["envelope"] for event in seen(run, "message")]
    return [(each["performative"], each["sender"], each["receiver"]) for each in envelopes]


async def test_the_cheaper_offer_wins_and_when_its_work_fails_the_next_is_asked(tmp_path: Path) -> None:
    """Who has the task, by whose envelope, for how much and why not the others stands in its events, `why` and the report."""
    outcome = await run(tmp_path, config_of(tmp_path, task_of()))
    assert (outcome.status, outcome.why) == ("done", "")
    folder = tmp_path / "run"
    assert sorted(said(folder)[:4]) == [
        ("cfp", "lead-1", "author-1"), ("cfp", "lead-1", "author-2"),
        ("propose", "author-1", "lead-1"), ("propose", "author-2", "lead-1"),
    ]  # fmt: skip
    assert said(folder)[4:] == [
        ("accept-proposal", "lead-1", "author-1"), ("reject-proposal", "lead-1", "author-2"),
        ("cfp", "lead-1", "author-2"), ("propose", "author-2", "lead-1"), ("accept-proposal", "lead-1", "author-2"),
    ]  # fmt: skip
    first, second = (event.body for event in seen(folder, "task.contracted"))
    assert (first["agent"], first["price"], first["attempt"]) == ("author-1", 80, 1)
    assert (second["agent"], second["price"], second["attempt"]) == ("author-2", 800, 3)
    started = [(e.body["agent"], e.body["contract"]) for e in seen(folder, "task.started")]
    assert started == [("author-1", first["contract"])] * 2 + [("author-2", second["contract"])]
    failed = [(e.body["final"], e.body.get("contract")) for e in seen(folder, "task.failed")]
    assert failed == [(False, None), (False, first["contract"])]
    call = next(event.body["envelope"] for event in seen(folder, "message"))
    plan = parse_plan(json.loads((tmp_path / "plan.json").read_text()), budget=CREDIT)
    assert call["content"]["done"] == done_digest(plan.tasks[0])
    told = "\n".join(render(explain(folder, "one.txt")))
    assert f"Contract {second['contract'][:12]}: lead-1 gave it to author-2" in told
    assert "failed" in told.split("Contract " + first["contract"][:12])[1].splitlines()[0]
    report = (folder / "report.md").read_text()
    assert "## Contracts" in report
    assert [each["agent"] for each in json.loads((folder / "report.json").read_text())["contracts"]] == [
        "author-1",
        "author-2",
    ]
    verify_journal(folder / "journal.db")
    assert [task.same for task in await replay(folder)] == [True]


async def test_where_all_have_failed_the_goal_fails_as_it_did_before(tmp_path: Path) -> None:
    """Nobody is asked twice, and nobody who is as good as one who failed."""
    upstream = TwoModels(good=())
    task = task_of(options={"candidates": ["author@dear"], "attempts": 1})
    outcome = await run(tmp_path, config_of(tmp_path, task), upstream)
    assert outcome.status == "failed"
    assert [model for model in upstream.asked if model][:2] == ["cheap", "dear"]
    assert [event.body["final"] for event in seen(tmp_path / "run", "task.failed")] == [False, True]


async def test_what_nobody_offers_to_do_goes_to_the_planned_role(tmp_path: Path) -> None:
    """Offers above what the task may cost are refused, and the journal says why somebody works without a contract."""
    config = replace(config_of(tmp_path, task_of(budget=50)), budget=75)
    outcome = await run(tmp_path, config, TwoModels(good=("cheap",)))
    assert (outcome.status, outcome.why) == ("done", "")
    [event] = seen(tmp_path / "run", "task.contracted")
    assert (event.body["contract"], event.body["agent"]) == ("", "")
    assert event.body["why"].startswith("nobody made an offer within the task's budget and time")
    assert [each["price"] for each in event.body["offers"]] == [80, 800]
    assert [kind for kind, _, _ in said(tmp_path / "run")][-2:] == ["reject-proposal"] * 2
    assert ["contract" in event.body for event in seen(tmp_path / "run", "task.started")] == [False]
    told = "\n".join(render(explain(tmp_path / "run", "one.txt")))
    assert "No contract: nobody made an offer" in told


async def test_an_agent_whose_model_is_not_to_be_had_offers_nothing(tmp_path: Path) -> None:
    """It is asked, and refuses; whoever is left gets the task."""
    task = task_of(options={"candidates": ["author@none"]})
    outcome = await run(tmp_path, config_of(tmp_path, task), TwoModels(good=("cheap",)))
    assert outcome.status == "done"
    [event] = seen(tmp_path / "run", "task.contracted")
    assert event.body["agent"] == "author-1"
    assert [each.get("refused", "") for each in event.body["offers"]] == ["", "the model 'none' is not to be had here"]


async def test_with_one_candidate_for_each_task_nothing_is_said(tmp_path: Path) -> None:
    """No hub, no lead, no event."""
    tasks = task_of(options={}), task_of("two", needs=["one"], options={})
    outcome = await run(tmp_path, config_of(tmp_path, *tasks, agents=1), TwoModels(good=("cheap",)))
    assert outcome.status == "done"
    assert seen(tmp_path / "run", "message", "task.contracted") == []
    assert all("contract" not in event.body for event in seen(tmp_path / "run", "task.started"))
    assert "## Contracts" not in (tmp_path / "run" / "report.md").read_text()


async def test_tasks_are_spread_over_agents_that_are_alike(tmp_path: Path) -> None:
    """An agent that has something to do is later, so the next task is the other's; what was learnt makes offers closer."""
    names = ["one", "two", "three", "four"]
    tasks = [task_of(name, options={}, budget=5000) for name in names]
    outcome = await run(tmp_path, config_of(tmp_path, *tasks, agents=2), TwoModels(good=("cheap",)))
    assert outcome.status == "done"
    contracts = [event.body for event in seen(tmp_path / "run", "task.contracted")]
    assert [each["agent"] for each in contracts[:2]] == ["author-1", "author-2"]
    assert contracts[-1]["price"] == 20, "twice what the dearest such task cost"
    assert contracts[-1]["success_bps"] > contracts[0]["success_bps"]


async def test_the_planned_role_is_asked_first(tmp_path: Path) -> None:
    """Then the candidates as they are named, whoever of them was there first: of equal offers the first is taken."""
    plan = parse_plan(
        {"goal": "words", "tasks": [task_of(options={"candidates": ["analyst", "writer"]})]}, budget=CREDIT
    )
    with Journal(tmp_path / "journal.db") as journal:
        team = Team(journal, "", {})
        for role in ("writer", "analyst", "author"):
            agent = Agent(f"{role}-1", role, "model", plan.tasks[0].crew)
            team.agents[agent.id] = agent
        assert [agent.role for agent in team.able(plan.tasks[0])] == ["author", "analyst", "writer"]


async def test_a_contract_outlives_a_pause(tmp_path: Path) -> None:
    """Whoever had the task has it again, and nothing is called for a second time."""
    folder, upstream = tmp_path / "run", TwoModels(good=("cheap",))
    kernel = Kernel(folder, config_of(tmp_path, task_of()), upstream, Yes())
    upstream.then = kernel.interrupt
    assert (await kernel.run()).status == "paused"
    before = said(folder)
    assert (await resume(folder, lambda _: TwoModels(good=("cheap",)), Yes())).status == "done"
    assert said(folder) == before
    assert len(seen(folder, "task.contracted")) == 1


async def test_a_killed_agents_task_is_called_for_again(tmp_path: Path) -> None:
    """A contract is worth no more than the agent that holds it."""
    folder, upstream = tmp_path / "run", TwoModels()
    killed: list[asyncio.Task[Any]] = []

    def kill() -> None:
        if not killed:
            asked = request(folder, "kill", node="run/crew/author-1")
            killed.append(asyncio.create_task(asked))

    upstream.then, upstream.seconds = kill, 1.0
    outcome = await run(tmp_path, config_of(tmp_path, task_of()), upstream)
    assert outcome.status == "done"
    assert [event.body["agent"] for event in seen(folder, "task.contracted")] == ["author-1", "author-2"]
    assert seen(folder, "task.failed") == []


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_contracts_gives_each_task_once(tmp_path: Path) -> None:
    """Kill -9 between proposals and award, between award and its note, and after; no award is made a second time."""
    config_of(tmp_path, task_of())
    folder = tmp_path / "run"
    moments = ("propose", 2), ("accept-proposal", 1), ("task.contracted", 1), ("none", 1)
    for kind, number in moments:
        done = subprocess.run(
            [sys.executable, "-m", "tests.swarm.killed_contract", str(folder), str(tmp_path / "plan.json"), kind, str(number)],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == (-9 if kind != "none" else 0), done.stderr
    assert done.stdout.strip() == "done"
    accepted = [(receiver, kind) for kind, _, receiver in said(folder) if kind == "accept-proposal"]
    assert [receiver for receiver, _ in accepted] == ["author-1", "author-2"]
    contracts = [event.body["contract"] for event in seen(folder, "task.contracted")]
    assert len(contracts) == len(set(contracts)) == 2
    assert [task for task, _ in contracts_in(seen(folder, "message"))] == ["one", "one"]
    verify_journal(folder / "journal.db")


async def test_a_fork_calls_anew_for_what_it_does_anew(tmp_path: Path) -> None:
    """An award that both share stands in both; one that came later is the parent's."""
    await run(tmp_path, config_of(tmp_path, task_of(), task_of("two", needs=["one"])))
    parent, child = tmp_path / "run", tmp_path / "child"
    fork_run(parent, child, upto=find_cut(parent / "journal.db", "two"))
    shared = len(seen(child, "task.contracted"))
    assert (await resume(child, lambda _: TwoModels(), Yes())).status == "done"
    assert [event.task for event in seen(child, "task.contracted")][:shared] == ["one", "one", "two"]
    assert [task.same for task in await replay(child)] == [True, True]


# what entitles


def conversation(*changes: Mapping[str, Any]) -> list[Event]:
    """A call, an offer and an award as `message` events; `changes` overrule who signs, says and hears, message by message."""
    keys = {name: Key(number.to_bytes(32, "big")) for number, name in enumerate(("lead-1", "author-1", "author-2"), 1)}
    found: list[Envelope] = []
    steps: list[tuple[Any, str, str, Any]] = [
        ("cfp", "lead-1", "author-1", {"task": "one", "attempt": 1}),
        ("propose", "author-1", "lead-1", {"price": 5, "seconds": 1.0, "success_bps": 5000}),
        ("accept-proposal", "lead-1", "author-1", {}),
    ]
    events = []
    for (kind, one, other, content), change in zip(steps, [*changes, {}, {}, {}][:3], strict=True):
        sender, receiver = change.get("sender", one), change.get("receiver", other)
        envelope = seal(
            keys[change.get("key", sender)], kind, sender, receiver, change.get("content", content), prev=FIRST,
            conversation="ab" * 16, in_reply_to=found[-1].id if found else "",
        )  # fmt: skip
        found.append(envelope)
        body = {"envelope": envelope.model_dump(), "address": keys[sender].address}
        events.append(Event(len(found), 0, "message", sender, "", body, None, None, b""))
    return events


def test_an_award_is_read_from_the_envelopes_alone() -> None:
    """Of the caller, to one who was asked, in reply to its own offer."""
    [(task, body)] = contracts_in(conversation())
    assert (task, body["agent"], body["lead"], body["price"]) == ("one", "author-1", "lead-1", 5)


@pytest.mark.parametrize(
    "changes",
    [
        ({}, {"key": "author-2"}, {}),
        ({}, {"sender": "author-2"}, {}),
        ({}, {"content": {"price": -5, "seconds": 1.0}}, {}),
        ({}, {}, {"key": "author-1"}),
        ({}, {}, {"sender": "author-1", "receiver": "author-1"}),
        ({}, {}, {"receiver": "author-2"}),
        ({"content": {"task": "one"}}, {}, {}),
        ({"key": "author-1"}, {}, {}),
    ],
)
def test_what_only_looks_like_an_award_gives_nobody_a_task(changes: Sequence[Mapping[str, Any]]) -> None:
    """Forged, of somebody who was not asked, junk, of who may give nothing, to somebody else, of no task."""
    assert list(contracts_in(conversation(*changes))) == []


# the plan


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"candidates": "author"}, "a list of up to 6 roles"),
        ({"candidates": ["author"] * 7}, "a list of up to 6 roles"),
        ({"candidates": ["author@"]}, "ROLE or ROLE@MODEL"),
        ({"candidates": [{"role": "author"}]}, "ROLE or ROLE@MODEL"),
        ({"candidates": ["author@dear"], "model": "cheap"}, "would overrule"),
    ],
)
def test_candidates_that_are_no_roles_are_refused_with_the_plan(options: Mapping[str, Any], why: str) -> None:
    """The plan says what is wrong with them."""
    with pytest.raises(PlanError, match=why):
        parse_plan({"goal": "g", "tasks": [task_of(options=options)]}, budget=CREDIT)


def test_a_plan_that_may_spend_too_much_is_told_so_in_credit() -> None:
    """As a person says what it may spend, not in units."""
    words = "may spend 1 credit together, the run has 0.999999 credit"
    with pytest.raises(PlanError, match=words):
        parse_plan({"goal": "g", "tasks": [task_of(budget=CREDIT)]}, budget=CREDIT - 1)


async def test_a_candidate_of_nobodys_role_is_refused(tmp_path: Path) -> None:
    """As a task of nobody's role is."""
    with pytest.raises(PlanError, match="Nobody has the role nobody"):
        await run(tmp_path, config_of(tmp_path, task_of(options={"candidates": ["nobody"]})))


async def test_a_run_may_name_candidates_for_all_tasks_of_a_role(tmp_path: Path) -> None:
    """Whoever made the plan; a task that names its own keeps them. They are in the plan that the person agrees to."""
    tasks = task_of(options={"attempts": 2}), task_of("two", options={"candidates": [], "attempts": 2}, needs=["one"])
    person = Yes()
    config = config_of(tmp_path, *tasks, agents=1, candidates=["author=author@dear", "coder=author"])
    outcome = await Kernel(tmp_path / "run", config, TwoModels(), person).run()
    assert [task.options["candidates"] for task in person.plans[0].tasks] == [["author@dear"], []]
    assert [event.actor for event in seen(tmp_path / "run", "task.done")] == ["author-2"]
    assert outcome.status == "failed", "nobody but the cheap model may do the second"
    assert {event.task for event in seen(tmp_path / "run", "task.contracted")} == {"one"}


def test_a_crew_has_one_agent_for_each_that_can_be_asked() -> None:
    """Those who are planned first, more of them where tasks can share them; a candidate once."""
    tasks = [task_of("one"), task_of("two", options={"candidates": ["writer", "author@dear"]})]
    shape = shape_team(parse_plan({"goal": "g", "tasks": tasks}, budget=CREDIT), 9)
    assert shape == [
        ("crew", Slot("author")), ("crew", Slot("author", "dear")), ("crew", Slot("writer")), ("crew", Slot("author")),
    ]  # fmt: skip
