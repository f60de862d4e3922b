"""What `tercet agent add` is told, read before anything is installed or asked. Raises `UsageError` for all that is wrong."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import urlsplit

from tercet.errors import UsageError

__all__ = ["command_words", "files_folder", "read_token", "validate_address"]


def validate_address(what: str) -> bool:
    """Whether it is a URL, and then one that can be asked; a name or a command otherwise."""
    scheme, slashes, _ = what.partition("://")
    if not slashes or not scheme.isalnum():
        return False
    try:
        address = urlsplit(what)
        usable = scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"{what!r} is no address of an agent. Say it as http://HOST:PORT/ or https://HOST/.")
    return True


def command_words(what: str) -> tuple[str, ...]:
    """A command as a shell would take it apart."""
    try:
        words = tuple(shlex.split(what))
    except ValueError as error:
        raise UsageError(f"{what!r} is no command: {error}.") from error
    if not words:
        raise UsageError("The command is empty. Say what starts the server, such as 'python3 server.py'.")
    return words


def files_folder(chosen: str | None) -> str:
    """The folder that a command starts in, in full; empty where none was named."""
    if not chosen:
        return ""
    folder = Path(chosen).expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"{chosen!r} is no folder. Name with --files the one that the command starts in.")
    return str(folder)


def read_token(file: str | None) -> str:
    """The first line of a file; empty where none was named."""
    if not file:
        return ""
    try:
        token = Path(file).expanduser().read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The token file {file!r} cannot be read: {error}. Name another with --token-file.") from error
    if not token:
        raise UsageError(f"The first line of the token file {file!r} is empty. Put the token there.")
    return token
