"""The rules: what an owner may change, when it counts, and how the place changes hands."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from tests.chain.contracts.evm import Ledger, Reverted
from tests.chain.contracts.stand_ins import Params, deploy

ZERO = "0x" + "00" * 20
DAY = 86_400


class Stage:
    """Rules with a timelock of a day, attached to a market that takes what is due at each epoch's end."""

    def __init__(self, params: Params | None = None, timelock_seconds: int = DAY) -> None:
        self.ledger = Ledger()
        self.params = params or Params()
        self.creator = self.ledger.account("creator")
        self.owner = self.ledger.account("owner")
        self.rules = self.ledger.deploy("Rules", self.owner, self.params.tuple(), timelock_seconds, sender=self.creator)
        self.market = deploy(self.ledger, "StandInMarket", self.rules.address)
        self.rules.send(self.creator, "attach", self.market.address)

    def propose(self, sender: str | None = None, **changes: Any) -> Any:
        return self.rules.send(sender or self.owner, "propose", replace(self.params, **changes).tuple())

    def next_epoch(self) -> None:
        self.market.send(self.owner, "next_epoch")

    def in_force(self) -> tuple[Any, ...]:
        return tuple(self.rules.call("params").values())


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_rules_start_as_the_market_opened(stage: Stage) -> None:
    assert stage.in_force() == stage.params.tuple()
    assert stage.rules.call("owner") == stage.owner.lower()
    assert stage.rules.call("market") == stage.market.address.lower()
    assert stage.rules.call("timelock_seconds") == DAY
    assert stage.rules.call("proposal")[1] == 0
    assert not stage.rules.call("due")


@pytest.mark.parametrize("view", ["phase_terms", "epoch_terms", "miner_terms", "stake_terms"])
def test_parts_of_the_rules_are_those_in_force(view: str) -> None:
    """What the other contracts go by changes with the rules, and not before."""
    stage = Stage(Params(max_miners=200, max_validators=32))
    changed = replace(
        stage.params, **{name: value + 1 for name, value in asdict(stage.params).items() if name != "subnet"}
    )
    stage.rules.send(stage.owner, "propose", changed.tuple())
    stage.ledger.now += DAY
    for params in (stage.params, changed):
        terms = stage.rules.call(view)
        assert len(terms) > 2
        assert terms == {name: getattr(params, name) for name in terms}
        stage.next_epoch()


def test_a_change_waits_for_the_timelock_and_then_for_the_epochs_end(stage: Stage) -> None:
    receipt = stage.propose(kappa=10**18)
    effective_at = stage.ledger.now + DAY
    assert receipt.logs[0].fields["effective_at"] == effective_at
    proposed, at = stage.rules.call("proposal")
    assert (proposed["kappa"], at) == (10**18, effective_at)

    stage.ledger.now += DAY - 1
    stage.next_epoch()
    assert stage.in_force() == stage.params.tuple()
    stage.ledger.now += 1
    assert stage.rules.call("due")
    assert stage.in_force() == stage.params.tuple(), "due, but the epoch still runs by the old rules"
    stage.next_epoch()
    changed = replace(stage.params, kappa=10**18).tuple()
    assert stage.in_force() == changed
    assert stage.rules.call("proposal")[1] == 0
    stage.next_epoch()
    assert stage.in_force() == changed


def test_only_the_market_puts_a_proposal_in_force_and_only_once(stage: Stage) -> None:
    """The owner cannot change a running epoch, not even with a proposal that is due."""
    stage.propose(kappa=10**18)
    stage.ledger.now += DAY
    with pytest.raises(Reverted, match="rules: caller is not the market"):
        stage.rules.send(stage.owner, "take_effect")
    call = stage.rules.encode("take_effect")
    stage.market.send(stage.owner, "tell", stage.rules.address, call)
    with pytest.raises(Reverted, match="rules: nothing is due"):
        stage.market.send(stage.owner, "tell", stage.rules.address, call)


def test_nothing_is_in_force_before_its_time(stage: Stage) -> None:
    stage.propose(kappa=10**18)
    stage.ledger.now += DAY - 1
    with pytest.raises(Reverted, match="rules: nothing is due"):
        stage.market.send(stage.owner, "tell", stage.rules.address, stage.rules.encode("take_effect"))


def test_another_proposal_starts_the_clock_anew(stage: Stage) -> None:
    """A harmless proposal that has waited long enough opens no door to a harmful one."""
    stage.propose(activity_epochs=3)
    stage.ledger.now += DAY
    stage.propose(slash_bps=10_000)
    assert not stage.rules.call("due")
    stage.ledger.now += DAY
    stage.next_epoch()
    assert stage.in_force() == replace(stage.params, slash_bps=10_000).tuple()


def test_a_proposal_can_be_taken_back(stage: Stage) -> None:
    with pytest.raises(Reverted, match="rules: no proposal"):
        stage.rules.send(stage.owner, "cancel_proposal")
    stage.propose(kappa=10**18)
    stage.rules.send(stage.owner, "cancel_proposal")
    stage.ledger.now += 2 * DAY
    assert not stage.rules.call("due")
    stage.next_epoch()
    assert stage.in_force() == stage.params.tuple()


def test_the_subnet_is_fixed_for_life(stage: Stage) -> None:
    with pytest.raises(Reverted, match="rules: subnet cannot change"):
        stage.propose(subnet="echo")
    stage.propose(mechanism_version=2)


BAD: list[dict[str, Any]] = [
    {"subnet": ""},
    {"commit_seconds": 0},
    {"commit_seconds": 30 * DAY + 1},
    {"reveal_seconds": 0},
    {"reveal_seconds": 30 * DAY + 1},
    {"activity_epochs": 1_001},
    {"kappa": 5 * 10**17},
    {"kappa": 10**18 + 1},
    {"bond_alpha": 10**15 - 1},
    {"bond_alpha": 10**18 + 1},
    {"validator_share_bps": 10_001},
    {"max_miners": 0},
    {"max_miners": 256},
    {"max_validators": 0},
    {"max_validators": 65},
    {"min_stake": 10**12 - 1},
    {"min_stake": 10**26 + 1},
    {"weight_cap_bps": 99},
    {"weight_cap_bps": 10_001},
    {"unbonding_epochs": 2},
    {"unbonding_epochs": 1_001},
    {"immunity_epochs": 1},
    {"immunity_epochs": 1_001},
    {"min_price": 2**112, "max_price": 2**112},
    {"max_price": 10**18 - 1, "min_price": 10**18},
    {"max_price": 2**112},
    {"price_half_life": 59},
    {"price_half_life": 365 * DAY + 1},
    {"refund_bps": 10_001},
    {"floor_miners": 256},
    {"audit_share_bps": 5_001},
    {"slash_bps": 10_001},
]


@pytest.fixture(scope="module")
def shared() -> Stage:
    """For tests whose every transaction is refused."""
    return Stage()


@pytest.mark.parametrize("bad", BAD)
def test_rules_out_of_bounds_are_refused_by_name(shared: Stage, bad: dict[str, Any]) -> None:
    """At the opening as at every change."""
    name = next(iter(bad))
    with pytest.raises(Reverted, match=f"rules: {name} "):
        shared.propose(**bad)
    with pytest.raises(Reverted, match=f"rules: {name} "):
        shared.ledger.deploy("Rules", shared.owner, replace(shared.params, **bad).tuple(), DAY)


def test_the_widest_rules_are_accepted(stage: Stage) -> None:
    """Each bound belongs to what is allowed."""
    low = {"activity_epochs": 0, "validator_share_bps": 0, "refund_bps": 0, "floor_miners": 0, "audit_share_bps": 0}
    stage.propose(
        **low,
        commit_seconds=1,
        reveal_seconds=1,
        kappa=5 * 10**17 + 1,
        bond_alpha=10**15,
        max_miners=1,
        max_validators=1,
        min_stake=10**12,
        weight_cap_bps=100,
        unbonding_epochs=3,
        immunity_epochs=2,
        min_price=0,
        max_price=0,
        price_half_life=60,
        slash_bps=0,
    )
    stage.propose(
        commit_seconds=30 * DAY,
        reveal_seconds=30 * DAY,
        activity_epochs=1_000,
        kappa=10**18,
        bond_alpha=10**18,
        validator_share_bps=10_000,
        max_miners=255,
        max_validators=64,
        min_stake=10**26,
        weight_cap_bps=10_000,
        unbonding_epochs=1_000,
        immunity_epochs=1_000,
        min_price=2**112 - 1,
        max_price=2**112 - 1,
        price_half_life=365 * DAY,
        refund_bps=10_000,
        floor_miners=255,
        audit_share_bps=5_000,
        slash_bps=10_000,
    )


def test_a_timelock_is_at_most_a_year() -> None:
    ledger = Ledger()
    owner = ledger.account("owner")
    ledger.deploy("Rules", owner, Params().tuple(), 365 * DAY)
    with pytest.raises(Reverted, match="rules: timelock_seconds out of bounds"):
        ledger.deploy("Rules", owner, Params().tuple(), 365 * DAY + 1)


def test_rules_are_attached_once_by_their_creator(stage: Stage) -> None:
    with pytest.raises(Reverted, match="rules: already attached"):
        stage.rules.send(stage.creator, "attach", stage.owner)
    free = stage.ledger.deploy("Rules", stage.owner, Params().tuple(), DAY)
    with pytest.raises(Reverted, match="rules: caller is not the creator"):
        free.send(stage.owner, "attach", stage.market.address)


def test_the_owners_place_changes_hands_in_two_steps(stage: Stage) -> None:
    heir, stranger = stage.ledger.account("heir"), stage.ledger.account("stranger")
    with pytest.raises(Reverted, match="rules: caller is not the owner"):
        stage.rules.send(stranger, "transfer_ownership", stranger)
    stage.rules.send(stage.owner, "transfer_ownership", heir)
    assert stage.rules.call("owner") == stage.owner.lower()
    assert stage.rules.call("pending_owner") == heir.lower()
    with pytest.raises(Reverted, match="rules: caller is not the pending owner"):
        stage.rules.send(stranger, "accept_ownership")
    with pytest.raises(Reverted, match="rules: caller is not the owner"):
        stage.propose(sender=heir)
    stage.rules.send(heir, "accept_ownership")
    assert stage.rules.call("owner") == heir.lower()
    assert stage.rules.call("pending_owner") == ZERO
    stage.propose(sender=heir, kappa=10**18)
    for call in (("propose", stage.params.tuple()), ("cancel_proposal",), ("transfer_ownership", stage.owner)):
        with pytest.raises(Reverted, match="rules: caller is not the owner"):
            stage.rules.send(stage.owner, *call)
    with pytest.raises(Reverted, match="rules: caller is not the pending owner"):
        stage.rules.send(heir, "accept_ownership")


def test_an_offer_can_be_taken_back(stage: Stage) -> None:
    heir = stage.ledger.account("heir")
    stage.rules.send(stage.owner, "transfer_ownership", heir)
    stage.rules.send(stage.owner, "transfer_ownership", ZERO)
    with pytest.raises(Reverted, match="rules: caller is not the pending owner"):
        stage.rules.send(heir, "accept_ownership")
