from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tercet.errors import SubnetError
from tercet.subnets import Submission
from tercet.subnets.coding.bench import Bench
from tercet.subnets.coding.draw import Corpus
from tercet.subnets.coding.judge import Judge
from tercet.subnets.coding.miners import GatewayChat, Problem, Sampler, Search, SweAgent
from tercet.subnets.coding.tasks import FixTask, RepositoryTask, parse_task

pytestmark = pytest.mark.slow
FIXED = """def clamp_sum(numbers, low, high):
    return sum(n for n in numbers if low <= n <= high)
"""


class Scripted:
    """An OpenAI-compatible server that says what it is told to."""

    def __init__(self) -> None:
        self.replies: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.status = 200
        self.url = ""
        self.raw = ""

    async def chat(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        self.keys.append(request.headers.get("Authorization", ""))
        text = self.replies.pop(0) if self.replies else "no idea"
        if self.raw:
            return web.Response(text=self.raw, status=self.status)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        return web.json_response(body, status=self.status)


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    server = Scripted()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()


async def problem_of(corpus: Corpus, bench: Bench, seed: int) -> tuple[Problem, Any]:
    drawn = await corpus.draw(bytes([seed]) * 32)
    return Problem.of(parse_task(drawn.task), bench), drawn


@pytest.mark.parametrize(("kind", "seeds"), [("functions", (0, 1, 2)), ("libraries", (4, 7))])
async def test_search_mends_mutants_and_what_it_sends_is_never_worth_nothing(
    kind: str, seeds: tuple[int, ...], request: pytest.FixtureRequest, bench: Bench
) -> None:
    corpus: Corpus = request.getfixturevalue(kind)
    scores = []
    for seed in seeds:
        problem, drawn = await problem_of(corpus, bench, seed)
        diff = await Search().solve(problem, 30.0)
        task = parse_task(drawn.task)
        assert isinstance(task, FixTask)
        answer = Submission(1, [{"diff": diff}], 1.0, 1.0, b"")
        scores.append((await Judge(bench).judge(task, drawn, answer)).score)
    assert sum(score == 1.0 for score in scores) >= 1
    assert 0.0 not in scores


async def test_search_gives_up_when_its_time_is_over(functions: Corpus, bench: Bench) -> None:
    problem, _ = await problem_of(functions, bench, 1)
    assert await Search().solve(problem, 0.01) == ""


async def test_search_mends_a_users_repository_by_its_own_command(functions: Corpus, bench: Bench) -> None:
    drawn = await functions.draw(b"\x02" * 32)
    settings = '[tool.pytest.ini_options]\npythonpath = ["src"]\n'
    files = {"src/solution.py": drawn.broken["solution.py"], **drawn.task["tests"], "pyproject.toml": settings}
    problem = Problem.of(RepositoryTask("0x", files, {"x.bin": b"\0"}, ["pytest", "-q"], ""), bench)
    diff = await Search().solve(problem, 30.0)
    assert diff.startswith("diff --git a/src/solution.py b/src/solution.py")


async def test_the_sampler_asks_afresh_until_the_tests_pass(
    scripted: Scripted, functions: Corpus, bench: Bench
) -> None:
    problem, _ = await problem_of(functions, bench, 1)
    wrong = FIXED.replace("<= n <=", "> n >")
    scripted.replies = [
        "I cannot.",
        f"```python\n{wrong}```",
        f"Here it is:\n```python\nimport math\n\n{FIXED}```\nDone.",
    ]
    sampler = Sampler(GatewayChat(scripted.url, "any", "secret"), samples=5)
    await sampler.open()
    diff = await sampler.solve(problem, 60.0)
    await sampler.close()
    assert "+    return sum(n for n in numbers if low <= n <= high)" in diff
    assert len(scripted.asked) == sampler.asked == 3
    assert scripted.keys[0] == "Bearer secret"
    assert [ask["temperature"] for ask in scripted.asked] == [0.0, 0.8, 0.8]
    assert all(len(ask["messages"]) == 2 for ask in scripted.asked)
    assert "clamp_sum" in scripted.asked[0]["messages"][1]["content"]


@pytest.mark.parametrize(("status", "raw"), [(402, ""), (429, ""), (500, ""), (200, "[" * 50_000), (200, "7")])
async def test_a_sampler_whose_model_fails_gives_up_and_says_why(
    status: int, raw: str, scripted: Scripted, functions: Corpus, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    problem, _ = await problem_of(functions, bench, 1)
    scripted.status, scripted.raw = status, raw
    sampler = Sampler(GatewayChat(scripted.url, "any", ""), samples=5)
    await sampler.open()
    assert await sampler.solve(problem, 60.0) == ""
    await sampler.close()
    assert len(scripted.asked) == 1
    assert "sampler.no_model" in caplog.text


def say(command: str) -> str:
    return f"THOUGHT: on it.\n\n```mswea_bash_command\n{command}\n```"


STAND_IN = '''"""Speaks the driver's protocol as mini-swe-agent's process does; the commands come from the model at the URL."""
import json, re, sys, urllib.request
if sys.argv[1] == "-c":
    print("2.4.6"); sys.exit(0)
order = json.loads(sys.stdin.readline())
assert order["seconds"] > 0
messages = [{"role": "user", "content": order["task"]}]
for _ in range(order["steps"]):
    body = json.dumps({"model": order["model"], "messages": messages}).encode()
    request = urllib.request.Request(order["url"] + "/chat/completions", body, {"Content-Type": "application/json"})
    text = json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]
    command = re.search("```mswea_bash_command\\n(.*?)\\n```", text, re.S)[1]
    print(json.dumps({"command": command}), flush=True)
    found = json.loads(sys.stdin.readline())
    if found["output"].startswith("COMPLETE_TASK"):
        break
    messages += [{"role": "assistant", "content": text}, {"role": "user", "content": found["output"]}]
print(json.dumps({"end": "Submitted", "why": ""}), flush=True)
'''


@pytest.fixture(params=["stand-in", "real"])
def agent_python(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """One contract, two agents: a stand-in, and the real one where `TERCET_TEST_SWE` names its Python."""
    if request.param == "real":
        found = os.environ.get("TERCET_TEST_SWE")
        if not found:
            pytest.skip("TERCET_TEST_SWE does not name the Python of an environment with mini-swe-agent")
        return found
    script, python = tmp_path / "agent.py", tmp_path / "python"
    script.write_text(STAND_IN)
    python.write_text(f'#!/bin/sh\nexec /usr/bin/env python3 {script} "$@"\n')
    python.chmod(0o755)
    return str(python)


async def test_an_agent_works_in_the_sandbox_and_its_change_is_sent_when_the_tests_pass(
    agent_python: str, scripted: Scripted, functions: Corpus, bench: Bench
) -> None:
    problem, _ = await problem_of(functions, bench, 1)
    scripted.replies = [
        say("ls; cat solution.py; env; echo scratch > notes.txt"),
        say("cat > solution.py <<'END'\n" + FIXED + "END"),
        say("echo 'assert True' > test_solution.py"),
        say("python3 -m pytest -q"),
        say("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"),
    ]
    agent = SweAgent(agent_python, scripted.url, "any", "agents-key")
    await agent.open()
    diff = await agent.solve(problem, 120.0)
    assert "+    return sum(n for n in numbers if low <= n <= high)" in diff
    assert "test_solution" not in diff
    assert "notes.txt" not in diff
    assert agent.commands == 5
    seen = json.dumps(scripted.asked[-1]["messages"])
    assert "def clamp_sum" in seen
    assert "agents-key" not in seen
    assert str(Path.home()) not in seen


async def test_an_agent_that_speaks_nonsense_is_ended(functions: Corpus, bench: Bench, tmp_path: Path) -> None:
    """Nested beyond what a parser takes, or no object: as if it had died."""
    for line in ("[" * 50_000, "7", '{"command"'):
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\nread order\necho '{line}'\nread nothing\n")
        python.chmod(0o755)
        problem, _ = await problem_of(functions, bench, 1)
        assert await SweAgent(str(python), "http://nowhere", "any", "").solve(problem, 20.0) == ""


async def test_an_agent_that_is_not_installed_is_told_how_to(scripted: Scripted) -> None:
    with pytest.raises(SubnetError, match="pip install 'mini-swe-agent"):
        await SweAgent("/usr/bin/false", scripted.url, "any", "").open()
    with pytest.raises(SubnetError, match="cannot be run"):
        await SweAgent("/nowhere/python", scripted.url, "any", "").open()
