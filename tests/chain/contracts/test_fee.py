"""The network's fee: bounded, announced a week ahead, floored, never in the way of a receiver's money."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.chain.contracts.evm import Ledger, Reverted
from tests.chain.contracts.test_escrow import PAYER, Till

WEEK = 7 * 86_400
ZERO = "0x" + "00" * 20


def test_a_redemption_is_split_between_receiver_and_sink() -> None:
    """1 % of 250 is 2.5: the receiver keeps the dust; the event tells both, and the receiver's market."""
    till = Till(fee_bps=100)
    config, market = till.config(), till.ledger.account("market")
    till.escrow.send(PAYER.address, "open", config, 1_000)
    first = till.escrow.send(till.receiver, "redeem", config, 250, 400, till.sign(config, 400))
    assert (till.balance(till.receiver), till.balance(till.sink)) == (248, 2)
    assert first.value == 250
    (told,) = [log.fields for log in first.logs if log.name == "Redeemed"]
    assert (told["amount"], told["fee"], told["market"]) == (250, 2, ZERO)
    till.escrow.send(till.receiver, "declare_market", market)
    second = till.escrow.send(till.operator, "redeem", config, 350, 400, till.sign(config, 400))
    (told,) = [log.fields for log in second.logs if log.name == "Redeemed"]
    assert (told["fee"], told["market"].lower()) == (1, market.lower())
    assert till.balance(till.receiver) + till.balance(till.sink) == 350


def test_a_sink_with_code_is_told_and_cannot_stop_a_payment() -> None:
    ledger = Ledger()
    sink = ledger.deploy_source("sink")
    till = Till(fee_bps=500, ledger=ledger, sink=sink.address)
    config, market = till.config(), ledger.account("market")
    till.escrow.send(PAYER.address, "open", config, 1_000)
    till.escrow.send(till.receiver, "declare_market", market)
    told = till.escrow.send(till.receiver, "redeem", config, 100, 400, till.sign(config, 400)).logs
    (taken,) = [log.fields for log in told if log.name == "Taken"]
    assert {k: str(v).lower() for k, v in taken.items()} == {
        "token": till.credit.address.lower(),
        "market": market.lower(),
        "amount": "5",
    }
    sink.send(ledger.account(), "set_deaf", True)
    told = till.escrow.send(till.receiver, "redeem", config, 200, 400, till.sign(config, 400)).logs
    assert [log for log in told if log.name == "Taken"] == []
    assert (till.balance(till.receiver), till.balance(sink.address)) == (190, 10)


def test_several_redemptions_pay_their_fees_at_once() -> None:
    till = Till(fee_bps=100)
    configs = [till.config(salt=bytes([k]) * 32) for k in range(3)]
    for config in configs:
        till.escrow.send(PAYER.address, "open", config, 1_000)
    till.escrow.send(till.receiver, "redeem_many", [(config, 500, 600, till.sign(config, 600)) for config in configs])
    assert (till.balance(till.receiver), till.balance(till.sink)) == (1_485, 15)


def test_another_fee_counts_a_week_after_it_was_announced() -> None:
    till = Till(fee_bps=100)
    escrow, stranger = till.escrow, till.ledger.account("non_owner")
    for call in (("propose_fee", 200), ("cancel_fee",), ("transfer_fee_ownership", stranger)):
        with pytest.raises(Reverted, match="fee: caller is not the owner"):
            escrow.send(stranger, *call)
    with pytest.raises(Reverted, match="fee: above the maximum"):
        escrow.send(till.fee_owner, "propose_fee", 501)
    with pytest.raises(Reverted, match="fee: nothing proposed"):
        escrow.send(stranger, "apply_fee")
    escrow.send(till.fee_owner, "propose_fee", 500)
    till.ledger.now += WEEK - 1
    with pytest.raises(Reverted, match="fee: not due yet"):
        escrow.send(stranger, "apply_fee")
    escrow.send(till.fee_owner, "propose_fee", 300)  # the clock starts anew
    till.ledger.now += 1
    with pytest.raises(Reverted, match="fee: not due yet"):
        escrow.send(stranger, "apply_fee")
    assert (escrow.call("fee_bps"), escrow.call("proposed_fee")) == (100, (300, till.ledger.now - 1 + WEEK))
    till.ledger.now += WEEK
    escrow.send(stranger, "apply_fee")
    assert (escrow.call("fee_bps"), escrow.call("proposed_fee")) == (300, (0, 0))
    escrow.send(till.fee_owner, "propose_fee", 0)
    escrow.send(till.fee_owner, "cancel_fee")
    till.ledger.now += WEEK
    for sender, name in ((stranger, "apply_fee"), (till.fee_owner, "cancel_fee")):
        with pytest.raises(Reverted, match="fee: nothing proposed"):
            escrow.send(sender, name)


def test_the_fees_ownership_moves_in_two_steps() -> None:
    till = Till()
    heir, stranger = till.ledger.account("heir"), till.ledger.account("stranger")
    till.escrow.send(till.fee_owner, "transfer_fee_ownership", heir)
    with pytest.raises(Reverted, match="fee: caller is not the pending owner"):
        till.escrow.send(stranger, "accept_fee_ownership")
    till.escrow.send(heir, "accept_fee_ownership")
    with pytest.raises(Reverted, match="fee: caller is not the owner"):
        till.escrow.send(till.fee_owner, "propose_fee", 1)
    till.escrow.send(heir, "propose_fee", 1)


def test_what_an_escrow_must_be_given() -> None:
    ledger = Ledger()
    somebody = ledger.account()
    for arguments, reason in (
        ((60, 501, somebody, somebody), "fee: above the maximum"),
        ((60, 0, ZERO, somebody), "fee: sink is the zero address"),
        ((60, 0, somebody, ZERO), "fee: owner is the zero address"),
    ):
        with pytest.raises(Reverted, match=reason):
            ledger.deploy("Escrow", *arguments)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(bps=st.integers(0, 500), totals=st.lists(st.integers(1, 10**6), min_size=1, max_size=4, unique=True))
def test_no_unit_is_lost_and_the_fee_is_never_above_its_rate(bps: int, totals: list[int]) -> None:
    till = Till(fee_bps=bps)
    config = till.config()
    till.escrow.send(PAYER.address, "open", config, 10**6)
    for total in sorted(totals):
        till.escrow.send(till.receiver, "redeem", config, total, 10**6, till.sign(config, 10**6))
    fees = till.balance(till.sink)
    assert till.balance(till.receiver) + fees == max(totals)
    assert max(totals) * bps // 10_000 - len(totals) < fees <= max(totals) * bps // 10_000
