"""`tercet gateway`: an OpenAI-compatible address that buys from the market."""

from __future__ import annotations

import click

from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import build_mechanism, market_option, mechanism_options, state_option, wallet_option
from tercet.cli.serving import run_role
from tercet.cli.unlock import unlock
from tercet.market import CREDIT, Amount
from tercet.nodes.gateway import GatewayConfig, run_gateway
from tercet.nodes.gateway_calls import Terms

__all__ = ["command"]


@click.command(
    "gateway",
    cls=TercetCommand,
    examples=("tercet gateway", "tercet gateway inference --port 0 --wallet buyer --deposit 5"),
)
@click.argument("subnet", default="inference")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=4180, show_default=True, help="0 takes a free one.")
@click.option(
    "--deposit",
    default="1",
    show_default=True,
    metavar="CREDIT",
    help="Put into each miner's channel, and again when used up.",
)
@click.option(
    "--silence",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Longest silence of a miner, before its first word too; a large model reads a long prompt for longer.",
)
@click.option(
    "--deadline",
    default=120.0,
    show_default=True,
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="For a whole call, every miner that is tried included.",
)
@click.option("--poll", default=2.0, show_default=True, metavar="SECONDS", help="How often the chain is looked at.")
@mechanism_options
@state_option("gateway")
@market_option
@wallet_option
@pass_state
def command(
    state: State, /, *, subnet: str, host: str, port: int, deposit: str, silence: float, deadline: float, poll: float,
    model: str | None, options: tuple[str, ...], folder: str | None,
) -> None:  # fmt: skip
    """Serve an OpenAI-compatible address that buys SUBNET's answers from its miners, until Ctrl-C.

    Clients need a key: tercet key new. The wallet pays the miners, from deposits that it opens as needed.
    """
    settings = state.settings
    mechanism = build_mechanism(settings, subnet, model, options)
    key, units = unlock(settings), Amount.parse(deposit, CREDIT).units
    place = state.folder("gateway", folder)

    async def serve() -> int:
        async with open_market(settings, mechanism.name) as (client, market):
            return await run_gateway(
                GatewayConfig(
                    key=key,
                    ledger=client.ledger,
                    market=market.address,
                    mechanism=mechanism,
                    state=place,
                    host=host,
                    port=port,
                    deposit=units,
                    terms=Terms(deadline_seconds=deadline, stall_seconds=silence),
                    poll_seconds=poll,
                )
            )

    run_role(serve())
