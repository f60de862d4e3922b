"""`tercet ledger`: what the chain has recorded, and the gateway's receipts."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from tercet.chain.bindings import BoundContract
from tercet.chain.logs import Event
from tercet.cli.connection import open_client
from tercet.cli.frame import State, group, pass_state
from tercet.cli.options import market_option, state_option
from tercet.cli.output import print_json, print_table
from tercet.cli.settings import Settings
from tercet.cli.unlock import keystore
from tercet.client import Client
from tercet.market import CREDIT, STAKE, Amount
from tercet.nodes.budgets import Budgets
from tercet.nodes.gateway_keys import gateway_db

__all__ = ["command"]

GAS_DECIMALS = 10**18


@group("ledger", examples=("tercet ledger balances", "tercet ledger events --market inference --name EpochClosed"))
def command() -> None:
    """What the chain has recorded: events and balances; and the gateway's receipts."""


@command.command(
    "balances",
    examples=("tercet ledger balances", "tercet ledger balances 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --json"),
    schema={
        "balances[].name": "the wallet's name, or empty",
        "balances[].address": "whose",
        "balances[].gas": "of the chain's own coin, wei, as text",
        "balances[].credit": "base units, as text",
        "balances[].stake": "TCT base units, as text",
    },
)
@click.argument("addresses", nargs=-1, metavar="[ADDRESS...]")
@pass_state
def balances(state: State, addresses: tuple[str, ...], as_json: bool) -> None:
    """What the wallets here hold, or the given addresses."""
    asyncio.run(_balances(state.settings, addresses, as_json))


async def _balances(settings: Settings, addresses: tuple[str, ...], as_json: bool) -> None:
    names = {entry.address: entry.name for entry in keystore(settings).list()}
    async with open_client(settings) as client:
        found = [await client.balance(address) for address in addresses or names]
    if as_json:
        rows = [
            {
                "name": names.get(b.address, ""),
                "address": b.address,
                "gas": str(b.gas),
                "credit": str(b.credit),
                "stake": str(b.stake),
            }
            for b in found
        ]
        print_json({"balances": rows})
        return
    table = [
        [
            names.get(b.address, ""),
            b.address,
            Amount(b.credit, CREDIT),
            Amount(b.stake, STAKE),
            f"{b.gas / GAS_DECIMALS:.4f}",
        ]
        for b in found
    ]
    print_table(
        ["name", "address", "credit", "stake", "gas coin"], table, "No wallet yet. Make one: tercet wallet new NAME"
    )


@command.command(
    "events",
    examples=("tercet ledger events --market inference", "tercet ledger events --name Redeemed --last 5 --json"),
    schema={
        "events[].name": "of the event",
        "events[].contract": "who told it",
        "events[].block": "number of its block",
        "events[].transaction": "hash",
        "events[].fields.*": "its fields; integers and bytes as text",
    },
)
@click.option("--name", "names", multiple=True, metavar="EVENT", help="Only these (repeat it).")
@click.option("--from-block", type=int, help="From this block on (default: since the contracts were put there).")
@click.option("--last", default=50, show_default=True, help="Only the newest so many.")
@market_option
@pass_state
def events(state: State, names: tuple[str, ...], from_block: int | None, last: int, as_json: bool) -> None:
    """What the contracts told: tokens, registry, escrow, and the market's own if one is named."""
    asyncio.run(_events(state.settings, names, from_block, last, as_json))


async def _events(settings: Settings, names: tuple[str, ...], first: int | None, last: int, as_json: bool) -> None:
    async with open_client(settings) as client:
        contracts = await _chosen_contracts(client, settings.text("market"))
        told = [event async for event in client.events(contracts, first, names=names)][-last:]
        who = {contract.address: contract.name for contract in contracts}
    if as_json:
        print_json({"events": [event_row(event) for event in told]})
        return
    rows = [[e.block, who[e.contract], e.name, _brief(event_row(e)["fields"])] for e in told]
    print_table(["block", "contract", "event", "fields"], rows, "Nothing was recorded.")


async def _chosen_contracts(client: Client, market: str) -> list[BoundContract]:
    if not market:
        return list(await client.contracts())
    return list(await client.ledger.market((await client.find_market(market)).market).contracts())


def event_row(event: Event) -> dict[str, Any]:
    """An event as `--json` says it."""
    return {
        "name": event.name,
        "contract": event.contract,
        "block": event.block,
        "transaction": f"0x{event.transaction.hex()}",
        "fields": {name: _text(value) for name, value in event.fields.items()},
    }


def _text(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_text(part) for part in value]
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)


def _brief(fields: dict[str, Any]) -> str:
    words = (f"{name}={value}" for name, value in fields.items())
    return " ".join(word if len(word) <= 60 else f"{word[:57]}..." for word in words)


RECEIPT_SCHEMA = {
    "receipts[].id": "names the call",
    "receipts[].key": "id of the API key that paid",
    "receipts[].kind": "chat or embed",
    "receipts[].model": "what was asked for",
    "receipts[].status": "how it ended",
    "receipts[].time_ms": "when the call came in, Unix milliseconds",
    "receipts[].request": "sha256 of the request that the miner signed for",
    "receipts[].miner.*": "uid, generation and operator of who answered",
    "receipts[].usage.*": "prompt and completion tokens",
    "receipts[].charged": "credit base units",
    "receipts[].price.*": "what was offered to the miner",
    "receipts[].probation": "whether the miner was unproven",
    "receipts[].first_seconds": "to the first piece",
    "receipts[].total_seconds": "of the whole call",
    "receipts[].attempts": "how many miners were tried",
    "receipts[].answer": "the miner's signed trailer, or null",
    "receipts[].answer.*": "its fields",
    "receipts[].detail": "why it did not end well",
}


@command.command(
    "receipts", examples=("tercet ledger receipts", "tercet ledger receipts --last 3 --json"), schema=RECEIPT_SCHEMA
)
@click.option("--last", default=20, show_default=True, help="Only the newest so many.")
@click.option("--key", "key_id", metavar="ID", help="Only of this API key.")
@state_option("gateway")
@pass_state
def receipts(state: State, last: int, key_id: str | None, folder: str | None, as_json: bool) -> None:
    """The gateway's receipts, the newest first: who asked, who answered, what it cost."""
    with Budgets(gateway_db(state.folder("gateway", folder))) as books:
        found = books.receipts(key_id, limit=last)
    if as_json:
        print_json({"receipts": [receipt.to_json() for receipt in found]})
        return
    rows = [
        [r.id, r.status, r.uid or "-", r.usage.completion, Amount(r.charged, CREDIT), f"{r.total_seconds:.2f} s"]
        for r in found
    ]
    print_table(["id", "status", "miner", "tokens", "charged", "took"], rows, "No call yet.")
