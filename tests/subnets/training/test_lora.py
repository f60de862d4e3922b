"""Adapters beside frozen weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tercet.errors import UsageError
from tercet.subnets.training.data import Corpus
from tercet.subnets.training.inner import Learner
from tercet.subnets.training.lora import Adapter, adapt
from tercet.subnets.training.model import build_module
from tercet.subnets.training.setting import Setting, build_setting
from tercet.subnets.training.tasks import Rules


@pytest.fixture
def base(setting: Setting, corpus: Corpus, tmp_path: Path) -> Path:
    """A model that has learned a little."""
    learner = Learner(setting.trainee, setting.codec)
    change = learner.improve(setting.start, corpus.draw(b"base", "assigned", 160, 64).reshape(20, 8, 65))
    path = tmp_path / "base.safetensors"
    path.write_bytes(setting.export(setting.start + change))
    return path


def test_adapters_start_from_what_the_base_says(setting: Setting, base: Path, rules: Rules) -> None:
    tuned = build_setting(replace(rules, rank=4), str(base))
    plain = build_setting(rules, str(base))
    tokens = torch.arange(60).reshape(2, 30)
    tuned.trainee.load(tuned.start)
    assert torch.allclose(tuned.trainee.module(tokens), plain.trainee.module(tokens), atol=1e-6)
    assert tuned.trainee.size < plain.trainee.size / 4
    assert len(tuned.rules.base) == 64


def test_adapters_learn_while_the_base_stays(base: Path, rules: Rules, corpus: Corpus) -> None:
    tuned = build_setting(replace(rules, rank=4), str(base))
    frozen = {name: value.clone() for name, value in tuned.trainee.module.named_parameters() if not value.requires_grad}
    work = corpus.draw(b"tune", "assigned", 160, 64).reshape(20, 8, 65)
    tuned.trainee.load(tuned.start)
    before = tuned.trainee.losses(work.reshape(-1, 65)).mean()
    update = Learner(tuned.trainee, tuned.codec).train(tuned.start, work)
    tuned.trainee.load(tuned.start + update.dense(tuned.trainee.size))
    assert tuned.trainee.losses(work.reshape(-1, 65)).mean() < before - 0.01
    assert all(torch.equal(dict(tuned.trainee.module.named_parameters())[name], old) for name, old in frozen.items())


def test_only_named_layers_are_adapted() -> None:
    module = adapt(build_module("nano"), 2, targets=("project",))
    adapted = [name for name, part in module.named_modules() if isinstance(part, Adapter)]
    assert adapted == ["layers.0.project", "layers.1.project"]
    with pytest.raises(UsageError, match="no linear layer called nothing"):
        adapt(build_module("nano"), 2, targets=("nothing",))


def test_two_machines_begin_with_the_same_adapters(rules: Rules) -> None:
    one, two = (build_setting(replace(rules, rank=2)).start for _ in range(2))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("damage", ["missing", "junk", "other"])
def test_a_base_that_is_none_says_so(damage: str, rules: Rules, base: Path, tmp_path: Path) -> None:
    path = {"missing": tmp_path / "nothing", "junk": tmp_path / "junk", "other": base}[damage]
    (tmp_path / "junk").write_bytes(b"\xff" * 100)
    with pytest.raises(UsageError, match=r"Cannot read the base|not a safetensors file of this model"):
        build_setting(replace(rules, model="tiny" if damage == "other" else "nano"), str(path))
