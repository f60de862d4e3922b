"""Settings and where each came from: flag, environment, project file, user file, default, in this order.

Knows files and the environment. Does not know what a setting is used for.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from tercet.errors import UsageError

__all__ = ["SETTINGS", "Setting", "Settings", "Source", "Value", "resolve_settings"]

Source: TypeAlias = Literal["flag", "environment", "project file", "user file", "default"]
PROJECT_FILE = Path("tercet.toml")


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set."""

    name: str
    default: str
    meaning: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"TERCET_{self.name.upper()}"


SETTINGS = (
    Setting("home", "~/.local/share/tercet", "Where wallets, the development chain and the state of roles live."),
    Setting("models", "~/.cache/tercet/models", "Where model files live."),
    Setting("chain", "", "JSON-RPC address of the chain. Empty: the chain that was started under home."),
    Setting("deployment", "", "File with the contracts' addresses. Empty: the one under home that fits the chain."),
    Setting("market", "", "Name or address of the market. Empty: the one that is named like the subnet."),
    Setting("wallet", "default", "Name of the wallet that pays and signs."),
    Setting("threads", "", "Of the CPU, for a model on this machine that agents think with. Empty: half of the cores."),
    Setting("gateway", "", "OpenAI-compatible address that agents think through. Empty: a model on this machine."),
    Setting("gateway_key_file", "", "A file whose first line is the key for the gateway."),
    Setting("password_file", "", "A file whose first line opens the wallet. Empty: ask on the terminal."),
)


@dataclass(frozen=True, slots=True)
class Value:
    """What a setting is, and who said so."""

    text: str
    source: Source


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting by name."""

    values: Mapping[str, Value]

    def text(self, name: str) -> str:
        """The value of `name` as it was written."""
        return self.values[name].text

    def path(self, name: str) -> Path:
        """The value of `name` as a path, `~` expanded."""
        return Path(self.values[name].text).expanduser()

    @property
    def home(self) -> Path:
        """Where everything that lasts is kept."""
        return self.path("home")


def _read_file(path: Path) -> Mapping[str, str]:
    """The settings in a TOML file; an absent file has none."""
    try:
        found = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}. Mend it, or move it away.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}. Mend its permissions.") from error
    known = {setting.name for setting in SETTINGS}
    for name, value in found.items():
        if name not in known or not isinstance(value, str):
            raise UsageError(
                f"{path} sets {name!r}, which is no text setting of Tercet. Known: {', '.join(sorted(known))}."
            )
    return found


def resolve_settings(flags: Mapping[str, str]) -> Settings:
    """Look each setting up in every place, most specific first."""
    project = _read_file(PROJECT_FILE)
    values: dict[str, Value] = {}
    user: Mapping[str, str] = {}
    for setting in SETTINGS:
        places: list[tuple[Source, str | None]] = [
            ("flag", flags.get(setting.name)),
            ("environment", os.environ.get(setting.variable) or None),
            ("project file", project.get(setting.name)),
            ("user file", user.get(setting.name)),
            ("default", setting.default),
        ]
        values[setting.name] = next(Value(text, source) for source, text in places if text is not None)
        if setting.name == "home":  # the user file lives in home, so home itself cannot be set there
            user = _read_file(Path(values["home"].text).expanduser() / "config.toml")
    return Settings(values)
