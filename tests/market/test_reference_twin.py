"""The reference's epoch, read a second time: dense matrices, step by step, with none of the product's functions.

The published vectors are a few dozen states; here Hypothesis draws others: no stake at all, ties everywhere, one neuron, rows of
zeros, everybody replaced, thresholds and permits that leave nobody, penalties between, the largest values.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.market.epoch import ReferenceState, close_reference_epoch

ONE, FULL = 2**32, 65_535
Matrix = list[list[int]]


def mul(a: int, b: int) -> int:
    return a * b // ONE


def div(a: int, b: int) -> int:
    return a * ONE // b if b else 0


def share(values: list[int]) -> list[int]:
    total = sum(values)
    return [div(value, total) for value in values] if total else values


def share_columns(matrix: Matrix) -> Matrix:
    return transpose([share(column) for column in transpose(matrix)])


def transpose(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def u16(values: list[int]) -> list[int]:
    return [min(FULL, value * FULL // ONE) for value in values]


@dataclass
class Expected:
    consensus: list[int]
    incentive: list[int]
    dividends: list[int]
    trust: list[int]
    permit: list[bool]
    emission: list[int]
    server: list[int]
    validator: list[int]
    bonds: Matrix
    stake: list[int]


def median(column: list[int], stake: list[int], kappa: int) -> int:
    """By its definition: the largest score with enough stake at it or above; all voters' smallest if none has."""
    voters = [(score, part) for score, part in zip(column, stake, strict=True) if part]
    if not voters:
        return 0
    enough = [w for w, _ in voters if sum(part for score, part in voters if score >= w) >= kappa]
    return max(enough, default=min(score for score, _ in voters))


def close(s: ReferenceState) -> Expected:
    n = len(s.stake)
    everybody = range(n)
    owner = s.owner_uid
    stake = share([x if x >= s.stake_threshold or i == owner else 0 for i, x in enumerate(s.stake)])
    late = [u + s.activity_cutoff_blocks < s.current_block for u in s.last_update]
    permit = [bool(p) or i == owner for i, p in enumerate(s.validator_permit)]
    ahead = [sum((stake[j], j) > (stake[i], i) for j in everybody) for i in everybody]
    next_permit = [(ahead[i] < s.max_allowed_validators and stake[i] > 0) or i == owner for i in everybody]
    active = share([0 if late[i] or not permit[i] else stake[i] for i in everybody])

    weights = [[0] * n for _ in everybody]
    for i in everybody:
        for j, w in s.weights[i].items():
            known = s.last_update[i] > s.block_at_registration[j]
            commit = s.commit_blocks[i] if s.commit_blocks is not None else None
            fresh = commit is None or commit >= s.block_at_registration[j]
            if permit[i] and known and fresh and (i != j or (i == owner and s.keep_owner_diagonal)):
                weights[i][j] = w
        weights[i] = share(weights[i])

    voting = share([a for a in active if a])
    parts = [voting.pop(0) if a else 0 for a in active]
    kappa = div(s.kappa_u16, FULL)
    consensus = [median([weights[i][j] for i in everybody], parts, kappa) for j in everybody]
    clipped = [[min(weights[i][j], consensus[j]) for j in everybody] for i in everybody]
    incentive = share([sum(mul(active[i], clipped[i][j]) for i in everybody) for j in everybody])

    beta = div(s.bonds_penalty_u16, FULL)
    followed = [
        [max(0, weights[i][j] + mul(beta, clipped[i][j] - weights[i][j])) for j in everybody] for i in everybody
    ]
    newest = s.last_mechanism_step_block + 1 if s.last_mechanism_step_block else max(0, s.current_block - s.tempo)
    old = [[s.bonds[i].get(j, 0) if newest > s.block_at_registration[j] else 0 for j in everybody] for i in everybody]
    rate = ONE - div(s.bonds_moving_average, 1_000_000)

    def blend(new: Matrix, before: Matrix) -> Matrix:
        return [[mul(rate, new[i][j]) + mul(ONE - rate, before[i][j]) for j in everybody] for i in everybody]

    if s.yuma3:
        bonds = blend(followed, [[div(b, FULL) for b in row] for row in old])
        held = share_columns(bonds)
        earned = [sum(mul(held[i][j], incentive[j]) for j in everybody) for i in everybody]
        dividends = share([mul(active[i], earned[i]) for i in everybody])
        kept = bonds
    else:
        bought = share_columns([[mul(active[i], followed[i][j]) for j in everybody] for i in everybody])
        held = share_columns(blend(bought, share_columns(old)))
        dividends = share([sum(mul(held[i][j], incentive[j]) for j in everybody) for i in everybody])
        kept = transpose([[div(b, max(column)) for b in column] for column in transpose(held)])

    both = [i + d for i, d in zip(incentive, dividends, strict=True)]
    if sum(both):
        server, validator, combined = (
            [div(i, sum(both)) for i in incentive],
            [div(d, sum(both)) for d in dividends],
            share(both),
        )
    else:
        server, validator = incentive, active if sum(active) else stake
        combined = validator
    return Expected(
        consensus=u16(consensus),
        incentive=u16(incentive),
        dividends=u16(dividends),
        trust=u16([sum(row) for row in clipped]),
        permit=next_permit,
        emission=[mul(c, s.emission) for c in combined],
        server=[mul(x, s.emission) for x in server],
        validator=[mul(x, s.emission) for x in validator],
        bonds=[u16(row) if next_permit[i] else [0] * n for i, row in enumerate(kept)],
        stake=u16(stake),
    )


small = st.integers(0, 3)
weight = st.sampled_from([0, 1, 2, FULL // 2, FULL - 1, FULL]) | st.integers(0, FULL)


@st.composite
def states(draw: st.DrawFn) -> ReferenceState:
    n = draw(st.integers(1, 7))

    def each(value: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(st.lists(value, min_size=n, max_size=n)))

    def rows() -> tuple[dict[int, int], ...]:
        return tuple(draw(st.dictionaries(st.integers(0, n - 1), weight, max_size=n)) for _ in range(n))

    block = st.integers(0, 12)
    commits = tuple(draw(st.lists(st.none() | block, min_size=n, max_size=n))) if draw(st.booleans()) else None
    return ReferenceState(
        current_block=draw(block),
        tempo=draw(st.sampled_from([0, 1, 3, 65_534])),
        activity_cutoff_blocks=draw(st.sampled_from([0, 1, 5, 910_201])),
        last_mechanism_step_block=draw(block),
        stake=each(draw(st.sampled_from([small, st.just(1), st.integers(0, 2**64 - 1), st.sampled_from([0, 10**9])]))),
        stake_threshold=draw(st.sampled_from([0, 0, 1, 2, 10**9])),
        last_update=each(block),
        block_at_registration=each(draw(st.sampled_from([st.just(0), block]))),
        validator_permit=tuple(bool(x) for x in each(st.sampled_from([0, 1, 1]))),
        weights=rows(),
        bonds=rows(),
        kappa_u16=draw(st.sampled_from([0, 1, 32_767, 32_768, 40_000, FULL])),
        bonds_penalty_u16=draw(st.sampled_from([0, 1, 32_768, FULL])),
        bonds_moving_average=draw(st.sampled_from([0, 500_000, 900_000, 975_000, 999_999, 1_000_000])),
        yuma3=draw(st.booleans()),
        max_allowed_validators=draw(st.integers(0, n + 1)),
        emission=draw(st.sampled_from([0, 1, 10**9, 2**64 - 1])),
        owner_uid=draw(st.none() | st.integers(0, n - 1)),
        keep_owner_diagonal=draw(st.booleans()),
        commit_blocks=commits,
    )


@given(states())
@settings(max_examples=150, deadline=None)
def test_two_readings_of_the_reference_agree(state: ReferenceState) -> None:
    """Every number that the reference stores."""
    found, expected = close_reference_epoch(state), close(state)
    n = len(state.stake)
    assert list(found.stake_weight) == expected.stake
    assert list(found.validator_permit) == expected.permit
    assert list(found.consensus) == expected.consensus
    assert list(found.incentive) == expected.incentive
    assert list(found.dividends) == expected.dividends
    assert list(found.validator_trust) == expected.trust
    assert list(found.emission) == expected.emission
    assert list(found.server_emission) == expected.server
    assert list(found.validator_emission) == expected.validator
    assert [[row.get(j, 0) for j in range(n)] for row in found.bonds] == expected.bonds
