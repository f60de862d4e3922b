"""Whose agents a person has added: specialists in environments of their own, agents by URL, servers of tools.

The list is one JSON file, replaced whole. Nothing that an agent says or leaves changes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.errors import UnknownAgentError, UsageError
from tercet.swarm.workers.specialists import SPECIALISTS

__all__ = ["Added", "Agents"]

_NAME = r"^[a-z][a-z0-9-]{0,31}$"


class Added(BaseModel):
    """One agent, or one server of tools, as a person added it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=_NAME)
    """What a plan's task gives as its role."""
    kind: Literal["specialist", "a2a", "mcp"]
    about: str = Field(default="", max_length=1000)
    """What it says of itself, or what we say of it."""
    url: str = Field(default="", max_length=2000)
    """Where it is; empty for what runs here."""
    command: tuple[str, ...] = Field(default=(), max_length=64)
    """Of a server of tools that runs here: what starts it, in the sandbox."""
    files: str = ""
    """Of such a command: a folder whose copy it starts in; empty for none."""
    tools: Mapping[str, Literal["local", "irreversible"]] = Field(default_factory=dict)
    """Of a server of tools: the ones that agents may use, and how far each reaches."""
    digests: Mapping[str, str] = Field(default_factory=dict)
    """Of those tools: `Tool.digest` as the person saw it. What an older version added has none."""
    added_ms: int = Field(ge=0)
    """Unix milliseconds."""

    @property
    def add_again(self) -> str:
        """Of a server of tools: the command that shows it and adds it again. Its token and its packages stay."""
        words = ["tercet", "agent", "add", self.url or shlex.join(self.command), "--mcp", "--as", self.name]
        if self.files:
            words += ["--files", self.files]
        for tool, reach in self.tools.items():
            words += ["--allow", tool if reach == "irreversible" else f"{reach}={tool}"]
        return shlex.join(words)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    agents: list[Added] = Field(default_factory=list)


class Agents:
    """The agents of one home; `folder` is <home>/agents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "agents.json"

    def all(self) -> list[Added]:
        """Sorted by name.

        Raises:
            UsageError: the file is damaged.

        """
        try:
            found = _File.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except ValidationError as error:
            raise UsageError(
                f"{self._path} is no list of agents: {error.errors()[0]['msg']}. Mend it, or move it away and add the"
                " agents again."
            ) from error
        return sorted(found.agents, key=lambda one: one.name)

    def find(self, name: str) -> Added:
        """The one of this name.

        Raises:
            UnknownAgentError: there is none.

        """
        known = {one.name: one for one in self.all()}
        if name not in known:
            hint = f"Add it: tercet agent add {name}." if name in SPECIALISTS else "tercet agent list shows all."
            raise UnknownAgentError(f"There is no agent {name!r} here. {hint}")
        return known[name]

    def put(self, added: Added, token: str = "") -> None:
        """Add it, or replace the one of its name; without a token it keeps the one it had."""
        with self.leaving_nothing(added.name), self._locked():
            if token:
                self.keep_token(added.name, token)
            self._write([one for one in self.all() if one.name != added.name] + [added])

    @contextlib.contextmanager
    def leaving_nothing(self, name: str) -> Iterator[None]:
        """Where adding it fails, the folder goes that was made for it."""
        place = self.place(name)
        was_there = place.exists()
        try:
            yield
        except BaseException:
            if not was_there and place.exists():
                shutil.rmtree(place)
            raise

    def remove(self, name: str) -> None:
        """Forget it, and delete its environment.

        Raises:
            UnknownAgentError: there is none.

        """
        with self._locked():
            self.find(name)
            self._write([one for one in self.all() if one.name != name])
        if (place := self.place(name)).is_dir():
            shutil.rmtree(place)

    def place(self, name: str) -> Path:
        """The folder that belongs to an agent."""
        if not re.match(_NAME, name):
            raise UsageError(f"{name!r} is no name of an agent: lower-case letters, digits and '-', at most 32.")
        return self.folder / name

    def environment(self, name: str) -> Path:
        """Its virtual environment."""
        return self.place(name) / "venv"

    def token(self, name: str) -> str:
        """What is shown to an agent at a URL; empty when nothing is."""
        try:
            return (self.place(name) / "token").read_text().strip()
        except FileNotFoundError:
            return ""

    def keep_token(self, name: str, token: str) -> None:
        """Keep it in a file that only its owner reads."""
        place = self.place(name)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(place / "token", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(token + "\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "agents.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, agents: Sequence[Added]) -> None:
        text = json.dumps({"agents": [one.model_dump(mode="json") for one in agents]}, indent=2)
        descriptor, draft = tempfile.mkstemp(dir=self.folder, prefix=".agents-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(self._path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000
