"""Who multiplies: numpy everywhere, torch where it is installed, its accelerators where there are some.

An engine holds a chain and moves it one link further. Which engine is fastest for a dtype is tried out, never assumed:
one processor does bfloat16 twenty times as fast as float32, the next does not do it at all.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from tercet.subnets.flops.chain import Array, build_base, encode_rows, round_to, shuffle
from tercet.subnets.flops.tasks import Dtype

__all__ = ["Chain", "Engine", "NumpyEngine", "TorchEngine", "find_engines", "pick_engine"]


class Chain(Protocol):
    """A chain on its way."""

    now: Any
    """X, as the library holds it."""

    def step(self, order: Array) -> None:
        """One link: X = Q · X[order], rounded to the dtype. May still be under way when this returns."""

    def wait(self) -> None:
        """Until nothing is under way."""

    def finish(self) -> Array:
        """X as `encode_rows` writes it."""


class Engine(Protocol):
    """Something that multiplies."""

    name: str
    accelerator: str
    """What the device calls itself; empty for a processor."""

    def start(self, dtype: Dtype, n: int) -> Chain:
        """A chain at X = Q; the first of a dtype and size takes longer. Raises whatever the library raises when it cannot do the dtype."""


class NumpyEngine:
    """The machine's BLAS. Narrow dtypes are multiplied as float32 and rounded after each link: exact, at its speed."""

    name, accelerator = "numpy", ""

    def start(self, dtype: Dtype, n: int) -> Chain:
        """At X = Q."""
        return _NumpyChain(dtype, n)


class _NumpyChain:
    def __init__(self, dtype: Dtype, n: int) -> None:
        self._dtype: Dtype = dtype
        self._base = build_base(dtype, n)
        self.now, self._shuffled = self._base.copy(), np.empty_like(self._base)

    def step(self, order: Array) -> None:
        np.take(self.now, order, axis=0, out=self._shuffled)
        np.matmul(self._base, self._shuffled, out=self.now)
        if self._dtype not in ("float32", "float64"):
            self.now = round_to(self._dtype, self.now)

    def wait(self) -> None:
        pass

    def finish(self) -> Array:
        return encode_rows(self._dtype, self.now)


class TorchEngine:
    """torch on one device: native bfloat16, float16 and int8 products, and accelerators."""

    def __init__(self, device: str = "cpu", threads: int = 0) -> None:
        """`device` as torch names it; `threads` of the processor, 0 leaves torch's own choice."""
        self.name = f"torch:{device}"
        self._torch: Any = importlib.import_module("torch")
        self._device = device
        self.accelerator = str(self._torch.cuda.get_device_name(device)) if device.startswith("cuda") else ""
        self._bases: dict[tuple[Dtype, int], Any] = {}
        """Q of each dtype and size, on the device: the way there is no part of the work."""
        if threads:
            self._torch.set_num_threads(threads)

    def start(self, dtype: Dtype, n: int) -> Chain:
        """At X = Q."""
        torch, base = self._torch, self._bases.get((dtype, n))
        if base is None:
            whole = torch.from_numpy(build_base(dtype, n).copy())
            base = self._bases[dtype, n] = whole.to(device=self._device, dtype=getattr(torch, dtype))
        return _TorchChain(torch, self._device, dtype, base)


class _TorchChain:
    def __init__(self, torch: Any, device: str, dtype: Dtype, base: Any) -> None:
        self._torch, self._device, self._dtype, self._base = torch, device, dtype, base
        self.now, self._shuffled = self._base.clone(), torch.empty_like(self._base)

    def step(self, order: Array) -> None:
        torch = self._torch
        index = torch.from_numpy(order).to(self._device)
        torch.index_select(self.now, 0, index, out=self._shuffled)
        if self._dtype == "int8":
            self.now = torch._int_mm(self._base, self._shuffled).to(torch.int8)  # noqa: SLF001 - torch's only int8 product
        else:
            torch.mm(self._base, self._shuffled, out=self.now)

    def wait(self) -> None:
        if self._device.startswith("cuda"):
            self._torch.cuda.synchronize(self._device)

    def finish(self) -> Array:
        found = self.now.cpu()
        if self._dtype == "bfloat16":
            found = found.view(self._torch.int16)
        array: Array = found.numpy()
        return array.view(np.uint16) if self._dtype == "bfloat16" else array


def find_engines(device: str = "auto", threads: int = 0) -> Sequence[Engine]:
    """What there is on this machine.

    Args:
        device: `auto` for everything, `numpy`, or a device of torch's such as `cpu` or `cuda:0`.
        threads: for torch on the processor; numpy's BLAS reads OMP_NUM_THREADS.

    """
    if device == "numpy":
        return [NumpyEngine()]
    if device != "auto":
        return [TorchEngine(device, threads)]
    found: list[Engine] = [NumpyEngine()]
    if importlib.util.find_spec("torch") is not None:
        found.append(TorchEngine("cpu", threads))
        if importlib.import_module("torch").cuda.is_available():
            found.append(TorchEngine("cuda:0"))
    return found


_CANNOT = (RuntimeError, NotImplementedError, TypeError)
"""torch's words for a dtype that the device lacks."""


def pick_engine(engines: Sequence[Engine], dtype: Dtype, n: int, links: int = 2) -> Engine:
    """The fastest of `engines` at this dtype and size, by trying each: after that none has Q to make."""
    if len(engines) == 1:
        with contextlib.suppress(*_CANNOT):
            engines[0].start(dtype, n)
        return engines[0]
    timed = [(_try(engine, dtype, n, links), index) for index, engine in enumerate(engines)]
    return engines[min(timed)[1]]


def _try(engine: Engine, dtype: Dtype, n: int, links: int) -> float:
    """Seconds for a few links; infinite when it cannot."""
    orders = [shuffle(bytes(32), link, n) for link in range(links + 1)]
    try:
        chain = engine.start(dtype, n)
        chain.step(orders[0])
        chain.finish()
        began = time.perf_counter()
        for order in orders[1:]:
            chain.step(order)
        chain.finish()
    except _CANNOT:
        return float("inf")
    return time.perf_counter() - began
