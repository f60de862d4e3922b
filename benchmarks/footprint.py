"""What Tercet costs before it does anything: start-up times, a look at a long run, and the memory of an idle miner.

python benchmarks/footprint.py [--json] [--before CHECKOUT]

`--before` names another checkout of this repository, whose looks take turns with ours: what a change saves is seen in
one run, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import resource
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tercet.swarm.inbox import build_card
from tercet.swarm.journal import Journal

ROOT = Path(__file__).resolve().parents[1]
RUNS = 7
READY_SECONDS = 60
TERCET = [sys.executable, "-m", "tercet.cli"]
EVENTS = 160_000
"""Of the long run: a hundred agents that each took some three hundred steps."""
CREWS, AGENTS = 7, 100
LOOKS = {"top": ("top", "--json"), "ps": ("ps", "--json"), "inbox": ("inbox", "show", "--json")}


def median_seconds(command: list[str]) -> float:
    """The median wall time of a command, after one run that warms the file cache."""
    times = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A role in its own process, from its `ready` line on."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
        line = process.stdout.readline() if readable else b""
        assert b'"ready"' in line, f"{' '.join(command)} is not ready: {line!r}, exit code {process.poll()}"
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in 10**6 bytes."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024 / 1e6


def idle_miner_mb(folder: Path) -> float:
    """Resident memory of an echo miner that waits for its first request on the embedded chain."""
    password = folder / "password"
    password.write_text("benchmark\n")
    environment = {**os.environ, "TERCET_HOME": str(folder / "home"), "TERCET_PASSWORD_FILE": str(password)}

    def tercet(*words: str) -> None:
        subprocess.run([*TERCET, *words], check=True, env=environment, stdout=subprocess.DEVNULL)

    with running([*TERCET, "chain", "start"], environment):
        for wallet in ("owner", "miner"):
            tercet("wallet", "new", wallet)
            tercet("wallet", "fund", wallet)
        tercet("market", "create", "echo", "--wallet", "owner", "--yes")
        with running([*TERCET, "mine", "echo", "--wallet", "miner", "--yes"], environment) as miner:
            time.sleep(2)  # let start-up's garbage settle: this is a measurement, not a test
            return resident_mb(miner.pid)


def write_long_run(home: Path) -> None:
    """A run's journal, as the kernel writes it: of each step the call, its receipt, the step, a tool and a claim."""
    folder = home / "runs" / "long-run-1"
    folder.mkdir(parents=True)
    tasks = [
        {"id": f"t-{n}", "title": f"Part {n}", "role": "tester", "crew": f"crew-{n % CREWS}", "budget": 10**7,
         "done": {"command": ["true"]}}
        for n in range(AGENTS)
    ]  # fmt: skip
    with Journal(folder / "journal.db") as journal:
        journal.note("run.started", {"goal": "a long run", "budget": 10**9, "model": "m", "agents": AGENTS})
        journal.note("run.planned", {"plan": {"goal": "a long run", "tasks": tasks}, "by": "file"})
        for n in range(CREWS):
            journal.note("crew.formed", {"crew": f"crew-{n}", "lead": "", "members": []})
        for n in range(AGENTS):
            agent = f"tester-{n}"
            journal.note(
                "agent.started", {"agent": agent, "role": "tester", "kind": "model", "crew": f"crew-{n % CREWS}"}
            )
            journal.note("task.started", {"attempt": 1, "agent": agent}, task=f"t-{n}")
        number = 0
        while journal.head < EVENTS:
            _step(journal, number)
            number += 1
            if number % 1000 == 0:  # what waits to be written is kept in memory
                asyncio.run(journal.flush())


def _step(journal: Journal, number: int) -> None:
    n = number % AGENTS
    agent, task = f"run/crew-{n % CREWS}/tester-{n}", f"t-{n}"
    call = {"id": f"{number:032x}", "agent": agent, "task": task, "step": f"{task}/1:{number}", "model": "m"}
    receipt = {"name": "market", "receipt": "c" * 64, "miner": "d" * 42, "operator": "e" * 42}
    used = {"status": "complete", "prompt": 400, "completion": 60, "charged": 460, "seconds": 1.5}
    output = {
        "parts": [{"content": "x" * 300, "part_kind": "text"}],
        "usage": {"input_tokens": 400},
        "kind": "response",
    }
    journal.note(
        "call.opened", {**call, "upstream": {"name": "market"}, "request": "b" * 64, "reserved": 900}, task=task
    )
    journal.note("call", {**call, **used, "upstream": receipt, "answer": {"text": "x" * 300}}, task=task)
    journal.note(
        "step", {"name": "tester__model.request", "key": "f" * 64, "input": "a" * 64, "output": output}, task=task
    )
    journal.note(
        "tool", {"agent": agent, "tool": "read", "digest": "a" * 64, "ok": True, "detail": "z" * 100}, task=task
    )
    journal.note("claim.made", {"id": f"c{number}", "text": "w" * 60, "author": agent, "origin": "observed"}, task=task)
    if number % 40 == 0:
        now = time.time()
        card = build_card(
            action=f"Fetch page {number}", kind="network", agent=agent, tool="fetch", call={"page": number}, loss=5,
            reversible=True, deadline=now + 600,
        )  # fmt: skip
        said = {"answer": "yes", "by": "person", "dwell": 4.0, "at": now}
        journal.note("ask.raised", {"card": card.to_json(), "to": "person", "at": now})
        journal.note("ask.answered", {**said, "card": card.id})
        journal.note("ask.decided", {**said, "group": card.id, "agent": agent, "cards": 1})


def measure_looks(home: Path, checkouts: Mapping[str, Path]) -> dict[str, float]:
    """Processor seconds of each look at a long run, by the checkouts in turn: the least of some, as others only add."""
    write_long_run(home)
    best: dict[str, float] = {}
    for _ in range(RUNS):
        for mark, checkout in checkouts.items():
            environment = {**os.environ, "TERCET_HOME": str(home), "PYTHONPATH": str(checkout.resolve() / "src")}
            for look, words in LOOKS.items():
                name = f"{look}_{EVENTS // 1000}k_events{mark}_s"
                best[name] = min(best.get(name, math.inf), processor_seconds([*TERCET, *words], environment))
    return best


def processor_seconds(command: list[str], environment: dict[str, str]) -> float:
    """What a command and its children take of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout, to compare looks with")
    arguments = parser.parse_args()
    checkouts = {"": ROOT} if arguments.before is None else {"": ROOT, "_before": arguments.before}
    bare = median_seconds([sys.executable, "-c", "pass"])
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "python_s": bare,
            "import_tercet_s": median_seconds([sys.executable, "-c", "import tercet"]),
            "import_market_s": median_seconds([sys.executable, "-c", "import tercet.market"]),
            "help_s": median_seconds([*TERCET, "--help"]),
            **measure_looks(Path(folder) / "looks", checkouts),
            "idle_echo_miner_mb": idle_miner_mb(Path(folder)),
        }
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        ratio = f"  {value / bare:5.1f} x bare Python" if name.endswith("_s") else ""
        print(f"{name:<28} {value:8.3f}{ratio}")
    for look in LOOKS if arguments.before else ():
        name = f"{look}_{EVENTS // 1000}k_events"
        print(f"{look} before / now: {figures[f'{name}_before_s'] / figures[f'{name}_s']:.1f} x")


if __name__ == "__main__":
    main()
