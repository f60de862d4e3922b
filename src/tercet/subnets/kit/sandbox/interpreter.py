"""The Python that runs inside: this one, at a place that is the same on every machine, with the packages asked for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from tercet.errors import SandboxError

__all__ = ["NAMES", "Interpreter", "find_interpreter"]

_HOME = "/opt/python"
NAMES = "/opt/bin"
"""Where `python3` leads to it."""
_SYSTEM = ("/usr", "/usr/local")
_SITES = ("lib/python3*/dist-packages", "lib/python3*/site-packages", "local/lib/python3*/*-packages")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What bubblewrap is told, and what the environment needs, for `python3` to be there."""

    mounts: tuple[str, ...]
    path: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]


def find_interpreter(packages: Sequence[str] = (), *, prefix: Path | None = None) -> Interpreter:
    """The interpreter that runs now, or the one at `prefix`, without its site-packages but for `packages`.

    Raises:
        SandboxError: a package is not installed here.

    """
    found = (prefix or Path(sys.base_prefix)).resolve()
    home = str(found) if str(found) in _SYSTEM else _HOME
    name = (found / "bin/python3").resolve().name
    mounts = [] if home != _HOME else ["--ro-bind", str(found), _HOME]
    for link in ("python3", "python", *(() if name in {"python3", "python"} else (name,))):
        mounts += ["--symlink", f"{home}/bin/{name}", f"{NAMES}/{link}"]
    places = sorted(place for pattern in _SITES for place in found.glob(pattern) if not place.is_symlink())
    for number, place in enumerate(f"{home}/{place.relative_to(found)}" for place in places):
        mounts += ["--size", str(1 << 20), "--tmpfs", place]
        for entry in _entries(packages) if number == 0 else ():
            mounts += ["--ro-bind", str(entry), f"{place}/{entry.name}"]
        mounts += ["--remount-ro", place]
    environment = (("LD_LIBRARY_PATH", f"{_HOME}/lib"),) if home == _HOME else ()
    return Interpreter(tuple(mounts), (NAMES, f"{home}/bin"), environment)


def _entries(packages: Sequence[str]) -> Iterator[Path]:
    """The files and folders of site-packages that `packages` and all that they need consist of."""
    found: dict[str, Distribution] = {}
    wanted = list(packages)
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError as error:
            if name in {re.sub(r"[-_.]+", "-", package).lower() for package in packages}:
                raise SandboxError(
                    f"The package {name!r} is not installed here. Install it: pip install {name}."
                ) from error
            continue
        for need in found[name].requires or ():
            if "extra ==" not in need.partition(";")[2]:
                wanted += re.findall(r"^[A-Za-z0-9._-]+", need)
    seen: set[Path] = set()
    for each in found.values():
        for file in each.files or ():
            if file.parts[0] not in {"..", "__pycache__"}:
                entry = Path(str(each.locate_file(file.parts[0]))).resolve()
                if entry not in seen and entry.exists():
                    seen.add(entry)
                    yield entry
