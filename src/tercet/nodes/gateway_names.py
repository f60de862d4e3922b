"""Calls by the name that their client gave them, its idempotency key: bought once, and found again by who lost the answer.

An answer is not kept, so a name is no way to get it twice; it is the way to learn what it cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tercet.errors import CallError
from tercet.market import CREDIT, Amount
from tercet.nodes.budgets import ApiKey, Budgets, NamedCall

__all__ = ["Names", "read_name"]

_LONGEST = 200


def read_name(text: str | None) -> str:
    """An idempotency key; empty where there is none.

    Raises:
        CallError: it is too long, or not made of what can be seen.

    """
    if not text:
        return ""
    if len(text) > _LONGEST or not (text.isascii() and text.isprintable()):
        raise CallError(f"An idempotency key has up to {_LONGEST} letters, digits and signs.", param="Idempotency-Key")
    return text


class Names:
    """The names of a gateway's calls."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._open: set[tuple[str, str]] = set()

    @contextmanager
    def taken(self, key: ApiKey, name: str, call_id: str) -> Iterator[None]:
        """Buy under `name` while the block goes on; an empty one promises nothing.

        Raises:
            CallError: 409: it is being bought, was paid, or was given up.

        """
        if not name:
            yield
            return
        if (key.id, name) in self._open:
            raise _used(name, "its call is under way")
        if (before := self._budgets.name_call(key.id, name, call_id)) is not None:
            raise _used(
                name, "it was given up" if before.given_up else f"its call cost {Amount(before.charged, CREDIT)}"
            )
        self._open.add((key.id, name))
        try:
            yield
        finally:
            self._open.discard((key.id, name))

    def show(self, key: ApiKey, name: str) -> tuple[int, dict[str, Any]]:
        """HTTP status and body for who wants to know.

        Raises:
            CallError: 404: this key named no call so.

        """
        found = self._budgets.named_call(key.id, name)
        if found is None:
            raise CallError("This key named no call so.", status=404, code="not_found")
        return self._told(key, found)

    def give_up(self, key: ApiKey, name: str) -> tuple[int, dict[str, Any]]:
        """The same for who wants no answer any more. What is under way ends by itself: ask again while it says `open`."""
        return self._told(key, self._budgets.give_up(key.id, name))

    def _told(self, key: ApiKey, found: NamedCall) -> tuple[int, dict[str, Any]]:
        is_open = (key.id, found.name) in self._open
        content = {
            "object": "call",
            "name": found.name,
            "state": "open" if is_open else "ended",
            "given_up": found.given_up,
            "charged": found.charged,
            "receipt": None if found.receipt is None else found.receipt.to_json(),
        }
        return (202 if is_open else 200), content


def _used(name: str, why: str) -> CallError:
    return CallError(
        f"The idempotency key {name!r} cannot be used again: {why}. Use another one; GET /v1/calls/KEY says what it cost.",
        status=409,
        code="key_used",
        param="Idempotency-Key",
    )
