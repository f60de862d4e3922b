"""Keys at rest: Web3 Secret Storage files, version 3, as geth, eth-account and wallets write them.

One file a name, `NAME.json`, mode 0600 in a folder of mode 0700, written whole or not at all.
Where the password comes from is the command line's matter; eth-keyfile locks and unlocks.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tercet.chain.files import make_folder, write_atomic
from tercet.chain.keys import Key, checksum_address
from tercet.errors import InvalidKeyError, KeystoreError, WrongPasswordError

STANDARD_N = 2**18
"""scrypt work factor of geth's standard files: 256 MiB and about a second."""
LIGHT_N = 2**12
"""geth's light factor, 4 MiB and milliseconds: for development keys only."""
_MAX_N = 2**20
_MAX_ROUNDS = 10**7
"""Of pbkdf2: some seconds; wallets write 10**6 at most."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key in the keystore, locked."""

    name: str
    address: str
    path: Path


class Keystore:
    """A folder of encrypted keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, name: str, password: str, *, light: bool = False) -> Key:
        """Make a fresh key and store it under `name`.

        Raises:
            KeystoreError: the name is taken or not fit for a file name.
        """
        return self.add(name, Key.generate(), password, light=light)

    def add(self, name: str, key: Key, password: str, *, light: bool = False) -> Key:
        """Store an existing key under `name` and return it; raises as `create` does."""
        path = self._path(name)
        if path.exists():
            raise KeystoreError(f"The keystore has a key {name!r} already ({path}). Choose another name.")
        make_folder(self.folder, mode=0o700)
        content = encrypt(key, password, work=LIGHT_N if light else STANDARD_N)
        write_atomic(path, json.dumps(content, indent=1).encode(), mode=0o600, replace=False)
        return key

    def import_file(self, name: str, path: Path, password: str, *, light: bool = False) -> Key:
        """Take over a version-3 file made elsewhere; it is opened once to check the password."""
        return self.add(name, decrypt(_read(path), password, str(path)), password, light=light)

    def load(self, name: str, password: str) -> Key:
        """Open the key `name`.

        Raises:
            WrongPasswordError: the password does not fit.
            KeystoreError: no such key, or the file is damaged.
        """
        path = self._path(name)
        if not path.exists():
            known = ", ".join(entry.name for entry in self.list()) or "none yet"
            raise KeystoreError(
                f"The keystore {self.folder} has no key {name!r} (known: {known}). Make it with: tercet wallet new {name}"
            )
        return decrypt(_read(path), password, name)

    def list(self) -> list[Entry]:
        """All keys by name; needs no password. Files that are no keystore files are left out."""
        entries = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                raw = bytes.fromhex(str(_read(path)["address"]).removeprefix("0x"))
                entries.append(Entry(path.stem, checksum_address(raw), path))
            except (KeystoreError, InvalidKeyError, KeyError, ValueError):
                continue
        return entries

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise KeystoreError(f"{name!r} cannot name a key: use letters, digits, '.', '_' and '-', at most 64.")
        return self.folder / f"{name}.json"


def encrypt(key: Key, password: str, *, work: int = STANDARD_N) -> dict[str, Any]:
    """The version-3 object of a key: scrypt (r 8, p 1), AES-128-CTR, keccak MAC.

    Args:
        key: what to lock up.
        password: any text; encoded as UTF-8.
        work: scrypt's N, a power of two.
    """
    # Here and not above: it brings pairing curves, 0.7 s of start-up that listing wallets need not pay.
    from eth_keyfile import create_keyfile_json  # noqa: PLC0415

    made: dict[str, Any] = create_keyfile_json(
        key.secret, password.encode(), kdf="scrypt", iterations=work, salt_size=32
    )
    return made | {"address": key.address[2:].lower()}  # as geth writes it


def decrypt(content: dict[str, Any], password: str, name: str) -> Key:
    """The key inside a version-3 object (scrypt or pbkdf2); `name` is for the error's text."""
    # Here and not above, as in `encrypt`.
    from eth_keyfile import decode_keyfile_json  # noqa: PLC0415
    from eth_keyfile.exceptions import EthKeyfileValueError  # noqa: PLC0415

    plain = _lower(content)  # before the bounds, or an "N" beside the "n" would pass them
    try:
        _check_bounds(plain)
        return Key(decode_keyfile_json(plain, password.encode()))
    except EthKeyfileValueError as error:  # the MAC, and nothing else in a version-3 file
        raise WrongPasswordError(
            f"The password does not open the key {name!r}. Try again; nothing was changed."
        ) from error
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise KeystoreError(f"Key {name!r} is no version-3 keystore file: {error!r}. Restore it.") from error


def _check_bounds(content: dict[str, Any]) -> None:
    """A stranger's file must not be able to ask for all the memory or time there is; ValueError if it does."""
    if content["version"] != 3:
        raise ValueError(f"version {content['version']!r}")
    kdf, given = content["crypto"]["kdf"], content["crypto"]["kdfparams"]
    if given["dklen"] != 32:
        raise ValueError(f"dklen {given['dklen']!r}")
    limits = {"n": _MAX_N, "r": 16, "p": 16} if kdf == "scrypt" else {"c": _MAX_ROUNDS}
    for part, most in limits.items():
        if not 1 <= given[part] <= most:
            raise ValueError(f"{kdf} {part}={given[part]} is more than a keystore needs, or less")


def _lower(content: Any) -> Any:
    """With all names in lower case, as some wallets write `Crypto`."""
    return {str(k).lower(): _lower(v) for k, v in content.items()} if isinstance(content, dict) else content


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise KeystoreError(f"Cannot read the keystore file {path}: {error.strerror}.") from error
    except ValueError as error:
        raise KeystoreError(f"The keystore file {path} is not JSON: {error}. Restore it from a copy.") from error
    if not isinstance(content, dict):
        raise KeystoreError(f"The keystore file {path} holds no JSON object. Restore it from a copy.")
    return content
