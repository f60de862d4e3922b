"""The validator as a role that stays up: checks that it may, puts its parts together, leaves when told to.

What it does all day is `epochs.Validator`; how it judges and divides is `examiner` and `scores`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tercet.chain.keys import Key
from tercet.chain.ledger import Ledger
from tercet.chain.market import MarketContract
from tercet.chain.sender import Sender
from tercet.errors import ChainError, RulesMismatchError, UnreachableError, UsageError
from tercet.nodes.archive import Archive
from tercet.nodes.auditor import Auditor
from tercet.nodes.book import Book
from tercet.nodes.buyer import Buyer
from tercet.nodes.directory import Directory
from tercet.nodes.epochs import Policy, Validator
from tercet.nodes.examiner import Examiner
from tercet.nodes.role import announce, told_to_stop
from tercet.nodes.seat import ChainSeat
from tercet.nodes.server import WireServer
from tercet.subnets import Contest, Mechanism, least_price

__all__ = ["AuditDoor", "ValidatorConfig", "run_validator"]

log = logging.getLogger(__name__)

RECEIPT_SECONDS = 20.0
"""How long a transaction is waited for; then the next look at the chain tells whether it was mined."""


@dataclass(frozen=True, slots=True)
class AuditDoor:
    """Where a validator hands out its evaluations to the others, in a market that pays for audited work."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes any free one."""
    endpoint: str = ""
    """What the others are told, such as https://audits.example.org; empty tells http://host:port.

    Miners read it too: ask them from another address than this, or they know their examiner.
    """


@dataclass(frozen=True, slots=True)
class ValidatorConfig:
    """What a validator is told. Everything else it reads from the chain."""

    key: Key = field(repr=False)
    """The operator's hot key of a registered validator: commits, reveals and closes. Must hold gas."""
    payer: Key = field(repr=False)
    """Buys the challenges: holds credit and gas. Nothing on the wire links it to `key`; fund it from elsewhere."""
    ledger: Ledger
    market: str
    """Address of the market."""
    mechanism: Mechanism
    state: Path
    """Verdicts, salts and vouchers; one validator at a time."""
    policy: Policy = Policy()  # noqa: RUF009 - frozen
    deposit: int = 1_000_000
    """Credit units put into the channel with each miner, and again when it is used up."""
    audit: AuditDoor = AuditDoor()


async def run_validator(config: ValidatorConfig) -> int:
    """Validate until SIGTERM (returns 0), SIGINT (returns 130) or the end of the market (returns 0).

    Prints one `ready` line when it follows the market.

    Raises:
        NotRegisteredError: the key votes for no validator of the market.
        RulesMismatchError: the market wants another mechanism, or another version of it.
        StateLockedError: another validator works on the same state.
        StateMismatchError: the state belongs to another market, validator or chain.
        ChainError, UnreachableError: the ledger cannot be read at the start.
        SubnetError: the mechanism cannot judge here.

    """
    _check_keys(config)
    with told_to_stop() as told:
        rounds = asyncio.create_task(_validate(config))
        try:
            both: set[asyncio.Future[Any]] = {told, rounds}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            rounds.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await rounds
        return told.result() if told.done() else 0


async def _validate(config: ValidatorConfig) -> None:
    await config.ledger.check()
    market = config.ledger.market(config.market)
    await check_rules(market, config.mechanism)
    sender = Sender(config.ledger.rpc, config.key, deadline=RECEIPT_SECONDS)
    seat = ChainSeat(config.ledger, market, sender, config.mechanism.version)
    origin = await seat.origin()
    async with contextlib.AsyncExitStack() as stack:
        book = Book(config.state, origin)
        stack.callback(book.close)
        await config.mechanism.open("validator")
        stack.push_async_callback(config.mechanism.close)
        buyer = Buyer(config.payer, config.ledger, config.market, config.state / "buyer.sqlite", deposit=config.deposit)
        stack.push_async_callback(buyer.close)
        directory = await stack.enter_async_context(_directory(config))
        audited = (await market.params()).audit_share_bps > 0
        examiner = _examiner(config, buyer, keep=audited)
        mechanism: object = config.mechanism
        contest = mechanism if isinstance(mechanism, Contest) else None
        identify = seat.identity if audited else None
        validator = Validator(config.policy, seat, directory, examiner, book, identify, contest)
        audits = await stack.enter_async_context(_audits(config, market, sender, book)) if audited else None
        announce("validator", address=config.key.address, verdicts=str(config.state / "verdicts.jsonl"))
        await validator.run()
        if audits is not None:
            await audits


@contextlib.asynccontextmanager
async def _audits(
    config: ValidatorConfig, market: MarketContract, sender: Sender, book: Book
) -> AsyncIterator[asyncio.Task[None]]:
    """Hands out entries and audits the others while the block runs; the task ends with the market's last round."""
    archive = Archive(market, config.ledger.audits, book)
    auditor = Auditor(config.ledger, market, sender, config.mechanism)
    server = WireServer(config.key, config.state, archive.routes, info=archive.info, weigh=archive.weigh)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(auditor.close)
        port = await server.start(config.audit.host, config.audit.port)
        stack.push_async_callback(server.stop, 1.0)
        await _open_door(config, market, sender, port)
        await archive.refresh((await market.status()).epoch)
        working = asyncio.create_task(_keep(archive, auditor, market, config.policy.poll_seconds))
        try:
            yield working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def _open_door(config: ValidatorConfig, market: MarketContract, sender: Sender, port: int) -> None:
    """Have on chain where the others find our evaluations."""
    pool = next(slot.pool for slot in await market.validators() if slot.operator == config.key.address)
    endpoint = config.audit.endpoint or f"http://{config.audit.host}:{port}"
    if await config.ledger.audits.endpoint(market.address, pool) != endpoint:
        await config.ledger.audits.set_endpoint(sender, market.address, endpoint)


async def _keep(archive: Archive, auditor: Auditor, market: MarketContract, poll_seconds: float) -> None:
    """Auditing, with the archive kept up to date beside it: auditors of both sides wait for each other."""

    async def refresh() -> None:
        while True:
            try:
                await archive.refresh((await market.status()).epoch)
            except (ChainError, UnreachableError) as error:
                log.warning("archive.stale why=%r", str(error))
            await asyncio.sleep(poll_seconds)

    refreshing = asyncio.create_task(refresh())
    try:
        await auditor.run(poll_seconds)
    finally:
        refreshing.cancel()
        await asyncio.gather(refreshing, return_exceptions=True)


async def check_rules(market: MarketContract, mechanism: Mechanism) -> None:
    """Make sure that this mechanism judges by the market's rules.

    Raises:
        RulesMismatchError: another subnet, or another version of it.

    """
    params = await market.params()
    wanted, there = (params.subnet, params.mechanism_version), (mechanism.name, mechanism.version)
    if wanted != there:
        raise RulesMismatchError(
            f"The market {market.address} judges by {wanted[0]!r} version {wanted[1]}, here is {there[0]!r} version "
            f"{there[1]}. Validators of different versions never mix: install that version, or name another market."
        )


def _check_keys(config: ValidatorConfig) -> None:
    if config.key.address == config.payer.address:
        raise UsageError(
            f"The key that validates and the key that pays are both {config.key.address}, so every miner would know "
            "its examiner. Make another one with: tercet wallet new NAME, and fund it."
        )


def _examiner(config: ValidatorConfig, buyer: Buyer, *, keep: bool) -> Examiner:
    policy = config.policy
    return Examiner(
        config.mechanism,
        buyer,
        answer_seconds=policy.answer_seconds,
        judge_seconds=policy.judge_seconds,
        keep=keep,
    )


@contextlib.asynccontextmanager
async def _directory(config: ValidatorConfig) -> AsyncIterator[Directory]:
    """A directory that keeps itself up to date while the block runs."""
    directory = Directory(config.ledger, config.market, config.policy.poll_seconds, floor=least_price(config.mechanism))
    try:
        await directory.refresh()
        keeping = asyncio.create_task(directory.run())
        try:
            yield directory
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await directory.close()
