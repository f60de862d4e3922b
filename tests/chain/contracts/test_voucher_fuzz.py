"""Signatures bent in every way: the contract and the miner's code accept the same ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.chain.contracts.evm import Reverted
from tests.chain.contracts.test_escrow import PAYER, Till

from tercet.chain.voucher import EscrowDomain, recover_voucher
from tercet.errors import InvalidSignatureError
from tercet.market import Voucher

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
LIMIT = 1_000


class Counter:
    """An open channel and a good voucher for it."""

    def __init__(self) -> None:
        self.till = Till()
        self.config = self.till.config()
        self.till.escrow.send(PAYER.address, "open", self.config, 10_000)
        self.channel = self.till.escrow.call("getChannelId", self.config)
        self.good = self.till.sign(self.config, LIMIT)
        self.domain = EscrowDomain(self.till.ledger.chain_id, self.till.escrow.address)

    def contract_takes(self, signature: bytes, limit: int) -> bool:
        """Whether the Escrow would pay by this voucher."""
        arguments = (self.config, 1, limit, signature)
        try:
            self.till.escrow.call("redeem", *arguments, sender=self.till.receiver)
        except Reverted as refusal:
            assert str(refusal) == "escrow: invalid signature"  # noqa: PT017 - the other outcome is no failure
            return False
        return True

    def miner_takes(self, signature: bytes, limit: int) -> bool:
        """Whether a miner would work for it."""
        try:
            return bool(recover_voucher(self.domain, Voucher(self.channel, limit, signature)) == PAYER.address)
        except InvalidSignatureError:
            return False


@pytest.fixture(scope="module")
def counter() -> Counter:
    return Counter()


def other_half(signature: bytes) -> bytes:
    """The signature's twin, which curves allow and nobody should: n - s, and the other recovery bit."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


@st.composite
def bends(draw: Any) -> Any:
    """What to do to a signature."""
    kind = draw(st.sampled_from(["none", "bit", "v", "half", "zero", "random"]))
    return kind, draw(st.integers(0, 519)), draw(st.binary(min_size=65, max_size=65))


def bend(signature: bytes, kind: str, at: int, noise: bytes) -> bytes:
    if kind == "bit":
        return (int.from_bytes(signature, "big") ^ (1 << at)).to_bytes(65, "big")
    if kind == "v":
        return signature[:64] + bytes([at % 256])
    if kind == "half":
        return other_half(signature)
    if kind == "zero":
        return bytes(at % 65) + signature[at % 65 :]
    return noise if kind == "random" else signature


@given(how=bends(), limit=st.sampled_from([LIMIT, LIMIT, LIMIT, 1, LIMIT + 1, 2**128 - 1]))
@example(how=("half", 0, b""), limit=LIMIT)
@example(how=("none", 0, b""), limit=LIMIT)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_contract_and_miner_take_the_same_signatures(counter: Counter, how: Any, limit: int) -> None:
    """Bits flipped, the recovery byte changed, the other half of the curve, zeros, noise, another amount."""
    signature = bend(counter.good, *how)
    taken = counter.contract_takes(signature, limit)
    assert counter.miner_takes(signature, limit) == taken
    assert taken == (signature == counter.good and limit == LIMIT)
