"""Every attack, scaled down: fewer epochs, one seed, one scenario. `tercet attack all` is the whole thing.

Beside each group stands the market without the rule that stops it, in which the same attack pays: a test of the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from tercet.attacks.lab import TCT, Lab, Trial
from tercet.attacks.suite import find_attack, find_attacks

pytestmark = pytest.mark.slow

EPOCHS = {"uid-sniping": 3, "wash-trading": 5, "eviction-race": 6, "audit": 4, "replay": 3, "owner": 5, "cartel": 5}
USUAL = 5


def play(name: str, rules: Mapping[str, Any] = {}, scenario: int = 0, **economy: Any) -> Mapping[str, Trial]:
    """One run."""
    usual = Lab()
    lab = Lab(
        rules=replace(usual.rules, **rules),
        economy=replace(usual.economy, **economy),
        seed=3,
        epochs=min(EPOCHS.get(name, USUAL), find_attack(name).epochs or USUAL),
    )
    return find_attack(name).play(find_attack(name).scenarios[scenario], lab)


@cache
def play_usual(name: str) -> Mapping[str, Trial]:
    """Under a new market's rules. Cartels from 40 % on are half of an honest validator's others."""
    return play(name, scenario=2 if name == "cartel" else 0)


@pytest.mark.parametrize("name", find_attacks())
def test_the_attack_earns_less_than_honest_work(name: str) -> None:
    """Or stays within a bound that is proved."""
    for variant, trial in play_usual(name).items():
        most = 1 if trial.bound is None else trial.bound
        assert trial.honest > 0, variant
        assert trial.attacker < most * trial.honest, (variant, trial)


@pytest.mark.parametrize("name", ["copier", "lazy"])
def test_without_the_audited_share_it_pays_not_to_measure(name: str) -> None:
    """By about what measuring costs; so it is the audited share that stops them."""
    for trial in play(name, {"audit_share_bps": 0}).values():
        assert trial.attacker > trial.honest


def test_asked_one_by_one_one_machine_looks_like_three() -> None:
    """So it is the common moment that stops sybils."""
    (trial,) = play("sybil", probing="apart").values()
    assert trial.attacker > 1.5 * trial.honest


def test_with_a_low_floor_rivals_can_be_bought_out() -> None:
    """So it is the floor that stops the eviction race: without it the attacker is soon alone."""
    trials = play("eviction-race", {"floor_miners": 1})
    assert max(trial.attacker / trial.honest for trial in trials.values()) > 1.5


def test_a_cheap_market_is_closed_by_whoever_is_paid_for_it() -> None:
    """Without a reward nobody is paid for closing: the twin's profit is its gas, and no ratio can be formed."""
    assert all(trial.honest < 0 for trial in play("half-closed", reward=1).values())


def test_vouchers_of_another_chain_are_refused_there() -> None:
    """The second scenario of `replay`: addresses and channels are equal, and still nothing is paid."""
    (trial,) = play("replay", scenario=1).values()
    assert trial.attacker < 0 < trial.honest
    assert trial.refusals == {"escrow: invalid signature": 1}


def test_a_forger_is_slashed_and_a_false_accuser_loses_bonds() -> None:
    """More than they could ever have earned; the accuser's loss is bonds, since it also does honest work."""
    trials = play_usual("audit")
    assert trials["forged log"].attacker < -50 * TCT
    assert trials["false accusation"].attacker < trials["false accusation"].honest


def test_a_cartel_that_can_withhold_gains_by_it_and_stays_within_its_bound() -> None:
    """What others forfeit comes into the pot, and the bound counts it in."""
    trials = play_usual("cartel")
    assert trials["withholding"].attacker > trials["favoured"].attacker
    assert (trials["withholding"].bound or 0) > (trials["favoured"].bound or 0)


def test_a_flip_of_the_owners_comes_into_force_and_finds_no_money() -> None:
    """Each differs from the honest run; nobody is left to pay for it."""
    trials = play_usual("owner")
    assert set(trials) == {"one permit", "higher minimum", "new version", "immunity"}
    assert len({trial.attacker for trial in trials.values()}) > 1
    assert all(set(trial.refusals) == {"rules: caller is not the market"} for trial in trials.values())
