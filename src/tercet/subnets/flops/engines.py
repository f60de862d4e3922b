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
from functools import cache, cached_property
from typing import Any, Protocol

import numpy as np

from tercet.subnets.flops.chain import Array, build_base, draw_links, encode_rows, round_to, sort_draws
from tercet.subnets.flops.tasks import Dtype

__all__ = [
    "Chain",
    "Engine",
    "NumpyEngine",
    "TorchEngine",
    "find_accelerator",
    "find_engines",
    "multiplies_int8",
    "pick_engine",
    "sort_on_device",
]


class Chain(Protocol):
    """A chain on its way."""

    now: Any
    """X, as the library holds it."""

    def sort(self, draws: Array) -> Sequence[Any]:
        """From what `draw_links` drew, (links, n), to the order of rows of each link, as `step` takes it."""

    def step(self, order: Any) -> None:
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

    def sort(self, draws: Array) -> Sequence[Array]:
        return list(sort_draws(draws))

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
        if device.startswith("cuda"):  # a dtype says how exact an answer is, whatever torch was told to think of it
            matmul = self._torch.backends.cuda.matmul
            self._torch.set_float32_matmul_precision("highest")
            matmul.allow_fp16_reduced_precision_reduction = matmul.allow_bf16_reduced_precision_reduction = False
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
        chain = self._int8_chain() if dtype == "int8" else _TorchChain
        return chain(torch, self._device, dtype, base)

    def _int8_chain(self) -> type[_TorchChain]:
        if self._device.startswith("cuda"):
            return _TurnedChain
        return _TorchChain if multiplies_int8(self._device) else _WideChain


@cache
def multiplies_int8(device: str) -> bool:
    """Whether torch's int8 product is exact there. On x86 processors without VNNI sums of two stop at 16 bits."""
    torch = importlib.import_module("torch")
    most = torch.full((64, 64), 127, dtype=torch.int8, device=device)
    return bool((torch._int_mm(most, most) == 64 * 127 * 127).all())  # noqa: SLF001


class _TorchChain:
    def __init__(self, torch: Any, device: str, dtype: Dtype, base: Any) -> None:
        self._torch, self._device, self._dtype, self._base = torch, device, dtype, base
        self.now, self._shuffled = self._base.clone(), torch.empty_like(self._base)

    def sort(self, draws: Array) -> Sequence[Any]:
        return list(sort_on_device(self._torch, self._device, draws))

    def step(self, order: Any) -> None:
        torch = self._torch
        torch.index_select(self.now, 0, torch.as_tensor(order, device=self._device), out=self._shuffled)
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


class _WideChain(_TorchChain):
    """int8 where the device's own product is not exact: as float32, which is, since entries of Q are small enough."""

    def step(self, order: Any) -> None:
        torch = self._torch
        torch.index_select(self.now, 0, torch.as_tensor(order, device=self._device), out=self._shuffled)
        self.now = torch.mm(self._wide, self._shuffled.float()).to(torch.int32).to(torch.int8)

    @cached_property
    def _wide(self) -> Any:
        return self._base.float()


class _TurnedChain(_TorchChain):
    """int8 on accelerators, whose products are fast when the right side is laid out by columns."""

    def step(self, order: Any) -> None:
        torch, index = self._torch, self._torch.as_tensor(order, device=self._device)
        torch.index_select(self.now.t(), 1, index, out=self._shuffled)
        self.now = torch._int_mm(self._base, self._shuffled.t()).to(torch.int8)  # noqa: SLF001


def sort_on_device(torch: Any, device: str, draws: Array) -> Any:
    """(links, n): each row's stable order, on the device. An accelerator sorts ten times as fast as numpy."""
    if not device.startswith("cuda"):
        return torch.from_numpy(sort_draws(draws))
    signed = (draws ^ np.uint64(1 << 63)).view(np.int64)  # in the same order: torch sorts no unsigned numbers
    return torch.sort(torch.from_numpy(signed).to(device), dim=1, stable=True).indices


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
        if accelerator := find_accelerator():
            found.append(TorchEngine(accelerator))
    return found


def find_accelerator() -> str:
    """The first one, as torch names it; empty where there is none."""
    if importlib.util.find_spec("torch") is None or not importlib.import_module("torch").cuda.is_available():
        return ""
    return "cuda:0"


_CANNOT = (RuntimeError, NotImplementedError, TypeError)
"""torch's words for a dtype that the device lacks."""
_HOPELESS = 10.0
"""Times the best engine's seconds that the first link of another may take; it has some things to set up."""


def pick_engine(engines: Sequence[Engine], dtype: Dtype, n: int, links: int = 2) -> Engine:
    """The fastest of `engines` at this dtype and size, by trying each: after that none has Q to make."""
    if len(engines) == 1:
        with contextlib.suppress(*_CANNOT):
            engines[0].start(dtype, n)
        return engines[0]
    best, picked = float("inf"), engines[-1]
    for engine in reversed(engines):  # accelerators first: what is much slower need not be tried to the end
        seconds = _try(engine, dtype, n, links, best)
        if seconds < best:
            best, picked = seconds, engine
    return picked


def _try(engine: Engine, dtype: Dtype, n: int, links: int, best: float) -> float:
    """Seconds for a few links; infinite when it cannot, or when one alone takes far longer than `best`."""
    try:
        chain = engine.start(dtype, n)
        orders = chain.sort(draw_links(bytes(32), 1, links + 1, n))
        began = time.perf_counter()
        chain.step(orders[0])
        chain.finish()
        if time.perf_counter() - began > _HOPELESS * best:
            return float("inf")
        began = time.perf_counter()
        for order in orders[1:]:
            chain.step(order)
        chain.finish()
    except _CANNOT:
        return float("inf")
    return time.perf_counter() - began
