"""The coder, with a script that plays the model: what it makes of rewrites that are almost right, or nothing new."""

from __future__ import annotations

from pathlib import Path

from tests.swarm.small_goals import CREDIT, Yes, seen, write_plan

from tercet.swarm.gateway import Call, ScriptedUpstream
from tercet.swarm.kernel import Kernel, Outcome, RunConfig
from tercet.swarm.replay import replay

MEAN = '''def mean(numbers):
    """Of the numbers; 0 where there are none."""
    return sum(numbers) / len(numbers)
'''
TESTS = """from mean import mean


def test_some():
    assert mean([1, 3]) == 2


def test_none():
    assert mean([]) == 0
"""
RIGHT = "sum(numbers) / len(numbers) if len(numbers) != 0 else 0"


BILL = """class Base:
    def __init__(self, whole):
        self.whole = whole


class Bill(Base):
    def __init__(self, price, tax):
        super().__init__(price - tax)
"""
BILL_TEST = """from mean import Bill


def test_whole():
    assert Bill(2, 1).whole == 3
"""


async def repair(tmp_path: Path, *rewrites: str, program: str = MEAN, tests: str = TESTS) -> tuple[Outcome, Path]:
    """A run whose model answers with these bodies of the function in turn, then with the last one."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "mean.py").write_text(program)
    (mine / "test_mean.py").write_text(tests)
    left = list(rewrites)

    def play(call: Call) -> str:
        body = left.pop(0) if len(left) > 1 else left[0]
        return f"```python\ndef mean(numbers):\n{body}\n```"

    command = ("python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    options = {"samples": 4, "search_seconds": 20, "attempts": 1}
    plan = write_plan(tmp_path, "repair", title="Mend it", output="mean.py", command=command, role="coder", **options)
    config = RunConfig("Mend it", CREDIT, dir=str(mine), plan=str(plan), gateway="scripted")
    return await Kernel(tmp_path / "run-1", config, ScriptedUpstream(play), Yes()).run(), mine


async def test_a_rewrite_with_one_sign_wrong_is_put_right_by_a_search(tmp_path: Path) -> None:
    """The thought is the model's, which no search over edits of the program has; the sign is not."""
    outcome, mine = await repair(tmp_path, f"    return {RIGHT.replace('!=', '==')}")
    assert (outcome.status, outcome.why) == ("done", "")
    assert "not (len(numbers) == 0)" in (mine / "mean.py").read_text()
    assert outcome.state.artefacts["mean.py"].by == "model scripted and search"
    assert outcome.state.spent().calls == 1
    assert [(task.task, task.same) for task in await replay(tmp_path / "run-1")] == [("repair", True)]


async def test_a_rewrite_that_says_what_the_program_says_is_not_tried(tmp_path: Path) -> None:
    """Other words in the docstring, other layout: no test is run for it, and none for what was tried before."""
    wrong = "    return sum(numbers) * len(numbers) * 7"
    same = '    """The mean."""\n    return (sum(numbers)\n        / len(numbers))'
    outcome, mine = await repair(tmp_path, same, wrong, f"{wrong}  # once more", f"    return {RIGHT}")
    assert (outcome.status, outcome.why) == ("done", "")
    assert RIGHT in (mine / "mean.py").read_text()
    assert outcome.state.artefacts["mean.py"].by == "model scripted"
    assert outcome.state.spent().calls == 4
    names = [event.body["name"] for event in seen(tmp_path / "run-1", "step")]
    assert (names.count("think"), names.count("near")) == (4, 1), names


async def test_a_program_may_be_mended_where_it_uses_what_a_judge_would_not_take(tmp_path: Path) -> None:
    """The market's judge refuses new uses of `super`; a person's own program is full of such things."""
    outcome, mine = await repair(tmp_path, "    pass", program=BILL, tests=BILL_TEST)
    assert (outcome.status, outcome.why) == ("done", "")
    assert "super().__init__(price + tax)" in (mine / "mean.py").read_text()


async def test_who_finds_nothing_says_what_was_tried(tmp_path: Path) -> None:
    outcome, mine = await repair(tmp_path, "    return 7")
    assert outcome.status == "failed"
    assert "nothing that scripted wrote makes them pass" in outcome.why
    assert (mine / "mean.py").read_text() == MEAN
