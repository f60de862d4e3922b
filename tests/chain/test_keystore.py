"""Keystore files: made, opened, listed, imported, by eth-keyfile or for it."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import eth_keyfile
import pytest

from tercet.chain.keys import Key
from tercet.chain.keystore import Keystore, decrypt, encrypt
from tercet.errors import ChainError, KeystoreError, WrongPasswordError

KEY = Key(b"\5" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "keystore")


def test_a_key_comes_back_with_its_password(store: Keystore) -> None:
    """create, list and load agree on the address; the files are the owner's only."""
    made = store.create("miner", "correct horse", light=True)
    assert store.load("miner", "correct horse") == made
    (entry,) = store.list()
    assert (entry.name, entry.address) == ("miner", made.address)
    assert stat.S_IMODE(entry.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert [p.name for p in store.folder.iterdir()] == ["miner.json"]
    assert made.secret.hex() not in entry.path.read_text()


def test_a_wrong_password_says_so(store: Keystore) -> None:
    """The error names the key, not the password, and the right one still works."""
    store.create("miner", "right", light=True)
    with pytest.raises(WrongPasswordError, match="miner") as caught:
        store.load("miner", "wr0ng")
    assert "wr0ng" not in str(caught.value)
    assert store.load("miner", "right").address


def test_eth_keyfile_opens_ours_and_we_open_its(tmp_path: Path) -> None:
    """The peer's library and ours read each other's files, scrypt and pbkdf2."""
    ours = encrypt(KEY, "pässword", work=2**12)
    assert eth_keyfile.decode_keyfile_json(ours, "pässword".encode()) == KEY.secret
    for kdf, work in (("scrypt", 2**10), ("pbkdf2", 1000)):
        theirs = eth_keyfile.create_keyfile_json(KEY.secret, b"pw", kdf=kdf, iterations=work)
        assert decrypt(theirs, "pw", "theirs") == KEY


def test_standard_files_use_the_full_work_factor(store: Keystore) -> None:
    """Only `light` is cheap to guess at."""
    store.add("vault", KEY, "pw")
    content = json.loads((store.folder / "vault.json").read_text())
    assert content["crypto"]["kdfparams"]["n"] == 2**18
    assert store.load("vault", "pw") == KEY


def test_import_takes_over_a_file_from_elsewhere(store: Keystore, tmp_path: Path) -> None:
    """A wallet's export becomes a named key; a wrong password imports nothing."""
    foreign = tmp_path / "UTC--2026.json"
    foreign.write_text(json.dumps(eth_keyfile.create_keyfile_json(KEY.secret, b"pw", kdf="scrypt", iterations=2**10)))
    with pytest.raises(WrongPasswordError):
        store.import_file("old", foreign, "no", light=True)
    assert store.list() == []
    assert store.import_file("old", foreign, "pw", light=True) == KEY
    assert store.load("old", "pw") == KEY


def test_a_taken_name_is_kept(store: Keystore) -> None:
    """A second key of the same name is refused and the first one survives."""
    first = store.create("miner", "pw", light=True)
    with pytest.raises(KeystoreError, match="already"):
        store.create("miner", "pw", light=True)
    assert store.load("miner", "pw") == first


@pytest.mark.parametrize("name", ["../evil", "", "a/b", ".hidden", "a" * 65])
def test_a_name_cannot_leave_the_folder(store: Keystore, name: str) -> None:
    """Names are file names, so paths are refused."""
    with pytest.raises(KeystoreError, match="cannot name"):
        store.create(name, "pw", light=True)


def test_an_unknown_name_tells_the_known_ones(store: Keystore) -> None:
    """The error lists what is there and how to make the missing one."""
    store.create("miner", "pw", light=True)
    with pytest.raises(KeystoreError, match=r"known: miner.*tercet wallet new buyer"):
        store.load("buyer", "pw")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"crypto": 5, "address": "zz"}'])
def test_a_damaged_file_is_reported_and_left_out_of_the_list(store: Keystore, text: str) -> None:
    """Junk neither crashes the list nor passes for a key."""
    store.create("miner", "pw", light=True)
    (store.folder / "junk.json").write_text(text)
    assert [entry.name for entry in store.list()] == ["miner"]
    with pytest.raises(KeystoreError, match="junk"):
        store.load("junk", "pw")


@pytest.mark.parametrize(
    "greed",
    [{"n": 2**30}, {"N": 2**30}, {"r": 2**20}, {"p": 2**30}, {"p": 0}, {"n": "4096"}, {"dklen": 2**40}],
    ids="-".join,
)
def test_a_hostile_file_cannot_eat_the_memory(greed: dict[str, object]) -> None:
    """Scrypt parameters beyond any wallet's are refused before they are tried, however they are spelled."""
    content = encrypt(KEY, "pw", work=2**12)
    content["crypto"]["kdfparams"] |= greed
    with pytest.raises(KeystoreError, match=r"no version-3"):
        decrypt(content, "pw", "bomb")


def test_a_hostile_file_cannot_eat_the_time() -> None:
    """Nor pbkdf2 rounds beyond any wallet's."""
    content = eth_keyfile.create_keyfile_json(KEY.secret, b"pw", kdf="pbkdf2", iterations=1)
    content["crypto"]["kdfparams"]["c"] = 10**12
    with pytest.raises(KeystoreError, match="pbkdf2"):
        decrypt(content, "pw", "bomb")


def test_listing_wallets_loads_no_curves(store: Keystore) -> None:
    """Only making and opening a key pays for eth-keyfile's start-up."""
    store.create("miner", "pw", light=True)
    code = (
        "import sys; from pathlib import Path; from tercet.chain.keystore import Keystore\n"
        f"print([e.name for e in Keystore(Path({str(store.folder)!r})).list()], 'eth_keyfile' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['miner'] False"


def test_a_folder_that_cannot_be_written_is_our_error(tmp_path: Path) -> None:
    """A file where the folder should be gives a message, not a traceback."""
    (tmp_path / "keystore").write_text("")
    with pytest.raises(ChainError, match="Cannot make the folder"):
        Keystore(tmp_path / "keystore").create("miner", "pw", light=True)
