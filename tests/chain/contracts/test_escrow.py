"""Payment channels: money goes where a signature says, once, and comes back."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils import keccak
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.chain.contracts.evm import Ledger, Reverted

PAYER: LocalAccount = Account.from_key(b"\x11" * 32)
OTHER_PAYER: LocalAccount = Account.from_key(b"\x12" * 32)
DELAY = 600
CONFIG_TYPES = [
    ("payer", "address"),
    ("payerAuthorizer", "address"),
    ("receiver", "address"),
    ("receiverAuthorizer", "address"),
    ("token", "address"),
    ("withdrawDelay", "uint40"),
    ("salt", "bytes32"),
]


class Till:
    """An escrow with a payer who has 1,000,000 units and a receiver."""

    def __init__(self, fee_bps: int = 0, ledger: Ledger | None = None, sink: str = "") -> None:
        self.ledger = ledger or Ledger()
        self.bank = self.ledger.account("bank")
        self.credit = self.ledger.deploy("Credit", self.bank)
        self.sink = self.ledger.account("fee sink")
        self.fee_owner = self.ledger.account("fee owner")
        self.escrow = self.ledger.deploy("Escrow", 60, fee_bps, sink or self.sink, self.fee_owner)
        self.receiver = self.ledger.account("receiver")
        self.operator = self.ledger.account("operator")
        for payer in (PAYER, OTHER_PAYER):
            self.credit.send(self.bank, "mint", payer.address, 1_000_000)
            self.credit.send(payer.address, "approve", self.escrow.address, 2**256 - 1)

    def config(self, **changes: Any) -> tuple[Any, ...]:
        fields = {
            "payer": PAYER.address,
            "payerAuthorizer": PAYER.address,
            "receiver": self.receiver,
            "receiverAuthorizer": self.operator,
            "token": self.credit.address,
            "withdrawDelay": DELAY,
            "salt": b"\0" * 32,
        }
        return tuple((fields | changes).values())

    def sign(self, config: tuple[Any, ...], limit: int, signer: LocalAccount = PAYER, **domain: Any) -> bytes:
        """A voucher's signature, made with the public typed-data encoder."""
        types = {
            "Voucher": [{"name": "channelId", "type": "bytes32"}, {"name": "maxClaimableAmount", "type": "uint128"}]
        }
        message = {"channelId": self.escrow.call("getChannelId", config), "maxClaimableAmount": limit}
        return bytes(signer.sign_message(encode_typed_data(self.domain() | domain, types, message)).signature)

    def domain(self) -> dict[str, Any]:
        return {
            "name": "x402 Batch Settlement",
            "version": "1",
            "chainId": self.ledger.chain_id,
            "verifyingContract": self.escrow.address,
        }

    def balance(self, who: str) -> int:
        return int(self.credit.call("balanceOf", who))


@pytest.fixture
def till() -> Till:
    return Till()


def test_a_channels_id_is_the_typed_hash_of_its_config(till: Till) -> None:
    config = till.config()
    types = {"ChannelConfig": [{"name": name, "type": kind} for name, kind in CONFIG_TYPES]}
    values = dict(zip([name for name, _ in CONFIG_TYPES], config, strict=True))
    message = encode_typed_data(till.domain(), types, values)
    digest = keccak(b"\x19" + message.version + message.header + message.body)
    assert till.escrow.call("getChannelId", config) == digest


def test_a_voucher_pays_the_receiver_and_only_what_is_new(till: Till) -> None:
    config = till.config()
    till.escrow.send(PAYER.address, "open", config, 1_000)
    till.escrow.send(till.receiver, "redeem", config, 300, 400, till.sign(config, 400))
    till.escrow.send(till.operator, "redeem", config, 400, 400, till.sign(config, 400))
    assert till.balance(till.receiver) == 400
    assert till.escrow.call("channels", till.escrow.call("getChannelId", config)) == (1_000, 400)


def test_a_voucher_is_not_paid_twice(till: Till) -> None:
    config = till.config()
    till.escrow.send(PAYER.address, "open", config, 1_000)
    till.escrow.send(till.receiver, "redeem", config, 400, 400, till.sign(config, 400))
    for total in (0, 399, 400):
        with pytest.raises(Reverted, match="escrow: voucher already redeemed"):
            till.escrow.send(till.receiver, "redeem", config, total, 400, till.sign(config, 400))


def test_a_refused_redemption_loses_nothing(till: Till) -> None:
    """An overspent voucher can still be redeemed up to the deposit."""
    config = till.config()
    till.escrow.send(PAYER.address, "open", config, 1_000)
    voucher = till.sign(config, 5_000)
    with pytest.raises(Reverted, match="escrow: claim above the voucher"):
        till.escrow.send(till.receiver, "redeem", config, 5_001, 5_000, voucher)
    with pytest.raises(Reverted, match="escrow: claim above the deposit"):
        till.escrow.send(till.receiver, "redeem", config, 1_001, 5_000, voucher)
    till.escrow.send(till.receiver, "redeem", config, 1_000, 5_000, voucher)
    assert till.balance(till.receiver) == 1_000


def test_only_the_receivers_side_redeems(till: Till) -> None:
    config = till.config()
    till.escrow.send(PAYER.address, "open", config, 1_000)
    with pytest.raises(Reverted, match="escrow: caller is not the receiver"):
        till.escrow.send(PAYER.address, "redeem", config, 1, 1, till.sign(config, 1))


def test_a_foreign_signature_is_refused(till: Till) -> None:
    """Wrong signer, chain, contract, channel or amount, and junk."""
    config = till.config()
    other = till.config(salt=b"\1" * 32)
    till.escrow.send(PAYER.address, "open", config, 1_000)
    till.escrow.send(PAYER.address, "open", other, 1_000)
    elsewhere = till.ledger.account()
    signatures = [
        till.sign(config, 400, OTHER_PAYER),
        till.sign(config, 400, chainId=1),
        till.sign(config, 400, verifyingContract=elsewhere),
        till.sign(other, 400),
        till.sign(config, 399),
        till.sign(config, 400)[:64],
        b"",
        b"\0" * 65,
    ]
    for signature in signatures:
        with pytest.raises(Reverted, match="escrow: invalid signature"):
            till.escrow.send(till.receiver, "redeem", config, 400, 400, signature)


def test_a_fork_of_the_chain_makes_new_channels(till: Till) -> None:
    config = till.config()
    before = till.escrow.call("getChannelId", config)
    till.ledger.chain_id += 1
    assert till.escrow.call("getChannelId", config) != before


def test_several_vouchers_go_in_one_transaction_or_none(till: Till) -> None:
    configs = [till.config(salt=bytes([k]) * 32) for k in range(3)]
    for config in configs:
        till.escrow.send(PAYER.address, "open", config, 100)
    claims = [(config, 50, 60, till.sign(config, 60)) for config in configs]
    with pytest.raises(Reverted, match="escrow: voucher already redeemed"):
        till.escrow.send(till.receiver, "redeem_many", [*claims, claims[0]])
    assert till.balance(till.receiver) == 0
    till.escrow.send(till.receiver, "redeem_many", claims)
    assert till.balance(till.receiver) == 150


def test_a_payer_waits_for_the_notice(till: Till) -> None:
    config = till.config()
    till.escrow.send(PAYER.address, "open", config, 1_000)
    with pytest.raises(Reverted, match="escrow: close not requested"):
        till.escrow.send(PAYER.address, "withdraw", config)
    with pytest.raises(Reverted, match="escrow: caller is not the payer"):
        till.escrow.send(till.receiver, "request_close", config)
    till.escrow.send(PAYER.address, "request_close", config)
    with pytest.raises(Reverted, match="escrow: close already requested"):
        till.escrow.send(PAYER.address, "request_close", config)
    with pytest.raises(Reverted, match="escrow: close already requested"):
        till.escrow.send(PAYER.address, "top_up", config, 1)
    till.ledger.now += DELAY - 1
    with pytest.raises(Reverted, match="escrow: notice is running"):
        till.escrow.send(PAYER.address, "withdraw", config)
    till.escrow.send(till.receiver, "redeem", config, 250, 250, till.sign(config, 250))
    till.ledger.now += 1
    till.escrow.send(PAYER.address, "withdraw", config)
    assert (till.balance(till.receiver), till.balance(PAYER.address)) == (250, 999_750)


def test_a_receiver_releases_at_once_and_a_closed_channel_stays_closed(till: Till) -> None:
    config = till.config()
    till.escrow.send(PAYER.address, "open", config, 1_000)
    with pytest.raises(Reverted, match="escrow: caller is not the receiver"):
        till.escrow.send(PAYER.address, "release", config)
    till.escrow.send(till.operator, "release", config)
    assert till.balance(PAYER.address) == 1_000_000
    for attempt in (("open", config, 5), ("top_up", config, 5)):
        with pytest.raises(Reverted, match="escrow: channel is closed"):
            till.escrow.send(PAYER.address, *attempt)
    with pytest.raises(Reverted, match="escrow: channel is closed"):
        till.escrow.send(till.receiver, "redeem", config, 1, 1, till.sign(config, 1))


def test_what_a_channel_must_be(till: Till) -> None:
    zero = "0x" + "00" * 20
    for changes, reason in (
        ({"payer": zero}, "payer is the zero address"),
        ({"payerAuthorizer": zero}, "payer authorizer is the zero address"),
        ({"receiver": zero}, "receiver is the zero address"),
        ({"token": till.ledger.account()}, "token is not a contract"),
        ({"withdrawDelay": 59}, "withdraw delay out of bounds"),
        ({"withdrawDelay": 30 * 86_400 + 1}, "withdraw delay out of bounds"),
    ):
        with pytest.raises(Reverted, match=f"escrow: {reason}"):
            till.escrow.send(PAYER.address, "open", till.config(**changes), 1)
    with pytest.raises(Reverted, match="escrow: amount is zero"):
        till.escrow.send(PAYER.address, "open", till.config(), 0)
    with pytest.raises(Reverted, match="escrow: no such channel"):
        till.escrow.send(PAYER.address, "top_up", till.config(), 1)
    till.escrow.send(PAYER.address, "open", till.config(), 1)
    with pytest.raises(Reverted, match="escrow: channel already open"):
        till.escrow.send(PAYER.address, "open", till.config(), 1)


def test_anyone_submits_a_deposit_that_the_payer_authorized(till: Till) -> None:
    config = till.config()
    relay = till.ledger.account("relay")
    opening = authorize(till, config, 700, salt=b"\0" * 32)
    till.escrow.send(relay, "open_with_authorization", config, *opening)
    topping = authorize(till, config, 50, salt=b"\1" * 32)
    till.escrow.send(relay, "top_up_with_authorization", config, *topping)
    assert till.escrow.call("channels", till.escrow.call("getChannelId", config)) == (750, 0)
    with pytest.raises(Reverted, match="eip3009: authorization already used"):
        till.escrow.send(relay, "top_up_with_authorization", config, *topping)


def test_an_authorized_deposit_fits_its_own_channel_only(till: Till) -> None:
    thief = till.ledger.account("thief")
    opening = authorize(till, till.config(), 700, salt=b"\0" * 32)
    with pytest.raises(Reverted, match="eip3009: invalid signature"):
        till.escrow.send(thief, "open_with_authorization", till.config(receiver=thief), *opening)


def authorize(till: Till, config: tuple[Any, ...], amount: int, salt: bytes) -> tuple[Any, ...]:
    """The arguments after the config of an authorized deposit."""
    kinds = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]
    names = ["from", "to", "value", "validAfter", "validBefore", "nonce"]
    types = {"ReceiveWithAuthorization": [{"name": n, "type": k} for n, k in zip(names, kinds, strict=True)]}
    nonce = keccak(encode(["bytes32", "bytes32"], [till.escrow.call("getChannelId", config), salt]))
    window = (0, till.ledger.now + 60)
    values = dict(zip(names, [PAYER.address, till.escrow.address, amount, *window, nonce], strict=True))
    domain = {
        "name": "Tercet Credit",
        "version": "1",
        "chainId": till.ledger.chain_id,
        "verifyingContract": till.credit.address,
    }
    signed = PAYER.sign_message(encode_typed_data(domain, types, values))
    return amount, *window, salt, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


class EscrowMachine(RuleBasedStateMachine):
    """Three channels, any order of everything: the escrow holds exactly what it owes."""

    def __init__(self) -> None:
        super().__init__()
        self.till = Till()
        self.configs = [self.till.config(salt=bytes([k]) * 32) for k in range(3)]
        self.books: list[tuple[int, int, str]] = [(0, 0, "new")] * 3
        """(deposited, claimed, state) by channel."""

    channel = st.integers(0, 2)
    amount = st.integers(1, 1_000)

    def attempt(self, allowed: bool, sender: str, *call: Any) -> bool:
        """Do it; it must go through exactly when the books say so."""
        try:
            self.till.escrow.send(sender, *call)
        except Reverted:
            assert not allowed, call
            return False
        assert allowed, call
        return True

    @rule(k=channel, amount=amount)
    def pay_in(self, k: int, amount: int) -> None:
        deposited, claimed, state = self.books[k]
        name = "top_up" if deposited else "open"
        if self.attempt(state in {"new", "open"}, PAYER.address, name, self.configs[k], amount):
            self.books[k] = (deposited + amount, claimed, "open")

    @rule(k=channel, total=st.integers(0, 2_000), limit=st.integers(0, 2_000))
    def redeem(self, k: int, total: int, limit: int) -> None:
        deposited, claimed, state = self.books[k]
        allowed = state in {"open", "closing"} and claimed < total <= min(limit, deposited)
        voucher = self.till.sign(self.configs[k], limit)
        if self.attempt(allowed, self.till.receiver, "redeem", self.configs[k], total, limit, voucher):
            self.books[k] = (deposited, total, state)

    @rule(k=channel)
    def request_close(self, k: int) -> None:
        deposited, claimed, state = self.books[k]
        if self.attempt(state == "open", PAYER.address, "request_close", self.configs[k]):
            self.books[k] = (deposited, claimed, "closing")

    @precondition(lambda self: any(state == "closing" for _, _, state in self.books))
    @rule(k=channel)
    def withdraw(self, k: int) -> None:
        self.till.ledger.now += DELAY
        _, claimed, state = self.books[k]
        if self.attempt(state == "closing", PAYER.address, "withdraw", self.configs[k]):
            self.books[k] = (claimed, claimed, "closed")

    @precondition(lambda self: any(state == "open" for _, _, state in self.books))
    @rule(k=channel)
    def release(self, k: int) -> None:
        _, claimed, state = self.books[k]
        if self.attempt(state in {"open", "closing"}, self.till.receiver, "release", self.configs[k]):
            self.books[k] = (claimed, claimed, "closed")

    @invariant()
    def holds_what_it_owes(self) -> None:
        assert self.till.balance(self.till.escrow.address) == sum(
            deposited - claimed for deposited, claimed, _ in self.books
        )
        assert self.till.balance(self.till.receiver) == sum(claimed for _, claimed, _ in self.books)


TestEscrowMachine = EscrowMachine.TestCase
TestEscrowMachine.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
