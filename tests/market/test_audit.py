"""The maths of audits: trees, proofs, picks, tallies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tercet.errors import MarketError
from tercet.market.audit import (
    MAX_ENTRIES,
    SCORE_SCALE,
    Evaluation,
    EvaluationLog,
    climb,
    judge_accusation,
    list_marks,
    pack_marks,
    sample_index,
    settle_round,
)

leaves = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70)
ENTRY = Evaluation("0x" + "ab" * 20, 3, 9, 0, 5, 2, "judged", SCORE_SCALE, b"p" * 32)


@given(leaves, st.data())
def test_every_entry_has_a_proof_and_fits_no_other_place(found: list[bytes], data: st.DataObject) -> None:
    """A proof leads from its own leaf at its own index to the root, and nothing else does."""
    log = EvaluationLog(found)
    index = data.draw(st.integers(0, log.count - 1))
    proof = log.proof(index)
    assert climb(found[index], index, log.count, proof) == log.root
    other = data.draw(st.integers(0, log.count - 1))
    if found[other] != found[index]:
        assert climb(found[other], index, log.count, proof) != log.root
        assert climb(found[index], other, log.count, proof) != log.root
    assert climb(found[index], index, log.count, [*proof, b"x" * 32]) is None
    if proof:
        assert climb(found[index], index, log.count, proof[:-1]) is None


@given(leaves, leaves)
def test_two_logs_never_share_their_evidence(one: list[bytes], other: list[bytes]) -> None:
    """The count is part of it, so the lone last node of an odd level cannot be doubled unseen."""
    assert (EvaluationLog(one).evidence == EvaluationLog(other).evidence) == (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"market": "0x" + "ac" * 20},
        {"epoch": 4},
        {"pool": 10},
        {"index": 1},
        {"uid": 6},
        {"generation": 3},
        {"kind": "missed"},
        {"score": 0},
        {"package": b"q" * 32},
    ],
)
def test_an_entry_cannot_be_used_again_elsewhere(change: dict[str, object]) -> None:
    """Another market, epoch, validator or place is another leaf."""
    assert replace(ENTRY, **change).leaf != ENTRY.leaf  # type: ignore[arg-type]  # one field at a time


def test_an_empty_log_is_refused() -> None:
    """There is nothing to commit to: reveal no evidence instead."""
    with pytest.raises(MarketError, match="reveal no evidence"):
        EvaluationLog([])
    assert MAX_ENTRIES == 2**20


@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**32 - 1), st.integers(1, MAX_ENTRIES))
def test_a_pick_lies_in_the_log(beacon: bytes, pool: int, count: int) -> None:
    """And differs between validators: who copies another's log does not copy its samples."""
    picks = [sample_index(beacon, pool, sample, count) for sample in range(16)]
    assert all(0 <= pick < count for pick in picks)
    if count > 1000:
        assert picks != [sample_index(beacon, pool + 1, sample, count) for sample in range(16)]


@given(st.sets(st.integers(0, 63)))
def test_marks_are_a_set_of_vids(vids: set[int]) -> None:
    """There and back."""
    assert list_marks(pack_marks(sorted(vids))) == sorted(vids)


weights = st.dictionaries(st.integers(0, 63), st.integers(1, 2**40), min_size=2, max_size=12)


@given(weights, st.data())
def test_half_of_the_weight_convicts_nobody(seats: dict[int, int], data: st.DataObject) -> None:
    """Whatever a coalition of at most half of all weight does, with the accuser in it, nobody is slashed."""
    vids = sorted(seats)
    accuser = data.draw(st.sampled_from(vids))
    accused = data.draw(st.sampled_from([vid for vid in vids if vid != accuser]))
    voters = data.draw(st.sets(st.sampled_from(vids)).map(lambda found: found - {accuser, accused}))
    verdict = judge_accusation(seats, accuser, accused, dict.fromkeys(voters, True))
    coalition = seats[accuser] + sum(seats[vid] for vid in voters)
    assert (verdict == "confirmed") == (bool(voters) and 2 * coalition > sum(seats.values()))


@given(weights)
def test_a_lone_or_silent_round_releases_nothing(seats: dict[int, int]) -> None:
    """Without attestations all is forfeited, and so it is for a validator without others."""
    everybody = pack_marks(list(seats))
    assert not any(settle_round(seats, everybody, {}, 0).values())
    vid = min(seats)
    assert settle_round({vid: seats[vid]}, everybody, {vid: everybody}, 0) == {vid: False}


def test_who_vouches_for_a_convict_loses_its_own() -> None:
    """Attesting blindly is a risk; attesting the others is not touched by it."""
    seats = {0: 10, 1: 10, 2: 10, 3: 10}
    marks = {0: 0b1110, 1: 0b1101, 2: 0b0011, 3: 0b0111}
    assert settle_round(seats, 0b1111, marks, 0b1000) == {0: False, 1: False, 2: True, 3: False}
