"""Subnets are found by name, and the Protocol is what a role may rely on."""

from __future__ import annotations

import pytest

from tercet.errors import UsageError
from tercet.subnets import Mechanism, UnknownSubnetError, load_mechanism, mechanism_names
from tercet.subnets.echo import Echo


def test_the_echo_subnet_is_found_by_its_name() -> None:
    """Through the installed entry point, as any plugin."""
    assert "echo" in mechanism_names()
    assert isinstance(load_mechanism("echo"), Echo)


def test_an_unknown_name_answers_with_the_known_ones() -> None:
    """A typing mistake costs one glance."""
    with pytest.raises(UnknownSubnetError, match=r"No subnet is called 'ecko'. Installed: .*echo") as caught:
        load_mechanism("ecko")
    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_code == 2


def test_half_a_mechanism_is_not_one() -> None:
    """A plugin without a judge never reaches a validator."""

    class Half:
        name = "half"
        version = 1

        def price(self) -> None: ...

    assert not isinstance(Half(), Mechanism)
    assert isinstance(Echo(), Mechanism)
