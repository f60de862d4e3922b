"""Small goals for tests: a repository with one bug, a CSV, a script that plays the model, a person who says yes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tercet.errors import JournalError
from tercet.swarm.events import Event, read_events
from tercet.swarm.gateway import Call, Completion, ScriptedUpstream
from tercet.swarm.kernel import RunConfig
from tercet.swarm.plan import Plan

CREDIT = 10**6


def build_repository(folder: Path) -> Path:
    """A program whose test fails because of one sign, and a changelog."""
    folder.mkdir(parents=True)
    (folder / "till.py").write_text(
        '"""A till."""\n\n\ndef total(prices, discount=0):\n    """Sum of the prices, less a discount."""\n'
        "    whole = sum(prices)\n    return whole + discount\n"
    )
    (folder / "test_till.py").write_text(
        "from till import total\n\n\ndef test_plain():\n    assert total([1, 2]) == 3\n\n\n"
        "def test_discount():\n    assert total([5, 5], 3) == 7\n"
    )
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 1.0.0\n\n- First release.\n")
    return folder


def build_table(folder: Path) -> Path:
    """Thirty rows of sales."""
    folder.mkdir(parents=True)
    rows = [f"{('north', 'south', 'west')[i % 3]},{10 + i % 7},{(i % 3) * 5 + i / 10:.1f}" for i in range(30)]
    (folder / "sales.csv").write_text("region,units,revenue\n" + "\n".join(rows) + "\n")
    return folder


def write_plan(
    folder: Path, name: str, *, title: str, output: str, command: Sequence[str], role: str = "assistant", **options: Any
) -> Path:
    """A plan of one task, which writes one file."""
    task = {
        "id": name,
        "title": title,
        "role": role,
        "outputs": [output],
        "done": {"command": list(command)},
        "options": options,
    }
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"goal": title, "tasks": [task]}))
    return plan


def say_yes(call: Call) -> Mapping[str, Any] | str:
    """Plays a model that is good at everything the recipes ask."""
    asked = str(call.messages[-1]["content"])
    if "ids" in str(call.schema):
        assert call.schema is not None
        spec = call.schema["properties"]["ids"]
        return {"ids": spec["items"]["enum"][: spec["minItems"]]}
    if call.schema is None:
        return "three plain words"
    if asked.startswith("Fact: "):
        return {"sentence": asked.split("\n", maxsplit=1)[0].removeprefix("Fact: ").rstrip(".").capitalize() + "."}
    return {"sentence": "the discount is taken off the total instead of being added to it"}


def use_tool(number: int, name: str, arguments: Mapping[str, Any]) -> Completion:
    """A model's call of a tool, its `number`th."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": f"t{number}", "type": "function", "function": function}
    return Completion(tool_calls=(call,), finish="tool_calls")


def scripted(price: Any = None) -> ScriptedUpstream:
    """A scripted model."""
    return ScriptedUpstream(say_yes, price=price)


def seen(run: Path, *kinds: str) -> list[Event]:
    """A run's events so far; none while its journal is being made."""
    try:
        return list(read_events(run / "journal.db", kinds=kinds))
    except JournalError:
        return []


class Yes:
    """A person who agrees, and remembers to what."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.paths: list[str] = []

    async def approve(self, plan: Plan, by: str, config: RunConfig, *, again: bool) -> str:
        """Agree to a plan."""
        self.plans.append(plan)
        return "person"

    async def accept(self, paths: Sequence[str], directory: Path) -> str:
        """Agree to a delivery."""
        self.paths += paths
        return "person"
