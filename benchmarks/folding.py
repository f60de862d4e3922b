"""What judging a fold costs beside folding, what cheats earn beside honest miners, and how low folds get.

    python benchmarks/folding.py --seeds 20

One round a seed: honest miners and every cheat fold the molecule of that seed; all answers are judged together.
CPU seconds are of this process, one thread. `--steps` scales the search, and with it what a miner pays for an answer.
`--downhill` only walks to the minimum next to the start, by how well it has to be reached: most of what judging one answer costs.
`--villin STEPS` searches from a real structure instead (35 residues, ships with OpenMM), and says how much of it is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean, median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import openmm.app

from tercet.subnets import Contender, Submission
from tercet.subnets.folding import (
    BEHAVIOURS,
    CHALLENGE_STEPS,
    Folding,
    Workbench,
    contacts,
    parse_task,
    read_fold,
    read_pdb,
    rmsd,
)
from tercet.subnets.folding.anneal import anneal
from tercet.subnets.folding.physics import FORCE_TOLERANCE
from tercet.subnets.folding.shape import likeness

CHEATS = [name for name in BEHAVIOURS if name != "honest"]


async def answer(miner: Folding, task: dict[str, object], uid: int) -> tuple[Submission, float]:
    """What a miner sends, and its CPU seconds."""
    began = time.process_time()
    pieces = [piece async for piece in miner.answer(task)]
    return Submission(uid, pieces, 0.0, float(uid), b""), time.process_time() - began


async def play(arguments: argparse.Namespace) -> None:
    """All rounds, then the tables."""
    judge = Folding(challenge_steps=arguments.steps)
    miners = {name: Folding(behaviour=name) for name in BEHAVIOURS}
    cheats = Workbench()  # they cost nothing that is measured, and may share what they computed
    for name, miner in miners.items():
        await miner.open("miner")
        if name != "honest":
            miner._bench = cheats
    warm = judge.challenge(b"warm".rjust(32))
    _ = [piece async for piece in miners["replayer"].answer(warm)]
    scores: dict[str, list[float]] = defaultdict(list)
    reasons: dict[str, str] = {}
    costs: dict[str, list[float]] = defaultdict(list)
    gains, alike = [], []
    cast = ["honest"] * arguments.honest + CHEATS + ["twin"]
    for seed in range(arguments.seeds):
        task = dict(judge.assign(seed.to_bytes(32, "big"), 0))
        answers = []
        for uid, name in enumerate(cast, 1):
            sent, seconds = await answer(miners[name], task, uid)
            answers.append(sent)
            if name == "honest":
                costs["miner"].append(seconds)
                await miners[name].open("miner")  # each pays for its own
        await judge.open("validator")  # a fresh one: nothing is kept from the miners' work
        began = time.process_time()
        verdicts = await judge.judge_round(bytes(32), [Contender(one.uid, 1, task, one) for one in answers])
        costs["round"].append((time.process_time() - began) / len(answers))
        await judge.open("validator")
        began = time.process_time()
        await judge.judge(task, answers[:1])
        costs["alone"].append(time.process_time() - began)
        for name, verdict in zip(cast, verdicts, strict=True):
            reasons[name] = verdict.reason or reasons.get(name, "right, but hardly a gain" if name == "hasty" else "")
            if name == "honest":
                gains.append((verdict.measures or {}).get("gain", 0.0))
        for name in set(cast):
            found = [v.score for other, v in zip(cast, verdicts, strict=True) if other == name]
            scores[name] += found if name != "twin" else [sum(found)]  # two slots, one search
        alike += _likenesses(task, answers[: arguments.honest])
        print(f"seed {seed}: honest {[round(s, 2) for s in scores['honest'][-arguments.honest :]]}", flush=True)
    _print(scores, reasons, costs, gains, alike)


def _likenesses(task: dict[str, object], answers: list[Submission]) -> list[float]:
    work = parse_task(task)
    shape = Workbench().physics(work.molecule).shape
    found = [read_fold(work, one.pieces)[0] for one in answers]
    return [likeness(shape, a, b) for i, a in enumerate(found) for b in found[:i]]


def _print(
    scores: dict[str, list[float]],
    reasons: dict[str, str],
    costs: dict[str, list[float]],
    gains: list[float],
    alike: list[float],
) -> None:
    honest = scores["honest"]
    print("\n| miner | mean score | pay / honest pay | AUC against honest | what the judge says |")
    print("|---|---:|---:|---:|---|")
    for name in BEHAVIOURS:
        area = fmean((good > bad) + 0.5 * (good == bad) for good in honest for bad in scores[name])
        ratio = fmean(scores[name]) / fmean(honest)
        cells = [f"{fmean(scores[name]):.3f}", f"{ratio:.3f}", "" if name == "honest" else f"{area:.3f}"]
        title = "twin, both slots together" if name == "twin" else name
        print(f"| {title} | {' | '.join(cells)} | {reasons[name] if name != 'honest' else ''} |")
    mine = fmean(costs["miner"])
    print("\n| cost | CPU seconds | / miner |\n|---|---:|---:|")
    print(f"| a miner's answer | {mine:.2f} | 1 |")
    print(f"| judging it in a round | {fmean(costs['round']):.3f} | {fmean(costs['round']) / mine:.4f} |")
    print(f"| judging it alone | {fmean(costs['alone']):.3f} | {fmean(costs['alone']) / mine:.4f} |")
    paid = sum(score > 0 for score in honest)
    print(
        f"\nhonest answers paid: {paid} of {len(honest)}; lowest score {min(honest):.3f}, median {median(honest):.2f}"
    )
    print(f"honest gain, kJ/mol: median {median(gains):.1f}, from {min(gains):.1f} to {max(gains):.1f}")
    if alike:
        print(f"likeness of two honest folds: median {median(alike):.2f}, most {max(alike):.2f} (one fold from 0.8)")


def search_villin(steps: int) -> None:
    """From the native structure: energy, and what is left of its shape."""
    molecule = read_pdb(Path(openmm.app.__file__).parent / "data" / "test.pdb", protein_only=True)
    physics = Workbench().physics(molecule)
    began = time.process_time()
    rest, energy = physics.rest()
    *_, last = anneal(physics, steps, 1)
    trace = physics.shape.trace
    print("| villin headpiece, 582 atoms | kJ/mol | CA rmsd to native, nm | native contacts |\n|---|---:|---:|---:|")
    rows = [("native", molecule.start, physics.energy(molecule.start)), ("minimum next to it", rest, energy)]
    for name, at, height in [*rows, (f"lowest after {steps} steps", last.best, last.best_energy)]:
        moved, kept = rmsd(molecule.start[trace], at[trace]), contacts(physics.shape, molecule.start, at)
        print(f"| {name} | {height:.1f} | {moved:.3f} | {kept:.2f} |")
    print(f"\nCPU seconds: {time.process_time() - began:.1f}")


def walk_downhill(seeds: int) -> None:
    """What the reference costs, and how far above the best one a looser end leaves it: gain without a search."""
    tolerances = (0.3, FORCE_TOLERANCE, 2.0, 3.0, 10.0)
    seconds: dict[float, list[float]] = defaultdict(list)
    energies: dict[float, list[float]] = defaultdict(list)
    judge, bench = Folding(), Workbench()
    for seed in range(seeds):
        molecule = parse_task(dict(judge.assign(seed.to_bytes(32, "big"), 0))).molecule
        physics = bench.physics(molecule)
        for tolerance in tolerances:
            began = time.process_time()
            energies[tolerance].append(physics.minimise(molecule.start, tolerance=tolerance)[1])
            seconds[tolerance].append(time.process_time() - began)
    print("| force left, kJ/mol/nm | CPU seconds | above the lowest, kJ/mol, mean | most |\n|---:|---:|---:|---:|")
    for tolerance in tolerances:
        above = [here - best for here, best in zip(energies[tolerance], energies[tolerances[0]], strict=True)]
        print(f"| {tolerance:g} | {fmean(seconds[tolerance]):.2f} | {fmean(above):.2f} | {max(above):.2f} |")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--honest", type=int, default=3)
    parser.add_argument("--steps", type=int, default=CHALLENGE_STEPS)
    parser.add_argument("--villin", type=int, default=0, metavar="STEPS")
    parser.add_argument("--downhill", action="store_true")
    arguments = parser.parse_args()
    if arguments.villin:
        search_villin(arguments.villin)
    elif arguments.downhill:
        walk_downhill(arguments.seeds)
    else:
        asyncio.run(play(arguments))


if __name__ == "__main__":
    main()
