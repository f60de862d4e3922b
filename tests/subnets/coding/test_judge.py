"""Everything here runs in the real sandbox."""

from __future__ import annotations

import pytest

from tercet.market import Verdict
from tercet.subnets import Submission
from tercet.subnets.coding.bench import Bench, same_value
from tercet.subnets.coding.diffs import build_diff
from tercet.subnets.coding.draw import Corpus, Drawn
from tercet.subnets.coding.judge import GAVE_UP, OVERFITTED, Judge, speed_score
from tercet.subnets.coding.miners import Problem
from tercet.subnets.coding.projects import split_tests
from tercet.subnets.coding.rogues import BEHAVIOURS, Behaviour, cheat
from tercet.subnets.coding.tasks import FixTask, parse_task
from tercet.subnets.kit import Sandbox, lottery

SEED = b"\x07" * 32
pytestmark = pytest.mark.slow


def submission(diff: object, seconds: float = 1.0) -> Submission:
    return Submission(1, [{"diff": diff}], seconds, seconds, b"")


async def verdict_on(bench: Bench, drawn: Drawn, diff: object, seconds: float = 1.0) -> Verdict:
    task = parse_task(drawn.task)
    assert isinstance(task, FixTask)
    return await Judge(bench).judge(task, drawn, submission(diff, seconds))


async def added(bench: Bench, drawn: Drawn, code: str) -> Verdict:
    """The verdict on code at the end of the library's module."""
    files = drawn.broken
    return await verdict_on(bench, drawn, build_diff(files, {**files, "words.py": files["words.py"] + code}))


async def test_two_judges_find_the_same_hashes(bench: Bench) -> None:
    """What follows from the order of a set is an answer like any other."""
    source = "def order(text):\n    return hash(text), list({text, *text})\n"
    one, other = [await bench.run_probes(source, "order", [["a"], ["tercet"]]) for _ in range(2)]
    assert one == other
    assert all(line.startswith("= ") for line in one)


@pytest.mark.parametrize("kind", ["functions", "libraries"])
async def test_the_original_program_need_not_be_tested_again(
    kind: str, sandbox: Sandbox, request: pytest.FixtureRequest
) -> None:
    """How its tests end is known since the task was drawn; anything else is run."""
    corpus, bench = request.getfixturevalue(kind), Bench(sandbox)
    drawn = await corpus.draw(SEED)
    assert (await verdict_on(bench, drawn, drawn.reference)).score == 1.0
    assert bench.cpu_seconds == 0
    other = {path: f"{text}\nSPARE = 1\n" for path, text in drawn.project.files.items()}
    assert (await verdict_on(bench, drawn, build_diff(drawn.broken, other))).score == 1.0
    assert bench.cpu_seconds > 0


@pytest.mark.parametrize("kind", ["functions", "libraries"])
async def test_the_original_earns_everything_and_a_late_one_less(
    kind: str, request: pytest.FixtureRequest, bench: Bench
) -> None:
    corpus: Corpus = request.getfixturevalue(kind)
    drawn = await corpus.draw(SEED)
    right = await verdict_on(bench, drawn, drawn.reference)
    assert (right.score, right.reason) == (1.0, "")
    assert right.opening == SEED.hex()
    late = await verdict_on(bench, drawn, drawn.reference, seconds=100.0)
    assert late.score == pytest.approx(speed_score(100.0)) == pytest.approx(0.82)
    nothing = await verdict_on(bench, drawn, "")
    assert (nothing.score, nothing.reason) == (GAVE_UP, "found no fix")


@pytest.mark.parametrize("kind", ["functions", "libraries"])
async def test_the_same_seed_draws_the_same_task_and_half_of_its_tests_stay_away(
    kind: str, request: pytest.FixtureRequest
) -> None:
    corpus: Corpus = request.getfixturevalue(kind)
    one, other = await corpus.draw(SEED), await corpus.draw(SEED)
    assert one.task == other.task
    shown, hidden = one.split.visible_names, one.split.hidden_names
    assert shown
    assert hidden
    assert not shown & hidden
    told = "".join(one.task["tests"].values())
    assert all(f"def {name}(" in told for _, name in shown)
    assert not any(f"def {name}(" in told for _, name in hidden)


@pytest.mark.parametrize("kind", ["functions", "libraries"])
@pytest.mark.parametrize("behaviour", [b for b in BEHAVIOURS if b not in {"honest", "idle"}])
async def test_a_cheat_earns_nothing(
    kind: str, behaviour: Behaviour, request: pytest.FixtureRequest, bench: Bench
) -> None:
    corpus: Corpus = request.getfixturevalue(kind)
    drawn = await corpus.draw(SEED)
    problem = Problem.of(parse_task(drawn.task), bench)
    found = await verdict_on(bench, drawn, cheat(behaviour, problem))
    assert found.score == (OVERFITTED if behaviour == "hardcoder" and kind == "functions" else 0.0)
    assert found.reason


async def test_what_passes_the_visible_half_alone_is_worth_less_than_giving_up(bench: Bench, functions: Corpus) -> None:
    drawn = await functions.draw(SEED)
    problem = Problem.of(parse_task(drawn.task), bench)
    diff = cheat("hardcoder", problem)
    report = await problem.run({"solution.py": _after(drawn, diff)})
    assert report.good
    found = await verdict_on(bench, drawn, diff)
    assert 0 < found.score < GAVE_UP
    assert "hidden" in found.reason


def _after(drawn: Drawn, diff: str) -> str:
    from tercet.subnets.coding.diffs import apply_diff

    return apply_diff(drawn.broken, diff)["solution.py"]


@pytest.mark.parametrize(
    "body",
    [
        "import os; os._exit(0)",
        "import sys; sys.stdout.write('= 6\\n' * 50)",
        "print('= 6')",
        "import os; os.write(1, b'= 6\\n')",
        "import os, signal; os.kill(os.getppid(), 9)",
        "while True: pass",
        "raise SystemExit(0)",
        "x = [0] * 10**12",
    ],
)
async def test_a_function_can_forge_nothing_but_its_own_answer(bench: Bench, functions: Corpus, body: str) -> None:
    drawn = await functions.draw(SEED)
    text = f"def clamp_sum(*args):\n    {body}\n"
    found = await verdict_on(bench, drawn, build_diff(drawn.broken, {"solution.py": text}))
    assert found.score == 0.0
    assert "visible tests fail" in found.reason


@pytest.mark.parametrize(
    "code",
    [
        "\nos._exit(0)\n",
        "\nos.environ['PYTEST_ADDOPTS'] = '--co'\n",
        "\nimport pytest\n",
        "\nraise SystemExit(0)\n",
        "\nclass Equal:\n    def __eq__(self, other):\n        return True\n",
        "\ndef shout(text):\n    return open('/tercet/probe.py').read()\n",
    ],
)
async def test_a_library_may_not_reach_its_test_runner(bench: Bench, libraries: Corpus, code: str) -> None:
    found = await added(bench, await libraries.draw(SEED), code)
    assert found.score == 0.0
    assert "adds what tests cannot be trusted beside" in found.reason


PATCHES_REPORTS = """
from _pytest.reports import TestReport
_keep = TestReport.__init__
def _init(self, *args, **kwargs):
    _keep(self, *args, **kwargs)
    self.outcome, self.longrepr = "passed", None
TestReport.__init__ = _init
"""
PATCHES_THE_RUNNER = """
import _pytest.python
_pytest.python.Function.runtest = lambda self: None
"""
FORGES_THE_REPORT = """
import os, json
os.write(1, b"0123456789abcdef " + json.dumps({"tests": {}, "messages": {}, "errors": {}, "exit": 0}).encode() + b"\\n")
os._exit(1)
"""
DROPS_TESTS = """
import gc
from _pytest.main import Session
for _session in [o for o in gc.get_objects() if isinstance(o, Session)]:
    _session.perform_collect = lambda *a, **k: []
import _pytest.main
_pytest.main.pytest_runtestloop = lambda session: True
"""
KNOWS_THE_PLUGIN = """
import gc, re
for _found in gc.get_objects():
    if type(_found).__name__ == "_Outcomes":
        class _Passed(dict):
            def __setitem__(self, name, how):
                ours = re.search("::test_[0-9a-f]{12}$", name)
                super().__setitem__(name, "failed" if ours else "passed")
        _found._tests = _Passed(_found._tests)
"""
EQUALS_EVERYTHING = """
class _Equal:
    def __eq__(self, other):
        return True
shout = first_word = count = folder = lambda *_: _Equal()
"""


@pytest.mark.parametrize(
    "code",
    [PATCHES_REPORTS, PATCHES_THE_RUNNER, FORGES_THE_REPORT, DROPS_TESTS, KNOWS_THE_PLUGIN, EQUALS_EVERYTHING],
)
async def test_what_slips_past_the_reading_is_caught_by_tests_that_must_fail(
    bench: Bench, libraries: Corpus, code: str
) -> None:
    """The second wall alone: as if a patch had found a way to say all this without words that are looked for."""
    drawn = await libraries.draw(SEED)
    files, task = drawn.broken, parse_task(drawn.task)
    assert isinstance(task, FixTask)
    diff = build_diff(files, {**files, "words.py": files["words.py"] + code})
    found = await Judge(bench, vet=lambda *_: []).judge(task, drawn, submission(diff))
    assert found.score == 0.0
    assert "tampers" in found.reason or "ended" in found.reason or "visible tests fail" in found.reason


async def test_an_honest_fix_that_is_not_the_original_keeps_its_score(bench: Bench, libraries: Corpus) -> None:
    """Its tests run in two mixtures, half of them made to fail in each; that is not held against it."""
    drawn = await libraries.draw(SEED)
    spelled = {"words.py": drawn.project.files["words.py"].replace("text.upper()", "str(text).upper()")}
    assert (await verdict_on(bench, drawn, build_diff(drawn.broken, spelled))).score == 1.0


async def test_a_buyers_own_task_is_judged_by_the_tests_it_came_with(bench: Bench, libraries: Corpus) -> None:
    drawn = await libraries.draw(SEED)
    task = parse_task(drawn.task)
    assert isinstance(task, FixTask)
    assert (await Judge(bench).judge(task, None, submission(drawn.reference))).score == 1.0
    wrong = build_diff(drawn.broken, {**drawn.broken, "words.py": drawn.broken["words.py"] + "\n\nX = 1\n"})
    assert (await Judge(bench).judge(task, None, submission(wrong))).score == 0.0


@pytest.mark.parametrize("diff", [None, 7, ["x"], {"a": 1}, "\ud800", "x" * 10_000_000, "--- a\n+++ b\n@@ -1 +1 @@\n"])
async def test_whatever_a_miner_sends_gets_a_verdict(bench: Bench, functions: Corpus, diff: object) -> None:
    found = await verdict_on(bench, await functions.draw(SEED), diff)
    assert found.score == 0.0
    assert found.reason


def test_equal_values_are_equal_whatever_their_kind_of_list() -> None:
    assert same_value("= (1, [2.0])", "= [1, (2.0000000001,)]")
    assert same_value("= {'a': 1}", "= {'a': 1}")
    assert not same_value("= [1]", "= [1, 1]")
    assert not same_value("= 1", "= '1'")
    assert not same_value("= nan", "! ValueError")
    assert not same_value("= 1", "= " + "(" * 1000)


def test_a_split_shows_more_than_half_and_puts_a_failing_test_on_either_side(library_project: object) -> None:
    from tercet.subnets.coding.projects import Project

    assert isinstance(library_project, Project)
    path = "tests/test_words.py"
    failing = {(path, "test_count"), (path, "test_count_none")}
    for number in range(20):
        split = split_tests(library_project, lottery(bytes([number])), failing)
        assert len(failing & split.visible_names) == len(failing & split.hidden_names) == 1
        assert abs(len(split.visible_names) - len(split.hidden_names)) <= 3
