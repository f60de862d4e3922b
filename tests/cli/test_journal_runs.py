"""`tercet journal fork` and `replay`: a run that goes another way from a task on, and one that is played again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from tests.cli.conftest import covers, fields_of

from tercet.cli import frame
from tercet.cli.frame import TercetCommand
from tercet.cli.journal import fork, replay


def task(name: str, *needs: str) -> dict[str, Any]:
    done = {"command": ["test", "-s", f"{name}.txt"]}
    return {"id": name, "title": name, "role": "writer", "needs": needs, "outputs": [f"{name}.txt"], "done": done}


def schema_of(found: click.Command) -> Mapping[str, str]:
    assert isinstance(found, TercetCommand)
    return found.schema or {}


def script(path: Path, word: str) -> str:
    path.write_text(json.dumps({"rules": [{"task": "*", "text": f"{word} plain words"}]}))
    return str(path)


def test_a_run_is_played_again_and_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same files digest by digest; from the second task on with another script: other words, in another run."""
    monkeypatch.setenv("TERCET_HOME", str(tmp_path / "home"))

    def tercet(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = frame.run([*words, "--no-color"])
        return code, *capsys.readouterr()

    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"goal": "notes", "tasks": [task("one"), task("two", "one")]}))
    code, out, err = tercet(
        "run", "notes", "--plan", str(plan), "--scripted", script(tmp_path / "a.json", "three"), "--yes", "--json"
    )
    assert code == 0, err
    name = json.loads(out)["run"]

    code, out, err = tercet("journal", "replay", name, "--json")
    found = json.loads(out)
    assert (code, found["same"], [each["task"] for each in found["tasks"]]) == (0, True, ["one", "two"]), err
    assert covers(schema_of(replay), fields_of(found))
    assert "2 tasks come to the same files" in tercet("journal", "replay", name)[2]

    ended = tercet("journal", "fork", name)
    assert (ended[0], f"{name}@TASK" in ended[2]) == (1, True), ended[2]
    assert [path.name for path in (tmp_path / "home" / "runs").iterdir()] == [name], (
        "a fork that was refused leaves nothing"
    )

    for where, why in (
        ("nowhere", "No task 'nowhere'"),
        ("999", "no event 999"),
        ("one#9", "no step 9"),
        ("0", "count from 1"),
    ):
        code, _, err = tercet("journal", "fork", f"{name}@{where}")
        assert (code, why in err) == (2, True), err

    code, out, err = tercet("journal", "fork", f"{name}@two", "--json")
    made = json.loads(out)
    assert (code, made["parent"], made["spent"]) == (0, name, 0), err
    assert covers(schema_of(fork), fields_of(made))

    other = script(tmp_path / "b.json", "four")
    code, out, err = tercet("journal", "fork", f"{name}@two", "--scripted", other, "--resume", "--json")
    assert code == 0, err
    work = Path(json.loads(out)["folder"]) / "work"
    assert {path.name: path.read_text().split()[0] for path in work.iterdir()} == {
        "one.txt": "three",
        "two.txt": "four",
    }
    assert tercet("journal", "verify", json.loads(out)["run"])[0] == 0
