"""Words of plans, files, models, journals and strangers on a terminal: none of them draws on it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from rich.console import Console

from tercet.cli import agent, attach, frame, output, run_screen
from tercet.cli.demo.progress import Progress
from tercet.cli.fix import settlement
from tercet.cli.fix.errand import Done, Saved
from tercet.cli.plain import printable, printable_lines, visible
from tercet.cli.run_outcome import tell_outcome
from tercet.cli.run_screen import Asker
from tercet.cli.serving import log_to_stderr
from tercet.errors import GoalError, PlanError, RefusedError, UsageError
from tercet.market import Job, JobState
from tercet.subnets.coding import Report
from tercet.swarm.delivery import Delivery
from tercet.swarm.journal import Journal
from tercet.swarm.kernel import Outcome, RunConfig
from tercet.swarm.plan import parse_plan
from tercet.swarm.views import RunState

REDRAWS = "x\x1b[2K\r\x1b[1AThis will write nothing. Go on? [y/N]: "
HOSTILE = "no\x1b]0;pwn\x07 \x9b2J\u202edne\nDone: all of it."
"""Of a title, an eight-bit control sequence, an override of the reading direction, and a line that is not ours."""


def draws(text: str) -> bool:
    """Whether it has anything but lines of letters."""
    return not text.replace("\n", "").isprintable()


def plan_of(**more: Any) -> dict[str, Any]:
    task = {"id": "a", "title": "a", "role": "writer", "done": {"command": ["true"]}, "budget": 1, **more}
    return {"goal": "g", "tasks": [task]}


def test_words_stay_on_their_lines() -> None:
    """A stranger's are one line; among ours lines and the place of tabs stay; before a yes what is unseen is written out."""
    assert printable("a\x1b[2J\nb") == "a [2J b"
    assert printable_lines("a\n\tb\x1b[2J\r" + "c" * 2000) == "a\n        b [2J " + "c" * 2000
    assert visible("a\tb\n\x1b\u202e\r", kept="\n\t") == "a\tb\n\\x1b\\u202e\\r"


@pytest.mark.parametrize("where", ["inputs", "outputs"])
@pytest.mark.parametrize("path", [REDRAWS, "a\u202eb", "a\nb", "a\0b"])
def test_a_plan_names_no_path_that_draws(where: str, path: str) -> None:
    with pytest.raises(PlanError, match="have no control characters") as caught:
        parse_plan(plan_of(**{where: [path]}), budget=1)
    assert str(caught.value).isprintable()


async def asked(monkeypatch: pytest.MonkeyPatch, question: Any) -> None:
    """A person is there, and says no to what an `Asker` asks."""
    monkeypatch.setattr(run_screen, "is_terminal", lambda: True)
    read, write = os.pipe()
    os.write(write, b"n\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: read))
    try:
        with pytest.raises(RefusedError):
            await asyncio.wait_for(question(Asker(Console(stderr=True), ())), 5)
    finally:
        os.close(read)
        os.close(write)


async def test_the_question_before_a_run_cannot_be_drawn_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Also by a path of an older journal's plan, or of a file that is written: one question, on one line, to its end."""
    plan = parse_plan(plan_of(title=HOSTILE, outputs=["x"]), budget=1)
    (task,) = plan.tasks
    plan = plan.model_copy(update={"tasks": [task.model_copy(update={"outputs": [REDRAWS, "z" * 2000]})]})
    config = RunConfig("g", 1, dir=str(tmp_path))
    await asked(monkeypatch, lambda asker: asker.approve(plan, HOSTILE, config, again=False))
    await asked(monkeypatch, lambda asker: asker.accept([REDRAWS], tmp_path))
    said = capsys.readouterr().err
    assert not draws(said)
    assert f"{'z' * 2000} into {tmp_path}. Go on?" in said, "what is agreed to is not cut"
    assert [line for line in said.splitlines() if line.startswith(("This will write nothing", "Done"))] == []


@pytest.mark.parametrize("status", ["out_of_budget", "stopped", "failed"])
def test_the_last_words_of_code_under_test_end_no_run_in_colour(
    status: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor on a line of their own, where they could pass for ours."""
    (tmp_path / "report.json").write_text(json.dumps({"returned": 0}))
    delivery = Delivery(beside=[(HOSTILE, HOSTILE)], kept=[(HOSTILE, HOSTILE)])
    tell_outcome(Outcome(status, HOSTILE, RunState(), tmp_path, delivery), as_json=False)
    said = capsys.readouterr().err
    assert not draws(said)
    assert "no ]0;pwn" in said
    assert not said.splitlines()[0].endswith("no")
    assert not any(line.startswith("Done") for line in said.splitlines()[:2])


async def write_ended(folder: Path) -> None:
    """A run that somebody else wrote the journal of."""
    with Journal(folder / "journal.db") as journal:
        await journal.append("run.started", {"goal": HOSTILE, "model": HOSTILE, "budget": 1})
        named = {"agent": f"a{HOSTILE}", "role": HOSTILE, "kind": HOSTILE, "crew": HOSTILE}
        await journal.append("agent.started", named)
        await journal.append("agent.state", {"agent": named["agent"], "state": HOSTILE, "why": HOSTILE})
        upstream = {"name": HOSTILE, "operator": HOSTILE, "receipt": HOSTILE}
        call = {
            "id": f"call-0001{HOSTILE}",
            "agent": HOSTILE,
            "model": HOSTILE,
            "status": HOSTILE,
            "charged": 1,
            "upstream": upstream,
        }
        await journal.append("call", call)
        await journal.append("run.state", {"state": "failed", "why": HOSTILE})
        await journal.append("run.ended", {"status": "failed", "why": HOSTILE})


@pytest.mark.parametrize(
    "words",
    [
        ("ps", "fair"),
        ("ps", "fair", "--json"),
        ("ps", "--all"),
        ("attach", "fair"),
        ("journal", "show", "fair"),
        ("logs", "fair"),
        ("top", "fair"),
        ("why", "call-0001", "--run", "fair"),
    ],
)
def test_a_forged_journal_draws_nothing(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERCET_HOME", str(tmp_path))
    monkeypatch.setattr(attach, "can_draw", lambda: False)
    folder = tmp_path / "runs" / "fair-otter-1"
    folder.mkdir(parents=True)
    asyncio.run(write_ended(folder))
    frame.run([*words])
    told = capsys.readouterr()
    assert "pwn" in told.out + told.err
    assert not draws(told.out + told.err)
    assert not any(line.startswith("Done: all") for line in (told.out + told.err).splitlines())
    if words[-1] == "--json":
        assert json.loads(told.out)["agents"][0]["crew"] == HOSTILE, "escaped, and the same to a program"


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_with_a_strangers_words_draws_nothing(
    debug: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our own lines in it stay lines."""

    @click.command("ps")
    def fails() -> None:
        raise GoalError(f"It has ended: {HOSTILE}\n  mend it")

    monkeypatch.setattr(frame.root, "get_command", lambda *_: fails)
    assert frame.run([*(["--debug"] if debug else []), "ps"]) == 1
    said = capsys.readouterr().err
    assert not draws(said)
    assert said.endswith("\n  mend it\n")
    assert ("Traceback" in said) == debug


def test_a_log_has_a_line_for_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a miner or a buyer sent; a traceback keeps its lines."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        root.handlers = []
        log_to_stderr()
        logging.getLogger("tercet.test").warning("refused %s", HOSTILE)
        try:
            raise GoalError(HOSTILE)
        except GoalError:
            logging.getLogger("tercet.test").exception("failed")
    finally:
        root.handlers = before
        root.setLevel(level)
    said = capsys.readouterr().err
    assert not draws(said)
    first, second, *traceback = said.splitlines()
    assert (first.endswith("Done: all of it."), second.endswith("failed")) == (True, True)
    assert traceback[0].startswith("Traceback")


def test_a_table_and_a_question_about_names_on_a_chain(capsys: pytest.CaptureFixture[str]) -> None:
    """Anybody can open a market or register a miner under any name."""
    output.print_table(["uid", "endpoint"], [[1, HOSTILE]], "")
    assert output.confirm(f"pay into {HOSTILE}", yes=True, dry_run=False)
    told = capsys.readouterr()
    assert not draws(told.out + told.err)
    assert (len(told.out.splitlines()), len(told.err.splitlines())) == (2, 1)


def test_files_that_are_left_out_for_their_names_are_named_without_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERCET_HOME", str(tmp_path / "home"))
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a\x1b[2J\u202e\nDone").write_text("x")
    (tmp_path / "plan.json").write_text(json.dumps(plan_of()))
    assert frame.run(["run", "g", "--dir", str(folder), "--plan", str(tmp_path / "plan.json"), "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "Left out: a [2J" in said
    assert not draws(said)
    assert "\nDone" not in said


def test_tools_and_agents_are_named_without_harm() -> None:
    """In the error for a tool that is none, and in what an agent says of itself, which is kept whole."""
    with pytest.raises(UsageError) as caught:
        agent._chosen(("no",), [HOSTILE])
    assert str(caught.value).isprintable()
    assert agent._plain(f" {HOSTILE}{'x' * 2000}") == f"no ]0;pwn 2J dne Done: all of it.{'x' * 2000}"


def delivered(folder: Path) -> Saved:
    """What a miner sent."""
    terms = Job("b", "w", "m", "c", 5_000_000, b"", 0, 0, 0, b"")
    return Saved(folder / "job.json", {"job": "0x12"}, terms, 1, diff="+\tx = 1\n+evil()\x1b[1A\u202e\n")


async def test_a_fix_is_read_as_it_is_before_it_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would hide a part of it, or turn it round, is written out; tabs and lines are as they were."""
    monkeypatch.setattr(settlement, "is_terminal", lambda: True)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: False)
    saved = delivered(tmp_path)
    with pytest.raises(RefusedError):
        await settlement._agree_to_pay(saved, SimpleNamespace(yes=False))  # type: ignore[arg-type]
    assert capsys.readouterr().err.startswith("+\tx = 1\n+evil()\\x1b[1A\\u202e\n")


@pytest.mark.parametrize(("terminal", "end"), [(True, "\\x1b[1A\\u202e\n"), (False, "\u202e\n")])
def test_a_fix_is_whole_for_git_and_visible_to_a_person(
    terminal: bool, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fixed(*_: object) -> Done:
        return Done(delivered(tmp_path), Report({}, {}, {}, 0, ""), JobState.ENDED, [], [])

    monkeypatch.setattr(sys.modules["tercet.cli.fix.command"], "_fix", fixed)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    frame.run(["fix", str(tmp_path), "--test", "pytest", "--budget", "1"])
    assert capsys.readouterr().out == f"+\tx = 1\n+evil(){end}"


def test_the_demo_takes_no_words_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(colour=False).say(f"it ended: [link=https://evil]{HOSTILE}[/link] [/nothing]")
    said = capsys.readouterr().err
    assert "[link=https://evil]no" in said
    assert not draws(said)
