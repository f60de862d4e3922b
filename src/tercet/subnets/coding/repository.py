"""A user's repository as a task: which of its files travel, which never do, and writing a fix back.

What travels is what git tracks, as it is in the working tree. Files that look like secrets stay at home even when they
are tracked; links and submodules have nothing to send.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from tercet.errors import UsageError
from tercet.subnets.coding.diffs import DiffError, validate_path
from tercet.subnets.coding.tasks import MAX_FILES, MAX_TASK_BYTES

__all__ = ["Packed", "pack_repository", "write_fix"]

_SECRETS = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "id_rsa*", "id_dsa*", "id_ecdsa*",
    "id_ed25519*", ".netrc", ".npmrc", ".pypirc", ".htpasswd", ".git-credentials", "*credentials*", "*secret*", "*.tfstate",
    "*.ovpn", "password", "passwords", "password.txt",
)  # fmt: skip
_CODE = {".py", ".pyi", ".md", ".rst"}
"""Files that may have such a word in their name and hold none."""
_LISTED = 8


@dataclass(frozen=True, slots=True)
class Packed:
    """The files of a repository that travel."""

    files: Mapping[str, str]
    binary: Mapping[str, bytes]
    withheld: Sequence[str]
    """Tracked files that stay at home because they look like secrets, or are links."""

    def task(self, command: str, failure: str) -> dict[str, Any]:
        """The task without its job."""
        packed = {path: base64.b64encode(raw).decode() for path, raw in self.binary.items()}
        return {
            "kind": "repository",
            "files": dict(self.files),
            "binary": packed,
            "command": command,
            "failure": failure[:8000],
        }


def pack_repository(folder: Path, exclude: Sequence[str] = ()) -> Packed:
    """What a stranger needs to run the tests of the repository at `folder`.

    Args:
        folder: a git working tree, or a folder in one.
        exclude: patterns of paths to leave out, as of the shell; `docs/*` leaves out all below docs.

    Raises:
        UsageError: it is no git repository, tracks nothing, or is too large; the message lists the largest files.

    """
    files: dict[str, str] = {}
    binary: dict[str, bytes] = {}
    withheld: list[str] = []
    sizes: dict[str, int] = {}
    for path in _tracked(folder):
        if any(fnmatch(path, pattern) for pattern in exclude):
            continue
        place = folder / path
        if not place.is_file():
            continue
        if place.is_symlink() or _looks_secret(path) or not _is_plain(path):
            withheld.append(path)
            continue
        sizes[path] = place.stat().st_size
        if sum(sizes.values()) > 64 * MAX_TASK_BYTES:
            break
        raw = place.read_bytes()
        try:
            files[path] = raw.decode()
        except UnicodeDecodeError:
            binary[path] = raw
            sizes[path] = len(raw) * 4 // 3
    _validate_size(sizes)
    return Packed(files, binary, withheld)


def write_fix(folder: Path, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Write the changed files of a fix into the working tree; the paths that were written.

    Raises:
        UsageError: a file is no longer what it was when it was sent, so nothing is written.

    """
    changed = [path for path in sorted({*before, *after}) if before.get(path) != after.get(path)]
    for path in changed:
        place = folder / path
        now = place.read_bytes().decode(errors="replace") if place.is_file() else None
        if now != before.get(path) or any(parent.is_symlink() for parent in (place, *place.parents[: path.count("/")])):
            raise UsageError(f"{path!r} has changed since it was sent. Nothing was written.")
    for path in changed:
        place = folder / path
        if path in after:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(after[path].encode())
        else:
            place.unlink()
    return changed


def _tracked(folder: Path) -> list[str]:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--", "."],
            capture_output=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        raise UsageError("git is not installed, and it says which files are yours to send. Install git.") from None
    if done.returncode:
        raise UsageError(
            f"{str(folder)!r} is no git repository: what git tracks is what is sent. Make one: git init && git add ."
        )
    paths = [path for path in done.stdout.decode(errors="replace").split("\0") if path]
    if not paths:
        raise UsageError(f"git tracks nothing in {str(folder)!r}. Add what a stranger may see: git add .")
    return paths


def _looks_secret(path: str) -> bool:
    pure = PurePosixPath(path)
    if pure.suffix in _CODE:
        return False
    return any(fnmatch(part.lower(), pattern) for part in pure.parts for pattern in _SECRETS)


def _is_plain(path: str) -> bool:
    try:
        validate_path(path)
    except DiffError:
        return False
    return True


def _validate_size(sizes: Mapping[str, int]) -> None:
    total = sum(sizes.values()) + sum(len(path) for path in sizes)
    if total <= MAX_TASK_BYTES and len(sizes) <= MAX_FILES:
        return
    largest = sorted(sizes, key=lambda path: -sizes[path])[:_LISTED]
    listed = ", ".join(f"{path} ({sizes[path]:,} bytes)" for path in largest)
    raise UsageError(
        f"{len(sizes)} files with {total:,} bytes are too much to send: at most {MAX_FILES} files with {MAX_TASK_BYTES:,} "
        f"bytes. The largest: {listed}. Leave out what the tests do not need: --exclude 'docs/*'"
    )
