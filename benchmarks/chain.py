"""How fast the embedded chain is, beside anvil in the same run, and whether it stays so.

    python benchmarks/chain.py [--json] [--transactions 400] [--history 10000] [--no-anvil]

1. Transactions a second through web3.py (build, sign, send, wait for the receipt), embedded and anvil.
2. Receipts and eth_getLogs on the embedded chain, at the start and after `--history` raw transactions.
A table on stdout, or one JSON object. Ratios matter; the machine is whatever it is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import runpy
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from web3 import Web3

from tercet.chain import Key, Rpc
from tercet.chain.abi import encode
from tercet.chain.artifacts import load_artifact
from tercet.chain.bindings import load_interface
from tercet.chain.transaction import Transaction, sign_transaction

ROOT = Path(__file__).resolve().parent.parent
SINK = Key(b"\x0b" * 32).address
BATCH = 100
ROUNDS = 10

_SERVE = """
import asyncio, sys
from pathlib import Path
from tercet.chain.devnet import serve

async def main():
    async with serve(Path(sys.argv[1])) as server:
        print(f"Listening on {server.url[7:]}", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Node:
    """A chain in a process of its own, with a rich key."""

    url: str
    key: Key


@contextlib.contextmanager
def listening(command: list[str]) -> Iterator[str]:
    """Start a node and yield its URL; end it afterwards."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert child.stdout is not None
        for line in child.stdout:
            if found := re.search(r"Listening on (\S+)", line):
                # anvil writes a line for each call and stops when nobody reads them
                threading.Thread(target=child.stdout.read, daemon=True).start()
                yield f"http://{found[1]}"
                break
        else:
            raise SystemExit(f"{command[0]} ended before it listened")
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def embedded(folder: Path) -> Iterator[Node]:
    """Our chain."""
    with listening([sys.executable, "-c", _SERVE, str(folder)]) as url:
        yield Node(url, Key.from_hex((folder / "faucet.key").read_text()))


@contextlib.contextmanager
def anvil() -> Iterator[Node]:
    """The peer, mining a block for each transaction as ours does."""
    binary = runpy.run_path(str(ROOT / "scripts" / "fetch_anvil.py"))["anvil_path"]()
    if binary is None or not binary.exists():
        raise SystemExit("Fetch anvil first: python scripts/fetch_anvil.py, or pass --no-anvil.")
    with listening([str(binary), "--port", "0", "--accounts", "0"]) as url:
        key = Key.generate()
        asyncio.run(call(url, "anvil_setBalance", key.address, hex(10**24)))
        yield Node(url, key)


async def call(url: str, method: str, *params: Any) -> Any:
    """One plain JSON-RPC call."""
    async with Rpc(url) as rpc:
        return await rpc.call(method, *params)


class Web3Client:
    """An unmodified web3.py that sends ERC-20 transfers and waits for each."""

    def __init__(self, node: Node) -> None:
        self._web3 = Web3(Web3.HTTPProvider(node.url))
        self._account, artifact = self._web3.eth.account.from_key(node.key.secret), load_artifact("Credit")
        self._nonce = self._web3.eth.get_transaction_count(self._account.address)
        self._fixed = {
            "from": self._account.address,
            "chainId": self._web3.eth.chain_id,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 10**9,
        }
        factory = self._web3.eth.contract(abi=list(artifact.abi), bytecode=artifact.bytecode)
        receipt = self._send(factory.constructor(self._account.address), 3_000_000)
        self._token = self._web3.eth.contract(address=receipt["contractAddress"], abi=list(artifact.abi))
        self._send(self._token.functions.mint(self._account.address, 10**12), 200_000)

    def _send(self, function: Any, gas: int) -> Any:
        built = function.build_transaction({**self._fixed, "gas": gas, "nonce": self._nonce})
        self._nonce += 1
        digest = self._web3.eth.send_raw_transaction(self._account.sign_transaction(built).raw_transaction)
        return self._web3.eth.wait_for_transaction_receipt(digest, poll_latency=0.002)

    def rate(self, count: int) -> float:
        """Transfers a second."""
        start = time.perf_counter()
        for _ in range(count):
            assert self._send(self._token.functions.transfer(SINK, 1), 100_000)["status"] == 1
        return count / (time.perf_counter() - start)


def side_by_side(folder: Path, count: int) -> dict[str, float]:
    """Both nodes in turns, so that a busy machine is unfair to neither; medians over the rounds."""
    with embedded(folder) as ours, anvil() as theirs:
        mine, peer = Web3Client(ours), Web3Client(theirs)
        rounds = [(mine.rate(count // ROUNDS), peer.rate(count // ROUNDS)) for _ in range(ROUNDS)]
    return {
        "web3_tx_per_second": statistics.median(a for a, _ in rounds),
        "web3_tx_per_second_anvil": statistics.median(b for _, b in rounds),
        "web3_ratio": statistics.median(a / b for a, b in rounds),
    }


async def history(node: Node, count: int) -> dict[str, float]:
    """Latencies in milliseconds before and after `count` raw transactions, and their rate."""
    async with Rpc(node.url, timeout=60) as rpc:
        token, nonce = await deploy_token(rpc, node.key)
        hashes, nonce, _ = await send_raw(rpc, node.key, token, nonce, BATCH)
        before = await latencies(rpc, token, hashes)
        more, nonce, seconds = await send_raw(rpc, node.key, token, nonce, count)
        after = await latencies(rpc, token, more[:: max(1, len(more) // BATCH)])
        oldest = await latencies(rpc, token, hashes)
    return {
        "raw_tx_per_second": count / seconds,
        "chain_id_ms_start": before[2],
        "chain_id_ms_end": after[2],
        "receipt_ms_start": before[0],
        "receipt_ms_end": after[0],
        "receipt_ms_oldest_at_end": oldest[0],
        "logs_ms_start": before[1],
        "logs_ms_end": after[1],
    }


async def deploy_token(rpc: Rpc, key: Key) -> tuple[str, int]:
    """A credit token with a supply; its address and the next nonce."""
    nonce, chain_id = await rpc.nonce(key.address), await rpc.chain_id()
    artifact, interface = load_artifact("Credit"), load_interface("Credit")
    code = artifact.bytecode + encode(interface.constructor, [key.address])
    signed = sign_transaction(Transaction(chain_id, nonce, 10**9, 10**10, 3_000_000, None, 0, code), key)
    receipt = await rpc.receipt(await rpc.send_raw(signed.raw))
    assert receipt is not None
    assert receipt.contract is not None
    mint = interface.functions["mint"]
    data = mint.selector + encode(mint.inputs, [key.address, 10**12])
    fields = Transaction(chain_id, nonce + 1, 10**9, 10**10, 200_000, receipt.contract, 0, data)
    await rpc.send_raw(sign_transaction(fields, key).raw)
    return receipt.contract, nonce + 2


async def send_raw(rpc: Rpc, key: Key, token: str, nonce: int, count: int) -> tuple[list[bytes], int, float]:
    """Signed beforehand, then sent one after another; hashes, next nonce, seconds of sending."""
    chain_id, transfer = await rpc.chain_id(), load_interface("Credit").functions["transfer"]
    data = transfer.selector + encode(transfer.inputs, [SINK, 1])
    signed = [
        sign_transaction(Transaction(chain_id, n, 10**9, 10**10, 100_000, token, 0, data), key)
        for n in range(nonce, nonce + count)
    ]
    start = time.perf_counter()
    for transaction in signed:
        await rpc.send_raw(transaction.raw)
    return [s.hash for s in signed], nonce + count, time.perf_counter() - start


async def latencies(rpc: Rpc, token: str, hashes: list[bytes]) -> tuple[float, float, float]:
    """Milliseconds of a receipt, of the newest 100 logs, and, for comparison, of a call that reads nothing."""
    receipts, logs, nothing = [], [], []
    for digest in hashes[:BATCH]:
        start = time.perf_counter()
        assert await rpc.receipt(digest) is not None
        receipts.append(time.perf_counter() - start)
        start = time.perf_counter()
        await rpc.call("eth_chainId")
        nothing.append(time.perf_counter() - start)
    head = (await rpc.head()).number
    for _ in range(50):
        start = time.perf_counter()
        assert len(await rpc.logs(head - BATCH + 1, head, [token])) == BATCH
        logs.append(time.perf_counter() - start)
    return fastest_tenth_ms(receipts, logs, nothing)


def fastest_tenth_ms(*samples: list[float]) -> tuple[float, float, float]:
    """The first decile of each, in milliseconds: what the node takes, less what others on the machine add."""
    one, two, three = (statistics.quantiles(sample, n=10)[0] * 1_000 for sample in samples)
    return one, two, three


def measure(options: argparse.Namespace) -> dict[str, float]:
    """All figures."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.no_anvil:
            with embedded(Path(folder) / "one") as node:
                found["web3_tx_per_second"] = Web3Client(node).rate(options.transactions)
        else:
            found |= side_by_side(Path(folder) / "one", options.transactions)
        with embedded(Path(folder) / "two") as node:
            found |= asyncio.run(history(node, options.history))
        size = (Path(folder) / "two" / "chain.sqlite").stat().st_size
    found["bytes_per_transaction"] = size / options.history
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--transactions", type=int, default=400, help="through web3.py, on each node")
    parser.add_argument("--history", type=int, default=10_000, help="raw transactions before the second look")
    parser.add_argument("--no-anvil", action="store_true", help="leave the peer out")
    options = parser.parse_args()
    found = measure(options)
    if options.json:
        print(json.dumps({name: round(value, 3) for name, value in found.items()}))
        return
    for name, value in found.items():
        print(f"{name.replace('_', ' '):<28}{value:>12.2f}")


if __name__ == "__main__":
    main()
