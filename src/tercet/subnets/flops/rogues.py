"""Miners that cheat, for demonstrations and tests: each does to a judge what a real one would try.

precomputed  works once, and sends that result for every later nonce, with eight times the links
stale        sends its first answer again, nonce and all
outsourced   lets somebody far away do the work, and pays the round trip in time
shared       one machine under several names: all instances in a process queue for one lock, and each uses it alone
cell         does the work, with one number wrong after the first link
narrow       computes in half the digits: float64 as float32, float32 and float16 as bfloat16, bfloat16 with 4 bits
zeros        sends zeros at once, and says that it did a lot
inflated     does the work, and says that it did a tenth more
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from tercet.subnets.flops.chain import Array, build_base, decode_rows, encode_rows, round_to, sort_draws
from tercet.subnets.flops.commitment import MAX_LINKS, hash_leaves
from tercet.subnets.flops.engines import Chain, Engine
from tercet.subnets.flops.judge import grace
from tercet.subnets.flops.memory import LANES
from tercet.subnets.flops.tasks import LEAF_ITEMS, Dtype, Probe
from tercet.subnets.flops.work import Done, Stop, run_chain, run_memory, stop_after

__all__ = ["BEHAVIOURS", "Behaviour", "Worker"]

Behaviour: TypeAlias = Literal[
    "honest", "precomputed", "stale", "outsourced", "shared", "cell", "narrow", "zeros", "inflated"
]
BEHAVIOURS: tuple[Behaviour, ...] = get_args(Behaviour)

USED = 0.95
"""Of the window that a miner works; the rest is for the promise to arrive in."""
ROUND_TRIP_SECONDS = 0.2
_ONE_MACHINE = threading.Lock()
_CLAIMED = 8
_NARROWER: Mapping[Dtype, Dtype] = {"float64": "float32", "float32": "bfloat16", "float16": "bfloat16"}


class Worker:
    """Does what a miner does, or what it does instead. Blocks; call from a thread."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._kept: dict[tuple[str, int], tuple[Probe, Done]] = {}

    def work(self, engine: Engine, probe: Probe) -> tuple[Probe, Done]:
        """What the answer says that it answers, and the result in it."""
        began = time.monotonic()
        stop = stop_after(began, USED * probe.window_seconds)
        match self._behaviour:
            case "precomputed" | "stale":
                return self._again(engine, probe, stop)
            case "outsourced":
                time.sleep(ROUND_TRIP_SECONDS)
                return probe, _run(engine, probe, stop)
            case "shared":
                with _ONE_MACHINE:
                    # In turn, and alone on the machine: after the window, where links done and their pay lost balance.
                    late = probe.window_seconds + grace(probe.window_seconds) / 2
                    first = time.monotonic() - began < (1 - USED) * probe.window_seconds
                    return probe, _run(engine, probe, stop if first else stop_after(began, late))
            case "cell":
                return probe, _run(_Careless(engine), probe, stop)
            case "narrow":
                return probe, _run(_Narrow(engine), probe, stop)
            case "zeros":
                return probe, _zeros(probe)
            case "inflated":
                return probe, _claimed(_run(engine, probe, stop), 1.1, probe)
            case _:
                return probe, _run(engine, probe, stop)

    def _again(self, engine: Engine, probe: Probe, stop: Stop) -> tuple[Probe, Done]:
        known = self._kept.get((probe.kind, probe.n))
        if known is None:
            known = self._kept[probe.kind, probe.n] = probe, _run(engine, probe, stop)
            return known
        return known if self._behaviour == "stale" else (probe, _claimed(known[1], _CLAIMED, probe))


def _run(engine: Engine, probe: Probe, stop: Stop) -> Done:
    return run_memory(probe, stop) if probe.kind == "memory" else run_chain(engine, probe, probe.kind, stop)


def _claimed(done: Done, times: float, probe: Probe) -> Done:
    """The same rows, said to be of more work; a memory test has rows for each lane, so some come twice."""
    if probe.kind == "memory":
        count = min(LANES, int(done.count * times) + 1)
        per_lane = probe.n // LEAF_ITEMS
        rows = done.rows[np.arange(count * per_lane) % len(done.rows)]
        return Done(count, rows, hash_leaves(rows))
    return Done(min(MAX_LINKS, int(done.count * times) + 1), done.rows, done.hashes)


def _zeros(probe: Probe) -> Done:
    if probe.kind == "memory":
        rows: Array = np.zeros((LANES * (probe.n // LEAF_ITEMS), LEAF_ITEMS), np.uint64)
        return Done(LANES, rows, hash_leaves(rows[:1]) * len(rows))
    rows = encode_rows(probe.kind, np.zeros((probe.n, probe.n), np.float32))
    return Done(MAX_LINKS, rows, hash_leaves(rows[:1]) * probe.n)


class _Careless:
    """An engine that gets one number wrong, once."""

    name, accelerator = "careless", ""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def start(self, dtype: Dtype, n: int) -> Chain:
        return _CarelessChain(self._engine.start(dtype, n))


class _CarelessChain:
    def __init__(self, chain: Chain) -> None:
        self._chain, self._done = chain, False
        self.now = chain.now

    def sort(self, draws: Array) -> Sequence[Any]:
        return self._chain.sort(draws)

    def step(self, order: Any) -> None:
        self._chain.step(order)
        if not self._done:
            # Within what every dtype and chain can hold: nothing but the product tells.
            self._chain.now[0, 0] = 1 if self._chain.now[0, 0] != 1 else 0
            self._done = True

    def wait(self) -> None:
        self._chain.wait()

    def finish(self) -> Array:
        return self._chain.finish()


class _Narrow:
    """An engine that says one dtype and computes in a narrower one."""

    name, accelerator = "narrow", ""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def start(self, dtype: Dtype, n: int) -> Chain:
        narrower = _NARROWER.get(dtype)
        return _CoarseChain(dtype, n) if narrower is None else _NarrowChain(self._engine, dtype, narrower, n)


class _NarrowChain:
    def __init__(self, engine: Engine, dtype: Dtype, narrower: Dtype, n: int) -> None:
        self._dtype, self._narrower, self._n = dtype, narrower, n
        self._chain = engine.start(narrower, n)
        self.now = self._chain.now

    def sort(self, draws: Array) -> Sequence[Any]:
        return self._chain.sort(draws)

    def step(self, order: Any) -> None:
        self._chain.step(order)

    def wait(self) -> None:
        self._chain.wait()

    def finish(self) -> Array:
        rows = decode_rows(self._narrower, self._chain.finish().tobytes(), self._n)
        return encode_rows(self._dtype, round_to(self._dtype, rows))


class _CoarseChain:
    """Where there is no narrower dtype at hand: the low bits are dropped after each link, as an 8-bit float does."""

    def __init__(self, dtype: Dtype, n: int) -> None:
        self._dtype: Dtype = dtype
        self._base = build_base(dtype, n)
        self.now = self._base.copy()

    def sort(self, draws: Array) -> Sequence[Array]:
        return list(sort_draws(draws))

    def step(self, order: Array) -> None:
        exact = round_to(self._dtype, self._base @ self.now[order])
        if self._dtype == "int8":
            self.now = 16 * np.rint(exact / 16)
            return
        mantissa, exponent = np.frexp(exact)
        self.now = np.ldexp(np.rint(mantissa * 16) / 16, exponent).astype(exact.dtype)

    def wait(self) -> None:
        pass

    def finish(self) -> Array:
        return encode_rows(self._dtype, np.clip(self.now, -128, 127) if self._dtype == "int8" else self.now)
