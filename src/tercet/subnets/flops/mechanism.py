"""The `flops` mechanism: ties the work, the promise and the check to the three roles."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from tercet.errors import SubnetError, TaskError, UsageError
from tercet.market import Price, Task, Usage, Verdict
from tercet.subnets.flops.commitment import build_answer
from tercet.subnets.flops.engines import Engine, NumpyEngine, find_accelerator, find_engines, pick_engine
from tercet.subnets.flops.judge import Rules, judge_all
from tercet.subnets.flops.reference import MACHINES
from tercet.subnets.flops.rogues import BEHAVIOURS, Behaviour, Worker
from tercet.subnets.flops.tasks import DTYPES, KINDS, SIZES, Kind, Probe, parse_probe
from tercet.subnets.flops.walk import prepare
from tercet.subnets.flops.work import describe_machine, read_steal
from tercet.subnets.kit import derive
from tercet.subnets.mechanism import Contender, Piece, Recheck, Role, Submission

__all__ = ["Flops"]

_SCORE_TOLERANCE = 0.01
"""What an honest judge's score may differ by: nothing but its rounding."""


class Flops:
    """A market in usable operations a second.

    A task is `{"kind", "n", "rows", "window_ms", "nonce"}`: multiply along the chain that the nonce defines until the
    window is over. An answer is a promise (`root`, `done`), then the rows that the promise itself picks.

    Args:
        size: tiny, mini (single-board computers), small (processors) or large (accelerators).
        kinds: what challenges ask for, with commas: float64, float32, float16, bfloat16, int8, memory.
        window: seconds of work for each challenge.
        full: the machine of `reference.MACHINES` whose rates earn the full score.
        share: of its rates that a full score needs.
        device: auto, numpy, or as torch names it (cpu, cuda:0). A validator checks on an accelerator or by numpy.
        threads: of the processor for torch; 0 leaves it to torch. numpy's BLAS reads OMP_NUM_THREADS.
        behaviour: honest, or one of `rogues`.

    """

    name: ClassVar[str] = "flops"
    version: ClassVar[int] = 1

    def __init__(
        self,
        size: str = "small",
        *,
        kinds: str = ",".join(DTYPES),
        window: float = 2.0,
        full: str = "8-cores",
        share: float = 1.0,
        device: str = "auto",
        threads: int = 0,
        behaviour: Behaviour = "honest",
    ) -> None:
        for value, known, what in (
            (size, SIZES, "size"),
            (full, MACHINES, "machine"),
            (behaviour, BEHAVIOURS, "behaviour"),
        ):
            if value not in known:
                raise UsageError(f"No {what} is called {value!r}. Known: {', '.join(known)}.")
        wanted: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind in kinds.split(","))
        if not wanted or set(kinds.split(",")) - set(KINDS):
            raise UsageError(f"Kinds are some of {', '.join(KINDS)}, with commas between them; not {kinds!r}.")
        if not 0.01 <= window <= 30 or not 0 < share <= 1000 or threads < 0:
            raise UsageError(
                f"window is 0.01 to 30 s, share above 0, threads at least 0: not {window}, {share}, {threads}."
            )
        self.kinds, self._size, self._window = wanted, SIZES[size], window
        self._rules = Rules(MACHINES[full], share)
        self._device, self._threads = device, threads
        self._worker = Worker(behaviour)
        self._engines: Sequence[Engine] = ()
        self._picked: Mapping[Kind, Engine] = {}
        self._judging = ""

    async def open(self, role: Role) -> None:
        """Prepare the matrices, and on a miner find out what multiplies fastest. Seconds; a gateway needs neither."""
        if role == "validator":
            self._judging = await asyncio.to_thread(self._prepare)
        elif role == "miner" and not self._engines:
            self._engines = await asyncio.to_thread(self._find_engines)
            self._picked = await asyncio.to_thread(self._pick)

    def _prepare(self) -> str:
        """Where products are checked: an accelerator where there is one, else numpy."""
        device = "numpy" if self._device == "cpu" else self._device
        if device == "auto":
            device = find_accelerator() or "numpy"
        elif device != "numpy":
            self._find_engines()  # says what is missing
        for kind in self.kinds:
            if kind != "memory":
                prepare(device, kind, self._size.n[kind])
        return device

    def _find_engines(self) -> Sequence[Engine]:
        try:
            return find_engines(self._device, self._threads)
        except ImportError as error:
            raise SubnetError(
                f"The device {self._device!r} needs torch, which is not installed. Install it with: "
                "pip install 'tercet[flops]', or use -o device=numpy."
            ) from error
        except (RuntimeError, AssertionError) as error:  # torch's words for a device that is not there
            raise SubnetError(
                f"torch has no device {self._device!r}: {str(error).splitlines()[0]}. Use -o device=auto."
            ) from error

    def _pick(self) -> Mapping[Kind, Engine]:
        picked: dict[Kind, Engine] = {"memory": NumpyEngine()}
        for kind in DTYPES:
            if kind in self.kinds:
                picked[kind] = pick_engine(self._engines, kind, self._size.n[kind])
        return picked

    async def close(self) -> None:
        """Let the engines go."""
        self._engines, self._picked, self._judging = (), {}, ""

    def price(self) -> Price:
        """What a miner asks unless its owner says otherwise: 200 units of credit a measurement."""
        return Price(per_request=200)

    def limit(self, task: Task) -> Usage:
        """Nothing is metered. Raises `TaskError` for a malformed task."""
        parse_probe(task)
        return Usage()

    def challenge(self, beacon: bytes) -> Task:
        """One kind of work, the same for the same beacon."""
        return self.probe(_draw_kind(self.kinds, beacon), derive(beacon, "flops nonce")).task

    def probe(self, kind: Kind, nonce: bytes) -> Probe:
        """The task of this market's size for `kind`. The nonce must be one that nobody could foresee."""
        return Probe.of(kind, self._size, self._window, nonce)

    def assign(self, seed: bytes, uid: int) -> Task:
        """The same kind of work for all, in the same moment: one machine under three names does it three times.

        The nonce is a fresh one for each miner, and this validator's secret until it asks: the seed stands on chain
        some time before, and would be worked ahead from.
        """
        nonce = derive(os.urandom(32), "flops round", seed, uid)
        return self.probe(_draw_kind(self.kinds, seed), nonce).task

    def is_assigned(self, seed: bytes, uid: int, task: Task) -> bool:  # noqa: ARG002 - all do the same
        """Whether a round of this seed asks such a task: all of it but the nonce, which is the asking validator's own."""
        try:
            probe = parse_probe(task)
        except TaskError:
            return False
        return self.probe(_draw_kind(self.kinds, seed), probe.nonce) == probe

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        """Work until the window is over, then tell.

        Raises:
            TaskError: the task is malformed.
            SubnetError: the role is not open.

        """
        probe = parse_probe(task)
        engine = self._picked.get(probe.kind) or (self._engines[-1] if self._engines else None)
        if engine is None:
            raise SubnetError("The flops mechanism is not open. Call open('miner') first.")
        steal = read_steal()
        said, done = await asyncio.to_thread(self._worker.work, engine, probe)
        claims = describe_machine(engine.name, engine.accelerator, steal)
        for piece in build_answer(said, done.count, done.rows, done.hashes, claims):
            yield piece

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        """One verdict per submission, in order; whatever a miner sent gets one."""
        probe = parse_probe(task)
        return await self._judge([probe] * len(submissions), submissions)

    async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:  # noqa: ARG002 - each answer's own signature draws
        """All answers of a round, those of one kind and size in one sweep."""
        probes = [parse_probe(contender.task) for contender in contenders]
        found = await self._judge(probes, [contender.submission for contender in contenders])
        return [
            replace(verdict, reason=verdict.reason or contender.submission.failure)
            for verdict, contender in zip(found, contenders, strict=True)
        ]

    async def _judge(
        self, probes: Sequence[Probe], submissions: Sequence[Submission], slack: float = 1.0
    ) -> Sequence[Verdict]:
        if not self._judging:
            raise SubnetError("Only a validator judges. Open the mechanism in the role 'validator'.")
        return await asyncio.to_thread(judge_all, self._rules, probes, submissions, slack, self._judging)

    async def recheck(self, task: Task, submission: Submission, claimed: Verdict) -> Recheck:
        """The same check on the same rows, with the times that the other validator says it took."""
        try:
            probe = parse_probe(task)
        except TaskError as error:
            return Recheck(agrees=False, certain=True, reason=str(error))
        (found,) = await self._judge([probe], [submission])
        if (found.score > 0) == (claimed.score > 0) and abs(found.score - claimed.score) <= _SCORE_TOLERANCE:
            return Recheck(agrees=True)
        # Two honest judges may stand on different sides of the rounding limit: twice or half of it tells.
        (sure,) = await self._judge([probe], [submission], 0.5 if found.score > 0 else 2.0)
        certain = (sure.score > 0) == (found.score > 0)
        return Recheck(
            agrees=False, certain=certain, reason=f"claims {claimed.score:g}, found {found.score:g}: {found.reason}"
        )


def _draw_kind(kinds: Sequence[Kind], beacon: bytes) -> Kind:
    return kinds[int.from_bytes(derive(beacon, "flops kind")[:8], "big") % len(kinds)]
