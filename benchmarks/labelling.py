"""What the labelling subnet's judge is worth: labels, skills, cheats, cost and value, on real digits.

    python benchmarks/labelling.py --seeds 20
    python benchmarks/labelling.py --only costs

Workers are real classifiers, each trained on 300 digits of its own. crowd-kit, which wants older packages than ours, gets
a virtual environment of its own in a temporary folder; without a way to install it, that column says so.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processor seconds of one thread, for both sides

import numpy as np

from tercet.chain.keys import Key
from tercet.market import Task
from tercet.market.text import decode_json
from tercet.nodes import wire
from tercet.nodes.response import read_pieces
from tercet.subnets import Contender, Submission
from tercet.subnets.kit.beacon import derive, lottery
from tercet.subnets.labelling import Labelling
from tercet.subnets.labelling.answers import Answers, build_answer
from tercet.subnets.labelling.features import featurise
from tercet.subnets.labelling.items import digits, own_digits
from tercet.subnets.labelling.judge import Round, Voter, appraise
from tercet.subnets.labelling.pictures import encode_png
from tercet.subnets.labelling.rogues import BEHAVIOURS
from tercet.subnets.labelling.skills import Votes, estimate, majority
from tercet.subnets.labelling.tasks import parse_task
from tercet.subnets.labelling.value import Exam
from tercet.subnets.labelling.workers import MODELS, ModelWorker

ROUNDS = 7
"""Of which the costs are the median."""
CROWD_KIT = ("crowd-kit==1.4.2", "scikit-learn<1.6", "pandas<3")
CROWD_SCRIPT = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from crowdkit.aggregation import DawidSkene
found = []
for votes in json.load(sys.stdin):
    rows = [(w, t, l) for w, row in enumerate(votes) for t, l in enumerate(row) if l >= 0]
    labels = DawidSkene(n_iter=50).fit_predict(pd.DataFrame(rows, columns=["worker", "task", "label"]))
    found.append([int(labels[t]) for t in range(len(votes[0]))])
print(json.dumps(found))
"""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def crowds(seeds: int) -> list[tuple[str, Votes, Votes]]:
    """(name, votes, truth) of real classifiers with spammers, and with a copycat, on all digits that are asked about."""
    collection = digits()
    truth = np.array(collection.known)
    found = []
    for seed in range(seeds):
        draws = np.random.default_rng(seed)
        models = [
            ModelWorker.train(name, seed=10 * seed + n)._model.predict(featurise(collection.items))
            for n, name in enumerate(MODELS)
        ]
        spam = [draws.integers(0, 10, len(truth)), np.full(len(truth), draws.integers(10))]
        found.append(("4 models, 2 spammers", np.stack([*models, *spam]), truth))
        found.append(("the same and a copycat of NB", np.stack([*models, *spam, models[2]]), truth))
    return found


def crowd_kit(crowds: Sequence[Votes]) -> list[Votes] | None:
    """What crowd-kit's Dawid-Skene makes of the same votes; None when it cannot be installed."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            venv.create(folder, with_pip=True)
            python = str(Path(folder, "bin", "python"))
            subprocess.run([python, "-m", "pip", "install", "-q", *CROWD_KIT], check=True, capture_output=True)
            done = subprocess.run(
                [python, "-c", CROWD_SCRIPT],
                input=json.dumps([votes.tolist() for votes in crowds]),
                capture_output=True,
                text=True,
                check=True,
            )
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"crowd-kit is left out: {error}\n", file=sys.stderr)
            return None
    return [np.array(labels) for labels in json.loads(done.stdout)]


def accuracy_table(seeds: int) -> None:
    """Labels by majority, by crowd-kit, by ours without gold and with 60 gold items; and how far skills are off."""
    cases = crowds(seeds)
    theirs = crowd_kit([votes for _, votes, _ in cases])
    sums: dict[str, list[list[float]]] = defaultdict(list)
    for number, (name, votes, truth) in enumerate(cases):
        anchors = np.full(len(truth), -1)
        gold = lottery(b"gold", number).sample(range(len(truth)), 60)
        anchors[gold] = truth[gold]
        rest = anchors < 0
        plain, anchored = estimate(votes, 10), estimate(votes, 10, anchors)
        late = [Voter(uid, (uid,), Answers(row, np.full(len(row), 0.9))) for uid, row in enumerate(votes, 1)]
        _, judged = appraise(Round(10, anchors, 0.11), late)
        assert judged is not None
        real = (votes == truth).mean(axis=1)
        sums[name].append(
            [
                float((majority(votes, 10) == truth)[rest].mean()),
                float((theirs[number] == truth)[rest].mean()) if theirs else float("nan"),
                float((plain.labels() == truth)[rest].mean()),
                float((anchored.labels() == truth)[rest].mean()),
                float((judged.labels() == truth)[rest].mean()),
                float(np.abs(plain.skill - real).max()),
                float(np.abs(anchored.skill - real).max()),
            ]
        )
    head = (
        "crowd",
        "majority",
        "crowd-kit DS",
        "ours",
        "ours, 60 gold",
        "and cheats left out",
        "skill error",
        "skill error, 60 gold",
    )
    print(f"### Accuracy of the labels, {seeds} seeds, 997 digits\n")
    table(
        head, [[name, *(f"{fmean(column):.3f}" for column in zip(*rows, strict=True))] for name, rows in sums.items()]
    )


async def mine(task: Task, miner: Labelling) -> Submission:
    """A miner's answer."""
    began = time.monotonic()
    pieces = [piece async for piece in miner.answer(task)]
    took = time.monotonic() - began
    return Submission(0, pieces, took, took, b"")


async def crew(seed: int) -> dict[str, Labelling]:
    """Four honest models, and each cheat."""
    cast: dict[str, dict[str, Any]] = {name: {"by": name, "seed": 10 * seed + n} for n, name in enumerate(MODELS)}
    cast |= {name: {"by": "bayes", "seed": 10 * seed + 2, "behaviour": name} for name in BEHAVIOURS[1:]}
    miners = {name: Labelling(**options) for name, options in cast.items()}
    for miner in miners.values():
        await miner.open("miner")
    return miners


def know_gold(judge: Labelling, task: Task, later: bytes, draws: np.random.Generator) -> Submission:
    """What nobody can do: right on gold, by knowing the later seed, and guessing elsewhere."""
    batch = parse_task(task)
    gold = judge._gold_of(batch, later)
    votes = np.where(gold >= 0, gold, draws.integers(0, 10, len(gold)))
    return Submission(0, [build_answer(batch, votes.tolist(), [0.95] * len(votes))], 0.1, 0.1, b"")


def disguise(task: Task, victim: Submission, share: float, draws: np.random.Generator) -> Submission:
    """A copy of which a share is changed at random."""
    batch = parse_task(task)
    labels = {name: n for n, name in enumerate(batch.labels)}
    votes = np.array([labels[row["label"]] for row in victim.pieces[-1]["answers"]])
    votes = np.where(draws.random(len(votes)) < share, draws.integers(0, 10, len(votes)), votes)
    return Submission(0, [build_answer(batch, votes.tolist(), [0.9] * len(votes))], 5.0, 5.0, b"")


async def rounds(seeds: int) -> Mapping[str, list[float]]:
    """Scores by who it is."""
    scores = defaultdict(list)
    judge = Labelling()
    await judge.open("validator")
    for seed in range(seeds):
        task, later = judge.assign(derive(b"bench", seed), 0), derive(b"later", seed)
        draws = np.random.default_rng(seed)
        submissions = {}
        for name, miner in (await crew(seed)).items():
            submissions[name] = await mine(task, miner)
        honest = {name: submissions[name] for name in MODELS}
        for name in [*BEHAVIOURS[1:], "copy, 25 % changed", "copy, 40 % changed", "knows the gold"]:
            submission = submissions.get(name)
            if submission is None and name.startswith("copy"):
                submission = disguise(task, honest["bayes"], 0.25 if "25" in name else 0.4, draws)
            field = {**honest, name: submission or know_gold(judge, task, later, draws)}
            verdicts = await judge.judge_round(later, contenders(task, field))
            for who, verdict in zip(field, verdicts, strict=True):
                if who == name:
                    scores[name].append(verdict.score)
        verdicts = await judge.judge_round(later, contenders(task, honest))
        for who, verdict in zip(honest, verdicts, strict=True):
            scores[who].append(verdict.score)
    return scores


def contenders(task: Task, field: Mapping[str, Submission]) -> list[Contender]:
    """As a validator would have them."""
    return [
        Contender(
            uid,
            uid,
            task,
            Submission(uid, each.pieces, each.first_seconds, each.total_seconds, b""),
        )
        for uid, each in enumerate(field.values(), 1)
    ]


def auc(good: Sequence[float], bad: Sequence[float]) -> float:
    """The chance that an honest score is above a cheat's."""
    pairs = [(a > b) + 0.5 * (a == b) for a in good for b in bad]
    return fmean(pairs)


def cheat_tables(seeds: int) -> None:
    """Pay of honest work and of each cheat."""
    scores = asyncio.run(rounds(seeds))
    honest = [score for name in MODELS for score in scores[name]]
    print(f"### Honest work, {seeds} rounds of 200 items\n")
    table(("model", "mean score", "least"), [[n, f"{fmean(scores[n]):.3f}", f"{min(scores[n]):.3f}"] for n in MODELS])
    print("### Cheats, each among four honest models\n")
    table(
        ("cheat", "mean score", "pay over honest", "rounds with pay", "AUC"),
        [
            [
                name,
                f"{fmean(found):.3f}",
                f"{fmean(found) / fmean(honest):.3f}",
                f"{sum(score > 0 for score in found)} of {len(found)}",
                f"{auc(honest, found):.3f}",
            ]
            for name, found in scores.items()
            if name not in MODELS
        ],
    )


def write_data(folder: Path, kind: str, miners: int) -> tuple[str, list[str]]:
    """(what the market asks about, what each miner learned from), of one kind of items."""
    draws = np.random.default_rng(0)
    if kind == "CSV rows":
        from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 - only for this table

        found = load_breast_cancer()
        names, rows = found.feature_names.tolist(), found.data.tolist()
        labels = [found.target_names[label] for label in found.target]
        order = draws.permutation(len(rows))
        asked, own = order[:300], order[300:]
        files = [folder / "asked.csv", *(folder / f"own{n}.csv" for n in range(miners))]
        for path, chosen in zip(
            files, [asked, *(draws.choice(own, 200, replace=False) for _ in files[1:])], strict=True
        ):
            with path.open("w", newline="") as sink:
                csv.writer(sink).writerows([[*names, "label"], *([*rows[n], labels[n]] for n in chosen)])
        return str(files[0]), [str(path) for path in files[1:]]
    collection = digits()
    sets = [list(zip(collection.items, collection.known, strict=True))[:300]]
    sets += [list(own_digits(seed, 200)) for seed in range(miners)]
    folders = [folder / "asked", *(folder / f"own{n}" for n in range(miners))]
    for path, pairs in zip(folders, sets, strict=True):
        for n, (item, label) in enumerate(pairs):
            picture = path / str(label) / f"{n}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(encode_png(item.data, 8))
    return str(folders[0]), [str(path) for path in folders[1:]]


async def work(body: bytes, miner: Labelling, key: Key) -> bytes:
    """A miner's whole work on a request's body: read, refuse or not, label, write, sign."""
    task = decode_json(body)["task"]
    miner.limit(task)
    lines = b"".join([wire.encode_json(piece) + b"\n" async for piece in miner.answer(task)])
    usage = wire.parse_usage(decode_json(lines.splitlines()[-1])["usage"])
    digest = hashlib.sha256(lines).digest()
    return lines + wire.encode_answer(wire.sign_answer(key, hashlib.sha256(body).digest(), digest, usage, 0, 0))


def receive(body: bytes, sent: bytes, signer: str) -> Submission:
    """What a validator makes of it before it judges: the signature holds, the pieces are read."""
    lines, _, trailer = sent[:-1].rpartition(b"\n")
    answer = wire.parse_answer(decode_json(trailer)["answer"])
    digest = hashlib.sha256(lines + b"\n").digest()
    wire.validate_answer(answer, signer, hashlib.sha256(body).digest(), digest)
    return Submission(0, read_pieces(lines), 0.1, 0.1, answer.signature)


async def cost(kind: str, size: int) -> tuple[float, float]:
    """CPU seconds of a validator and of a miner for each answer of a round of `size` models: medians over rounds."""
    with tempfile.TemporaryDirectory() as folder:
        data, own = ("digits", ["digits"] * size) if kind == "8 x 8 pixels" else write_data(Path(folder), kind, size)
        judge = Labelling(data)
        await judge.open("validator")
        miners = [Labelling(by=MODELS[n % len(MODELS)], own=own[n], seed=n) for n in range(size)]
        for miner in miners:
            await miner.open("miner")
    key, judging, mining = Key.generate(), [], []
    for number in range(ROUNDS + 1):
        seed, later = derive(b"cost", number), derive(b"later", number)
        began = time.process_time()
        tasks = [judge.assign(seed, uid) for uid in range(size)]
        bodies = [wire.encode_json({"task": task}) for task in tasks]
        asked = time.process_time()
        sent = [await work(body, miner, key) for body, miner in zip(bodies, miners, strict=True)]
        answered = time.process_time()
        field = {str(n): receive(*pair, key.address) for n, pair in enumerate(zip(bodies, sent, strict=True))}
        await judge.judge_round(later, contenders(tasks[0], field))
        judging.append((time.process_time() - answered + asked - began) / size)
        mining.append((answered - asked) / size)
    return median(judging[1:]), median(mining[1:])  # the first of each warms up


def cost_table() -> None:
    """Judging beside the work, by what is labelled and how many miners a round has."""
    rows = []
    for kind in ("8 x 8 pixels", "PNG files of 8 x 8", "CSV rows"):
        for size in (5, 20):
            judge, miner = asyncio.run(cost(kind, size))
            ratio, person = judge / miner, judge / (200 * 1.5)
            rows.append([kind, size, f"{1000 * judge:.2f}", f"{1000 * miner:.2f}", f"{ratio:.2f}", f"{person:.6f}"])
    print(f"### Cost of 200 labels, CPU milliseconds of one thread, load {os.getloadavg()[0]:.1f}\n")
    table(("items", "miners in the round", "validator, each", "model miner, each", "ratio", "ratio to a person"), rows)


def value_table(seeds: int) -> None:
    """What a model learns from 200 labels, by who made them."""
    collection = digits()
    features, truth = featurise(collection.items), np.array(collection.known)
    held = featurise([item for item, _ in collection.held_out])
    labels = np.array([label for _, label in collection.held_out])
    gains: dict[str, list[float]] = defaultdict(list)
    lows: dict[str, list[float]] = defaultdict(list)
    for seed in range(seeds):
        chosen = lottery(b"value", seed).sample(range(len(truth)), 200)
        models = np.stack(
            [
                ModelWorker.train(name, seed=10 * seed + n)._model.predict(features[chosen])
                for n, name in enumerate(MODELS)
            ]
        )
        exam = Exam(features[chosen], held, labels, 10)
        sets = {
            "truth": truth[chosen],
            "consensus of four models": estimate(models, 10).labels(),
            **{f"{name} alone": models[n] for n, name in enumerate(MODELS)},
            "guesses": np.random.default_rng(seed).integers(0, 10, 200),
            "one label": np.full(200, 3),
        }
        for name, votes in sets.items():
            bound = exam.gain(votes, seed=derive(b"value", seed), resamples=8)
            gains[name].append(bound.mean)
            lows[name].append(bound.lower)
    print(f"### Held-out gain of a model that learned 200 labels, {seeds} seeds, 8 resamples each\n")
    table(
        ("labels", "gain in accuracy", "mean lower bound"),
        [[name, f"{fmean(each):.3f}", f"{fmean(lows[name]):.3f}"] for name, each in gains.items()],
    )


def main() -> None:
    """All tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    tables: Mapping[str, Callable[[int], None]] = {
        "accuracy": accuracy_table,
        "cheats": cheat_tables,
        "costs": lambda _: cost_table(),
        "value": value_table,
    }
    parser.add_argument("--only", choices=list(tables), help="one of the tables")
    options = parser.parse_args()
    for name, show in tables.items():
        if options.only in (None, name):
            show(options.seeds)


if __name__ == "__main__":
    main()
