"""One list of transactions on the embedded chain and on anvil: equal status, gas, price, logs and addresses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tercet.chain import Key, MarketParams, Receipt, Rpc, build_commit_digest, channel_id, sign_voucher
from tercet.chain.abi import encode
from tercet.chain.artifacts import ContractName, load_artifact
from tercet.chain.bindings import load_interface
from tercet.chain.devnet.chain import DEFAULT_CHAIN_ID
from tercet.chain.keys import checksum_address
from tercet.chain.ledger import BLUEPRINTS
from tercet.chain.rpc import poll_delays
from tercet.chain.transaction import Transaction, contract_address, sign_transaction
from tercet.chain.voucher import EscrowDomain
from tercet.market import ChannelConfig, build_row
from tercet.market.audit import Evaluation, EvaluationLog
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


TOKEN, CREDIT, ESCROW, *BLUEPRINT_ADDRESSES, AUDITS, REGISTRY = (created_by(OWNER, nonce) for nonce in range(9))
RULES, STAKES, TREASURY, MARKET = (checksum_address(contract_address(REGISTRY, nonce)) for nonce in range(1, 5))
AUDITED = dict(
    zip(
        ("Rules", "Stakes", "Treasury", "Market"),
        (checksum_address(contract_address(REGISTRY, nonce)) for nonce in range(5, 9)),
        strict=True,
    )
)
"""The second market, whose validators are audited."""
ADDRESS_OF: dict[str, str] = {
    "Token": TOKEN,
    "Credit": CREDIT,
    "Escrow": ESCROW,
    "Audits": AUDITS,
    "Registry": REGISTRY,
    "Rules": RULES,
    "Stakes": STAKES,
    "Treasury": TREASURY,
    "Market": MARKET,
}
NOBODY = "0x" + "0" * 40
SALT = b"\x2a" * 32


def call(
    key: Key, contract: ContractName, function: str, *arguments: Any, gas: int = 400_000, wait: int = 1, at: str = ""
) -> Step:
    """A transaction to one of our contracts, the usual one of its kind unless it says which."""
    found = load_interface(contract).functions[function]
    return Step(key, at or ADDRESS_OF[contract], found.selector + encode(found.inputs, arguments), gas, wait=wait)


def creation(name: ContractName, *arguments: Any) -> bytes:
    """Creation code with arguments."""
    return load_artifact(name).bytecode + encode(load_interface(name).constructor, arguments)


def deployments() -> Iterator[Step]:
    """All contracts, in the order that the addresses above assume."""
    yield Step(OWNER, None, creation("Token", OWNER.address, 10**9 * TCT // 100), 5_000_000)
    yield Step(OWNER, None, creation("Credit", OWNER.address), 5_000_000)
    yield Step(OWNER, None, creation("Escrow", 60, 100, MINER.address, OWNER.address), 5_000_000)
    for name in BLUEPRINTS:
        blueprint = load_artifact(name).blueprint
        assert blueprint is not None
        yield Step(OWNER, None, blueprint, 16_000_000)
    yield Step(OWNER, None, creation("Audits", TOKEN, 4), 7_000_000)
    shared = (TOKEN, tuple(BLUEPRINT_ADDRESSES), 5 * TCT, 3_000, AUDITS, NOBODY)
    yield Step(OWNER, None, creation("Registry", *shared), 5_000_000)
    yield call(MINER, "Audits", "attach", REGISTRY)  # not the deployer
    yield call(OWNER, "Audits", "attach", REGISTRY)
    yield call(OWNER, "Audits", "attach", REGISTRY)  # twice


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


def opening() -> Iterator[Step]:
    """A market is opened, after two refusals, and its actors get money and let it be taken."""
    params = MarketParams("echo", commit_seconds=1_000, reveal_seconds=1_000)
    for key in (OWNER, MINER, VALIDATOR, BUYER):
        yield call(OWNER, "Token", "transfer", key.address, 1_000 * TCT)
        for spender in (MARKET, STAKES):
            yield call(key, "Token", "approve", spender, 2**256 - 1)
    most = 16_000_000
    yield call(OWNER, "Registry", "open_market", CREDIT, "Echo", astuple(params), gas=most)  # no bond approved
    yield call(OWNER, "Token", "approve", REGISTRY, 2**256 - 1)
    bad = astuple(replace(params, kappa=1))
    yield call(OWNER, "Registry", "open_market", CREDIT, "Echo", bad, gas=most)
    yield call(OWNER, "Registry", "open_market", CREDIT, "Echo", astuple(params), gas=most)
    yield call(OWNER, "Credit", "mint", OWNER.address, 10**9)
    yield call(OWNER, "Credit", "approve", TREASURY, 2**256 - 1)


def registrations() -> Iterator[Step]:
    """Miners pay a rising price, a validator takes a seat, somebody delegates, somebody sponsors; rules are proposed."""
    url = "http://127.0.0.1:8091"
    yield call(MINER, "Market", "register_miner", MINER.address, url, TCT - 1)  # below the price
    yield call(MINER, "Market", "register_miner", MINER.address, url, 2 * TCT)
    yield call(MINER, "Market", "register_miner", MINER.address, url, 2 * TCT)  # operator taken
    yield call(MINER, "Market", "register_miner", OWNER.address, url, 2 * TCT)
    yield call(MINER, "Market", "apply_miner", BUYER.address, url, 2 * TCT)  # there is room
    yield call(VALIDATOR, "Market", "register_validator", VALIDATOR.address, 10, 500)  # below the minimum
    yield call(VALIDATOR, "Market", "register_validator", VALIDATOR.address, 50 * TCT, 9_999)  # takes too much
    yield call(VALIDATOR, "Market", "register_validator", VALIDATOR.address, 50 * TCT, 500, gas=700_000)
    yield call(BUYER, "Stakes", "stake", 3, 20 * TCT)
    yield call(BUYER, "Stakes", "stake", 4, 20 * TCT)  # no such pool
    yield call(OWNER, "Treasury", "sponsor", 10_000_001, 5)
    yield call(OWNER, "Treasury", "fund", 777)
    wanted = astuple(MarketParams("echo", commit_seconds=1_000, reveal_seconds=1_000, validator_share_bps=3_000))
    yield call(MINER, "Rules", "propose", wanted)  # not the owner
    yield call(OWNER, "Rules", "propose", wanted, gas=900_000)


def epochs() -> Iterator[Step]:
    """Three epochs: in the first no stake counts yet; commits, reveals, closings, and all that is refused on the way."""
    row = tuple(pack_row(build_row({1: 3.0, 2: 1.0}, 3)))
    salt, evidence = b"\x2a" * 32, b"\x2b" * 32
    for epoch in (0, 1, 2):
        hints = row if epoch else (0,)
        digest = build_commit_digest(
            DEFAULT_CHAIN_ID, MARKET, epoch, VALIDATOR.address, salt, 3, row, evidence=evidence
        )
        yield call(VALIDATOR, "Market", "commit", digest)
        yield call(VALIDATOR, "Market", "commit", digest)  # twice
        yield call(MINER, "Market", "commit", digest)  # no validator
        yield call(VALIDATOR, "Market", "reveal", 3, 1, salt, evidence, row)  # too early
        yield call(OWNER, "Market", "begin_close")  # too early
        yield call(VALIDATOR, "Market", "reveal", 3, 1, bytes(32), evidence, row, wait=1_000)  # wrong salt
        yield call(VALIDATOR, "Market", "reveal", 3, 2, salt, evidence, row)  # wrong version
        yield call(VALIDATOR, "Market", "reveal", 3, 1, salt, evidence, row, gas=600_000)
        yield call(OWNER, "Market", "close_epoch", (1,), gas=3_000_000, wait=1_000)  # wrong hint
        yield call(OWNER, "Market", "begin_close", gas=2_000_000)
        yield call(MINER, "Market", "leave_miner", 1)  # closing
        yield call(OWNER, "Treasury", "fund", 1)  # closing
        yield call(BUYER, "Market", "settle_pages", 0, hints, gas=3_000_000)
        yield call(BUYER, "Market", "settle_pages", 0, hints, gas=3_000_000)  # done already
        yield call(OWNER, "Market", "finish_close", gas=3_000_000)


def going_home() -> Iterator[Step]:
    """Money out, to the end of the market and beyond."""
    everything = 2**256 - 1
    yield call(MINER, "Treasury", "withdraw")
    yield call(BUYER, "Treasury", "withdraw")
    yield call(VALIDATOR, "Treasury", "withdraw")  # it closed nothing: its rewards are with its stake
    yield call(VALIDATOR, "Stakes", "claim", 3)
    yield call(BUYER, "Stakes", "claim", 3)
    yield call(BUYER, "Stakes", "unstake", 3, everything)
    yield call(BUYER, "Stakes", "withdraw", 3)  # still unbonding
    yield call(VALIDATOR, "Stakes", "unstake", 3, everything)  # the seat is still there
    yield call(VALIDATOR, "Market", "leave_validator", 0)  # its row can still be audited
    yield call(MINER, "Market", "leave_miner", 2)
    yield call(OWNER, "Treasury", "cancel", 0)
    yield call(OWNER, "Treasury", "claim_refund", 0)
    yield call(MINER, "Market", "wind_down")  # not the owner
    yield call(OWNER, "Market", "wind_down")
    yield call(OWNER, "Registry", "return_bond", MARKET)  # its last epoch is not closed yet
    yield call(OWNER, "Market", "close_epoch", (0,), gas=3_000_000, wait=2_000)
    yield call(OWNER, "Registry", "return_bond", MARKET)
    yield call(BUYER, "Stakes", "withdraw", 3)
    yield call(VALIDATOR, "Market", "leave_validator", 0)
    yield call(VALIDATOR, "Stakes", "unstake", 3, everything)
    yield call(VALIDATOR, "Stakes", "withdraw", 3)
    yield call(MINER, "Market", "leave_miner", 1)
    yield call(OWNER, "Treasury", "claim_refund", 0)


JURY = (VALIDATOR, BUYER, OWNER)


def evaluations(vid: int) -> EvaluationLog:
    """What a validator claims to have measured; its pool is the number of its registration."""
    place = AUDITED["Market"], 1, vid + 1
    claims = (Evaluation(*place, k, 1, 4, "judged", 10**9, bytes([vid, k]) * 16) for k in range(4))
    return EvaluationLog([claim.leaf for claim in claims])


def in_audited(key: Key, contract: ContractName, function: str, *arguments: Any, **how: Any) -> Step:
    """A transaction to a contract of the second market."""
    return call(key, contract, function, *arguments, at=AUDITED[contract], **how)


def audited_market() -> Iterator[Step]:
    """Three validators and a miner; an epoch without stake, and one in which each validator reveals a log."""
    rules = MarketParams("echo", commit_seconds=1_000, reveal_seconds=1_000, audit_share_bps=5_000)
    yield call(OWNER, "Registry", "open_market", CREDIT, "Audited", astuple(rules), gas=16_000_000)
    for key in JURY:
        for spender in (AUDITED["Stakes"], AUDITS):
            yield call(key, "Token", "approve", spender, 2**256 - 1)
        yield in_audited(key, "Market", "register_validator", key.address, 50 * TCT, 0, gas=700_000)
    yield call(MINER, "Token", "approve", AUDITED["Market"], 2**256 - 1)
    yield in_audited(MINER, "Market", "register_miner", MINER.address, "http://127.0.0.1:8091", 2 * TCT)
    yield call(OWNER, "Credit", "approve", AUDITED["Treasury"], 2**256 - 1)
    yield in_audited(OWNER, "Treasury", "sponsor", 9_000_001, 9)
    yield call(VALIDATOR, "Audits", "set_endpoint", AUDITED["Market"], "http://127.0.0.1:8095")
    yield call(MINER, "Audits", "set_endpoint", AUDITED["Market"], "http://127.0.0.1:8096")  # no validator
    yield call(OWNER, "Audits", "open_round", AUDITED["Market"])  # no epoch was closed
    yield in_audited(OWNER, "Market", "close_epoch", (0,), gas=3_000_000, wait=2_000)
    row, logs = tuple(pack_row(build_row({1: 1.0}, 2))), [evaluations(vid) for vid in range(3)]
    for key, log in zip(JURY, logs, strict=True):
        digest = build_commit_digest(
            DEFAULT_CHAIN_ID, AUDITED["Market"], 1, key.address, SALT, 4, row, evidence=log.evidence
        )
        yield in_audited(key, "Market", "commit", digest)
    for key, log in zip(JURY, logs, strict=True):
        wait = 1_000 if key is VALIDATOR else 1
        yield in_audited(key, "Market", "reveal", 4, 1, SALT, log.evidence, row, gas=600_000, wait=wait)
    yield in_audited(OWNER, "Market", "close_epoch", row, gas=3_000_000, wait=1_000)


def audit() -> Iterator[Step]:
    """A round: attestations, accusations of each entry (the beacon picked one), a verdict, a slash, the settlement."""
    market, log, everybody = AUDITED["Market"], evaluations(1), 0b111
    evidence = [evaluations(vid).evidence for vid in range(3)]
    yield call(VALIDATOR, "Audits", "attest", market, 0, everybody)  # an epoch without a round
    yield call(MINER, "Audits", "open_round", market, gas=600_000)
    yield call(MINER, "Audits", "open_round", market)  # is open
    yield call(VALIDATOR, "Audits", "attest", market, 1, 0b101)
    yield call(VALIDATOR, "Audits", "attest", market, 1, everybody)  # twice
    yield call(MINER, "Audits", "attest", market, 1, everybody)  # no validator
    for k in range(4):
        proof = log.count, log.root, log.levels[0][k], log.proof(k), evidence
        yield call(VALIDATOR, "Audits", "accuse", market, 1, 1, 0, *proof, gas=600_000)
    yield call(VALIDATOR, "Audits", "accuse", market, 1, 1, 9, *proof)  # no such sample
    yield call(BUYER, "Audits", "vote", market, 1, 1, 0, False)  # the accused
    yield call(MINER, "Audits", "vote", market, 1, 1, 0, True)
    yield call(VALIDATOR, "Audits", "vote", market, 1, 1, 0, True)  # voted by accusing
    yield call(OWNER, "Audits", "settle", market, 1, everybody)  # too early
    yield call(OWNER, "Audits", "vote", market, 1, 1, 0, True, gas=600_000)
    yield call(OWNER, "Audits", "vote", market, 1, 1, 0, True)  # decided
    yield call(OWNER, "Audits", "attest", market, 1, 0b001)
    yield in_audited(OWNER, "Market", "close_epoch", (0,), gas=3_000_000, wait=2_000)
    yield call(OWNER, "Audits", "attest", market, 1, 0b001)  # too late
    yield call(MINER, "Audits", "settle", market, 1, everybody, gas=900_000)
    yield call(MINER, "Audits", "settle", market, 1, everybody, gas=900_000)  # nothing is left
    for pool, key in enumerate(JURY, 1):
        yield in_audited(key, "Stakes", "claim", pool)


def steps() -> list[Step]:
    """Everything, in order."""
    market = [*opening(), *registrations(), *epochs(), *going_home()]
    return [*deployments(), *odd_deployments(), *transfers(), *channels(), *market, *audited_market(), *audit()]


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
    """Three hundred transactions, many of them refused, a slash among them, give equal receipts and balances on both."""
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
    last = len(list(audit()))
    before = last + len(list(audited_market()))
    assert statuses[-len(list(going_home())) - before : -before].count(0) == 6
    assert statuses[-before:-last].count(0) == 2
    assert statuses[-last:].count(0) == 14
    (slashed,) = (topic for topic, kind in load_interface("Stakes").events.items() if kind.name == "Slashed")
    assert sum(log.topics[0] == slashed for receipt in mine for log in receipt.logs) == 1
    assert len(statuses) > 290
    assert statuses.count(0) > 60
    assert sum(len(receipt.logs) for receipt in mine) > 120
