"""Opening markets, four contracts each, and getting the bond back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.chain.contracts.evm import TRANSACTION_GAS, Contract, Ledger, Receipt, Reverted
from tests.chain.contracts.stand_ins import TCT, Params

from tercet.chain.artifacts import ContractName

ROOT = Path(__file__).resolve().parents[3]
ZERO = "0x" + "00" * 20
DAY = 86_400
BOND = 1_000 * TCT
KINDS: tuple[ContractName, ...] = ("Market", "Stakes", "Treasury", "Rules")


class Stage:
    """A registry, and somebody who can pay two bonds."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.params = Params()
        self.opener = self.ledger.account("opener")
        self.token = self.ledger.deploy("Token", self.opener, 2 * BOND)
        self.credit = self.ledger.deploy("Credit", self.opener)
        self.blueprints = tuple(self.ledger.deploy_blueprint(name) for name in KINDS)
        self.audits, self.sink = self.ledger.account("audits"), self.ledger.account("sink")
        self.registry = self.deploy()
        self.token.send(self.opener, "approve", self.registry.address, 2 * BOND)

    def deploy(self, **changes: Any) -> Contract:
        arguments = {
            "stake_token": self.token.address,
            "blueprints": self.blueprints,
            "bond": BOND,
            "timelock_seconds": DAY,
            "audits": self.audits,
            "sink": self.sink,
        }
        return self.ledger.deploy("Registry", *(arguments | changes).values())

    def open(self, name: str = "first market", reward_token: str | None = None, **changes: Any) -> Receipt:
        token = reward_token or self.credit.address
        return self.registry.send(self.opener, "open_market", token, name, replace(self.params, **changes).tuple())

    def listing(self, index: int = 0) -> dict[str, Any]:
        return dict(self.registry.call("get_markets", index, 1)[0])

    def parts(self, index: int = 0) -> tuple[Contract, Contract, Contract, Contract]:
        """The market, its stakes, its treasury, its rules."""
        listing = self.listing(index)
        market, stakes, treasury, rules = (self.ledger.attach(kind, listing[kind.lower()]) for kind in KINDS)
        return market, stakes, treasury, rules

    def close_epoch(self, market: Contract) -> None:
        """Nobody votes."""
        self.ledger.now += self.params.commit_seconds + self.params.reveal_seconds
        market.send(self.opener, "close_epoch", [0] * market.call("status")["pages"])


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_opening_takes_the_bond_and_lists_the_market(stage: Stage) -> None:
    receipt = stage.open()
    (listing,) = stage.registry.call("get_markets", 0, 10)
    assert listing["market"] == receipt.value.lower()
    assert listing["opener"] == stage.opener.lower()
    assert (listing["bond"], listing["subnet"], listing["name"]) == (BOND, "inference", "first market")
    assert stage.registry.call("is_market", receipt.value)
    assert stage.registry.call("market_count") == 1
    assert stage.token.call("balanceOf", stage.registry.address) == BOND
    opened = next(log.fields for log in receipt.logs if log.name == "MarketOpened")
    assert {key: opened[key] for key in listing} == listing


def test_the_four_contracts_know_each_other_and_nobody_elses(stage: Stage) -> None:
    stage.open()
    stage.open("second market")
    addresses = set()
    for index in range(2):
        market, stakes, treasury, rules = stage.parts(index)
        addresses |= {part.address for part in (market, stakes, treasury, rules)}
        assert market.call("stakes") == stakes.address
        assert market.call("treasury") == stakes.call("treasury") == treasury.address
        assert market.call("rules") == rules.address
        assert {part.call("market") for part in (stakes, treasury, rules)} == {market.address}
        assert market.call("registry") == stage.registry.address.lower()
    assert len(addresses) == 8


def test_a_market_starts_with_its_rules_tokens_and_owner(stage: Stage) -> None:
    stage.open()
    market, stakes, treasury, rules = stage.parts()
    assert tuple(rules.call("params").values()) == stage.params.tuple()
    assert market.call("name") == "first market"
    assert market.call("owner") == rules.call("owner") == stage.opener.lower()
    assert rules.call("timelock_seconds") == DAY
    assert stakes.call("audits") == stage.audits.lower()
    assert treasury.call("sink") == stage.sink.lower()
    for part in (market, stakes, treasury):
        assert part.call("stake_token") == stage.token.address.lower()
        assert part.call("reward_token") == stage.credit.address.lower()


def test_nobody_attaches_a_markets_contracts_anew(stage: Stage) -> None:
    stage.open()
    _, stakes, treasury, rules = stage.parts()
    for part, call in (
        (stakes, ("attach", stage.opener, stage.opener)),
        (treasury, ("attach", stage.opener)),
        (rules, ("attach", stage.opener)),
    ):
        with pytest.raises(Reverted, match=": caller is not the creator"):
            part.send(stage.opener, *call)


def test_a_market_is_opened_within_one_transaction(stage: Stage) -> None:
    """Four contracts for less than the gas that chains allow a transaction."""
    assert stage.open(name="n" * 64, subnet="s" * 32).gas < TRANSACTION_GAS


def test_rules_out_of_bounds_open_nothing(stage: Stage) -> None:
    with pytest.raises(Reverted, match="rules: kappa out of bounds"):
        stage.open(kappa=0)
    assert stage.registry.call("market_count") == 0
    assert stage.token.call("balanceOf", stage.opener) == 2 * BOND


def test_a_market_needs_a_name_and_a_token(stage: Stage) -> None:
    with pytest.raises(Reverted, match="registry: name is empty"):
        stage.open(name="")
    with pytest.raises(Reverted, match="registry: reward token is not a contract"):
        stage.open(reward_token=stage.ledger.account())


def test_what_all_markets_share_has_bounds(stage: Stage) -> None:
    nothing = stage.ledger.account()
    for k in range(4):
        blueprints = tuple(nothing if place == k else there for place, there in enumerate(stage.blueprints))
        with pytest.raises(Reverted, match="registry: blueprint is not a contract"):
            stage.deploy(blueprints=blueprints)
    for changes, reason in (
        ({"stake_token": nothing}, "stake token is not a contract"),
        ({"bond": 2**112}, "bond out of bounds"),
        ({"timelock_seconds": 365 * DAY + 1}, "timelock_seconds out of bounds"),
    ):
        with pytest.raises(Reverted, match=f"registry: {reason}"):
            stage.deploy(**changes)
    free = stage.deploy(bond=0, timelock_seconds=365 * DAY, audits=ZERO, sink=ZERO)
    free.send(stage.opener, "open_market", stage.credit.address, "free", stage.params.tuple())
    assert stage.token.call("balanceOf", stage.opener) == 2 * BOND


def test_the_bond_comes_back_once_after_the_market_is_wound_down(stage: Stage) -> None:
    stage.open()
    market, *_ = stage.parts()
    with pytest.raises(Reverted, match="registry: market is not wound down"):
        stage.registry.send(stage.opener, "return_bond", market.address)
    with pytest.raises(Reverted, match="market: caller is not the owner"):
        market.send(stage.ledger.account("non_owner"), "wind_down")
    market.send(stage.opener, "wind_down")
    stage.close_epoch(market)
    assert market.call("is_wound_down")
    stage.registry.send(stage.ledger.account("anybody"), "return_bond", market.address)
    assert stage.token.call("balanceOf", stage.opener) == 2 * BOND
    assert stage.listing()["bond"] == 0
    with pytest.raises(Reverted, match="registry: no bond held"):
        stage.registry.send(stage.opener, "return_bond", market.address)


def test_who_takes_a_market_over_takes_its_bond_over(stage: Stage) -> None:
    stage.open()
    market, _, _, rules = stage.parts()
    heir = stage.ledger.account("heir")
    rules.send(stage.opener, "transfer_ownership", heir)
    rules.send(heir, "accept_ownership")
    with pytest.raises(Reverted, match="market: caller is not the owner"):
        market.send(stage.opener, "wind_down")
    market.send(heir, "wind_down")
    stage.close_epoch(market)
    stage.registry.send(stage.opener, "return_bond", market.address)
    assert stage.token.call("balanceOf", heir) == BOND


def test_a_change_of_the_rules_reaches_the_market_between_two_epochs(stage: Stage) -> None:
    stage.open()
    market, _, _, rules = stage.parts()
    rules.send(stage.opener, "propose", replace(stage.params, validator_share_bps=1).tuple())
    stage.close_epoch(market)
    stage.ledger.now += DAY
    assert rules.call("due")
    assert rules.call("epoch_terms")["validator_share_bps"] == stage.params.validator_share_bps
    stage.close_epoch(market)
    assert rules.call("epoch_terms")["validator_share_bps"] == 1


def test_a_stranger_is_no_market(stage: Stage) -> None:
    assert not stage.registry.call("is_market", stage.token.address)
    with pytest.raises(Reverted, match="registry: unknown market"):
        stage.registry.send(stage.opener, "return_bond", stage.token.address)


@pytest.mark.slow
def test_the_artifacts_that_ship_are_those_of_the_sources() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "build_contracts.py"), "--check"]
    result = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
