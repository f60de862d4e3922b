"""The state of a run is what its events add up to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tercet.swarm.journal import Event, Journal, read_events
from tercet.swarm.report import describe_run
from tercet.swarm.state import Folding, fold

PLAN = {
    "goal": "mend it",
    "tasks": [
        {"id": "fix", "title": "Mend", "role": "coder", "done": {"command": ["true"]}, "budget": 10, "crew": "repair"},
        {"id": "note", "title": "Note", "role": "writer", "done": {"command": ["true"]}, "budget": 5, "needs": ["fix"]},
    ],
}


def events(*rows: tuple[str, Mapping[str, Any]] | tuple[str, Mapping[str, Any], str]) -> list[Event]:
    """Events as a journal would number them."""
    return [
        Event(seq, seq * 1000, row[0], "kernel", row[2] if len(row) == 3 else "", row[1])
        for seq, row in enumerate(rows, 1)
    ]


def test_a_run_that_went_well_says_what_was_made_and_spent() -> None:
    """Every event leaves its mark where a reader looks for it."""
    call = {"id": "c1", "agent": "run/repair/coder-1", "model": "m", "status": "ok", "prompt": 7, "completion": 3}
    state = fold(
        events(
            ("run.started", {"goal": "mend it", "budget": 100, "model": "m"}),
            ("run.planned", {"plan": PLAN, "by": "recipe"}),
            ("run.approved", {"digest": "d", "by": "person"}),
            ("budget.set", {"node": "run", "credit": 100}),
            ("crew.formed", {"crew": "repair", "lead": "lead-1", "members": ["coder-1"]}),
            ("agent.started", {"agent": "coder-1", "role": "coder", "kind": "model", "crew": "repair"}),
            ("agent.state", {"agent": "coder-1", "state": "working"}, "fix"),
            ("task.started", {"attempt": 1, "agent": "coder-1"}, "fix"),
            ("call", {**call, "task": "fix", "charged": 4, "seconds": 0.5}),
            ("task.tested", {"attempt": 1, "ok": True, "seconds": 1.0, "detail": ""}, "fix"),
            ("artefact", {"path": "a.py", "sha256": "ab", "bytes": 2, "agent": "coder-1", "receipts": ["c1"]}, "fix"),
            ("task.done", {"artefacts": [{"path": "a.py"}]}, "fix"),
            ("agent.state", {"agent": "coder-1", "state": "idle"}, "fix"),
            ("budget.added", {"node": "run", "credit": 20}),
            ("run.ended", {"status": "done", "why": "", "spent": 4, "returned": 116}),
        )
    )
    assert (state.run.goal, state.run.state, state.run.returned, state.run.approved_by) == (
        "mend it", "done", 116, "person",
    )  # fmt: skip
    assert [(task.id, task.state, task.attempt) for task in state.tasks.values()] == [
        ("fix", "done", 1), ("note", "pending", 0),
    ]  # fmt: skip
    assert state.spent().charged == state.spent("run/repair/coder-1").charged == 4
    assert state.spent("run/other").calls == 0
    assert state.agents["coder-1"].node == "run/repair/coder-1"
    assert (state.agents["coder-1"].state, state.agents["coder-1"].task) == ("idle", "")
    assert state.artefacts["a.py"].receipts == ["c1"]
    assert state.budgets["run"].credit == 120
    assert state.calls_of(agent="coder-1", task="fix") == [state.calls["c1"]]


def test_a_question_is_open_until_it_is_answered_or_decided_by_default() -> None:
    """The inbox reads what is left."""
    asked = [("ask.raised", {"card": {"id": name}}) for name in "abc"]
    state = fold(events(*asked, ("ask.answered", {"card": "a"}), ("ask.defaulted", {"card": {"id": "b"}})))
    assert list(state.asks) == ["c"]


def test_a_failed_attempt_leaves_the_task_open_and_a_final_one_does_not() -> None:
    """Only `final` ends a task."""
    folding = Folding()
    for event in events(
        ("run.planned", {"plan": PLAN}),
        ("task.started", {"attempt": 1, "agent": "coder-1"}, "fix"),
        ("task.failed", {"attempt": 1, "why": "red", "final": False}, "fix"),
    ):
        folding.take(event)
    before = folding.state()
    folding.take(Event(4, 4000, "task.failed", "kernel", "fix", {"attempt": 2, "why": "red", "final": True}))
    assert (before.tasks["fix"].state, folding.state().tasks["fix"].state) == ("pending", "failed")


def test_a_new_plan_keeps_what_is_done_and_forgets_what_is_dropped() -> None:
    """Re-planning replaces the open part."""
    done: tuple[str, dict[str, Any], str] = ("task.done", {"artefacts": []}, "fix")
    again = {"goal": "mend it", "tasks": PLAN["tasks"][:1]}
    state = fold(events(("run.planned", {"plan": PLAN}), done, ("run.planned", {"plan": again})))
    assert {name: task.state for name, task in state.tasks.items()} == {"fix": "done"}


def test_unknown_events_and_unknown_fields_are_passed_over() -> None:
    """A newer journal can be looked at."""
    state = fold(events(("run.started", {"goal": "g", "colour": "red"}), ("weather", {"rain": True})))
    assert (state.run.goal, state.run.seq) == ("g", 2)


async def test_a_journal_of_ten_thousand_events_folds_quickly(tmp_path: Path) -> None:
    """Attaching to a long run is a matter of moments."""
    with Journal(tmp_path / "journal.db") as journal:
        for number in range(10_000):
            journal.note("call", {"id": str(number), "agent": f"run/c/a-{number % 100}", "charged": 1})
        await journal.append("run.ended", {"status": "done"})
    before = time.process_time()
    state = fold(read_events(tmp_path / "journal.db"))
    assert state.spent().charged == 10_000
    assert time.process_time() - before < 2


def test_a_report_passes_over_files_of_a_task_that_is_in_no_plan_any_more() -> None:
    """It noted them, was killed, failed when it was taken up, and was planned anew."""
    later = {"goal": "mend it", "tasks": [{**PLAN["tasks"][0], "id": "fix-2"}]}  # type: ignore[dict-item]
    state = fold(
        events(
            ("run.started", {"goal": "mend it", "budget": 100, "model": "m"}),
            ("run.planned", {"plan": PLAN, "by": "file"}),
            ("artefact", {"path": "a.py", "sha256": "ab", "bytes": 2, "agent": "coder-1"}, "fix"),
            ("task.failed", {"attempt": 1, "why": "outside its claim", "final": True}, "fix"),
            ("run.planned", {"plan": later, "by": "file; fix anew by model m"}),
            ("artefact", {"path": "a.py", "sha256": "cd", "bytes": 2, "agent": "coder-1"}, "fix-2"),
            ("artefact", {"path": "b.py", "sha256": "ef", "bytes": 2, "agent": "coder-1"}, "fix"),
            ("task.done", {"artefacts": [{"path": "a.py"}]}, "fix-2"),
        )
    )
    found = describe_run("fair-otter", state)
    assert [(file["path"], file["sha256"]) for file in found["files"]] == [("a.py", "cd")]
