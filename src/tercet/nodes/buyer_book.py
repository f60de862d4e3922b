"""A buyer's voucher book on SQLite: a promise is on disk before it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tercet.chain.keys import Key
from tercet.chain.voucher import EscrowDomain, channel_id, recover_voucher, sign_voucher
from tercet.errors import InvalidSignatureError, MinerMisbehaved
from tercet.market import Answer, ChannelConfig, Voucher
from tercet.nodes.channel_text import decode_config, encode_config
from tercet.nodes.miner_book import open_book
from tercet.nodes.vouchers import Debt, restore_debt

_SCHEMA = """
CREATE TABLE IF NOT EXISTS channels (
    id BLOB PRIMARY KEY, operator TEXT NOT NULL, config TEXT NOT NULL, deposit INTEGER NOT NULL,
    signed INTEGER NOT NULL, charged INTEGER NOT NULL, closed INTEGER NOT NULL
) WITHOUT ROWID
"""


@dataclass(slots=True)
class Account:
    """One channel as its payer has it. Changed by `BuyerBook` only."""

    channel: bytes
    operator: str
    config: ChannelConfig
    deposit: int
    """Credit units on chain, as last known; 0 before it is opened."""
    debt: Debt
    written: tuple[int, int]
    """signed and charged as they stand on disk."""
    losses: int = 0
    """How many requests were lost since the start."""
    pending: int = 0
    """How many requests are in flight."""
    closed: bool = False
    sent_config: bool = field(default=False)
    """Whether the miner has seen the config in this process."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A voucher that is on disk, for one request."""

    account: Account
    voucher: Voucher
    reserve: int
    losses: int
    """The account's losses when it was made."""


class BuyerBook:
    """All channels that one key pays into."""

    def __init__(self, path: Path | str, domain: EscrowDomain, key: Key) -> None:
        self._domain, self._key = domain, key
        self._db = open_book(path, _SCHEMA)
        self._accounts: dict[bytes, Account] = {}
        self._open: dict[tuple[str, str], Account] = {}
        for row in self._db.execute("SELECT * FROM channels").fetchall():
            channel, operator, config, deposit, signed, charged, closed = row
            account = Account(
                channel, operator, decode_config(config), deposit, restore_debt(signed, charged), (signed, charged)
            )
            account.closed = bool(closed)
            self._accounts[channel] = account
            self._index(account)

    def _index(self, account: Account) -> None:
        name = (account.operator, account.config.receiver)
        if not account.closed:
            self._open[name] = account
        elif self._open.get(name) is account:
            del self._open[name]

    def close(self) -> None:
        """Write what is only in memory, and let the file go."""
        for account in self._accounts.values():
            self._write(account)
        self._db.close()

    def accounts(self) -> list[Account]:
        """All of them, closed ones too."""
        return list(self._accounts.values())

    def find(self, operator: str, receiver: str) -> Account | None:
        """The channel that pays a miner."""
        return self._open.get((operator, receiver))

    def add(self, operator: str, config: ChannelConfig) -> Account:
        """Write down a channel before it is opened, so that a crash in between is not a lost deposit."""
        channel = channel_id(self._domain, config)
        account = self._accounts[channel] = Account(channel, operator, config, 0, Debt(), (0, 0))
        row = (channel, operator, encode_config(config))
        self._db.execute("INSERT INTO channels VALUES (?,?,?,0,0,0,0)", row)
        self._index(account)
        return account

    def set_deposit(self, account: Account, deposit: int, *, closed: bool = False) -> None:
        """Write down what the chain says."""
        account.deposit, account.closed = deposit, closed
        self._index(account)
        self._db.execute("UPDATE channels SET deposit=?, closed=? WHERE id=?", (deposit, closed, account.channel))

    def promise(self, account: Account, reserve: int) -> Promise:
        """Sign for one more request, and write it down.

        Raises:
            BudgetError: the deposit does not allow for it.
        """
        debt, amount = account.debt.promise(reserve, account.deposit)
        voucher = sign_voucher(self._domain, self._key, account.channel, amount)
        account.debt = debt
        if debt.signed > account.written[0]:
            self._write(account)
        account.pending += 1
        return Promise(account, voucher, reserve, account.losses)

    def acknowledge(self, promise: Promise, answer: Answer) -> None:
        """A verified answer came. Goes to disk with the next promise: until then it counts as lost there.

        Raises:
            MinerMisbehaved: it charges more than was agreed; what it can take is unchanged.
        """
        account = promise.account
        alone = account.pending == 1 and account.losses == promise.losses
        debt = account.debt.acknowledge(promise.reserve, answer.charged, answer.charged_total, alone=alone)
        account.debt = debt
        account.pending -= 1

    def lose(self, promise: Promise) -> None:
        """No answer came that we could believe."""
        account = promise.account
        account.debt = account.debt.lose(promise.reserve)
        account.pending -= 1
        account.losses += 1

    def release(self, promise: Promise) -> None:
        """The miner signed that it did no work."""
        account = promise.account
        account.debt = account.debt.release(promise.reserve)
        account.pending -= 1

    def catch_up(self, account: Account, total: int, best: int, signature: bytes) -> None:
        """Take the miner's signed word for where we stand, as far as our own signature goes.

        Raises:
            MinerMisbehaved: it is not our signature, or a total beyond it.
        """
        if best > account.debt.signed:
            try:
                signer = recover_voucher(self._domain, Voucher(account.channel, best, signature))
            except InvalidSignatureError:
                signer = ""
            if signer != self._key.address:
                raise MinerMisbehaved("The miner shows a voucher that we did not sign.")
        account.debt = account.debt.catch_up(total, best)
        self._write(account)

    def _write(self, account: Account) -> None:
        debt = account.debt
        now = (debt.signed, debt.charged)
        if now != account.written:
            self._db.execute("UPDATE channels SET signed=?, charged=? WHERE id=?", (*now, account.channel))
            account.written = now
