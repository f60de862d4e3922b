"""Audits: rounds, attestations, accusations, votes and what they do to money."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.chain.contracts.court import SAMPLES, STAKE, TCT, Court, Juror, find_logs
from tests.chain.contracts.evm import Ledger, Reverted

from tercet.market.audit import EvaluationLog, build_evidence, judge_accusation, sample_index, settle_round

BOND = STAKE // 10


def refused(reason: str) -> Any:
    """A transaction that the contract refuses for this reason."""
    return pytest.raises(Reverted, match=f"^audits: {reason}$")


@pytest.fixture
def court() -> Court:
    return Court()


def vouch(court: Court, epoch: int, *, but: Juror | None = None) -> None:
    """Everybody finds everybody in order, except one."""
    for juror in court.jurors:
        court.attest(juror, epoch, *(other for other in court.jurors if other is not but))


# Rounds


def test_a_round_copies_what_must_not_move(court: Court) -> None:
    """Weights, evidence and seats change in the market afterwards; the round does not."""
    epoch = court.play()
    before = court.audits.call("get_seats", court.market.address, epoch)
    court.set("weigh", 0, 99)
    court.set("leave", 4)
    court.set("reveal", 1, b"e" * 32)
    assert court.audits.call("get_seats", court.market.address, epoch) == before
    assert [(seat["vid"], seat["pool"], seat["weight"]) for seat in before] == [(v, v + 1, 20) for v in range(5)]
    assert court.round(epoch)["weight"] == 100
    assert court.round(epoch)["evidence"] == 0b11111


def test_a_round_is_opened_once_in_its_epoch_by_anybody(court: Court) -> None:
    """Not before an epoch was closed, not twice, not while the next one closes, not later."""
    with refused("no epoch was closed"):
        court.audits.send(court.bank, "open_round", court.market.address)
    epoch = court.play(opened=False)
    court.set("set_closing", True)
    with refused("epoch is closing"):
        court.audits.send(court.bank, "open_round", court.market.address)
    court.set("set_closing", False)
    assert court.audits.send(court.bank, "open_round", court.market.address).value == epoch
    with refused("round is already open"):
        court.audits.send(court.bank, "open_round", court.market.address)
    court.play(opened=False)
    court.set("next_epoch")
    with refused("epoch is not the last closed one"):
        court.attest(court.jurors[0], epoch + 1)


def test_a_strangers_market_is_not_audited(court: Court) -> None:
    """It could name a true market's stakes as its own and have them slashed."""
    other = Court()
    other.play(opened=False)
    with refused("unknown market"):
        court.audits.send(court.bank, "open_round", court.token.address)
    with refused("unknown market"):
        court.audits.send(court.bank, "forfeit", court.token.address, 0, 1)


def test_the_registry_is_attached_once_by_the_deployer() -> None:
    """Until then nothing works."""
    ledger = Ledger()
    deployer, thief = ledger.account("deployer"), ledger.account("thief")
    token = ledger.deploy("Token", deployer, TCT)
    audits = ledger.deploy("Audits", token.address, 1, sender=deployer)
    with refused("no registry attached"):
        audits.send(thief, "open_round", token.address)
    with refused("caller is not the deployer"):
        audits.send(thief, "attach", token.address)
    with refused("registry is not a contract"):
        audits.send(deployer, "attach", thief)
    audits.send(deployer, "attach", token.address)
    with refused("already attached"):
        audits.send(deployer, "attach", token.address)
    for samples in (0, 17):
        with refused("samples out of bounds"):
            ledger.deploy("Audits", token.address, samples)
    with refused("stake token is not a contract"):
        ledger.deploy("Audits", thief, 1)


def test_an_endpoint_belongs_to_the_pool(court: Court) -> None:
    """The seat's next validator does not inherit it."""
    court.audits.send(court.jurors[0].operator, "set_endpoint", court.market.address, "http://127.0.0.1:1")
    assert court.audits.call("endpoint_of", court.market.address, 1) == "http://127.0.0.1:1"
    court.set("leave", 0)
    newcomer = court.seat(0, 20)
    assert court.audits.call("endpoint_of", court.market.address, newcomer.pool) == ""


# Attesting and settling


def test_audited_work_is_paid(court: Court) -> None:
    """Everybody vouches for everybody: all that was held is released, once."""
    epoch = court.play()
    assert court.held(court.jurors[0], epoch) == 200
    vouch(court, epoch)
    with refused("round is running"):
        court.settle(epoch)
    court.set("next_epoch")
    assert court.settle(epoch).value == 0b11111
    assert [court.held(juror, epoch) for juror in court.jurors] == [0] * 5
    reward = court.stakes.call("get_position", court.jurors[0].pool, court.jurors[0].operator)["reward"]
    assert reward == 1_000
    again = court.settle(epoch)
    assert (again.value, again.logs) == (0, [])


def test_who_publishes_no_evidence_or_does_not_attest_is_not_paid(court: Court) -> None:
    """The held share goes into the market's next reward."""
    epoch = court.play({1: 0})
    before = court.credit.call("balanceOf", court.market.address)
    for juror in court.jurors[:4]:
        court.attest(juror, epoch, *court.jurors)
    court.set("next_epoch")
    settled = {log.fields["pool"]: log.fields["released"] for log in find_logs(court.settle(epoch), "Settled")}
    assert settled == {1: True, 2: False, 3: True, 4: True, 5: False}
    assert court.credit.call("balanceOf", court.market.address) == before + 400


def test_half_of_the_others_weight_is_not_enough() -> None:
    """More than half has to vouch."""
    court = Court((10, 10, 10, 10, 10))
    epoch = court.play()
    supporters = {0: (1, 2, 3), 1: (0, 2), 2: (0, 3), 3: (0, 4), 4: (1, 3)}
    for voter in court.jurors:
        court.attest(voter, epoch, *(juror for juror in court.jurors if voter.vid in supporters[juror.vid]))
    court.set("next_epoch")
    court.settle(epoch)
    assert [court.held(juror, epoch) for juror in court.jurors] == [0] * 5
    paid = [court.stakes.call("get_position", j.pool, j.operator)["reward"] for j in court.jurors]
    assert paid == [1_000, 800, 800, 800, 800]


def test_nobody_attests_itself_or_twice_or_late_or_from_outside(court: Court) -> None:
    """The own bit is dropped; so are the bits of those without evidence."""
    epoch = court.play({4: 0})
    court.attest(court.jurors[0], epoch, *court.jurors)
    assert court.audits.call("get_seats", court.market.address, epoch)[0]["marks"] == 0b01110
    with refused("already attested"):
        court.attest(court.jurors[0], epoch)
    with pytest.raises(Reverted, match="not a validator's operator"):
        court.audits.send(court.bank, "attest", court.market.address, epoch, 0)
    court.set("leave", 3)
    newcomer = court.seat(3, 20)
    with refused("seat changed hands"):
        court.attest(newcomer, epoch)
    newcomer = court.seat(9, 20)
    with refused("caller has no weight in this round"):
        court.attest(newcomer, epoch)
    court.set("next_epoch")
    with refused("attestations are over"):
        court.attest(court.jurors[1], epoch)


def test_a_round_that_nobody_opened_is_forfeited(court: Court) -> None:
    """From the second epoch after it; so is a pool whose seat was gone when the round was opened."""
    epoch = court.play(opened=False)
    with refused("round can still be opened"):
        court.audits.send(court.bank, "forfeit", court.market.address, epoch, 1)
    with refused("round was never opened"):
        court.settle(epoch)
    court.set("leave", 2)
    court.audits.send(court.bank, "open_round", court.market.address)
    with refused("round is running"):
        court.audits.send(court.bank, "forfeit", court.market.address, epoch, 3)
    later = court.jurors.pop(2)
    second = court.play(opened=False)
    court.audits.send(court.bank, "forfeit", court.market.address, epoch, later.pool)
    assert court.held(later, epoch) == 0
    with refused("pool is in the round"):
        court.audits.send(court.bank, "forfeit", court.market.address, epoch, 1)
    court.set("next_epoch")
    court.audits.send(court.bank, "forfeit", court.market.address, second, 1)
    assert court.held(court.jurors[0], second) == 0


def test_forfeiting_waits_while_the_treasury_takes_no_money(court: Court) -> None:
    """Nothing is lost by trying, and seats that are released do not wait for the others."""
    epoch = court.play({0: 0})
    vouch(court, epoch)
    court.set("next_epoch")
    court.set("set_closing", True)
    with pytest.raises(Reverted, match="treasury is closing"):
        court.settle(epoch)
    court.settle(epoch, 0b11110)
    court.set("set_closing", False)
    assert court.settle(epoch).value == 0b00001


# Accusing


def test_a_confirmed_mismatch_slashes_and_pays_the_accuser(court: Court) -> None:
    """A tenth of the pool is cut: half goes to the accuser with its bond, half is burned, and the held share is lost."""
    epoch = court.play()
    accuser, liar, *jury = court.jurors
    supply, before = court.token.call("totalSupply"), court.balance(accuser.operator)
    court.accuse(accuser, liar, epoch)
    assert court.balance(accuser.operator) == before - BOND
    court.vote(jury[0], liar, epoch, guilty=True)
    assert court.stake(liar) == STAKE
    judged = find_logs(court.vote(jury[1], liar, epoch, guilty=True), "Judged")
    assert [log.fields["slashed"] for log in judged] == [STAKE // 10]
    assert court.stake(liar) == STAKE - STAKE // 10
    assert court.balance(accuser.operator) == before + STAKE // 20
    assert court.token.call("totalSupply") == supply - STAKE // 20
    vouch(court, epoch, but=liar)
    court.set("next_epoch")
    settled = {log.fields["pool"]: log.fields["released"] for log in find_logs(court.settle(epoch), "Settled")}
    assert settled == {1: True, 2: False, 3: True, 4: True, 5: True}


def test_a_false_accuser_loses_its_bond(court: Court) -> None:
    """Half of the weight says innocent, the accused's own included, and the bond is burned at once."""
    epoch = court.play()
    accuser, honest, *jury = court.jurors
    supply, before = court.token.call("totalSupply"), court.balance(accuser.operator)
    court.accuse(accuser, honest, epoch)
    for juror in jury[:2]:
        court.vote(juror, honest, epoch, guilty=False)
    assert court.accusation(honest, epoch)["state"] == 3
    assert court.balance(accuser.operator) == before - BOND
    assert court.token.call("totalSupply") == supply - BOND
    assert court.stake(honest) == STAKE
    with refused("no open accusation"):
        court.vote(jury[2], honest, epoch, guilty=False)
    with refused("one accusation a round"):
        court.accuse(accuser, jury[0], epoch)
    with refused("already accused"):
        court.accuse(jury[0], honest, epoch)
    vouch(court, epoch)
    court.set("next_epoch")
    court.settle(epoch)
    assert court.held(honest, epoch) == 0


def test_an_accusation_without_votes_is_rejected_when_they_are_over(court: Court) -> None:
    """It holds the settlement up for one epoch at most."""
    epoch = court.play()
    accuser, honest, juror, *_ = court.jurors
    court.accuse(accuser, honest, epoch)
    vouch(court, epoch)
    court.set("next_epoch")
    with refused("accusations are over"):
        court.accuse(juror, honest, epoch, 1)
    with refused("an accusation is open"):
        court.settle(epoch)
    with refused("votes are running"):
        court.resolve(honest, epoch)
    court.vote(juror, honest, epoch, guilty=True)
    court.set("next_epoch")
    with refused("votes are over"):
        court.vote(court.jurors[3], honest, epoch, guilty=True)
    court.resolve(honest, epoch)
    assert court.accusation(honest, epoch)["state"] == 3
    assert court.settle(epoch).value == 0b11111
    assert court.held(honest, epoch) == 0


def test_a_seat_is_slashed_once_a_round(court: Court) -> None:
    """Other accusations of the convict are moot: their bonds come back."""
    epoch = court.play()
    accuser, liar, late, *jury = court.jurors
    before = court.balance(late.operator)
    picks = [sample_index(b"b" * 32, liar.pool, sample, 7) for sample in range(SAMPLES)]
    assert len(set(picks[:2])) == 2
    court.accuse(accuser, liar, epoch, 0)
    court.accuse(late, liar, epoch, 1)
    for juror in jury:
        court.vote(juror, liar, epoch, guilty=True)
    with refused("already convicted"):
        court.vote(jury[0], liar, epoch, guilty=True, sample=1)
    with refused("already convicted"):
        court.accuse(jury[0], liar, epoch, 2)
    court.resolve(liar, epoch, 1)
    assert court.accusation(liar, epoch, 1)["state"] == 4
    assert court.balance(late.operator) == before
    assert court.stake(liar) == STAKE - STAKE // 10


def test_the_accused_and_the_accuser_have_no_further_voice(court: Court) -> None:
    """Their weight is counted from the start; nobody votes twice."""
    epoch = court.play()
    accuser, accused, juror, *_ = court.jurors
    court.accuse(accuser, accused, epoch)
    with refused("caller is the accused"):
        court.vote(accused, accused, epoch, guilty=False)
    with refused("already voted"):
        court.vote(accuser, accused, epoch, guilty=True)
    court.vote(juror, accused, epoch, guilty=False)
    with refused("already voted"):
        court.vote(juror, accused, epoch, guilty=False)
    with refused("caller is the accused"):
        court.accuse(juror, juror, epoch)


def test_a_majority_holder_cannot_be_accused_and_convicts_nobody_alone() -> None:
    """The first could only cost the accuser its bond; the second needs at least one more voice."""
    court = Court((60, 20, 20))
    epoch = court.play()
    whale, small, other = court.jurors
    with refused("accused holds half of the weight"):
        court.accuse(small, whale, epoch)
    court.accuse(whale, small, epoch)
    assert court.accusation(small, epoch)["state"] == 1
    court.vote(other, small, epoch, guilty=False)
    assert court.accusation(small, epoch)["state"] == 2


def swap_root(court: Court, liar: Juror) -> dict[str, Any]:
    """Another log of the same size."""
    log = EvaluationLog([bytes([k]) * 32 for k in range(7)])
    index = sample_index(b"b" * 32, liar.pool, 0, 7)
    return {"root": log.root, "leaf": log.levels[0][index], "proof": log.proof(index)}


def shift(court: Court, liar: Juror) -> dict[str, Any]:
    """An entry of the log that the beacon did not pick."""
    assert liar.log is not None
    index = (sample_index(b"b" * 32, liar.pool, 0, 7) + 1) % 7
    return {"leaf": liar.log.levels[0][index], "proof": liar.log.proof(index)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (swap_root, "not the validator's log"),
        (shift, "entry is not in the log|proof has another length"),
        (lambda court, liar: {"count": 8}, "not the validator's log"),
        (lambda court, liar: {"proof": []}, "proof has another length"),
        (lambda court, liar: {"proof": [b"x" * 32] * 20}, "proof has another length"),
        (lambda court, liar: {"leaf": b"x" * 32}, "entry is not in the log"),
        (lambda court, liar: {"evidence": court.evidence()[::-1]}, "not the round's evidence"),
        (lambda court, liar: {"evidence": []}, "not the round's evidence"),
    ],
)
def test_an_accusation_names_an_entry_that_was_picked(
    court: Court, change: Callable[[Court, Juror], dict[str, Any]], reason: str
) -> None:
    """Of the log that was revealed, in the place that the beacon says; anything else is refused without a bond."""
    epoch = court.play()
    accuser, liar, *_ = court.jurors
    with refused(f"({reason})"):
        court.accuse(accuser, liar, epoch, **change(court, liar))
    assert court.balance(court.audits.address) == 0


def test_an_accusation_needs_evidence_and_a_sample(court: Court) -> None:
    """Who published nothing loses its held share without any vote."""
    epoch = court.play({1: 0})
    accuser, silent, liar, *_ = court.jurors
    silent.log = EvaluationLog([b"x" * 32])
    with refused("no evidence of this validator"):
        court.accuse(accuser, silent, epoch, evidence=court.evidence())
    silent.log = None
    with refused("no such sample"):
        court.accuse(accuser, liar, epoch, SAMPLES)
    with refused("no evidence of this validator"):
        court.audits.send(
            accuser.operator, "accuse", court.market.address, epoch, 64, 0, 1, b"r" * 32, b"l" * 32, [], []
        )


def test_a_log_that_cannot_be_opened_cannot_be_accused(court: Court) -> None:
    """Evidence of nothing, or of more than the tree may have, is never vouched for and so never paid."""
    epoch = court.epoch
    for juror in court.jurors:
        court.set("weigh", juror.vid, 20)
    empty_log, endless = court.jurors[0], court.jurors[1]
    forged = {empty_log.vid: (0, b"r" * 32), endless.vid: (2**21, b"r" * 32)}
    for vid, (count, root) in forged.items():
        court.set("reveal", vid, build_evidence(count, root))
    court.set("set_beacon", epoch, b"b" * 32)
    court.set("next_epoch")
    court.audits.send(court.bank, "open_round", court.market.address)
    evidence = [build_evidence(*pair) for pair in forged.values()]
    for vid, reason in ((0, "log is empty"), (1, "log is too long")):
        count, root = forged[vid]
        accuser = court.jurors[4].operator
        proof = [b"p" * 32] * (20 if count else 0)
        with refused(reason):
            court.audits.send(
                accuser, "accuse", court.market.address, epoch, vid, 0, count, root, b"l" * 32, proof, evidence
            )


def test_a_wound_down_market_is_still_settled() -> None:
    """Its clock stands, so a stage lasts as long as an epoch did: 100 seconds here."""
    court = Court()
    court.set("wind_down")
    epoch = court.play()
    accuser, liar, *jury = court.jurors
    court.accuse(accuser, liar, epoch)
    vouch(court, epoch, but=liar)
    court.ledger.now += 99
    with refused("round is running"):
        court.settle(epoch)
    court.ledger.now += 1
    with refused("attestations are over"):
        court.attest(accuser, epoch)
    for juror in jury:
        if court.accusation(liar, epoch)["state"] == 1:
            court.vote(juror, liar, epoch, guilty=True)
    assert court.settle(epoch).value == 0b11111
    assert court.stake(liar) == STAKE - STAKE // 10


def test_a_slash_of_nothing_is_still_a_verdict() -> None:
    """With slash_bps 0, or a pool that was emptied at the end of the market, only the held share is lost."""
    court = Court(params={"slash_bps": 0})
    epoch = court.play()
    accuser, liar, *jury = court.jurors
    before = court.balance(accuser.operator)
    court.accuse(accuser, liar, epoch)
    for juror in jury[:2]:
        court.vote(juror, liar, epoch, guilty=True)
    assert (court.stake(liar), court.balance(accuser.operator)) == (STAKE, before)
    assert court.accusation(liar, epoch)["state"] == 2


# The twin


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_settling_equals_the_twin(data: st.DataObject) -> None:
    """Any weights, any marks, any of the seats with evidence: the same seats are paid."""
    weights = data.draw(st.lists(st.integers(1, 2**40), min_size=1, max_size=9))
    court = Court(weights)
    sizes = {vid: data.draw(st.sampled_from([0, 1, 5])) for vid in range(len(weights))}
    epoch = court.play(sizes)
    marks = {}
    for juror in court.jurors:
        if data.draw(st.integers(0, 9)) < 9:
            marks[juror.vid] = data.draw(st.sampled_from([2**64 - 1, data.draw(st.integers(0, 2**64 - 1))]))
            court.audits.send(juror.operator, "attest", court.market.address, epoch, marks[juror.vid])
    court.set("next_epoch")
    settled = {log.fields["pool"] - 1: log.fields["released"] for log in find_logs(court.settle(epoch), "Settled")}
    evident = sum(1 << vid for vid, size in sizes.items() if size)
    assert settled == settle_round(dict(enumerate(weights)), evident, marks, 0)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1), st.integers(0, 15), st.integers(1, 2**20))
def test_the_pick_equals_the_twin(beacon: bytes, pool: int, sample: int, count: int) -> None:
    """The beacon picks the same entry on chain and here."""
    assert COURT.audits.call("sample_index", beacon, pool, sample, count) == sample_index(beacon, pool, sample, count)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(0, SAMPLES - 1))
def test_every_proof_of_the_twin_is_accepted(size: int, sample: int) -> None:
    """Whatever the size of the log; and a proof with a bit turned never is."""
    epoch = COURT.play({1: size})
    accuser, accused, *_ = COURT.jurors
    index = sample_index(b"b" * 32, accused.pool, sample, size)
    assert accused.log is not None
    proof = accused.log.proof(index)
    if proof:
        turned = [*proof[:-1], bytes(b ^ 1 for b in proof[-1])]
        with refused("entry is not in the log"):
            COURT.accuse(accuser, accused, epoch, sample, proof=turned)
    (filed,) = find_logs(COURT.accuse(accuser, accused, epoch, sample), "Accused")
    assert filed.fields["index"] == index


COURT = Court()


class Trial(RuleBasedStateMachine):
    """Any order of attestations, accusations, votes and settlements over several rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.court = Court((7, 20, 13, 20, 5, 11))
        self.supply = self.court.token.call("totalSupply")
        self.marks: dict[int, dict[int, int]] = {}
        self.votes: dict[tuple[int, int, int], dict[int, bool]] = {}
        self.accusers: dict[tuple[int, int, int], int] = {}
        self.done: dict[tuple[int, int, int], str] = {}
        self.epochs: list[int] = []
        self.bonds_in = self.bonds_out = self.burned = 0
        self.held_in = self.released = self.forfeited = 0
        self.cuts = 0

    @property
    def newest(self) -> int:
        return self.epochs[-1]

    def weights(self) -> dict[int, int]:
        return {juror.vid: juror.weight for juror in self.court.jurors}

    @rule(pay=st.integers(5, 5_000))
    def play(self, pay: int) -> None:
        """The next epoch."""
        self.epochs.append(self.court.play(pay=pay))
        self.marks[self.newest] = {}
        self.held_in += sum(self.court.held(juror, self.newest) for juror in self.court.jurors)

    @precondition(lambda self: self.epochs)
    @rule(vid=st.integers(0, 5), marks=st.integers(0, 63))
    def attest(self, vid: int, marks: int) -> None:
        juror = self.court.jurors[vid]
        if vid in self.marks[self.newest]:
            with refused("already attested"):
                self.court.audits.send(juror.operator, "attest", self.court.market.address, self.newest, marks)
            return
        self.court.audits.send(juror.operator, "attest", self.court.market.address, self.newest, marks)
        self.marks[self.newest][vid] = marks & ~(1 << vid)

    @precondition(lambda self: self.epochs)
    @rule(accuser=st.integers(0, 5), accused=st.integers(0, 5), sample=st.integers(0, SAMPLES - 1))
    def accuse(self, accuser: int, accused: int, sample: int) -> None:
        jurors, key = self.court.jurors, (self.newest, accused, sample)
        known = {other for other in self.accusers if other[0] == self.newest}
        refusable = key in known or accuser == accused or self.convicted(self.newest) >> accused & 1
        if refusable or accuser in {self.accusers[other] for other in known}:
            with pytest.raises(Reverted):
                self.court.accuse(jurors[accuser], jurors[accused], self.newest, sample)
            return
        self.court.accuse(jurors[accuser], jurors[accused], self.newest, sample)
        self.accusers[key], self.votes[key] = accuser, {}
        self.bonds_in += BOND

    @precondition(lambda self: self.accusers)
    @rule(data=st.data(), vid=st.integers(0, 5), guilty=st.booleans())
    def vote(self, data: st.DataObject, vid: int, guilty: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.accusers)))
        epoch, accused, sample = key
        jurors = self.court.jurors
        allowed = (
            key not in self.done
            and self.court.epoch <= epoch + 2
            and vid not in {accused, self.accusers[key], *self.votes[key]}
            and not self.convicted(epoch) >> accused & 1
        )
        if not allowed:
            with pytest.raises(Reverted):
                self.court.vote(jurors[vid], jurors[accused], epoch, guilty=guilty, sample=sample)
            return
        before = self.court.stake(jurors[accused])
        self.court.vote(jurors[vid], jurors[accused], epoch, guilty=guilty, sample=sample)
        self.votes[key][vid] = guilty
        verdict = judge_accusation(self.weights(), self.accusers[key], accused, self.votes[key])
        state = {"open": 1, "confirmed": 2, "rejected": 3}[verdict]
        assert self.court.accusation(jurors[accused], epoch, sample)["state"] == state
        if verdict != "open":
            self.close(key, verdict)
        cut = before - self.court.stake(jurors[accused])
        assert cut == (before // 10 if verdict == "confirmed" else 0)
        self.cuts += cut - cut // 2

    def close(self, key: tuple[int, int, int], verdict: str) -> None:
        self.done[key] = verdict
        if verdict == "rejected":
            self.burned += BOND
        else:
            self.bonds_out += BOND

    @precondition(lambda self: self.accusers)
    @rule(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.accusers)))
        epoch, accused, sample = key
        moot = self.convicted(epoch) >> accused & 1
        if key in self.done or not (moot or self.court.epoch > epoch + 2):
            with pytest.raises(Reverted):
                self.court.resolve(self.court.jurors[accused], epoch, sample)
            return
        self.court.resolve(self.court.jurors[accused], epoch, sample)
        self.close(key, "moot" if moot else "rejected")

    @precondition(lambda self: self.epochs)
    @rule(data=st.data(), vids=st.integers(0, 63))
    def settle(self, data: st.DataObject, vids: int) -> None:
        epoch = data.draw(st.sampled_from(self.epochs))
        is_open = any(key[0] == epoch and key not in self.done for key in self.accusers)
        if self.court.epoch < epoch + 2 or is_open:
            with pytest.raises(Reverted):
                self.court.settle(epoch, vids)
            return
        expected = settle_round(self.weights(), 63, self.marks[epoch], self.convicted(epoch))
        for log in find_logs(self.court.settle(epoch, vids), "Settled"):
            assert log.fields["released"] == expected[log.fields["pool"] - 1]
            self.released += log.fields["reward"] if log.fields["released"] else 0
            self.forfeited += 0 if log.fields["released"] else log.fields["reward"]

    def convicted(self, epoch: int) -> int:
        guilty = {key[1] for key, verdict in self.done.items() if key[0] == epoch and verdict == "confirmed"}
        return sum(1 << vid for vid in guilty)

    @invariant()
    def no_bond_is_lost_or_made(self) -> None:
        """What came in is here, went back or was burned."""
        here = self.court.balance(self.court.audits.address)
        assert here == self.bonds_in - self.bonds_out - self.burned
        assert here == BOND * (len(self.accusers) - len(self.done))
        assert self.court.token.call("totalSupply") == self.supply - self.burned - self.cuts

    @invariant()
    def what_was_held_is_released_or_forfeited(self) -> None:
        """Each once, and the rest is still held."""
        still = sum(self.court.held(juror, epoch) for epoch in self.epochs for juror in self.court.jurors)
        assert still == self.held_in - self.released - self.forfeited


TestTrial = Trial.TestCase
TestTrial.settings = settings(max_examples=6, stateful_step_count=30, deadline=None)
