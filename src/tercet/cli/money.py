"""How amounts of a market's own money are written: it pays in whatever token it was opened with."""

from __future__ import annotations

from tercet.chain.market import MarketContract
from tercet.client import Client
from tercet.market import CREDIT, STAKE, Token

__all__ = ["reward_unit"]


async def reward_unit(client: Client, market: MarketContract) -> Token:
    """Of the token that a market pays in; one that we do not know is written in its base units."""
    _, reward = await market.tokens()
    known = {client.ledger.token.address: STAKE, client.ledger.credit.address: CREDIT}
    return known.get(reward, Token(f"units of {reward}", 0))
