"""A subnet owner's own rules, out of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tercet.attacks.lab import TCT, Lab
from tercet.attacks.params import ParamsError, build_lab, read_lab


def test_a_toml_file_changes_what_it_names(tmp_path: Path) -> None:
    """Integers, amounts, text; the rest stays."""
    path = tmp_path / "rules.toml"
    path.write_text('[rules]\nkappa = 600000000000000000\nmin_price = "2.5 TCT"\n[economy]\nprobing = "apart"\n')
    lab, usual = read_lab(path), Lab()
    assert (lab.rules.kappa, lab.rules.min_price) == (6 * 10**17, 5 * TCT // 2)
    assert lab.economy.probing == "apart"
    assert (lab.rules.bond_alpha, lab.economy.reward) == (usual.rules.bond_alpha, usual.economy.reward)


def test_what_market_show_prints_is_such_a_file(tmp_path: Path) -> None:
    """All numbers are text there, and there is more than rules in it."""
    path = tmp_path / "market.json"
    path.write_text(json.dumps({"name": "x", "rules": {"subnet": "echo", "max_miners": "12"}, "miners": []}))
    assert (read_lab(path).rules.subnet, read_lab(path).rules.max_miners) == ("echo", 12)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "neither"),
        ({"rulez": {}}, "neither"),
        ({"rules": []}, "no table"),
        ({"rules": {"kapa": 1}}, "no 'kapa'. Known: subnet"),
        ({"rules": {"kappa": 0.6}}, "an integer in base units"),
        ({"rules": {"kappa": True}}, "an integer in base units"),
        ({"economy": {"reward": "many TCT"}}, "amount"),
        ({"economy": {"reward": "5 EUR"}}, "an integer in base units"),
        ({"economy": {"reward": -1}}, "below zero"),
        ({"economy": {"probing": "sometimes"}}, "together or apart"),
    ],
)
def test_nonsense_is_wrong_usage(document: object, words: str) -> None:
    """The message names the place and the way out."""
    with pytest.raises(ParamsError, match=words):
        build_lab(document, "rules.json")


def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    """Missing, or neither TOML nor JSON."""
    (tmp_path / "bad.toml").write_text("[rules")
    (tmp_path / "bad.json").write_text("{")
    for name in ("missing.toml", "bad.toml", "bad.json"):
        with pytest.raises(ParamsError, match=name):
            read_lab(tmp_path / name)
