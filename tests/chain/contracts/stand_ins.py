"""Stand-ins for a market's other contracts, so that one of the four can be tested alone.

Tiny Vyper contracts, compiled here: `StandInMarket` holds a clock that the test sets and speaks to the satellites
as the test tells it to; `StandInStakes` takes what the treasury hands it and lets anybody take it out again;
`MoodyToken` refuses transfers in the ways a token can.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import vyper
from eth_abi.abi import encode
from tests.chain.contracts import arena
from tests.chain.contracts.evm import Contract, Ledger, _type
from vyper.compiler.settings import Settings

from tercet.chain.artifacts import Artifact

NEVER = 2**256 - 1
TCT = 10**18


@dataclass(frozen=True, slots=True)
class Params(arena.Params):
    """The arena's rules, with a cap that binds, a price that moves and an audited share."""

    weight_cap_bps: int = 2_000
    max_price: int = 1_000 * TCT
    audit_share_bps: int = 1_000


MARKET = """
# pragma version ==0.4.3

interface Rules:
    def owner() -> address: view
    def due() -> bool: view
    def take_effect(): nonpayable

rules: public(address)
stakes: public(address)
epoch: public(uint256)
last_epoch: public(uint256)
is_closing: public(bool)

@deploy
def __init__(rules: address):
    self.rules = rules
    self.last_epoch = max_value(uint256)

@external
@view
def owner() -> address:
    return staticcall Rules(self.rules).owner()

@external
@view
def is_wound_down() -> bool:
    return self.epoch > self.last_epoch

@external
def set_stakes(stakes: address):
    self.stakes = stakes

@external
def set_closing(closing: bool):
    self.is_closing = closing

@external
def wind_down():
    self.last_epoch = self.epoch

@external
def next_epoch():
    if staticcall Rules(self.rules).due():
        extcall Rules(self.rules).take_effect()
    self.epoch += 1
    self.is_closing = False

@external
def tell(target: address, data: Bytes[40_960]) -> Bytes[1_024]:
    return raw_call(target, data, max_outsize=1_024)
"""

STAKES = """
# pragma version ==0.4.3
from ethereum.ercs import IERC20

event Rewarded:
    epoch: uint256
    token: address
    pools: DynArray[uint256, 64]
    amounts: DynArray[uint256, 64]

market: public(address)
treasury: public(address)
audits: public(address)
received: public(HashMap[address, uint256])

@deploy
def __init__(stake_token: address, reward_token: address, audits: address):
    self.audits = audits

@external
def attach(market: address, treasury: address):
    assert self.market == empty(address)
    self.market = market
    self.treasury = treasury

@external
def reward(
    epoch: uint256, token: address, pools: DynArray[uint256, 64], amounts: DynArray[uint256, 64]
):
    assert msg.sender == self.treasury
    assert len(pools) == len(amounts)
    for amount: uint256 in amounts:
        self.received[token] += amount
    assert staticcall IERC20(token).balanceOf(self) >= self.received[token]
    log Rewarded(epoch=epoch, token=token, pools=pools, amounts=amounts)

@external
def take_out(token: address, receiver: address):
    amount: uint256 = self.received[token]
    self.received[token] = 0
    extcall IERC20(token).transfer(receiver, amount)
"""

MOODY_TOKEN = """
# pragma version ==0.4.3
balanceOf: public(HashMap[address, uint256])
mood: String[32]

@external
def mint(receiver: address, amount: uint256):
    self.balanceOf[receiver] += amount

@external
def set_mood(mood: String[32]):
    self.mood = mood

@external
def approve(spender: address, amount: uint256) -> bool:
    return True

@external
def transferFrom(owner: address, receiver: address, amount: uint256) -> bool:
    self.balanceOf[owner] -= amount
    self.balanceOf[receiver] += amount
    return True

@external
def transfer(receiver: address, amount: uint256) -> bool:
    assert self.mood != "reverts"
    if self.mood == "burns gas":
        raise UNREACHABLE
    if self.mood == "says no":
        return False
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[receiver] += amount
    return True
"""

SOURCES = {"StandInMarket": MARKET, "StandInStakes": STAKES, "MoodyToken": MOODY_TOKEN}


@cache
def build(name: str) -> Artifact:
    """A stand-in, compiled."""
    output = vyper.compile_code(
        SOURCES[name],
        output_formats=["abi", "bytecode", "blueprint_bytecode"],
        settings=Settings(evm_version="cancun"),
    )
    return Artifact(
        name=name,
        abi=tuple(output["abi"]),
        bytecode=_bytes(output["bytecode"]),
        blueprint=_bytes(output["blueprint_bytecode"]),
        compiler="",
        source_sha256="",
    )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def deploy(ledger: Ledger, name: str, *arguments: Any) -> Contract:
    """Deploy a stand-in."""
    artifact = build(name)
    inputs: list[dict[str, Any]] = next(
        (entry["inputs"] for entry in artifact.abi if entry["type"] == "constructor"), []
    )
    code = artifact.bytecode + encode([_type(item) for item in inputs], arguments)
    return attach(ledger, name, ledger._create(code, None))


def deploy_blueprint(ledger: Ledger, name: str) -> str:
    """Deploy a stand-in's ERC-5202 blueprint."""
    blueprint = build(name).blueprint
    assert blueprint is not None
    return ledger._create(blueprint, None)


def attach(ledger: Ledger, name: str, address: str) -> Contract:
    """Speak to a stand-in that is there already."""
    contract = Contract(ledger, build(name), address)
    ledger._contracts[bytes.fromhex(address[2:])] = contract
    return contract
