"""The second step of `tercet fix`: put the price aside for a miner, and ask it for the fix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tercet.chain.keys import Key, keccak
from tercet.chain.market import MarketContract
from tercet.cli.fix.errand import CHANNEL_DEPOSIT, Order, Saved, money, when
from tercet.cli.output import confirm, say
from tercet.client import Client
from tercet.errors import NoMinerError, TercetError, UnreachableError, UsageError
from tercet.market import Job, JobState
from tercet.nodes.shop import Quote, Shop
from tercet.subnets.coding import Coding, Packed, Report, repository_work

__all__ = ["ask", "commission", "find_unfinished"]

_MINERS = 3
"""How many are asked in turn when each gives the price back."""


async def commission(
    client: Client,
    market: MarketContract,
    key: Key,
    shop: Shop,
    place: Path,
    order: Order,
    packed: Packed,
    before: Report,
) -> Saved:
    """A miner's answer under a held job; the next miner when one gives the price back."""
    task = packed.task(order.test, before.words())
    asked: list[int] = []
    while len(asked) < _MINERS:
        quotes = shop.quotes({**task, "job": "0x" + "00" * 32}, asked)
        if not quotes:
            break
        saved = await _fund(client, market, key, place, order, task, quotes[0], again=bool(asked))
        asked.append(quotes[0].miner.uid)
        answered = await ask(client, shop, saved, order)
        if answered is not None:
            return answered
        say(f"Miner {quotes[0].miner.uid} found no fix and gave the price back.")
    if not asked:
        raise NoMinerError("No miner of this market has told its price. Look at it with: tercet market show")
    raise NoMinerError(
        f"{len(asked)} miner{'' if len(asked) == 1 else 's'} looked and found no fix. Your money is back."
    )


async def _fund(
    client: Client,
    market: MarketContract,
    key: Key,
    place: Path,
    order: Order,
    task: Mapping[str, Any],
    quote: Quote,
    *,
    again: bool,
) -> Saved:
    """Put the price aside for one miner."""
    ledger, miner = client.ledger, quote.miner
    what = (
        f"send {len(task['files']) + len(task['binary'])} files to miner {miner.uid} ({miner.operator}), and put {order.price} aside: "
        f"it is paid when {order.test!r} succeeds with the fix, or when you say nothing for {_span(order.review)} after a delivery; "
        f"without one it comes back after {_span(order.deliver)}"
    )
    if not again:
        confirm(what, yes=order.yes, dry_run=False)
    now = (await ledger.rpc.head()).timestamp
    terms = Job(
        key.address,
        miner.operator,
        market.address,
        ledger.credit.address,
        order.price.units,
        keccak(repository_work(task)),
        now + order.deliver,
        order.review,
        order.dispute,
        os.urandom(32),
    )
    identity = await ledger.jobs.id_of(terms)
    saved = Saved(place, {**task, "job": f"0x{identity.hex()}"}, terms, miner.uid)
    saved.save()
    sender = client.sender(key)
    await ledger.credit.ensure_allowance(sender, ledger.jobs.address, terms.amount)
    await ledger.jobs.fund(sender, terms)
    say(f"Job 0x{identity.hex()}: {order.price} are put aside for miner {miner.uid}. It works now ...")
    return saved


async def find_unfinished(client: Client, key: Key, saved: Saved | None, order: Order) -> Saved | None:
    """The errand that an earlier command left, if there is something to go on with."""
    if saved is None:
        return None
    record = await client.ledger.jobs.record(saved.id)
    if record.state in {JobState.UNKNOWN, JobState.ENDED} and not saved.diff:
        saved.place.unlink()
        return None
    now = (await client.ledger.rpc.head()).timestamp
    if record.state is JobState.FUNDED and now > record.deadline and not order.dry_run:
        say(f"Nothing was delivered in time for the job {saved.task['job']}: taking {money(saved)} back.")
        await client.ledger.jobs.refund(client.sender(key), saved.terms)
        saved.place.unlink()
        return None
    if record.state is JobState.ENDED:
        return saved  # paid for, and perhaps not written yet
    if not order.resume and not _is_as_sent(saved, order):
        raise UsageError(
            f"The job {saved.task['job']} is under way for this repository, which has changed since. Go on with what was sent: "
            f"--resume; or look at it: tercet job show {saved.task['job'][:12]}"
        )
    say(f"Going on with the job {saved.task['job']} ({record.state.name.lower()}).")
    return saved


def _is_as_sent(saved: Saved, order: Order) -> bool:
    sent = saved.task["files"]
    for path, text in sent.items():
        try:
            if (order.folder / path).read_bytes().decode(errors="replace") != text:
                return False
        except OSError:
            return False
    return True


async def ask(client: Client, shop: Shop, saved: Saved, order: Order) -> Saved | None:
    """The job's miner's fix, written down; None when the miner gave the price back.

    Raises:
        UnreachableError: it does not answer; the job goes on.

    """
    others = [quote.miner.uid for quote in shop.quotes(saved.task) if quote.miner.operator != saved.terms.worker]
    try:
        purchase = await shop.buy(
            saved.task,
            budget=CHANNEL_DEPOSIT,
            deadline_seconds=order.seconds,
            avoid=others,
            patience_seconds=order.seconds,
        )
    except TercetError as error:
        if await _is_over(client, saved):
            return None
        raise UnreachableError(
            f"Miner {saved.uid} gave no answer: {error} {money(saved)} stay put aside in the job {saved.task['job']}. Run the same "
            f"command again to go on; after {when(saved.terms.deliver_by)} it takes the money back."
        ) from error
    if await _is_over(client, saved):
        return None
    diff = Coding().delivery(purchase.pieces)
    record = await client.ledger.jobs.record(saved.id)
    if diff is None or record.result_hash != keccak(diff):
        shop.reject(purchase)
        raise UnreachableError(
            f"Miner {saved.uid} sent something else than it delivered for the job {saved.task['job']}. Dispute it with: "
            f"tercet job dispute {saved.task['job'][:12]}"
        )
    saved.diff = diff.decode()
    saved.save()
    return saved


async def _is_over(client: Client, saved: Saved) -> bool:
    """Whether the miner gave the price back; forgets the errand then."""
    if (await client.ledger.jobs.record(saved.id)).state is not JobState.ENDED:
        return False
    saved.place.unlink(missing_ok=True)
    return True


def _span(seconds: int) -> str:
    """A time as people say it: days, hours and minutes where they are whole."""
    for length, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds and seconds % length == 0:
            return f"{seconds // length} {word}{'' if seconds == length else 's'}"
    return f"{seconds} seconds"
