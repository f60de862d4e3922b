"""`tercet inbox` on a real terminal, before a run with a real journal, desk and control socket."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tercet.cli.inbox.terminal import Pace, parse_keys
from tercet.swarm.inbox import QUESTION
from tercet.swarm.journal import Journal, read_events

from .conftest import Shell
from .terminals import Terminal, terminals, wait_for

SCRIPT = Path(__file__).with_name("inbox_run.py")


@dataclass
class Run:
    """A run in a home, and who asks in it."""

    folder: Path
    process: subprocess.Popen[str]

    def ask(self, **wanted: Any) -> None:
        """One more card; the journal has it when this returns."""
        before = self.count("ask.raised")
        self.say(json.dumps(wanted))
        wait_for(lambda: self.count("ask.raised") > before, "the ask")

    def say(self, line: str) -> None:
        """To the run."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def told(self) -> Any:
        """The next line it says."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def sent(self) -> int:
        """Calls that its model was asked."""
        self.say('"count"')
        return int(self.told()["sent"])

    def count(self, *kinds: str) -> int:
        """Events of these kinds."""
        return sum(1 for _ in read_events(self.folder / "journal.db", kinds=kinds))


@pytest.fixture
def start(shell: Shell) -> Iterator[Callable[..., Run]]:
    """Starts runs in the shell's home."""
    started: list[subprocess.Popen[str]] = []

    def begin(agents: int = 0, name: str = "run-7") -> Run:
        folder = shell.folder / "home" / "runs" / name
        folder.mkdir(parents=True)
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), str(agents)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=shell.environment,
        )  # fmt: skip
        started.append(process)
        run = Run(folder, process)
        assert run.told() == {"ready": True}
        return run

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def sit_down(shell: Shell) -> Iterator[Callable[..., Terminal]]:
    """Opens `tercet inbox` on a pty."""
    with terminals(shell) as sit:
        yield lambda *arguments: sit("inbox", *arguments)


def test_one_key_answers_the_top_card(start: Callable[..., Run], sit_down: Callable[..., Terminal]) -> None:
    """The dearest card is the home screen; y answers that one, and the next takes its place."""
    run = start()
    run.ask()
    run.ask(action="Upload the data set", loss=900_000, evidence=["Task publish-1 wants it"])
    terminal = sit_down()
    screen = terminal.until("goal at risk")
    for words in (
        "Upload the data set",
        "class network",
        "if wrong: 0.9 credit lost",
        "it goes on in",
        "Task publish-1",
    ):
        assert words in screen
    assert "Fetch page 0" in screen
    time.sleep(0.4)
    terminal.press("y")
    assert run.told() == {"ask": 1, "choice": "yes", "by": "person"}
    terminal.until("Fetch page 0")
    time.sleep(0.4)
    terminal.press("n")
    assert run.told() == {"ask": 0, "choice": "no", "by": "person"}
    terminal.until("Nothing waits for you")
    terminal.press("q")
    assert terminal.process.wait(10) == 0
    dwell = [event.body["dwell"] for event in read_events(run.folder / "journal.db", kinds=("ask.answered",))]
    assert all(0.3 < seconds < 20 for seconds in dwell)


def test_a_common_cause_becomes_a_policy_by_one_key(
    start: Callable[..., Run], sit_down: Callable[..., Terminal], shell: Shell
) -> None:
    """Rules 3 and 4: a for all twenty and for this class; later ones are answered by it; x revokes."""
    run = start()
    for _ in range(20):
        run.ask(cause="docs.example answers 429")
    terminal = sit_down("run-7")
    assert "20 agents under run/fixers" in terminal.until("goal at risk")
    time.sleep(0.4)
    terminal.press("a")
    assert {run.told()["by"] for _ in range(20)} == {"person"}
    run.ask(cause="docs.example answers 429")
    assert run.told()["by"].startswith("policy:p")
    (policy,) = shell.run("inbox", "policies", "--json").json["policies"]
    assert (policy["class"], policy["each"], policy["up_to"], policy["count"]) == ("network", 100_000, 20_000_000, 1)
    terminal.press("o")
    terminal.until(policy["id"])
    terminal.press("x")
    terminal.until("There is none")
    assert run.count("policy.revoked") == 1


def test_one_key_pauses_a_subtree_and_one_key_everything(
    start: Callable[..., Run], sit_down: Callable[..., Terminal]
) -> None:
    """Rule 13: with a hundred agents thinking, a second after s no model is asked any more; r lets them go on."""
    run = start(100)
    run.ask(agent="run/crew-3/agent-3")
    terminal = sit_down()
    terminal.until("goal at risk")
    terminal.press("p")
    terminal.until("run/crew-3/agent-3 is paused")
    terminal.press("s")
    pressed = time.monotonic()
    terminal.until("Everything is paused")
    time.sleep(max(0.0, pressed + 1 - time.monotonic()))
    after = run.sent()
    time.sleep(1)  # twice as long as its model thinks
    assert run.sent() == after > 0
    terminal.press("r")
    terminal.until("goes on")
    wait_for(lambda: run.sent() > after, "thoughts")
    controls = [event.body for event in read_events(run.folder / "journal.db", kinds=("control",))]
    assert [(body["verb"], body["target"]) for body in controls] == [
        ("pause", "run/crew-3/agent-3"), ("pause", "run"), ("resume", "run"),
    ]  # fmt: skip


def test_a_kill_takes_two_keys(start: Callable[..., Run], sit_down: Callable[..., Terminal]) -> None:
    """What cannot be undone is asked once more."""
    run = start()
    run.ask()
    terminal = sit_down()
    terminal.until("goal at risk")
    terminal.press("k")
    terminal.until("k again kills")
    assert run.count("control") == 0
    terminal.press("k")
    terminal.until("is killed")
    assert run.count("control") == 1


def test_a_quick_yes_to_much_is_asked_again(start: Callable[..., Run], sit_down: Callable[..., Terminal]) -> None:
    """Rule 11, on the screen."""
    run = start()
    run.ask(action="Publish the report", kind="publish", reversible=False, loss=9_000_000)
    terminal = sit_down()
    assert "CANNOT BE UNDONE" in terminal.until("goal at risk")
    time.sleep(0.4)
    terminal.press("y")
    terminal.until("That was quick")
    time.sleep(2)
    terminal.press("y")
    assert run.told()["choice"] == "yes"


def test_news_is_gathered_into_four_draws_a_second(
    start: Callable[..., Run], sit_down: Callable[..., Terminal]
) -> None:
    """Rule 14: sixty asks in a burst do not flicker."""
    run = start()
    run.ask()
    terminal = sit_down()
    terminal.until("goal at risk")
    began = len(terminal.chunks)
    for _ in range(60):
        run.say("{}")
        time.sleep(0.03)
        terminal.read()
    drawn = [at for at, text in terminal.chunks[began:] if "this hour" in text]
    busiest = max(sum(start <= at < start + 1 for at in drawn) for start in drawn)
    assert busiest <= 4 + 1  # a draw may reach us a moment late


def test_a_dumb_terminal_reads_lines(start: Callable[..., Run], shell: Shell) -> None:
    """Without a terminal, or on one that cannot: the card, a question, a line."""
    run = start()
    run.ask()
    done = subprocess.Popen(
        [sys.executable, "-m", "tercet.cli", "inbox"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**shell.environment, "TERM": "dumb"},
    )  # fmt: skip
    assert done.stdin is not None
    assert done.stdout is not None
    while "> " not in (line := done.stdout.readline()) and "q quit" not in line:
        assert line
    time.sleep(0.4)
    done.stdin.write("yes\n")
    done.stdin.flush()
    assert run.told()["choice"] == "yes"
    run.ask(**question())
    done.stdin.write("d\n")
    done.stdin.flush()
    while "Which licence" not in done.stdout.readline():
        pass
    done.stdin.write("t In plain words\n")
    done.stdin.flush()
    assert run.told()["words"] == "In plain words"
    out, _ = done.communicate("q\n", timeout=20)
    assert done.returncode == 0
    assert "Nothing waits for you" in out


def test_answers_from_the_command_line(start: Callable[..., Run], shell: Shell) -> None:
    """For scripts: the queue as JSON, an answer by the beginning of an id, a policy with bounds, and its end."""
    run = start()
    run.ask()
    run.ask(loss=50_000)
    found = shell.run("inbox", "--json").json
    assert [item["cards"][0]["loss"] for item in found["items"]] == [100_000, 50_000]
    assert len(found["digest"]) == 7
    card = found["items"][0]["id"]
    bounds = ("--for", "network", "--up-to", "2", "--until", "1h")
    mistyped = shell.run("inbox", "answer", card[:5], "yes", "--for", "netwrok", *bounds[2:])
    assert (mistyped.code, "'netwrok' is no class that asks. Known:" in mistyped.err) == (2, True)
    assert shell.run("inbox", "answer", card[:5], "yes", *bounds).code == 0
    assert {run.told()["by"][:6] for _ in range(2)} == {"person", "policy"}
    policy = shell.run("inbox", "policies", "--json").json["policies"][0]
    assert (policy["up_to"], policy["each"]) == (2_000_000, 100_000)
    assert shell.run("inbox", "revoke", policy["id"]).code == 0
    assert shell.run("inbox", "policies", "--json").json["policies"] == []


def question(options: Sequence[str] = (), number: int = 0) -> dict[str, Any]:
    """A card that asks for no act."""
    return {
        "action": f"Question: Which licence {number}?", "kind": "people", "tool": QUESTION, "call": {"question": number},
        "options": list(options), "loss": 1000,
    }  # fmt: skip


def test_a_digit_chooses_and_a_line_is_typed(start: Callable[..., Run], sit_down: Callable[..., Terminal]) -> None:
    """A question shows its options; a digit answers with one, t opens a line, backspace mends it, enter sends it."""
    run = start()
    run.ask(**question(["MIT", "Apache-2.0"]))
    terminal = sit_down()
    screen = terminal.until("goal at risk")
    for words in ("[1] MIT", "[2] Apache-2.0", "[t] types an answer", "it decides by itself in"):
        assert words in screen
    time.sleep(0.4)
    terminal.press("y")
    terminal.until("It asks which one")
    terminal.press("2")
    assert run.told() == {"ask": 0, "choice": "words", "by": "person", "words": "Apache-2.0"}
    terminal.until("Nothing waits for you")
    run.ask(**question(number=1))
    terminal.until("Which licence 1?")
    time.sleep(0.4)
    terminal.press("t")
    terminal.until("enter sends")
    terminal.press("No licensq\x7fe, yet")
    terminal.until("> No license, yet_")
    terminal.press("\r")
    assert run.told()["words"] == "No license, yet"
    answers = [event.body for event in read_events(run.folder / "journal.db", kinds=("ask.answered",))]
    assert [(body["answer"], body["words"]) for body in answers] == [
        ("words", "Apache-2.0"), ("words", "No license, yet"),
    ]  # fmt: skip


def test_a_typed_line_never_answers_another_card(start: Callable[..., Run], sit_down: Callable[..., Terminal]) -> None:
    """The question's deadline passes while its answer is typed: the letters reach nobody, and s no longer means a letter."""
    run = start()
    terminal = sit_down()
    terminal.until("Nothing waits for you")
    run.ask(**{**question(), "deadline": time.time() + 8})
    terminal.until("goal at risk")
    terminal.press("t")
    terminal.press("yes")
    terminal.until("> yes_")
    run.ask(loss=50)
    assert run.told()["by"] == "default"
    terminal.until("no longer before you")
    terminal.press("\r")
    assert run.count("ask.answered") == 0
    terminal.press("q")
    assert terminal.process.wait(10) == 0


def test_words_from_the_command_line(start: Callable[..., Run], shell: Shell) -> None:
    """Text, or the number of an option; what nobody sees, what is too long and what is no question is refused."""
    run = start()
    run.ask()
    run.ask(**question(["MIT", "Apache-2.0"]))
    run.ask(**question(number=2))
    found = {item["cards"][0]["action"]: item["cards"][0] for item in shell.run("inbox", "--json").json["items"]}
    act, one, other = (found[name]["id"] for name in sorted(found))
    assert found["Question: Which licence 0?"]["options"] == ["MIT", "Apache-2.0"]
    for card, said, words in (
        (act, ("for sure",), "answer yes or no"),
        (one, ("yes",), "asks which one"),
        (one, ("--option", "3"), "has 2 options"),
        (other, ("--option", "1"), "names no options"),
        (other, ("a\x1b[2Jb",), "nobody sees"),
        (other, ("x" * 1001,), "1 to 1000 characters"),
        (other, (" ",), "1 to 1000 characters"),
    ):
        done = shell.run("inbox", "answer", card, *said)
        assert done.code == 2, said
        assert words in done.err
    assert shell.run("inbox", "answer", one, "--option", "2").code == 0
    assert run.told()["words"] == "Apache-2.0"
    assert shell.run("inbox", "answer", other, "Ask the author", "--json").json["status"] == "answered"
    assert run.told()["words"] == "Ask the author"
    bounds = ("--for", "network", "--up-to", "2", "--until", "1h")
    run.ask(**question(number=3))
    third = next(item["id"] for item in shell.run("inbox", "--json").json["items"] if item["id"] != act)
    assert "no policy" in shell.run("inbox", "answer", third, "MIT", *bounds).err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("answer", "nope", "yes"), 2, "No card 'nope' waits"),
        (("answer", "", "yes"), 2, "should have at least 1"),
        (("answer", "x", "maybe"), 2, "No card 'x' waits"),
        (("answer", "x"), 2, "Say one answer"),
        (("answer", "x", "yes", "--option", "1"), 2, "Say one answer"),
        (("answer", "x", "--option", "10"), 2, "range"),
        (("answer", "x", "yes", "--up-to", "2"), 2, "Say --for CLASS"),
        (("answer", "x", "yes", "--for", "network"), 2, "A policy is bounded"),
        (("answer", "x", "yes", "--for", "network", "--up-to", "2", "--until", "soon"), 2, "no span"),
        (("revoke", "p1"), 2, "names 0 policies"),
        (("show", "run-9"), 2, "names no run, crew or agent. Near: run-7"),
    ],
)
def test_what_cannot_be_answered(
    start: Callable[..., Run], shell: Shell, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Says what and how to mend it."""
    start()
    done = shell.run("inbox", *arguments)
    assert done.code == code, done.err
    assert words in done.err


def test_a_run_that_is_over_can_be_read_but_not_answered(start: Callable[..., Run], shell: Shell) -> None:
    """Exit code 4: nobody is there. Of one that has ended for good it does not say that a resume goes on with it."""
    run = start()
    run.ask()
    run.process.kill()
    run.process.wait()
    card = shell.run("inbox", "--json").json["items"][0]["id"]
    assert shell.run("inbox", "answer", card, "yes").code == 4
    (path,) = (shell.folder / "home" / "runs").glob("*/journal.db")
    with Journal(path) as journal:
        journal.note("run.ended", {"status": "done", "why": "", "spent": 0, "returned": 0})
    ended = shell.run("inbox", "answer", card, "yes")
    assert (ended.code, "has ended: done" in ended.err, "resume" in ended.err) == (3, True, False)


def test_keys_of_a_terminal() -> None:
    """Arrows of both kinds, enter, escape, letters; several at once."""
    assert list(parse_keys(b"y\x1b[A\x1bOB\r\x1bq")) == ["y", "up", "down", "enter", "esc", "q"]


def test_the_pace_of_drawing() -> None:
    """News takes three of a second's four draws, so a key always shows at once."""
    pace = Pace()
    assert [pace.allows(0.1 * i, key=False) for i in range(5)] == [True, True, True, False, False]
    assert pace.allows(0.5, key=True)
    assert not pace.allows(0.6, key=True)
    assert pace.allows(1.15, key=False) is True or pace.allows(1.25, key=False)
