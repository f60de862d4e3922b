"""A module as one flat vector."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from tercet.errors import UsageError
from tercet.subnets.training.model import Trainee, build_module, initial_vector
from tercet.subnets.training.setting import Setting, build_setting
from tercet.subnets.training.tasks import Rules


def test_training_begins_at_the_same_bits_on_every_machine() -> None:
    """Pinned: another value here splits every market between old and new installations."""
    digest = hashlib.sha256(initial_vector(build_module("nano")).tobytes()).hexdigest()
    assert digest.startswith("bd7f1e946f178910")


def test_a_vector_goes_in_and_comes_out_again(setting: Setting) -> None:
    vector = np.arange(setting.trainee.size, dtype=np.float32)
    setting.trainee.load(vector)
    assert np.array_equal(setting.trainee.read(), vector)


def test_an_untrained_model_knows_nothing(setting: Setting) -> None:
    """It takes log 256 nats a byte."""
    setting.trainee.load(setting.start)
    windows = np.random.default_rng(0).integers(0, 256, (8, 65))
    assert setting.trainee.losses(windows).mean() == pytest.approx(np.log(256), rel=0.02)


class Bigram(nn.Module):
    """Somebody's own model, with tokens of its own and a part that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 4)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.table(tokens)
        return found

    def encode(self, text: bytes) -> list[int]:
        return [byte % 4 for byte in text]


def half() -> nn.Module:
    return Bigram().half()


def frozen() -> nn.Module:
    return Bigram().requires_grad_(False)


def number() -> int:
    return 7


def test_any_module_that_is_installed_can_be_trained() -> None:
    setting = build_setting(Rules(f"{__name__}:Bigram", "0" * 64))
    assert setting.trainee.shapes == (("table.weight", (4, 4)),)
    assert setting.trainee.losses(np.zeros((2, 9), np.int64)).shape == (2,)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("huge", "Known: nano"),
        ("no.such.module:Model", "Install the package"),
        (f"{__name__}:Nothing", "Install the package"),
        (f"{__name__}:number", "builds a int"),
        (f"{__name__}:half", "must be float32"),
        (f"{__name__}:frozen", "no parameter that is trained"),
    ],
)
def test_a_model_that_cannot_be_trained_says_why(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        build_setting(Rules(name, "0" * 64))


def test_windows_longer_than_the_model_sees_are_refused() -> None:
    with pytest.raises(UsageError, match="sees 64 tokens, not 65"):
        build_setting(Rules("nano", "0" * 64, context=65))


def test_the_export_has_every_tensor_by_its_name(setting: Setting) -> None:
    from safetensors.torch import load

    tensors = load(setting.export(setting.start))
    fresh = build_module("nano")
    fresh.load_state_dict(tensors)
    assert np.array_equal(Trainee(fresh).read(), setting.start)
