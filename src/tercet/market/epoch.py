"""The epoch's maths in integers: what the miners' ranks, the validators' dividends and everybody's pay are.

Two front doors stand on the same small functions:

- `close_market_epoch` is the market's own epoch, the exact twin of `Market.vy`. It also finds the consensus
  that whoever closes an epoch hands to the contract as hints.
- `close_reference_epoch` is the epoch of the reference implementation (opentensor/subtensor@14bc6f9,
  `epoch/run_epoch.rs` and `epoch/math.rs`, sparse path, without liquid alpha), so that its published vectors
  can be replayed.

Knows nothing of chains, files or clocks. Fixed point: `ONE` is 2**32, and every division and product is floored
where the text does not say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ONE = 1 << 32
"""The number one in fixed point."""

FULL = 65_535
"""The largest 16-bit weight, and the sum of a market's row."""

PRECISE = 10**18
"""What `kappa` and `bond_alpha` of a market are fractions of."""

STAKE_UNIT = 10**12
"""Base units of stake token in one unit of the market's consensus."""

PAGE = 16
"""Columns in a page, and weights in a word."""


# --- Small functions that both epochs stand on ---


def multiply(a: int, b: int) -> int:
    """Product of two fixed-point numbers, floored (also below zero)."""
    return (a * b) >> 32


def divide(a: int, b: int) -> int:
    """Quotient of two numbers of the same scale in fixed point, floored; 0 when dividing by 0."""
    return (a << 32) // b if b else 0


def normalise(values: Sequence[int]) -> list[int]:
    """Each value's share of the sum in fixed point; unchanged when the sum is 0."""
    total = sum(values)
    return [divide(value, total) for value in values] if total else list(values)


def find_consensus(votes: Iterable[tuple[int, int]], threshold: int) -> int:
    """The largest weight that enough stake gives or exceeds.

    Args:
        votes: (weight, stake) of each validator, in any order.
        threshold: the stake that is enough.

    Returns:
        The largest weight w with stake(weight >= w) >= threshold; the smallest weight when no weight has that much
        behind it; 0 without votes. Sorting replaces the reference's pivoting search: the answer is the same.
    """
    weight = 0
    support = 0
    for weight, stake in sorted(votes, reverse=True):
        support += stake
        if support >= threshold:
            return weight
    return weight


def split(pot: int, shares: Sequence[int], total: int | None = None) -> list[int]:
    """Divide a pot in proportion to shares, each part floored; nothing when all shares are 0."""
    whole = sum(shares) if total is None else total
    return [pot * share // whole for share in shares] if whole else [0] * len(shares)


def pack_row(weights: Sequence[int]) -> list[int]:
    """Pack 16-bit weights 16 to a word: column j at bits 16 * (j % 16) of word j // 16."""
    pages = [weights[start : start + PAGE] for start in range(0, len(weights), PAGE)]
    return [sum(weight << (16 * place) for place, weight in enumerate(page)) for page in pages]


def unpack_row(words: Sequence[int], columns: int | None = None) -> list[int]:
    """The weights in packed words; cut or filled with zeros to `columns` when that is given."""
    weights = [(word >> (16 * place)) & FULL for word in words for place in range(PAGE)]
    if columns is None:
        return weights
    return weights[:columns] + [0] * (columns - len(weights))


# --- The market's epoch: the twin of Market.vy ---


@dataclass(frozen=True, slots=True)
class MarketRules:
    """The parameters of a market that its epoch needs."""

    kappa: int
    """Share of the stake that makes a consensus, over 10**18; above one half, up to 1."""
    bond_alpha: int
    """Weight of the newest row in a bond, over 10**18; 0.001 to 1."""
    validator_share_bps: int
    """The validators' part of the reward, 0..10,000."""
    activity_epochs: int
    """Epochs for which a silent validator's stake still counts in the total."""
    max_validators: int = 64
    """Permits: how many seats vote, the strongest first."""
    weight_cap_bps: int = 10_000
    """The most that one validator weighs, ten-thousandths of all counted stake."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One validator's slot as the epoch finds it. An empty slot is `None` in its place."""

    stake: int
    """Effective stake, base units: the least that stood behind the seat in the whole epoch; see `market.stakes`."""
    generation: int
    """The registration counter when its holder came; at least 1."""
    committed: int
    """Epoch of the newest commit plus one; 0 means never."""
    revealed: int
    """Epoch of the newest reveal plus one; 0 means never."""
    as_of: int
    """The registration counter when the newest row was measured."""
    row: tuple[int, ...]
    """The newest revealed row: 16-bit weights by column, columns past its end are 0."""


@dataclass(frozen=True, slots=True)
class MarketState:
    """All that one closing reads."""

    epoch: int
    rules: MarketRules
    seats: tuple[Seat | None, ...]
    """By vid."""
    generations: tuple[int, ...]
    """By column: 0 for an empty slot and for column 0, the unspent one. Its length is the number of columns."""
    bonds: tuple[tuple[int, ...], ...]
    """By vid, then column: 32-bit bonds over 2**16 of a weight, as stored."""
    closed_generation: int
    """The registration counter at the last closing: older bonds of younger slots are somebody else's."""
    reward: int
    """Reward token base units to hand out: the pot less the part that is kept for who closes the epoch."""


@dataclass(frozen=True, slots=True)
class MarketOutcome:
    """What one closing finds."""

    weights: tuple[int, ...]
    """By vid: stake units in the consensus, after permits and cap; 0 without a vote."""
    total_weight: int
    """The sum of the weights."""
    consensus: tuple[int, ...]
    """By column, 0..65535."""
    hints: tuple[int, ...]
    """The consensus packed by page, as `settle_pages` wants it."""
    ranks: tuple[int, ...]
    """By column: stake units times clipped weight."""
    dividends: tuple[int, ...]
    """By vid: the sum over columns of bond times rank over column sum, in fixed point; 0 without a reveal."""
    bonds: tuple[tuple[int, ...], ...]
    """By vid, then column: what is stored for the next epoch."""
    miner_pay: tuple[int, ...]
    """By column, reward token base units; column 0 is never paid."""
    validator_pay: tuple[int, ...]
    """By vid, reward token base units."""
    refund: int
    """What goes back to the sponsors and into the carry: unspent, not agreed upon, and dust."""

    @property
    def incentives(self) -> tuple[int, ...]:
        """Each column's share of all ranks over 65,535; column 0 is the unspent share."""
        return tuple(split(FULL, self.ranks))


def close_market_epoch(state: MarketState) -> MarketOutcome:
    """Close one epoch of a market.

    Source: docs/explanation/consensus.md. Yuma3-style: stake-weighted median clip, bonds follow raw weights, no penalty.
    """
    rules = state.rules
    weights = weigh_seats(state.seats, state.epoch, rules)
    active = [
        weight if seat and seat.revealed == state.epoch + 1 else 0
        for seat, weight in zip(state.seats, weights, strict=True)
    ]
    total_weight = sum(weights)
    # An empty jury agrees on 0: the threshold is never 0.
    threshold = max(1, -(-rules.kappa * total_weight // PRECISE))
    rows = [_valid_row(seat, units, state.generations) for seat, units in zip(state.seats, active, strict=True)]

    consensus, ranks = _agree(rows, active, total_weight, threshold, len(state.generations))
    bonds = _move_bonds(state, rows)
    dividends = _earn_dividends(bonds, active, ranks)
    miner_pay, validator_pay = _pay(state, sum(active) * FULL, ranks, split_shares(active, dividends))
    return MarketOutcome(
        weights=tuple(weights),
        total_weight=total_weight,
        consensus=tuple(consensus),
        hints=tuple(pack_row(consensus)),
        ranks=tuple(ranks),
        dividends=tuple(dividends),
        bonds=tuple(tuple(row) for row in bonds),
        miner_pay=tuple(miner_pay),
        validator_pay=tuple(validator_pay),
        refund=state.reward - sum(miner_pay) - sum(validator_pay),
    )


def weigh_seats(seats: Sequence[Seat | None], epoch: int, rules: MarketRules) -> list[int]:
    """By vid, the stake units that each seat has in the consensus.

    Of the seats that count the strongest get a permit, of equals the older; then nobody weighs more than the cap,
    which is a part of what all permitted seats weigh before it.
    """
    counted = [
        vid for vid, seat in enumerate(seats) if seat and seat.stake and _counts(seat, epoch, rules.activity_epochs)
    ]
    ranked = sorted(counted, key=lambda vid: _strength(seats[vid]), reverse=True)
    units = [0] * len(seats)
    for vid in ranked[: rules.max_validators]:
        units[vid] = _strength(seats[vid])[0] // STAKE_UNIT
    most = sum(units) * rules.weight_cap_bps // 10_000
    return [min(unit, most) for unit in units]


def _counts(seat: Seat, epoch: int, activity_epochs: int) -> bool:
    """Committed in this epoch, or revealed not longer ago than the rules say."""
    recent = seat.revealed != 0 and seat.revealed + activity_epochs >= epoch + 1
    return recent or seat.committed == epoch + 1


def _strength(seat: Seat | None) -> tuple[int, int]:
    """Stake, then seniority: the larger goes first."""
    return (seat.stake, -seat.generation) if seat else (0, 0)


def _valid_row(seat: Seat | None, units: int, generations: Sequence[int]) -> list[int]:
    """The weights that count: of a revealed row, for slots that were held when it was measured."""
    columns = len(generations)
    if seat is None or units == 0:
        return [0] * columns
    row = list(seat.row[:columns]) + [0] * (columns - len(seat.row))
    valid = [weight if 0 < born <= seat.as_of else 0 for weight, born in zip(row[1:], generations[1:], strict=True)]
    return [row[0], *valid]


def _agree(
    rows: Sequence[Sequence[int]], active: Sequence[int], total_weight: int, threshold: int, columns: int
) -> tuple[list[int], list[int]]:
    """Each column's consensus, and its rank: the stake-weighted sum of weights clipped at the consensus."""
    voting = [(row, units) for row, units in zip(rows, active, strict=True) if units]
    silent = total_weight - sum(active)  # in the total, with a row of zeros
    consensus = []
    ranks = []
    for column in range(columns):
        votes = [(row[column], units) for row, units in voting]
        agreed = find_consensus([*votes, (0, silent)], threshold)
        consensus.append(agreed)
        ranks.append(sum(units * min(agreed, weight) for weight, units in votes) if agreed else 0)
    return consensus, ranks


def _move_bonds(state: MarketState, rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Each seat's bonds after this epoch; a bond whose row or column changed hands starts at 0."""
    alpha = state.rules.bond_alpha * ONE // PRECISE
    kept = [0 < born <= state.closed_generation for born in state.generations]
    held = [born > 0 for born in state.generations]
    moved = []
    for seat, row, stored in zip(state.seats, rows, state.bonds, strict=True):
        if seat is None:
            moved.append([0] * len(row))
        elif seat.generation > state.closed_generation:
            moved.append([follow(0, weight, alpha) if here else 0 for weight, here in zip(row, held, strict=True)])
        else:
            moved.append(
                [
                    follow(bond if own else 0, weight, alpha) if here else 0
                    for bond, weight, own, here in zip(stored, row, kept, held, strict=True)
                ]
            )
    return moved


def follow(bond: int, weight: int, alpha: int) -> int:
    """Move a bond towards a weight by `alpha` (fixed point), rounded towards the weight.

    Rounding that way means that a constant weight is reached exactly, whatever alpha is.
    """
    target = weight << 16
    mixed = alpha * target + (ONE - alpha) * bond
    return (mixed + ONE - 1) >> 32 if target >= bond else mixed >> 32


def _earn_dividends(bonds: Sequence[Sequence[int]], active: Sequence[int], ranks: Sequence[int]) -> list[int]:
    """By vid: bonds times (rank / column sum of bonds), for those who revealed. Column 0 has no bonds."""
    sums = [sum(column) for column in zip(*bonds, strict=True)] or [0] * len(ranks)
    ratios = [divide(rank, total) for rank, total in zip(ranks, sums, strict=True)]
    return [
        sum(bond * ratio for bond, ratio in zip(row, ratios, strict=True)) if units else 0
        for row, units in zip(bonds, active, strict=True)
    ]


def split_shares(active: Sequence[int], dividends: Sequence[int]) -> list[int]:
    """What the validators' pot is divided by: stake units times dividend."""
    return [units * dividend for units, dividend in zip(active, dividends, strict=True)]


def _pay(state: MarketState, votes: int, ranks: Sequence[int], shares: Sequence[int]) -> tuple[list[int], list[int]]:
    """By column and by vid: everybody's part of the reward, floored; what is left over is not paid.

    Of all votes cast only those that agreed on a miner are paid, so nobody gains by making others disagree.
    """
    earned = sum(ranks[1:])
    spent = state.reward * earned // votes if earned else 0
    for_validators = spent * state.rules.validator_share_bps // 10_000
    miner_pay = [0, *split(spent - for_validators, ranks[1:], earned)]
    return miner_pay, split(for_validators, shares)


# --- The reference's epoch ---


@dataclass(frozen=True, slots=True)
class ReferenceState:
    """The raw state that one epoch of the reference reads. All tuples are by uid."""

    current_block: int
    tempo: int
    activity_cutoff_blocks: int
    last_mechanism_step_block: int
    """Block of the last epoch; 0 means that none ran."""
    stake: tuple[int, ...]
    stake_threshold: int
    last_update: tuple[int, ...]
    """Block of each uid's newest weights."""
    block_at_registration: tuple[int, ...]
    validator_permit: tuple[bool, ...]
    """As the last epoch stored them."""
    weights: tuple[dict[int, int], ...]
    """Each uid's 16-bit weights by uid, as stored."""
    bonds: tuple[dict[int, int], ...]
    """Each uid's 16-bit bonds by uid, as stored."""
    kappa_u16: int
    bonds_penalty_u16: int
    bonds_moving_average: int
    """Per million; the rate of the moving average is one minus it."""
    yuma3: bool
    max_allowed_validators: int
    emission: int
    owner_uid: int | None = None
    keep_owner_diagonal: bool = True
    """False on the reference's dense path, which tests only."""
    commit_blocks: tuple[int | None, ...] | None = None
    """Commit-reveal: block of each uid's earliest live commit; `None` means switched off."""


@dataclass(frozen=True, slots=True)
class ReferenceOutcome:
    """What the reference stores. Shares are 16-bit, floored; emissions are in units of the input; by uid."""

    stake_weight: tuple[int, ...]
    consensus: tuple[int, ...]
    incentive: tuple[int, ...]
    dividends: tuple[int, ...]
    validator_trust: tuple[int, ...]
    validator_permit: tuple[bool, ...]
    server_emission: tuple[int, ...]
    validator_emission: tuple[int, ...]
    emission: tuple[int, ...]
    bonds: tuple[dict[int, int], ...]


Row = dict[int, int]
"""A sparse row: fixed-point values by uid; what is absent is 0."""


def close_reference_epoch(state: ReferenceState) -> ReferenceOutcome:
    """Run one epoch of the reference.

    Source: opentensor/subtensor@14bc6f9, `epoch/run_epoch.rs`, `epoch_mechanism`; the numbers in the comments
    follow the order of that function.
    """
    uids = range(len(state.stake))
    # 1, 2: who is late, and the shares of the stake
    stake = _stake_shares(state)
    inactive = [updated + state.activity_cutoff_blocks < state.current_block for updated in state.last_update]
    # 3, 4: who may vote now, who may vote next, and what votes weigh
    permit = [state.validator_permit[uid] or uid == state.owner_uid for uid in uids]
    new_permit = _next_permits(stake, state)
    active = normalise([stake[uid] if permit[uid] and not inactive[uid] else 0 for uid in uids])
    # 5: the votes that count
    weights = [_counted_weights(state, uid) if permit[uid] else {} for uid in uids]
    # 6, 7: the consensus, and what the servers earn
    consensus = _reference_consensus(weights, active, divide(state.kappa_u16, FULL))
    clipped = [_clip(row, consensus) for row in weights]
    trust = [sum(row.values()) for row in clipped]
    incentive = normalise(_column_products(active, clipped))
    # 8, 9: bonds, and what the validators earn
    bond_weights = _penalise(weights, clipped, divide(state.bonds_penalty_u16, FULL))
    old_bonds = [_carried_bonds(state, uid) for uid in uids]
    rate = ONE - divide(state.bonds_moving_average, 1_000_000)
    move = _yuma3_bonds if state.yuma3 else _classic_bonds
    bonds, dividends = move(old_bonds, bond_weights, active, incentive, rate)
    # 10: emission
    server, validator, combined = _emission_shares(incentive, dividends, stake, active)
    return ReferenceOutcome(
        stake_weight=_to_u16(stake),
        consensus=_to_u16(consensus),
        incentive=_to_u16(incentive),
        dividends=_to_u16(dividends),
        validator_trust=_to_u16(trust),
        validator_permit=tuple(new_permit),
        server_emission=_emit(server, state.emission),
        validator_emission=_emit(validator, state.emission),
        emission=_emit(combined, state.emission),
        bonds=tuple(_stored_bonds(row) if new_permit[uid] else {} for uid, row in enumerate(bonds)),
    )


def _stake_shares(state: ReferenceState) -> list[int]:
    """Shares of the stake that reaches the threshold; the owner always does."""
    return normalise(
        [
            stake if stake >= state.stake_threshold or uid == state.owner_uid else 0
            for uid, stake in enumerate(state.stake)
        ]
    )


def _next_permits(stake: Sequence[int], state: ReferenceState) -> list[bool]:
    """The k largest shares above zero, of equals the higher uid; and the owner."""
    ascending = sorted(range(len(stake)), key=lambda uid: stake[uid])
    top = set(ascending[max(0, len(stake) - state.max_allowed_validators) :])
    return [(uid in top and stake[uid] > 0) or uid == state.owner_uid for uid in range(len(stake))]


def _counted_weights(state: ReferenceState, uid: int) -> Row:
    """A row without itself, without votes older than their target's registration; then normalised."""
    keep_self = uid == state.owner_uid and state.keep_owner_diagonal
    updated = state.last_update[uid]
    committed = state.commit_blocks[uid] if state.commit_blocks is not None else None
    row = {
        target: weight
        for target, weight in state.weights[uid].items()
        if (target != uid or keep_self)
        and updated > state.block_at_registration[target]
        and (committed is None or committed >= state.block_at_registration[target])
    }
    return _scale_row(row, sum(row.values()))


def _scale_row(row: Row, total: int) -> Row:
    return {uid: divide(value, total) for uid, value in row.items()} if total else dict(row)


def _reference_consensus(weights: Sequence[Row], active: Sequence[int], kappa: int) -> list[int]:
    """By uid: the kappa-weighted median of the weights of those with active stake; absent counts as 0."""
    voting = [uid for uid, share in enumerate(active) if share > 0]
    shares = normalise([active[uid] for uid in voting])
    rows = [(weights[uid], share) for uid, share in zip(voting, shares, strict=True)]
    return [
        find_consensus(((row.get(column, 0), share) for row, share in rows), kappa) for column in range(len(weights))
    ]


def _clip(row: Row, consensus: Sequence[int]) -> Row:
    return {uid: min(value, consensus[uid]) for uid, value in row.items() if consensus[uid] > 0}


def _column_products(factors: Sequence[int], rows: Sequence[Row]) -> list[int]:
    """By column: the sum over rows of factor times value."""
    sums = [0] * len(rows)
    for factor, row in zip(factors, rows, strict=True):
        if factor:
            for uid, value in row.items():
                sums[uid] += multiply(factor, value)
    return sums


def _penalise(weights: Sequence[Row], clipped: Sequence[Row], penalty: int) -> list[Row]:
    """The weights that bonds follow: raw at penalty 0, clipped at 1, in between in between."""
    if penalty == 0:
        return [dict(row) for row in weights]
    if penalty == ONE:
        return [dict(row) for row in clipped]
    mixed = [
        {uid: value + multiply(penalty, cut.get(uid, 0) - value) for uid, value in row.items()}
        for row, cut in zip(weights, clipped, strict=True)
    ]
    return [{uid: value for uid, value in row.items() if value > 0} for row in mixed]


def _carried_bonds(state: ReferenceState, uid: int) -> Row:
    """Stored bonds without those on uids that were registered since the last epoch."""
    if state.last_mechanism_step_block == 0:
        last_tempo = max(0, state.current_block - state.tempo)
    else:
        last_tempo = state.last_mechanism_step_block + 1
    return {
        target: bond
        for target, bond in state.bonds[uid].items()
        if bond > 0 and last_tempo > state.block_at_registration[target]
    }


def _moving_average(old: Sequence[Row], new: Sequence[Row], rate: int) -> list[Row]:
    """Rate x new + (1 - rate) x old, each product floored."""
    return [
        {
            uid: multiply(rate, after.get(uid, 0)) + multiply(ONE - rate, before.get(uid, 0))
            for uid in before.keys() | after.keys()
        }
        for before, after in zip(old, new, strict=True)
    ]


def _scale_columns(rows: Sequence[Row]) -> list[Row]:
    """Each value's share of its column's sum; a column that sums to 0 stays."""
    sums = [0] * len(rows)
    for row in rows:
        for uid, value in row.items():
            sums[uid] += value
    return [{uid: divide(value, sums[uid]) if sums[uid] else value for uid, value in row.items()} for row in rows]


def _row_products(rows: Sequence[Row], factors: Sequence[int]) -> list[int]:
    """By row: the sum over columns of value times factor."""
    return [sum(multiply(value, factors[uid]) for uid, value in row.items()) for row in rows]


def _yuma3_bonds(
    old: Sequence[Row], weights: Sequence[Row], active: Sequence[int], incentive: Sequence[int], rate: int
) -> tuple[list[Row], list[int]]:
    """Bonds follow each validator's own weights; the stake comes in at the payout. Bonds to store, dividends."""
    before = [{uid: divide(bond, FULL) for uid, bond in row.items()} for row in old]
    bonds = _moving_average(before, weights, rate)
    earned = _row_products(_scale_columns(bonds), incentive)
    dividends = normalise([multiply(share, sum_) for share, sum_ in zip(active, earned, strict=True)])
    return bonds, dividends


def _classic_bonds(
    old: Sequence[Row], weights: Sequence[Row], active: Sequence[int], incentive: Sequence[int], rate: int
) -> tuple[list[Row], list[int]]:
    """Bonds follow stake times weight as shares of a column. Bonds to store, dividends."""
    bought = [
        {uid: multiply(share, value) for uid, value in row.items()} for share, row in zip(active, weights, strict=True)
    ]
    bonds = _scale_columns(_moving_average(_scale_columns(old), _scale_columns(bought), rate))
    dividends = normalise(_row_products(bonds, incentive))
    return _upscale_columns(bonds), dividends


def _upscale_columns(rows: Sequence[Row]) -> list[Row]:
    """Each value over its column's largest: what classic bonds are stored as."""
    largest = [0] * len(rows)
    for row in rows:
        for uid, value in row.items():
            largest[uid] = max(largest[uid], value)
    return [{uid: divide(value, largest[uid]) for uid, value in row.items()} for row in rows]


def _emission_shares(
    incentive: Sequence[int], dividends: Sequence[int], stake: Sequence[int], active: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """Shares for serving, for validating, and together; all by stake when nobody earned."""
    combined = [earned + shared for earned, shared in zip(incentive, dividends, strict=True)]
    total = sum(combined)
    if total == 0:
        fallback = list(active) if sum(active) else list(stake)
        return list(incentive), fallback, list(fallback)
    server = [divide(value, total) for value in incentive]
    validator = [divide(value, total) for value in dividends]
    return server, validator, normalise(combined)


def _to_u16(values: Sequence[int]) -> tuple[int, ...]:
    """Shares as 16-bit proportions, floored and saturated."""
    return tuple(min(FULL, (value * FULL) >> 32) for value in values)


def _stored_bonds(row: Row) -> dict[int, int]:
    stored = {uid: min(FULL, (value * FULL) >> 32) for uid, value in row.items()}
    return {uid: bond for uid, bond in sorted(stored.items()) if bond > 0}


def _emit(shares: Sequence[int], emission: int) -> tuple[int, ...]:
    return tuple((share * emission) >> 32 for share in shares)
