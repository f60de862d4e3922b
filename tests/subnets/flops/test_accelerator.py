"""Accelerators: the same products, faster. Whoever has none runs the same torch code on the processor, as far as it goes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tercet.errors import SubnetError
from tercet.subnets.flops import chain
from tercet.subnets.flops.chain import Array, build_base, draw_links
from tercet.subnets.flops.engines import TorchEngine, _TurnedChain, multiplies_int8, sort_on_device
from tercet.subnets.flops.rogues import Behaviour
from tercet.subnets.flops.tasks import DTYPES, KINDS, SIZES, Dtype, Kind
from tercet.subnets.flops.walk import walk

from .desk import NONCE, asked, by_definition, opened

torch = pytest.importorskip("torch")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
GPU = "cuda:0"
DEVICES = ["cpu", pytest.param(GPU, marks=on_gpu)]


@dataclass(frozen=True, slots=True)
class _Track:
    nonce: bytes
    links: int
    start: Array


def tracks(dtype: Dtype, n: int) -> list[_Track]:
    draws = np.random.default_rng(1)
    kind = np.float64 if dtype == "float64" else np.float32
    return [_Track(os.urandom(32), links, draws.choice([-1.0, 1.0], (n, 4)).astype(kind)) for links in (3, 70, 1)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_judge_on_a_device_goes_the_way_that_numpy_goes(dtype: Dtype, device: str) -> None:
    """Chains of several lengths at once; int8 to the bit."""
    ways = tracks(dtype, 128)
    for expected, found in zip(walk("numpy", dtype, 128, ways), walk(device, dtype, 128, ways), strict=True):
        if dtype == "int8":
            assert (np.remainder(found - expected, 256) == 0).all()
        else:
            near = 1e-12 if dtype == "float64" else 1e-4
            assert np.abs(found - expected).max() < near * np.abs(expected).max()


@pytest.mark.parametrize("device", DEVICES)
def test_shuffles_are_sorted_alike_everywhere(device: str) -> None:
    """Equal draws stay in their order."""
    drawn = draw_links(NONCE, 1, 3, 512)
    drawn[0, 100:200] = drawn[0, 50]
    order = sort_on_device(torch, device, drawn).cpu().numpy()
    assert (order == drawn.argsort(axis=1, kind="stable")).all()


async def test_a_device_that_is_not_there_is_said_by_name() -> None:
    """At the start, not in the first task."""
    for role in ("miner", "validator"):
        with pytest.raises(SubnetError, match="no device 'cuda:77'"):
            await opened(role, device="cuda:77")


@pytest.mark.parametrize("device", DEVICES)
def test_int8_by_columns_is_the_same_product(device: str) -> None:
    """The layout that accelerators multiply fast."""
    if not multiplies_int8(device):
        pytest.skip("this processor's int8 product is not exact, and so not used")
    turned = _TurnedChain(torch, device, "int8", torch.from_numpy(build_base("int8", 128).astype(np.int8)).to(device))
    for order in turned.sort(draw_links(NONCE, 1, 5, 128)):
        turned.step(order)
    assert (turned.finish() == by_definition("int8", 128, NONCE, 5)).all()


OLD_PROCESSOR = """
from tercet.subnets.flops.engines import TorchEngine
from tests.subnets.flops.desk import NONCE, by_definition
from tercet.subnets.flops.chain import shuffle

chain = TorchEngine("cpu", 1).start("int8", 128)
for link in range(1, 6):
    chain.step(shuffle(NONCE, link, 128))
assert (chain.finish() == by_definition("int8", 128, NONCE, 5)).all()
"""


def test_int8_is_exact_on_a_processor_that_has_no_instruction_for_it() -> None:
    """Without VNNI oneDNN adds two products in 16 bits, which is no int8 product: whoever sent it would be paid nothing."""
    done = subprocess.run(
        [sys.executable, "-c", OLD_PROCESSOR], env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@on_gpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gpu_computes_the_chain(dtype: Dtype) -> None:
    """Int8 to the bit; floats as exact as their dtype says, TF32 or not."""
    torch.backends.cuda.matmul.allow_tf32 = True
    there = TorchEngine(GPU).start(dtype, 128)
    for order in there.sort(draw_links(NONCE, 1, 5, 128)):
        there.step(order)
    found, expected = there.finish(), by_definition(dtype, 128, NONCE, 5)
    if dtype == "int8":
        assert (found == expected).all()
    elif dtype in ("float32", "float64"):
        assert np.abs(found - expected).max() < (1e-6 if dtype == "float32" else 1e-14)


@on_gpu
def test_an_accelerator_makes_the_same_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far closer than half the digits tell."""
    by_numpy = chain._orthogonal(512, coarse=False)
    monkeypatch.setattr(chain, "_LARGE", 512)
    assert np.abs(chain._orthogonal(512, coarse=True) - by_numpy).max() < 1e-9


@on_gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("behaviour", ["honest", "narrow", "inflated"])
async def test_a_gpu_is_paid_for_what_it_did(behaviour: Behaviour, kind: Kind) -> None:
    """Miner and judge on it. In matrices so large that nobody gets to the most links, which cannot be inflated."""
    if behaviour != "honest" and kind == "memory":
        pytest.skip("tested without a device")
    size = {"size": "mini", "window": 0.5} if kind == "memory" else {"size": "small", "window": 0.1}
    options: dict[str, Any] = {**size, "device": GPU, "full": "h100-sxm", "kinds": kind}
    miner, validator = await opened("miner", behaviour=behaviour, **options), await opened(**options)
    await asked(miner, validator.probe(kind, os.urandom(32)).task)  # the first products of a process take longer
    task = validator.probe(kind, os.urandom(32)).task
    (verdict,) = await validator.judge(task, [await asked(miner, task)])
    assert (verdict.score > 0) == (behaviour == "honest"), verdict.reason


def test_the_large_class_keeps_an_accelerator_at_work() -> None:
    """A link must last much longer than handing it over takes, and no dtype may run into the most links in a window."""
    for dtype in DTYPES:
        assert SIZES["large"].n[dtype] >= 4096
