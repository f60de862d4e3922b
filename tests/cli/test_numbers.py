"""Numbers of a command line that no file has room for: wrong usage, said in a line, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tercet.cli import frame
from tercet.nodes.gateway_keys import create_key
from tercet.swarm.journal import Journal, read_events

RUN = "still-fox"
HUGE = str(2**63)


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A home with a run that nobody works on; runs a command that is to be wrong usage, and gives what it said."""
    monkeypatch.setenv("TERCET_HOME", str(tmp_path))
    folder = tmp_path / "runs" / RUN
    folder.mkdir(parents=True)
    with Journal(folder / "journal.db") as journal:
        journal.note("run.started", {"goal": "g", "budget": 1000})
        journal.note("budget.set", {"node": "run", "credit": 1000, "tokens": 10, "seconds": 1.0, "attention": None})
        journal.note("run.state", {"state": "running", "why": ""})

    def tercet(*words: str) -> str:
        before = len(list(read_events(folder / "journal.db")))
        assert frame.run([*words, "--no-color"]) == 2
        assert len(list(read_events(folder / "journal.db"))) == before
        assert [path.name for path in (tmp_path / "runs").iterdir()] == [RUN], "no new run is left"
        return capsys.readouterr().err

    return tercet


@pytest.mark.parametrize("where", [HUGE, "9" * 200, f"one#{HUGE}"])
def test_a_place_that_no_journal_has(said: Callable[..., str], where: str) -> None:
    assert "No journal has an event or a step 9" in said("journal", "fork", f"{RUN}@{where}")


@pytest.mark.parametrize("content", [b"", b"junk" * 2000])
def test_what_is_no_journal_is_not_forked(
    said: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    """It is told as such, and leaves no half of a run."""
    assert said("journal", "fork", "nothing")
    (tmp_path / "runs/broken").mkdir()
    (tmp_path / "runs/broken/journal.db").write_bytes(content)
    assert frame.run(["journal", "fork", "broken"]) == 1
    assert "is no journal of a run" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {RUN, "broken"}


def test_nothing_behind_the_at_is_not_all_of_it(said: Callable[..., str]) -> None:
    assert "Nothing stands behind the @" in said("journal", "fork", f"{RUN}@")


@pytest.mark.parametrize(
    "words",
    [
        ("journal", "show", RUN, "--after", HUGE),
        ("journal", "show", RUN, "--last", HUGE),
        ("logs", RUN, "--last", HUGE),
        ("budget", "add", RUN, "1", "--tokens", HUGE, "--yes"),
        ("budget", "add", RUN, "1", "--seconds", "inf", "--yes", "--no-resume"),
        ("budget", "set", RUN, "--tokens", HUGE, "--yes"),
        ("budget", "set", RUN, "--seconds", "nan", "--yes"),
        ("budget", "set", RUN, "--attention", "nan", "--yes"),
        ("budget", "set", RUN, "--attention", "1e308", "--yes"),
    ],
)
def test_counts_and_measures_are_bounded(said: Callable[..., str], words: tuple[str, ...]) -> None:
    assert f"Invalid value for '{next(word for word in words if word.startswith('--'))}'" in said(*words)


@pytest.mark.parametrize("days", ["nan", "inf", "1e300", "0"])
def test_a_key_lives_for_a_time_that_ends(said: Callable[..., str], days: str) -> None:
    assert "A key cannot be valid for" in said("key", "new", "laptop", "--days", days)


def test_a_key_gets_no_budget_beyond_the_books(said: Callable[..., str], tmp_path: Path) -> None:
    _, key = create_key(tmp_path / "gateway", "laptop", 10)
    assert "makes no sense. Use 0 to" in said("key", "budget", key.id, "1e60")
