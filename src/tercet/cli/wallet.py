"""`tercet wallet`: keys that hold money and sign."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tercet.chain.keys import Key
from tercet.cli.frame import State, group, pass_state
from tercet.cli.options import password_option
from tercet.cli.output import print_json, print_table
from tercet.cli.unlock import keystore, read_password

__all__ = ["command"]


@group("wallet", examples=("tercet wallet new miner", "tercet wallet list"))
def command() -> None:
    """Keys that hold money and sign, each in an encrypted file (Web3 Secret Storage) under home/keystore."""


@command.command("new", examples=("tercet wallet new miner", "tercet wallet new miner --password-file secret.txt"))
@click.argument("name")
@click.option("--light", is_flag=True, help="A cheap key derivation, for development keys only.")
@password_option
@pass_state
def new(state: State, name: str, light: bool) -> None:
    """Make a wallet and print its address."""
    settings = state.settings
    click.echo(keystore(settings).create(name, read_password(settings, new=True), light=light).address)


@command.command(
    "import",
    examples=("tercet wallet import miner UTC--2026-05-01.json", "pass show miner | tercet wallet import miner -"),
)
@click.argument("name")
@click.argument("file", metavar="FILE|-")
@click.option("--light", is_flag=True, help="A cheap key derivation, for development keys only.")
@password_option
@pass_state
def import_(state: State, name: str, file: str, light: bool) -> None:
    """Take over a keystore file (version 3), or with `-` a secret of 64 hex digits from stdin.

    The file's password becomes the wallet's.
    """
    settings = state.settings
    store = keystore(settings)
    if file == "-":
        secret = sys.stdin.readline()
        key = store.add(name, Key.from_hex(secret), read_password(settings, new=True), light=light)
    else:
        key = store.import_file(name, Path(file), read_password(settings), light=light)
    click.echo(key.address)


@command.command(
    "list",
    examples=("tercet wallet list", "tercet wallet list --json"),
    schema={
        "wallets[].name": "its name",
        "wallets[].address": "EIP-55 address",
        "wallets[].path": "the keystore file",
    },
)
@pass_state
def list_wallets(state: State, as_json: bool) -> None:
    """All wallets; needs no password. Their money: tercet ledger balances."""
    entries = keystore(state.settings).list()
    if as_json:
        print_json({"wallets": [{"name": e.name, "address": e.address, "path": str(e.path)} for e in entries]})
    else:
        print_table(
            ["name", "address"],
            [[e.name, e.address] for e in entries],
            "No wallet yet. Make one: tercet wallet new NAME",
        )
