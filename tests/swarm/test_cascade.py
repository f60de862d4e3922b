"""The hallucination cascade: with the guard off a false statement spreads and spends, with it on it does neither."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.model
def test_the_guard_contains_a_cascade() -> None:
    """The same seed, the same agents: harm with the guard off, none with it on, and the same number of payments."""
    line = [
        sys.executable,
        str(ROOT / "benchmarks/cascade.py"),
        "--seeds",
        "1",
        "--agents",
        "8",
        "--rounds",
        "3",
        "--json",
    ]
    fast = {"TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else {}
    done = subprocess.run(line, env={**os.environ, **fast}, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    by_mode = {row["guard"]: row for row in json.loads(done.stdout)}
    off, on = by_mode["off"], by_mode["on"]
    assert off["made_up"] == on["made_up"] > 0
    assert off["wrong"] > 0
    assert off["infected"] > 0
    assert off["damage"] > 0
    assert (on["wrong"], on["infected"], on["damage"]) == (0, 0, 0)
    assert on["paid"] == off["paid"]
