"""`tercet emission`, each command as a process, against the embedded chain."""

from __future__ import annotations

from .conftest import Shell, covers, fields_of
from .test_chain_commands import schema_of

TCT = 10**18


def test_a_burn_is_shown_with_all_documented_fields_and_nothing_else(town: Shell) -> None:
    """A dry run and a missing --yes burn nothing; then the running period shows what was burned."""
    words = ["emission", "burn", "--market", "echo", "--amount", "40"]
    asked, dry = town.spend(*words), town.spend(*words, "--dry-run")
    assert (asked.code, dry.code) == (3, 0)
    assert "destroy 40 TCT for 'echo', which gets at most 20 TCT of it back" in asked.err
    assert town.run("emission", "show", "--json").json["burned"] == "0"
    done = town.spend(*words, "--yes")
    assert done.code == 0, done.err
    shown = town.run("emission", "show", "--market", "echo", "--json").json
    assert shown["burned"] == shown["markets"][0]["burned"] == str(40 * TCT)
    assert covers(schema_of(["emission", "show"]), fields_of(shown)), fields_of(shown)
    assert "40 TCT" in town.run("emission", "show").out


def test_nothing_for_sale_and_nothing_due_are_said(town: Shell) -> None:
    """Exit code 3 for a purchase that cannot be; a collect that finds nothing is no failure."""
    bought = town.spend("emission", "buy", "--market", "echo", "--max", "5", "--yes")
    assert bought.code == 3
    assert "No fees of 'echo' are for sale" in bought.err
    collected = town.spend("emission", "collect", "--market", "echo", "--yes")
    assert collected.code == 0
    assert "Nothing is due" in collected.err


def test_a_burn_of_nothing_is_wrong_usage(town: Shell) -> None:
    """And the message says what to write."""
    done = town.spend("emission", "burn", "--market", "echo", "--amount", "0", "--yes")
    assert done.code == 2
    assert "--amount" in done.err
