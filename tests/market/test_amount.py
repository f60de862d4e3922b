"""Money: exact, with a unit, and never by accident."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tercet.errors import UsageError
from tercet.market import CREDIT, STAKE, Amount, Token

tokens = st.sampled_from([CREDIT, STAKE, Token("coin", 0)])


@given(st.integers(0, 2**256 - 1), tokens)
@example(2**256 - 1, STAKE)
def test_an_amount_reads_back_what_it_wrote(units: int, token: Token) -> None:
    """Printing and parsing lose no base unit, however large the amount."""
    text = str(Amount(units, token)).removesuffix(f" {token.symbol}").replace(",", "")
    assert Amount.parse(text, token) == Amount(units, token)


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_sums_are_exact(left: int, right: int) -> None:
    """No floats, no rounding."""
    a, b = Amount(left, STAKE), Amount(right, STAKE)
    assert (a + b) - b == a
    assert (a < b) == (left < right)
    assert (a <= b) == (left <= right)


def test_two_tokens_never_mix() -> None:
    """Adding a credit to a stake token is a mistake in the program, not a number."""
    credit, stake = Amount(1, CREDIT), Amount(1, STAKE)
    for mix in (lambda: credit + stake, lambda: credit - stake, lambda: credit < stake, lambda: credit <= stake):
        with pytest.raises(TypeError, match="cannot mix credit and TCT"):
            mix()


@pytest.mark.parametrize(
    ("text", "units"), [("2.5", 2_500_000), ("0", 0), ("1e3", 10**9), (" 7 ", 7_000_000), ("0.000001", 1)]
)
def test_decimals_become_base_units(text: str, units: int) -> None:
    """One credit is a million units."""
    assert Amount.parse(text, CREDIT).units == units


@pytest.mark.parametrize("text", ["", "five", "-1", "nan", "inf", "0.0000001", "1,000", "1e999999999"])
def test_what_is_no_amount_is_refused_with_the_mend(text: str) -> None:
    """More decimals than the token has would be a silent loss."""
    with pytest.raises(UsageError, match="is not an amount"):
        Amount.parse(text, CREDIT)


def test_an_amount_prints_for_people() -> None:
    """Thousands apart, no trailing zeros, the sign in front."""
    assert str(Amount(1_234_567_890_000, CREDIT)) == "1,234,567.89 credit"
    assert str(Amount(-1, CREDIT)) == "-0.000001 credit"
    assert str(Amount(3, Token("coin", 0))) == "3 coin"
