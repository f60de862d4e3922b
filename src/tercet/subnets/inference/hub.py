"""Where a model's name leads: the catalogue, a file on disk, or a Hugging Face repository."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tercet.errors import ModelError, ModelUnreachableError
from tercet.subnets.inference.gguf import read_head
from tercet.subnets.inference.models import CATALOGUE, models_directory
from tercet.subnets.inference.pull import Progress, known_model, pull

__all__ = ["Hub", "HuggingFaceHub", "find_model", "hub_model"]

_REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?::(?P<file>[\w./-]+\.gguf))?")


class Hub(Protocol):
    """What is needed of a model hub."""

    def files(self, repository: str) -> Sequence[str]:
        """Names of all files of a repository."""

    def download(self, repository: str, file: str, directory: Path) -> Path:
        """Fetch one file below `directory`; the hub's own check of its content included."""


class HuggingFaceHub:
    """The hub itself, through huggingface_hub (extra `hub`)."""

    def __init__(self, endpoint: str | None = None) -> None:
        try:
            import huggingface_hub  # noqa: PLC0415  an extra, slow to import
        except ImportError as error:
            raise ModelError(
                "A Hugging Face repository needs the extra 'hub'. Run `pip install 'tercet[hub]'`, or give the path of a GGUF file."
            ) from error
        self._client = huggingface_hub.HfApi(endpoint=endpoint)

    def files(self, repository: str) -> Sequence[str]:
        """Names of all files of a repository."""
        try:
            return list(self._client.list_repo_files(repository))
        except Exception as error:
            raise _unreachable(repository, error) from error

    def download(self, repository: str, file: str, directory: Path) -> Path:
        """Fetch one file below `directory`."""
        try:
            return Path(self._client.hf_hub_download(repository, file, local_dir=directory))
        except Exception as error:
            raise _unreachable(repository, error) from error


def _unreachable(repository: str, error: Exception) -> ModelUnreachableError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return ModelUnreachableError(
        f"Cannot fetch {repository!r} from Hugging Face: {reason}. Check the name and the network, or give the path of a GGUF file."
    )


def find_model(
    name: str, directory: Path | None = None, progress: Progress | None = None, *, hub: Hub | None = None
) -> Path:
    """The GGUF file that `name` means: a catalogue name, a path, or `org/repo[:file.gguf]`.

    Raises:
        ModelError: it means nothing, or the file is not GGUF.
        ModelUnreachableError: it would have to be fetched, and cannot be.

    """
    if name in CATALOGUE:
        return pull(name, directory, progress)
    path = Path(name).expanduser()
    if path.exists() or (name.endswith(".gguf") and ":" not in name):
        read_head(path)
        return path
    match = _REPOSITORY.fullmatch(name)
    if match is None:
        known_model(name)
        raise AssertionError
    return hub_model(hub or HuggingFaceHub(), match["repo"], match["file"], directory or models_directory())


def hub_model(hub: Hub, repository: str, file: str | None, directory: Path) -> Path:
    """One GGUF file of a repository, kept below `directory`; the only one, or the Q4_K_M one, when `file` is absent."""
    folder = directory / "hub" / repository.replace("/", "--")
    if file and (folder / file).exists():
        read_head(folder / file)
        return folder / file
    path = hub.download(repository, file or _choose(repository, hub.files(repository)), folder)
    read_head(path)
    return path


def _choose(repository: str, names: Sequence[str]) -> str:
    models = sorted(name for name in names if name.endswith(".gguf"))
    usual = [name for name in models if "q4_k_m" in name.lower()]
    for found in (models, usual):
        if len(found) == 1:
            return found[0]
    if not models:
        raise ModelError(f"{repository!r} has no GGUF file. Name a repository that has one.")
    raise ModelError(
        f"{repository!r} has {len(models)} GGUF files. Name one: {repository}:{models[0]}; also there: {', '.join(models[1:6])}."
    )
