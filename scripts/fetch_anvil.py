"""Fetch anvil, the node that tests compare our chain with, into .cache/anvil. Running it twice is harmless.

It comes from npm as one binary; its packages' scripts are not run. Needs npm; as root on Debian it
installs npm itself. Prints the binary's path.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "1.7.1"
PACKAGES = {"x86_64": "anvil-linux-amd64", "aarch64": "anvil-linux-arm64"}
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "anvil"


def anvil_path() -> Path | None:
    """Where the binary is or will be; None on a machine that has none."""
    package = PACKAGES.get(platform.machine())
    if platform.system() != "Linux" or package is None:
        return None
    return CACHE / VERSION / "node_modules" / "@foundry-rs" / package / "bin" / "anvil"


def ensure_npm() -> str:
    """Npm's path, installed from Debian where we may."""
    found = shutil.which("npm")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ["apt-get", "update"],
            ["apt-get", "install", "-y", "--no-install-recommends", "nodejs", "npm"],
        ):
            subprocess.run(command, check=True, env=environment, stdout=sys.stderr, timeout=900)
        found = shutil.which("npm")
    if found is None:
        sys.exit(
            "anvil comes from npm, and npm is not installed. Install it (Debian: sudo apt-get install nodejs npm) "
            "and run this again, or run the tests without it: pytest -m 'not anvil'"
        )
    return found


def fetch(binary: Path) -> None:
    """Install the package beside the others, then move it into place in one step."""
    target, fresh = CACHE / VERSION, CACHE / f".fetching-{os.getpid()}"
    fresh.mkdir(parents=True)
    try:
        (fresh / "package.json").write_text("{}\n")
        package = f"@foundry-rs/{PACKAGES[platform.machine()]}@{VERSION}"
        command = [
            ensure_npm(),
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(fresh),
            package,
        ]
        subprocess.run(command, check=True, stdout=sys.stderr, timeout=600)
        if target.exists():
            shutil.rmtree(target)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    binary.chmod(0o755)


def main() -> None:
    """Fetch it unless it is there and runs."""
    binary = anvil_path()
    if binary is None:
        sys.exit(f"anvil is not packaged for {platform.system()} {platform.machine()}. Use: pytest -m 'not anvil'")
    if not binary.exists():
        fetch(binary)
    subprocess.run([binary, "--version"], check=True, stdout=subprocess.DEVNULL, timeout=30)
    print(binary)


if __name__ == "__main__":
    main()
