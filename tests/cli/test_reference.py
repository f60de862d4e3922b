"""The reference of commands is what the commands say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_cli_reference.py"


def test_the_reference_is_up_to_date() -> None:
    """`make docs` writes the page; this fails when somebody forgot."""
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
