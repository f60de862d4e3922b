"""`tercet mine`: serve a subnet and be paid for it."""

from __future__ import annotations

import click

from tercet.chain.market import MarketContract
from tercet.cli.connection import open_market
from tercet.cli.frame import State, TercetCommand, pass_state
from tercet.cli.options import (
    build_mechanism,
    market_option,
    mechanism_options,
    spending_options,
    state_option,
    wallet_option,
)
from tercet.cli.output import confirm, say
from tercet.cli.serving import run_role
from tercet.cli.unlock import unlock
from tercet.client import PRICE_ROOM
from tercet.market import CREDIT, STAKE, Amount, Price
from tercet.nodes.miner import MinerConfig, run_miner
from tercet.subnets import Mechanism

__all__ = ["command"]


@click.command(
    "mine",
    cls=TercetCommand,
    examples=(
        "tercet mine inference --wallet miner",
        "tercet mine inference --model large --port 8091 --endpoint http://203.0.113.7:8091 --completion-price 0.006",
    ),
)
@click.argument("subnet")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="0 takes a free one.")
@click.option("--endpoint", metavar="URL", help="How buyers reach it (default: made of host and port).")
@click.option("--request-price", metavar="CREDIT", help="To ask for each request.")
@click.option("--prompt-price", metavar="CREDIT", help="To ask for 1000 prompt tokens.")
@click.option("--completion-price", metavar="CREDIT", help="To ask for 1000 completion tokens.")
@click.option(
    "--redeem", default="1", show_default=True, metavar="CREDIT", help="Redeem a channel's vouchers from this much on."
)
@click.option(
    "--max-price",
    metavar="TCT",
    help="Most to pay for a slot (default: twice the price of now; it rises when others register).",
)
@click.option("--queue", is_flag=True, help="In a full market, wait for the weakest miner's slot.")
@click.option("--throttle", default=0.0, metavar="SECONDS", help="Wait before each answer: plays a slow machine.")
@click.option("--poll", default=5.0, show_default=True, metavar="SECONDS", help="How often the chain is looked at.")
@mechanism_options
@spending_options
@state_option("miner")
@market_option
@wallet_option
@pass_state
def command(
    state: State, /, *, subnet: str, host: str, port: int, endpoint: str | None, request_price: str | None,
    prompt_price: str | None, completion_price: str | None, redeem: str, max_price: str | None, queue: bool, throttle: float, poll: float,
    model: str | None, options: tuple[str, ...], yes: bool, dry_run: bool, folder: str | None,
) -> None:  # fmt: skip
    """Serve SUBNET until Ctrl-C: answer for vouchers, redeem them, go on where it was after any death.

    The first time the wallet buys a slot in the market, which asks; a part of its price comes back when it leaves.
    """
    settings = state.settings
    mechanism = build_mechanism(settings, subnet, model, options)
    price = _read_price(mechanism, request_price, prompt_price, completion_price)
    key, threshold = unlock(settings), Amount.parse(redeem, CREDIT).units
    limit = None if max_price is None else Amount.parse(max_price, STAKE).units
    place = state.folder("miner", folder)

    async def serve() -> int:
        async with open_market(settings, mechanism.name) as (client, market):
            if not await _may_register(market, key.address, limit, yes=yes, dry_run=dry_run):
                return 0
            return await run_miner(
                MinerConfig(
                    key=key,
                    ledger=client.ledger,
                    market=market.address,
                    mechanism=mechanism,
                    state=place,
                    host=host,
                    port=port,
                    endpoint=endpoint,
                    register=True,
                    max_price=limit,
                    queue=queue,
                    price=price,
                    redeem_threshold=threshold,
                    poll_seconds=poll,
                    throttle=throttle,
                )
            )

    run_role(serve())


def _read_price(mechanism: Mechanism, request: str | None, prompt: str | None, completion: str | None) -> Price:
    """The mechanism's own price, with what the options say instead."""
    usual = mechanism.price()

    def units(text: str | None, otherwise: int) -> int:
        return otherwise if text is None else Amount.parse(text, CREDIT).units

    return Price(
        units(request, usual.per_request),
        units(prompt, usual.prompt_per_1k),
        units(completion, usual.completion_per_1k),
    )


async def _may_register(market: MarketContract, operator: str, limit: int | None, *, yes: bool, dry_run: bool) -> bool:
    """Whether the miner may go on: it has a slot, or may buy one."""
    uid = await market.uid_of(operator)
    if uid is not None:
        say(f"Miner {uid} of {market.address}.")
        return True
    price, params = await market.price(), await market.params()
    most = PRICE_ROOM * price if limit is None else limit
    back = Amount(price * params.refund_bps // 10_000, STAKE)
    what = (
        f"buy a slot in the market {await market.title()!r} for {operator}, for {Amount(price, STAKE)} now and "
        f"{Amount(most, STAKE)} at the most; {back} of it come back when it leaves, the rest is burned"
    )
    return confirm(what, yes=yes, dry_run=dry_run)
