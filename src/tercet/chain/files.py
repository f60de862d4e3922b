"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tercet.errors import ChainError


def make_folder(path: Path, *, mode: int = 0o755) -> None:
    """Make a folder and its parents, if missing.

    Raises:
        ChainError: a file is in the way, or the place cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        raise ChainError(f"Cannot make the folder {path}: {error.strerror}. Choose another place.") from error


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644, replace: bool = True) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part.

    Args:
        path: where it goes; its folder must exist.
        content: all of it.
        mode: permission bits; the file never exists with wider ones.
        replace: False refuses a file that is there already.

    Raises:
        ChainError: the disk is full, the folder is read-only, or the file exists and may not be replaced.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            if replace:
                Path(temporary).replace(path)
            else:
                os.link(temporary, path)  # unlike a rename, fails if the name is taken meanwhile
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise ChainError(f"Cannot write {path}: {error.strerror}. Nothing was changed there.") from error
