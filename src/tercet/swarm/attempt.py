"""One attempt at a task: lay out its files, let its agent work, check the claim, run the done-test, merge.

An attempt is a scope of steps. Killed at any point, it goes on from its last step; what it merged is merged by the one
event `task.done`, so there is no half of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from tercet.errors import AttemptError, TercetError
from tercet.swarm.crews import Agent
from tercet.swarm.journal import Journal
from tercet.swarm.plan import DoneTest, Task
from tercet.swarm.proof import DoneTests
from tercet.swarm.roles import find_role
from tercet.swarm.shop import Shop
from tercet.swarm.steps import run_scope
from tercet.swarm.store import Files, plain_files, read_files
from tercet.swarm.workbench import Made, Role, Workbench
from tercet.swarm.workspace import Change, changes

__all__ = ["attempt", "run_done_test"]


_MOST_SOURCES = 64
_LONGEST_TRACE = 8000
_RESERVED = (
    sys.stdlib_module_names | {"pytest", "_pytest", "pluggy", "iniconfig", "sitecustomize", "usercustomize"}
) - {"test", "this", "antigravity"}
"""Modules that only the machine brings."""


async def attempt(shop: Shop, task: Task, number: int, agent: Agent, failure: str = "") -> Made:
    """Try once; what was made is merged and written down when this returns.

    Raises:
        AttemptError: it came to nothing, and why.
        TercetError: the budget is out, the agent was killed, and so on.

    """
    folder = shop.run.workspace.folder / "tasks" / task.id / "files"
    async with run_scope(
        shop.run.journal, f"{task.id}/{number}", actor=agent.id, task=task.id, recorded_only=shop.recorded_only
    ):
        bench = Workbench(
            goal=shop.run.config.goal,
            task=task,
            attempt=number,
            agent=agent.id,
            node=agent.node,
            folder=folder,
            before={},
            original=shop.run.workspace.original,
            sandbox=shop.sandbox,
            store=shop.run.workspace.store,
            desk=shop.run.desk,
            model=agent.model or shop.run.model,
            ask_lead=shop.ask_lead,
            guard=shop.guard,
            inbox=shop.inbox,
            memory=shop.memory,
            purse=shop.purse,
            seed=shop.run.config.seed,
            lent=shop.lent,
            failure="" if task.done.hidden else failure,
        )

        async def inputs() -> dict[str, list[Any]]:
            return plain_files(shop.run.workspace.inputs(task.inputs, task.outputs))

        bench.before = read_files(await bench.step("inputs", inputs))
        kept = _kept(shop.run.journal, f"{task.id}/{number}")
        await asyncio.to_thread(shop.run.workspace.store.lay_out, bench.before if kept is None else kept, folder)
        made = await _work(find_role(shop.run.roles, agent.role), bench)
        changed = changes(bench.before, await asyncio.to_thread(bench.files))
        _validate(shop, task, changed)
        tested = await _test(shop, bench, changed)
        claim = await _claim(shop, bench, changed, tested)
        await _merge(shop, bench, changed, made, claim)
    return made


async def _work(role: Role, bench: Workbench) -> Made:
    """Have the role do it. Plans come from models and people: what a role trips over fails its task, and not the run."""
    try:
        return await role.work(bench)
    except (TercetError, OSError):
        raise
    except Exception as error:
        traced = "".join(traceback.format_exception(error))
        body = {"attempt": bench.attempt, "traceback": traced[-_LONGEST_TRACE:]}
        bench.journal.note("task.tripped", body, actor=bench.agent, task=bench.task.id)
        raise AttemptError(
            f"The {bench.task.role} cannot do this task as it is planned: {type(error).__name__}: {error}. Look at its outputs "
            f"and options; where it happened tells: tercet journal show {bench.journal.path.parent.name} --kind task.tripped"
        ) from error


def _kept(journal: Journal, scope: str) -> Files | None:
    """What an agent's tools had left in its folder when the process was killed."""
    found = None
    for event in journal.events(kinds=("task.files",)):
        if event.body.get("scope") == scope:
            found = event.body["files"]
    return None if found is None else read_files(found)


def _validate(shop: Shop, task: Task, changed: Sequence[Change]) -> None:
    faults = [*shop.run.workspace.refusals(changed, task.outputs), *_impostors(changed)]
    if faults:
        raise AttemptError(f"Not merged: {'; '.join(faults[:3])}.")


def _impostors(changed: Sequence[Change]) -> list[str]:
    """New modules that Python would load in place of its own, or of the test's: a done-test that imports one says anything."""
    return [
        f"{change.path!r} would stand in for Python's own {name!r} in every test; give it another name"
        for change in changed
        if change.before is None and change.after is not None and (name := _module(change.path)) in _RESERVED
    ]


def _module(path: str) -> str:
    """What `import` calls a file at the top of the folder; empty for what it does not find there."""
    first, _, rest = path.partition("/")
    if rest:
        return first if rest.split(".")[0] == "__init__" and "/" not in rest else ""
    stem, _, ending = first.partition(".")
    return stem if ending.endswith(("py", "pyc", "so")) else ""


async def _test(shop: Shop, bench: Workbench, changed: Sequence[Change]) -> Mapping[str, Any]:
    """The done-test, over all that is merged and what this attempt adds."""
    before = dict(shop.run.workspace.files)
    files = dict(before)
    for change in changed:
        if change.after is None:
            files.pop(change.path, None)
        else:
            files[change.path] = change.after

    async def do() -> dict[str, Any]:
        for test in (bench.task.done, *shop.tests.of(bench.task.outputs_judged)):
            found = {**await run_done_test(shop, test, files, before), "hidden": test.hidden}
            if not found["ok"]:
                break
        event = {"attempt": bench.attempt, **found}
        await shop.run.journal.append("task.tested", event, actor="kernel", task=bench.task.id)
        return found

    found = await bench.step("test", do)
    if not found["ok"]:
        why = "its hidden done-test fails" if found["hidden"] else f"its done-test fails: {found['detail'][-600:]}"
        raise AttemptError(f"Not done: {why}")
    return dict(found)


async def _claim(shop: Shop, bench: Workbench, changed: Sequence[Change], tested: Mapping[str, Any]) -> str:
    """What the agent says by handing its files in, and that the done-test, a program, agrees; the claim's id."""
    task, done = bench.task, bench.task.done
    files = [f"{change.path}@sha256:{change.after.sha256}" for change in changed if change.after is not None]
    claim = await shop.guard.claims.make(
        f"Attempt {bench.attempt} at task {task.id} does what it asks: {task.title}",
        author=bench.agent,
        sources=files[:_MOST_SOURCES],
        model=bench.model if bench.receipts else "",
        task=task.id,
    )
    if not claim.holds:
        tool = "done-test: hidden" if done.hidden else f"done-test: {' '.join(done.command)}"
        said = json.dumps([list(done.command), files, tested], sort_keys=True)
        evidence = hashlib.sha256(said.encode()).hexdigest()
        await shop.guard.claims.check_by_tool(
            claim.id, ok=True, by="kernel", tool=tool[:500], evidence=evidence, task=task.id
        )
    return claim.id


async def run_done_test(shop: Shop, done: DoneTest, files: Files, before: Files | None = None) -> dict[str, Any]:
    """Run it over a set of files; {ok, seconds, detail}. `before` is what they were before what is tested now."""
    return await DoneTests(shop.run.workspace.store, shop.sandbox, shop.lent, shop.hidden).run(done, files, before)


async def _merge(shop: Shop, bench: Workbench, changed: Sequence[Change], made: Made, claim: str) -> None:
    """One at a time: nobody merges between the last look at the files and the event that changes them."""
    async with shop.merging:
        _validate(shop, bench.task, changed)
        artefacts = [_artefact(bench, change, made, claim) for change in changed]
        receipts = list(bench.receipts)
        for artefact in artefacts:
            body = {**artefact, "receipts": receipts}
            shop.run.journal.note("artefact", body, actor=bench.agent, task=bench.task.id)
        # Once for all files: thousands of calls for each of thousands of files are more than an event can hold.
        body = {
            "artefacts": artefacts,
            "by": made.by,
            "note": made.note,
            "attempt": bench.attempt,
            "receipts": receipts,
        }
        await shop.run.journal.append("task.done", body, actor=bench.agent, task=bench.task.id)
        shop.run.workspace.merge(changed)


def _artefact(bench: Workbench, change: Change, made: Made, claim: str) -> dict[str, Any]:
    after = change.after
    return {
        "path": change.path,
        "sha256": after.sha256 if after else "",
        "bytes": after.bytes if after else 0,
        "program": bool(after and after.program),
        "agent": bench.agent,
        "steps": [f"{bench.task.id}/{bench.attempt}"],
        "claims": [claim],
        "by": made.by,
    }
