"""What training together costs and brings, and what cheats earn in it.

    nice python benchmarks/training.py --seeds 20 [--model tiny] [--rounds 20] [--only cheats,names,learning,joining]

Everything runs in this process: the miners', the judge's and the outer step's own code without a market round it.
Times are CPU seconds of one thread. Prints markdown tables; figures depend on the machine in their last digits only,
ratios of times somewhat more.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from statistics import fmean, median

import numpy as np
import torch

from tercet.subnets.kit import derive
from tercet.subnets.training.compress import Update
from tercet.subnets.training.data import Corpus, read_corpus
from tercet.subnets.training.inner import Inner, Learner, build_optimizer, take_steps
from tercet.subnets.training.judge import Entrant, Judge, Ruling, Sample
from tercet.subnets.training.outer import Checkpoint, Outer, step
from tercet.subnets.training.rogues import BEHAVIOURS, Work, behave
from tercet.subnets.training.setting import Setting, build_setting
from tercet.subnets.training.standing import Measure, Standard, Standing, price_standing
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
        answering = half if self.name == "half" else behave(self.name)
        update = answering(self.learner, work)
        self.seconds += time.process_time() - begun
        self.bytes += len(update.packed)
        self.rounds += 1
        return update


@dataclass
class Market:
    """Rounds of one market, one after the other."""

    seed: bytes
    setting: Setting
    rules: Rules
    corpus: Corpus
    peers: list[Peer]
    sample: Sample
    checkpoint: Checkpoint = field(init=False)
    standings: dict[tuple[int, int], Standing] = field(default_factory=dict)
    judge_seconds: float = 0.0
    judged: int = 0
    last: Update | None = None
    usual: float = 1.0

    def __post_init__(self) -> None:
        self.checkpoint = self.setting.begin(self.rules)
        self.judge = Judge(self.setting.trainee, self.corpus, self.rules, self.sample)

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
        # As many of a round's windows are checked as with the default sizes, which have 320.
        windows, usual = steps * batch, Sample()
        self.sample = Sample(max(16, usual.assigned * windows // 320), max(12, usual.random * windows // 320))
        self.corpus = Corpus.build(read_corpus(corpus))
        self.rules = Rules(model, self.corpus.digest, steps, batch)

    def market(self, seed: int, names: Sequence[str]) -> Market:
        """A market at round 0."""
        setting = build_setting(self.rules)
        peers = [Peer(name, Learner(build_setting(self.rules).trainee, setting.codec)) for name in names]
        return Market(derive(b"benchmark", seed), setting, self.rules, self.corpus, peers, self.sample)


# Cheats


def auc(honest: Sequence[float], others: Sequence[float]) -> float:
    """Chance that an honest miner's pay is above the other's."""
    pairs = [(good > bad) + 0.5 * (good == bad) for good in honest for bad in others]
    return fmean(pairs)


@dataclass
class Played:
    """One seed's market, to its end."""

    scores: np.ndarray
    """(rounds, miners)"""
    seconds: list[float]
    """CPU of each miner in a round."""
    judging: float
    """CPU of an update's judging."""
    loss: float


def play_cheats(bench: Bench, names: Sequence[str], seed: int, rounds: int) -> Played:
    """One market of honest miners and cheats."""
    torch.set_num_threads(1)
    market = bench.market(seed, names)
    scores = np.array([[pay.score for pay in market.play().pay] for _ in range(rounds)])
    seconds = [peer.seconds / rounds for peer in market.peers]
    found = Played(scores, seconds, market.judge_seconds / market.judged, market.loss())
    paid = " ".join(f"{name}={mean:.2f}" for name, mean in zip(names, scores.mean(axis=0), strict=True))
    log(f"cheats: seed {seed}, held-out loss {found.loss:.2f}, {paid}")
    return found


def measure_cheats(bench: Bench, seeds: int, rounds: int, jobs: int) -> Iterator[str]:
    """What each behaviour earns beside honest miners, from the first round on and when the market has settled."""
    kinds = [*BEHAVIOURS[1:], "half"]
    names = ["honest"] * HONEST + kinds
    if jobs == 1:
        played = [play_cheats(bench, names, seed, rounds) for seed in range(seeds)]
    else:
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            waiting = [pool.submit(play_cheats, bench, names, seed, rounds) for seed in range(seeds)]
            played = [each.result() for each in waiting]

    def of(name: str) -> list[int]:
        return [index for index, each in enumerate(names) if each == name]

    whole = {name: [float(p.scores[:, i].mean()) for p in played for i in of(name)] for name in names}
    early = {name: [float(p.scores[: rounds // 2, i].mean()) for p in played for i in of(name)] for name in names}
    late = {name: [float(p.scores[rounds // 2 :, i].mean()) for p in played for i in of(name)] for name in names}
    work = {name: fmean(p.seconds[i] for p in played for i in of(name)) for name in names}
    first = [
        int((p.scores[:, i] > 0.5).argmax()) + 1 for p in played for i in of("honest") if p.scores[:, i].max() > 0.5
    ]
    usual, settled, judging = fmean(whole["honest"]), fmean(late["honest"]), fmean(p.judging for p in played)
    first_half = fmean(early["honest"]) or math.nan
    yield f"### What {len(names)} miners earn in {rounds} rounds, {seeds} seeds ({describe(bench)})\n"
    yield "| miner | pay / honest pay | first half | second half | worst seed, second half | AUC, second half | its CPU / honest CPU |"
    yield "|---|---|---|---|---|---|---|"
    for name in dict.fromkeys(names):
        yield (
            f"| {name} | {fmean(whole[name]) / usual:.1%} | {fmean(early[name]) / first_half:.1%} | {fmean(late[name]) / settled:.1%} | "
            f"{'-' if name == 'honest' else format(max(late[name]) / settled, '.1%')} | {auc(late['honest'], late[name]):.3f} | {work[name] / work['honest']:.2f} |"
        )
    yield (
        f"\nHonest miners get {settled:.2f} of the full score in the second half; the median one is first paid in round "
        f"{median(first or [math.nan]):g}. Judging takes {judging:.3f} CPU-seconds an update, honest work {work['honest']:.3f}: "
        f"a ratio of {judging / work['honest']:.2f}. Held-out loss at the end: {fmean(p.loss for p in played):.2f} nats/byte.\n"
    )


# Names


def measure_names(names: int = 20_000, rounds: int = 16) -> Iterator[str]:
    """What luck alone earns: names with a gain as usual and proofs of chance, beside miners of some usual proof.

    The most that is to be had with one. A name that sends noise or nothing has no gain, one that sends another's or its
    own update again is a copy: an update with a gain takes an honest miner's work.
    """
    yield f"### What {names:,} new names without any proof earn by luck in {rounds} rounds\n"
    yield "| usual proof | ever paid | 100 names, over one honest miner's pay | 100 names, new every 4 rounds |"
    yield "|---|---|---|---|"
    for usual in (1.0, 1.5, 2.5):
        standard = Standard(usual, 1.0)
        draws = np.random.default_rng(0).standard_normal((names, rounds))
        kept = np.array([list(play_name(proofs, standard)) for proofs in draws])
        fresh = np.array([list(play_name(proofs, standard)) for proofs in draws.reshape(-1, 4)])
        yield f"| {usual} | {(kept > 0).any(axis=1).mean():.2%} | {100 * kept.mean():.1%} | {100 * fresh.mean():.1%} |"
    yield ""


def play_name(proofs: Iterable[float], standard: Standard) -> Iterator[float]:
    """The scores of a miner with these proofs, round by round."""
    standing = Standing()
    for proof in proofs:
        measure = Measure(1.0, proof, 1.0, weight=standard.proof)
        standing = standing.after(measure, standard.gain)
        yield price_standing(standing, standard, measure).score


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
    cost = (market.judge_seconds / market.judged) / fmean(peer.seconds / peer.rounds for peer in market.peers)
    yield (
        f"\nSteps in a row for the last line: {rounds * bench.rules.steps:,} here and in data parallel, "
        f"{HONEST * rounds * bench.rules.steps:,} alone. A peer sends {sent / 1e3:.1f} kB a round: {dense / sent:.1f} "
        f"times less than the change in float32, {synchronous / sent:.0f} times less than gradients in every step. "
        f"Judging an update takes {cost:.2f} of the CPU time that making it takes.\n"
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
    checked = f"{bench.sample.assigned} + {bench.sample.random} windows checked"
    return f"{rules.model}, {size / 1e6:.2f}M parameters, {rules.steps} steps of {rules.batch} x {rules.context}, {checked}"


def log(line: str) -> None:
    """Progress, beside the tables."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Read the options, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--model", default="nano", help="of the cheats' table")
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=1, help="processes for the cheats' seeds")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--corpus", default="builtin")
    parser.add_argument("--learning-model", default="tiny")
    parser.add_argument("--learning-rounds", type=int, default=24)
    parser.add_argument("--only", default="cheats,names,learning,joining")
    options = parser.parse_args()
    torch.set_num_threads(1)
    small = Bench(options.model, options.steps, options.batch, options.corpus)
    larger = Bench(options.learning_model, 20, 16, options.corpus)
    tables: dict[str, Callable[[], Iterator[str]]] = {
        "cheats": lambda: measure_cheats(small, options.seeds, options.rounds, options.jobs),
        "names": measure_names,
        "learning": lambda: measure_learning(larger, options.learning_rounds),
        "joining": lambda: measure_joining(larger, options.learning_rounds),
    }
    for name in options.only.split(","):
        for line in tables[name]():
            print(line, flush=True)


if __name__ == "__main__":
    main()
