"""The `coding` mechanism: ties tasks, miners and the judge to the three roles."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from tercet.errors import SubnetError, TaskError, UsageError
from tercet.market import Price, Task, Usage, Verdict
from tercet.subnets.coding.bench import Bench
from tercet.subnets.coding.draw import Corpus, Drawn
from tercet.subnets.coding.judge import Judge
from tercet.subnets.coding.miners import Chat, GatewayChat, LocalChat, Problem, Sampler, Search, Solver, SweAgent
from tercet.subnets.coding.projects import load_functions, load_libraries
from tercet.subnets.coding.rogues import BEHAVIOURS, Behaviour, cheat
from tercet.subnets.coding.tasks import (
    AnswerError,
    FixTask,
    parse_task,
    read_answer,
    repository_work,
    task_digest,
)
from tercet.subnets.kit import Sandbox
from tercet.subnets.mechanism import Commission, Piece, Recheck, Role, Submission

__all__ = ["SOLVERS", "Coding"]

log = logging.getLogger(__name__)

SolverName: TypeAlias = Literal["search", "sampler", "swe"]
SOLVERS: tuple[SolverName, ...] = ("search", "sampler", "swe")
_REMEMBERED = 512
"""Tasks drawn and not judged yet."""
_SCORE_SLACK = 0.01
"""Of a score, for its rounding."""


class Coding:
    """A market in fixes: a program whose tests fail goes out, a diff comes back, hidden tests decide.

    A task is `{"kind": "fix", "files", "tests", "failure"}` or, under a held job, `{"kind": "repository", "job", "files",
    "binary", "command", "failure"}`. An answer is one piece `{"diff", "usage"}`, with an empty diff when none was found.

    Args:
        by: how a miner works: search, sampler (a language model), or swe (mini-swe-agent).
        model: of sampler and swe: smol, small, large, a GGUF file, or what the URL calls it.
        url: of an OpenAI-compatible server such as a gateway, ending in /v1; without it the sampler runs the model itself.
        key_file: its first line is the key for that URL.
        samples: most answers of the model for a task.
        seconds: most time that a miner spends on a task; less than validators wait.
        libraries: share of challenges that are taken from libraries rather than single functions, 0 to 1.
        data: where the public packages are kept; the cache when absent.
        models_dir: where models are kept; `$TERCET_MODELS` or the cache when absent.
        python: of a virtual environment with mini-swe-agent, for `by=swe`.
        stock: challenges that a validator draws ahead.
        behaviour: honest, or one of `rogues`.

    """

    name: ClassVar[str] = "coding"
    version: ClassVar[int] = 1

    def __init__(
        self,
        model: str = "small",
        *,
        by: SolverName = "search",
        url: str | None = None,
        key_file: str | Path | None = None,
        samples: int = 8,
        seconds: float = 25.0,
        libraries: float = 0.25,
        data: str | Path | None = None,
        models_dir: str | Path | None = None,
        python: str | None = None,
        stock: int = 8,
        behaviour: Behaviour = "honest",
    ) -> None:
        if behaviour not in BEHAVIOURS:
            raise UsageError(f"No behaviour is called {behaviour!r}. Known: {', '.join(BEHAVIOURS)}.")
        if by not in SOLVERS:
            raise UsageError(f"Nobody mends programs by {by!r}. Known: {', '.join(SOLVERS)}.")
        if not 0 <= libraries <= 1 or seconds <= 0 or samples < 1:
            raise UsageError("libraries is a share from 0 to 1, seconds and samples are above 0.")
        self._behaviour, self._seconds, self._share = behaviour, seconds, float(libraries)
        self._data = Path(data) if data else None
        models = Path(models_dir) if models_dir else None
        self._solver = _build_solver(by, model, url, key_file, samples, models, python)
        self._bench: Bench | None = None
        self._judge: Judge | None = None
        self._corpus: Corpus | None = None
        self._drawn: OrderedDict[bytes, Drawn] = OrderedDict()
        self._drawing = ThreadPoolExecutor(1, "coding-draw")
        self._stock: dict[bytes, Drawn] = {}
        """Drawn ahead, by beacon."""
        self._promised: set[bytes] = set()
        """Beacons that were given away, and whose challenges come next."""
        self._ordered, self._wanted = 0, stock
        self._shelf = threading.Lock()
        """Tasks are asked for from several threads, and drawn in another."""
        self._turn = asyncio.Lock()

    async def open(self, role: Role) -> None:
        """Find the sandbox; load the projects of a validator, the solver of a miner. A gateway needs nothing."""
        if role == "gateway" or self._bench is not None:
            return
        sandbox = await asyncio.to_thread(Sandbox.find, python_packages=("pytest",))
        bench = Bench(sandbox)
        if role == "validator":
            await self._open_judge(sandbox, bench)
        elif self._behaviour == "honest":
            await self._solver.open()
        self._bench = bench

    async def _open_judge(self, sandbox: Sandbox, bench: Bench) -> None:
        functions = await asyncio.to_thread(load_functions, self._data) if self._share < 1 else []
        libraries = await asyncio.to_thread(load_libraries, self._data) if self._share > 0 else []
        # Tasks are drawn in a thread with an event loop of its own, so they have a bench of their own.
        self._corpus = Corpus(Bench(sandbox), functions, libraries, self._share)
        self._judge = Judge(bench)
        self._restock()

    async def close(self) -> None:
        """Give everything back."""
        was_open, self._bench, self._judge, self._corpus = self._bench is not None, None, None, None
        self._drawing.shutdown(wait=False, cancel_futures=True)
        self._stock, self._promised, self._ordered = {}, set(), 0
        self._drawing = ThreadPoolExecutor(1, "coding-draw")
        if was_open:
            await self._solver.close()

    def price(self) -> Price:
        """What a miner asks unless its owner says otherwise: a hundredth of a credit for a task."""
        return Price(per_request=10_000)

    def limit(self, task: Task) -> Usage:
        """A task has one price. Raises `TaskError` for a malformed one."""
        parse_task(task)
        return Usage()

    def commission(self, task: Task) -> Commission | None:
        """The held job of a user's repository."""
        parsed = parse_task(task)
        if isinstance(parsed, FixTask):
            return None
        return Commission(bytes.fromhex(parsed.job[2:]), repository_work(task))

    def delivery(self, pieces: Sequence[Piece]) -> bytes | None:
        """The diff."""
        try:
            return read_answer(pieces).encode() or None
        except (AnswerError, UnicodeEncodeError):
            return None

    def challenge(self, beacon: bytes) -> Task:
        """A program that was broken by the beacon's draw, with half of its tests. Takes seconds: the mutant must fail."""
        drawn = self._stock.pop(beacon, None) or self._draw(beacon)
        digest = task_digest(drawn.task)
        with self._shelf:
            self._promised.discard(beacon)
            self._drawn[digest] = drawn
            while len(self._drawn) > _REMEMBERED:
                self._drawn.popitem(last=False)
        return drawn.task

    def beacon(self) -> bytes:
        """Of a task in stock; of any when all are sold, and then its challenge waits for the work."""
        with self._shelf:
            ready = next((beacon for beacon in list(self._stock) if beacon not in self._promised), os.urandom(32))
            self._promised.add(ready)
            self._restock()
        return ready

    def _restock(self) -> None:
        """Have tasks drawn while nobody waits for them."""
        missing = self._wanted + len(self._promised & self._stock.keys()) - len(self._stock) - self._ordered
        for _ in range(missing):
            self._ordered += 1
            self._drawing.submit(self._draw_ahead, self._corpus)

    def _draw_ahead(self, corpus: Corpus | None) -> None:
        beacon = os.urandom(32)
        try:
            if corpus is not None and corpus is self._corpus:
                self._stock[beacon] = asyncio.run(corpus.draw(beacon))
        except SubnetError as error:
            log.warning("stock.undrawn why=%r", str(error))
        finally:
            with self._shelf:
                self._ordered -= 1

    def _draw(self, beacon: bytes) -> Drawn:
        corpus = self._corpus
        if corpus is None:
            raise SubnetError("Only a validator draws tasks. Open the mechanism in the role 'validator'.")
        return self._drawing.submit(lambda: asyncio.run(corpus.draw(beacon))).result()

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        """Look for a fix as this miner does.

        Raises:
            TaskError: the task is malformed.
            SubnetError: the role is not open.

        """
        problem = Problem.of(parse_task(task), self._running())
        if self._behaviour == "honest":
            diff = await self._solver.solve(problem, self._seconds)
        else:
            diff = cheat(self._behaviour, problem)
        yield {"diff": diff, "usage": {"prompt": 0, "completion": 0}}

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        """One verdict per submission, in order; whatever a miner sent gets one."""
        if self._judge is None:
            raise SubnetError("Only a validator judges. Open the mechanism in the role 'validator'.")
        parsed = parse_task(task)
        if not isinstance(parsed, FixTask):
            raise TaskError("A repository is tested by its owner, who pays for it: validators judge 'fix' tasks.")
        drawn = self._drawn.get(task_digest(task))
        async with self._turn:
            return [await self._judge.judge(parsed, drawn, submission) for submission in submissions]

    async def recheck(self, task: Task, submission: Submission, claimed: Verdict) -> Recheck:
        """Draw the task again from the seed that the other judge opens, and judge by the same hidden tests."""
        judge = self._judge
        if judge is None:
            raise SubnetError("Only a validator checks. Open the mechanism in the role 'validator'.")
        try:
            parsed, seed = parse_task(task), bytes.fromhex(claimed.opening)
        except (TaskError, ValueError) as error:
            return Recheck(agrees=False, certain=isinstance(error, TaskError), reason=str(error))
        if not isinstance(parsed, FixTask) or len(seed) != 32:
            return Recheck(agrees=False, reason="the judge's seed is not opened")
        drawn = await asyncio.to_thread(self._draw, seed)
        if task_digest(drawn.task) != task_digest(task):
            return Recheck(agrees=False, reason="another task is drawn from that seed here")
        async with self._turn:
            found = await judge.judge(parsed, drawn, submission)
        return _compare(found, claimed)

    def _running(self) -> Bench:
        if self._bench is None:
            raise SubnetError("The coding mechanism is not open. Call open('miner') or open('validator') first.")
        return self._bench


def _compare(found: Verdict, claimed: Verdict) -> Recheck:
    """Right or wrong does not depend on the machine; the rest of the score is the other judge's own times."""
    if (found.score > 0) == (claimed.score > 0) and abs(found.score - claimed.score) <= _SCORE_SLACK:
        return Recheck(agrees=True)
    slow = "limit of time" in found.reason or "limit of time" in claimed.reason
    why = f"claims {claimed.score:.3f}, found {found.score:.3f}"
    return Recheck(agrees=False, certain=not slow, reason=f"{why}: {found.reason}" if found.reason else why)


def _build_solver(
    by: SolverName,
    model: str,
    url: str | None,
    key_file: str | Path | None,
    samples: int,
    models: Path | None,
    python: str | None,
) -> Solver:
    key = ""
    if key_file is not None:
        try:
            key = Path(key_file).read_text().split("\n")[0].strip()
        except OSError as error:
            raise UsageError(f"The key file {str(key_file)!r} cannot be read: {error.strerror}.") from error
    if by == "search":
        return Search()
    if by == "sampler":
        chat: Chat = GatewayChat(url, model, key) if url else LocalChat(model, models)
        return Sampler(chat, samples)
    if not url or not python:
        raise UsageError(
            "by=swe needs -o url=URL of a gateway, and -o python=FILE of an environment with mini-swe-agent."
        )
    return SweAgent(python, url, model, key)
