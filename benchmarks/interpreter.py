"""How much faster the embedded chain runs a page of an epoch than py-evm's own loop.

    python benchmarks/interpreter.py

One page of 16 columns and 64 validators, settled on the same state by either loop, the best of five.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from eth.vm.forks.prague.computation import PragueComputation

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.chain.contracts.arena import TCT, Arena, Params  # noqa: E402 - not on the path before
from tests.chain.contracts.evm import State  # noqa: E402

from tercet.chain.devnet.interpreter import FastComputation  # noqa: E402
from tercet.market.epoch import FULL, PAGE, close_market_epoch  # noqa: E402

TRIES = 5


def build() -> tuple[Arena, list[int]]:
    """A market whose epoch is being closed, and its hints."""
    arena = Arena(Params(commit_seconds=10_000, reveal_seconds=10_000))
    for _ in range(PAGE - 1):
        arena.add_miner("")
    for vid in range(64):
        arena.add_validator(1_000 * TCT + vid)
    arena.skip_epoch()
    each = FULL // PAGE
    arena.vote({vid: [each + FULL - PAGE * each, *[each] * (PAGE - 1)] for vid in arena.validators})
    hints = close_market_epoch(arena.state()).hints
    arena.market.send(arena.opener, "begin_close")
    return arena, list(hints)


def main() -> None:
    """Print both, and the ratio."""
    arena, hints = build()
    start = arena.ledger.snapshot()
    seconds = {}
    for name, kind in (("py-evm", PragueComputation), ("ours", FastComputation)):
        State.computation_class = kind
        times, gas = [], 0
        for _ in range(TRIES):
            arena.ledger.restore(start)
            began = time.process_time()
            gas = arena.market.send(arena.opener, "settle_pages", 0, hints).gas
            times.append(time.process_time() - began)
        seconds[name] = min(times)
        print(f"{name:>7}: {gas:,} gas in {min(times):.3f} s, {gas / min(times) / 1e6:.0f} million gas a second")
    print(f"  ratio: {seconds['py-evm'] / seconds['ours']:.1f}")


if __name__ == "__main__":
    main()
