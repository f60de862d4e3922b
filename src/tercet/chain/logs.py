"""Events of our contracts as frozen values, read in bounded ranges and resumable from any block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tercet.chain.abi import AbiError, Interface, decode_event
from tercet.chain.bindings import BoundContract
from tercet.chain.rpc import Log, Rpc
from tercet.errors import RpcError

DEFAULT_SPAN = 2_000
"""Blocks to one question; public nodes refuse much more."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a contract told."""

    name: str
    """Such as `EpochClosed`."""
    contract: str
    """Address."""
    fields: Mapping[str, Any]
    """By name: integers, EIP-55 addresses, bytes, text, tuples."""
    block: int
    position: int
    """Index in its block."""
    transaction: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """All events of a range of blocks. Reading resumes at `last + 1`."""

    events: tuple[Event, ...]
    last: int
    """Newest block that was read."""


def decode_log(log: Log, interface: Interface, name: str = "") -> Event | None:
    """A log as an event; None when the interface has no such event (a stranger's contract)."""
    kind = interface.events.get(log.topics[0]) if log.topics else None
    if kind is None:
        return None
    try:
        fields = decode_event(kind, log.topics, log.data)
    except AbiError:  # the same signature with other fields indexed: not ours
        return None
    return Event(name or kind.name, log.address, fields, log.block, log.position, log.transaction)


async def read_events(
    rpc: Rpc,
    contracts: Iterable[BoundContract],
    first: int,
    last: int | None = None,
    *,
    events: Iterable[str] = (),
    span: int = DEFAULT_SPAN,
) -> AsyncIterator[Batch]:
    """All events of some contracts from block `first` on, batch by batch, in chain order.

    Args:
        rpc: the chain.
        contracts: whose events.
        first: block to start from.
        last: block to end with; None ends at the head of now.
        events: only these names; none means all.
        span: blocks to one question; halved where the node finds a range too large.
    """
    interfaces = {contract.address: contract.interface for contract in contracts}
    wanted = frozenset(events)
    topics = [t for i in interfaces.values() for t, kind in i.events.items() if not wanted or kind.name in wanted]
    end = (await rpc.head()).number if last is None else last
    while first <= end and interfaces:
        until = min(first + span - 1, end)
        try:
            logs = await rpc.logs(first, until, list(interfaces), [sorted(set(topics))] if wanted else ())
        except RpcError:
            if until == first:
                raise
            span = (until - first + 1) // 2
            continue
        decoded = (decode_log(log, interfaces[log.address]) for log in logs if log.address in interfaces)
        yield Batch(tuple(event for event in decoded if event is not None), until)
        first = until + 1
