"""The flops market in figures: what judging costs, what a machine is measured to do beside plain products, what cheats earn.

Usage: python benchmarks/flops.py [--seeds N] [--kinds float32,int8] [--window SECONDS] [--only costs|cheats]
       python benchmarks/flops.py --noise

Prints markdown tables. Everything runs in this process, miner and validator one after the other; processor seconds are
those of all threads. Say OMP_NUM_THREADS=1 for one thread in both. Figures of a shared machine waver: ratios waver less.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from tercet.subnets import Submission
from tercet.subnets.flops import BEHAVIOURS, DTYPES, KINDS, SIZES, Flops
from tercet.subnets.flops.chain import build_base, link_flops, shuffle
from tercet.subnets.flops.engines import Engine, find_engines, pick_engine
from tercet.subnets.flops.judge import noise_limit
from tercet.subnets.flops.memory import lane_bytes
from tercet.subnets.flops.rogues import Behaviour
from tercet.subnets.flops.tasks import Dtype, Kind

REPEATS = 5
FLOOR_SECONDS = 0.4
NAMES = 3
"""Of one machine, in the row `shared`."""


async def ask(miner: Flops, task: Any) -> tuple[Submission, float]:
    """(what a validator in this process sees, processor seconds of the miner)."""
    began, spent, first, pieces = time.monotonic(), time.process_time(), 0.0, []
    async for piece in miner.answer(task):
        first = first or time.monotonic() - began
        pieces.append(piece)
    total = time.monotonic() - began
    signature = hashlib.sha512(json.dumps(pieces[0]).encode()).digest() + b"\x1b"
    return Submission(1, pieces, first, total, signature), time.process_time() - spent


def spread(rates: Sequence[float]) -> str:
    """Highest minus lowest, in parts of the median."""
    return f"{100 * (max(rates) - min(rates)) / median(rates):.0f} %"


async def print_costs(kinds: Sequence[Kind], window: float) -> dict[str, Any]:
    """Judge's processor time over the miner's, one answer at a time and a round of eight at once; and the floor."""
    options = {"window": window, "kinds": ",".join(kinds), "full": "2-cores"}
    miner, validator = Flops("small", **options), Flops("small", **options)  # type: ignore[arg-type]
    await miner.open("miner")
    await validator.open("validator")
    engines = find_engines()
    found: dict[str, Any] = {}
    print(
        "| kind | n | links or lanes | judge / miner, alone | in a round of 8 | G/s in the market | spread | plain product | market / plain | sent |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for kind in kinds:
        row = await cost_of(kind, miner, validator, engines)
        found[kind] = row
        print(costs_line(kind, row), flush=True)
    return found


def costs_line(kind: Kind, row: dict[str, Any]) -> str:
    """The row as the table has it."""
    if "late" in row:
        return f"| {kind} | {row['n']} | no figures: none of {REPEATS} answers was in time, {row['late']} |"
    return (
        f"| {kind} | {row['n']} | {row['done']:.0f} | {row['ratio']:.3f} | {row['ratio_round']:.3f} | {row['rate'] / 1e9:.1f} "
        f"| {row['spread']} | {row['plain'] / 1e9:.1f} ({row['engine']}) | {row['rate'] / row['plain']:.2f} | {row['sent'] / 1e6:.1f} MB |"
    )


async def cost_of(kind: Kind, miner: Flops, validator: Flops, engines: Sequence[Engine]) -> dict[str, Any]:
    """One row: miner, judge and the bare product in turns, so that all see the same machine.

    An answer whose promise came too late says nothing of the machine, and is told and left out; where none was in time,
    the row is `n` and why it is `late`.
    """
    rates, plains, ratios, answers, tasks, mining, done, sent, late = [], [], [], [], [], [], [], 0, ""
    n = SIZES["small"].n[kind]
    name, plain = plain_product(kind, n, engines)
    for _ in range(REPEATS):
        plains.append(plain())
        task = validator.probe(kind, os.urandom(32)).task
        submission, spent = await ask(miner, task)
        began = time.process_time()
        (verdict,) = await validator.judge(task, [submission])
        judged = time.process_time() - began
        assert verdict.score > 0, verdict.reason
        assert verdict.measures is not None
        if f"rate_{kind}" not in verdict.measures:
            late = verdict.reason
            print(f"{kind}: left out, {late}. The machine is too busy, or --window too short.", file=sys.stderr)
            continue
        ratios.append(judged / spent)
        rates.append(verdict.measures[f"rate_{kind}"])
        done.append(verdict.measures["done"])
        answers.append(submission)
        tasks.append(task)
        mining.append(spent)
        sent = len(json.dumps(list(submission.pieces)))
    if not rates:
        return {"n": n, "late": late}
    eight = [k % len(answers) for k in range(8)]
    began = time.process_time()
    await validator._judge(
        [validator.probe(kind, bytes.fromhex(tasks[k]["nonce"])) for k in eight], [answers[k] for k in eight]
    )
    together = (time.process_time() - began) / sum(mining[k] for k in eight)
    return {
        "n": n,
        "done": median(done),
        "ratio": median(ratios),
        "ratio_round": together,
        "rate": median(rates),
        "spread": spread(rates),
        "plain": median(plains),
        "engine": name,
        "sent": sent,
    }


def plain_product(kind: Kind, n: int, engines: Sequence[Engine]) -> tuple[str, Callable[[], float]]:
    """(library, a function that measures the bare product or triad for a while, operations or bytes a second)."""
    if kind == "memory":
        a, b = np.ones(n, np.uint64), np.ones(n, np.uint64)
        scaled = np.empty(1 << 15, np.uint64)

        def triad() -> float:
            began = time.perf_counter()
            for start in range(0, n, 1 << 15):
                np.multiply(a[start : start + (1 << 15)], np.uint64(3), out=scaled)
                np.add(b[start : start + (1 << 15)], scaled, out=b[start : start + (1 << 15)])
            return 24.0 * n / (time.perf_counter() - began)

        return "numpy triad", lambda: max(triad() for _ in range(5))
    engine = pick_engine(engines, kind, n)
    if engine.name == "numpy":
        left = build_base("float64" if kind == "float64" else "float32", n)
        right, out = left.copy(), np.empty_like(left)

        def multiply() -> object:
            return np.matmul(left, right, out=out)
    else:
        import torch  # noqa: PLC0415 - only where it is installed

        base = torch.from_numpy(build_base(kind, n).copy()).to(getattr(torch, kind))
        other, product = base.clone(), torch.empty_like(base)

        def multiply() -> object:
            return torch._int_mm(base, other) if kind == "int8" else torch.mm(base, other, out=product)

    def timed() -> float:
        multiply()
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < FLOOR_SECONDS:
            multiply()
            count += 1
        return count * link_flops(n) / (time.perf_counter() - began)

    return engine.name, timed


async def print_cheats(kinds: Sequence[Kind], seeds: int, window: float) -> dict[str, Any]:
    """What each behaviour earns for each unit that an honest miner earns, over `seeds` draws of kind and nonce.

    All behaviours take their turn in every draw, so that the load of the machine is the same for all of them.
    """
    options: dict[str, Any] = {"window": window, "kinds": ",".join(kinds), "full": "2-cores", "device": "numpy"}
    validator = Flops("mini", **options)
    await validator.open("validator")
    crews = {behaviour: await hire(behaviour, validator, options) for behaviour in BEHAVIOURS}
    earned: dict[Behaviour, list[float]] = {behaviour: [] for behaviour in BEHAVIOURS}
    wrong, reasons = dict.fromkeys(BEHAVIOURS, 0), dict.fromkeys(BEHAVIOURS, "")
    for seed in range(seeds):
        for behaviour, crew in crews.items():
            pay, reason = await earn(crew, validator, seed)
            earned[behaviour].append(pay)
            wrong[behaviour] += bool(reason)
            reasons[behaviour] = reason or reasons[behaviour]
    found: dict[str, Any] = {}
    honest = earned["honest"]
    print(f"{seeds} draws, kinds {', '.join(kinds)}, window {window:g} s\n")
    print("| behaviour | pay, honest = 1 | AUC against honest | proven wrong | the judge says |")
    print("|---|---|---|---|---|")
    for name, pays in earned.items():
        share, reason = fmean(pays) / fmean(honest), reasons[name]
        found[name] = {"pay": share, "auc": auc(honest, pays), "wrong": wrong[name] / seeds, "reason": reason}
        print(f"| {label(name)} | {share:.2f} | {auc(honest, pays):.2f} | {wrong[name]} of {seeds} | {reason} |")
    return found


def label(behaviour: str) -> str:
    """As the table calls it."""
    return f"shared, all {NAMES} names together" if behaviour == "shared" else behaviour


async def hire(behaviour: Behaviour, validator: Flops, options: dict[str, Any]) -> list[Flops]:
    """The miners of one behaviour, with an old answer where they live on one."""
    crew = [Flops("mini", behaviour=behaviour, **options) for _ in range(NAMES if behaviour == "shared" else 1)]
    for miner in crew:
        await miner.open("miner")
    if behaviour in ("precomputed", "stale"):
        for kind in validator.kinds:
            await ask(crew[0], validator.probe(kind, os.urandom(32)).task)
    return crew


async def earn(crew: Sequence[Flops], validator: Flops, seed: int) -> tuple[float, str]:
    """(score of all names together in one round, why one of them was zero)."""
    tasks = [validator.assign(hashlib.sha256(bytes([seed])).digest(), uid) for uid in range(len(crew))]
    answers = await asyncio.gather(*(ask(miner, task) for miner, task in zip(crew, tasks, strict=True)))
    verdicts = [(await validator.judge(task, [answer]))[0] for task, (answer, _) in zip(tasks, answers, strict=True)]
    return sum(verdict.score for verdict in verdicts), next((v.reason for v in verdicts if v.score == 0), "")


def auc(honest: Sequence[float], others: Sequence[float]) -> float:
    """The chance that an honest score is above another's, ties half."""
    pairs = [(a > b) + 0.5 * (a == b) for a in honest for b in others]
    return fmean(pairs)


def print_distance() -> None:
    """What is left of the pay of work that is done somewhere else: the window less the round trip."""
    windows, trips = (0.25, 0.5, 2.0), (0.01, 0.05, 0.2)
    print("| round trip to the helper | " + " | ".join(f"window {window:g} s" for window in windows) + " |")
    print("|---|" + "---|" * len(windows))
    for trip in trips:
        left = [max(0.0, 0.95 * window - trip) / (0.95 * window) for window in windows]
        print(f"| {1000 * trip:.0f} ms | " + " | ".join(f"{share:.2f}" for share in left) + " |")


def print_noise() -> None:
    """What rounding does to the check, in parts of what the judge takes; and what narrower work does."""
    print("| dtype | engine | n | links | rounding / limit |")
    print("|---|---|---|---|---|")
    for dtype in DTYPES[:-1]:
        for engine in find_engines():
            for n in (128, 512, 1024):
                for links in (1, 8, 32):
                    print(
                        f"| {dtype} | {engine.name} | {n} | {links} | {noise_of(engine, dtype, n, links):.2f} |",
                        flush=True,
                    )


def noise_of(engine: Engine, dtype: Dtype, n: int, links: int) -> float:
    """Root mean square of what rounding moves, over the limit."""
    from tercet.subnets.flops.chain import decode_rows  # noqa: PLC0415

    chain, orders = engine.start(dtype, n), [shuffle(bytes(32), link, n) for link in range(1, links + 1)]
    for order in orders:
        chain.step(order)
    rows = decode_rows(dtype, chain.finish().tobytes(), n)
    base = build_base(dtype, n)
    start = np.random.default_rng(0).choice([-1.0, 1.0], (n, 4)).astype(base.dtype)
    now = start
    for order in reversed(orders):
        after = np.empty_like(now)
        after[order] = base.T @ now
        now = after
    apart, expected = rows.T @ start, base.T @ now
    size = np.sqrt(
        np.mean(np.square(apart.astype(np.float64) - expected)) / np.mean(np.square(expected.astype(np.float64)))
    )
    return float(size / noise_limit(dtype, links, n=n))


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What the flops market measures, costs and catches.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--window", type=float, default=2.0)
    parser.add_argument("--only", choices=["costs", "cheats"], help="one of the tables")
    parser.add_argument("--noise", action="store_true", help="only measure rounding")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kinds: list[Kind] = [kind for kind in KINDS if kind in options.kinds.split(",")]
    if options.noise:
        print_noise()
        return
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f}, one lane of memory moves {lane_bytes(1 << 22) / 1e9:.1f} GB\n"
    )
    found: dict[str, Any] = {}
    if options.only != "cheats":
        found["costs"] = await print_costs(kinds, options.window)
        print()
    if options.only != "costs":
        products: list[Kind] = [kind for kind in kinds if kind != "memory"]
        found["cheats"] = await print_cheats(products, options.seeds, options.window / 2)
        print()
        print_distance()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
