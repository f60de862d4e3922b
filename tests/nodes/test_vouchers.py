"""The rules of cover: both books against each other, through loss, replay, disorder and crashes."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tercet.chain.voucher import EscrowDomain, channel_id, sign_voucher
from tercet.errors import BudgetError, MinerMisbehaved, RefusalError
from tercet.market import Answer, ChannelConfig, Usage, Voucher
from tercet.nodes.buyer_book import BuyerBook, Promise
from tercet.nodes.miner_book import MinerBook, Ticket
from tercet.nodes.vouchers import Debt, Standing, restore_debt

from .conftest import BUYER, MINER, STRANGER

DOMAIN = EscrowDomain(31_337, MINER.address)
OTHER_CHAIN = EscrowDomain(1, MINER.address)
CONFIG = ChannelConfig(
    BUYER.address, BUYER.address, MINER.address, MINER.address, STRANGER.address, withdraw_delay=60, salt=b"\7" * 32
)
CHANNEL = channel_id(DOMAIN, CONFIG)
DEPOSIT = 100


def make_answer(charged: int, total: int) -> Answer:
    """As if verified."""
    return Answer(b"", b"", Usage(), charged, total, MINER.address, b"")


def test_work_is_accepted_only_under_cover() -> None:
    """Best voucher against charged, reserved and asked, to the unit."""
    standing = Standing(deposit=100, best=10, charged=5, reserved=2)
    assert standing.accept(0, 3).reserved == 5
    assert standing.accept(12, 5).best == 12
    with pytest.raises(RefusalError, match="voucher_stale"):
        standing.accept(12, 6)
    with pytest.raises(RefusalError, match="voucher_overspent"):
        standing.accept(101, 1)


def test_a_promise_covers_everything_that_may_be_charged() -> None:
    """What is charged, lost and under way."""
    debt, amount = Debt(signed=9, charged=5, lost=3, in_flight=2).promise(4, deposit=14)
    assert (amount, debt.signed, debt.in_flight) == (14, 14, 6)
    with pytest.raises(BudgetError, match="Top it up"):
        debt.promise(1, deposit=14)


def test_a_lone_answer_settles_what_was_lost() -> None:
    """The miner's total says whether the lost request was charged."""
    debt = Debt(signed=8, charged=2, lost=3, in_flight=3)
    settled = debt.acknowledge(3, 1, 5, alone=True)
    assert (settled.charged, settled.lost, settled.doubt) == (5, 0, 1)
    waiting = debt.acknowledge(3, 1, 5, alone=False)
    assert (waiting.charged, waiting.lost) == (3, 3)


def test_an_answer_above_its_reserve_or_a_total_out_of_nowhere_is_misbehaviour() -> None:
    """The buyer's own sum is the measure."""
    debt = Debt(signed=8, charged=2, in_flight=3)
    with pytest.raises(MinerMisbehaved, match="agreed"):
        debt.acknowledge(3, 4, 6, alone=True)
    with pytest.raises(MinerMisbehaved, match=r"at most 0\.000003 credit"):
        debt.acknowledge(3, 1, 4, alone=True)


def test_an_old_copy_of_the_book_catches_up_to_its_own_signature_and_no_further() -> None:
    """A miner cannot talk a buyer into a debt."""
    old = restore_debt(signed=5, charged=5)
    assert old.catch_up(17, 20) == Debt(signed=20, charged=17, lost=3)
    with pytest.raises(MinerMisbehaved, match=r"signed 0\.00002 credit at most"):
        old.catch_up(21, 20)


@pytest.fixture
def books(tmp_path: Path) -> Any:
    """A buyer's and a miner's book that know one channel of 100 units."""
    buyer, miner = BuyerBook(tmp_path / "b.sqlite", DOMAIN, BUYER), MinerBook(tmp_path / "m.sqlite", DOMAIN)
    account = buyer.add(MINER.address, CONFIG)
    buyer.set_deposit(account, DEPOSIT)
    miner.put(CONFIG, DEPOSIT, 0, closing=False)
    yield buyer, miner, account
    buyer.close()
    miner.close()


@pytest.mark.parametrize("wrong", ["chain", "channel", "amount", "signer", "sender", "junk", "malleable"])
def test_a_voucher_that_is_not_the_payers_is_invalid(books: Any, wrong: str) -> None:
    """For this chain, this channel and this amount."""
    _, miner, _ = books
    voucher = sign_voucher(DOMAIN, BUYER, CHANNEL, 50)
    sender = BUYER.address
    match wrong:
        case "chain":
            voucher = sign_voucher(OTHER_CHAIN, BUYER, CHANNEL, 50)
        case "channel":
            voucher = Voucher(CHANNEL, 50, sign_voucher(DOMAIN, BUYER, b"\1" * 32, 50).signature)
        case "amount":
            voucher = replace(voucher, max_claimable=51)
        case "signer":
            voucher = sign_voucher(DOMAIN, STRANGER, CHANNEL, 50)
        case "sender":
            sender = STRANGER.address
        case "junk":
            voucher = replace(voucher, signature=b"\xff" * 65)
        case "malleable":
            order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
            s = order - int.from_bytes(voucher.signature[32:64], "big")
            v = bytes([27 + 28 - voucher.signature[64]])
            voucher = replace(voucher, signature=voucher.signature[:32] + s.to_bytes(32, "big") + v)
    with pytest.raises(RefusalError, match="voucher_invalid"):
        miner.accept(voucher, sender, 1)
    assert miner.get(CHANNEL).standing.best == 0


def test_a_replayed_voucher_buys_nothing_more(books: Any) -> None:
    """Vouchers are cumulative: the second time, the money is spent."""
    _, miner, _ = books
    voucher = sign_voucher(DOMAIN, BUYER, CHANNEL, 5)
    assert miner.settle(miner.accept(voucher, BUYER.address, 5), 5) == (5, 5)
    with pytest.raises(RefusalError, match="voucher_stale") as caught:
        miner.accept(voucher, BUYER.address, 1)
    account = caught.value.facts["account"]
    assert (account["charged_total"], account["best"]) == (5, 5)


def test_a_closing_channel_takes_no_work_and_is_redeemed_whole(books: Any) -> None:
    """Below any threshold."""
    _, miner, _ = books
    miner.settle(miner.accept(sign_voucher(DOMAIN, BUYER, CHANNEL, 5), BUYER.address, 5), 2)
    assert list(miner.redemptions(1000)) == []
    miner.put(CONFIG, DEPOSIT, 0, closing=True)
    assert [one.total for one in miner.redemptions(1000)] == [2]
    with pytest.raises(RefusalError, match="channel_unknown"):
        miner.accept(sign_voucher(DOMAIN, BUYER, CHANNEL, 9), BUYER.address, 1)


def test_a_voucher_that_the_buyer_never_signed_does_not_move_its_book(books: Any) -> None:
    """The miner has to show our own signature."""
    buyer, _, account = books
    with pytest.raises(MinerMisbehaved, match="did not sign"):
        buyer.catch_up(account, 3, 50, sign_voucher(DOMAIN, STRANGER, CHANNEL, 50).signature)
    buyer.catch_up(account, 3, 50, sign_voucher(DOMAIN, BUYER, CHANNEL, 50).signature)
    assert account.debt.signed == 50


@dataclass
class Letter:
    """A request on its way, or the answer that comes back."""

    promise: Promise
    epoch: int
    """Which life of the buyer sent it."""
    ticket: Ticket | None = None
    life: int = 0
    """Which life of the miner has the ticket."""
    answer: Answer | None = None


class Payments(RuleBasedStateMachine):
    """A buyer and a miner on a network that loses, repeats and reorders, while both crash at will."""

    @initialize()
    def begin(self) -> None:
        """Open both books on one channel."""
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.lives = [0, 0]
        self.requests: list[Letter] = []
        self.working: list[Letter] = []
        self.answers: list[Letter] = []
        self.seen: list[Voucher] = []
        self.claimed = 0  # on chain
        self.earned = 0  # charges that the miner committed
        self.open_buyer()
        account = self.buyer.add(MINER.address, CONFIG)
        self.buyer.set_deposit(account, DEPOSIT)
        self.account = account
        self.open_miner()
        self.miner.put(CONFIG, DEPOSIT, 0, closing=False)

    def teardown(self) -> None:
        """Files away."""
        if hasattr(self, "folder"):
            self.buyer._db.close()
            self.miner._db.close()
            self.folder.cleanup()

    def open_buyer(self) -> None:
        self.buyer = BuyerBook(self.root / "b.sqlite", DOMAIN, BUYER)
        for account in self.buyer.accounts():
            self.account = account

    def open_miner(self) -> None:
        self.miner = MinerBook(self.root / "m.sqlite", DOMAIN)

    @rule(reserve=st.integers(0, 9))
    def buyer_asks(self, reserve: int) -> None:
        """A promise is on disk before it is on the wire; crash before or after it as you like."""
        try:
            promise = self.buyer.promise(self.account, reserve)
        except BudgetError:
            return
        self.seen.append(promise.voucher)
        self.requests.append(Letter(promise, self.lives[0]))

    @rule(data=st.data())
    def miner_gets_a_request(self, data: st.DataObject) -> None:
        """In any order; once, because the wire's nonces see to that."""
        if not self.requests:
            return
        letter = data.draw(st.sampled_from(self.requests))
        self.requests.remove(letter)
        try:
            ticket = self.miner.accept(letter.promise.voucher, BUYER.address, letter.promise.reserve)
        except RefusalError as refusal:
            if refusal.code != "voucher_stale":
                raise
            if letter.epoch == self.lives[0]:
                self.buyer.release(letter.promise)
                account = refusal.facts["account"]
                self.buyer.catch_up(
                    self.account, account["charged_total"], account["best"], bytes.fromhex(account["signature"][2:])
                )
            return
        self.working.append(Letter(letter.promise, letter.epoch, ticket, self.lives[1]))

    @rule(data=st.data(), extra=st.integers(0, 9))
    def stranger_replays(self, data: st.DataObject, extra: int) -> None:
        """Old vouchers, vouchers of another chain and altered ones change nothing."""
        if not self.seen:
            return
        old = data.draw(st.sampled_from(self.seen))
        before = self.miner.get(CHANNEL)
        higher = old.max_claimable + extra + (before.standing.best if before else 0) + 1
        for voucher in (replace(old, max_claimable=higher), sign_voucher(OTHER_CHAIN, BUYER, CHANNEL, higher)):
            with pytest.raises(RefusalError, match="voucher_invalid"):
                self.miner.accept(voucher, BUYER.address, 0)
        assert self.miner.get(CHANNEL) == before

    @rule(data=st.data(), share=st.integers(0, 100), way=st.sampled_from(["settle", "settle", "fail"]))
    def miner_ends_work(self, data: st.DataObject, share: int, way: str) -> None:
        """It charges up to the reserve, or gives up and says so."""
        if not self.working:
            return
        letter = data.draw(st.sampled_from(self.working))
        self.working.remove(letter)
        assert letter.ticket is not None
        if way == "fail":
            self.miner.release(letter.ticket)
            if letter.epoch == self.lives[0]:
                self.buyer.release(letter.promise)
            return
        charged, total = self.miner.settle(letter.ticket, letter.ticket.reserve * share // 100)
        self.earned += charged
        letter.answer = make_answer(charged, total)
        self.answers.append(letter)

    @rule(data=st.data())
    def buyer_gets_an_answer(self, data: st.DataObject) -> None:
        """In any order; answers to an earlier life of the buyer go nowhere."""
        if not self.answers:
            return
        letter = data.draw(st.sampled_from(self.answers))
        self.answers.remove(letter)
        if letter.epoch == self.lives[0]:
            assert letter.answer is not None
            self.buyer.acknowledge(letter.promise, letter.answer)

    @rule(data=st.data(), late=st.booleans())
    def deadline_passes(self, data: st.DataObject, late: bool) -> None:
        """For a request on its way, in work, or answered; it may still get there, or be charged, later."""
        box = data.draw(st.sampled_from([self.requests, self.working, self.answers]))
        if not box:
            return
        letter = data.draw(st.sampled_from(box))
        if letter.epoch == self.lives[0]:
            self.buyer.lose(letter.promise)
        letter.epoch = -1
        if not late and box is not self.working:
            box.remove(letter)

    @rule()
    def buyer_crashes(self) -> None:
        """Kill -9: only the file is left."""
        self.buyer._db.close()
        self.lives[0] += 1
        self.open_buyer()

    @rule()
    def miner_crashes(self) -> None:
        """Kill -9: work that runs is gone, the buyer's deadline passes for it."""
        self.miner._db.close()
        self.lives[1] += 1
        for letter in self.working:
            if letter.epoch == self.lives[0]:
                self.buyer.lose(letter.promise)
        self.working = []
        self.open_miner()

    @rule(heard=st.booleans())
    def miner_redeems(self, heard: bool) -> None:
        """The contract's rule; the miner may die between sending and hearing of it."""
        for redemption in self.miner.redemptions():
            assert redemption.total <= redemption.voucher.max_claimable
            self.claimed = max(self.claimed, redemption.total)  # a lower total is refused, and nothing moves
            if heard:
                self.miner.put(CONFIG, DEPOSIT, self.claimed, closing=False)

    @invariant()
    def covered(self) -> None:
        """The miner never works uncovered, nobody owes more than was signed, nothing earned is lost."""
        if not hasattr(self, "miner"):
            return
        known = self.miner.get(CHANNEL)
        assert known is not None
        standing, debt = known.standing, self.account.debt
        assert standing.charged + standing.reserved <= standing.best <= debt.signed <= DEPOSIT
        assert standing.charged == self.earned
        assert self.claimed <= self.earned
        assert self.account.written[0] == debt.signed  # on disk before it leaves
        assert min(debt.charged, debt.lost, debt.in_flight, debt.doubt) >= 0
        stored = self.miner._db.execute("SELECT best, charged FROM channels").fetchone()
        assert stored[1] == standing.charged <= stored[0]


TestPayments = Payments.TestCase
TestPayments.settings = settings(
    max_examples=int(os.environ.get("TERCET_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
