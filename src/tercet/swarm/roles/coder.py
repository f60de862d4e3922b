"""The coder: makes a Python program's failing tests pass. A search goes first; where it finds nothing, a model is sampled.

A model rewrites one suspicious function at a time, always afresh: what it wrote before is never shown to it again. A
small model often has the right thought and one sign wrong, so a rewrite that does not help is where a short search
begins. What is kept is kept because fewer tests fail with it and none that passed fails, so several bugs fall one
after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from tercet.errors import AttemptError
from tercet.subnets.coding import Bench, Report, apply_diff, is_protected
from tercet.subnets.coding.miners import Problem, Sampler, Search
from tercet.subnets.coding.miners.solver import outline, suspicious_functions
from tercet.swarm.workbench import Made, Workbench

__all__ = ["Coder"]

_SAMPLES = 8
_SEARCH_SECONDS = 120.0
_NEAR_SECONDS = 15.0
"""For the search around one rewrite."""
_FUNCTIONS = 3
_ROUNDS = 6
_FAILED = {
    "auto": "A search over small edits found no change after which the tests pass, and nothing that {model} wrote makes them pass.",
    "search": "A search over small edits found no change after which the tests pass.",
    "sample": "Nothing that {model} wrote makes the tests pass.",
}
_TEMPERATURE = 0.8


class Coder:
    """Mends programs. Options of its tasks: `strategy` (auto, search, sample), `samples`, `search_seconds`."""

    kind: Literal["model"] = "model"

    async def work(self, bench: Workbench) -> Made:
        """Find a change after which the tests pass, and write it."""
        problem = await _problem(bench)
        options = bench.task.options
        strategy = str(options.get("strategy", "auto"))
        ways: list[str] = []
        for number in range(_ROUNDS):
            if await self._good(bench, problem):
                _write(bench, problem)
                return Made(" and ".join(dict.fromkeys(ways)) or "nothing to do")
            if strategy != "sample":
                after = await _searched(bench, problem, await problem.run(problem.files), number)
                if after:
                    problem, ways = replace(problem, files=after), [*ways, "search"]
                    continue
            if strategy == "search":
                break
            better, by = await self._sampled(bench, problem, number)
            if better is None:
                break
            problem, ways = replace(problem, files=better), [*ways, *by]
        raise AttemptError(_FAILED.get(strategy, _FAILED["auto"]).format(model=bench.model))

    async def _good(self, bench: Workbench, problem: Problem) -> bool:
        async def do() -> bool:
            return (await problem.run(problem.files)).good

        return bool(await bench.step("tests", do))

    async def _sampled(
        self, bench: Workbench, problem: Problem, number: int
    ) -> tuple[dict[str, str] | None, Sequence[str]]:
        """The first rewrite that helps, as the model wrote it or a small edit away from that, and who found it."""
        sampler = Sampler(_Thinking(bench, await bench.recall()))
        report = await problem.run(problem.files, trace=True)
        functions = suspicious_functions(problem.files, report)[:_FUNCTIONS]
        samples = int(bench.task.options.get("samples", _SAMPLES)) if functions else 0
        seen, model = {outline(problem.files)}, f"model {bench.model}".strip()
        for sample in range(samples):
            first = bench.attempt == 1 and sample < len(functions)
            after = await sampler.rewrite(
                problem,
                functions[sample % len(functions)],
                report.words(3),
                temperature=0.0 if first else _TEMPERATURE,
                seed=1000 * bench.attempt + 100 * number + sample,
            )
            if not after or (said := outline(after)) in seen:
                continue
            seen.add(said)
            if problem.diff(after) and await _helps(bench, problem, report, after):
                return after, (model,)
            after = await _near(bench, problem, after, f"{number}/{sample}")
            if after and await _helps(bench, problem, report, after):
                return after, (model, "search")
        return None, ()


async def _problem(bench: Workbench) -> Problem:
    """The task's files as the coding subnet sees them. A hidden done-test is not among what may be run."""
    texts, binary = dict[str, str](), dict[str, bytes]()
    for path, mark in bench.before.items():
        raw = bench.store.get(mark)
        try:
            texts[path] = raw.decode()
        except UnicodeDecodeError:
            binary[path] = raw
    tests = {path: text for path, text in texts.items() if is_protected(path)}
    own = {path: text for path, text in texts.items() if path not in tests}
    command = () if bench.task.done.hidden else _test_command(bench.task.done.command)
    return Problem(own, tests, "", Bench(bench.sandbox), binary, command, judged=False)


def _test_command(done: Sequence[str]) -> Sequence[str]:
    """The done-test's own pytest, if it is one, so that the program's settings count."""
    return tuple(done) if "pytest" in done or done[0].endswith("pytest") else ("python3", "-m", "pytest", "-q")


async def _searched(bench: Workbench, problem: Problem, report: Report, number: int) -> dict[str, str] | None:
    """What a search makes better: everything, or else some of it."""
    seconds = float(bench.task.options.get("search_seconds", _SEARCH_SECONDS))

    async def do() -> str:
        found = await Search().improve(problem, seconds)
        if found:
            return problem.diff(found)
        # Two edits at once are many: what a first attempt did not find that way, a second does not find either.
        return await Search().solve(problem, seconds) if bench.attempt == 1 else ""

    diff = str(await bench.step("search", do, key=str(number)))
    after = apply_diff(problem.files, diff, protected=problem.tests) if diff else None
    return after if after and await _helps(bench, problem, report, after) else None


async def _near(bench: Workbench, problem: Problem, rewrite: Mapping[str, str], key: str) -> dict[str, str] | None:
    """What small edits make of a rewrite that does not help; None when they make nothing of it."""

    async def do() -> str:
        found = await Search().improve(replace(problem, files=rewrite), _NEAR_SECONDS)
        return problem.diff(found) if found else ""

    diff = str(await bench.step("near", do, key=key))
    return apply_diff(problem.files, diff, protected=problem.tests) if diff else None


async def _helps(bench: Workbench, problem: Problem, before: Report, after: Mapping[str, str]) -> bool:
    """Fewer tests fail, and none that passed."""

    async def do() -> dict[str, Any]:
        found = await problem.run(after)
        return {"failed": found.failed, "tests": sorted(found.tests), "problem": found.problem}

    found = await bench.step("try", do)
    failed = set(found["failed"])
    return not found["problem"] and failed < set(before.failed) and set(before.tests) <= set(found["tests"])


def _write(bench: Workbench, problem: Problem) -> None:
    for path, text in problem.files.items():
        mark = bench.before.get(path)
        if mark is None or bench.store.get(mark) != text.encode():
            bench.write(path, text)


class _Thinking:
    """The coding subnet's `Chat` over the workbench, so that every sample is a receipted step."""

    def __init__(self, bench: Workbench, known: str) -> None:
        """`known` goes before each question: the question stays the last thing that a small model reads."""
        self._bench, self._known = bench, known

    async def open(self) -> None:
        """The desk is open already."""

    async def close(self) -> None:
        """And stays open."""

    async def ask(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, temperature: float, seed: int
    ) -> str:
        """One completion."""
        asked = [*messages[:-1], {**messages[-1], "content": f"{self._known}\n\n{messages[-1]['content']}".lstrip()}]
        thought = await self._bench.think(asked, max_tokens=max_tokens, temperature=temperature, seed=seed)
        return thought.text
