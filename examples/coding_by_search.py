"""A broken program, a miner that mends it, and two that pretend to: what the judge of the coding subnet says of each.

python examples/coding_by_search.py

Runs without a chain and without a network; needs bubblewrap.
"""

from __future__ import annotations

import asyncio

from tercet.subnets import Submission
from tercet.subnets.coding.bench import Bench
from tercet.subnets.coding.draw import Corpus
from tercet.subnets.coding.judge import Judge
from tercet.subnets.coding.miners import Problem, Search
from tercet.subnets.coding.projects import Project
from tercet.subnets.coding.rogues import cheat
from tercet.subnets.coding.tasks import FixTask, parse_task
from tercet.subnets.kit import Sandbox

SOURCE = '''def longest_run(values):
    """Length of the longest run of equal neighbours."""
    best = run = 0
    last = None
    for value in values:
        run = run + 1 if value == last else 1
        last = value
        if run > best:
            best = run
    return best
'''
CALLS = [[], [1], [1, 1], [1, 2, 2, 2, 1], [3, 3, 1, 1, 1, 1], [1, 2, 3], [0, 0, 5, 5], [7, 7, 7, 7, 7]]


def build_project() -> Project:
    """A function with eight tests."""
    expected = [0, 1, 2, 3, 4, 1, 2, 5]
    tests = "from solution import longest_run\n"
    for number, (call, value) in enumerate(zip(CALLS, expected, strict=True)):
        tests += f"\n\ndef test_{number}():\n    assert longest_run({call}) == {value}\n"
    probes = {f"test_{number}": [call] for number, call in enumerate(CALLS)}
    files = {"solution.py": SOURCE}
    return Project("example", files, {"test_solution.py": tests}, ("solution.py",), "longest_run", probes)


async def main() -> None:
    """Draw a task, have it answered three ways, judge all of them."""
    bench = Bench(Sandbox.find(python_packages=("pytest",)))
    drawn = await Corpus(bench, [build_project()], [], 0.0).draw(b"\x05" * 32)
    task = parse_task(drawn.task)
    assert isinstance(task, FixTask)
    print(f"{task.failure}\n")
    problem = Problem.of(task, bench)
    answers = {
        "search": await Search().solve(problem, 60.0),
        "hardcoder": cheat("hardcoder", problem),
        "deleter": cheat("deleter", problem),
    }
    for name, diff in answers.items():
        verdict = await Judge(bench).judge(task, drawn, Submission(1, [{"diff": diff}], 1.0, 1.0, b""))
        print(f"{name:<10} {verdict.score:.4f}  {verdict.reason or 'all tests pass, the hidden ones too'}")
    print(f"\n{answers['search']}")


if __name__ == "__main__":
    asyncio.run(main())
