"""`tercet attack`: what it prints, what it exits with, what it refuses."""

from __future__ import annotations

import pytest

from tercet.attacks import suite
from tercet.attacks.lab import Lab, Trial
from tercet.cli.attack import judge_runs

from .conftest import Shell, covers, fields_of
from .test_chain_commands import schema_of

SMALL = ("--seeds", "2", "--epochs", "2", "--workers", "1")


def test_without_a_name_the_attacks_are_listed(shell: Shell) -> None:
    """Each by name, with what it does."""
    done = shell.run("attack")
    assert done.code == 0
    assert "half-closed" in done.out
    listed = shell.run("attack", "--json")
    assert covers(schema_of(["attack"]), fields_of(listed.json))
    assert {"copier", "cartel", "voucher"} <= {row["name"] for row in listed.json["attacks"]}


def test_an_attack_that_loses_exits_with_0(shell: Shell) -> None:
    """A row for each variant, and what stopped it."""
    done = shell.run("attack", "voucher", *SMALL)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].split()[:4] == ["ATTACK", "VARIANT", "ATTACKER", "HONEST"]
    assert "refused: escrow: invalid signature" in done.out
    told = shell.run("attack", "voucher", *SMALL, "--json")
    assert covers(schema_of(["attack"]), fields_of(told.json)), fields_of(told.json) - schema_of(["attack"])
    assert told.json["ok"] is True
    assert {finding["verdict"] for finding in told.json["findings"]} == {"loses"}


@pytest.mark.slow
def test_rules_under_which_an_attack_pays_exit_with_1(shell: Shell) -> None:
    """The owner of a subnet learns it from the exit code, the column and the number."""
    (shell.folder / "rules.toml").write_text('[economy]\nprobing = "apart"\n')
    done = shell.run("attack", "sybil", "--params", "rules.toml", *SMALL, "--epochs", "5", "--json", "--seed", "3")
    assert done.code == 1
    assert (done.json["ok"], done.json["first_seed"]) == (False, 3)
    assert done.json["findings"][0]["verdict"] == "wins"


def test_one_seed_proves_nothing(shell: Shell) -> None:
    """There is no interval, so the verdict is unclear and the exit code 1."""
    done = shell.run("attack", "half-closed", "--seeds", "1", "--epochs", "2", "--json")
    assert done.code == 1
    assert [(f["low"], f["verdict"]) for f in done.json["findings"]] == [(None, "unclear")] * 2


def test_an_attack_without_a_twin_takes_nothing_from_the_others() -> None:
    """Rules under which miners earn nothing still say what validators could do; only where nothing is left it is an error."""
    dust, voucher = (suite.Task(name, "", Lab()) for name in ("dust", "voucher"))
    good, broken = {"x": Trial(1, 2)}, {"x": Trial(1, 0)}
    findings, unmeasured = judge_runs(suite, [(dust, broken), (voucher, good)])
    assert ([finding.attack for finding in findings], list(unmeasured)) == (["voucher"], ["dust"])
    assert "economy.reward" in str(unmeasured["dust"])
    with pytest.raises(suite.BrokenTwinError):
        judge_runs(suite, [(dust, broken)])


def test_nonsense_is_wrong_usage(shell: Shell) -> None:
    """An unknown attack, file, rule or cost; rules that the contracts refuse are told in the contracts' words."""
    (shell.folder / "unknown.toml").write_text("kapa = 1\n")
    (shell.folder / "poor.toml").write_text("[economy]\nrewards = 1\n")
    (shell.folder / "wrong.toml").write_text("kappa = 1\n")
    (shell.folder / "small.toml").write_text("max_miners = 4\n")
    for file in ("none.toml", "unknown.toml", "poor.toml", "small.toml"):
        assert shell.run("attack", "dust", "--params", file).code == 2, file
    assert shell.run("attack", "copyer").code == 2
    done = shell.run("attack", "half-closed", "--params", "wrong.toml", *SMALL)
    assert done.code == 1
    assert "rules: kappa out of bounds" in done.err
