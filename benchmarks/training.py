"""What training together costs and brings, and what cheats earn in it.

    nice python benchmarks/training.py --seeds 20 [--model tiny] [--rounds 20] [--only cheats,learning,joining]

Everything runs in this process: the miners', the judge's and the outer step's own code without a market round it.
Times are CPU seconds of one thread. Prints markdown tables; figures depend on the machine in their last digits only,
ratios of times somewhat more.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

import numpy as np
import torch

from tercet.subnets.kit import derive
from tercet.subnets.training.compress import Update
from tercet.subnets.training.data import Corpus, read_corpus
from tercet.subnets.training.inner import Inner, Learner, build_optimizer, take_steps
from tercet.subnets.training.judge import Entrant, Judge, Ruling, Standing
from tercet.subnets.training.outer import Checkpoint, Outer, step
from tercet.subnets.training.rogues import BEHAVIOURS, Work, behave
from tercet.subnets.training.setting import Setting, build_setting
from tercet.subnets.training.tasks import Rules

HELD_OUT = 256
HONEST = 4


def half(learner: Learner, work: Work) -> Update:
    """Trains on half of its windows: no cheat of the table, but what cutting corners a little brings."""
    return learner.train(work.theta, work.batches[: len(work.batches) // 2])


@dataclass
class Peer:
    """A miner without a market."""

    name: str
    learner: Learner
    seconds: float = 0.0
    bytes: int = 0
    rounds: int = 0

    def answer(self, work: Work) -> Update:
        """Its update, timed."""
        begun = time.process_time()
        name = self.name
        if name == "turncoat":
            name = "honest" if self.rounds < TURN else "copier"
        update = half(self.learner, work) if name == "half" else behave(name)(self.learner, work)
        self.seconds += time.process_time() - begun
        self.bytes += len(update.packed)
        self.rounds += 1
        return update


TURN = 10
"""Rounds that a turncoat is honest for."""


@dataclass
class Market:
    """Rounds of one market, one after the other."""

    seed: bytes
    setting: Setting
    rules: Rules
    corpus: Corpus
    peers: list[Peer]
    checkpoint: Checkpoint = field(init=False)
    standings: dict[tuple[int, int], Standing] = field(default_factory=dict)
    judge_seconds: float = 0.0
    judged: int = 0
    last: Update | None = None
    usual: float = 1.0

    def __post_init__(self) -> None:
        self.checkpoint = self.setting.begin(self.rules)
        self.judge = Judge(self.setting.trainee, self.corpus, self.rules)

    def play(self, present: Sequence[int] | None = None) -> Ruling:
        """One round of the peers that are there."""
        rules, entrants = self.rules, []
        for uid in present if present is not None else range(len(self.peers)):
            seed = derive(self.seed, "ask", self.checkpoint.round, uid)
            windows = self.corpus.draw(seed, "assigned", rules.steps * rules.batch, rules.context)
            batches = windows.reshape(rules.steps, rules.batch, rules.context + 1)
            work = Work(self.checkpoint.theta, batches, self.corpus, self.usual, derive(seed, "own"), self.last)
            entrants.append(Entrant(uid, 1, seed, self.peers[uid].answer(work)))
        begun = time.process_time()
        seed = derive(self.seed, "judge", self.checkpoint.round)
        ruling = self.judge.judge(self.checkpoint, seed, entrants, self.standings)
        self.judge_seconds += time.process_time() - begun
        self.judged += len(entrants)
        self.standings = dict(ruling.standings)
        self.last, self.usual = entrants[0].update, ruling.middle
        self.checkpoint = step(self.checkpoint, ruling.accepted, Outer(rules.rate, rules.momentum))
        return ruling

    def loss(self) -> float:
        """Nats per byte on what is never assigned."""
        return held_out(self.setting, self.corpus, self.checkpoint.theta)


def held_out(setting: Setting, corpus: Corpus, theta: np.ndarray) -> float:
    """Nats per byte of a model on what is never assigned."""
    setting.trainee.load(theta)
    return float(setting.trainee.losses(corpus.held_out(HELD_OUT, setting.rules.context)).mean())


class Bench:
    """Builds markets of one model on one text."""

    def __init__(self, model: str, steps: int, batch: int, corpus: str) -> None:
        self.corpus = Corpus.build(read_corpus(corpus))
        self.rules = Rules(model, self.corpus.digest, steps, batch)

    def market(self, seed: int, names: Sequence[str]) -> Market:
        """A market at round 0."""
        setting = build_setting(self.rules)
        peers = [Peer(name, Learner(build_setting(self.rules).trainee, setting.codec)) for name in names]
        return Market(derive(b"benchmark", seed), setting, self.rules, self.corpus, peers)


# Cheats


def auc(honest: Sequence[float], others: Sequence[float]) -> float:
    """Chance that an honest miner's pay is above the other's."""
    pairs = [(good > bad) + 0.5 * (good == bad) for good in honest for bad in others]
    return fmean(pairs)


def measure_cheats(bench: Bench, seeds: int, rounds: int) -> Iterator[str]:
    """What each behaviour earns beside honest miners, from the first round on and when the market has settled."""
    kinds = [*BEHAVIOURS[1:], "half", "turncoat"]
    names = ["honest"] * HONEST + kinds
    whole: dict[str, list[float]] = {name: [] for name in ("honest", *kinds)}
    settled: dict[str, list[float]] = {name: [] for name in ("honest", *kinds)}
    seconds: dict[str, list[float]] = {name: [] for name in ("honest", *kinds)}
    judging, losses, first_pay = [], [], []
    for seed in range(seeds):
        market = bench.market(seed, names)
        scores = np.array([[pay.score for pay in market.play().pay] for _ in range(rounds)])
        for index, name in enumerate(names):
            late = slice(TURN, None) if name == "turncoat" else slice(rounds // 2, None)
            whole[name].append(float(scores[:, index].mean()))
            settled[name].append(float(scores[late, index].mean()))
            seconds[name].append(market.peers[index].seconds / rounds)
        paid = (scores[:, :HONEST] > 0.5).argmax(axis=0)
        first_pay += [int(when) + 1 for index, when in enumerate(paid) if scores[when, index] > 0.5]
        judging.append(market.judge_seconds / market.judged)
        losses.append(market.loss())
        log(f"cheats: seed {seed + 1} of {seeds}, held-out loss {losses[-1]:.2f}")
    usual, late_usual, work = fmean(whole["honest"]), fmean(settled["honest"]), fmean(seconds["honest"])
    yield f"### What {len(names)} miners earn in {rounds} rounds, {seeds} seeds ({describe(bench)})\n"
    yield "| miner | pay / honest pay | settled | worst seed, settled | AUC | its CPU / honest CPU |"
    yield "|---|---|---|---|---|---|"
    for name in ("honest", *kinds):
        yield (
            f"| {name} | {fmean(whole[name]) / usual:.1%} | {fmean(settled[name]) / late_usual:.1%} | "
            f"{max(settled[name]) / late_usual:.1%} | {auc(settled['honest'], settled[name]):.3f} | "
            f"{fmean(seconds[name]) / work:.2f} |"
        )
    yield (
        f"\nHonest miners get {late_usual:.2f} of the full score when settled; the median one is first paid in round "
        f"{median(first_pay):g}. Judging takes {fmean(judging):.3f} CPU-seconds an update, honest work {work:.3f}: "
        f"a ratio of {fmean(judging) / work:.2f}. Held-out loss at the end: {fmean(losses):.2f} nats/byte.\n"
    )


# Learning


def train_alone(bench: Bench, tokens: int, marks: Sequence[int]) -> list[float]:
    """One peer that does everybody's work, step by step; its loss at each number of tokens."""
    return _train_plain(bench, tokens, marks, bench.rules.batch)


def train_data_parallel(bench: Bench, tokens: int, marks: Sequence[int]) -> list[float]:
    """Gradients of all peers averaged in every step: a batch as many times as large."""
    return _train_plain(bench, tokens, marks, HONEST * bench.rules.batch)


def _train_plain(bench: Bench, tokens: int, marks: Sequence[int], batch: int) -> list[float]:
    setting, rules, found = build_setting(bench.rules), bench.rules, []
    trainee = setting.trainee
    trainee.load(setting.start)
    optimizer = build_optimizer(trainee.values, Inner())
    done = seen = 0
    for mark in marks:
        while seen < mark:
            windows = bench.corpus.draw(derive(b"plain", done), "assigned", batch, rules.context)
            take_steps(trainee.module, trainee.loss, optimizer, windows[None], Inner(), done)
            done, seen = done + 1, seen + batch * rules.context
        found.append(held_out(setting, bench.corpus, trainee.read()))
    assert seen >= tokens
    return found


def measure_learning(bench: Bench, rounds: int) -> Iterator[str]:
    """Loss against tokens for three ways to train, and what travels."""
    market = bench.market(0, ["honest"] * HONEST)
    lone = bench.market(0, ["honest"])
    each = bench.rules.tokens
    shown = sorted({max(1, round(rounds * part)) for part in (0.1, 0.25, 0.5, 0.75, 1.0)})
    together, single = [], []
    for number in range(1, rounds + 1):
        market.play()
        if number in shown:
            together.append(market.loss())
    for number in range(1, HONEST * rounds + 1):
        lone.play()
        if number % HONEST == 0 and number // HONEST in shown:
            single.append(lone.loss())
        if number % (10 * HONEST) == 0:
            log(f"learning: round {number} of {HONEST * rounds}")
    marks = [HONEST * each * number for number in shown]
    alone, parallel = train_alone(bench, marks[-1], marks), train_data_parallel(bench, marks[-1], marks)
    yield f"### Held-out loss at equal tokens, nats/byte ({describe(bench)})\n"
    yield "| tokens | this market, 4 peers | this market, 1 peer | plain AdamW, 1 peer | data parallel, 4 peers |"
    yield "|---|---|---|---|---|"
    for row in zip(marks, together, single, alone, parallel, strict=True):
        yield "| {:,} | {:.2f} | {:.2f} | {:.2f} | {:.2f} |".format(*row)
    sent = fmean(peer.bytes / peer.rounds for peer in market.peers)
    dense = 4 * market.setting.trainee.size
    synchronous = dense * bench.rules.steps
    yield (
        f"\nSteps in a row for the last line: {rounds * bench.rules.steps:,} here and in data parallel, "
        f"{HONEST * rounds * bench.rules.steps:,} alone. A peer sends {sent / 1e3:.1f} kB a round: {dense / sent:.1f} "
        f"times less than the change in float32, {synchronous / sent:.0f} times less than gradients in every step.\n"
    )


# Joining and leaving


def measure_joining(bench: Bench, rounds: int) -> Iterator[str]:
    """One peer joins after a third of the way, another leaves after two thirds."""
    market, third = bench.market(1, ["honest"] * 4), rounds // 3
    yield f"### Peers come and go ({describe(bench)})\n"
    yield "| round | peers | held-out loss | pay of peer 1, 2, 3, 4 |"
    yield "|---|---|---|---|"
    for number in range(1, rounds + 1):
        present = [0, 1, 2] + ([3] if number > third else [])
        present = [uid for uid in present if uid != 0 or number <= 2 * third]
        ruling = market.play(present)
        if number in {1, third, third + 1, third + 3, 2 * third, 2 * third + 1, rounds} or number % 5 == 0:
            scores = dict(zip(present, (pay.score for pay in ruling.pay), strict=True))
            shown = ", ".join(f"{scores[uid]:.2f}" if uid in scores else "-" for uid in range(4))
            yield f"| {number} | {len(present)} | {market.loss():.2f} | {shown} |"
    yield ""


def describe(bench: Bench) -> str:
    """What was trained."""
    rules = bench.rules
    size = build_setting(rules).trainee.size
    return f"{rules.model}, {size / 1e6:.2f}M parameters, {rules.steps} steps of {rules.batch} x {rules.context}"


def log(line: str) -> None:
    """Progress, beside the tables."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Read the options, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--model", default="nano", help="of the cheats' table")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--corpus", default="builtin")
    parser.add_argument("--learning-model", default="tiny")
    parser.add_argument("--learning-rounds", type=int, default=30)
    parser.add_argument("--only", default="cheats,learning,joining")
    options = parser.parse_args()
    torch.set_num_threads(1)
    small = Bench(options.model, options.steps, options.batch, options.corpus)
    larger = Bench(options.learning_model, 20, 16, options.corpus)
    tables: dict[str, Callable[[], Iterator[str]]] = {
        "cheats": lambda: measure_cheats(small, options.seeds, options.rounds),
        "learning": lambda: measure_learning(larger, options.learning_rounds),
        "joining": lambda: measure_joining(larger, options.learning_rounds),
    }
    for name in options.only.split(","):
        for line in tables[name]():
            print(line, flush=True)


if __name__ == "__main__":
    main()
