"""What many markets ask of one chain: gas, data and state of an epoch measured, then multiplied; and a replay of many.

python benchmarks/scale.py                            tables; some minutes
python benchmarks/scale.py --small                    without the 64 x 256 market
python benchmarks/scale.py --markets 1000 --epochs 2  replay so many in Python
python benchmarks/scale.py --docs                     write the tables into docs/explanation/scale.md
python benchmarks/scale.py --json                     one JSON object

Measured: everything about one epoch of one market, on an EVM in process, and the time of the replay. Assumed, and
printed as such: what a chain can carry, and the bytes round a transaction's calldata.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.epoch import make_state
from benchmarks.gas import make_row
from tests.chain.contracts.arena import CREDIT, TCT, Arena, Params

from tercet.market.epoch import FULL, MarketState, close_market_epoch

SIZES = ((4, 8), (16, 64), (64, 255))
MARKETS = 1_000
HOURS = (1, 6, 24)
"""Lengths of an epoch."""
ENVELOPE = 110
"""Assumed bytes of a signed transaction beside its calldata: nonce, fees, gas, receiver, signature."""
CHAINS = {"5 Mgas/s": 5e6, "25 Mgas/s": 25e6, "100 Mgas/s": 100e6}
"""Assumed: the gas that a chain takes in a second."""
BLOB_BYTES_A_SECOND = 6 * 131_072 / 12
"""Assumed: six blobs of 128 KiB for each of Ethereum's slots of 12 seconds, for all rollups together."""
SLOT_BYTES = 64
"""Assumed: a storage slot's key and value, before a node's overhead."""
PAGE = Path(__file__).resolve().parents[1] / "docs/explanation/scale.md"


@dataclass(frozen=True, slots=True)
class Load:
    """One epoch of one market in the steady state, in which all validators vote and all columns pay."""

    transactions: int
    votes_gas: int
    """Commits and reveals."""
    closing_gas: int
    page_gas: int
    """Settling one page of 16 columns: what a referee would have to do in a dispute."""
    largest: int
    calldata: int
    zeros: int
    """Of the calldata's bytes, those that are zero."""
    logs: int
    """Bytes of events: topics, data and addresses."""
    slots: int
    """Storage slots that are in use after the epoch and were not before, all contracts together."""
    writes: int
    """Storage slots that changed."""

    @property
    def gas(self) -> int:
        """All of the epoch's."""
        return self.votes_gas + self.closing_gas

    @property
    def bytes(self) -> int:
        """All that a rollup has to publish, before it compresses."""
        return self.calldata + self.transactions * ENVELOPE


class Meter:
    """Watches a ledger: data that goes in, events that come out, storage that changes."""

    def __init__(self) -> None:
        self.gas: list[int] = []
        self.data = b""
        self.logs = 0
        self.before: dict[tuple[bytes, int], int] = {}
        self.after: dict[tuple[bytes, int], int] = {}

    @contextmanager
    def watch(self, arena: Arena) -> Iterator[Meter]:
        """Count all that is kept."""
        ledger: Any = arena.ledger
        run, store = ledger.run, ledger._db.set_storage
        keeping = False

        def watched_run(sender: str, to: bytes, data: bytes, *, keep: bool = True) -> Any:
            nonlocal keeping
            keeping = keep
            computation, gas = run(sender, to, data, keep=keep)
            keeping = False
            if keep:
                self.gas.append(gas)
                self.data += data
                self.logs += sum(20 + 32 * len(topics) + len(body) for _, topics, body in computation.get_log_entries())
            return computation, gas

        def watched_store(address: bytes, slot: int, value: int) -> None:
            if keeping:
                self.before.setdefault((address, slot), ledger._db.get_storage(address, slot))
                self.after[address, slot] = value
            store(address, slot, value)

        ledger.run, ledger._db.set_storage = watched_run, watched_store
        try:
            yield self
        finally:
            ledger.run, ledger._db.set_storage = run, store


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--small", action="store_true", help="leave the 64 x 256 market out")
    parser.add_argument("--docs", action="store_true", help="write the tables into the page")
    parser.add_argument("--markets", type=int, default=100, help="markets to replay (default: 100)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of each to replay (default: 2)")
    options = parser.parse_args()
    loads = {name_of(*size): measure(*size) for size in (SIZES[:2] if options.small else SIZES)}
    replay = replay_markets(options.markets, options.epochs, *((16, 64) if options.small else (64, 256)))
    if options.json:
        print(json.dumps({"benchmark": "scale", "loads": {k: asdict(v) for k, v in loads.items()}, "replay": replay}))
        return
    tables = build_tables(loads, replay)
    if options.docs:
        page = PAGE.read_text()
        block = f"<!-- numbers: python benchmarks/scale.py --docs -->\n{tables}\n<!-- end -->"
        PAGE.write_text(re.sub(r"<!-- numbers.*?<!-- end -->", lambda _: block, page, flags=re.DOTALL))
    else:
        print(tables)


def name_of(validators: int, miners: int) -> str:
    """Validators x columns where all columns are taken."""
    return f"{validators}x{miners + (miners == 255)}"


# --- Measured ---


def measure(validators: int, miners: int) -> Load:
    """The fourth epoch of a market, when nothing is new any more."""
    arena = Arena(Params(commit_seconds=10_000, reveal_seconds=10_000))
    for _ in range(miners):
        arena.add_miner()
    for vid in range(validators):
        arena.add_validator((1_000 + vid) * TCT)
    arena.add_sponsor(1_000_000 * CREDIT, 1_000)
    arena.skip_epoch()
    for epoch in range(3):
        meter = Meter()
        with meter.watch(arena):
            for step in range(2):
                vote(arena, miners + 1, epoch, revealing=step == 1)
            votes = len(meter.gas)
            close(arena, 1, apart=validators * miners > 10_000)
    pages = (miners + 16) // 16
    return Load(
        transactions=len(meter.gas),
        votes_gas=sum(meter.gas[:votes]),
        closing_gas=sum(meter.gas[votes:]),
        page_gas=max(meter.gas[votes + 1 : votes + 1 + pages]),
        largest=max(meter.gas),
        calldata=len(meter.data),
        zeros=meter.data.count(0),
        logs=meter.logs,
        slots=sum((value != 0) - (meter.before[key] != 0) for key, value in meter.after.items()),
        writes=sum(meter.before[key] != value for key, value in meter.after.items()),
    )


def vote(arena: Arena, columns: int, epoch: int, *, revealing: bool) -> None:
    """Everybody commits, or everybody reveals."""
    rows = {vid: make_row(columns, vid + 1_000 * epoch) for vid in arena.validators}
    generation = arena.as_of()
    for vid, row in rows.items():
        if revealing:
            arena.reveal(arena.validators[vid], row, generation)
        else:
            arena.commit(arena.validators[vid], row, generation)
    arena.ledger.now += arena.params.reveal_seconds if revealing else arena.params.commit_seconds


def close(arena: Arena, pages_at_once: int, *, apart: bool) -> None:
    """As anybody would."""
    arena.close(pages_at_once=pages_at_once, poker=arena.opener, pay_apart=apart)


def replay_markets(markets: int, epochs: int, validators: int, columns: int) -> dict[str, float]:
    """Close many epochs of many markets in Python, each going on from its own last one."""
    states = [make_state(validators, columns)] * min(markets, 8)
    started, busy = time.perf_counter(), time.process_time()
    for market in range(markets):
        state = states[market % len(states)]
        for _ in range(epochs):
            state = step(state, market)
    wall, cpu = time.perf_counter() - started, time.process_time() - busy
    return {
        "markets": markets,
        "epochs": epochs,
        "validators": validators,
        "columns": columns,
        "seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "cpu_ms_each": round(1_000 * cpu / (markets * epochs), 2),
    }


def step(state: MarketState, seed: int) -> MarketState:
    """The next epoch's state: bonds go on, rows drift."""
    outcome = close_market_epoch(state)
    chance = random.Random(seed + state.epoch)
    seats = []
    for seat in state.seats:
        assert seat is not None
        row = list(seat.row)
        giver, taker = chance.randrange(len(row)), chance.randrange(len(row))
        moved = min(row[giver], FULL - row[taker], 50)
        row[giver], row[taker] = row[giver] - moved, row[taker] + moved
        seats.append(replace(seat, row=tuple(row), committed=state.epoch + 2, revealed=state.epoch + 2))
    return replace(state, epoch=state.epoch + 1, seats=tuple(seats), bonds=outcome.bonds)


# --- Multiplied ---


def build_tables(loads: dict[str, Load], replay: dict[str, float]) -> str:
    """Markdown."""
    lines = ["### One epoch of one market, measured", ""]
    lines += ["| | " + " | ".join(loads) + " |", "|---|" + "---:|" * len(loads)]
    rows: dict[str, list[str]] = {
        "transactions": [f"{load.transactions:,}" for load in loads.values()],
        "gas of commits and reveals": [f"{load.votes_gas:,}" for load in loads.values()],
        "gas of closing, a page at a time": [f"{load.closing_gas:,}" for load in loads.values()],
        "gas of both": [f"{load.gas:,}" for load in loads.values()],
        "gas of settling one page of 16 columns": [f"{load.page_gas:,}" for load in loads.values()],
        "largest transaction": [f"{load.largest:,}" for load in loads.values()],
        "calldata, bytes (of them zero)": [
            f"{load.calldata:,} ({load.zeros / load.calldata:.0%})" for load in loads.values()
        ],
        f"published, with {ENVELOPE} bytes round each": [f"{load.bytes:,}" for load in loads.values()],
        "events, bytes": [f"{load.logs:,}" for load in loads.values()],
        "slots that changed": [f"{load.writes:,}" for load in loads.values()],
        "slots that are new for good": [f"{load.slots:,}" for load in loads.values()],
    }
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    lines += ["", f"### {MARKETS:,} markets on one chain", ""]
    lines += [
        "| market | epoch | gas a second | "
        + " | ".join(f"of {name}" for name in CHAINS)
        + " | bytes a second | of all blobs | events a year | new state a year |"
    ]
    lines += ["|---|---|---:|" + "---:|" * (len(CHAINS) + 4)]
    for name, load in loads.items():
        for hours in HOURS:
            rate = MARKETS / (3_600 * hours)
            gas, data = load.gas * rate, load.bytes * rate
            year = 365 * 86_400 * rate
            shares = " | ".join(
                f"{gas / limit:.0%}" if gas / limit >= 0.1 else f"{gas / limit:.1%}" for limit in CHAINS.values()
            )
            lines.append(
                f"| {name} | {hours} h | {gas / 1e6:,.2f} M | {shares} | {data:,.0f} | {data / BLOB_BYTES_A_SECOND:.1%} "
                f"| {load.logs * year / 1e9:,.1f} GB | {load.slots * SLOT_BYTES * year / 1e9:,.3f} GB |"
            )
    lines += ["", "### How many fit", ""]
    lines += ["Markets whose epochs together take a tenth of the chain.", ""]
    lines += ["| market | epoch | " + " | ".join(CHAINS) + " |", "|---|---|" + "---:|" * len(CHAINS)]
    for name, load in loads.items():
        for hours in HOURS:
            fit = " | ".join(f"{limit * 0.1 * 3_600 * hours / load.gas:,.0f}" for limit in CHAINS.values())
            lines.append(f"| {name} | {hours} h | {fit} |")
    each = replay["cpu_ms_each"]
    size, epochs = f"{replay['validators']} x {replay['columns']}", replay["epochs"]
    took = f"{replay['cpu_seconds']:,.0f} s of CPU ({replay['seconds']:,.0f} s by the clock), {each:.1f} ms an epoch"
    all_of_them = f"All epochs of {MARKETS:,} such markets take {each:,.0f} s of one core"
    lines += ["", "### The replay", ""]
    lines.append(
        f"{replay['markets']:,} markets of {size}, {epochs} epochs each, in plain Python on one core: {took}. "
        f"{all_of_them}: with hourly epochs {each / 3_600:.1%} of it."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
