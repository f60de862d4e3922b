"""Opening markets and getting the bond back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.chain.contracts.arena import TCT, Arena, Params, pick
from tests.chain.contracts.evm import Reverted

ROOT = Path(__file__).resolve().parents[3]


def open_market(arena: Arena, params: Params, name: str = "another", reward_token: str | None = None) -> Any:
    arena.give_stake_token(arena.opener, 1_000 * TCT, arena.registry)
    token = reward_token or arena.credit.address
    return arena.registry.send(arena.opener, "open_market", token, name, params.tuple())


def test_opening_takes_the_bond_and_lists_the_market() -> None:
    arena = Arena()
    (listing,) = arena.registry.call("get_markets", 0, 10)
    assert listing["market"] == arena.market.address.lower()
    assert listing["opener"] == arena.opener.lower()
    assert (listing["bond"], listing["subnet"], listing["name"]) == (1_000 * TCT, "inference", "first market")
    assert arena.registry.call("is_market", arena.market.address)
    assert arena.token.call("balanceOf", arena.registry.address) == 1_000 * TCT
    assert pick(arena.opening.logs, "MarketOpened")[0]["market"] == arena.market.address.lower()


def test_a_market_knows_its_rules() -> None:
    arena = Arena()
    assert tuple(arena.market.call("params").values()) == arena.params.tuple()
    assert arena.market.call("name") == "first market"
    assert arena.market.call("owner") == arena.opener.lower()
    assert arena.market.call("registry") == arena.registry.address.lower()


@pytest.mark.parametrize(
    "bad",
    [
        {"subnet": ""},
        {"commit_seconds": 0},
        {"commit_seconds": 30 * 86_400 + 1},
        {"reveal_seconds": 0},
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
        {"miner_deposit": 2**112},
        {"min_stake": 10**12 - 1},
        {"min_stake": 10**26 + 1},
    ],
)
def test_rules_out_of_bounds_are_refused_by_name(bad: dict[str, Any]) -> None:
    arena = Arena()
    with pytest.raises(Reverted, match=f"registry: {next(iter(bad))} "):
        open_market(arena, replace(arena.params, **bad))


def test_a_market_needs_a_name_and_a_token() -> None:
    arena = Arena()
    with pytest.raises(Reverted, match="registry: name is empty"):
        open_market(arena, arena.params, name="")
    with pytest.raises(Reverted, match="registry: reward token is not a contract"):
        open_market(arena, arena.params, reward_token=arena.ledger.account())


def test_the_bond_comes_back_once_after_the_market_is_wound_down() -> None:
    arena = Arena()
    with pytest.raises(Reverted, match="registry: market is not wound down"):
        arena.registry.send(arena.opener, "return_bond", arena.market.address)
    with pytest.raises(Reverted, match="market: caller is not the owner"):
        arena.market.send(arena.ledger.account("non_owner"), "wind_down")
    arena.market.send(arena.opener, "wind_down")
    with pytest.raises(Reverted, match="market: winding down"):
        arena.market.send(arena.opener, "wind_down")
    arena.vote({})
    arena.close()
    assert arena.market.call("is_wound_down")
    arena.registry.send(arena.ledger.account("anybody"), "return_bond", arena.market.address)
    assert arena.token.call("balanceOf", arena.opener) == 1_000 * TCT
    with pytest.raises(Reverted, match="registry: no bond held"):
        arena.registry.send(arena.opener, "return_bond", arena.market.address)


def test_a_stranger_is_no_market() -> None:
    arena = Arena()
    with pytest.raises(Reverted, match="registry: unknown market"):
        arena.registry.send(arena.opener, "return_bond", arena.token.address)


@pytest.mark.slow
def test_the_artifacts_that_ship_are_those_of_the_sources() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "build_contracts.py"), "--check"]
    result = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
