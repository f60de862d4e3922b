"""The stake token and the test credit: transfers, permits, authorizations."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from tests.chain.contracts.evm import Contract, Ledger, Reverted

NONCE = b"n" * 32


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def bank(ledger: Ledger) -> str:
    return ledger.account("bank")


@pytest.fixture
def token(ledger: Ledger, bank: str) -> Contract:
    return ledger.deploy("Token", bank, 1_000)


@pytest.fixture
def credit(ledger: Ledger, bank: str) -> Contract:
    credit = ledger.deploy("Credit", bank)
    credit.send(bank, "mint", SIGNER.address, 1_000)
    return credit


SIGNER: LocalAccount = Account.from_key(b"\x01" * 32)
THIEF: LocalAccount = Account.from_key(b"\x02" * 32)

PERMIT = ["owner:address", "spender:address", "value:uint256", "nonce:uint256", "deadline:uint256"]
TRANSFER = [
    "from:address",
    "to:address",
    "value:uint256",
    "validAfter:uint256",
    "validBefore:uint256",
    "nonce:bytes32",
]
CANCEL = ["authorizer:address", "nonce:bytes32"]


def sign(
    contract: Contract, kind: str, fields: list[str], values: list[Any], signer: LocalAccount = SIGNER, **domain: Any
) -> tuple[int, bytes, bytes]:
    """(v, r, s) of a typed message in the contract's domain, or in one that differs where `domain` says."""
    names = [field.split(":")[0] for field in fields]
    types = {kind: [dict(zip(("name", "type"), field.split(":"), strict=True)) for field in fields]}
    whole = {
        "name": contract.call("name"),
        "version": contract.call("version"),
        "chainId": contract.ledger.chain_id,
        "verifyingContract": contract.address,
    }
    message = encode_typed_data(whole | domain, types, dict(zip(names, values, strict=True)))
    signed = signer.sign_message(message)
    return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


def test_the_supply_is_minted_once_to_the_holder(token: Contract, bank: str) -> None:
    assert token.call("totalSupply") == token.call("balanceOf", bank) == 1_000
    assert token.call("cap") == 100_000_000 * 10**18


def test_a_supply_above_the_cap_is_refused(ledger: Ledger, bank: str) -> None:
    with pytest.raises(Reverted, match="token: supply above the cap"):
        ledger.deploy("Token", bank, 100_000_000 * 10**18 + 1)


def test_transfers_move_what_is_there_and_no_more(ledger: Ledger, token: Contract, bank: str) -> None:
    receiver = ledger.account()
    token.send(bank, "transfer", receiver, 400)
    assert (token.call("balanceOf", bank), token.call("balanceOf", receiver)) == (600, 400)
    with pytest.raises(Reverted, match="erc20: balance too small"):
        token.send(receiver, "transfer", bank, 401)
    with pytest.raises(Reverted, match="erc20: transfer to the zero address"):
        token.send(bank, "transfer", "0x" + "00" * 20, 1)


def test_a_transfer_to_oneself_changes_nothing(token: Contract, bank: str) -> None:
    token.send(bank, "transfer", bank, 1_000)
    assert token.call("balanceOf", bank) == 1_000


def test_an_allowance_is_used_up_unless_it_is_the_largest(ledger: Ledger, token: Contract, bank: str) -> None:
    spender = ledger.account("spender")
    token.send(bank, "approve", spender, 100)
    token.send(spender, "transferFrom", bank, spender, 60)
    assert token.call("allowance", bank, spender) == 40
    with pytest.raises(Reverted, match="erc20: allowance too small"):
        token.send(spender, "transferFrom", bank, spender, 41)
    token.send(bank, "approve", spender, 2**256 - 1)
    token.send(spender, "transferFrom", bank, spender, 60)
    assert token.call("allowance", bank, spender) == 2**256 - 1


def test_everybody_burns_what_is_theirs(ledger: Ledger, token: Contract, bank: str) -> None:
    token.send(bank, "burn", 400)
    assert token.call("totalSupply") == token.call("balanceOf", bank) == 600
    with pytest.raises(Reverted, match="erc20: balance too small"):
        token.send(bank, "burn", 601)


def test_one_minter_is_named_once_and_mints_up_to_the_cap(ledger: Ledger, bank: str) -> None:
    deployer, stranger = ledger.account("deployer"), ledger.account("non_minter")
    token = ledger.deploy("Token", bank, 10**26 - 10, sender=deployer)
    minter = ledger.deploy_code(b"\0")
    with pytest.raises(Reverted, match="token: caller is not the minter"):
        token.send(minter, "mint", stranger, 1)
    with pytest.raises(Reverted, match="token: caller is not the deployer"):
        token.send(stranger, "set_minter", minter)
    with pytest.raises(Reverted, match="token: minter is not a contract"):
        token.send(deployer, "set_minter", stranger)
    token.send(deployer, "set_minter", minter)
    with pytest.raises(Reverted, match="token: minter already set"):
        token.send(deployer, "set_minter", minter)
    token.send(minter, "mint", stranger, 10)
    with pytest.raises(Reverted, match="token: supply above the cap"):
        token.send(minter, "mint", stranger, 1)
    token.send(stranger, "burn", 3)
    token.send(minter, "mint", stranger, 3)
    assert token.call("totalSupply") == 10**26
    with pytest.raises(Reverted, match="token: caller is not the minter"):
        token.send(stranger, "mint", stranger, 1)


def test_only_the_owner_of_the_credit_mints(ledger: Ledger, credit: Contract) -> None:
    with pytest.raises(Reverted, match="credit: caller is not the owner"):
        credit.send(ledger.account("non_owner"), "mint", SIGNER.address, 1)


def test_a_permit_sets_an_allowance_once(ledger: Ledger, credit: Contract) -> None:
    spender = ledger.account("spender")
    values = [SIGNER.address, spender, 77, 0, ledger.now]
    signature = sign(credit, "Permit", PERMIT, values)
    arguments = (SIGNER.address, spender, 77, ledger.now, *signature)
    credit.send(spender, "permit", *arguments)
    assert credit.call("allowance", SIGNER.address, spender) == 77
    assert credit.call("nonces", SIGNER.address) == 1
    with pytest.raises(Reverted, match="eip2612: invalid signature"):
        credit.send(spender, "permit", *arguments)


@pytest.mark.parametrize(
    "domain", [{"chainId": 1}, {"verifyingContract": "0x" + "11" * 20}, {"name": "Other"}, {"version": "2"}]
)
def test_a_permit_for_another_domain_is_refused(ledger: Ledger, credit: Contract, domain: dict[str, Any]) -> None:
    spender = ledger.account("spender")
    signature = sign(credit, "Permit", PERMIT, [SIGNER.address, spender, 77, 0, ledger.now], **domain)
    with pytest.raises(Reverted, match="eip2612: invalid signature"):
        credit.send(spender, "permit", SIGNER.address, spender, 77, ledger.now, *signature)


def test_a_permit_expires(ledger: Ledger, credit: Contract) -> None:
    spender = ledger.account("spender")
    signature = sign(credit, "Permit", PERMIT, [SIGNER.address, spender, 77, 0, ledger.now])
    deadline = ledger.now
    ledger.now += 1
    with pytest.raises(Reverted, match="eip2612: expired"):
        credit.send(spender, "permit", SIGNER.address, spender, 77, deadline, *signature)


def test_the_other_signature_of_the_same_message_is_refused(ledger: Ledger, credit: Contract) -> None:
    """Each signature has a twin with a high s; only the low one counts."""
    spender = ledger.account("spender")
    v, r, s = sign(credit, "Permit", PERMIT, [SIGNER.address, spender, 77, 0, ledger.now])
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high = (order - int.from_bytes(s, "big")).to_bytes(32, "big")
    with pytest.raises(Reverted, match="eip2612: invalid signature"):
        credit.send(spender, "permit", SIGNER.address, spender, 77, ledger.now, 55 - v, r, high)


def test_the_zero_address_signs_nothing(ledger: Ledger, token: Contract) -> None:
    """A broken signature recovers to the zero address, whose tokens it must not open."""
    spender = ledger.account("spender")
    with pytest.raises(Reverted, match="eip2612: invalid signature"):
        token.send(spender, "permit", "0x" + "00" * 20, spender, 1, ledger.now, 27, b"\0" * 32, b"\0" * 32)


def test_an_authorized_transfer_goes_through_once_by_anybody(ledger: Ledger, credit: Contract) -> None:
    receiver = ledger.account("receiver")
    values = [SIGNER.address, receiver, 300, 0, ledger.now + 10, NONCE]
    arguments = (*values, *sign(credit, "TransferWithAuthorization", TRANSFER, values))
    credit.send(ledger.account("relay"), "transferWithAuthorization", *arguments)
    assert credit.call("balanceOf", receiver) == 300
    assert credit.call("authorizationState", SIGNER.address, NONCE)
    with pytest.raises(Reverted, match="eip3009: authorization already used"):
        credit.send(receiver, "transferWithAuthorization", *arguments)


def test_an_authorization_to_receive_serves_its_receiver_only(ledger: Ledger, credit: Contract) -> None:
    receiver = ledger.account("receiver")
    values = [SIGNER.address, receiver, 300, 0, ledger.now + 10, NONCE]
    arguments = (*values, *sign(credit, "ReceiveWithAuthorization", TRANSFER, values))
    with pytest.raises(Reverted, match="eip3009: caller is not the receiver"):
        credit.send(ledger.account("front_runner"), "receiveWithAuthorization", *arguments)
    with pytest.raises(Reverted, match="eip3009: invalid signature"):
        credit.send(ledger.account("front_runner"), "transferWithAuthorization", *arguments)
    credit.send(receiver, "receiveWithAuthorization", *arguments)
    assert credit.call("balanceOf", receiver) == 300


def test_an_authorization_counts_only_inside_its_window(ledger: Ledger, credit: Contract) -> None:
    receiver = ledger.account("receiver")
    for after, before, reason in ((0, 0, "not yet valid"), (-10, 0, "expired")):
        window = [ledger.now + after, ledger.now + before]
        values = [SIGNER.address, receiver, 1, *window, NONCE]
        signature = sign(credit, "TransferWithAuthorization", TRANSFER, values)
        with pytest.raises(Reverted, match=f"eip3009: {reason}"):
            credit.send(receiver, "transferWithAuthorization", *values, *signature)


def test_an_authorization_by_a_thief_is_refused(ledger: Ledger, credit: Contract) -> None:
    values = [SIGNER.address, THIEF.address, 300, 0, ledger.now + 10, NONCE]
    signature = sign(credit, "TransferWithAuthorization", TRANSFER, values, THIEF)
    with pytest.raises(Reverted, match="eip3009: invalid signature"):
        credit.send(ledger.account(), "transferWithAuthorization", *values, *signature)


def test_a_cancelled_authorization_is_worth_nothing(ledger: Ledger, credit: Contract) -> None:
    receiver = ledger.account("receiver")
    values = [SIGNER.address, receiver, 300, 0, ledger.now + 10, NONCE]
    signature = sign(credit, "TransferWithAuthorization", TRANSFER, values)
    cancel = sign(credit, "CancelAuthorization", CANCEL, [SIGNER.address, NONCE])
    credit.send(receiver, "cancelAuthorization", SIGNER.address, NONCE, *cancel)
    with pytest.raises(Reverted, match="eip3009: authorization already used"):
        credit.send(receiver, "transferWithAuthorization", *values, *signature)
