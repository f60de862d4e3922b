"""`tercet run` that cannot begin: it says what is wrong, exits as the kind of fault says, and leaves no run behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tercet.cli import frame

_RULES = {"rules": [{"says": ".", "text": "yes"}]}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and a folder to stand in with a script that answers."""
    monkeypatch.setenv("TERCET_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("script.json").write_text(json.dumps(_RULES))
    Path("empty.json").touch()
    dear = {"id": "a", "title": "a", "role": "writer", "done": {"command": ["true"]}, "budget": 2_000_000}
    Path("dear.json").write_text(json.dumps({"tasks": [dear]}))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--dir", "nowhere"), "'nowhere' is no folder. Name one with --dir."),
        (("--dir", "script.json"), "'script.json' is no folder."),
        (("--plan", "nowhere.json"), "'nowhere.json' is no file. Name a plan with --plan"),
        (("--plan", "script.json"), "script.json: This is no plan: tasks: Field required"),
        (("--plan", "empty.json"), "is no JSON"),
        (("--plan", "dear.json"), "its tasks may spend 2 credit together, the run has 1 credit"),
        (("--lend", "no-such-package"), "--lend 'no-such-package' is not installed here."),
        (("--candidate", "coder=nobody"), "nobody has the role 'nobody'. Known: analyst, assistant"),
        (("--candidate", "coder=nobody@small"), "nobody has the role 'nobody'."),
        (("--candidate", "nobody=coder"), "nobody has the role 'nobody'."),
    ],
)
def test_who_mistypes_has_no_run_of_it(
    home: Path, words: tuple[str, str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, before anything is begun."""
    assert frame.run(["run", "Do it", "--scripted", "script.json", "--yes", *words]) == 2
    assert why in capsys.readouterr().err
    assert not list(home.glob("runs/*"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--model", "nobody"), "No model that thinks is called 'nobody'. Known: smol, small, large;"),
        (("--model", "minilm"), "No model that thinks is called 'minilm'."),
        (("--gateway", "ftp://example.org"), "'ftp://example.org' is no address of a gateway. Say it as http://"),
    ],
)
def test_a_model_that_nobody_knows_is_refused_before_there_is_a_run(
    home: Path, words: tuple[str, str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run, and of a fork, which would fail at its first resume."""
    assert frame.run(["run", "Do it", "--yes", *words]) == 2
    assert why in capsys.readouterr().err
    assert not list(home.glob("runs/*"))


def test_a_gateway_that_is_down_leaves_no_run_behind(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 4: it may be there later, and the same command will do then."""
    assert frame.run(["run", "Do it", "--gateway", "http://127.0.0.1:9/v1", "--yes"]) == 4
    said = capsys.readouterr().err
    assert "127.0.0.1:9/v1 cannot be reached" in said
    assert "could not begin, and nothing is left of it" in said
    assert not list(home.glob("runs/*"))


def test_a_run_that_lacks_a_package_goes_on_as_it_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It could begin elsewhere, and stays; once the package is there, the command that was said does the rest."""
    text = "def test_sum():\n    assert 1 + 1 == 2\n"
    Path("script.json").write_text(
        json.dumps({"rules": [{"says": ".", "object": {"files": [{"path": "test_a.py", "content": text}]}}]})
    )
    done = {"command": ["python3", "-m", "pytest", "-q"]}
    task = {"id": "a", "title": "a", "role": "author", "outputs": ["test_a.py"], "done": done}
    Path("plan.json").write_text(json.dumps({"tasks": [task]}))
    with monkeypatch.context() as patched:
        patched.setattr("tercet.swarm.sandboxes._installed", lambda name: name != "pytest")
        assert frame.run(["run", "Do it", "--plan", "plan.json", "--scripted", "script.json", "--yes"]) == 1
        said = capsys.readouterr().err
        assert "tercet: The run needs pytest, not installed here. Install: pip install 'tercet[coding]'." in said
        assert "nothing is left" not in said
        (going_on,) = re.findall("tercet (resume .+)", said)
        assert frame.run(going_on.split()) == 1
        assert re.findall("tercet (resume .+)", capsys.readouterr().err) == [going_on]
    assert frame.run(going_on.split()) == 0
    assert "Done: test_a.py." in capsys.readouterr().err


def test_a_run_that_failed_in_planning_stays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model was asked for its plan, and that may have cost something."""
    assert frame.run(["run", "Do it", "--scripted", "script.json", "--yes"]) == 1
    assert "nothing is left" not in capsys.readouterr().err
    assert len(list(home.glob("runs/*/journal.db"))) == 1
