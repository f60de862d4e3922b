"""What owners decide, by commands: whose key speaks for a slot, who owns a market, when it ends."""

from __future__ import annotations

import asyncio
import json

import pytest

from tercet.chain import Rpc

from .conftest import Shell, covers, fields_of
from .test_chain_commands import schema_of
from .test_stake_commands import balance, start_and_stop

TCT = 10**18
MARKET = ("--market", "echo")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def staffed(town: Shell) -> Shell:
    """A market with a miner and a validator whose owners speak for themselves, and wallets that have no part in it."""
    for name in ("miner", "judge", "shopper", "hot", "heir"):
        town.wallet(name)
        assert town.run("wallet", "fund", name, "--stake", "200").code == 0
    start_and_stop(town, "mine", "echo", *MARKET, wallet="miner")
    start_and_stop(town, "validate", "echo", *MARKET, "--payer", "shopper", "--stake", "100", wallet="judge")
    return town


def address_of(shell: Shell, wallet: str) -> str:
    """Of a wallet."""
    wallets = shell.run("wallet", "list", "--json").json["wallets"]
    return str(next(row["address"] for row in wallets if row["name"] == wallet))


def slots(shell: Shell, *who: str) -> dict[tuple[str, int], dict[str, object]]:
    """By role and number, the JSON's fields checked."""
    shown = shell.run("operator", "show", *who, *MARKET, "--json")
    assert shown.code == 0, shown.err
    assert covers(schema_of(["operator", "show"]), fields_of(shown.json))
    return {(row["role"], row["number"]): row for row in shown.json["slots"]}


def market_row(shell: Shell) -> dict[str, object]:
    """What `market show` says."""
    return shell.run("market", "show", *MARKET, "--json").json


def pass_epoch(shell: Shell) -> None:
    """Let the running epoch end, and close it."""

    async def wind() -> None:
        url = json.loads((shell.folder / "home" / "chain" / "endpoint.json").read_text())["url"]
        async with Rpc(url) as rpc:
            await rpc.call("evm_increaseTime", hex(901))
            await rpc.call("evm_mine")

    asyncio.run(wind())
    assert shell.spend("epoch", "close", *MARKET).code == 0


def test_a_key_is_replaced_and_the_new_one_serves(staffed: Shell) -> None:
    """The owner's wallet names another key; who holds that serves the slot at its own address, without buying one."""
    hot = address_of(staffed, "hot")
    before = slots(staffed)
    words = ("operator", "set", "hot", *MARKET)
    dry = staffed.spend(*words, "--dry-run", wallet="miner")
    assert (dry.code, f"let {hot} speak for miner 1" in dry.err) == (0, True), dry.err
    assert staffed.spend(*words, wallet="miner").code == 3
    assert slots(staffed) == before
    done = staffed.spend(*words, "--yes", wallet="miner")
    assert done.code == 0, done.err
    assert slots(staffed)["miner", 1]["operator"] == hot
    assert slots(staffed)["miner", 1]["owner"] == address_of(staffed, "miner")

    money = balance(staffed, "hot")
    start_and_stop(staffed, "mine", "echo", *MARKET, "--endpoint", "http://127.0.0.1:1", wallet="hot")
    (row,) = staffed.run("market", "show", *MARKET, "--json").json["miners"]
    assert (row["endpoint"], balance(staffed, "hot")) == ("http://127.0.0.1:1", money)
    again = staffed.spend(*words, "--yes", wallet="miner")
    assert (again.code, "already" in again.err) == (0, True)


def test_a_validators_key_is_revoked_and_set_again(staffed: Shell) -> None:
    """A revoked seat keeps its stake and speaks through nobody; a key that another seat uses is no choice."""
    done = staffed.spend("operator", "revoke", *MARKET, "--yes", wallet="judge")
    assert (done.code, "an epoch without a reveal earns nothing" in done.err) == (0, True), done.err
    assert slots(staffed)["validator", 0]["operator"] == ""
    assert "revoked" in staffed.run("operator", "show", "judge", *MARKET).out
    assert market_row(staffed)["books"]["bonded"] == str(100 * TCT)  # type: ignore[index]  # parsed JSON
    back = staffed.spend("operator", "set", "judge", "--validator", "0", *MARKET, "--yes", wallet="judge")
    assert back.code == 0, back.err
    assert slots(staffed, "judge").keys() == {("validator", 0)}


def test_a_key_is_changed_by_its_owner_only(staffed: Shell) -> None:
    """The operator itself, a stranger, another's number, no address: wrong usage, and which slots there are."""
    for wallet, words in {
        "hot": ("set", "heir"),
        "heir": ("revoke",),
        "miner": ("revoke", "--validator", "0"),
        "judge": ("set", "0x" + "0" * 40),
        "owner": ("set", "nobody"),
    }.items():
        done = staffed.spend("operator", *words, *MARKET, "--yes", wallet=wallet)
        assert done.code == 2, (words, done.err)
    assert "--validator 0" in staffed.spend("operator", "revoke", "--miner", "9", *MARKET, "--yes", wallet="judge").err


def test_a_market_changes_hands_in_two_steps(staffed: Shell) -> None:
    """Offered, taken back, offered again, accepted by whom it was offered to and by nobody else."""
    heir, owner = address_of(staffed, "heir"), address_of(staffed, "owner")
    offer = ("market", "hand-over", "heir", *MARKET)
    dry = staffed.spend(*offer, "--dry-run")
    assert (dry.code, "1,000 TCT" in dry.err, "nothing changes before it accepts" in dry.err) == (0, True, True), (
        dry.err
    )
    assert staffed.spend(*offer).code == 3
    assert staffed.spend(*offer, "--yes", wallet="heir").code == 2
    assert staffed.spend("market", "hand-over", *MARKET, "--yes").code == 2
    assert staffed.spend("market", "accept", *MARKET, "--yes", wallet="heir").code == 2
    assert staffed.spend(*offer, "--yes").code == 0
    assert market_row(staffed)["pending_owner"] == heir
    assert staffed.spend("market", "hand-over", "--cancel", *MARKET, "--yes").code == 0
    assert market_row(staffed)["pending_owner"] == ""
    assert staffed.spend("market", "accept", *MARKET, "--yes", wallet="heir").code == 2
    assert staffed.spend(*offer, "--yes").code == 0
    assert market_row(staffed)["owner"] == owner
    assert staffed.spend("market", "accept", *MARKET, "--dry-run", wallet="heir").code == 0
    taken = staffed.spend("market", "accept", *MARKET, "--yes", wallet="heir")
    assert taken.code == 0, taken.err
    assert (market_row(staffed)["owner"], market_row(staffed)["pending_owner"]) == (heir, "")


def test_a_market_is_wound_down_and_its_bond_comes_home(staffed: Shell) -> None:
    """Only by its owner of now, after it was shown; the last epoch is closed, and anyone sends the bond to that owner."""
    words = ("market", "wind-down", *MARKET)
    assert staffed.spend(*words, "--yes").code == 2
    dry = staffed.spend(*words, "--dry-run", wallet="heir")
    assert dry.code == 0
    assert "for good" in dry.err
    assert "1 miners and 1 validators" in dry.err
    assert "1,000 TCT of bond" in dry.err
    assert staffed.spend(*words, wallet="heir").code == 3
    assert market_row(staffed)["last_epoch"] is None
    done = staffed.spend(*words, "--yes", wallet="heir")
    assert done.code == 0, done.err
    assert market_row(staffed)["last_epoch"] == 0
    assert "already" in staffed.spend(*words, "--yes", wallet="heir").err
    pass_epoch(staffed)
    before = balance(staffed, "heir")
    assert staffed.spend(*words, "--dry-run").code == 0
    assert staffed.spend(*words, "--yes").code == 0
    assert balance(staffed, "heir") == before + 1000 * TCT
    again = staffed.spend(*words, "--yes")
    assert (again.code, "its bond is home" in again.err) == (0, True)
