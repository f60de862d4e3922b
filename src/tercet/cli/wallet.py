"""`tercet wallet`: keys that hold money and sign."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from tercet.chain.keys import Key
from tercet.cli.connection import open_client, read_faucet
from tercet.cli.frame import State, group, pass_state
from tercet.cli.home import channels
from tercet.cli.options import password_option
from tercet.cli.output import print_json, print_table, say
from tercet.cli.settings import Settings
from tercet.cli.unlock import keystore, read_password
from tercet.client import Client
from tercet.market import CREDIT, STAKE, Amount

__all__ = ["command", "pay_from_faucet"]

COIN = 10**18


@group("wallet", examples=("tercet wallet new miner", "tercet wallet list"))
def command() -> None:
    """Keys that hold money and sign, each in an encrypted file (Web3 Secret Storage) under home/keystore."""


command.add_command(channels)


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


@command.command(
    "fund", examples=("tercet wallet fund miner", "tercet wallet fund buyer --credit 100 --stake 0 --gas 1")
)
@click.argument("name", metavar="NAME|ADDRESS")
@click.option("--credit", default="100", show_default=True, metavar="CREDIT", help="Test dollars to give.")
@click.option("--stake", default="1000", show_default=True, metavar="TCT", help="Stake tokens to give.")
@click.option("--gas", default=10.0, show_default=True, help="Of the chain's own coin to give, for fees.")
@pass_state
def fund(state: State, name: str, credit: str, stake: str, gas: float) -> None:
    """Give a wallet money from the faucet of the development chain under home."""
    settings = state.settings
    address = next((entry.address for entry in keystore(settings).list() if entry.name == name), name)
    units = Amount.parse(credit, CREDIT).units, Amount.parse(stake, STAKE).units
    asyncio.run(_fund(settings, address, *units, int(gas * COIN)))


async def _fund(settings: Settings, address: str, credit: int, stake: int, gas: int) -> None:
    faucet = read_faucet(settings)
    async with open_client(settings) as client:
        await pay_from_faucet(client, faucet, address, credit=credit, stake=stake, gas=gas)
    say(f"{address} got {Amount(credit, CREDIT)}, {Amount(stake, STAKE)}, and {gas / COIN:g} of the chain's coin.")


async def pay_from_faucet(client: Client, faucet: Key, address: str, *, credit: int, stake: int, gas: int) -> None:
    """Base units of each money to an address; the faucet's key must be the deployer's."""
    sender = client.sender(faucet)
    if gas:
        await sender.send(address, value=gas)
    if stake:
        await client.ledger.token.transfer(sender, address, stake)
    if credit:
        await client.ledger.credit.mint(sender, address, credit)
