"""`tercet mcp`: the market's tools for whatever program speaks the Model Context Protocol."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tercet.cli.connection import open_client
from tercet.cli.frame import State, group, pass_state
from tercet.cli.output import say
from tercet.cli.settings import Settings
from tercet.errors import UsageError

__all__ = ["command"]

_DEFAULT = "http://127.0.0.1:4180/v1"


@group("mcp", examples=("tercet mcp serve", "tercet mcp serve --gateway http://127.0.0.1:4180/v1 --key-file key"))
def command() -> None:
    """The market's tools by the Model Context Protocol."""


@command.command(
    "serve", examples=("tercet mcp serve", "tercet mcp serve --gateway http://127.0.0.1:4180/v1 --key-file key")
)
@click.option(
    "--gateway", metavar="URL", default=_DEFAULT, show_default=True, help="Address of a gateway, ends in /v1."
)
@click.option(
    "--key-file", metavar="FILE", help="Its first line is the key that pays (default: the one that tercet up made)."
)
@pass_state
def serve(state: State, gateway: str, key_file: str | None) -> None:
    """Serve five tools over stdin and stdout: ask a model, list the models, the budget, the receipts and the markets.

    Whoever connects spends the key's budget and no more: make a key for it with tercet key new.
    """
    from tercet.swarm.mcp import GatewayDoor, build_server  # noqa: PLC0415 - of an extra, and a second to import

    path = Path(key_file).expanduser() if key_file else state.settings.home / "up" / "api_key"
    try:
        key = path.read_text().partition("\n")[0].strip()
    except OSError as error:
        raise UsageError(
            f"There is no key in {path}: {error.strerror}. Make one, and name its file: tercet key new mcp --budget 1 >"
            " key; tercet mcp serve --key-file key."
        ) from error
    say(f"Serving the market's tools on stdin and stdout, paid by the key in {path}.")
    server = build_server(GatewayDoor(gateway, key), functools.partial(_markets, state.settings))
    asyncio.run(server.run_stdio_async())


async def _markets(settings: Settings) -> Sequence[Mapping[str, Any]]:
    async with open_client(settings) as client:
        found = await client.ledger.registry.list_markets()
    return [{"name": one.name, "subnet": one.subnet, "address": one.market} for one in found]
