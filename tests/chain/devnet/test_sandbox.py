"""The chain in memory behaves as the chain on disk does, where both do the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tercet.chain.devnet.sandbox import Sandbox, SandboxContract
from tercet.chain.keys import Key
from tercet.errors import InsufficientFundsError

HOLDER, OTHER = Key(b"\1" * 32).address, Key(b"\2" * 32).address


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A fresh one."""
    fresh = Sandbox()
    yield fresh
    fresh.close()


@pytest.fixture
def token(sandbox: Sandbox) -> SandboxContract:
    """The stake token, a thousand units of it with the holder."""
    return sandbox.deploy(HOLDER, "Token", HOLDER, 1_000)


def test_a_transaction_stands_and_tells_its_events(sandbox: Sandbox, token: SandboxContract) -> None:
    """Balance, event, and gas as on a chain: 21,000 and the storage."""
    before = sandbox.gas[HOLDER]
    result = token.write(HOLDER, "transfer", OTHER, 400)
    assert token.read("balanceOf", OTHER) == 400
    assert result.find("Transfer")["value" if "value" in result.find("Transfer") else "amount"] == 400
    assert 40_000 < result.gas < 70_000
    assert sandbox.gas[HOLDER] - before == result.gas


def test_a_view_changes_nothing_not_even_by_calling_a_writer(sandbox: Sandbox, token: SandboxContract) -> None:
    """A call of `burn` by the reader's address is undone."""
    reader = "0x" + "00" * 19 + "01"
    token.write(HOLDER, "transfer", reader, 100)
    block = sandbox.block
    token.read("burn", 60)
    assert (token.read("balanceOf", reader), sandbox.block) == (100, block)


def test_a_refusal_has_its_kind_costs_gas_and_changes_nothing(sandbox: Sandbox, token: SandboxContract) -> None:
    """As the client raises it."""
    before = sandbox.gas[OTHER]
    with pytest.raises(InsufficientFundsError) as caught:
        token.write(OTHER, "transfer", HOLDER, 1)
    assert caught.value.reason == "erc20: balance too small"
    assert sandbox.gas[OTHER] - before > 21_000
    assert token.read("balanceOf", HOLDER) == 1_000


def test_two_sandboxes_are_equal_and_know_their_chain(sandbox: Sandbox) -> None:
    """The same addresses on every chain id, but other signing domains."""
    other = Sandbox(chain_id=5)
    here, there = (box.deploy(HOLDER, "Token", HOLDER, 7) for box in (sandbox, other))
    assert here.address == there.address
    assert here.read("DOMAIN_SEPARATOR") != there.read("DOMAIN_SEPARATOR")
    other.close()
