"""The benchmark of this market, on a machine that is too busy for it."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

from tercet.market import Task
from tercet.subnets.flops import Flops
from tercet.subnets.flops.engines import find_engines
from tercet.subnets.flops.judge import grace
from tercet.subnets.mechanism import Piece

WINDOW = 0.05


@pytest.fixture
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flops_benchmark", Path(__file__).parents[3] / "benchmarks/flops.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Busy(Flops):
    """A miner whose machine does something else until the window and the grace are over."""

    async def answer(self, task: Task) -> AsyncIterator[Piece]:
        await asyncio.sleep(WINDOW + grace(WINDOW))
        async for piece in super().answer(task):
            yield piece


@pytest.mark.slow
async def test_answers_that_are_late_are_told_and_left_out(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """They have no rate: the benchmark says so, and goes on with the next kind."""
    miner, validator = (made("small", window=WINDOW, kinds="float32", full="2-cores") for made in (_Busy, Flops))
    await miner.open("miner")
    await validator.open("validator")
    benchmark.REPEATS, benchmark.FLOOR_SECONDS = 2, 0.01  # type: ignore[attr-defined]
    row = await benchmark.cost_of("float32", miner, validator, find_engines())
    said = capsys.readouterr().err.splitlines()
    assert len(said) == benchmark.REPEATS
    assert all(line.startswith("float32: left out, the promise came after ") for line in said)
    assert "none of 2 answers was in time, the promise came after" in benchmark.costs_line("float32", row)
