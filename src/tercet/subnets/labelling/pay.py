"""What labelling work pays by the hour, and the floor below which nobody works. Pure, integers for money.

The unit of a labelling market is a second of estimated work: `Usage.prompt` counts them, so a price for a thousand of
them *is* an hourly rate. The estimate is a rule over the item alone, the same for buyer, miner and validator.
"""

from __future__ import annotations

from tercet.errors import UsageError
from tercet.market import CREDIT, Amount, Price
from tercet.subnets.labelling.items import Item

__all__ = [
    "PEOPLE_FLOOR",
    "check_floor",
    "estimate_seconds",
    "hourly_rate",
    "parse_rate",
    "price_of_rate",
    "rate_of_price",
]

PEOPLE_FLOOR = "6"
"""Credit an hour below which a page for people takes no work, unless its owner says otherwise."""
_LOOK_SECONDS = 1.5
"""To look at a picture, choose and press the key."""
_READ_CHARACTERS = 20.0
"""Of a text, read in a second: 240 words a minute."""


def estimate_seconds(item: Item) -> float:
    """How long a practised person takes for an item, in whole tenths of a second."""
    if item.kind != "text":
        return _LOOK_SECONDS + (0.5 if item.kind == "image" else 0.0)
    return _LOOK_SECONDS + round(10 * len(item.data) / _READ_CHARACTERS) / 10


def parse_rate(text: str) -> int:
    """Credit units an hour from text such as `12` or `0.05`. Raises `UsageError` below zero."""
    units = Amount.parse(str(text), CREDIT).units
    if units < 0:
        raise UsageError(f"An hourly rate is 0 or more credit, not {text!r}.")
    return units


def price_of_rate(units_per_hour: int) -> Price:
    """The price that pays at least `units_per_hour` for every hour of estimated work, rounded up."""
    return Price(prompt_per_1k=-(-units_per_hour * 1000 // 3600))


def rate_of_price(price: Price) -> int:
    """Credit units that a price pays for an hour of estimated work, rounded down."""
    return price.prompt_per_1k * 3600 // 1000


def hourly_rate(units: int, seconds: float) -> int:
    """Credit units an hour of `units` for `seconds` of work, rounded down; 0 for no work."""
    return int(units * 3600 / seconds) if seconds > 0 else 0


def check_floor(price: Price, floor: int) -> None:
    """Refuse a price that pays less than the floor for some work: per estimated second, whatever it pays on top.

    Raises:
        UsageError: says the price, the floor, and what to ask instead.

    """
    least = price_of_rate(floor)
    if price.prompt_per_1k < least.prompt_per_1k:
        rate, wanted = Amount(rate_of_price(price), CREDIT), Amount(floor, CREDIT)
        raise UsageError(
            f"This price pays {rate} for an hour of estimated work, the market's floor is {wanted}. "
            f"Offer at least {Amount(least.prompt_per_1k, CREDIT)} for 1000 seconds."
        )
