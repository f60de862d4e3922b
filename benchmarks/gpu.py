"""What an accelerator does for the markets of compute and training: rates, agreement with the processor, memory.

Usage: python benchmarks/gpu.py [--only flops,noise,training,market,qlora] [--quick] [--json FILE]
       python benchmarks/gpu.py --rehearse    (the smallest sizes on the processor: whether the script runs, no figures)

Needs a CUDA device and torch; `qlora` also tercet[finetune] and bitsandbytes. Prints markdown tables. Everything runs on
this machine, in this process but for torchrun's, one after the other. Each part that breaks says why; the rest goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from tercet.subnets import Contender, Submission
from tercet.subnets.flops import DTYPES, KINDS, SIZES, Flops
from tercet.subnets.flops.chain import build_base, decode_rows, draw_links, link_flops
from tercet.subnets.flops.commitment import read_claims
from tercet.subnets.flops.engines import TorchEngine
from tercet.subnets.flops.judge import noise_limit
from tercet.subnets.flops.rogues import Behaviour
from tercet.subnets.flops.tasks import Dtype, Kind
from tercet.subnets.flops.walk import walk
from tercet.subnets.training import Training
from tercet.subnets.training.compress import Update
from tercet.subnets.training.data import Corpus, read_corpus
from tercet.subnets.training.inner import Inner, Learner
from tercet.subnets.training.judge import Entrant, Judge
from tercet.subnets.training.outer import Checkpoint
from tercet.subnets.training.panel import GAIN_TOLERANCE, PROOF_TOLERANCE
from tercet.subnets.training.parallel import TorchrunLearner
from tercet.subnets.training.setting import Setting, build_setting
from tercet.subnets.training.tasks import SIZES as MODELS
from tercet.subnets.training.tasks import Rules

GUIDE = Path(__file__).parent.parent / "docs" / "subnets" / "training.md"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    device: str = "cuda:0"
    size: str = "large"
    full: str = "h100-sxm"
    window: float = 2.0
    repeats: int = 3
    models: Sequence[str] = ("medium", "large")
    steps: int = 20
    draws: int = 4
    """Seeds over which the judges' arithmetic is compared."""
    rounds: int = 6
    tuned_rounds: int = 8
    tuned_steps: int = 20
    threads: int = 4
    """Of the processor. With more, models of this size wait for threads longer than they compute."""
    limit: float = 300.0
    """Seconds for each way of training."""
    layers: int = 24
    width: int = 1024
    links: Sequence[int] = (1, 32, 256)

    @property
    def quick(self) -> Scale:
        """A minute or two in all."""
        return replace(
            self,
            window=1.0,
            repeats=2,
            models=("medium",),
            steps=8,
            draws=2,
            rounds=2,
            tuned_rounds=2,
            tuned_steps=5,
            limit=70.0,
            layers=8,
            links=(1, 32),
        )

    @property
    def rehearsal(self) -> Scale:
        """On the processor."""
        return replace(
            self.quick,
            device="cpu",
            size="tiny",
            threads=1,
            full="2-cores",
            window=0.2,
            models=("nano",),
            layers=2,
            width=64,
        )


def say(line: str = "") -> None:
    """Print at once: a part may take long, or break."""
    print(line, flush=True)


def head_of(head: Sequence[str]) -> None:
    """The first two lines of a table whose rows are printed as they are measured."""
    say("| " + " | ".join(head) + " |")
    say("|" + "---|" * len(head))


def row_of(cells: Sequence[object]) -> None:
    """One more line."""
    say("| " + " | ".join(str(cell) for cell in cells) + " |")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """As markdown."""
    head_of(head)
    for row in rows:
        row_of(row)
    say()


class SlowError(Exception):
    """A way was cut off."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Cut off what takes longer, at the next line of Python; torchrun has a limit of its own."""

    def ring(*_: object) -> None:
        raise SlowError(f"cut off after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def wait(device: str) -> None:
    """Until the device has nothing to do."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


# flops


async def measure_flops(scale: Scale) -> dict[str, Any]:
    """Rates in the market beside plain products, what judging costs, and who is refused."""
    kinds: Sequence[Kind] = KINDS
    options: dict[str, Any] = {"window": scale.window, "full": scale.full, "device": scale.device}
    miner, validator = (Flops(scale.size, kinds=",".join(kinds), **options) for _ in range(2))
    began = time.monotonic()
    await validator.open("validator")
    await miner.open("miner")
    say(f"size {scale.size}, window {scale.window:g} s; both roles were open after {time.monotonic() - began:.0f} s\n")
    head = "kind, n, T/s in the market, T/s plain, market / plain, score, links, judge / miner alone, in a round of 8"
    head_of([*head.split(", "), "promise after, s", "engine"])
    found = {}
    for kind in kinds:
        found[kind] = await rate_of(kind, miner, validator, scale)
        row_of(show_rate(kind, found[kind]))
    say("\n`memory` is the host's memory, not the device's: it is summed by numpy.\n")
    refused = await measure_cheats(validator, scale, options)
    return {"rates": found, "cheats": refused}


def show_rate(kind: Kind, row: Mapping[str, Any]) -> list[object]:
    """One row of the table."""
    rate, plain = row["rate"] / 1e12, row["plain"] / 1e12
    share = f"{rate / plain:.2f}" if plain else "-"
    judging = f"{row['alone']:.3f}", f"{row['together']:.3f}"
    cells = f"{rate:.2f}", f"{plain:.2f}", share, f"{row['score']:.2f}", f"{row['done']:.0f}", *judging
    return [kind, row["n"], *cells, f"{row['promise']:.2f}", row["engine"]]


async def ask(miner: Flops, task: Any) -> Submission:
    """What a validator in this process sees."""
    began, first, pieces = time.monotonic(), 0.0, []
    async for piece in miner.answer(task):
        first = first or time.monotonic() - began
        pieces.append(piece)
    signature = hashlib.sha512(json.dumps(pieces[0]).encode()).digest() + b"\x1b"
    return Submission(1, pieces, first, time.monotonic() - began, signature)


async def rate_of(kind: Kind, miner: Flops, validator: Flops, scale: Scale) -> dict[str, Any]:
    """One row; miner, judge and plain product in turns."""
    n = SIZES[scale.size].n[kind]
    plain = plain_product(kind, n, scale.device)
    rates, plains, alone, contenders, verdicts = [], [], [], [], []
    for _ in range(scale.repeats if kind != "memory" else 1):
        plains.append(plain() if plain else 0.0)
        task = validator.probe(kind, os.urandom(32)).task
        submission = await ask(miner, task)
        began = time.monotonic()
        (verdict,) = await validator.judge(task, [submission])
        alone.append((time.monotonic() - began) / submission.first_seconds)
        assert verdict.score > 0, f"{kind}: {verdict.reason}"
        verdicts.append(verdict)
        rates.append((verdict.measures or {}).get(f"rate_{kind}", 0.0))
        contenders.append(Contender(1, 0, task, submission))
    eight = [contenders[index % len(contenders)] for index in range(8)]
    began = time.monotonic()
    await validator.judge_round(b"", eight)
    together = (time.monotonic() - began) / sum(each.submission.first_seconds for each in eight)
    said = read_claims(contenders[-1].submission.pieces)
    return {
        "n": n,
        "rate": median(rates),
        "rates": rates,
        "plain": median(plains),
        "score": median(verdict.score for verdict in verdicts),
        "done": median((verdict.measures or {})["done"] for verdict in verdicts),
        "alone": median(alone),
        "together": together,
        "promise": median(each.submission.first_seconds for each in contenders),
        "reason": verdicts[-1].reason,
        "engine": str(said.get("accelerator") or said.get("engine", "?")),
    }


def plain_product(kind: Kind, n: int, device: str) -> Callable[[], float] | None:
    """Measures the bare product for a while: operations a second."""
    if kind == "memory":
        return None
    base = torch.from_numpy(build_base(kind, n).copy()).to(device=device, dtype=getattr(torch, kind))
    other = base.t() if kind == "int8" else base.clone()
    out = torch.empty_like(base)

    def multiply() -> object:
        return torch._int_mm(base, other) if kind == "int8" else torch.mm(base, other, out=out)

    def timed() -> float:
        for _ in range(3):
            multiply()
        wait(device)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < 0.4:
            for _ in range(4):
                multiply()
            wait(device)
            count += 4
        return count * link_flops(n) / (time.perf_counter() - began)

    return timed


async def measure_cheats(validator: Flops, scale: Scale, options: Mapping[str, Any]) -> dict[str, str]:
    """What the judge says of each cheat on the device; all have to be refused."""
    found: dict[str, str] = {}
    cheats: list[tuple[str, Behaviour, Dtype]] = [
        *(("half the digits", "narrow", kind) for kind in ("float64", "float32", "float16")),
        *(("a tenth more links than were done", "inflated", kind) for kind in DTYPES),
        ("products in TF32", "honest", "float32"),
    ]
    head_of(["cheat", "score, and what the judge says"])
    for words, behaviour, kind in cheats:
        if words == "products in TF32" and not scale.device.startswith("cuda"):
            continue
        miner = Flops(scale.size, kinds=kind, behaviour=behaviour, **options)
        await miner.open("miner")
        torch.backends.cuda.matmul.allow_tf32 = words == "products in TF32"
        task = validator.probe(kind, os.urandom(32)).task
        submission = await ask(miner, task)
        torch.backends.cuda.matmul.allow_tf32 = False
        (verdict,) = await validator.judge(task, [submission])
        found[f"{kind}: {words}"] = f"{verdict.score:g}, {verdict.reason}"
        row_of([f"{kind}: {words}", found[f"{kind}: {words}"]])
        await miner.close()
    say()
    passed = [name for name, said in found.items() if not said.startswith("0, ")]
    if passed:
        raise AssertionError(f"paid: {', '.join(passed)}")
    return found


async def measure_noise(scale: Scale) -> dict[str, Any]:
    """What rounding does on the device, in parts of what the judge takes: miner and judge on it."""
    rows: list[list[object]] = []
    head_of(["dtype", "n", "links", "rounding / limit", "judged by numpy"])
    for dtype in DTYPES[:-1]:
        n, engine = SIZES[scale.size].n[dtype], TorchEngine(scale.device)
        for links in scale.links:
            by_device, by_numpy = noise_of(engine, dtype, n, links, scale.device), "-"
            if links == 1:
                by_numpy = f"{noise_of(engine, dtype, n, links, 'numpy'):.2f}"
            rows.append([dtype, n, links, f"{by_device:.2f}", by_numpy])
            row_of(rows[-1])
    say()
    return {"rows": rows}


@dataclass(frozen=True, slots=True)
class Track:
    """For `walk`."""

    nonce: bytes
    links: int
    start: Any


def noise_of(engine: TorchEngine, dtype: Dtype, n: int, links: int, device: str) -> float:
    """Root mean square of what rounding moves, over the limit."""
    nonce, chain = hashlib.sha256(b"noise").digest(), engine.start(dtype, n)
    for order in chain.sort(draw_links(nonce, 1, links, n)):
        chain.step(order)
    rows = decode_rows(dtype, chain.finish().tobytes(), n)
    start = np.random.default_rng(0).choice([-1.0, 1.0], (n, 4)).astype(rows.dtype)
    (expected,) = walk(device, dtype, n, [Track(nonce, links, start)])
    apart = (rows.astype(np.float64).T @ start) - expected
    size = np.sqrt(np.mean(np.square(apart)) / np.mean(np.square(expected.astype(np.float64))))
    return float(size / noise_limit(dtype, links, n=n))


# Training


@dataclass(frozen=True, slots=True)
class Run:
    """One way of taking a round's steps, two rounds long."""

    changes: Sequence[Any]
    loss: float
    seconds: float
    """Of the steps of the second round."""
    whole: float
    """With the start of processes."""
    update: Update


async def measure_training(scale: Scale) -> dict[str, Any]:
    """The same two rounds in this process and by torchrun: how far apart, and how fast."""
    found = {}
    text = read_corpus("builtin")
    for model in scale.models:
        context = MODELS[model].context
        corpus = Corpus.build(text)
        rules = Rules(model, corpus.digest, scale.steps, 16, context)
        rounds = [
            corpus.draw(seed, "assigned", rules.steps * 16, context).reshape(rules.steps, 16, context + 1)
            for seed in (b"a", b"b")
        ]
        threads = scale.threads
        ways: list[tuple[str, Callable[[], Learner]]] = [
            (f"processor, {threads} threads", lambda r=rules, t=threads: plain_learner(r, "cpu", t)),  # type: ignore[misc]
            ("device, this process", lambda r=rules: plain_learner(r, scale.device)),  # type: ignore[misc]
            ("device, TF32", lambda r=rules: plain_learner(r, scale.device)),  # type: ignore[misc]
            ("torchrun, ddp, 1 process", lambda r=rules: torchrun(r, 1, "ddp", scale.device)),  # type: ignore[misc]
            ("torchrun, fsdp, 1 process", lambda r=rules: torchrun(r, 1, "fsdp", scale.device)),  # type: ignore[misc]
        ]
        shared: list[tuple[str, Callable[[], Learner]]] = [
            ("torchrun, ddp, 2 processes share it (gloo)", lambda r=rules: torchrun(r, 2, "ddp", scale.device)),  # type: ignore[misc]
            ("torchrun, fsdp, 2 processes share it (gloo)", lambda r=rules: torchrun(r, 2, "fsdp", scale.device)),  # type: ignore[misc]
        ]
        say(f"{model}: {rules.tokens} tokens a round, two rounds, Adam's state carried over\n")
        try:
            with within(scale.limit / 2):
                found[f"{model} judged"] = compare_judges(rules, corpus, rounds[0], scale)
        except SlowError as error:
            say(f"the judges were {error}\n")
        # What sharing costs one model tells: on one device it is slower, and there to be tested.
        found[model] = compare_ways([*ways, *(shared if model == scale.models[0] else [])], rounds, rules, scale.limit)
    return found


def plain_learner(rules: Rules, device: str, threads: int = 1) -> Learner:
    """In this process."""
    setting = build_setting(rules, threads=threads, device=device)
    return Learner(setting.trainee, setting.codec)


def torchrun(rules: Rules, processes: int, parallel: str, device: str) -> Learner:
    """In others."""
    setting = build_setting(rules)
    return TorchrunLearner.build(setting, Inner(), "", processes, parallel, device=device)


def run_rounds(learner: Learner, rounds: Sequence[Any], start: Any) -> Run:
    """Two rounds from the same checkpoint."""
    changes, seconds, whole = [], 0.0, 0.0
    for batches in rounds:
        began = time.monotonic()
        changes.append(learner.improve(start, batches))
        whole = time.monotonic() - began
        seconds = learner.seconds if isinstance(learner, TorchrunLearner) else whole
    return Run(changes, learner.loss, seconds, whole, learner.codec.pack(changes[-1]))


def compare_ways(
    ways: Sequence[tuple[str, Callable[[], Learner]]], rounds: Sequence[Any], rules: Rules, limit: float
) -> dict[str, Any]:
    """A row for each; the first is what the others are compared with."""
    start = build_setting(rules).start
    found: dict[str, Any] = {}
    reference = None
    head = ["inner loop", "tokens/s", "of the first", "round, s, with start", "loss", "change apart, rounds 1 and 2"]
    head_of([*head, "cosine of the updates"])
    for name, build in ways:
        try:
            with within(limit):
                learner = build()
                if isinstance(learner, TorchrunLearner):
                    learner.limit = limit / 2
                torch.backends.cuda.matmul.allow_tf32 = "TF32" in name
                run = run_rounds(learner, rounds, start)
        except Exception as error:  # noqa: BLE001 - one way that breaks is a finding, and the others go on
            found[name] = {"failure": f"{type(error).__name__}: {str(error)[-600:]!r}"}
            row_of([name, "-", "-", "-", "-", "-", found[name]["failure"]])
            continue
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False
        reference = reference or run
        apart = [distance(one, other) for one, other in zip(run.changes, reference.changes, strict=True)]
        speed, base = rules.tokens / run.seconds, rules.tokens / reference.seconds
        found[name] = {
            "apart": apart,
            "loss": run.loss,
            "tokens_per_second": speed,
            "whole_seconds": run.whole,
            "cosine": run.update.cosine(reference.update),
        }
        shown = " and ".join(f"{each:.2g}" for each in apart), f"{found[name]['cosine']:.4f}"
        times = f"{speed:,.0f}", f"{speed / base:.1f}", f"{run.whole:.1f}"
        row_of([name, *times, f"{run.loss:.5f}", *shown])
    say()
    return found


def distance(one: Any, other: Any) -> float:
    """Relative."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def compare_judges(rules: Rules, corpus: Corpus, batches: Any, scale: Scale) -> dict[str, Any]:
    """Gain and proof of the same updates by the processor and by the device, beside what an audit allows."""
    threads = scale.threads
    here, there = build_setting(rules, threads=threads), build_setting(rules, threads=threads, device=scale.device)
    learner = Learner(there.trainee, there.codec)
    checkpoint = Checkpoint.begin(here.start, rules.digest)
    seeds = [hashlib.sha256(bytes([index])).digest() for index in range(scale.draws)]
    drawn = [
        corpus.draw(seed, "assigned", rules.steps * rules.batch, rules.context).reshape(batches.shape) for seed in seeds
    ]
    entrants = [
        Entrant(uid, 1, seed, learner.train(here.start, work))
        for uid, (seed, work) in enumerate(zip(seeds, drawn, strict=True))
    ]
    found: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    head_of(["judge", "ms an update", "gain apart, nats (worst)", "proof apart (worst)"])
    for name, setting in (("processor", here), ("device", there), ("device, TF32", there)):
        judge = Judge(setting.trainee, corpus, rules)
        torch.backends.cuda.matmul.allow_tf32 = "TF32" in name
        judge.measure(checkpoint, bytes(32), entrants[:1])  # the first is slow
        began = time.monotonic()
        measures = [judge.measure(checkpoint, seed, entrants)[0] for seed in seeds[:2]]
        seconds = (time.monotonic() - began) / (2 * len(entrants))
        torch.backends.cuda.matmul.allow_tf32 = False
        measured[name] = measures
        gains, proofs = apart_of(measured["processor"], measures)
        found[name] = {"gain": gains, "proof": proofs, "seconds": seconds}
        row_of([name, f"{1000 * seconds:.0f}", f"{gains:.2e}", f"{proofs:.3f}"])
    row_of(["an audit allows", "", f"{GAIN_TOLERANCE:g} + 2 %", f"{PROOF_TOLERANCE:g}"])
    say()
    return found


def apart_of(one: Any, other: Any) -> tuple[float, float]:
    """The largest differences in gain and proof."""
    pairs = [(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)]
    return max(abs(a.gain - b.gain) for a, b in pairs), max(abs(a.proof - b.proof) for a, b in pairs)


# Whole rounds


async def answer(miner: Training, task: Any) -> list[Any]:
    """All of it."""
    return [piece async for piece in miner.answer(task)]


async def measure_market(scale: Scale) -> dict[str, Any]:
    """A validator on the device and one on the processor judge the same rounds: do they stay together?"""
    model, rounds = scale.models[0], scale.rounds
    options: dict[str, Any] = {
        "model": model,
        "corpus": "builtin",
        "steps": scale.steps,
        "threads": scale.threads,
    }
    with tempfile.TemporaryDirectory() as place:
        here = Training(**options, folder=f"{place}/here", device="cpu")
        there = Training(**options, folder=f"{place}/there", device=scale.device)
        store = f"{place}/there/store"
        for validator in (here, there):
            await validator.open("validator")
        miners = [Training(**options, store=store, device=scale.device) for _ in range(4)]
        for miner in miners:
            await miner.open("miner")
        rows: list[list[object]] = []
        head = ["round", "begun at the same checkpoint", "scores apart, at most", "the processor's audit agrees"]
        head_of([*head, "median gain", "seconds"])
        for number in range(rounds):
            began = time.monotonic()
            for validator in (here, there):
                await validator.begin(number)
            tasks = [there.assign(bytes([number]) * 32, uid) for uid in range(1, 5)]
            same = tasks == [here.assign(bytes([number]) * 32, uid) for uid in range(1, 5)]
            answers = [await answer(miner, task) for miner, task in zip(miners, tasks, strict=True)]
            contenders = [
                Contender(uid, 1, task, Submission(uid, pieces, 0.1, 0.1, bytes([uid]) * 65))
                for uid, (task, pieces) in enumerate(zip(tasks, answers, strict=True), start=1)
            ]
            seed = bytes([100 + number]) * 32
            mine, theirs = [await each.judge_round(seed, contenders) for each in (here, there)]
            agree = [
                (await here.recheck(task, contender.submission, verdict)).agrees
                for task, contender, verdict in zip(tasks, contenders, theirs, strict=True)
            ]
            scores = max(abs(one.score - other.score) for one, other in zip(mine, theirs, strict=True))
            gain = median((verdict.measures or {})["gain"] for verdict in theirs)
            rows.append([number + 1, same, f"{scores:.3f}", f"{sum(agree)} of 4", f"{gain:.3f}"])
            rows[-1].append(f"{time.monotonic() - began:.1f}")
            row_of(rows[-1])
        say()
        for role in (here, there, *miners):
            await role.close()
    return {"rows": rows}


# A fine-tune in 4 bits


def write_base(folder: Path, scale: Scale) -> int:
    """A Llama of random parameters and a tokenizer with a token for each byte; how many parameters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415 - of tercet[finetune]
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: PLC0415

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=scale.width,
        intermediate_size=11 * scale.width // 4,
        num_hidden_layers=scale.layers,
        num_attention_heads=scale.width // 64,
        num_key_value_heads=scale.width // 64,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    return sum(value.numel() for value in model.parameters())


def write_recipe(folder: Path) -> None:
    """`tuned.py` out of the guide, to be imported from there."""
    block = re.search(r"```python file=tuned\.py\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert block is not None, f"{GUIDE} has no tuned.py"
    (folder / "tuned.py").write_text(block.group(1))
    sys.path.insert(0, str(folder))


async def measure_qlora(scale: Scale) -> dict[str, Any]:
    """The guide's recipe in a market of its own: memory beside bfloat16, loss over the rounds, bytes of an update."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - of tercet[finetune]

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found["parameters"] = write_base(folder / "base", scale)
        write_recipe(folder)
        os.environ["TUNED_MODEL"] = str(folder / "base")
        text = folder / "text.txt"
        text.write_bytes(read_corpus("builtin")[: 1 << 20])
        gpu = scale.device.startswith("cuda")
        if gpu:
            before = torch.cuda.memory_allocated()
            whole = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16, device_map=0)
            found["bf16_bytes"] = torch.cuda.memory_allocated() - before
            del whole
            torch.cuda.empty_cache()
            before = torch.cuda.memory_allocated()
        options: dict[str, Any] = {
            "model": "tuned:build",
            "corpus": str(text),
            "context": 128,
            "steps": scale.tuned_steps,
            "batch": 16,
            "device": scale.device,
        }
        miner = Training(**options, store=f"{place}/state/store", inner_rate=1e-3)
        await miner.open("miner")
        if gpu:
            found["nf4_bytes"] = torch.cuda.memory_allocated() - before
        other = Training(**options, store=f"{place}/state/store", inner_rate=1e-3)
        validator = Training(**options, folder=f"{place}/state")
        for role, name in ((other, "miner"), (validator, "validator")):
            await role.open(name)  # type: ignore[arg-type]
        found |= await tune(validator, [miner, other], scale, gpu)
        for role in (miner, other, validator):
            await role.close()
    describe_tuning(found)
    return found


async def tune(validator: Training, miners: Sequence[Training], scale: Scale, gpu: bool) -> dict[str, Any]:
    """Some rounds, and what they cost."""
    panel = validator._judging()
    setting: Setting = panel.setting
    windows = panel.corpus.held_out(64, panel.rules.context)

    def loss() -> float:
        setting.trainee.load(panel.keeper.checkpoint.theta)
        return float(setting.trainee.losses(windows).mean())

    losses, scores, mining, judging, sent = [loss()], [], [], [], 0
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    for number in range(scale.tuned_rounds):
        await validator.begin(number)
        contenders = []
        for uid, miner in enumerate(miners, start=1):
            task = validator.assign(bytes([number]) * 32, uid)
            began = time.monotonic()
            pieces = await answer(miner, task)
            mining.append(time.monotonic() - began)
            sent = len(pieces[0]["update"])
            contenders.append(Contender(uid, 1, task, Submission(uid, pieces, 0.1, 0.1, bytes([uid]) * 65)))
        began = time.monotonic()
        verdicts = await validator.judge_round(bytes([100 + number]) * 32, contenders)
        judging.append(time.monotonic() - began)
        audits = [
            (await validator.recheck(each.task, each.submission, verdict)).agrees
            for each, verdict in zip(contenders, verdicts, strict=True)
        ]
        assert all(audits), "the validator does not agree with itself"
        losses.append(loss())
        scores.append([round(verdict.score, 3) for verdict in verdicts])
    return {
        "losses": losses,
        "scores": scores,
        "trained": setting.trainee.size,
        "update_characters": sent,
        "round_seconds": median(mining),
        "judge_seconds": median(judging) / len(miners),
        "peak_bytes": torch.cuda.max_memory_allocated() if gpu else 0,
        "tokens": panel.rules.tokens,
    }


def describe_tuning(found: Mapping[str, Any]) -> None:
    """As tables."""
    mib = float(1 << 20)
    rows: list[list[object]] = [
        ["parameters of the base, millions", f"{found['parameters'] / 1e6:.0f}"],
        ["parameters trained, millions", f"{found['trained'] / 1e6:.2f}"],
        ["an update as it travels, MB", f"{found['update_characters'] / 1e6:.2f}"],
        ["the base in bfloat16 / an update", f"{2 * found['parameters'] / found['update_characters']:.0f}"],
        ["tokens of a round", found["tokens"]],
        ["a miner's round, s", f"{found['round_seconds']:.2f}"],
        ["judging an update / making it", f"{found['judge_seconds'] / found['round_seconds']:.2f}"],
    ]
    if "nf4_bytes" in found:
        rows += [
            ["the base alone in bfloat16, MiB of the device", f"{found['bf16_bytes'] / mib:.0f}"],
            ["base in 4 bits and adapters in float32", f"{found['nf4_bytes'] / mib:.0f}"],
            ["most at any time, two miners and a validator together", f"{found['peak_bytes'] / mib:.0f}"],
        ]
    table(["fine-tune", ""], rows)
    table(
        ["round", "held-out loss, nats/token", "scores"],
        [[number, f"{loss:.3f}", ([["-"], *found["scores"]])[number]] for number, loss in enumerate(found["losses"])],
    )


PARTS: Mapping[str, Callable[[Scale], Any]] = {
    "flops": measure_flops,
    "noise": measure_noise,
    "training": measure_training,
    "market": measure_market,
    "qlora": measure_qlora,
}


async def main() -> int:
    """Measure and print; how many parts broke."""
    parser = argparse.ArgumentParser(description="Compute and training on an accelerator, beside the processor.")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}, with commas between them")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--rehearse", action="store_true", help="on the processor, the smallest sizes")
    parser.add_argument("--seconds", type=float, default=3600.0, help="after which a part is cut off")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not options.rehearse and not torch.cuda.is_available():
        parser.exit(
            1, "There is no CUDA device here, so there is nothing to measure. --rehearse runs on the processor.\n"
        )
    scale = Scale().rehearsal if options.rehearse else Scale().quick if options.quick else Scale()
    card = "no device" if options.rehearse else torch.cuda.get_device_name(0)
    say(f"{card}; torch {torch.__version__}, numpy {np.__version__}, {os.cpu_count()} cores, {platform.machine()}")
    say("A rehearsal: these figures mean nothing.\n" if options.rehearse else "")
    found: dict[str, Any] = {"card": card, "torch": torch.__version__}
    broken = 0
    for name in wanted:
        say(f"## {name}\n")
        began = time.monotonic()
        try:
            found[name] = await asyncio.wait_for(PARTS[name](scale), options.seconds)
        except Exception:  # noqa: BLE001 - each part is a measurement of its own
            broken += 1
            say(traceback.format_exc())
        say(f"{name} took {time.monotonic() - began:.0f} s\n")
        if options.json:
            options.json.write_text(json.dumps(found, indent=2, default=str))
    return broken


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
