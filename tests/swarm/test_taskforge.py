"""TaskForge: fifteen agents build a web app from one paragraph, against tests that no prompt sees.

A script plays the model, mistakes included, so this shows what the swarm does, and nothing of what a model can do.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from tests.swarm.small_goals import CREDIT, Yes

from tercet.market import Price
from tercet.swarm.events import read_events
from tercet.swarm.gateway import Call, Completion, ScriptedUpstream, load_script
from tercet.swarm.kernel import Kernel, Outcome, RunConfig

EXAMPLE = Path(__file__).parents[2] / "examples/swarm/taskforge"

pytestmark = pytest.mark.slow


class Listener:
    """The example's script, and everything that was ever said to it."""

    def __init__(self, rules: Path) -> None:
        self._script = load_script(rules)
        self.heard: list[Call] = []

    async def __call__(self, call: Call) -> Completion:
        self.heard.append(call)
        answer = self._script(call)
        assert not isinstance(answer, (str, dict, Completion))
        found = await answer  # type: ignore[misc]
        assert isinstance(found, Completion)
        return found


async def build(folder: Path, rules: Path = EXAMPLE / "script/rules.json") -> tuple[Outcome, Listener, Path]:
    """A run of the example; where it was delivered."""
    out = folder / "out"
    out.mkdir()
    goal = (EXAMPLE / "goal.txt").read_text().strip()
    config = RunConfig(goal, CREDIT, dir=str(out), agents=15, gateway="scripted", hidden=str(EXAMPLE / "hidden"))
    script = Listener(rules)
    model = ScriptedUpstream(script, price=Price(per_request=100, prompt_per_1k=10, completion_per_1k=20))
    return await Kernel(folder / "run-1", config, model, Yes()).run(), script, out


@contextmanager
def running(app: Path) -> Iterator[str]:
    """The app as a user starts it; its address."""
    command = [sys.executable, "-B", "-m", "taskforge", "--port", "0", "--db", str(app / "tasks.db")]
    process = subprocess.Popen(command, cwd=app, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


async def test_fifteen_agents_build_it_and_no_prompt_saw_a_test(tmp_path: Path) -> None:
    """A bad plan is planned anew, bad files are written anew, what nobody claimed is refused, all money is accounted for."""
    outcome, script, out = await build(tmp_path)
    assert (outcome.status, outcome.why) == ("done", "")
    state, events = outcome.state, list(read_events(outcome.folder / "journal.db"))
    authors = {agent.id for agent in state.agents.values() if agent.role == "author"}
    assert len(state.tasks) == 15
    assert set(state.crews) == {"design", "store", "api", "page", "quality"}
    assert len(authors) == 15
    assert max(Counter(agent.crew for agent in state.agents.values() if agent.role == "author").values()) <= 7

    failed = {event.task: event.body["why"] for event in events if event.kind == "task.failed"}
    assert failed.keys() == {"input", "store", "looks"}
    assert "hidden done-test" in failed["input"]
    assert "hidden done-test" in failed["store"]
    assert "'taskforge/server.py' is outside its claim" in failed["looks"]

    said = json.dumps([[list(call.messages), call.schema] for call in script.heard])
    secrets = [line.strip() for path in (EXAMPLE / "hidden").glob("*.py") for line in path.read_text().splitlines()]
    assert not [line for line in secrets if len(line) > 24 and line.startswith("assert") and line in said]
    assert "/hidden" not in said

    calls = [event.body for event in events if event.kind == "call"]
    assert sum(call["charged"] for call in calls) == state.spent().charged > 0
    ended = events[-1].body
    assert ended["spent"] + ended["returned"] == CREDIT
    assert {call["upstream"]["name"] for call in calls} == {"scripted"}
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) == sorted(
        path.relative_to(EXAMPLE / "script/app").as_posix()
        for path in (EXAMPLE / "script/app").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


async def test_what_only_the_whole_shows_is_not_delivered(tmp_path: Path) -> None:
    """Every task's tests pass, the hidden test of the whole fails: the goal is not met, and the folder stays empty."""
    script = tmp_path / "script"
    shutil.copytree(EXAMPLE / "script", script)
    handlers = script / "app/taskforge/api.py"
    handlers.write_text(handlers.read_text().replace('"DELETE"', '"DROP"'))
    (script / "app/tests/test_taskforge.py").write_text(
        "import unittest\n\n\nclass T(unittest.TestCase):\n    def test(self):\n        pass\n"
    )
    outcome, _, out = await build(tmp_path, script / "rules.json")
    assert outcome.status == "failed"
    assert "hidden test of the whole" in outcome.why
    assert list(out.iterdir()) == []


def test_the_app_works_in_a_browser_by_keyboard(tmp_path: Path) -> None:
    """What the script has the agents write is a real app: add, tick, filter, search, delete."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed: make tools"
    app = tmp_path / "app"
    shutil.copytree(EXAMPLE / "script/app", app)
    with running(app) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(url)
        for title in ("Buy milk", "<b>Write</b>"):
            page.get_by_label("Title").fill(title)
            page.keyboard.press("Enter")
            page.get_by_text(title, exact=True).wait_for()
        page.get_by_label("Done: Buy milk").press("Space")
        page.get_by_text(re.compile(r"1 open, 1 done")).wait_for()
        page.get_by_role("button", name="Open", exact=True).press("Enter")
        page.get_by_text("Buy milk").wait_for(state="detached")
        page.get_by_role("button", name="All", exact=True).press("Enter")
        page.get_by_role("button", name="Delete: Buy milk").press("Enter")
        page.get_by_text(re.compile(r"1 open, 0 done")).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert faults == []
        browser.close()
