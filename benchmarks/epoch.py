"""Time the market's epoch in Python: 64 validators, 256 columns.

python benchmarks/epoch.py           a table
python benchmarks/epoch.py --json    one JSON object
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time

from tercet.market.epoch import FULL, MarketRules, MarketState, Seat, close_market_epoch

SIZES = ((4, 8), (16, 64), (64, 256))


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    as_json: bool = parser.parse_args().json
    results = {f"{validators}x{columns}": measure(validators, columns) for validators, columns in SIZES}
    if as_json:
        print(json.dumps({"benchmark": "epoch", "unit": "ms", "results": results}))
        return
    print("validators x columns   best ms   median ms   median ms of CPU")
    for size, result in results.items():
        print(f"{size:>20}   {result['best']:7.2f}   {result['median']:9.2f}   {result['cpu']:16.2f}")


def measure(validators: int, columns: int, rounds: int = 15) -> dict[str, float]:
    """Best and median wall time of one closing, and its CPU time, which a busy machine does not stretch."""
    state = make_state(validators, columns)
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        close_market_epoch(state)
        walls.append(1_000 * (time.perf_counter() - wall))
        cpus.append(1_000 * (time.process_time() - cpu))
    median = statistics.median
    return {"best": round(min(walls), 3), "median": round(median(walls), 3), "cpu": round(median(cpus), 3)}


def make_state(validators: int, columns: int) -> MarketState:
    """A market in its second epoch in which everybody voted for everybody, each a little differently."""
    chance = random.Random(1)
    seats = tuple(
        Seat(
            stake=chance.randrange(10**20, 10**22),
            generation=columns + vid,
            committed=2,
            revealed=2,
            as_of=columns + validators,
            row=_make_row(chance, columns),
        )
        for vid in range(validators)
    )
    return MarketState(
        epoch=1,
        rules=MarketRules(kappa=6 * 10**17, bond_alpha=10**17, validator_share_bps=5_000, activity_epochs=2),
        seats=seats,
        generations=tuple(range(columns)),
        bonds=tuple(tuple(chance.randrange(2**24) for _ in range(columns)) for _ in seats),
        closed_generation=columns + validators,
        reward=10**9,
    )


def _make_row(chance: random.Random, columns: int) -> tuple[int, ...]:
    parts = [chance.randrange(100, 1_000) for _ in range(columns)]
    row = [part * FULL // sum(parts) for part in parts]
    row[0] += FULL - sum(row)
    return tuple(row)


if __name__ == "__main__":
    main()
