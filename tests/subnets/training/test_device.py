"""Where a model computes. Whoever has no GPU tests the choice; the rest is skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tercet.errors import UsageError
from tercet.subnets.training import Training
from tercet.subnets.training.data import Corpus
from tercet.subnets.training.device import find_device, place
from tercet.subnets.training.inner import Inner, Learner, Memory
from tercet.subnets.training.judge import Entrant, Judge
from tercet.subnets.training.outer import Checkpoint
from tercet.subnets.training.panel import GAIN_TOLERANCE, PROOF_TOLERANCE
from tercet.subnets.training.parallel import TorchrunLearner
from tercet.subnets.training.setting import Setting, build_setting
from tercet.subnets.training.tasks import Rules

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
GPU = "cuda:0"


def batches(corpus: Corpus, seed: bytes) -> np.ndarray:
    return corpus.draw(seed, "assigned", 32, 64).reshape(4, 8, 65)


def test_the_choice_is_a_gpu_where_there_is_one() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("name", "why"), [("cuda:77", "There is no 'cuda:77'"), ("abacus", "no device"), ("meta", "not on 'meta'")]
)
def test_a_device_that_is_not_there_is_said_by_name(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        find_device(name)


async def test_both_roles_say_it_when_they_open(text: Path, tmp_path: Path) -> None:
    for role in ("miner", "validator"):
        with pytest.raises(UsageError, match="cuda:77"):
            await Training("nano", corpus=str(text), folder=tmp_path, device="cuda:77").open(role)


def test_products_are_never_in_tf32() -> None:
    """Whatever the process was told before: all devices come to the same values."""
    torch.set_float32_matmul_precision("high")
    place(nn.Linear(2, 2), torch.device("cpu"))
    assert torch.get_float32_matmul_precision() == "highest"


def test_one_process_runs_by_torchrun_where_that_is_asked_for(text: Path) -> None:
    options = {"corpus": str(text), "device": "cpu"}
    assert type(Training("nano", **options)._open_miner().learner) is Learner  # type: ignore[arg-type]
    apart = Training("nano", parallel="fsdp", **options)._open_miner().learner  # type: ignore[arg-type]
    assert isinstance(apart, TorchrunLearner)
    assert (apart.processes, apart.parallel, apart.device) == (1, "fsdp", "cpu")


@on_gpu
def test_a_gpu_trains_as_the_processor_does(setting: Setting, rules: Rules, corpus: Corpus) -> None:
    """Over two rounds, between which its memory goes through a file."""
    there = build_setting(rules, device=GPU)
    assert there.trainee.device == torch.device(GPU)
    one, two = (Learner(each.trainee, each.codec) for each in (setting, there))
    for seed in (b"a", b"b"):
        here = one.improve(setting.start, batches(corpus, seed))
        assert np.linalg.norm(two.improve(there.start, batches(corpus, seed)) - here) < 1e-3 * np.linalg.norm(here)
        two.restore(Memory.from_bytes(two.remember().to_bytes(), there.trainee.size))
    assert np.allclose(one.remember().second, two.remember().second, atol=1e-6)


@on_gpu
def test_a_gpu_judges_within_what_an_audit_allows(setting: Setting, rules: Rules, corpus: Corpus) -> None:
    there, learner = build_setting(rules, device=GPU), Learner(setting.trainee, setting.codec)
    start = Checkpoint.begin(setting.start, rules.digest)
    entrants = [
        Entrant(uid, 1, bytes([uid]) * 32, learner.train(setting.start, batches(corpus, bytes([uid]))))
        for uid in (1, 2)
    ]
    found = [Judge(each.trainee, corpus, rules).measure(start, bytes(32), entrants)[0] for each in (setting, there)]
    for one, two in zip(*found, strict=True):
        assert abs(one.gain - two.gain) < GAIN_TOLERANCE / 10
        assert abs(one.proof - two.proof) <= PROOF_TOLERANCE


@on_gpu
@pytest.mark.slow
@pytest.mark.parametrize(("processes", "parallel"), [(1, "ddp"), (1, "fsdp"), (2, "ddp")])
def test_torchrun_on_a_gpu_trains_as_the_processor_does(
    processes: int, parallel: str, setting: Setting, corpus: Corpus
) -> None:
    """One process by nccl; two that share the GPU by gloo, since nccl takes no two on one."""
    one = Learner(setting.trainee, setting.codec)
    apart = TorchrunLearner.build(setting, Inner(), "", processes, parallel, device=GPU)
    for seed in (b"a", b"b"):
        here, there = (each.improve(setting.start, batches(corpus, seed)) for each in (one, apart))
        assert np.linalg.norm(there - here) < 1e-3 * np.linalg.norm(here)
    assert np.allclose(one.remember().second, apart.remember().second, atol=1e-6)


@on_gpu
def test_more_processes_than_gpus_are_refused(setting: Setting) -> None:
    with pytest.raises(UsageError, match="need a GPU each"):
        TorchrunLearner.build(setting, Inner(), "", torch.cuda.device_count() + 1, "ddp")
