"""Agents and neighbours that cheat: a test that is hijacked, and a socket that is not theirs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.swarm.small_goals import CREDIT, Yes, build_repository, scripted

from tercet.swarm.attempt import _impostors
from tercet.swarm.kernel import Kernel, RunConfig
from tercet.swarm.store import FileMark
from tercet.swarm.workbench import Made, Workbench
from tercet.swarm.workers.face import open_face
from tercet.swarm.workspace import Change, Workspace


class Impostor:
    """Does not repair anything: it brings a module of its own that the checking program will import."""

    kind = "model"

    def __init__(self, path: str) -> None:
        self.path = path

    async def work(self, bench: Workbench) -> Made:
        bench.write(self.path, "import os\nos._exit(0)\n")
        return Made("model")


@pytest.mark.slow
async def test_a_module_that_would_pass_every_test_is_not_merged(tmp_path: Path) -> None:
    """`subprocess.py` at the top, which the done-test's program imports before it looks at anything."""
    mine = build_repository(tmp_path / "mine")
    plan = {
        "goal": "g",
        "tasks": [
            {
                "id": "repair", "title": "Mend it", "role": "coder", "outputs": ["**"], "budget": 0,
                "done": {"command": ["python3", "-m", "pytest", "-q"]},
            }
        ],
    }  # fmt: skip
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    config = RunConfig("Mend it", CREDIT, dir=str(mine), gateway="scripted", plan=str(tmp_path / "plan.json"))
    kernel = Kernel(tmp_path / "run-1", config, scripted(), Yes(), roles={"coder": Impostor("pytest.py")})
    outcome = await asyncio.wait_for(kernel.run(), 120)
    assert outcome.status == "failed"
    assert "would stand in for Python's own 'pytest'" in outcome.why + str(outcome.state.tasks["repair"])
    assert not (mine / "pytest.py").exists()


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("subprocess.py", True), ("json/__init__.py", True), ("sitecustomize.py", True), ("_ssl.cpython-311-x86_64-linux-gnu.so", True),
        ("src/json.py", False), ("json/data.txt", False), ("till.py", False), ("test/__init__.py", False), ("queue.md", False),
    ],
)  # fmt: skip
def test_what_stands_in_for_a_module_of_python(path: str, refused: bool) -> None:
    """Only where it would be imported, and only what was not there before."""
    mark = FileMark("0" * 64, 1)
    assert bool(_impostors([Change(path, None, mark)])) is refused
    assert not _impostors([Change(path, mark, mark)])


def test_a_file_where_another_task_has_a_folder_is_not_merged(tmp_path: Path) -> None:
    """It could be laid out nowhere, so the run could neither go on nor be resumed."""
    space = Workspace(tmp_path)
    mark = space.store.put(b"x")
    space.merge([Change("a", None, mark)])
    assert space.refusals([Change("a/b", None, mark)], ["**"]) == ["'a' would be a file and a folder at once"]
    assert not space.refusals([Change("a", mark, None), Change("a/b", None, mark)], ["**"])
    space.merge([Change("a", mark, None), Change("a/b", None, mark)])
    assert space.refusals([Change("a", None, mark)], ["**"])


KNOCK = """
import http.client, socket, sys
door = http.client.HTTPConnection("localhost")
door.sock = socket.socket(socket.AF_UNIX)
door.sock.connect(sys.argv[1])
door.request("GET", "/v1/models")
print(door.getresponse().status)
"""
ADOPTED = """
import os, subprocess, sys
if os.fork():
    os._exit(0)  # its child is adopted: nobody above it is ours
os.setsid()
sys.exit(subprocess.call([sys.executable, "-c", sys.argv[2], sys.argv[1]]))
"""


async def test_a_neighbour_cannot_think_on_an_agents_money(tmp_path: Path) -> None:
    """The socket is open to every uid; a process that is not below ours is told no before the gateway hears of it."""
    path = tmp_path / "face.sock"

    async def knock(*line: str) -> str:
        command = [sys.executable, "-c", *line]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout.strip()

    async with open_face(path, "http://127.0.0.1:9/v1", "token"):  # where no gateway is
        assert await knock(KNOCK, str(path)) == "503"
        assert await knock(ADOPTED, str(path), KNOCK) == "403"
