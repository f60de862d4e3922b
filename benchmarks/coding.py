"""The coding subnet in numbers: who mends how much, what hidden tests catch, what cheats earn, what judging costs.

    python benchmarks/coding.py                                  # search and smol, a few minutes
    python benchmarks/coding.py --tasks 12 --models smol,small   # add large where there is time
    python benchmarks/coding.py --seeds 20 --only cheats

Needs bubblewrap. Prints Markdown; CPU seconds are of the sandboxed processes, so a busy machine does not change them.
A model's own CPU time is read from /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from tercet.market import Verdict
from tercet.nodes.scores import Finding, score_miner
from tercet.subnets import Submission
from tercet.subnets.coding.bench import Bench
from tercet.subnets.coding.draw import Corpus, Drawn
from tercet.subnets.coding.judge import GAVE_UP, OVERFITTED, Judge
from tercet.subnets.coding.miners import LocalChat, Problem, Sampler, Search, Solver
from tercet.subnets.coding.projects import load_functions, load_libraries
from tercet.subnets.coding.rogues import BEHAVIOURS, cheat
from tercet.subnets.coding.tasks import FixTask, parse_task
from tercet.subnets.kit import Sandbox, derive

EPOCH = 4
"""Challenges to one miner in an epoch."""
PACE = 1.0
"""Seconds that every answer is said to take: speed is the machine's business, and this one is busy."""


@dataclass(slots=True)
class Row:
    """One miner over all tasks."""

    name: str
    scores: list[float] = field(default_factory=list)
    miner_cpu: float = 0.0
    judge_cpu: float = 0.0
    seconds: float = 0.0

    def count(self, low: float, high: float) -> int:
        """Answers with a score from `low` to `high`."""
        return sum(low <= score <= high for score in self.scores)

    def line(self) -> str:
        """A row of the table under `HEAD`."""
        tasks = len(self.scores)
        ratio = f"{self.judge_cpu / self.miner_cpu:.3f}" if self.miner_cpu else "-"
        return (
            f"| {self.name} | {tasks} | {self.count(0.5, 1.0)} | {self.count(OVERFITTED, OVERFITTED)} | "
            f"{self.count(GAVE_UP, GAVE_UP)} | {self.count(0.0, 0.0)} | {self.miner_cpu / tasks:.2f} | "
            f"{self.judge_cpu / tasks:.2f} | {ratio} |"
        )


HEAD = "| miner | tasks | mended | visible tests only | gave up | wrong | miner CPU s | judge CPU s | judge / miner |\n|---|---|---|---|---|---|---|---|---|"


async def judged(judge: Judge, drawn: Drawn, diff: str) -> Verdict:
    """The verdict on a diff."""
    task = parse_task(drawn.task)
    assert isinstance(task, FixTask)
    return await judge.judge(task, drawn, Submission(1, [{"diff": diff}], PACE, PACE, b""))


async def run_solver(name: str, solver: Solver, tasks: Sequence[Drawn], sandbox: Sandbox, seconds: float) -> Row:
    """One way of mending over all tasks."""
    row, bench, own = Row(name), Bench(sandbox), Bench(sandbox)
    judge = Judge(own)
    await solver.open()
    pids = model_pids(solver)
    before = sum(map(cpu_of, pids))
    try:
        for drawn in tasks:
            began = time.monotonic()
            diff = await solver.solve(Problem.of(parse_task(drawn.task), bench), seconds)
            row.seconds += time.monotonic() - began
            row.scores.append((await judged(judge, drawn, diff)).score)
        row.miner_cpu = bench.cpu_seconds + sum(map(cpu_of, pids)) - before
        row.judge_cpu = own.cpu_seconds
    finally:
        await solver.close()
    return row


def model_pids(solver: Solver) -> list[int]:
    """The process of a sampler's model."""
    server = getattr(getattr(solver, "_chat", None), "_server", None)
    return [] if server is None else [server.pid]


def cpu_of(pid: int) -> float:
    """CPU seconds that a process used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split(" ")
    return (int(fields[11]) + int(fields[12])) / 100


async def solvers(tasks: Sequence[Drawn], sandbox: Sandbox, models: Sequence[str], seconds: float, samples: int) -> Row:
    """The table of who mends how much; returns the search miner's row."""
    search = await run_solver("search", Search(), tasks, sandbox, seconds)
    print(HEAD, search.line(), sep="\n", flush=True)
    for model in models:
        sampler = Sampler(LocalChat(model), samples)
        row = await run_solver(f"sampler, {model}, best of {samples}", sampler, tasks, sandbox, seconds)
        print(row.line(), flush=True)
    return search


async def cheats(tasks: Sequence[Drawn], honest: Row, sandbox: Sandbox) -> None:
    """What every cheat earns on the same tasks, beside the honest search miner."""
    print("\n| miner | mean score | pay, of honest | AUC against honest |\n|---|---|---|---|")
    pay = earned(honest.scores)
    print(f"| honest (search) | {fmean(honest.scores):.3f} | 1 | - |", flush=True)
    bench, judge = Bench(sandbox), Judge(Bench(sandbox))
    for behaviour in BEHAVIOURS[1:]:
        scores = []
        for drawn in tasks:
            diff = cheat(behaviour, Problem.of(parse_task(drawn.task), bench))
            scores.append((await judged(judge, drawn, diff)).score)
        share = earned(scores) / pay if pay else 0.0
        print(f"| {behaviour} | {fmean(scores):.4f} | {share:.4f} | {auc(honest.scores, scores):.3f} |", flush=True)


def earned(scores: Sequence[float]) -> float:
    """Mean value in a validator's row, by its own rule, over epochs of `EPOCH` challenges."""
    epochs = [scores[at : at + EPOCH] for at in range(0, len(scores), EPOCH)]
    values = [
        score_miner(1, [Finding(0, 1, 1, "judged", Verdict(score, "")) for score in epoch]).value for epoch in epochs
    ]
    return fmean(values)


def auc(honest: Sequence[float], cheating: Sequence[float]) -> float:
    """The chance that an honest answer scores above a cheat's, ties halved."""
    pairs = [(a > b) + (a == b) / 2 for a in honest for b in cheating]
    return sum(pairs) / len(pairs)


async def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=12, help="single functions for the table of miners")
    parser.add_argument("--libraries", type=int, default=4, help="libraries for the table of miners")
    parser.add_argument("--seeds", type=int, default=20, help="tasks for the table of cheats")
    parser.add_argument("--models", default="smol", help="of the samplers, by commas; empty for none")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=120.0, help="for one task")
    parser.add_argument("--only", choices=["", "miners", "cheats"], default="")
    options = parser.parse_args()
    sandbox = await asyncio.to_thread(Sandbox.find, python_packages=("pytest",))
    draw_bench = Bench(sandbox)
    functions, libraries = Corpus(draw_bench, load_functions(), [], 0), Corpus(draw_bench, [], load_libraries(), 1)

    async def draw(corpus: Corpus, name: str, count: int) -> list[Drawn]:
        return [await corpus.draw(derive(b"benchmark", name, number)) for number in range(count)]

    models = [name for name in options.models.split(",") if name]
    if options.only != "cheats" and options.tasks:
        tasks = await draw(functions, "function", options.tasks)
        print(
            f"Single functions ({draw_bench.cpu_seconds / max(1, len(tasks)):.2f} CPU s to draw a task):\n", flush=True
        )
        await solvers(tasks, sandbox, models, options.seconds, options.samples)
    if options.only != "cheats" and options.libraries:
        before = draw_bench.cpu_seconds
        tasks = await draw(libraries, "library", options.libraries)
        spent = (draw_bench.cpu_seconds - before) / len(tasks)
        print(f"\nLibraries ({spent:.2f} CPU s to draw a task, the first of each library included):\n", flush=True)
        await solvers(tasks, sandbox, [], options.seconds, options.samples)
    if options.only != "miners":
        tasks = await draw(functions, "cheat", options.seeds)
        honest = await run_solver("search", Search(), tasks, sandbox, options.seconds)
        print(f"\nCheats on {len(tasks)} single functions, epochs of {EPOCH}:", flush=True)
        await cheats(tasks, honest, sandbox)


if __name__ == "__main__":
    asyncio.run(main())
