"""What `tercet journal` makes of a whole run: a fork that goes its own way, a replay that shows whether it comes out the same."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tercet.cli.frame import State
from tercet.cli.output import print_json, print_table, say
from tercet.cli.run import resume_run
from tercet.cli.run_folder import known_roles, new_folder
from tercet.cli.thinking import choose_thinking
from tercet.market import CREDIT, Amount
from tercet.swarm.forks import find_cut, fork_run
from tercet.swarm.replay import Replayed, replay
from tercet.swarm.views import RunState

__all__ = ["make_fork", "play_again"]

_DIGEST = 16
"""Digits of a sha256 in a table."""


def make_fork(
    state: State, parent: Path, where: str, *, thinking: Mapping[str, str], go_on: bool, as_json: bool
) -> int:
    """A new run of another's beginning; `thinking` is what `choose_thinking` takes, nothing in it keeps the parent's."""
    changes: dict[str, Any] = {}
    if any(thinking.values()):
        words, chosen = choose_thinking(state.settings, **thinking)
        changes = {"gateway": words, "model": chosen.get("model", ""), "upstream": chosen}
    cut = find_cut(parent / "journal.db", where)
    folder = new_folder(state)
    try:
        made = fork_run(parent, folder, upto=cut, changes=changes)
    except BaseException:
        shutil.rmtree(folder)  # it is new, and is no run yet
        raise
    say(f"Run {folder.name} shares {made.run.seq - 1} events with {parent.name}; {_money(made)}")
    if go_on:
        return resume_run(state, folder, as_json=as_json)
    if as_json:
        found = {"run": folder.name, "folder": str(folder), "parent": parent.name, "seq": made.run.seq - 1}
        print_json({**found, "budget": _budget(made), "spent": made.spent().charged})
    else:
        say(f"Go on with: tercet resume {folder.name}")
    return 0


def _budget(state: RunState) -> int:
    limit = state.budgets["run"].credit if "run" in state.budgets else None
    return state.run.budget if limit is None else limit


def _money(state: RunState) -> str:
    spent, budget = Amount(state.spent().charged, CREDIT), Amount(_budget(state), CREDIT)
    return f"{spent} of its {budget} count as spent in them."


def play_again(state: State, folder: Path, *, as_json: bool) -> int:
    """Whether a run's tasks come to the same files; 0 when they do."""
    found = asyncio.run(replay(folder, roles=known_roles(state)))
    same = all(task.same for task in found)
    if as_json:
        print_json({"run": folder.name, "same": same, "tasks": [_plain(task) for task in found]})
    else:
        rows = [row for task in found for row in _rows(task)]
        print_table(["task", "attempt", "file", "recorded", "replayed"], rows, "No task was done: nothing to compare.")
        say(_verdict(found))
    return 0 if same else 1


def _plain(task: Replayed) -> dict[str, Any]:
    files = [{"path": file.path, "recorded": file.recorded, "found": file.found} for file in task.files]
    return {"task": task.task, "attempt": task.attempt, "same": task.same, "fault": task.fault, "files": files}


def _rows(task: Replayed) -> list[list[object]]:
    rows: list[list[object]] = [
        [task.task, task.attempt, file.path, file.recorded[:_DIGEST] or "deleted",
         "same" if file.same else file.found[:_DIGEST] or "not made"]
        for file in task.files
    ]  # fmt: skip
    return rows or [[task.task, task.attempt, "-", "-", "failed" if task.fault else "same"]]


def _verdict(found: Sequence[Replayed]) -> str:
    if not found:
        return "Nothing was played."
    last = found[-1]
    if last.fault:
        return f"Task {last.task!r} does not come to its end any more: {last.fault}"
    other = next((file for file in last.files if not file.same), None)
    if other is not None:
        return (
            f"The first file that differs is {other.path!r}, of task {last.task!r}: the record has {other.recorded or 'none'}, the"
            f" replay {other.found or 'none'}."
        )
    many = f"{len(found)} tasks come" if len(found) > 1 else "The one task that was done comes"
    return f"{many} to the same files, digest by digest. Nothing was asked, and nothing was paid."
