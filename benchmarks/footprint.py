"""What Tercet costs before it does anything: start-up times, and the memory of an idle miner.

python benchmarks/footprint.py [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

RUNS = 7
READY_SECONDS = 60
TERCET = [sys.executable, "-m", "tercet.cli"]


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    as_json = parser.parse_args().json
    bare = median_seconds([sys.executable, "-c", "pass"])
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "python_s": bare,
            "import_tercet_s": median_seconds([sys.executable, "-c", "import tercet"]),
            "import_market_s": median_seconds([sys.executable, "-c", "import tercet.market"]),
            "help_s": median_seconds([*TERCET, "--help"]),
            "idle_echo_miner_mb": idle_miner_mb(Path(folder)),
        }
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        ratio = f"  {value / bare:5.1f} x bare Python" if name.endswith("_s") else ""
        print(f"{name:<20} {value:8.3f}{ratio}")


if __name__ == "__main__":
    main()
