"""The endpoint as an unmodified web3.py sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account
from web3 import Web3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError

from tercet.chain.artifacts import load_artifact
from tercet.chain.devnet import Server
from tercet.chain.keys import Key


class Wallet:
    """web3.py with one local account, as its documentation shows it."""

    def __init__(self, url: str, key: Key) -> None:
        self.web3 = Web3(Web3.HTTPProvider(url, request_kwargs={"timeout": 20}))
        self.account = Account.from_key(key.secret)

    def send(self, call: Any, **fields: Any) -> Any:
        """Build, sign, send, wait."""
        nonce = self.web3.eth.get_transaction_count(self.account.address)
        built = call.build_transaction({"from": self.account.address, "nonce": nonce, **fields})
        signed = self.account.sign_transaction(built)
        return self.web3.eth.wait_for_transaction_receipt(
            self.web3.eth.send_raw_transaction(signed.raw_transaction), timeout=20
        )

    def deploy(self, name: Any, *arguments: Any) -> Any:
        """A contract of ours."""
        artifact = load_artifact(name)
        factory = self.web3.eth.contract(abi=list(artifact.abi), bytecode=artifact.bytecode)
        receipt = self.send(factory.constructor(*arguments))
        return self.web3.eth.contract(address=receipt["contractAddress"], abi=list(artifact.abi))


@pytest.fixture
def in_thread(server: Server, faucet: Key) -> Callable[[Callable[[Wallet], None]], Any]:
    """Run a synchronous test body beside the server's loop."""
    return lambda body: asyncio.to_thread(body, Wallet(server.url, faucet))


async def test_web3_deploys_sends_and_reads(in_thread: Any) -> None:
    """Deploy, transact, read back; receipt, logs, transaction and block agree with each other."""

    def body(wallet: Wallet) -> None:
        credit = wallet.deploy("Credit", wallet.account.address)
        receipt = wallet.send(credit.functions.mint(wallet.account.address, 5_000_000))
        assert receipt["status"] == 1
        assert credit.functions.balanceOf(wallet.account.address).call() == 5_000_000
        (event,) = credit.events.Transfer().process_receipt(receipt)
        assert event["args"]["value"] == 5_000_000
        assert credit.events.Transfer.get_logs(from_block=0)[-1]["transactionHash"] == receipt["transactionHash"]
        found = wallet.web3.eth.get_transaction(receipt["transactionHash"])
        block = wallet.web3.eth.get_block(found["blockNumber"], full_transactions=True)
        assert block["transactions"][0]["hash"] == receipt["transactionHash"]
        assert wallet.web3.eth.get_block(block["hash"])["number"] == receipt["blockNumber"]
        assert wallet.web3.eth.get_code(credit.address)

    await in_thread(body)


async def test_web3_filters_see_what_comes_after_them(in_thread: Any) -> None:
    """A log filter and a block filter report new entries once; an uninstalled one is gone."""

    def body(wallet: Wallet) -> None:
        credit = wallet.deploy("Credit", wallet.account.address)
        logs = credit.events.Transfer.create_filter(from_block="latest")
        blocks = wallet.web3.eth.filter("latest")
        wallet.send(credit.functions.mint(wallet.account.address, 7))
        assert [entry["args"]["value"] for entry in logs.get_new_entries()] == [7]
        assert logs.get_new_entries() == []
        assert [entry["args"]["value"] for entry in logs.get_all_entries()] == [7]
        assert len(blocks.get_new_entries()) == 1
        assert wallet.web3.eth.uninstall_filter(logs.filter_id)
        with pytest.raises(Web3RPCError, match="filter not found"):
            logs.get_new_entries()

    await in_thread(body)


async def test_web3_shows_the_reason_of_a_revert(in_thread: Any) -> None:
    """Calls and estimates carry the contract's words; a mined failure has status 0 and keeps its reason."""

    def body(wallet: Wallet) -> None:
        token = wallet.deploy("Credit", wallet.account.address)
        stranger = Key(b"\x09" * 32).address
        with pytest.raises(ContractLogicError, match="execution reverted: erc20"):
            token.functions.transferFrom(stranger, stranger, 1).call()
        with pytest.raises(ContractLogicError, match="execution reverted: erc20"):
            token.functions.transfer(stranger, 1).estimate_gas({"from": stranger})
        receipt = wallet.send(token.functions.transferFrom(stranger, stranger, 1), gas=100_000)
        assert receipt["status"] == 0
        assert b"erc20" in bytes.fromhex(receipt["revertReason"][2:])

    await in_thread(body)


async def test_unknown_things_are_none_not_errors(in_thread: Any) -> None:
    """A hash nobody mined is not found; an unknown method names itself."""

    def body(wallet: Wallet) -> None:
        with pytest.raises(TransactionNotFound):
            wallet.web3.eth.get_transaction_receipt("0x" + "11" * 32)
        answer = wallet.web3.provider.make_request("eth_coinbase", [])
        assert answer["error"]["code"] == -32601
        assert "eth_coinbase" in answer["error"]["message"]

    await in_thread(body)
