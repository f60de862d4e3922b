"""One list of transactions on the embedded chain and on anvil: equal status, gas, price, logs and addresses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pytest

from tercet.chain import Key, MarketParams, Receipt, Rpc, build_commit_digest, channel_id, sign_voucher
from tercet.chain.abi import encode
from tercet.chain.artifacts import ContractName, load_artifact
from tercet.chain.bindings import load_interface
from tercet.chain.devnet.chain import DEFAULT_CHAIN_ID
from tercet.chain.keys import checksum_address
from tercet.chain.rpc import poll_delays
from tercet.chain.transaction import Transaction, contract_address, sign_transaction
from tercet.chain.voucher import EscrowDomain
from tercet.market import ChannelConfig, build_row
from tercet.market.epoch import pack_row

from .conftest import Node, run_anvil, run_embedded

ACTORS = [Key(bytes([n]) * 32) for n in (21, 22, 23, 24)]
OWNER, MINER, VALIDATOR, BUYER = ACTORS
START = 2_000_000_000
"""Unix seconds of the first block, far ahead of both nodes' clocks."""
TCT = 10**18


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction, and how far the clock moves before it."""

    key: Key
    to: str | None
    data: bytes
    gas: int = 400_000
    value: int = 0
    wait: int = 1


def created_by(key: Key, nonce: int) -> str:
    """Where the `nonce`-th transaction of a key puts its contract."""
    return checksum_address(contract_address(key.address, nonce))


TOKEN, CREDIT, ESCROW, BLUEPRINT, REGISTRY = (created_by(OWNER, nonce) for nonce in range(5))
MARKET = checksum_address(contract_address(REGISTRY, 1))
ADDRESS_OF: dict[str, str] = {
    "Token": TOKEN,
    "Credit": CREDIT,
    "Escrow": ESCROW,
    "Registry": REGISTRY,
    "Market": MARKET,
}


def call(key: Key, contract: ContractName, function: str, *arguments: Any, gas: int = 400_000, wait: int = 1) -> Step:
    """A transaction to one of our contracts."""
    found = load_interface(contract).functions[function]
    return Step(key, ADDRESS_OF[contract], found.selector + encode(found.inputs, arguments), gas, wait=wait)


def creation(name: ContractName, *arguments: Any) -> bytes:
    """Creation code with arguments."""
    return load_artifact(name).bytecode + encode(load_interface(name).constructor, arguments)


def deployments() -> Iterator[Step]:
    """All contracts, in the order that the addresses above assume."""
    blueprint = load_artifact("Market").blueprint
    assert blueprint is not None
    yield Step(OWNER, None, creation("Token", OWNER.address, 10**9 * TCT // 100), 5_000_000)
    yield Step(OWNER, None, creation("Credit", OWNER.address), 5_000_000)
    yield Step(OWNER, None, creation("Escrow", 60, 100, MINER.address, OWNER.address), 5_000_000)
    yield Step(OWNER, None, blueprint, 16_000_000)
    yield Step(OWNER, None, creation("Registry", TOKEN, BLUEPRINT, 5 * TCT), 5_000_000)


def odd_deployments() -> Iterator[Step]:
    """Creations that fail in each way, and two that destroy themselves."""
    yield Step(
        OWNER, None, creation("Escrow", 2**39, 100, MINER.address, OWNER.address), 5_000_000
    )  # its constructor reverts
    yield Step(OWNER, None, creation("Credit", OWNER.address), 900_000)  # no gas for the code
    yield Step(OWNER, None, bytes.fromhex("fe"))  # invalid opcode
    yield Step(OWNER, None, bytes.fromhex("60ef5f5360015ff3"))  # code that starts with 0xef
    yield Step(OWNER, None, b"")  # an empty contract
    yield Step(OWNER, None, bytes.fromhex("33ff"), value=77)  # selfdestruct while being made
    yield Step(OWNER, None, bytes.fromhex("60015f5560015f555f5f5500"))  # writes, rewrites, clears: refunds


def transfers() -> Iterator[Step]:
    """Random ERC-20 traffic, a good part of which reverts, and plain money."""
    draw = random.Random(7)
    people = [key.address for key in ACTORS]
    for _ in range(25):
        who, to, amount = draw.choice(ACTORS), draw.choice(people), draw.choice([0, 1, 10**6, 10**30])
        yield call(who, "Credit", "transfer", to, amount)
        yield call(draw.choice(ACTORS), "Credit", "approve", draw.choice(people), amount)
        yield call(draw.choice(ACTORS), "Credit", "transferFrom", draw.choice(people), to, amount // 2)
        yield call(draw.choice([OWNER, MINER]), "Credit", "mint", to, 10**7)
    yield call(OWNER, "Credit", "transfer", "0x" + "00" * 20, 1)
    yield call(OWNER, "Credit", "transfer", MINER.address, 1, gas=25_000)  # out of gas
    yield Step(OWNER, Key(b"\x63" * 32).address, b"", 21_000, value=5)  # a new account
    yield Step(OWNER, Key(b"\x64" * 32).address, b"", 21_000)  # nothing to nobody: stays empty
    yield Step(OWNER, CREDIT, b"", value=5)  # money to a contract that takes none
    yield Step(OWNER, CREDIT, b"\1\2\3\4")  # no such function
    yield Step(OWNER, MINER.address, bytes(range(256)) * 8, 200_000)  # the price of plain data
    for precompile in range(1, 10):
        yield Step(OWNER, "0x" + f"{precompile:040x}", bytes(range(64)), 300_000)


def channels() -> Iterator[Step]:
    """A payment channel's life, with everything that the escrow refuses."""
    domain = EscrowDomain(DEFAULT_CHAIN_ID, ESCROW)
    config = ChannelConfig(BUYER.address, BUYER.address, MINER.address, MINER.address, CREDIT, 100, b"\5" * 32)
    other = ChannelConfig(BUYER.address, BUYER.address, MINER.address, OWNER.address, CREDIT, 100, b"\6" * 32)
    first, second = astuple(config), astuple(other)
    voucher = sign_voucher(domain, BUYER, channel_id(domain, config), 700)
    forged = sign_voucher(domain, MINER, channel_id(domain, config), 900)
    generous = sign_voucher(domain, BUYER, channel_id(domain, config), 10**9)
    yield call(OWNER, "Credit", "mint", BUYER.address, 10**9)
    yield call(BUYER, "Escrow", "open", first, 1_000)  # not approved yet
    yield call(BUYER, "Credit", "approve", ESCROW, 10**9)
    yield call(BUYER, "Escrow", "open", first, 1_000)
    yield call(BUYER, "Escrow", "open", first, 1_000)  # twice
    yield call(BUYER, "Escrow", "top_up", first, 500)
    yield call(MINER, "Escrow", "redeem", first, 600, 900, forged.signature)
    yield call(MINER, "Escrow", "redeem", first, 600, 700, voucher.signature)
    yield call(MINER, "Escrow", "redeem", first, 600, 700, voucher.signature)  # replayed
    yield call(MINER, "Escrow", "redeem", first, 2_000, 10**9, generous.signature)  # above the deposit
    yield call(OWNER, "Escrow", "redeem", first, 700, 700, voucher.signature)  # not the receiver
    yield call(BUYER, "Escrow", "withdraw", first)  # no notice given
    yield call(BUYER, "Escrow", "request_close", first)
    yield call(BUYER, "Escrow", "withdraw", first)  # too early
    yield call(BUYER, "Escrow", "withdraw", first, wait=200)
    yield call(BUYER, "Escrow", "open", first, 1_000)  # closed for good
    yield call(BUYER, "Escrow", "open", second, 1_000)
    yield call(OWNER, "Escrow", "release", second)


def epochs() -> Iterator[Step]:
    """A market with two epochs: registrations, commits, reveals, closings, money out."""
    params = MarketParams("echo", commit_seconds=1_000, reveal_seconds=1_000, miner_deposit=TCT)
    for key in (MINER, VALIDATOR):
        yield call(OWNER, "Token", "transfer", key.address, 1_000 * TCT)
        yield call(key, "Token", "approve", MARKET, 2**256 - 1)
    yield call(OWNER, "Registry", "open_market", CREDIT, "Echo", astuple(params), gas=9_000_000)  # no bond approved
    yield call(OWNER, "Token", "approve", REGISTRY, 2**256 - 1)
    yield call(OWNER, "Registry", "open_market", CREDIT, "Echo", (*astuple(params)[:5], 1, *astuple(params)[6:]))
    yield call(OWNER, "Registry", "open_market", CREDIT, "Echo", astuple(params), gas=9_000_000)
    yield call(OWNER, "Credit", "mint", OWNER.address, 10**9)
    yield call(OWNER, "Credit", "approve", MARKET, 2**256 - 1)
    yield call(MINER, "Market", "register_miner", MINER.address, "http://127.0.0.1:8091")
    yield call(MINER, "Market", "register_miner", MINER.address, "http://127.0.0.1:8091")  # operator taken
    yield call(MINER, "Market", "register_miner", OWNER.address, "http://127.0.0.1:8092")
    yield call(VALIDATOR, "Market", "register_validator", VALIDATOR.address, 10)
    yield call(VALIDATOR, "Market", "register_validator", VALIDATOR.address, 50 * TCT)
    yield call(OWNER, "Market", "sponsor", 10_001, 5)
    row = tuple(pack_row(build_row({1: 3.0, 2: 1.0}, 3)))
    salt = b"\x2a" * 32
    for epoch in (0, 1):
        digest = build_commit_digest(DEFAULT_CHAIN_ID, MARKET, epoch, VALIDATOR.address, salt, 3, row)
        yield call(VALIDATOR, "Market", "commit", digest)
        yield call(VALIDATOR, "Market", "commit", digest)  # twice
        yield call(MINER, "Market", "commit", digest)  # no validator
        yield call(VALIDATOR, "Market", "reveal", 3, salt, row)  # too early
        yield call(OWNER, "Market", "begin_close")  # too early
        yield call(VALIDATOR, "Market", "reveal", 3, bytes(32), row, wait=1_000)  # wrong salt
        yield call(VALIDATOR, "Market", "reveal", 3, salt, row)
        yield call(OWNER, "Market", "close_epoch", (0,), gas=2_000_000, wait=1_000)  # wrong hint
        yield call(OWNER, "Market", "begin_close")
        yield call(MINER, "Market", "leave_miner", 1)  # closing
        yield call(OWNER, "Market", "settle_pages", 0, row, gas=2_000_000)
        yield call(OWNER, "Market", "settle_pages", 0, row, gas=2_000_000)  # done already
        yield call(OWNER, "Market", "finish_close", gas=2_000_000)
    yield call(MINER, "Market", "withdraw")
    yield call(VALIDATOR, "Market", "withdraw")
    yield call(VALIDATOR, "Market", "unstake", 0, 5 * TCT)
    yield call(MINER, "Market", "leave_miner", 2)
    yield call(OWNER, "Market", "cancel", 0)
    yield call(OWNER, "Market", "claim_refund", 0)
    yield call(OWNER, "Market", "wind_down")
    yield call(OWNER, "Registry", "return_bond", MARKET)  # not wound down yet


def steps() -> list[Step]:
    """Everything, in order."""
    return [*deployments(), *odd_deployments(), *transfers(), *channels(), *epochs()]


async def play(node: Node, script: list[Step]) -> list[Receipt]:
    """Run the list, one transaction to a block at a fixed time; the receipts."""
    await node.fund(*ACTORS, wei=10**21)
    nonces, now, receipts = dict.fromkeys([key.address for key in ACTORS], 0), START, []
    for step in script:
        now += step.wait
        await node.rpc.call("evm_setNextBlockTimestamp", hex(now))
        nonce = nonces[step.key.address]
        nonces[step.key.address] += 1
        fields = Transaction(DEFAULT_CHAIN_ID, nonce, 10**9, 10**10, step.gas, step.to, step.value, step.data)
        receipts.append(await mined(node.rpc, sign_transaction(fields, step.key).raw))
    return receipts


async def mined(rpc: Rpc, raw: bytes) -> Receipt:
    """Send and wait."""
    digest = await rpc.send_raw(raw)
    async for _ in poll_delays(asyncio.get_running_loop().time() + 10):
        if (receipt := await rpc.receipt(digest)) is not None:
            return receipt
    raise AssertionError("never mined")


def facts(receipt: Receipt) -> dict[str, Any]:
    """What must be equal."""
    return {
        "status": receipt.status,
        "gas_used": receipt.gas_used,
        "gas_price": receipt.gas_price,
        "contract": receipt.contract,
        "logs": [(log.address, log.topics, log.data, log.position) for log in receipt.logs],
    }


@pytest.mark.anvil
async def test_both_nodes_agree_on_every_transaction(tmp_path: Path) -> None:
    """Nearly two hundred transactions, many of them refused, give equal receipts and balances on both."""
    script = steps()
    async with run_embedded(tmp_path) as ours, run_anvil() as theirs:
        mine, peer = await play(ours, script), await play(theirs, script)
        differing = [
            (number, step.to, facts(a), facts(b))
            for number, (step, a, b) in enumerate(zip(script, mine, peer, strict=True))
            if facts(a) != facts(b)
        ]
        assert differing == []
        for key in ACTORS:
            assert await ours.rpc.balance(key.address) == await theirs.rpc.balance(key.address)
    statuses = [receipt.status for receipt in mine]
    assert len(statuses) > 190
    assert statuses.count(0) > 40
    assert sum(len(receipt.logs) for receipt in mine) > 80
