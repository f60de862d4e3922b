"""What the emission's owner decides, by commands: who splits it between the markets, and who owns it next."""

from __future__ import annotations

import pytest

from .conftest import Outcome, Shell, covers, fields_of
from .test_chain_commands import schema_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ruled(town: Shell) -> Shell:
    """A chain whose emission's owner, the deployer, has a wallet here; and a wallet of somebody else."""
    secret = (town.folder / "home" / "chain" / "faucet.key").read_text()
    key = str(town.password_file)
    assert town.run("wallet", "import", "deployer", "-", "--light", "--password-file", key, stdin=secret).code == 0
    town.wallet("heir")
    assert town.run("wallet", "fund", "heir", "--stake", "1").code == 0
    return town


def owner_row(shell: Shell) -> dict[str, object]:
    """What `emission owner` says, its fields checked."""
    found = shell.run("emission", "owner", "--json")
    assert found.code == 0, found.err
    assert covers(schema_of(["emission", "owner"]), fields_of(found.json)), fields_of(found.json)
    return found.json


def act(shell: Shell, *words: str, wallet: str = "deployer") -> Outcome:
    """A command of `tercet emission`, said yes to."""
    return shell.spend("emission", *words, "--yes", wallet=wallet)


def test_an_allocator_is_named_with_a_notice_and_taken_back(ruled: Shell) -> None:
    """A dry run and a missing --yes name nobody; what counts now stays until the notice is over."""
    now = str(owner_row(ruled)["allocator"])
    words = ["set-allocator", now]
    asked, dry = (ruled.spend("emission", *words, *more, wallet="deployer") for more in ([], ["--dry-run"]))
    assert (asked.code, dry.code) == (3, 0)
    assert "at most 50 % of what is burned for it" in asked.err
    assert owner_row(ruled)["proposed"] is None
    done = act(ruled, *words)
    assert done.code == 0, done.err
    row = owner_row(ruled)
    assert row["allocator"] == now
    assert isinstance(row["proposed"], dict)
    assert row["proposed"]["allocator"] == now
    assert row["proposed"]["since"] == 9
    assert f"from period {row['proposed']['since']} on" in ruled.run("emission", "owner").out
    assert act(ruled, "set-allocator", "--cancel").code == 0
    assert owner_row(ruled)["proposed"] is None
    again = act(ruled, "set-allocator", "--cancel")
    assert (again.code, "No allocator is named" in again.err) == (0, True)


def test_what_cannot_split_is_refused_before_anybody_agrees(ruled: Shell) -> None:
    """An address without a contract, no address at all, and an owner's command of somebody else."""
    nobody = act(ruled, "set-allocator", "0x" + "11" * 20)
    assert nobody.code == 2
    assert "no contract" in nobody.err
    assert act(ruled, "set-allocator").code == 2
    assert act(ruled, "transfer").code == 2
    for words in (["set-allocator", "--cancel"], ["transfer", "heir"]):
        stranger = act(ruled, *words, wallet="heir")
        assert stranger.code == 2
        assert "does not own the emission" in stranger.err


def test_ownership_changes_hands_in_two_steps(ruled: Shell) -> None:
    """An offer changes nothing, can be taken back, and only whom it was made to can accept it."""
    first = owner_row(ruled)
    assert first["offered_to"] is None
    early = act(ruled, "accept", wallet="heir")
    assert early.code == 2
    assert "tercet emission transfer" in early.err
    assert ruled.spend("emission", "transfer", "heir", "--dry-run", wallet="deployer").code == 0
    assert owner_row(ruled) == first
    assert act(ruled, "transfer", "heir").code == 0
    offered = owner_row(ruled)
    assert offered["owner"] == first["owner"]
    assert act(ruled, "transfer", "--cancel").code == 0
    assert owner_row(ruled) == first
    assert act(ruled, "transfer", "heir").code == 0
    accepted = act(ruled, "accept", wallet="heir")
    assert accepted.code == 0, accepted.err
    assert owner_row(ruled)["owner"] == offered["offered_to"]
    assert act(ruled, "set-allocator", "--cancel").code == 2
