"""Wallets: made, listed, imported; a wrong password changes nothing."""

from __future__ import annotations

from .conftest import Shell

ONE = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"


def test_a_new_wallet_is_listed_with_its_address(shell: Shell) -> None:
    """The address goes to stdout, alone."""
    address = shell.wallet("miner")
    assert address.startswith("0x")
    assert [(w["name"], w["address"]) for w in shell.run("wallet", "list", "--json").json["wallets"]] == [
        ("miner", address)
    ]
    assert address in shell.run("wallet", "list").out


def test_no_wallet_says_how_to_make_one(shell: Shell) -> None:
    """An empty list is not an error; the way on stands on stderr."""
    done = shell.run("wallet", "list")
    assert (done.code, done.out) == (0, "")
    assert "tercet wallet new" in done.err


def test_a_name_is_not_taken_twice(shell: Shell) -> None:
    """Nobody overwrites a key."""
    shell.wallet("miner")
    done = shell.run("wallet", "new", "miner", "--light", "--password-file", str(shell.password_file))
    assert done.code == 1
    assert "already" in done.err


def test_a_secret_comes_from_stdin_never_from_a_flag(shell: Shell) -> None:
    """64 hex digits are read from stdin; something else is wrong usage and is not repeated."""
    words = ["wallet", "import", "one", "-", "--light", "--password-file", str(shell.password_file)]
    assert shell.run(*words, stdin="0x" + "0" * 63 + "1\n").out.strip() == ONE
    done = shell.run(*["wallet", "import", "two", *words[3:]], stdin="secret words\n")
    assert done.code == 2
    assert "secret words" not in done.err


def test_a_wrong_password_opens_nothing(shell: Shell) -> None:
    """Importing a keystore file checks its password first."""
    shell.wallet("miner")
    (shell.folder / "wrong").write_text("battery staple\n")
    file = shell.run("wallet", "list", "--json").json["wallets"][0]["path"]
    done = shell.run("wallet", "import", "copy", file, "--light", "--password-file", "wrong")
    assert done.code == 1
    assert "password" in done.err
    assert len(shell.run("wallet", "list", "--json").json["wallets"]) == 1


def test_an_empty_or_missing_password_file_is_wrong_usage(shell: Shell) -> None:
    """The message names the file."""
    (shell.folder / "empty").write_text("\n")
    for name in ("empty", "missing"):
        done = shell.run("wallet", "new", "a", "--password-file", name)
        assert done.code == 2
        assert name in done.err
