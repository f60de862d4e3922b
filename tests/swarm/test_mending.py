"""Another way to do one task: what a model may say of it, and what it may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.errors import PlanError
from tercet.swarm.gateway.shapes import find_fault
from tercet.swarm.mending import Failure, describe_failure, fresh_ids, mend_plan, mending_schema
from tercet.swarm.plan import Plan, parse_plan

ROLES = ("author", "coder", "writer")
BUDGET = 10_000
TEST = {"command": ["python3", "-m", "pytest", "-q"], "hidden": False, "seconds": 45.0}


def task(name: str, **more: Any) -> dict[str, Any]:
    """A task of a person's plan."""
    done = {"command": ["test", "-s", f"{name}.txt"]}
    return {
        "id": name,
        "title": name,
        "role": "writer",
        "outputs": [f"{name}.txt"],
        "done": done,
        "budget": 100,
        **more,
    }


def failure(left: int = 1001, **more: Any) -> Failure:
    """`build` failed, between `before` and `after`; it may write app/, and read the docs and what it writes."""
    build = {"role": "coder", "inputs": ["docs/*.md"], "outputs": ["app/", "setup.py"], "done": TEST, "seconds": 300}
    options = {"strategy": "search", "attempts": 2}
    tasks = [
        task("before"),
        task("build", needs=["before"], budget=2000, crew="makers", options=options, **{**build, **more}),
        task("after", needs=["build"]),
        task("beside"),
    ]
    plan = parse_plan({"goal": "an app", "tasks": tasks}, budget=BUDGET)
    return Failure(
        name="replan/0", plan=plan, task=plan.tasks[1], why="its done-test fails: 2 failed", paths=["docs/a.md", "key.md"],
        done=["before"], taken=["before", "build", "after", "beside", "old"], left=left,
    )  # fmt: skip


def part(name: str, *outputs: str, **more: Any) -> dict[str, Any]:
    """A task of a model's answer."""
    return {"id": name, "title": f"Do {name}", "role": "author", "outputs": list(outputs), **more}


def early(name: str, *outputs: str, **more: Any) -> dict[str, Any]:
    """One that comes before the last."""
    return part(name, *outputs, **more) | {"needs": more.get("needs", []), "done": {"command": ["test", "-s", "x"]}}


def mend(raw: Mapping[str, Any], failed: Failure | None = None) -> Plan:
    return mend_plan(failed or failure(), raw, budget=BUDGET, roles=ROLES, agents=4)


def test_the_failed_tasks_place_is_taken_and_the_rest_stays() -> None:
    """What it needed is needed, who needed it needs the last, which has its done-test; money, deadline, crew are its own."""
    raw = {
        "before": [early("model", "app/model.py"), early("page", "app/page.py", needs=["model"], inputs=["app/"])],
        "last": part("old", "setup.py", role="coder"),
    }
    assert find_fault(raw, mending_schema(ROLES)) == ""
    plan = mend(raw)
    by_id = {each.id: each for each in plan.tasks}
    assert list(by_id) == ["before", "model", "page", "old-2", "after", "beside"]
    assert list(by_id["old-2"].needs) == ["before", "model", "page"]
    assert list(by_id["page"].needs) == ["before", "model"]
    assert list(by_id["after"].needs) == ["old-2"]
    assert by_id["old-2"].done == failure().task.done
    assert list(by_id["old-2"].outputs_judged) == ["app/", "setup.py"], "what the failed one was to write"
    assert [list(by_id[name].outputs_judged) for name in ("model", "page", "after")] == [[], [], ["after.txt"]]
    assert [by_id[name].budget for name in ("model", "page", "old-2")] == [333, 333, 335]
    assert {(by_id[name].crew, by_id[name].seconds) for name in ("model", "page", "old-2")} == {("makers", 300.0)}
    assert list(by_id["model"].inputs) == ["docs/*.md", "app/", "setup.py"]
    assert by_id["old-2"].options == failure().task.options
    assert by_id["model"].options == {"attempts": 2}, "how often is the person's word; the rest is another role's"


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ({}, "last: Field required"),
        ({"before": [], "last": part("a", "app/a.py") | {"done": {"command": ["true"]}}}, "last.done: Extra inputs"),
        ({"before": [], "last": part("a", "app/a.py") | {"budget": 9000}}, "last.budget: Extra inputs"),
        ({"before": [early(name, "app/a") for name in "abcde"], "last": part("f")}, "at most 4 items"),
        ({"before": [], "last": part("a", "beside.txt")}, "'a' may write 'beside.txt', which 'build' may not"),
        ({"before": [], "last": part("a", "**")}, "may write '**'"),
        ({"before": [], "last": part("a", "app/../key.md")}, "stay in it"),
        ({"before": [], "last": part("a", "setup.py", inputs=["key.md"])}, "'a' may read 'key.md', which 'build' may not"),
        ({"before": [], "last": part("a", "setup.py", inputs=["*"])}, "may read '*'"),
        ({"before": [early("a", needs=["beside"])], "last": part("b")}, "needs 'beside', which was not done before"),
        ({"before": [early("a", needs=["b"])], "last": part("b")}, "wait for each other"),
        ({"before": [early("a"), early("a")], "last": part("b")}, "'a' is used twice"),
        ({"before": [], "last": part("a", role="tester")}, "nobody has the role 'tester'"),
        ({"before": [early("a") | {"done": {"command": ["true"]}}], "last": part("b")}, "of 'a' tests nothing"),
        ({"before": [early("a") | {"done": {}}], "last": part("b")}, "done.command"),
        ({"before": [early("a", "app/x"), early("b", "app/x")], "last": part("c")}, "at the same time"),
        ({"before": [], "last": part("No id", "setup.py")}, "String should match pattern"),
    ],
)  # fmt: skip
def test_what_is_no_other_way_is_refused(raw: Mapping[str, Any], fault: str) -> None:
    """Junk, a weaker test, more money, more files, more to read, waiting for what may never be done."""
    with pytest.raises(PlanError, match=r".*") as refused:
        mend(raw)
    assert fault in str(refused.value)


@settings(max_examples=50, deadline=None)
@given(raw=st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
       | st.dictionaries(st.sampled_from(["before", "last", "id", "title", "role", "outputs", "done"]), inner, max_size=4)))  # fmt: skip
def test_no_answer_does_more_than_be_refused(raw: Any) -> None:
    """A model may write anything."""
    with pytest.raises(PlanError):
        mend(raw)


def test_a_task_that_could_read_all_may_have_all_read() -> None:
    """Nothing said of inputs is everything, as it was for the failed task; the last, judged as that was, reads all anyway."""
    mended = {"before": [early("a", "app/a.py", inputs=["key.md"])], "last": part("b", "setup.py", inputs=["key.md"])}
    plan = mend(mended, failure(inputs=[]))
    assert [list(task.inputs) for task in plan.tasks[1:3]] == [["key.md"], []]
    assert list(mend({"before": [], "last": part("a", "app/b.py")}, failure(inputs=[])).tasks[1].inputs) == []


def test_a_hidden_test_and_unreadable_files_are_not_told() -> None:
    """Of its own test a model reads the command, of a hidden one nothing."""
    said = describe_failure(failure(), ROLES)
    assert ("pytest -q" in said, "docs/a.md" in said, "key.md" in said) == (True, True, False)
    hidden = failure(done={"command": ["python3", "/hidden/app.py"], "hidden": True})
    assert "/hidden" not in describe_failure(hidden, ROLES)
    assert mend({"before": [], "last": part("a", "setup.py")}, hidden).tasks[1].done.hidden


def test_ids_are_never_used_again() -> None:
    """Steps of an attempt are kept under its task's id."""
    assert fresh_ids(["a", "b", "a"], ["a", "a-2"]) == ["a-3", "b", "a-4"]
    assert fresh_ids(["x" * 32], ["x" * 32]) == [f"{'x' * 28}-2"]
