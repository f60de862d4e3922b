"""Options that several commands share, so that they read alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tercet.cli.frame import State

__all__ = ["market_option", "password_option", "spending_options", "state_option", "wallet_option"]

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


def state_option(role: str) -> Callable[[F], F]:
    """`--state DIR`, passed on as `folder`: see `State.folder`."""
    return click.option(
        "--state", "folder", metavar="DIR", help=f"Where this role keeps its state (default: home/{role})."
    )
