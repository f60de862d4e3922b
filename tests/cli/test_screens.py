"""Live screens as a person sees them: nothing wraps, scrolls or stays behind, and who needs the person is at the top."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tercet.cli.glance import Glance
from tercet.cli.inbox.reader import Reader
from tercet.cli.inbox.screen import Screen
from tercet.cli.inbox.words import crop, fold, pack
from tercet.cli.output import fit_table, print_json
from tercet.cli.run_plan import tell_plan, tell_plan_briefly
from tercet.cli.run_screen import tell_tasks
from tercet.cli.targets import read_state
from tercet.cli.top import draw
from tercet.swarm.inbox import build_card
from tercet.swarm.journal import Event, Journal, read_events
from tercet.swarm.plan import parse_plan
from tercet.swarm.state import Folding
from tercet.swarm.state import fold as full

from .conftest import Shell
from .terminals import Terminal, terminals

SIZES = [(80, 24), (120, 40), (60, 20), (40, 12)]
RUN = "fair-otter-1"


@pytest.fixture
def sit(shell: Shell) -> Iterator[Callable[..., Terminal]]:
    with terminals(shell) as opened:
        yield opened


def glance(**changed: Any) -> dict[str, Any]:
    """A run of a hundred agents in seven crews."""
    crew = {
        "agents": 14, "asks": 0, "states": {"working": 9, "waiting": 3, "idle": 2}, "tasks": 20, "done": 7,
        "failed": 1, "spent": "1034567", "tokens": 123_456, "calls_a_minute": 94,
    }  # fmt: skip
    crews = [{"crew": f"crew-{number}", **crew} for number in range(7)]
    whole = {
        "run": RUN, "state": "running", "why": "", "goal": "fix \x1b[31m\n\x07all of it " * 9, "seconds": 7300.0,
        "spent": "7241969", "limit": "50000000", "tokens": 864_192, "calls_a_minute": 674, "asks": 3, "held": 2,
        "first": {"id": "3f2a", "node": "run/docs/coder-50", "action": "publish \x9b2J " + "漢字 " * 60}, "crews": crews,
    }  # fmt: skip
    return {**whole, **changed}


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_glance_fits_its_screen_and_says_first_who_needs_you(width: int, height: int) -> None:
    """A row for each line, with the command to type, units, and no stranger's control characters."""
    lines = [line.plain for line in draw(glance(), width, height, "q leaves")]
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)
    need = lines.index(crop(f"3 decisions need you, 2 held back: tercet inbox {RUN}", width))
    assert lines[need + 1].startswith("  docs/coder-50: publish ")
    assert "7.241969 of 50 credit" in " ".join(lines[:need])
    assert "".join(lines).isprintable()


def test_a_narrow_screen_keeps_who_needs_you_and_drops_the_counters() -> None:
    """All seven crews are there, with who waits in them."""
    crews = [{**crew, "asks": number} for number, crew in enumerate(glance()["crews"])]
    lines = [line.plain for line in draw(glance(crews=crews), 60, 20)]
    head = next(number for number, line in enumerate(lines) if line.startswith("CREW"))
    assert lines[head].split() == ["CREW", "AGENTS", "NEED", "YOU", "NOW"]
    assert [line.split()[2] for line in lines[head + 1 :]] == ["-", "1", "2", "3", "4", "5", "6"]


def test_a_flood_is_no_single_act_and_all_its_crews_wait(tmp_path: Path) -> None:
    """Not its dearest card's words, which one might take for the decision."""
    now = time.time()
    with Journal(tmp_path / "journal.db") as journal:
        journal.note("run.started", {"goal": "g", "budget": 1000})
        for number in range(12):
            crew = "ab"[number % 2]
            card = build_card(
                action=f"Fetch page {number}", kind="network", agent=f"run/{crew}/coder-{number}", tool="fetch",
                call={"page": number}, loss=5, reversible=True, deadline=now + 600,
            )  # fmt: skip
            journal.note("ask.raised", {"card": card.to_json(), "to": "person", "at": now})
        for crew in "ab":
            journal.note("crew.formed", {"crew": crew, "lead": "", "members": []})
    looked = Glance(tmp_path)
    looked.read()
    view = looked.view(now + 1)
    assert view["first"]["action"] == "incident: 12 asks under run"
    assert [crew["asks"] for crew in view["crews"]] == [1, 1]


def test_what_is_shown_is_what_all_events_add_up_to(tmp_path: Path) -> None:
    """Screens read few kinds of events; run, queue and digest are as if they had read them all, and as they come."""
    folder, now = tmp_path / RUN, time.time()
    folder.mkdir()
    cards = [
        build_card(
            action=f"Fetch {n}", kind="network", agent=f"run/a/coder-{n}", tool="fetch", call={"n": n}, loss=n + 1,
            reversible=n != 1, deadline=now + 600,
        )
        for n in range(6)
    ]  # fmt: skip
    policy = {"id": "p1", "class": "network", "choice": "yes", "each": 9, "up_to": 99, "until": now + 60}
    node = {"agent": "run/a/coder-1", "crew": "a"}
    told: list[tuple[str, str, Mapping[str, Any]]] = [
        ("run.started", "", {"goal": "g", "budget": 1000}),
        ("run.planned", "", {"plan": plan(3), "by": "file"}),
        ("run.approved", "", {"by": "person"}),
        ("budget.set", "", {"node": "run", "credit": 500, "attention": 2}),
        ("budget.added", "", {"node": "run", "credit": 5, "attention": 1}),
        ("crew.formed", "", {"crew": "a", "lead": "", "members": ["coder-1"]}),
        ("agent.started", "", {"agent": "coder-1", "crew": "a"}),
        ("agent.state", "t-1", {"agent": "coder-1", "state": "stuck", "why": "loop"}),
        ("task.started", "t-1", {"attempt": 1, "agent": "coder-1"}),
        ("call", "t-1", {"id": "c", "agent": "run/a/coder-1", "status": "unknown", "charged": 9, "prompt": 3}),
        ("call.reconciled", "", {"id": "c", "charged": 4, "booked": 9}),
        ("claim.checked", "", {"id": "x", "ok": False}),
        ("task.failed", "t-1", {"why": "no", "final": True}),
        ("artefact", "t-1", {"path": "a.py"}),
        *(("ask.raised", "", {"card": card.to_json(), "to": "person", "at": now}) for card in cards),
        ("ask.shown", "", {"group": cards[0].id, "at": now, **node}),
        ("policy.made", "", {"policy": policy}),
        ("ask.answered", "", {"card": cards[0].id, "answer": "yes", "by": "person", "at": now}),
        ("ask.decided", "", {"group": cards[0].id, "answer": "yes", "at": now, "shown": now, **node}),
        ("ask.answered", "", {"card": cards[1].id, "answer": "yes", "by": "policy:p1", "at": now}),
        ("ask.used", "", {"card": cards[1].id, "key": "k"}),
        ("ask.defaulted", "", {"card": cards[2].id, "answer": "no", "at": now}),
        ("policy.revoked", "", {"policy": "p1"}),
        ("run.ended", "", {"status": "stopped", "why": "you said so"}),
    ]
    whole, seen, looked = Reader(RUN), Reader(RUN, folder / "journal.db"), Glance(folder, ("control",))
    with Journal(folder / "journal.db") as journal:
        for kind, task, body in told:
            journal.note(kind, body, task=task)
            journal.note("step", {"output": 1})
    heard = [event.kind for event in looked.read()]
    assert heard == [kind for kind, _, _ in told]
    for event in read_events(folder / "journal.db"):
        whole.apply(event)
    assert seen.poll()
    assert not seen.poll()
    assert (seen.queue(now), seen.since.lines(now), seen.ended) == (whole.queue(now), whole.since.lines(now), "stopped")
    assert [item.id for item in seen.queue(now).items], "nothing waits, so nothing was compared"
    state, (end,) = full(read_events(folder / "journal.db")), read_events(folder / "journal.db", kinds=("run.ended",))
    assert read_state(folder) == replace(state, run=replace(state.run, seq=end.seq, last_ms=end.time_ms))
    with Journal(folder / "journal.db") as journal:
        journal.note("tool", {"tool": "read"})
        journal.note("control", {"verb": "kill"})
    assert [event.kind for event in looked.read()] == ["control"]


def test_nobody_needs_you() -> None:
    assert "Nobody needs you." in [line.plain for line in draw(glance(asks=0, held=0, first=None), 80, 24)]


@pytest.mark.parametrize(("width", "height"), SIZES[:3])
def test_what_is_approved_is_on_the_screen_to_its_last_word(width: int, height: int) -> None:
    """A long act that cannot be undone: its end, its loss and every key are there, on a narrow screen too."""
    card = build_card(
        action="publish " + "word " * 60 + "LAST", kind="publish", agent="run/docs/coder-50", tool="pub\x1b[2Jlish",
        call={}, loss=9_000_000, reversible=False, deadline=10_000.0, evidence=["it says so " * 12 + "END"],
    )  # fmt: skip
    reader = Reader(RUN)
    reader.apply(Event(1, 0, "ask.raised", "kernel", "", {"card": card.to_json(), "to": "person", "at": 1.0}))
    lines = [words for words, _ in Screen(reader).draw(100.0, width, height)]
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)
    whole = " ".join(lines)
    for words in ("LAST", "END", "9 credit lost", "CANNOT BE UNDONE", "y yes", "k kill", "q quit"):
        assert words in whole
    assert whole.isprintable()


def test_words_are_cut_by_columns_not_by_letters() -> None:
    """A wide letter takes two columns, a word that is longer than a row is broken, and keys stay whole."""
    assert crop("漢字漢字", 5) == "漢字…"
    assert fold("  漢字漢字 ab", 6) == ["  漢字", "  漢字", "  ab"]
    assert fold("short", 80) == ["short"]
    assert pack(["y yes", "n no", "q quit"], 12) == ["y yes  n no", "q quit"]


def plan(tasks: int) -> Any:
    raw = [
        {"id": f"t-{number}", "title": f"Part {number} \x1b[2J" + "x" * 90, "role": "tester",
         "done": {"command": ["true"]}, "budget": 10}
        for number in range(tasks)
    ]  # fmt: skip
    return {"goal": "g", "tasks": raw}


def test_the_table_of_a_run_shows_what_goes_on_not_what_is_done() -> None:
    """Of forty tasks: the failed one, the running ones, the next; how many more there are; never more than its lines."""
    folding = Folding()
    told: list[tuple[str, str, Mapping[str, Any]]] = [
        ("run.started", "", {"goal": "g", "budget": 1000}),
        ("run.planned", "", {"plan": plan(40), "by": "file"}),
    ]
    told += [("task.started", f"t-{number}", {"attempt": 1, "agent": f"tester-{number}"}) for number in range(12)]
    told += [("task.done", f"t-{number}", {"artefacts": []}) for number in range(8)]
    told.append(("task.failed", "t-9", {"attempt": 1, "why": "no", "final": True}))
    for seq, (kind, task, body) in enumerate(told, 1):
        folding.take(Event(seq, seq, kind, "kernel", task, body))
    lines = [line.plain for line in tell_tasks(folding.state(), glance(), 80, 10)]
    assert len(lines) == 10
    assert "tercet inbox" in lines[1]
    ids = [line.split("  t-")[1].split(":")[0] for line in lines[3:-1]]
    assert ids == ["9", "8", "10", "11", "12", "13"]
    assert lines[-1] == "  and 26 more"


def test_a_long_plan_is_a_line_for_each_task() -> None:
    lines = tell_plan_briefly(parse_plan(plan(36), budget=1000), "file", 60)
    assert len(lines) == 37
    assert all(cell_len(line) <= 60 and line.isprintable() for line in lines)


LONG_TEST = ["python3", "-B", "-c", "from api import build\nassert build('a').answers_what_was_asked(), 'it does not'"]


def chain(tasks: int, command: Sequence[str]) -> Any:
    """Each task needs the last few."""
    raw = [
        {"id": f"step-{number}", "title": f"Part {number}", "role": "author", "done": {"command": command}, "budget": 1_000_000,
         "needs": [f"step-{before}" for before in range(max(0, number - 6), number)]}
        for number in range(tasks)
    ]  # fmt: skip
    return parse_plan({"goal": "g", "tasks": raw}, budget=10**9)


@pytest.mark.parametrize("width", [80, 120])
def test_the_tests_of_a_plan_are_read_below_its_table_with_no_word_cut(width: int) -> None:
    """On terminals of both widths: no line is wider, no word of a command or of the needs is in two pieces."""
    lines = tell_plan(chain(15, LONG_TEST), "file", width, wrap=True)
    assert all(cell_len(line) <= width and line.isprintable() for line in lines)
    words = " ".join(lines).split()
    assert words.count("build('a').answers_what_was_asked(),") == 15
    assert words.count("step-13") == 1 + 1  # its own row, and the need of step-14
    assert r"build\nassert" in words  # one line, and it is seen that there were two
    below = lines.index("  step-14: Part 14")
    assert lines[below + 1].startswith("    python3 -B -c ")


def test_in_a_pipe_each_test_is_one_line() -> None:
    lines = tell_plan(chain(2, [*LONG_TEST, "x" * 200]), "file", 80, wrap=False)
    assert sum(line.startswith("    python3 -B -c ") and line.endswith("x" * 200) for line in lines) == 2


def write_script(folder: Path) -> None:
    (folder / "script.json").write_text(json.dumps({"rules": [{"text": "x"}]}))
    (folder / "plan.json").write_text(json.dumps(plan(2)))


def test_ctrl_c_at_the_question_leaves_it_to_be_asked_again(shell: Shell, sit: Callable[..., Terminal]) -> None:
    """At once, with nothing begun; the resume asks, and a no ends it."""
    write_script(shell.folder)
    terminal = sit("run", "Check it", "--plan", "plan.json", "--scripted", "script.json")
    terminal.until("Go on? [y/N]")
    terminal.press("\x03")
    assert terminal.left() == 130
    (folder,) = (shell.folder / "home" / "runs").iterdir()
    assert f"tercet resume {folder.name}" in terminal.read()
    assert terminal.is_as_before
    assert not list(read_events(folder / "journal.db", kinds=("run.approved", "task.started", "run.ended")))
    again = sit("resume", folder.name)
    again.until("Go on? [y/N]")
    again.press("n\n")
    assert again.left() == 3
    assert "you said no" in again.read()


def test_a_long_plan_is_shown_with_its_tests_before_it_is_agreed_to(shell: Shell, sit: Callable[..., Terminal]) -> None:
    """First a row for each task; the key p shows the rest, and asks again."""
    write_script(shell.folder)
    (shell.folder / "plan.json").write_text(json.dumps(plan(12)))
    terminal = sit("run", "Check it", "--plan", "plan.json", "--scripted", "script.json")
    assert "when its test ends with 0" not in terminal.until("p for the plan with its tests]")
    terminal.press("p\n")
    assert "when its test ends with 0" in terminal.until("p for the plan with its tests]")
    terminal.press("n\n")
    assert terminal.left() == 3


def waiting_run(shell: Shell) -> Path:
    """A run in the shell's home that nobody works on."""
    folder = shell.folder / "home" / "runs" / RUN
    folder.mkdir(parents=True)
    with Journal(folder / "journal.db") as journal:
        journal.note("run.started", {"goal": "g", "budget": 1000})
        journal.note("run.state", {"state": "running", "why": ""})
    return folder


def test_whoever_follows_a_run_that_nobody_works_on_is_told_so(shell: Shell, sit: Callable[..., Terminal]) -> None:
    """It would wait for ever; what takes the run up is named, and its lines come then."""
    waiting_run(shell)
    terminal = sit("logs", "-f", RUN)
    terminal.until(f"tercet resume {RUN} takes it up")
    terminal.press("\x03")
    assert terminal.left() == 130


@pytest.mark.parametrize("words", [("top", RUN), ("inbox", RUN)])
def test_a_terminal_is_given_back_however_one_leaves(
    shell: Shell, sit: Callable[..., Terminal], words: tuple[str, ...]
) -> None:
    """By q, by Ctrl-C and by SIGTERM: the cursor is seen, keys are echoed, the screen is the usual one."""
    waiting_run(shell)
    for leave, code in (("q", 0), ("\x03", 0 if words[0] == "top" else 130), ("", 128 + signal.SIGTERM)):
        terminal = sit(*words)
        terminal.until("q leaves" if words[0] == "top" else "q quit")
        assert not terminal.is_as_before
        if leave:
            terminal.press(leave)
        else:
            terminal.process.terminate()
        assert terminal.left() == code
        assert terminal.is_as_before


def test_a_dumb_terminal_is_left_by_ctrl_c_and_sees_the_glance_once(shell: Shell, sit: Callable[..., Terminal]) -> None:
    waiting_run(shell)
    terminal = sit("inbox", RUN, term="dumb")
    terminal.until("> ")
    terminal.press("\x03")
    assert terminal.left() == 130
    terminal = sit("top", RUN, term="dumb")
    assert terminal.left() == 0
    assert "Nobody needs you" in terminal.seen
    assert "\x1b" not in terminal.seen


async def test_ps_fits_a_narrow_terminal(shell: Shell, sit: Callable[..., Terminal]) -> None:
    """At 60 columns no line wraps: what matters least is left out, and the goal is cut; a file has all of it."""
    folder = shell.folder / "home" / "runs" / RUN
    folder.mkdir(parents=True)
    with Journal(folder / "journal.db") as journal:
        await journal.append("run.started", {"goal": "mend all of it " * 9, "model": "scripted", "budget": 5_000_000})
        await journal.append("budget.set", {"node": "run", "credit": 5_000_000})
        for number in range(3):
            body = {"agent": f"coder-{number}", "role": "coder", "kind": "model", "crew": "repair"}
            await journal.append("agent.started", body)
            waits = {"agent": f"coder-{number}", "state": "waiting", "why": "for the person: " + "which one? " * 9}
            await journal.append("agent.state", waits, task="mend-everything-that-is-broken")
    for words, needed in (
        (("--all",), (RUN, "planning, left", "CREDIT")),
        ((RUN,), ("coder-2", "waiting", "TASK", "WHY")),
    ):
        terminal = sit("ps", *words, columns=60)
        assert terminal.left() == 0
        lines = terminal.read().splitlines()
        assert all(cell_len(line) <= 60 for line in lines), lines
        assert all(word in "\n".join(lines) for word in needed), lines
    assert "mend all of it mend all of it" in shell.run("ps", "--all").out


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_table_gives_up_what_it_can_spare_and_no_more(width: int) -> None:
    """Columns go in order, and only as many as have to; the last is cut to what is left."""
    columns, row = ["run", "kind", "of", "goal"], ["fair-otter-1", "k" * 10, "o" * 10, "漢" * 40]
    names, (cells,) = fit_table(columns, [row], width, ("of", "state", "kind"))
    assert names == {20: ["run", "goal"], 40: ["run", "kind", "goal"]}.get(width, columns)
    shown = sum(2 + cell_len(cell) for cell in cells[:-1]) + cell_len(cells[-1])
    assert shown <= max(width, 22)
    assert cells[-1] == row[-1] or cells[-1].endswith("…")


def test_json_is_printed_whatever_a_stranger_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Half of a surrogate pair is in older journals, and no terminal takes it."""
    print_json({"why": "é, cut at \ud83d"})
    assert '"é, cut at \\ud83d"' in capsys.readouterr().out
