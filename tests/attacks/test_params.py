"""What things cost, as a subnet owner writes it."""

from __future__ import annotations

import pytest

from tercet.attacks.lab import TCT, Economy
from tercet.attacks.params import ParamsError, build_economy


def test_an_economy_changes_what_it_names() -> None:
    """Integers, amounts, words; the rest stays."""
    found = build_economy({"reward": "2.5 TCT", "gas_price": 7, "probing": "apart"})
    assert (found.reward, found.gas_price, found.probing) == (5 * TCT // 2, 7, "apart")
    assert found.measuring == Economy().measuring
    assert build_economy({}) == Economy()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no table"),
        ({"rewards": 1}, "no 'rewards'. Known: reward"),
        ({"reward": 0.6}, "an integer in base units"),
        ({"reward": True}, "an integer in base units"),
        ({"reward": -1}, "0 or more"),
        ({"reward": "many TCT"}, "'many' is not an amount"),
        ({"reward": "5 EUR"}, "an integer in base units"),
        ({"probing": "sometimes"}, "together or apart"),
    ],
)
def test_nonsense_is_wrong_usage(given: object, words: str) -> None:
    """The message names the file, the place and the way out."""
    with pytest.raises(ParamsError, match=words) as caught:
        build_economy(given, "rules.toml")
    assert str(caught.value).startswith("rules.toml: ")
