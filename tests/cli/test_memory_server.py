"""`tercet run --memory URL`: the agents of a run remember in a Chroma server, and not in the run's folder."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from tests.swarm.chroma_server import serve_chroma

from tercet.swarm.journal import read_events

from .conftest import Shell

pytestmark = [pytest.mark.model, pytest.mark.slow]
PORT = "Write down that the database runs on port 5432"


def task(name: str, title: str, *needs: str) -> dict[str, Any]:
    """Writes a file of its name."""
    return {
        "id": name, "title": title, "role": "assistant", "outputs": [name], "needs": list(needs),
        "done": {"command": ["test", "-s", name]},
    }  # fmt: skip


def test_what_a_run_remembers_is_in_the_server_that_was_named(shell: Shell) -> None:
    """One task is done, another is told of it from the server; the command says where, and a resume would know it."""
    plan = {"goal": "note", "tasks": [task("a", PORT), task("b", "Write the note", "a")]}
    (shell.folder / "plan.json").write_text(json.dumps({**plan}))
    rules = [
        {"task": "a", "says": "Your task", "tool": "write_file", "arguments": {"path": "a", "text": "5432"}},
        {"task": "b", "says": "Your task", "tool": "recall", "arguments": {"question": "Which port has the database?"}},
        {"task": "b", "says": "port 5432", "tool": "write_file", "arguments": {"path": "b", "text": "5432"}},
        {"text": "Done."},
    ]
    (shell.folder / "script.json").write_text(json.dumps({"rules": rules}))
    with serve_chroma(shell.folder / "server") as url:
        words = ("--plan", "plan.json", "--scripted", "script.json", "--yes", "--json", "--memory", url)
        done = shell.run("run", "note", *words, seconds=120)
        assert (done.code, done.json["status"]) == (0, "done"), done.err
        place = f"{url}/api/v2/tenants/default_tenant/databases/default_database/collections"
        collections = _read(place)
        held = [text for each in collections for text in _held(f"{place}/{each['id']}/get")]
    assert any(PORT in text for text in held), held
    (folder,) = (shell.folder / "home" / "runs").iterdir()
    events = list(read_events(folder / "journal.db"))
    assert [event.body["memory"] for event in events if event.kind == "run.started"] == [url]
    assert [event.task for event in events if event.kind == "tool" and event.body["tool"] == "recall"] == ["b"]
    assert not [event for event in events if event.kind == "memory.missing"]
    assert not (folder / "memory").exists()


def _read(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.load(answer)


def _held(url: str) -> list[str]:
    return [str(text) for text in _read(url, {"include": ["documents"]})["documents"]]
