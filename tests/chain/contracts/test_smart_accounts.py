"""Smart accounts sign wherever keys do: vouchers, deposits, permits, transfers; and can take their word back."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils import keccak
from tests.chain.contracts.evm import Contract, Reverted
from tests.chain.contracts.test_escrow import Till

OWNER: LocalAccount = Account.from_key(b"\x21" * 32)
NEXT_OWNER: LocalAccount = Account.from_key(b"\x22" * 32)
LONG = b"a passkey's many bytes" * 40
"""More than 800 bytes behind a signature, up to the 1,024 that are taken."""


class SmartTill(Till):
    """A till whose payer is a smart account with 1,000 units."""

    def __init__(self) -> None:
        super().__init__()
        self.wallet = self.ledger.deploy_source("wallet", OWNER.address)
        self.credit.send(self.bank, "mint", self.wallet.address, 1_000)

    def smart_config(self, **changes: Any) -> tuple[Any, ...]:
        return self.config(**{"payer": self.wallet.address, "payerAuthorizer": self.wallet.address} | changes)

    def execute(self, target: Contract, name: str, *arguments: Any) -> None:
        """The wallet's owner calls a contract in the wallet's name."""
        self.wallet.send(OWNER.address, "execute", target.address, target.encode(name, *arguments))

    def opened(self, **changes: Any) -> tuple[Any, ...]:
        """An open channel of 500 units that the wallet has paid in."""
        config = self.smart_config(**changes)
        self.execute(self.credit, "approve", self.escrow.address, 500)
        self.execute(self.escrow, "open", config, 500)
        return config


@pytest.fixture
def till() -> SmartTill:
    return SmartTill()


def token_signature(token: Contract, kind: str, fields: str, values: list[Any], signer: LocalAccount = OWNER) -> bytes:
    """A typed message in a token's domain; fields as in Solidity."""
    pairs = [field.split() for field in fields.split(",")]
    types = {kind: [{"name": name, "type": type_} for type_, name in pairs]}
    domain = {
        "name": token.call("name"),
        "version": "1",
        "chainId": token.ledger.chain_id,
        "verifyingContract": token.address,
    }
    message = dict(zip([name for _, name in pairs], values, strict=True))
    return bytes(signer.sign_message(encode_typed_data(domain, types, message)).signature)


TRANSFER = "address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce"


@pytest.mark.parametrize("tail", [b"", LONG])
def test_a_smart_accounts_voucher_is_paid(till: SmartTill, tail: bytes) -> None:
    config = till.opened()
    voucher = till.sign(config, 400, OWNER) + tail
    till.escrow.send(till.receiver, "redeem", config, 300, 400, voucher)
    assert till.balance(till.receiver) == 300


def test_an_owner_that_was_replaced_signs_nothing(till: SmartTill) -> None:
    config = till.opened()
    voucher = till.sign(config, 400, OWNER)
    till.wallet.send(OWNER.address, "set_owner", NEXT_OWNER.address)
    with pytest.raises(Reverted, match="escrow: invalid signature"):
        till.escrow.send(till.receiver, "redeem", config, 300, 400, voucher)
    till.escrow.send(till.receiver, "redeem", config, 300, 400, till.sign(config, 400, NEXT_OWNER))
    assert till.balance(till.receiver) == 300


@pytest.mark.parametrize("mood", [1, 2, 3])
def test_a_broken_wallet_says_no_and_burns_bounded_gas(till: SmartTill, mood: int) -> None:
    """It reverts, loops without end, or answers something else; the reason is ours in each case."""
    config = till.opened()
    voucher = till.sign(config, 400, OWNER)
    till.wallet.send(OWNER.address, "set_mood", mood)
    channel = till.escrow.call("getChannelId", config)
    assert not till.escrow.call("is_voucher_valid", till.wallet.address, channel, 400, voucher)
    with pytest.raises(Reverted, match="escrow: invalid signature"):
        till.escrow.send(till.receiver, "redeem", config, 300, 400, voucher)


def test_the_gas_of_a_wallets_answer_is_bounded(till: SmartTill) -> None:
    """Endless work costs whoever asks 400,000 gas, not the transaction's whole limit."""
    config, asker = till.opened(), till.ledger.account("asker")
    channel, voucher = till.escrow.call("getChannelId", config), till.sign(config, 400, OWNER)
    gas = {}
    for mood in (0, 2):
        till.wallet.send(OWNER.address, "set_mood", mood)
        gas[mood] = till.escrow.send(asker, "is_voucher_valid", till.wallet.address, channel, 400, voucher).gas
    assert 390_000 < gas[2] - gas[0] < 410_000


def test_a_contract_that_is_no_wallet_signs_nothing(till: SmartTill) -> None:
    """Neither a token nor code that answers with empty data, and nobody for the zero address."""
    silent = till.ledger.deploy_code(bytes.fromhex("00"))
    for signer in (till.credit.address, silent, "0x" + "00" * 20, till.ledger.account()):
        assert not till.escrow.call("is_voucher_valid", signer, bytes(32), 1, b"\0" * 65)
        assert not till.escrow.call("is_voucher_valid", signer, bytes(32), 1, b"")


def test_a_key_cannot_disown_its_vouchers_by_setting_code(till: SmartTill) -> None:
    """EIP-7702 lets a payer put any code at its key's address; what the key has signed stays owed."""
    config = till.config(payer=OWNER.address, payerAuthorizer=OWNER.address)
    till.credit.send(till.bank, "mint", OWNER.address, 500)
    till.credit.send(OWNER.address, "approve", till.escrow.address, 500)
    till.escrow.send(OWNER.address, "open", config, 500)
    voucher = till.sign(config, 400, OWNER)
    till.ledger.set_code(OWNER.address, bytes.fromhex("5f5ffd"))  # refuses everything
    till.escrow.send(till.receiver, "redeem", config, 400, 400, voucher)
    assert till.balance(till.receiver) == 400


def test_a_smart_account_deposits_by_signature(till: SmartTill) -> None:
    """Anyone submits; the authorization fits one channel, one amount, one time."""
    config, relay = till.smart_config(), till.ledger.account("relay")
    window = (0, till.ledger.now + 60)
    for name, amount, salt in (("open_with_signature", 300, b"\0" * 32), ("top_up_with_signature", 50, b"\1" * 32)):
        nonce = keccak(encode(["bytes32", "bytes32"], [till.escrow.call("getChannelId", config), salt]))
        values = [till.wallet.address, till.escrow.address, amount, *window, nonce]
        signature = token_signature(till.credit, "ReceiveWithAuthorization", TRANSFER, values)
        with pytest.raises(Reverted, match="eip3009: invalid signature"):
            till.escrow.send(relay, name, config, amount + 1, *window, salt, signature)
        till.escrow.send(relay, name, config, amount, *window, salt, signature)
    assert till.escrow.call("channels", till.escrow.call("getChannelId", config)) == (350, 0)
    with pytest.raises(Reverted, match="eip3009: authorization already used"):
        till.escrow.send(relay, "top_up_with_signature", config, 50, *window, b"\1" * 32, signature)


def test_a_smart_account_permits_transfers_and_cancels(till: SmartTill) -> None:
    """The token's functions that end in WithSignature, for a wallet and for a key alike."""
    relay, thief = till.ledger.account("relay"), till.ledger.account("thief")
    wallet, token, window = till.wallet.address, till.credit, (0, till.ledger.now + 60)
    permit = "address owner,address spender,uint256 value,uint256 nonce,uint256 deadline"
    signature = token_signature(token, "Permit", permit, [wallet, relay, 77, 0, window[1]])
    with pytest.raises(Reverted, match="eip2612: invalid signature"):
        token.send(thief, "permitWithSignature", wallet, thief, 77, window[1], signature)
    token.send(relay, "permitWithSignature", wallet, relay, 77, window[1], signature)
    assert token.call("allowance", wallet, relay) == 77
    with pytest.raises(Reverted, match="eip2612: invalid signature"):
        token.send(relay, "permitWithSignature", wallet, relay, 77, window[1], signature)  # its nonce is spent

    nonce = b"n" * 32
    moved = [wallet, relay, 40, *window, nonce]
    signature = token_signature(token, "TransferWithAuthorization", TRANSFER, moved)
    token.send(thief, "transferWithSignature", *moved, signature)
    assert till.balance(relay) == 40
    received = [wallet, relay, 5, *window, b"m" * 32]
    signature = token_signature(token, "ReceiveWithAuthorization", TRANSFER, received)
    with pytest.raises(Reverted, match="eip3009: caller is not the receiver"):
        token.send(thief, "receiveWithSignature", *received, signature)
    cancel = token_signature(token, "CancelAuthorization", "address authorizer,bytes32 nonce", [wallet, b"m" * 32])
    token.send(relay, "cancelWithSignature", wallet, b"m" * 32, cancel)
    with pytest.raises(Reverted, match="eip3009: authorization already used"):
        token.send(relay, "receiveWithSignature", *received, signature)

    token.send(till.bank, "mint", NEXT_OWNER.address, 9)
    plain = [NEXT_OWNER.address, relay, 9, *window, nonce]
    signature = token_signature(token, "TransferWithAuthorization", TRANSFER, plain, NEXT_OWNER)
    token.send(relay, "transferWithSignature", *plain, signature)
    assert till.balance(relay) == 49
