"""Money: integers with a unit. Adding two tokens raises; floats never come in."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow

from tercet.errors import UsageError

__all__ = ["CREDIT", "STAKE", "Amount", "Token"]


_EXACT = Context(prec=78, Emax=77, traps=[Inexact, InvalidOperation, Overflow])
"""Room for every uint256; what would need rounding raises instead."""


@dataclass(frozen=True, slots=True)
class Token:
    """A unit of account."""

    symbol: str
    decimals: int


CREDIT = Token("credit", 6)
"""What jobs are priced in: a stablecoin, or the test dollar of a development chain."""
STAKE = Token("TCT", 18)
"""What is staked, and what epochs pay."""


@dataclass(frozen=True, slots=True)
class Amount:
    """`units` base units of `token`; 1 credit is 1_000_000 units."""

    units: int
    token: Token

    @classmethod
    def parse(cls, text: str, token: Token) -> Amount:
        """Read a decimal such as `2.5`; refuses more decimals than the token has, and anything negative."""
        try:
            scaled = _EXACT.scaleb(Decimal(text), token.decimals)
        except DecimalException:
            raise UsageError(
                f"{text!r} is not an amount of {token.symbol}. Write a decimal number such as 2.5, below 2**256 base units."
            ) from None
        if not scaled.is_finite() or scaled < 0 or scaled != scaled.to_integral_value():
            raise UsageError(
                f"{text!r} is not an amount of {token.symbol}: use 0 or more, at most {token.decimals} decimals."
            )
        return cls(int(scaled), token)

    def _same(self, other: Amount) -> None:
        if self.token != other.token:
            raise TypeError(f"cannot mix {self.token.symbol} and {other.token.symbol}")

    def __add__(self, other: Amount) -> Amount:
        self._same(other)
        return Amount(self.units + other.units, self.token)

    def __sub__(self, other: Amount) -> Amount:
        self._same(other)
        return Amount(self.units - other.units, self.token)

    def __lt__(self, other: Amount) -> bool:
        self._same(other)
        return self.units < other.units

    def __le__(self, other: Amount) -> bool:
        self._same(other)
        return self.units <= other.units

    def __str__(self) -> str:
        whole, part = divmod(abs(self.units), 10**self.token.decimals)
        digits = f"{part:0{self.token.decimals}d}".rstrip("0")
        sign = "-" if self.units < 0 else ""
        return f"{sign}{whole:,}{'.' + digits if digits else ''} {self.token.symbol}"
