"""Making, listing and ending the API keys of a gateway. Works while the gateway runs: both use the same file."""

from __future__ import annotations

import hashlib
import secrets
import time
from pathlib import Path

from tercet.errors import UsageError
from tercet.market import CREDIT, Amount
from tercet.nodes.budgets import ApiKey, Budgets

__all__ = ["create_key", "gateway_db", "hash_secret", "list_keys", "revoke_key", "set_budget"]

_PREFIX = "tck_"
_MOST_UNITS = 2**62
_MOST_SECONDS = 100 * 366 * 86_400


def gateway_db(state_dir: Path) -> Path:
    """Where a gateway with this state directory keeps its keys and receipts."""
    return state_dir / "gateway.db"


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret. It has 256 random bits, so one round of SHA-256 cannot be searched."""
    return hashlib.sha256(secret.encode()).digest()


def create_key(
    state_dir: Path, name: str, budget: int, *, weight: int = 1, valid_seconds: float | None = None
) -> tuple[str, ApiKey]:
    """Make an API key.

    Args:
        state_dir: the gateway's state directory.
        name: for people; any text.
        budget: credit units that it may spend in all, 0 or more.
        weight: its share of the queue when the gateway is full, 1 to 1000.
        valid_seconds: after that it expires; None means never.

    Returns:
        The secret, which is shown this once and stored nowhere, and what is known of the key.

    Raises:
        UsageError: a number is out of range.

    """
    _validate_budget(budget)
    if not 1 <= weight <= 1000:
        raise UsageError(f"A weight of {weight} is out of range. Use 1 (one share) to 1000.")
    if valid_seconds is not None and not 0 < valid_seconds <= _MOST_SECONDS:
        raise UsageError(
            f"A key cannot be valid for {valid_seconds:g} seconds. Use more than 0, at most a hundred years, or none for ever."
        )
    now = time.time_ns() // 1_000_000
    expires = None if valid_seconds is None else now + int(valid_seconds * 1000)
    secret = _PREFIX + secrets.token_urlsafe(32)
    key = ApiKey("key_" + secrets.token_hex(6), name, weight, budget, 0, 0, now, expires, None)
    with Budgets(gateway_db(state_dir)) as books:
        books.add_key(key, hash_secret(secret))
    return secret, key


def list_keys(state_dir: Path) -> list[ApiKey]:
    """All keys, the oldest first."""
    with Budgets(gateway_db(state_dir)) as books:
        return books.keys()


def revoke_key(state_dir: Path, key_id: str) -> ApiKey:
    """End a key now. Raises `UsageError` when there is none with this id."""
    with Budgets(gateway_db(state_dir)) as books:
        return books.revoke(key_id)


def set_budget(state_dir: Path, key_id: str, budget: int) -> ApiKey:
    """Give a key a new total budget. Raises `UsageError` when that is below what it has spent and reserved, or out of range."""
    _validate_budget(budget)
    with Budgets(gateway_db(state_dir)) as books:
        return books.set_budget(key_id, budget)


def _validate_budget(units: int) -> None:
    if not 0 <= units <= _MOST_UNITS:
        raise UsageError(f"A budget of {Amount(units, CREDIT)} makes no sense. Use 0 to {Amount(_MOST_UNITS, CREDIT)}.")
