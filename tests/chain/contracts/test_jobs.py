"""Held jobs: money is put aside once, and leaves once, by the buyer's word, by silence or by a verdict."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.chain.contracts.evm import Contract, Ledger, Receipt, Reverted

from tercet.chain.jobs import job_id
from tercet.market.job import Cause, Job, JobState, JobVerdict, Split, bond_of, judge, split

DAY = 86_400
REVIEW, DISPUTE, MINIMUM = 3_600, 7_200, 60
RESULT = b"r" * 32
FEE_BPS = 100
RICH = 10**9


class Workshop:
    """A buyer with money, a worker, a market of judges, and the contract that holds jobs."""

    def __init__(self, fee_bps: int = FEE_BPS, sink: str = "") -> None:
        self.ledger = Ledger()
        self.bank, self.buyer, self.worker = (self.ledger.account(role) for role in ("bank", "buyer", "worker"))
        self.sink, self.stranger = sink or self.ledger.account("sink"), self.ledger.account("stranger")
        self.credit = self.ledger.deploy("Credit", self.bank)
        self.escrow = self.ledger.deploy("Escrow", 60, fee_bps, self.sink, self.bank)
        self.judges = self.ledger.deploy_source("judges")
        self.jobs = self.ledger.deploy("Jobs", self.escrow.address, self.judges.address, MINIMUM)
        self.credit.send(self.bank, "mint", self.buyer, RICH)
        self.credit.send(self.buyer, "approve", self.jobs.address, 2**256 - 1)

    def terms(self, **changes: Any) -> tuple[Any, ...]:
        fields = {
            "buyer": self.buyer,
            "worker": self.worker,
            "market": self.judges.address,
            "token": self.credit.address,
            "amount": 1_000,
            "work_hash": b"w" * 32,
            "deliver_by": self.ledger.now + DAY,
            "review_seconds": REVIEW,
            "dispute_seconds": DISPUTE,
            "salt": b"\0" * 32,
        }
        return tuple((fields | changes).values())

    def funded(self, **changes: Any) -> tuple[Any, ...]:
        job = self.terms(**changes)
        self.jobs.send(self.buyer, "fund", job)
        return job

    def delivered(self, **changes: Any) -> tuple[Any, ...]:
        job = self.funded(**changes)
        self.jobs.send(self.worker, "deliver", job, RESULT)
        return job

    def disputed(self, **changes: Any) -> tuple[Any, ...]:
        job = self.delivered(**changes)
        self.jobs.send(self.buyer, "dispute", job)
        return job

    def judge(self, vid: int, weight: int) -> str:
        """A validator's operator."""
        operator = self.ledger.account(f"judge {vid}")
        self.judges.send(self.bank, "seat", operator, vid, weight)
        return operator

    def balance(self, who: str, token: Contract | None = None) -> int:
        return int((token or self.credit).call("balanceOf", who))

    def record(self, job: tuple[Any, ...]) -> dict[str, Any]:
        return dict(self.jobs.call("get_job", self.jobs.call("job_id", job)))

    def refuses(self, reason: str, sender: str, *call: Any) -> None:
        with pytest.raises(Reverted, match=f"jobs: {reason}"):
            self.jobs.send(sender, *call)


@pytest.fixture
def shop() -> Workshop:
    return Workshop()


def end_of(receipt: Receipt) -> tuple[Cause, Split]:
    """How a job ended, by its event."""
    (told,) = [log.fields for log in receipt.logs if log.name == "JobEnded"]
    names = ("paid", "fee", "returned", "bond_lost", "bond_returned")
    return Cause(told["cause"]), Split(*(told[name] for name in names))


def test_a_jobs_id_is_the_typed_hash_of_its_terms(shop: Workshop) -> None:
    terms = shop.terms()
    assert shop.jobs.call("job_id", terms) == job_id(shop.ledger.chain_id, shop.jobs.address, Job(*terms))
    assert astuple(Job(*terms)) == terms


def test_a_buyer_pays_for_work_before_or_after_it_is_delivered(shop: Workshop) -> None:
    for job in (shop.funded(), shop.delivered(salt=b"\1" * 32)):
        receipt = shop.jobs.send(shop.buyer, "release", job, 1_000)
        assert end_of(receipt) == (Cause.RELEASED, split(1_000, 1_000, fee_bps=FEE_BPS))
        shop.refuses("not in this state", shop.buyer, "release", job, 1_000)
    assert (shop.balance(shop.worker), shop.balance(shop.sink)) == (1_980, 20)
    assert shop.balance(shop.jobs.address) == 0


def test_a_part_is_paid_only_when_the_worker_agrees(shop: Workshop) -> None:
    """Else a buyer could take the work and pay a unit for it. A newer offer replaces the older one."""
    job = shop.delivered()
    shop.refuses("no such offer", shop.worker, "accept", job, 0)
    shop.jobs.send(shop.buyer, "release", job, 700)
    shop.jobs.send(shop.buyer, "release", job, 1)
    shop.refuses("no such offer", shop.worker, "accept", job, 700)
    shop.refuses("caller is not the worker", shop.buyer, "accept", job, 1)
    shop.jobs.send(shop.buyer, "release", job, 600)
    receipt = shop.jobs.send(shop.worker, "accept", job, 600)
    assert end_of(receipt) == (Cause.AGREED, Split(600, 6, 400, 0, 0))
    assert (shop.balance(shop.worker), shop.balance(shop.buyer)) == (594, RICH - 600)


def test_silence_after_the_delivery_pays_the_worker(shop: Workshop) -> None:
    job = shop.delivered()
    shop.ledger.now += REVIEW
    shop.refuses("too early", shop.stranger, "claim", job)
    shop.ledger.now += 1
    shop.refuses("too late", shop.buyer, "dispute", job)
    receipt = shop.jobs.send(shop.stranger, "claim", job)
    assert end_of(receipt)[0] == Cause.SILENCE
    assert shop.balance(shop.worker) == 990


def test_nothing_delivered_is_nothing_paid(shop: Workshop) -> None:
    """At the deadline by anyone; before it only by the worker, who gives the job back."""
    job, other = shop.funded(), shop.funded(salt=b"\1" * 32)
    shop.refuses("too early", shop.buyer, "refund", job)
    assert end_of(shop.jobs.send(shop.worker, "refund", other))[0] == Cause.REFUNDED
    shop.ledger.now += DAY
    shop.refuses("too early", shop.stranger, "refund", job)
    shop.ledger.now += 1
    shop.refuses("too late", shop.worker, "deliver", job, RESULT)
    shop.jobs.send(shop.stranger, "refund", job)
    assert (shop.balance(shop.buyer), shop.balance(shop.jobs.address)) == (RICH, 0)


def test_delivered_work_is_not_refunded_by_the_buyer(shop: Workshop) -> None:
    job = shop.delivered()
    shop.ledger.now += DAY + REVIEW
    shop.refuses("not in this state", shop.buyer, "refund", job)


def test_the_verdicts_median_splits_price_and_bond(shop: Workshop) -> None:
    """30, 30 and 40 of weight say 2,500, 5,000 and 10,000: half of the weight is at most 5,000."""
    operators = [shop.judge(vid, weight) for vid, weight in enumerate((30, 30, 40))]
    job = shop.disputed()
    assert shop.balance(shop.buyer) == RICH - 1_100
    for operator, bps in zip(operators, (2_500, 5_000, 10_000), strict=True):
        shop.jobs.send(operator, "vote", job, bps)
    shop.refuses("already voted", operators[0], "vote", job, 0)
    shop.refuses("too early", shop.stranger, "settle", job)
    shop.ledger.now += DISPUTE + 1
    receipt = shop.jobs.send(shop.stranger, "settle", job)
    assert end_of(receipt) == (Cause.JUDGED, Split(500, 5, 500, 50, 50))
    assert (shop.balance(shop.worker), shop.balance(shop.buyer)) == (495 + 50, RICH - 550)
    assert shop.balance(shop.sink) == 5


def test_without_a_quorum_each_side_gets_half_and_the_bond_goes_back(shop: Workshop) -> None:
    """Exactly half of the weight is not more than half."""
    voter, _ = shop.judge(0, 50), shop.judge(1, 50)
    job = shop.disputed(amount=1_001)
    shop.jobs.send(voter, "vote", job, 0)
    shop.ledger.now += DISPUTE + 1
    receipt = shop.jobs.send(shop.stranger, "settle", job)
    assert end_of(receipt) == (Cause.NO_QUORUM, Split(500, 5, 501, 0, 101))


def test_a_market_without_weight_judges_nothing(shop: Workshop) -> None:
    job = shop.disputed()
    shop.ledger.now += DISPUTE + 1
    assert end_of(shop.jobs.send(shop.stranger, "settle", job))[0] == Cause.NO_QUORUM


def test_votes_of_a_shrunken_electorate_do_not_make_a_quorum(shop: Workshop) -> None:
    """Half of the largest electorate since the dispute began, so that leaving does not silence who stays."""
    small, large = shop.judge(0, 40), shop.judge(1, 60)
    job = shop.disputed()
    shop.judges.send(shop.bank, "seat", large, 1, 0)
    shop.jobs.send(small, "vote", job, 0)
    shop.judges.send(shop.bank, "seat", small, 0, 200)
    shop.ledger.now += DISPUTE + 1
    assert shop.record(job)["electorate"] == 100
    assert end_of(shop.jobs.send(shop.stranger, "settle", job))[0] == Cause.NO_QUORUM


def test_a_buyer_that_pays_after_all_loses_its_bond_and_one_that_agrees_does_not(shop: Workshop) -> None:
    yields, agrees, gives_up = (shop.disputed(salt=bytes([k]) * 32) for k in range(3))
    assert end_of(shop.jobs.send(shop.buyer, "release", yields, 1_000))[1] == Split(1_000, 10, 0, 100, 0)
    shop.jobs.send(shop.buyer, "release", agrees, 300)
    assert end_of(shop.jobs.send(shop.worker, "accept", agrees, 300))[1] == Split(300, 3, 700, 0, 100)
    assert end_of(shop.jobs.send(shop.worker, "refund", gives_up))[1] == Split(0, 0, 1_000, 0, 100)


def test_who_may_vote_and_until_when(shop: Workshop) -> None:
    voter, light = shop.judge(0, 10), shop.judge(1, 0)
    job = shop.delivered()
    shop.refuses("not in this state", voter, "vote", job, 0)
    shop.jobs.send(shop.buyer, "dispute", job)
    with pytest.raises(Reverted, match="market: caller is not a validator's operator"):
        shop.jobs.send(shop.stranger, "vote", job, 0)
    shop.refuses("no weight in the market", light, "vote", job, 0)
    shop.refuses("verdict out of bounds", voter, "vote", job, 10_001)
    replaced = shop.judge(0, 10)  # the same seat under another key
    shop.jobs.send(voter, "vote", job, 10_000)
    shop.refuses("already voted", replaced, "vote", job, 0)
    shop.ledger.now += DISPUTE + 1
    shop.refuses("too late", shop.judge(2, 10), "vote", job, 0)


def test_at_most_64_verdicts_are_taken_and_counted_within_the_gas_of_a_block(shop: Workshop) -> None:
    operators = [shop.judge(vid, 100 + vid) for vid in range(65)]
    job = shop.disputed()
    for k, operator in enumerate(operators[:64]):
        shop.jobs.send(operator, "vote", job, (k * 7_919) % 10_001)
    shop.refuses("too many verdicts", operators[64], "vote", job, 0)
    found = shop.jobs.call("get_verdicts", shop.jobs.call("job_id", job))
    assert [(v["vid"], v["weight"]) for v in found] == [(vid, 100 + vid) for vid in range(64)]
    shop.ledger.now += DISPUTE + 1
    receipt = shop.jobs.send(shop.stranger, "settle", job)
    verdicts = [JobVerdict(v["vid"], v["weight"], v["bps"]) for v in found]
    assert end_of(receipt) == judge(1_000, verdicts, 65 * 100 + 64 * 65 // 2, fee_bps=FEE_BPS)
    assert receipt.gas < 700_000


def test_what_a_job_must_be(shop: Workshop) -> None:
    zero = "0x" + "00" * 20
    for changes, reason in (
        ({"worker": zero}, "worker is the zero address"),
        ({"amount": 0}, "amount is zero"),
        ({"token": shop.stranger}, "token is not a contract"),
        ({"market": shop.stranger}, "unknown market"),
        ({"deliver_by": shop.ledger.now - 1}, "deliver_by out of bounds"),
        ({"deliver_by": shop.ledger.now + 365 * DAY + 1}, "deliver_by out of bounds"),
        ({"review_seconds": MINIMUM - 1}, "period out of bounds"),
        ({"review_seconds": 30 * DAY + 1}, "period out of bounds"),
        ({"dispute_seconds": MINIMUM - 1}, "period out of bounds"),
        ({"dispute_seconds": 30 * DAY + 1}, "period out of bounds"),
        ({"amount": RICH + 1}, None),
    ):
        if reason is None:
            with pytest.raises(Reverted, match="erc20: balance too small"):
                shop.jobs.send(shop.buyer, "fund", shop.terms(**changes))
        else:
            shop.refuses(reason, shop.buyer, "fund", shop.terms(**changes))
    shop.refuses("caller is not the buyer", shop.stranger, "fund", shop.terms())
    job = shop.funded()
    shop.refuses("already funded", shop.buyer, "fund", job)
    shop.jobs.send(shop.worker, "refund", job)
    shop.refuses("already funded", shop.buyer, "fund", job)  # an ended job stays ended
    for name, sender in (("deliver", shop.buyer), ("release", shop.worker), ("dispute", shop.worker)):
        arguments = {"deliver": (RESULT,), "release": (1_000,), "dispute": ()}[name]
        role = "worker" if name == "deliver" else "buyer"
        shop.refuses(f"caller is not the {role}", sender, name, shop.funded(salt=name.ljust(32).encode()), *arguments)
    shop.refuses("more than the amount", shop.buyer, "release", shop.funded(salt=b"\7" * 32), 1_001)
    shop.refuses("not in this state", shop.buyer, "release", shop.terms(salt=b"\x08" * 32), 1)


def test_a_jobs_contract_needs_its_neighbours(shop: Workshop) -> None:
    for arguments, reason in (
        ((shop.stranger, shop.judges.address, 60), "escrow or registry is not a contract"),
        ((shop.escrow.address, shop.judges.address, 30 * DAY + 1), "period out of bounds"),
    ):
        with pytest.raises(Reverted, match=f"jobs: {reason}"):
            shop.ledger.deploy("Jobs", *arguments)


def test_money_that_a_token_refuses_to_move_is_kept_and_holds_up_nobody(shop: Workshop) -> None:
    """A worker on a stablecoin's block list does not lock its buyer's part, nor the other way round."""
    picky = shop.ledger.deploy_source("picky")
    picky.send(shop.bank, "mint", shop.buyer, 1_000)
    job = shop.delivered(token=picky.address)
    picky.send(shop.bank, "refuse", shop.worker, True)
    picky.send(shop.bank, "refuse", shop.sink, True)
    shop.jobs.send(shop.buyer, "release", job, 1_000)
    assert shop.jobs.call("owed", picky.address, shop.worker) == 990
    assert shop.jobs.call("owed", picky.address, shop.sink) == 10
    with pytest.raises(Reverted, match="picky: refused"):
        shop.jobs.send(shop.stranger, "withdraw", picky.address, shop.worker)
    picky.send(shop.bank, "refuse", shop.worker, False)
    shop.jobs.send(shop.stranger, "withdraw", picky.address, shop.worker)
    assert shop.balance(shop.worker, picky) == 990
    shop.refuses("nothing to withdraw", shop.stranger, "withdraw", picky.address, shop.worker)


def test_a_token_that_keeps_a_part_is_not_taken(shop: Workshop) -> None:
    picky = shop.ledger.deploy_source("picky")
    picky.send(shop.bank, "mint", shop.buyer, 1_000)
    picky.send(shop.bank, "set_tax", 1)
    shop.refuses("token took a fee", shop.buyer, "fund", shop.terms(token=picky.address))


def test_the_sink_is_told_the_jobs_market() -> None:
    shop = Workshop()
    sink = shop.ledger.deploy_source("sink")
    escrow = shop.ledger.deploy("Escrow", 60, 500, sink.address, shop.bank)
    shop.jobs = shop.ledger.deploy("Jobs", escrow.address, shop.judges.address, MINIMUM)
    shop.credit.send(shop.buyer, "approve", shop.jobs.address, 2**256 - 1)
    told = shop.jobs.send(shop.buyer, "release", shop.funded(), 1_000).logs
    (taken,) = [log.fields for log in told if log.name == "Taken"]
    assert (taken["market"].lower(), taken["amount"]) == (shop.judges.address.lower(), 50)


weighted = st.lists(st.tuples(st.one_of(st.integers(1, 3), st.integers(1, 2**47)), st.integers(0, 10_000)), max_size=7)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(votes=weighted, absent=st.integers(0, 2**47), amount=st.integers(1, RICH // 2), fee_bps=st.integers(0, 500))
def test_the_contract_judges_as_its_twin_does(
    votes: list[tuple[int, int]], absent: int, amount: int, fee_bps: int
) -> None:
    shop = Workshop(fee_bps)
    operators = [shop.judge(vid, weight) for vid, (weight, _) in enumerate(votes)]
    shop.judge(63, absent)
    job = shop.disputed(amount=amount)
    for operator, (_, bps) in zip(operators, votes, strict=True):
        shop.jobs.send(operator, "vote", job, bps)
    shop.ledger.now += DISPUTE + 1
    verdicts = [JobVerdict(vid, weight, bps) for vid, (weight, bps) in enumerate(votes)]
    electorate = absent + sum(weight for weight, _ in votes)
    cause, shares = judge(amount, verdicts, electorate, fee_bps=fee_bps)
    assert end_of(shop.jobs.send(shop.stranger, "settle", job)) == (cause, shares)
    assert shop.balance(shop.worker) == shares.paid - shares.fee + shares.bond_lost
    assert shop.balance(shop.buyer) == RICH - amount - bond_of(amount) + shares.returned + shares.bond_returned
    assert (shop.balance(shop.sink), shop.balance(shop.jobs.address)) == (shares.fee, 0)


class JobsMachine(RuleBasedStateMachine):
    """Three jobs, any order of everything by anybody: what is held is what is owed, and every job ends."""

    jobs_at = st.integers(0, 2)

    def __init__(self) -> None:
        super().__init__()
        self.shop = Workshop()
        self.operators = [self.shop.judge(vid, weight) for vid, weight in enumerate((10, 20, 40))]
        self.jobs: list[tuple[Any, ...]] = []
        self.state = [JobState.UNKNOWN] * 3
        self.deadline = [0] * 3
        self.offer: list[int | None] = [None] * 3
        self.votes: list[dict[int, int]] = [{}, {}, {}]
        self.paid_out = 0

    @initialize(amounts=st.lists(st.integers(1, 5_000), min_size=3, max_size=3))
    def agree(self, amounts: list[int]) -> None:
        self.jobs = [self.shop.terms(amount=amount, salt=bytes([k]) * 32) for k, amount in enumerate(amounts)]

    @property
    def now(self) -> int:
        return self.shop.ledger.now

    def running(self, k: int) -> bool:
        return self.state[k] not in (JobState.UNKNOWN, JobState.ENDED)

    def attempt(self, allowed: bool, sender: str, *call: Any) -> Receipt | None:
        """Do it; it must go through exactly when the rules say so."""
        try:
            receipt = self.shop.jobs.send(sender, *call)
        except Reverted:
            assert not allowed, call
            return None
        assert allowed, call
        return receipt

    def ends(self, k: int, receipt: Receipt | None, expected: Split) -> None:
        if receipt is not None:
            assert end_of(receipt)[1] == expected
            self.state[k] = JobState.ENDED
            self.paid_out += expected.paid + expected.bond_lost

    def bond(self, k: int) -> int:
        return bond_of(self.jobs[k][4]) if self.state[k] == JobState.DISPUTED else 0

    @rule(seconds=st.sampled_from([1, 60, REVIEW, DISPUTE, DAY]))
    def wait(self, seconds: int) -> None:
        self.shop.ledger.now += seconds

    @rule(k=jobs_at)
    def fund(self, k: int) -> None:
        allowed = self.state[k] == JobState.UNKNOWN and self.now <= self.jobs[k][6]
        if self.attempt(allowed, self.shop.buyer, "fund", self.jobs[k]):
            self.state[k], self.deadline[k] = JobState.FUNDED, self.jobs[k][6]

    @rule(k=jobs_at)
    def deliver(self, k: int) -> None:
        allowed = self.state[k] == JobState.FUNDED and self.now <= self.deadline[k]
        if self.attempt(allowed, self.shop.worker, "deliver", self.jobs[k], RESULT):
            self.state[k], self.deadline[k] = JobState.DELIVERED, self.now + REVIEW

    @rule(k=jobs_at, part=st.sampled_from([0, 1, 50, 99, 100]))
    def release(self, k: int, part: int) -> None:
        amount = self.jobs[k][4]
        give, bond = amount * part // 100, self.bond(k)
        receipt = self.attempt(self.running(k), self.shop.buyer, "release", self.jobs[k], give)
        if give == amount:
            self.ends(k, receipt, split(amount, amount, bond=bond, bond_lost=bond, fee_bps=FEE_BPS))
        elif receipt is not None:
            self.offer[k] = give

    @rule(k=jobs_at, guess=st.booleans())
    def accept(self, k: int, guess: bool) -> None:
        offer = self.offer[k]
        taken = 0 if guess or offer is None else offer
        allowed = self.running(k) and offer == taken
        receipt = self.attempt(allowed, self.shop.worker, "accept", self.jobs[k], taken)
        self.ends(k, receipt, split(self.jobs[k][4], taken, bond=self.bond(k), fee_bps=FEE_BPS))

    @rule(k=jobs_at)
    def claim(self, k: int) -> None:
        allowed = self.state[k] == JobState.DELIVERED and self.now > self.deadline[k]
        receipt = self.attempt(allowed, self.shop.stranger, "claim", self.jobs[k])
        self.ends(k, receipt, split(self.jobs[k][4], self.jobs[k][4], fee_bps=FEE_BPS))

    @rule(k=jobs_at, by_worker=st.booleans())
    def refund(self, k: int, by_worker: bool) -> None:
        over = self.state[k] == JobState.FUNDED and self.now > self.deadline[k]
        sender = self.shop.worker if by_worker else self.shop.buyer
        allowed = self.running(k) if by_worker else over
        receipt = self.attempt(allowed, sender, "refund", self.jobs[k])
        self.ends(k, receipt, split(self.jobs[k][4], 0, bond=self.bond(k)))

    @rule(k=jobs_at)
    def dispute(self, k: int) -> None:
        allowed = self.state[k] == JobState.DELIVERED and self.now <= self.deadline[k]
        if self.attempt(allowed, self.shop.buyer, "dispute", self.jobs[k]):
            self.state[k], self.deadline[k] = JobState.DISPUTED, self.now + DISPUTE

    @rule(k=jobs_at, vid=st.integers(0, 2), bps=st.integers(0, 10_000))
    def vote(self, k: int, vid: int, bps: int) -> None:
        allowed = self.state[k] == JobState.DISPUTED and self.now <= self.deadline[k] and vid not in self.votes[k]
        if self.attempt(allowed, self.operators[vid], "vote", self.jobs[k], bps):
            self.votes[k][vid] = bps

    @rule(k=jobs_at)
    def settle(self, k: int) -> None:
        allowed = self.state[k] == JobState.DISPUTED and self.now > self.deadline[k]
        verdicts = [JobVerdict(vid, (10, 20, 40)[vid], bps) for vid, bps in self.votes[k].items()]
        receipt = self.attempt(allowed, self.shop.stranger, "settle", self.jobs[k])
        self.ends(k, receipt, judge(self.jobs[k][4], verdicts, 70, fee_bps=FEE_BPS)[1])

    @invariant()
    def holds_what_it_owes(self) -> None:
        held = sum(job[4] + self.bond(k) for k, job in enumerate(self.jobs) if self.running(k))
        shop = self.shop
        assert shop.balance(shop.jobs.address) == held
        assert shop.balance(shop.worker) + shop.balance(shop.sink) == self.paid_out
        assert shop.balance(shop.buyer) == RICH - held - self.paid_out

    def teardown(self) -> None:
        """Nobody but a stranger moves, and time passes: every job ends all the same."""
        if self.jobs:
            self.shop.ledger.now += DAY + REVIEW + DISPUTE + 1
            names = {JobState.FUNDED: "refund", JobState.DELIVERED: "claim", JobState.DISPUTED: "settle"}
            for job, state in zip(self.jobs, self.state, strict=True):
                if state in names:
                    self.shop.jobs.send(self.shop.stranger, names[state], job)
            assert self.shop.balance(self.shop.jobs.address) == 0


TestJobsMachine = JobsMachine.TestCase
TestJobsMachine.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
