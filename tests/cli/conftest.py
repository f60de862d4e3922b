"""Runs `tercet` as people do: a process of its own, in a home of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """What it printed, parsed."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True, slots=True)
class Shell:
    """A home folder and an environment."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the tester's own settings."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TERCET_") or name == "TERCET_MODELS"
        }
        return {**kept, "TERCET_HOME": str(self.folder / "home"), "COLUMNS": "120"}

    @property
    def password_file(self) -> Path:
        """A password that opens every wallet of this home."""
        path = self.folder / "password"
        path.write_text("correct horse\n")
        return path

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """A command that stays."""
        return subprocess.Popen(
            [sys.executable, "-m", "tercet.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
        )

    def run(
        self, *arguments: str, stdin: str = "", seconds: float = 60, environment: Mapping[str, str] | None = None
    ) -> Outcome:
        """A command that ends."""
        return self.python("-m", "tercet.cli", *arguments, stdin=stdin, seconds=seconds, environment=environment)

    def python(
        self, *arguments: str, stdin: str = "", seconds: float = 60, environment: Mapping[str, str] | None = None
    ) -> Outcome:
        """A program of this Python."""
        done = subprocess.run(
            [sys.executable, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            timeout=seconds,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def spend(self, *arguments: str, wallet: str = "owner") -> Outcome:
        """A command that opens a wallet."""
        return self.run(*arguments, "--wallet", wallet, "--password-file", str(self.password_file))

    def wallet(self, name: str) -> str:
        """The address of a new wallet."""
        return self.run("wallet", "new", name, "--light", "--password-file", str(self.password_file)).out.strip()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A fresh home."""
    return Shell(tmp_path)


def fields_of(value: object, path: str = "") -> set[str]:
    """The dotted names of everything in a JSON value, lists marked with `[]`; empty lists hide their fields."""
    if isinstance(value, dict):
        return {name for key, part in value.items() for name in fields_of(part, f"{path}.{key}" if path else key)}
    if isinstance(value, list):
        return {name for part in value for name in fields_of(part, f"{path}[]")}
    return {path}


def covers(schema: Iterable[str], fields: set[str]) -> bool:
    """Whether every field is in the schema, or lies below a documented free-form one (`name.*`)."""
    names = set(schema)
    return all(
        field in names or any(known.endswith(".*") and field.startswith(known[:-1]) for known in names)
        for field in fields
    )


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A home with a running chain, a funded wallet `owner`, and an open market `echo`, shared by a module."""
    shell = Shell(tmp_path_factory.mktemp("town"))
    chain = shell.start("chain", "start", "--port", "0", "--time-travel")
    try:
        assert chain.stdout is not None
        assert chain.stdout.readline().startswith('{"ready": true')
        shell.wallet("owner")
        assert shell.run("wallet", "fund", "owner", "--stake", "5000").code == 0
        made = shell.spend("market", "create", "echo", "--commit", "600", "--reveal", "300", "--yes")
        assert made.code == 0, made.err
        yield shell
    finally:
        chain.send_signal(signal.SIGTERM)
        chain.communicate(timeout=20)
