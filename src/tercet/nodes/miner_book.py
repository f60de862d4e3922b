"""A miner's voucher book on SQLite: one commit an answer, before its signature leaves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tercet.chain.keys import address_from_public, recover_public
from tercet.chain.voucher import EscrowDomain, asker_of, channel_id, voucher_digest
from tercet.errors import InvalidSignatureError, RefusalError
from tercet.market import ChannelConfig, Voucher
from tercet.nodes.channel_text import decode_config, encode_config
from tercet.nodes.vouchers import MAX_UNITS, Standing

_SCHEMA = """
CREATE TABLE IF NOT EXISTS channels (
    id BLOB PRIMARY KEY, config TEXT NOT NULL, deposit INTEGER NOT NULL, claimed INTEGER NOT NULL,
    best INTEGER NOT NULL, signature BLOB NOT NULL, charged INTEGER NOT NULL, answers INTEGER NOT NULL,
    closing INTEGER NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel as the miner has it."""

    config: ChannelConfig
    standing: Standing
    signature: bytes
    """Of the best voucher; empty when there is none."""
    claimed: int
    """Redeemed on chain, as last read."""
    answers: int
    """How many were charged for."""
    closing: bool
    """The payer asked for its money back: redeem, and take no more work."""

    def moved(self, standing: Standing, signature: bytes, answers: int) -> Channel:
        """The same channel at another standing; `replace` would take twenty times as long."""
        return Channel(self.config, standing, signature, self.claimed, answers, self.closing)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Work that was accepted under a voucher."""

    channel: bytes
    reserve: int


@dataclass(frozen=True, slots=True)
class Redemption:
    """What can be redeemed from a channel right now."""

    config: ChannelConfig
    channel: bytes
    total: int
    """The new total of all payments."""
    voucher: Voucher


class MinerBook:
    """All channels that pay one receiver."""

    def __init__(self, path: Path | str, domain: EscrowDomain, *, trust: int = MAX_UNITS) -> None:
        """Read the file, or make it.

        Args:
            path: of the SQLite file.
            domain: what vouchers are signed under.
            trust: credit units that may be charged or reserved and not redeemed on a channel whose payer may
                be a smart account: it can disown a voucher until that is redeemed.
        """
        self._domain, self._trust = domain, trust
        self._db = open_book(path, _SCHEMA)
        rows = self._db.execute("SELECT * FROM channels").fetchall()
        self._channels = {row[0]: _read(row) for row in rows}
        self._publics: dict[str, bytes] = {}

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def get(self, channel: bytes) -> Channel | None:
        """A channel, None when it is unknown."""
        return self._channels.get(channel)

    def channels(self) -> dict[bytes, Channel]:
        """All of them."""
        return dict(self._channels)

    def put(self, config: ChannelConfig, deposit: int, claimed: int, *, closing: bool) -> None:
        """Write down what the chain says of a channel, new or known."""
        channel = channel_id(self._domain, config)
        known = self._channels.get(channel) or Channel(config, Standing(0), b"", 0, 0, closing=False)
        standing = replace(known.standing, deposit=min(deposit, MAX_UNITS))
        now = replace(known, standing=standing, claimed=claimed, closing=closing)
        if now != known:
            self._write(channel, now)
            self._channels[channel] = now

    def accept(self, voucher: Voucher, sender: str, reserve: int, *, proven: bool = False) -> Ticket:
        """Take on work under a voucher. Nothing is written: until it is charged there is nothing to lose.

        Args:
            voucher: what pays for it.
            sender: who asks: the channel's payer authorizer, or the key that the channel's salt names.
            reserve: the most that the work may cost.
            proven: the payer authorizer is a smart account that stands by the voucher; no key need have signed.

        Raises:
            RefusalError: `channel_unknown`, `voucher_invalid`, `voucher_overspent` or `voucher_stale`;
                the facts carry the account, so that an honest payer can find its place.
                `unredeemed` when a smart account would owe more than it is trusted with.
        """
        known = self._channels.get(voucher.channel)
        if known is None or known.closing:
            raise RefusalError("channel_unknown")
        standing, authorizer = known.standing, known.config.payer_authorizer
        if sender != authorizer and sender != asker_of(known.config):
            raise RefusalError("voucher_invalid")  # and no word to a stranger about somebody's account
        if voucher.max_claimable > MAX_UNITS:
            raise RefusalError("voucher_overspent", facts=account_facts(known))
        # A voucher below the best brings nothing, so its signature need not be paid for.
        if voucher.max_claimable > standing.best and not proven and not self._is_signed(voucher, authorizer):
            raise RefusalError("voucher_invalid", facts=account_facts(known))
        if sender != authorizer and standing.charged + standing.reserved + reserve - known.claimed > self._trust:
            raise RefusalError("unredeemed", retry_after=2)
        try:
            accepted = standing.accept(voucher.max_claimable, reserve)
        except RefusalError as refusal:
            raise RefusalError(refusal.code, facts=account_facts(known)) from None
        signature = voucher.signature if accepted.best > standing.best else known.signature
        self._channels[voucher.channel] = known.moved(accepted, signature, known.answers)
        return Ticket(voucher.channel, reserve)

    def settle(self, ticket: Ticket, charge: int) -> tuple[int, int]:
        """Write the charge and the voucher that covers it, in one commit; (charged, charged in all)."""
        known = self._channels[ticket.channel]
        standing = known.standing.settle(ticket.reserve, charge)
        now = known.moved(standing, known.signature, known.answers + 1)
        self._db.execute(
            "UPDATE channels SET best=?, signature=?, charged=?, answers=? WHERE id=?",
            (standing.best, now.signature, standing.charged, now.answers, ticket.channel),
        )
        self._channels[ticket.channel] = now
        return charge, standing.charged

    def release(self, ticket: Ticket) -> None:
        """The work was not done: nothing is charged."""
        known = self._channels[ticket.channel]
        self._channels[ticket.channel] = replace(known, standing=known.standing.settle(ticket.reserve, 0))

    def redemptions(self, threshold: int = 1) -> Iterator[Redemption]:
        """What is worth redeeming: `threshold` units or more, or anything of a channel that closes."""
        for channel, known in list(self._channels.items()):
            due = known.standing.charged - known.claimed
            if due >= threshold or (due > 0 and known.closing):
                voucher = Voucher(channel, known.standing.best, known.signature)
                yield Redemption(known.config, channel, known.standing.charged, voucher)

    def earned(self) -> tuple[int, int]:
        """Credit units charged in all, and redeemed of them."""
        known = self._channels.values()
        return sum(one.standing.charged for one in known), sum(one.claimed for one in known)

    def _is_signed(self, voucher: Voucher, signer: str) -> bool:
        digest = voucher_digest(self._domain, voucher.channel, voucher.max_claimable)
        try:
            public = recover_public(digest, voucher.signature)
        except InvalidSignatureError:
            return False
        if public == self._publics.get(signer):  # saves hashing it into an address again
            return True
        if address_from_public(public) != signer:
            return False
        self._publics[signer] = public
        return True

    def _write(self, channel: bytes, now: Channel) -> None:
        standing = now.standing
        row = (channel, encode_config(now.config), standing.deposit, now.claimed, standing.best, now.signature)
        rest = (standing.charged, now.answers, now.closing)
        self._db.execute("INSERT OR REPLACE INTO channels VALUES (?,?,?,?,?,?,?,?,?)", row + rest)


def account_facts(known: Channel) -> dict[str, Any]:
    """What a refusal tells a payer of its own channel."""
    standing = known.standing
    account = {
        "charged_total": standing.charged,
        "best": standing.best,
        "signature": "0x" + known.signature.hex(),
        "deposit": standing.deposit,
    }
    return {"account": account}


def open_book(path: Path | str, schema: str) -> sqlite3.Connection:
    """A SQLite file that survives kill -9, in which every statement is its own commit."""
    db = sqlite3.connect(path, isolation_level=None, timeout=5)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute(schema)
    return db


def _read(row: tuple[Any, ...]) -> Channel:
    _, config, deposit, claimed, best, signature, charged, answers, closing = row
    standing = Standing(deposit, best, charged)
    return Channel(decode_config(config), standing, signature, claimed, answers, closing=bool(closing))
