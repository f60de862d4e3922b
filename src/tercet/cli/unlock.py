"""Opening a wallet: the password comes from a file or from the terminal, never from a flag."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tercet.chain.keys import Key
from tercet.chain.keystore import Keystore
from tercet.cli.settings import Settings
from tercet.errors import UsageError

__all__ = ["keystore", "read_password", "unlock"]


def keystore(settings: Settings) -> Keystore:
    """The folder of wallets under home."""
    return Keystore(settings.home / "keystore")


def read_password(settings: Settings, *, new: bool = False) -> str:
    """The password of a wallet: the first line of the file that `password_file` names, else asked for.

    Args:
        settings: where `password_file` stands.
        new: ask twice, because nobody can check a new password against anything.

    Raises:
        UsageError: the file cannot be read, or is empty.

    """
    name = settings.text("password_file")
    if not name and not sys.stdin.isatty():
        raise UsageError(
            "Nobody is there to type a password. Name a file: --password-file FILE, or TERCET_PASSWORD_FILE."
        )
    if not name:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=new, err=True))
    try:
        password = Path(name).expanduser().read_text().partition("\n")[0].rstrip("\r")
    except OSError as error:
        raise UsageError(
            f"The password file {name!r} cannot be read: {error.strerror}. Name another with --password-file."
        ) from error
    if not password:
        raise UsageError(f"The first line of the password file {name!r} is empty. Write the password there.")
    return password


def unlock(settings: Settings, name: str = "") -> Key:
    """The key of the wallet `name`, or of the one that the settings choose."""
    store, name = keystore(settings), name or settings.text("wallet")
    if not any(entry.name == name for entry in store.list()):
        store.load(name, "")  # raises, and says which wallets there are, before anybody types a password
    return store.load(name, read_password(settings))
