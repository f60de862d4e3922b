"""`tercet chain`: run a development chain."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click

from tercet.cli.frame import State, group, pass_state
from tercet.cli.serving import announce, run_role, told_to_stop

__all__ = ["command"]

ENDPOINT = "endpoint.json"


@group("chain", examples=("tercet chain start", "tercet chain deploy --wallet owner"))
def command() -> None:
    """Run a development chain, deploy the contracts to any chain."""


@command.command("start", examples=("tercet chain start", "tercet chain start --port 8545 --state /var/lib/chain"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8545, show_default=True, help="0 takes a free one.")
@click.option("--time-travel", is_flag=True, help="Serve evm_increaseTime and its like, for tests.")
@click.option("--state", "folder", metavar="DIR", help="Where the chain is kept (default: home/chain).")
@pass_state
def start(state: State, host: str, port: int, time_travel: bool, folder: str | None) -> None:
    """Run the embedded development chain until Ctrl-C. It goes on where it stopped."""
    run_role(_serve(state.folder("chain", folder), host, port, time_travel))


async def _serve(folder: Path, host: str, port: int, time_travel: bool) -> int:
    from tercet.chain.devnet import serve  # noqa: PLC0415  # py-evm takes a second to import

    async with told_to_stop() as stop, serve(folder, host, port, time_travel=time_travel) as server:
        endpoint = folder / ENDPOINT
        endpoint.write_text(json.dumps({"url": server.url, "chain_id": server.chain_id}) + "\n")
        try:
            announce("chain", endpoint=server.url, chain_id=server.chain_id, faucet=server.faucet)
            return await stop
        finally:
            with contextlib.suppress(OSError):
                endpoint.unlink()
