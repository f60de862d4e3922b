"""An epoch's audit on the four real contracts of a market: from the commit of a log to the money."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.chain.contracts.arena import CREDIT, SALT, TCT, Arena, Member, Params, make_row
from tests.chain.contracts.evm import Receipt, Reverted

from tercet.market.audit import Evaluation, EvaluationLog, pack_marks, sample_index
from tercet.market.epoch import pack_row

SAMPLES = 4
REWARD = 1_000 * CREDIT
PARAMS = Params(audit_share_bps=2_000, slash_bps=1_000, weight_cap_bps=2_000)


class AuditedArena:
    """Some validators, two miners, a sponsor; everybody commits to a log."""

    def __init__(self, validators: int = 5, entries: int = 16) -> None:
        self.arena = Arena(PARAMS, samples=SAMPLES)
        self.audits, self.market = self.arena.audits, self.arena.market
        self.entries = entries
        for _ in range(2):
            self.arena.add_miner()
        self.jurors = [self.arena.add_validator() for _ in range(validators)]
        self.arena.add_sponsor(10 * REWARD, 10)
        self.arena.skip_epoch()
        self.logs: dict[int, EvaluationLog] = {}

    def play(self, silent: Sequence[int] = ()) -> int:
        """One epoch in which everybody, but for the silent, reveals the same row and a log of its own."""
        arena, epoch = self.arena, self.arena.epoch
        row, generation = make_row([30_000, 30_000], 3), arena.as_of()
        voters = [juror for juror in self.jurors if juror.slot not in silent]
        for juror in voters:
            self.logs[juror.slot] = EvaluationLog([self.entry(juror, k).leaf for k in range(self.entries)])
            evidence = self.logs[juror.slot].evidence
            digest = arena.digest(juror, generation, pack_row(row), SALT, evidence)
            self.market.send(juror.operator, "commit", digest)
        arena.ledger.now += PARAMS.commit_seconds
        for juror in voters:
            evidence = self.logs[juror.slot].evidence
            self.market.send(juror.operator, "reveal", *arena.opening_of(row, generation, evidence))
        arena.ledger.now += PARAMS.reveal_seconds
        arena.close()
        return epoch

    def entry(self, juror: Member, index: int) -> Evaluation:
        package = (juror.slot << 16 | index).to_bytes(32, "big")
        return Evaluation(self.market.address, self.arena.epoch, juror.pool, index, 1, 1, "judged", 10**9, package)

    def attest(self, juror: Member, epoch: int, vids: Sequence[int]) -> Receipt:
        return self.audits.send(juror.operator, "attest", self.market.address, epoch, pack_marks(vids))

    def accuse(self, accuser: Member, accused: Member, epoch: int) -> Receipt:
        bond = self.audits.call("bond_of", self.market.address)
        self.arena.give_stake_token(accuser.operator, bond, self.audits)
        log = self.logs[accused.slot]
        beacon = self.audits.call("get_round", self.market.address, epoch)["beacon"]
        index = sample_index(beacon, accused.pool, 0, log.count)
        evidence = [self.logs[slot].evidence for slot in sorted(self.logs)]
        proof = (log.count, log.root, log.levels[0][index], log.proof(index), evidence)
        return self.audits.send(accuser.operator, "accuse", self.market.address, epoch, accused.slot, 0, *proof)

    def claimable(self, juror: Member) -> int:
        return int(self.arena.stakes.call("get_position", juror.pool, juror.owner)["reward"])

    def held(self, juror: Member, epoch: int) -> int:
        return int(self.arena.stakes.call("get_held", juror.pool, epoch)[0])


def test_a_liar_is_slashed_and_the_honest_are_paid_what_was_held() -> None:
    """The held share of five equal validators; the liar's goes into the market's next reward."""
    there = AuditedArena()
    arena = there.arena
    epoch = there.play()
    accuser, liar, *jury = there.jurors
    held = there.held(accuser, epoch)
    assert held > 0
    assert {there.held(juror, epoch) for juror in there.jurors} == {held}
    there.audits.send(arena.bank, "open_round", there.market.address)
    assert there.audits.call("get_round", there.market.address, epoch)["evidence"] == pack_marks(sorted(there.logs))
    there.accuse(accuser, liar, epoch)
    for juror in jury[:2]:
        there.audits.send(juror.operator, "vote", there.market.address, epoch, liar.slot, 0, True)
    assert arena.stakes.call("get_pool", liar.pool)["bonded"] == 900 * TCT
    assert arena.token.call("balanceOf", accuser.operator) == 10 * TCT + 50 * TCT
    for juror in there.jurors:
        there.attest(juror, epoch, [other.slot for other in there.jurors if other is not liar])
    there.play()
    carry = arena.treasury.call("books")["carry"]
    before = [there.claimable(juror) for juror in there.jurors]
    there.audits.send(arena.bank, "settle", there.market.address, epoch, 2**64 - 1)
    assert [there.held(juror, epoch) for juror in there.jurors] == [0] * 5
    assert arena.treasury.call("books")["carry"] == carry + held
    gained = [there.claimable(juror) - had for juror, had in zip(there.jurors, before, strict=True)]
    assert gained == [held, 0, held, held, held]


def test_a_validator_cannot_leave_before_its_row_was_audited() -> None:
    """Else a liar would go in the very transaction that pays it, and take its evidence with it."""
    there = AuditedArena()
    there.play()
    liar = there.jurors[1]
    with pytest.raises(Reverted, match="row can still be audited"):
        there.market.send(liar.owner, "leave_validator", liar.slot)
    epoch = there.play(silent=[liar.slot])
    there.market.send(liar.owner, "leave_validator", liar.slot)
    there.audits.send(there.arena.bank, "open_round", there.market.address)
    assert not there.audits.call("get_round", there.market.address, epoch)["evidence"] >> liar.slot & 1


def test_who_reveals_again_before_the_round_is_opened_has_no_evidence_any_more() -> None:
    """So the others open it at once; it costs the late one its held share, and nobody else anything."""
    there = AuditedArena()
    epoch = there.play()
    juror = there.jurors[0]
    arena, row = there.arena, make_row([30_000, 30_000], 3)
    there.market.send(juror.operator, "commit", arena.digest(juror, arena.as_of(), pack_row(row), SALT, b"e" * 32))
    arena.ledger.now += PARAMS.commit_seconds
    there.market.send(juror.operator, "reveal", *arena.opening_of(row, evidence=b"e" * 32))
    there.audits.send(arena.bank, "open_round", there.market.address)
    evident = there.audits.call("get_round", there.market.address, epoch)["evidence"]
    assert evident == pack_marks([other.slot for other in there.jurors[1:]])


@pytest.mark.slow
def test_the_largest_market_is_audited_within_a_transactions_gas() -> None:
    """64 validators, 65,536 entries each would be a depth of 16; everything stays below 2**24 gas."""
    there = AuditedArena(validators=64, entries=1)
    epoch = there.play()
    opened = there.audits.send(there.arena.bank, "open_round", there.market.address)
    accused = there.accuse(there.jurors[0], there.jurors[63], epoch)
    voted = there.audits.send(there.jurors[1].operator, "vote", there.market.address, epoch, 63, 0, False)
    attested = [there.attest(juror, epoch, range(64)).gas for juror in there.jurors]
    there.play()
    there.play()
    there.audits.send(there.arena.bank, "resolve", there.market.address, epoch, 63, 0)
    settled = there.audits.send(there.arena.bank, "settle", there.market.address, epoch, 2**64 - 1)
    figures = {
        "open_round": opened.gas,
        "accuse": accused.gas,
        "vote": voted.gas,
        "attest": max(attested),
        "settle": settled.gas,
    }
    print(figures)
    assert max(figures.values()) < 2**24
    assert settled.value == 2**64 - 1
