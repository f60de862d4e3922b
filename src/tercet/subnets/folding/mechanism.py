"""The `folding` mechanism: ties molecules, search and judgement to the three roles."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from functools import lru_cache
from typing import ClassVar

from tercet.errors import SubnetError, TaskError
from tercet.market import Price, Task, Usage, Verdict
from tercet.subnets.folding.anneal import Report, anneal
from tercet.subnets.folding.judge import examine, judge_alone, judge_together, recheck
from tercet.subnets.folding.molecule import MAX_STEPS, FoldTask, Molecule, parse_task
from tercet.subnets.folding.peptides import draw_peptide
from tercet.subnets.folding.physics import Physics, Workbench
from tercet.subnets.folding.rogues import BEHAVIOURS, CHEATS, Cheat
from tercet.subnets.kit import encode_array, lottery
from tercet.subnets.mechanism import Contender, Piece, Recheck, Role, Submission

__all__ = ["Folding"]

SHORTEST, LONGEST = 6, 8
"""Residues of a molecule that validators draw."""
CHALLENGE_STEPS = 20_000
"""Some seconds of one core."""


class Folding:
    """A market in low energies: miners search, judges compute the energy of what they found.

    A task is a molecule with its exact start state (`molecule.FoldTask`). Pieces of an answer are `{"step", "energy"}`
    as the search goes on; the last one has `coordinates` (float32, nm), their `energy` in kJ/mol, and `usage`.

    All miners of a round fold the same molecule, drawn from the beacon, and are paid by how near they come to the lowest
    energy that was found (`Contest`): how far a molecule can fall is not known beforehand, only who got further.

    Args:
        steps: a miner's own limit of steps for one answer, below or above what the task pays for; 0 does what is paid.
        seconds: a miner's own limit of time for one answer; 0 has none.
        slots: answers worked on at once by a miner, each on one thread.
        challenge_steps: what a validator's tasks pay for.
        shortest, longest: residues of a validator's molecules.
        behaviour: honest, or one of `rogues`.

    """

    name: ClassVar[str] = "folding"
    version: ClassVar[int] = 1

    def __init__(
        self,
        *,
        steps: int = 0,
        seconds: float = 0.0,
        slots: int = 1,
        challenge_steps: int = CHALLENGE_STEPS,
        shortest: int = SHORTEST,
        longest: int = LONGEST,
        behaviour: str = "honest",
    ) -> None:
        if behaviour not in BEHAVIOURS:
            raise SubnetError(f"A folding miner is one of {', '.join(BEHAVIOURS)}, not {behaviour!r}.")
        if not 2 <= shortest <= longest <= 100:
            raise SubnetError(f"Molecules have 2 to 100 residues, not {shortest} to {longest}.")
        if not 1 <= challenge_steps <= MAX_STEPS or not 0 <= steps <= 100 * MAX_STEPS or seconds < 0 or slots < 1:
            raise SubnetError("Steps, seconds and slots are positive.")
        self._steps, self._seconds, self._behaviour = steps, seconds, behaviour
        self._challenge_steps, self._lengths = challenge_steps, (shortest, longest)
        self._cheat = Cheat()
        self._turns = asyncio.Semaphore(slots)
        self._bench: Workbench | None = None

    async def open(self, role: Role) -> None:
        """Load the force field; a gateway needs none."""
        if role != "gateway":
            self._bench = await asyncio.to_thread(Workbench)

    async def close(self) -> None:
        """Give it back."""
        self._bench = None

    def price(self) -> Price:
        """By the work that `limit` counts."""
        return Price(completion_per_1k=10_000)

    def limit(self, task: Task) -> Usage:
        """Atoms in; out, the pairs of atoms that are looked at, in millions: what folding costs."""
        return _limit(parse_task(task))

    def challenge(self, beacon: bytes) -> Task:
        """A peptide nobody could have folded before."""
        return FoldTask(_draw_molecule(beacon, *self._lengths), self._challenge_steps).to_task()

    def assign(self, seed: bytes, uid: int) -> Task:  # noqa: ARG002  # all fold the same
        """The same molecule for everybody."""
        return self.challenge(seed)

    def is_assigned(self, seed: bytes, uid: int, task: Task) -> bool:
        """Whether it is the molecule of this seed, for that pay; never mind how its numbers were packed."""
        try:
            asked, due = parse_task(task), parse_task(self.assign(seed, uid))
        except TaskError:
            return False
        return (asked.molecule.digest(), asked.steps) == (due.molecule.digest(), due.steps)

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        """Search, and tell how it goes."""
        work = parse_task(task)
        limit = _limit(work)
        usage = {"prompt": limit.prompt, "completion": limit.completion}
        async with self._turns:
            physics = await asyncio.to_thread(self._physics, work)
            if self._behaviour in CHEATS:
                last = await asyncio.to_thread(CHEATS[self._behaviour], self._cheat, physics, work)
                yield {**last, "usage": usage}
                return
            steps = self._steps or work.steps
            reports = anneal(physics, steps, secrets.randbits(31), seconds=self._seconds)
            newest: Report | None = None
            while (report := await asyncio.to_thread(next, reports, None)) is not None:
                newest = report
                yield {"step": report.step, "energy": round(report.energy, 3)}
        assert newest is not None, "a search begins with a report"
        yield {"coordinates": encode_array(newest.best), "energy": newest.best_energy, "usage": usage}

    async def judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        """Each answer by itself."""
        return await asyncio.to_thread(self._judge, task, submissions)

    def _judge(self, task: Task, submissions: Sequence[Submission]) -> Sequence[Verdict]:
        work = parse_task(task)
        physics = self._physics(work)
        return [judge_alone(physics, work, examine(physics, work, submission)) for submission in submissions]

    async def judge_round(self, seed: bytes, contenders: Sequence[Contender]) -> Sequence[Verdict]:  # noqa: ARG002
        """All answers to one molecule. Every one is examined in full, so nothing is left to be drawn from `seed`."""
        return await asyncio.to_thread(self._judge_round, contenders)

    def _judge_round(self, contenders: Sequence[Contender]) -> Sequence[Verdict]:
        groups: dict[str, list[Contender]] = defaultdict(list)
        for contender in contenders:
            groups[str(contender.task.get("digest"))].append(contender)
        verdicts: dict[int, Verdict] = {}
        for group in groups.values():
            work = parse_task(group[0].task)
            physics = self._physics(work)
            folds = {one.uid: examine(physics, work, one.submission) for one in group}
            verdicts.update(judge_together(physics, folds))
        return [verdicts[contender.uid] for contender in contenders]

    async def recheck(self, task: Task, submission: Submission, claimed: Verdict) -> Recheck:
        """Compute the energy again; what the best of a round had is in the verdict's opening."""
        try:
            work = parse_task(task)
            physics = await asyncio.to_thread(self._physics, work)
        except TaskError as error:
            return Recheck(agrees=False, certain=True, reason=f"no task of this subnet: {error}")
        return await asyncio.to_thread(recheck, physics, work, submission, claimed)

    def _physics(self, work: FoldTask) -> Physics:
        if self._bench is None:
            raise SubnetError("The folding mechanism is not open.")
        return self._bench.physics(work.molecule)


@lru_cache(maxsize=8)
def _draw_molecule(beacon: bytes, shortest: int, longest: int) -> Molecule:
    """Built once in a round, though every miner is assigned it."""
    return draw_peptide(lottery(beacon, "folding"), shortest, longest)


def _limit(work: FoldTask) -> Usage:
    return Usage(work.molecule.atoms, work.work)
