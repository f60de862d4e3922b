"""How well the inference judge tells honest miners from cheats, and what judging costs.

    python benchmarks/inference.py --models smol,small --tasks 12 [--json]

Each class answers the same challenges. The forger is the strongest cheat we know: the liar's text with the promised
model's true log-probabilities, which costs it a reading pass of that model. AUC is of honest against the class, on the
larger of max |dlogp| and half of max regret; 1 is perfect separation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tercet.market import Task, Verdict
from tercet.subnets import Submission
from tercet.subnets.inference import Inference
from tercet.subnets.inference.rogues import Behaviour
from tercet.subnets.inference.tasks import ChatTask, parse_task


@dataclass
class Row:
    """One class of miners against one judge."""

    model: str
    miner: str
    answers: int
    passed: int
    dlogp_median: float
    dlogp_max: float
    regret_median: float
    regret_max: float
    auc: float
    answer_seconds: float
    judge_seconds: float
    reasons: list[str]

    @property
    def cost(self) -> float:
        """Judge seconds per answer second."""
        return self.judge_seconds / max(self.answer_seconds, 1e-9)


async def submit(miner: Inference, task: Task) -> Submission:
    """One answer, timed as a validator would."""
    begun, first, pieces = time.perf_counter(), 0.0, []
    async for piece in miner.answer(task):
        first = first or time.perf_counter() - begun
        pieces.append(piece)
    return Submission(1, pieces, first, time.perf_counter() - begun, secrets.token_bytes(65))


async def submit_all(miner: Inference, tasks: Sequence[Task], at_once: int) -> list[Submission]:
    """All answers, `at_once` in flight."""
    done: list[Submission] = []
    for start in range(0, len(tasks), at_once):
        done += await asyncio.gather(*(submit(miner, task) for task in tasks[start : start + at_once]))
    return done


async def forge(judge: Inference, task: Task, submission: Submission) -> Submission:
    """The same tokens with the promised model's log-probabilities, where it ranks them."""
    parsed = parse_task(task)
    server = judge._server
    assert server is not None
    assert isinstance(parsed, ChatTask)
    tokens = await server.encode_chat(parsed.messages)
    pieces: list[dict[str, Any]] = []
    async with server.seat() as seat:
        for piece in submission.pieces:
            pairs = []
            for token, logprob in piece["tokens"]:
                ranked = {candidate.token: candidate.logprob for candidate in await seat.rank(tokens)}
                pairs.append([token, ranked.get(token, logprob)])
                tokens.append(token)
            pieces.append({**piece, "tokens": pairs})
    return replace(submission, pieces=pieces)


async def judge_all(
    judge: Inference, tasks: Sequence[Task], submissions: Sequence[Submission]
) -> tuple[list[Verdict], float]:
    """Verdicts, and seconds for all of them."""
    begun = time.perf_counter()
    verdicts = [(await judge.judge(task, [each]))[0] for task, each in zip(tasks, submissions, strict=True)]
    return verdicts, time.perf_counter() - begun


def suspicion(verdict: Verdict) -> float:
    """One number: how far the answer is from honest. A malformed answer is as far as can be."""
    if not verdict.measures:
        return 99.0
    return max(verdict.measures["max_dlogp"], verdict.measures["max_regret"] / 2)


def auc(honest: Sequence[Verdict], others: Sequence[Verdict]) -> float:
    """Chance that a cheat looks worse than an honest answer."""
    pairs = [(suspicion(good), suspicion(bad)) for good in honest for bad in others]
    return sum((bad > good) + 0.5 * (bad == good) for good, bad in pairs) / len(pairs)


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return sorted(values)[len(values) // 2] if values else float("nan")


async def measure(model: str, count: int, *, forger: bool) -> list[Row]:
    """All classes for one promised model."""
    judge = Inference(model, slots=1)
    tasks = [judge.challenge(f"benchmark {index}".encode()) for index in range(count)]
    other_seeds = [{**task, "seed": task["seed"] + 1} for task in tasks]
    answers: dict[str, tuple[Sequence[Task], list[Submission], float]] = {}
    cases: list[tuple[str, Behaviour, int]] = [
        ("honest", "honest", 1),
        ("honest, 2 at once", "honest", 2),
        ("liar", "liar", 1),
        ("cacher", "cacher", 1),
        ("replayer", "replayer", 1),
    ]
    for name, behaviour, at_once in cases:
        miner = Inference(model, behaviour=behaviour)
        await miner.open("miner")
        try:
            if behaviour == "replayer":
                await submit_all(miner, other_seeds, 1)
            begun = time.perf_counter()
            answers[name] = (tasks, await submit_all(miner, tasks, at_once), time.perf_counter() - begun)
        finally:
            await miner.close()
    await judge.open("validator")
    try:
        if forger:
            begun = time.perf_counter()
            forged = [await forge(judge, task, each) for task, each in zip(tasks, answers["liar"][1], strict=True)]
            answers["forger"] = (tasks, forged, answers["liar"][2] + time.perf_counter() - begun)
        judged = {name: await judge_all(judge, tasks, sent) for name, (tasks, sent, _) in answers.items()}
    finally:
        await judge.close()
    good = judged["honest"][0] + judged["honest, 2 at once"][0]
    return [build_row(model, name, good, *judged[name], answers[name][2]) for name in answers]


def build_row(
    model: str, name: str, good: Sequence[Verdict], verdicts: Sequence[Verdict], judge_seconds: float, seconds: float
) -> Row:
    """Sum up one class."""
    dlogp = [verdict.measures["max_dlogp"] for verdict in verdicts if verdict.measures]
    regret = [verdict.measures["max_regret"] for verdict in verdicts if verdict.measures]
    return Row(
        model,
        name,
        len(verdicts),
        sum(verdict.score > 0 for verdict in verdicts),
        median(dlogp),
        max(dlogp, default=float("nan")),
        median(regret),
        max(regret, default=float("nan")),
        auc(good, verdicts),
        seconds,
        judge_seconds,
        sorted({verdict.reason for verdict in verdicts if verdict.reason}),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="smol", help="comma-separated: smol, small, large")
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--no-forger", action="store_true")
    parser.add_argument("--reasons", action="store_true", help="print the verdicts' reasons too")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows: list[Row] = []
    for model in chosen.models.split(","):
        print(f"measuring {model} ...", file=sys.stderr)
        rows += asyncio.run(measure(model, chosen.tasks, forger=not chosen.no_forger))
    if chosen.json:
        print(json.dumps({"inference": [{**vars(row), "cost": row.cost} for row in rows]}))
        return
    print(
        f"{'model':6} {'miner':18} {'passed':>7} {'|dlogp| med':>12} {'max':>7} {'regret med':>11} {'max':>7} {'AUC':>6} {'answer s':>9} {'judge s':>8} {'ratio':>6}"
    )
    for row in rows:
        print(
            f"{row.model:6} {row.miner:18} {row.passed:3}/{row.answers:<3} {row.dlogp_median:12.3f} {row.dlogp_max:7.2f} "
            f"{row.regret_median:11.3f} {row.regret_max:7.2f} {row.auc:6.3f} {row.answer_seconds:9.1f} {row.judge_seconds:8.1f} {row.cost:6.2f}"
        )
        if chosen.reasons:
            print(*(f"       {reason}" for reason in row.reasons), sep="\n")


if __name__ == "__main__":
    main()
