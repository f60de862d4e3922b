"""`tercet key`: the gateway's API keys and their budgets. Works while the gateway runs."""

from __future__ import annotations

import click

from tercet.cli.frame import State, group, pass_state
from tercet.cli.options import state_option
from tercet.cli.output import print_json, print_table, say
from tercet.market import CREDIT, Amount
from tercet.nodes.budgets import ApiKey
from tercet.nodes.gateway_keys import create_key, list_keys, revoke_key, set_budget

__all__ = ["command", "key_row"]

DAY = 86_400


def key_row(key: ApiKey) -> dict[str, object]:
    """What `--json` says of a key; money as text in base units."""
    return {
        "id": key.id,
        "name": key.name,
        "weight": key.weight,
        "budget": str(key.budget),
        "spent": str(key.spent),
        "reserved": str(key.reserved),
        "created_ms": key.created_ms,
        "expires_ms": key.expires_ms,
        "revoked_ms": key.revoked_ms,
    }


SCHEMA = {
    "keys[].id": "names the key; not the secret, which is shown once and stored nowhere",
    "keys[].name": "for people",
    "keys[].weight": "its share of the queue when the gateway is full",
    "keys[].budget": "credit base units it may spend in all, as text",
    "keys[].spent": "credit base units spent, as text",
    "keys[].reserved": "credit base units held for calls in flight, as text",
    "keys[].created_ms": "Unix milliseconds",
    "keys[].expires_ms": "Unix milliseconds, or null for never",
    "keys[].revoked_ms": "Unix milliseconds, or null when it is live",
}


@group("key", examples=("tercet key new laptop --budget 5", "tercet key list"))
def command() -> None:
    """The gateway's API keys and their budgets. Changes count at once, also while the gateway runs."""


@command.command(
    "new",
    examples=("tercet key new laptop --budget 5", "tercet key new ci --budget 0.5 --days 7 --json"),
    schema={
        "secret": "the API key itself, shown this once",
        "id": "names it from now on",
        "budget": "base units, as text",
    },
)
@click.argument("name")
@click.option("--budget", default="1", show_default=True, metavar="CREDIT", help="What it may spend in all.")
@click.option("--weight", default=1, show_default=True, help="Its share of the queue when the gateway is full.")
@click.option("--days", type=float, help="After that it expires (default: never).")
@state_option("gateway")
@pass_state
def new(
    state: State, name: str, budget: str, weight: int, days: float | None, folder: str | None, as_json: bool
) -> None:
    """Make an API key and print its secret, this once."""
    seconds = None if days is None else days * DAY
    units = Amount.parse(budget, CREDIT).units
    secret, key = create_key(state.folder("gateway", folder), name, units, weight=weight, valid_seconds=seconds)
    if as_json:
        print_json({"secret": secret, "id": key.id, "budget": str(key.budget)})
        return
    click.echo(secret)
    say(f"Key {key.id} may spend {Amount(key.budget, CREDIT)}. The secret above is stored nowhere: keep it.")


@command.command("list", examples=("tercet key list", "tercet key list --json"), schema=SCHEMA)
@state_option("gateway")
@pass_state
def list_(state: State, folder: str | None, as_json: bool) -> None:
    """All keys, the oldest first."""
    keys = list_keys(state.folder("gateway", folder))
    if as_json:
        print_json({"keys": [key_row(key) for key in keys]})
        return
    rows = [
        [k.id, k.name, Amount(k.budget, CREDIT), Amount(k.spent, CREDIT), "revoked" if k.revoked_ms else "live"]
        for k in keys
    ]
    print_table(
        ["id", "name", "budget", "spent", "state"], rows, "No key yet. Make one: tercet key new NAME --budget 5"
    )


@command.command("revoke", examples=("tercet key revoke key_0a1b2c3d4e5f", "tercet key list"))
@click.argument("key_id", metavar="ID")
@state_option("gateway")
@pass_state
def revoke(state: State, key_id: str, folder: str | None) -> None:
    """End a key now."""
    say(f"Key {revoke_key(state.folder('gateway', folder), key_id).id} is revoked.")


@command.command("budget", examples=("tercet key budget key_0a1b2c3d4e5f 10", "tercet key list"))
@click.argument("key_id", metavar="ID")
@click.argument("credit")
@state_option("gateway")
@pass_state
def budget(state: State, key_id: str, credit: str, folder: str | None) -> None:
    """Give a key a new total budget, in credit."""
    key = set_budget(state.folder("gateway", folder), key_id, Amount.parse(credit, CREDIT).units)
    say(f"Key {key.id} may spend {Amount(key.budget, CREDIT)} in all, {Amount(key.left, CREDIT)} of it from now on.")
