"""Fetching from a package index with pip, which knows about mirrors, proxies and certificates.

What pip says may hold the password of a private index, so it is read here and nowhere else.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["complain", "download"]


def download(words: Sequence[str], folder: Path, seconds: float) -> str:
    """Run `pip download` with `words` into a folder; empty when it went well, else all that it said.

    Raises:
        subprocess.TimeoutExpired: it took longer than `seconds`.

    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    command += ["--no-input", "--dest", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    return (done.stderr.strip() or f"pip ended with {done.returncode}") if done.returncode else ""


def complain(said: str) -> str:
    """The one line of what pip said that tells most, without the names and passwords in its URLs."""
    lines = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines()[-1:] or ["no message"]
    return re.sub(r"//[^/@\s]*@", "//", lines[-1])
