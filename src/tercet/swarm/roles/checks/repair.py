"""Check a repaired program: `repair.py`, run in the folder, with the original files in /original.

All tests pass, all tests that were there are there, and no test or setting of the tests was touched.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SETTINGS = {"conftest.py", "pytest.ini", "setup.cfg", "tox.ini", "pyproject.toml", "sitecustomize.py"}


def touched(original: Path, here: Path) -> list[str]:
    """Tests and their settings that differ from the original."""
    return [
        path
        for path in sorted({_name(file, root) for root in (original, here) for file in root.rglob("*")})
        if _is_protected(path) and _bytes(original / path) != _bytes(here / path)
    ]


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _is_protected(path: str) -> bool:
    pure = Path(path)
    if "__pycache__" in pure.parts or ".pytest_cache" in pure.parts or path.endswith(".pyc"):
        return False
    test = pure.name.startswith("test_") or pure.stem.endswith("_test") or {"test", "tests"} & set(pure.parts[:-1])
    return bool(test) or pure.name in _SETTINGS


def main() -> int:
    """0 when the repair is good."""
    changed = touched(Path("/original"), Path())
    if changed:
        print(f"changed, and it may not be: {', '.join(changed)}")  # noqa: T201 - a program's output
        return 1
    return subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
