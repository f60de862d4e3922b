"""Every error that Tercet raises on purpose.

Callers catch the base of what they did; people read the leaf.

    TercetError
    ├── UsageError               wrong words: an argument, a file or a setting      exit 2
    ├── RefusedError             a guard or a budget said no                        exit 3
    │   └── BudgetError          the money reserved for this is spent
    ├── UnreachableError         no answer: network, chain or model server          exit 4
    ├── MarketError              a rule of the market was broken                    exit 1
    │   ├── WeightsError         scores that make no row of weights
    │   └── ReplayError          a vectors file asks for what is out of scope
    ├── ChainError               the ledger refused or could not be read            exit 1
    ├── WireError                a request or an answer that cannot be trusted      exit 1
    └── SubnetError              the work itself failed                             exit 1

Each room adds its leaves below its base.
"""

from __future__ import annotations

from typing import ClassVar


class TercetError(Exception):
    """Base of all errors raised on purpose. The text says what, why and how to mend."""

    exit_code: ClassVar[int] = 1


class UsageError(TercetError):
    """An argument, a file or a setting is wrong."""

    exit_code = 2


class RefusedError(TercetError):
    """A guard or a budget refused."""

    exit_code = 3


class BudgetError(RefusedError):
    """The money set aside for this is spent."""


class UnreachableError(TercetError):
    """Nobody answered in time."""

    exit_code = 4


# market


class MarketError(TercetError):
    """A rule of the market was broken."""


class WeightsError(MarketError):
    """Scores that make no row of weights: a uid without a column, a number out of range."""


class ReplayError(MarketError):
    """A vectors file is malformed or asks for something out of scope."""

    exit_code = 2


# chain


class ChainError(TercetError):
    """The ledger refused, or cannot be read."""


class InvalidKeyError(ChainError):
    """A secret, a public key or an address is malformed."""

    exit_code = 2


class InvalidSignatureError(ChainError):
    """A signature is malformed, malleable, or belongs to no key."""


class KeystoreError(ChainError):
    """A keystore file is missing, malformed or in the way."""


class WrongPasswordError(KeystoreError):
    """The password does not open this keystore file."""


# wire


class WireError(TercetError):
    """A request or an answer that cannot be trusted or served."""


# subnets


class SubnetError(TercetError):
    """The work itself failed: no model, bad task, broken tool."""
