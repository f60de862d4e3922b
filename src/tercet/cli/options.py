"""Options that several commands share, so that they read alike."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from tercet.cli.frame import State
from tercet.cli.settings import Settings
from tercet.errors import UsageError
from tercet.subnets import Mechanism, load_mechanism

__all__ = [
    "COUNT",
    "MEASURE",
    "build_mechanism",
    "dispute_options",
    "market_option",
    "mechanism_options",
    "password_option",
    "read_options",
    "spending_options",
    "state_option",
    "wallet_option",
]


class _Measure(click.FloatRange):
    """A range that has no room for what is not a number either."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found: float = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return found


COUNT = click.IntRange(0, 10**15)
"""Of events, tokens and the like: SQLite and C have no room for more than 2^63."""
MEASURE = _Measure(0, 10**9)
"""Of seconds and rates: finite."""

F = TypeVar("F", bound=Callable[..., Any])


def _setting(name: str, metavar: str, words: str) -> Callable[[F], F]:
    """An option that sets the setting of its name and is not passed to the command."""

    def keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None and parameter.name:
            context.ensure_object(State).flags[parameter.name] = value

    return click.option(f"--{name}", metavar=metavar, callback=keep, expose_value=False, is_eager=True, help=words)


def password_option(function: F) -> F:
    """`--password-file FILE`."""
    return _setting("password-file", "FILE", "Its first line opens the wallet (default: ask).")(function)


def wallet_option(function: F) -> F:
    """`--wallet NAME` and `--password-file FILE`."""
    return _setting("wallet", "NAME", "Which wallet pays and signs.")(password_option(function))


def market_option(function: F) -> F:
    """`--market NAME|ADDRESS`."""
    return _setting("market", "NAME|ADDRESS", "Which market (default: the one named like the subnet).")(function)


def spending_options(function: F) -> F:
    """`--yes` and `--dry-run`."""
    function = click.option("--yes", is_flag=True, help="Do not ask.")(function)
    return click.option("--dry-run", is_flag=True, help="Show what it would do and cost; send nothing.")(function)


def dispute_options(function: F) -> F:
    """`--review SECONDS` and `--dispute SECONDS`: the two periods of a held job that come after its delivery."""
    days, words = 2 * 86_400, "For validators to judge."
    function = click.option("--dispute", default=days, show_default=True, metavar="SECONDS", help=words)(function)
    words = "To dispute a delivery."
    return click.option("--review", default=days, show_default=True, metavar="SECONDS", help=words)(function)


def state_option(role: str) -> Callable[[F], F]:
    """`--state DIR`, passed on as `folder`: see `State.folder`."""
    return click.option(
        "--state", "folder", metavar="DIR", help=f"Where this role keeps its state (default: home/{role})."
    )


def mechanism_options(function: F) -> F:
    """`--model NAME` and `-o NAME=VALUE`, for the subnet's own constructor: see `read_options`."""
    function = click.option("--model", metavar="NAME", help="The model that the market promises (inference).")(function)
    return click.option(
        "-o", "options", multiple=True, metavar="NAME=VALUE", help="An option of the subnet (repeat it)."
    )(function)


def read_options(model: str | None, options: Sequence[str]) -> dict[str, Any]:
    """What a mechanism's constructor gets: values are JSON where they parse as such, else text.

    Raises:
        UsageError: an option is not NAME=VALUE.

    """
    found: dict[str, Any] = {} if model is None else {"model": model}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"{option!r} is no option. Write -o NAME=VALUE, such as -o threads=2.")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def build_mechanism(settings: Settings, subnet: str, model: str | None, options: Sequence[str]) -> Mechanism:
    """The subnet's mechanism with these options; it looks for models where the settings say."""
    os.environ["TERCET_MODELS"] = str(settings.path("models"))
    return load_mechanism(subnet, **read_options(model, options))
