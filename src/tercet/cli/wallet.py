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
from tercet.cli.options import password_option, spending_options, wallet_option
from tercet.cli.output import confirm, print_json, print_table, say
from tercet.cli.pools import find_address
from tercet.cli.settings import Settings
from tercet.cli.unlock import keystore, read_password, unlock
from tercet.client import Client
from tercet.errors import UsageError
from tercet.market import CREDIT, STAKE, Amount, Token

__all__ = ["command", "pay_from_faucet"]

COIN = 10**18
GAS = Token("of the chain's coin", 18)


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


@command.command(
    "send",
    examples=(
        "tercet wallet send miner --stake 10 --gas 0.01 --wallet owner --dry-run",
        "tercet wallet send 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --credit 25 --wallet buyer --yes",
    ),
)
@click.argument("receiver", metavar="NAME|ADDRESS")
@click.option("--credit", default="0", show_default=True, metavar="CREDIT", help="Credit to send.")
@click.option("--stake", default="0", show_default=True, metavar="TCT", help="Stake tokens to send.")
@click.option("--gas", default="0", show_default=True, metavar="COIN", help="Of the chain's own coin to send.")
@spending_options
@wallet_option
@pass_state
def send(state: State, *, receiver: str, credit: str, stake: str, gas: str, yes: bool, dry_run: bool) -> None:
    """Send money of the wallet to another one. On a development chain, tercet wallet fund gives it away."""
    amounts = Amount.parse(credit, CREDIT), Amount.parse(stake, STAKE), Amount.parse(gas, GAS)
    if not any(amount.units for amount in amounts):
        raise UsageError("How much? Say --credit, --stake or --gas.")
    asyncio.run(_send(state.settings, find_address(state.settings, receiver), amounts, yes=yes, dry_run=dry_run))


async def _send(
    settings: Settings, receiver: str, amounts: tuple[Amount, Amount, Amount], *, yes: bool, dry_run: bool
) -> None:
    credit, stake, gas = amounts
    async with open_client(settings) as client:
        words = ", ".join(str(amount) for amount in amounts if amount.units)
        if not confirm(f"send {words} to {receiver}", yes=yes, dry_run=dry_run):
            return
        sender = client.sender(unlock(settings))
        if gas.units:
            await sender.send(receiver, value=gas.units)
        if stake.units:
            await client.ledger.token.transfer(sender, receiver, stake.units)
        if credit.units:
            await client.ledger.credit.transfer(sender, receiver, credit.units)
        say(f"{receiver} got {words}.")


@command.command(
    "mint",
    examples=("tercet wallet mint 1000 --wallet owner --dry-run", "tercet wallet mint 1000 --wallet owner --yes"),
)
@click.argument("amount", metavar="CREDIT")
@spending_options
@wallet_option
@pass_state
def mint(state: State, *, amount: str, yes: bool, dry_run: bool) -> None:
    """Make test credit for the wallet, which must be the one that deployed it. It is worth nothing outside its chain."""
    asyncio.run(_mint(state.settings, Amount.parse(amount, CREDIT), yes=yes, dry_run=dry_run))


async def _mint(settings: Settings, amount: Amount, *, yes: bool, dry_run: bool) -> None:
    async with open_client(settings) as client:
        key = unlock(settings)
        if confirm(f"make {amount} of test credit for {key.address}", yes=yes, dry_run=dry_run):
            await client.ledger.credit.mint(client.sender(key), key.address, amount.units)


async def pay_from_faucet(client: Client, faucet: Key, address: str, *, credit: int, stake: int, gas: int) -> None:
    """Base units of each money to an address; the faucet's key must be the deployer's."""
    sender = client.sender(faucet)
    if gas:
        await sender.send(address, value=gas)
    if stake:
        await client.ledger.token.transfer(sender, address, stake)
    if credit:
        await client.ledger.credit.mint(sender, address, credit)
