"""The data plane: signed and paid echo requests against a bare ASGI server with one sign and one verify.

python benchmarks/dataplane.py [--json] [--seconds 0.4] [--rounds 15] [--costs]

Both sides run in turns of a fraction of a second, so that whatever else the machine does hits both; a
cell's ratio is the median over pairs of turns, its other figures are those of the median turn. The miner, the bare server and the chain have processes of their own; this
process is the client of both. `--costs` adds what the single steps take.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import hashlib
import hmac
import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp

from tercet.chain import (
    Deployment,
    EscrowDomain,
    Key,
    Ledger,
    MarketParams,
    Rpc,
    Sender,
    deploy,
    recover,
    recover_voucher,
    sign_voucher,
)
from tercet.market import Price, Usage
from tercet.nodes.admission import Limits
from tercet.nodes.buyer import Buyer
from tercet.nodes.directory import MinerEntry
from tercet.nodes.miner import MinerConfig, run_miner
from tercet.subnets.echo import Echo

SIZES, LANES = (16, 10_000), (1, 16)
GOAL = 0.5
PRICE = Price(per_request=50)
"""The unproven miner is paid 1 of it."""
READY_SECONDS = 60
Ask = Callable[[], Awaitable[None]]


# the servers, each in a process of its own


async def run_chain(folder: Path) -> None:
    """The embedded chain with the contracts, one market and one funded buyer; tells where in one line."""
    from tercet.chain import serve  # noqa: PLC0415 - brings py-evm in, which only this process needs

    async with serve(folder) as server, Rpc(server.url) as rpc:
        sender = Sender(rpc, Key.from_hex((folder / "faucet.key").read_text()))
        deployment = await deploy(sender)
        ledger = Ledger(rpc, deployment)
        await ledger.token.approve(sender, ledger.registry.address)
        market = await ledger.registry.open_market(sender, ledger.token.address, "Echo", MarketParams("echo"))
        for role in ("miner", "buyer"):
            key = Key.generate()
            (folder.parent / f"{role}.key").write_text(key.secret.hex())
            await sender.send(key.address, value=10**20, gas=21_000)
            await ledger.credit.mint(sender, key.address, 10**12)
            await ledger.token.transfer(sender, key.address, 10**18)
        facts = {"ready": True, "url": server.url, "deployment": asdict(deployment), "market": market}
        print(json.dumps(facts), flush=True)
        await asyncio.Event().wait()


async def run_echo_miner(folder: Path, facts: dict[str, Any]) -> None:
    """The real miner, journal and all."""
    ledger = Ledger(Rpc(facts["url"]), Deployment.from_json(facts["deployment"], "argument"))
    key = Key.from_hex((folder / "miner.key").read_text())
    limits = Limits(rate=1e6, stranger_rate=1e6)
    state = folder / "miner"
    config = MinerConfig(
        key, ledger, facts["market"], Echo(), state, price=PRICE, register=True, limits=limits, poll_seconds=60
    )
    await run_miner(config)
    await ledger.rpc.close()


def run_bare(port: int) -> None:
    """An ASGI application that checks one signature over the body and returns the body."""
    import uvicorn  # noqa: PLC0415 - only this process needs it
    from coincurve import PublicKey  # noqa: PLC0415

    keys: dict[bytes, PublicKey] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = dict(scope["headers"])
        public = headers[b"x-public"]
        if public not in keys:
            keys[public] = PublicKey(bytes.fromhex(public.decode()))
        right = keys[public].verify(bytes.fromhex(headers[b"x-signature"].decode()), body)
        await send({"type": "http.response.start", "status": 200 if right else 401, "headers": []})
        await send({"type": "http.response.body", "body": body})

    print(json.dumps({"ready": True}), flush=True)
    uvicorn.run(application, host="127.0.0.1", port=port, log_level="error", access_log=False)


@contextlib.asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[dict[str, Any]]:
    """One of the above, until the block is left; what its first line said, and its process id."""
    command = [sys.executable, __file__, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - before anything is measured
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), READY_SECONDS)
        yield {**json.loads(line), "pid": process.pid}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
        process.stdout.close()


# the client


def paid(buyer: Buyer, miner: MinerEntry, size: int) -> Ask:
    """One signed and paid request, verified to its last byte."""
    task, limit = {"text": "x" * size}, Usage(size, size)

    async def ask() -> None:
        async with buyer.ask(miner, task, limit, deadline_seconds=30) as exchange:
            async for _ in exchange:
                pass
        assert exchange.charged == 1

    return ask


def bare(session: aiohttp.ClientSession, url: str, size: int) -> Ask:
    """One request with one signature."""
    from coincurve import PrivateKey  # noqa: PLC0415

    key = PrivateKey()
    public = key.public_key.format().hex()

    async def ask() -> None:
        body = json.dumps({"text": "x" * size}).encode()
        headers = {"x-public": public, "x-signature": key.sign(body).hex()}
        async with session.post(url, data=body, headers=headers) as response:
            answer = json.loads(await response.read())
            assert response.status == 200
            assert len(answer["text"]) == size

    return ask


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(ask: Ask, lanes: int, seconds: float, pid: int) -> dict[str, float]:
    """Requests per second, latencies and processor time with `lanes` in flight."""
    times: list[float] = []
    ends = time.perf_counter() + seconds

    async def lane() -> None:
        while (began := time.perf_counter()) < ends:
            await ask()
            times.append(time.perf_counter() - began)

    began, used, served = time.perf_counter(), time.process_time(), cpu_seconds(pid)
    await asyncio.gather(*(lane() for _ in range(lanes)))
    wall, used, served = time.perf_counter() - began, time.process_time() - used, cpu_seconds(pid) - served
    times.sort()
    return {
        "per_second": len(times) / wall,
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[int(len(times) * 0.99)] * 1e3,
        "client_cpu_us": used / len(times) * 1e6,
        "server_cpu_us": served / len(times) * 1e6,
    }


def median_round(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The round in the middle by speed."""
    return sorted(rounds, key=lambda one: one["per_second"])[len(rounds) // 2]


async def compare(
    buyer: Buyer, miner: MinerEntry, url: str, pids: dict[str, int], seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """All cells, ours and the bare server in turns."""
    cells = []
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(connector=connector) as session:
        for size in SIZES:
            for lanes in LANES:
                asks = {"bare": bare(session, url, size), "tercet": paid(buyer, miner, size)}
                for name, ask in asks.items():
                    await measure(ask, lanes, 0.3, pids[name])
                found: dict[str, list[dict[str, float]]] = {name: [] for name in asks}
                for _ in range(rounds):
                    for name, ask in asks.items():
                        found[name].append(await measure(ask, lanes, seconds, pids[name]))
                middle = {name: median_round(some) for name, some in found.items()}
                pairs = zip(found["tercet"], found["bare"], strict=True)
                ratios = sorted(ours["per_second"] / theirs["per_second"] for ours, theirs in pairs)
                cells.append({"bytes": size, "in_flight": lanes, **middle, "ratio": statistics.median(ratios)})
    return cells


def step_costs(folder: Path) -> dict[str, float]:
    """Microseconds of the steps that a paid request cannot do without."""
    key, digest = Key.generate(), os.urandom(32)
    domain, channel = EscrowDomain(1, key.address), os.urandom(32)
    signature, voucher = key.sign(digest), sign_voucher(domain, key, channel, 1)
    db = sqlite3.connect(folder / "costs.sqlite", isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", "CREATE TABLE t (a INTEGER)"):
        db.execute(statement)
    db.execute("INSERT INTO t VALUES (0)")
    steps: dict[str, Callable[[], object]] = {
        "sign": lambda: key.sign(digest),
        "recover": lambda: recover(digest, signature),
        "sign voucher": lambda: sign_voucher(domain, key, channel, 1),
        "recover voucher": lambda: recover_voucher(domain, voucher),
        "hmac": lambda: hmac.digest(digest, digest * 10, "sha256"),
        "sha256 of 10 kB": lambda: hashlib.sha256(bytes(10_000)).digest(),
        "sqlite commit": lambda: db.execute("UPDATE t SET a = a + 1"),
    }
    costs = {}
    for name, step in steps.items():
        rounds = []
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(400):
                step()
            rounds.append((time.perf_counter() - began) / 400 * 1e6)
        costs[name] = statistics.median(rounds)
    db.close()
    return costs


def free_port() -> int:
    """One that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start everything, measure, stop everything."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        async with (
            child("--role", "chain", "--folder", name) as facts,
            child("--role", "miner", "--folder", name, "--facts", json.dumps(facts)) as ready,
            child("--role", "bare", "--port", str(port)) as opponent,
        ):
            ledger = Ledger(Rpc(facts["url"]), Deployment.from_json(facts["deployment"], "argument"))
            me = ready["address"]
            miner = MinerEntry(1, 1, me, me, ready["endpoint"], 0.0, proven=False, price=PRICE)
            key = Key.from_hex((folder / "buyer.key").read_text())
            buyer = Buyer(key, ledger, facts["market"], folder / "buyer.sqlite", deposit=10**9)
            try:
                url = f"http://127.0.0.1:{port}/"
                await wait_for(port)
                gc.freeze()  # as the roles do: what start-up made is not looked through again
                pids = {"bare": opponent["pid"], "tercet": ready["pid"]}
                cells = await compare(buyer, miner, url, pids, arguments.seconds, arguments.rounds)
                (account,) = buyer.channels.book.accounts()
                result: dict[str, Any] = {"goal": GOAL, "cells": cells, "paid_units": account.debt.charged}
                if arguments.costs:
                    result["costs_us"] = step_costs(folder)
                return result
            finally:
                await buyer.close()
                await ledger.rpc.close()


async def wait_for(port: int) -> None:
    """Until somebody listens."""
    for _ in range(400):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.025)
    raise TimeoutError(port)


def show(result: dict[str, Any]) -> None:
    """The table."""
    print(
        f"{'bytes':>7} {'in flight':>9} {'':8} {'req/s':>7} {'p50 ms':>8} {'p99 ms':>8} {'client us':>9} {'server us':>9} {'ratio':>6}"
    )
    for cell in result["cells"]:
        for name in ("bare", "tercet"):
            one = cell[name]
            ratio = f"{cell['ratio']:.2f}" if name == "tercet" else ""
            print(
                f"{cell['bytes']:>7} {cell['in_flight']:>9} {name:8} {one['per_second']:>7.0f} {one['p50_ms']:>8.2f} "
                f"{one['p99_ms']:>8.2f} {one['client_cpu_us']:>9.0f} {one['server_cpu_us']:>9.0f} {ratio:>6}"
            )
    print(f"goal: a ratio of {result['goal']} or more; paid in all: {result['paid_units']} units")
    for name, cost in result.get("costs_us", {}).items():
        print(f"{name:>16} {cost:6.1f} us")


def main() -> None:
    """Read the arguments; run a role, or the whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--seconds", type=float, default=0.4, help="of one turn")
    parser.add_argument("--rounds", type=int, default=15, help="turns for each cell and side")
    parser.add_argument("--costs", action="store_true", help="also time the single steps")
    for hidden in ("--role", "--folder", "--facts"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    match arguments.role:
        case "chain":
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(until_terminated(run_chain(Path(arguments.folder) / "chain")))
        case "miner":
            asyncio.run(run_echo_miner(Path(arguments.folder), json.loads(arguments.facts)))
        case "bare":
            run_bare(arguments.port)
        case _:
            result = asyncio.run(run(arguments))
            if arguments.json:
                print(json.dumps(result))
            else:
                show(result)


async def until_terminated(work: Awaitable[None]) -> None:
    """Run, and end cleanly on SIGTERM."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


if __name__ == "__main__":
    main()
