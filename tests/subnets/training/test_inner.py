"""A miner's inner loop."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tercet.errors import SubnetError
from tercet.subnets.training.data import Corpus
from tercet.subnets.training.inner import FEEDBACK, Inner, Learner, Memory
from tercet.subnets.training.parallel import TorchrunLearner, main
from tercet.subnets.training.setting import Setting


def batches(corpus: Corpus, seed: bytes, steps: int = 4, batch: int = 8) -> np.ndarray:
    return corpus.draw(seed, "assigned", steps * batch, 64).reshape(steps, batch, 65)


def test_training_lowers_the_loss_on_what_it_trained_on(setting: Setting, corpus: Corpus) -> None:
    learner, work = Learner(setting.trainee, setting.codec), batches(corpus, b"a", 12)
    before = setting.trainee.losses(work.reshape(-1, 65)).mean()
    update = learner.train(setting.start, work)
    setting.trainee.load(setting.start + update.dense(setting.trainee.size))
    assert setting.trainee.losses(work.reshape(-1, 65)).mean() < before - 0.2


def test_what_is_left_out_is_sent_later(setting: Setting) -> None:
    learner = Learner(setting.trainee, setting.codec)
    change = np.random.default_rng(0).standard_normal(setting.trainee.size).astype(np.float32)
    sent = learner.send(change).dense(setting.trainee.size)
    assert np.allclose(sent + learner.leftover, change, atol=1e-6)
    nothing = np.zeros_like(change)
    again = learner.send(nothing).dense(setting.trainee.size)
    assert np.allclose(again + learner.leftover, np.float32(FEEDBACK) * (change - sent), atol=1e-6)


def test_a_learner_that_was_restored_goes_on_as_if_nothing_had_happened(setting: Setting, corpus: Corpus) -> None:
    learner = Learner(setting.trainee, setting.codec)
    learner.train(setting.start, batches(corpus, b"a"))
    memory = Memory.from_bytes(learner.remember().to_bytes(), setting.trainee.size)
    expected = learner.train(setting.start, batches(corpus, b"b"))
    fresh = Learner(setting.trainee, setting.codec)
    fresh.restore(memory)
    assert fresh.train(setting.start, batches(corpus, b"b")).digest == expected.digest


def test_memory_of_another_model_is_refused() -> None:
    zeros = np.zeros(5, np.float32)
    with pytest.raises(ValueError, match="another model"):
        Memory.from_bytes(Memory(1, zeros, zeros, zeros).to_bytes(), 6)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_as_one(parallel: str, setting: Setting, corpus: Corpus) -> None:
    """Real torchrun with gloo; Adam's state crosses the rounds."""
    one = Learner(setting.trainee, setting.codec)
    two = TorchrunLearner.build(setting, Inner(), "", 2, parallel, device="cpu")
    for seed in (b"a", b"b"):
        alone = one.improve(setting.start, batches(corpus, seed, 2))
        together = two.improve(setting.start, batches(corpus, seed, 2))
        assert np.abs(alone - together).max() < 1e-5 < np.abs(alone).max()
        assert two.loss == pytest.approx(one.loss, abs=1e-5)
    assert np.allclose(one.remember().second, two.remember().second, atol=1e-8)


class _OneProcess(TorchrunLearner):
    """Its loop runs here, as the only process of its group."""

    def _run(self, folder: Path) -> None:
        main(folder)


def test_each_process_takes_the_threads_it_may(
    setting: Setting, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    before = torch.get_num_threads()
    try:
        _OneProcess.build(setting, Inner(), "", 1, "ddp", 3).improve(setting.start, batches(corpus, b"a", 1))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_batch_that_cannot_be_shared_is_refused(setting: Setting, corpus: Corpus) -> None:
    learner = TorchrunLearner.build(setting, Inner(), "", 3, "ddp", device="cpu")
    with pytest.raises(SubnetError, match="not shared evenly by 3"):
        learner.improve(setting.start, batches(corpus, b"a"))


@pytest.mark.slow
def test_a_loop_that_breaks_says_why(setting: Setting, corpus: Corpus) -> None:
    learner = TorchrunLearner.build(setting, Inner(), "/no/such/base", 2, "ddp", device="cpu")
    with pytest.raises(SubnetError, match="Cannot read the base model"):
        learner.improve(setting.start, batches(corpus, b"a"))


@pytest.mark.slow
def test_processes_that_do_not_find_each_other_are_ended(
    setting: Setting, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When they have no time to; none is left, and nothing of what they worked on."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    learner = TorchrunLearner.build(setting, Inner(), "", 2, "ddp", device="cpu")
    learner.limit = 0.0
    with pytest.raises(SubnetError, match=r"did not find each other in \d+ s.*GLOO_SOCKET_IFNAME"):
        learner.improve(setting.start, batches(corpus, b"a", 2))
    assert not list(tmp_path.iterdir())
    if Path("/proc").exists():
        assert str(tmp_path) not in "".join(_commands())


def _commands() -> Iterator[str]:
    """Of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it is over
            yield path.read_text(errors="replace")
