"""Why an address earned what it earned in one epoch, in numbers. Pure; `explain` puts them into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tercet.chain.history import PastEpoch
from tercet.market.epoch import FULL, PRECISE, STAKE_UNIT

__all__ = ["Explanation", "MinerPay", "Pots", "RefundPay", "SeatPay", "StakePay", "Vote", "explain_pay"]


@dataclass(frozen=True, slots=True)
class Pots:
    """What an epoch had to pay, and how it was divided; reward token base units."""

    reward: int
    """All that came in: sponsors' rates, fees and donations."""
    pokes: int
    """Of it, for whoever closed the epoch."""
    votes: int
    """All that were cast: stake units times weights."""
    agreed: int
    """Of the votes, those that agreed on a miner; such a part of the pot is paid."""
    for_miners: int
    for_validators: int
    returned: int
    """Earned by nobody: voted to be unspent, not agreed on, or dust. To sponsors and into the next epoch's pot."""
    emission: int
    """On top, stake token base units."""
    emission_burned: int


@dataclass(frozen=True, slots=True)
class Vote:
    """What one validator said about one miner."""

    vid: int
    units: int
    """Stake units it weighs."""
    revealed: bool
    """If not, it counts as a vote of 0 for everybody."""
    weight: int
    """Given, of 65,535."""
    counted: int
    """After the clip."""


@dataclass(frozen=True, slots=True)
class MinerPay:
    """A miner's epoch."""

    uid: int
    votes: Sequence[Vote]
    consensus: int
    """The largest weight that enough stake gives or exceeds, of 65,535."""
    threshold: int
    """Stake units that are enough."""
    rank: int
    """Stake units times counted weights."""
    ranks: int
    """Of all miners."""
    pay: int
    emission: int


@dataclass(frozen=True, slots=True)
class SeatPay:
    """A validator's epoch."""

    vid: int
    effective: int
    """Stake token base units that counted: held over the whole epoch, its own and delegated."""
    units: int
    """Stake units before permits and cap."""
    weight: int
    """Stake units after them."""
    total_weight: int
    cap: int
    """Most that one validator may weigh, stake units."""
    committed: bool
    revealed: bool
    dividend: int
    """Bonds times rank over the column's sum of bonds, over 2**32."""
    share: int
    """Weight times dividend."""
    shares: int
    """Of all validators."""
    pay: int
    """Before it is shared with delegators, the same token as the pots' reward."""
    emission: int
    take_bps: int
    kept: int
    """Of pay: the owner's, its take included."""
    held: int
    """Of pay: until an audit."""


@dataclass(frozen=True, slots=True)
class StakePay:
    """A delegator's epoch with one validator."""

    vid: int
    pool: int
    active: int
    """Its stake that counted, base units."""
    whole: int
    """All stake of the pool that counted."""
    take_bps: int
    pay: int
    emission: int


@dataclass(frozen=True, slots=True)
class RefundPay:
    """A sponsor's part of what nobody earned."""

    number: int
    rate: int
    rates: int
    """Of all sponsors in this epoch."""
    pay: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that one address had from one epoch."""

    epoch: int
    address: str
    exact: bool
    """Whether what the contracts said equals what was recomputed from their events."""
    pots: Pots
    miners: Sequence[MinerPay]
    seats: Sequence[SeatPay]
    stakes: Sequence[StakePay]
    steps: int
    """Of closing the epoch."""
    poked: int
    refunds: Sequence[RefundPay]

    @property
    def total(self) -> int:
        """Reward token base units; refunds are the address's own money and do not count."""
        return (
            sum(m.pay for m in self.miners)
            + sum(s.kept for s in self.seats)
            + sum(s.pay for s in self.stakes)
            + self.poked
        )


def explain_pay(past: PastEpoch, address: str, reward_token: str, grants: Mapping[int, tuple[str, int]]) -> Explanation:
    """The numbers of one address.

    Args:
        past: the epoch, recomputed.
        address: whose pay; an owner's.
        reward_token: address of what sponsors pay in.
        grants: sponsorship to sponsor and rate, of those that paid into the epoch.

    """
    pokes = [e.fields for e in past.events if e.name == "Poked" and e.fields["poker"] == address]
    pots = _find_pots(past)
    rates, refunded = sum(rate for _, rate in grants.values()), _told(past, "EpochPaid", "refunded")
    return Explanation(
        epoch=past.number,
        address=address,
        exact=past.exact,
        pots=pots,
        miners=[_explain_miner(past, uid, reward_token) for uid, who in sorted(past.miners.items()) if who == address],
        seats=[
            _explain_seat(past, vid, reward_token)
            for vid, (who, _) in sorted(past.validators.items())
            if who == address
        ],
        stakes=[
            _explain_stake(past, vid, pool, address)
            for vid, (owner, pool) in sorted(past.validators.items())
            if owner != address and past.active[pool].get(address, 0)
        ],
        steps=sum(fields["steps"] for fields in pokes),
        poked=sum(fields["amount"] for fields in pokes),
        refunds=[
            RefundPay(number, rate, rates, refunded * rate // rates)
            for number, (who, rate) in grants.items()
            if who == address
        ],
    )


def _told(past: PastEpoch, name: str, field: str) -> int:
    return sum(int(event.fields[field]) for event in past.events if event.name == name)


def _find_pots(past: PastEpoch) -> Pots:
    revealed = [seat is not None and seat.revealed == past.number + 1 for seat in past.state.seats]
    return Pots(
        votes=FULL * sum(w for w, here in zip(past.outcome.weights, revealed, strict=True) if here),
        agreed=sum(past.outcome.ranks[1:]),
        reward=_told(past, "EpochPaid", "reward"),
        pokes=_told(past, "EpochPaid", "pokes"),
        for_miners=_told(past, "EpochPaid", "to_miners"),
        for_validators=_told(past, "EpochPaid", "to_validators"),
        returned=_told(past, "EpochPaid", "refunded") + _told(past, "EpochPaid", "carried"),
        emission=_told(past, "EmissionPaid", "emission"),
        emission_burned=_told(past, "EmissionPaid", "burned"),
    )


def _paid(past: PastEpoch, name: str, key: str, number: int, reward_token: str) -> tuple[int, int]:
    """What the contracts say was paid to a uid or into a pool: reward token; stake token where that is another."""
    own = [e.fields for e in past.events if e.name == name and e.fields[key] == number]
    whole = sum(fields["amount"] for fields in own)
    reward = sum(fields["amount"] for fields in own if fields["token"] == reward_token)
    return reward, whole - reward


def _explain_miner(past: PastEpoch, uid: int, reward_token: str) -> MinerPay:
    outcome, state = past.outcome, past.state
    here = uid < len(outcome.consensus)
    consensus = outcome.consensus[uid] if here else 0
    votes = []
    for vid, seat in enumerate(state.seats):
        if seat is None or not outcome.weights[vid]:
            continue
        revealed = seat.revealed == state.epoch + 1
        measured = revealed and here and 0 < state.generations[uid] <= seat.as_of and uid < len(seat.row)
        weight = seat.row[uid] if measured else 0
        votes.append(Vote(vid, outcome.weights[vid], revealed, weight, min(weight, consensus)))
    pay, emission = _paid(past, "MinerRewarded", "uid", uid, reward_token)
    return MinerPay(
        uid=uid,
        votes=votes,
        consensus=consensus,
        threshold=max(1, -(-past.params.kappa * outcome.total_weight // PRECISE)),
        rank=outcome.ranks[uid] if here else 0,
        ranks=sum(outcome.ranks[1:]),
        pay=pay,
        emission=emission,
    )


def _explain_seat(past: PastEpoch, vid: int, reward_token: str) -> SeatPay:
    outcome, state, params = past.outcome, past.state, past.params
    seat, (owner, pool) = state.seats[vid], past.validators[vid]
    assert seat is not None
    revealed = [other is not None and other.revealed == state.epoch + 1 for other in state.seats]
    shares = [
        weight * dividend if here else 0
        for weight, dividend, here in zip(outcome.weights, outcome.dividends, revealed, strict=True)
    ]
    strongest = sorted((past.effective.get(v, 0) for v, w in enumerate(outcome.weights) if w), reverse=True)
    whole = sum(stake // STAKE_UNIT for stake in strongest[: params.max_validators])
    pay, emission = _paid(past, "Rewarded", "pool", pool, reward_token)
    rewarded = [e.fields for e in past.events if e.name == "Rewarded" and e.fields["pool"] == pool]
    return SeatPay(
        vid=vid,
        effective=past.effective[vid],
        units=past.effective[vid] // STAKE_UNIT,
        weight=outcome.weights[vid],
        total_weight=outcome.total_weight,
        cap=whole * params.weight_cap_bps // 10_000,
        committed=seat.committed == state.epoch + 1,
        revealed=revealed[vid],
        dividend=outcome.dividends[vid],
        share=shares[vid],
        shares=sum(shares),
        pay=pay,
        emission=emission,
        take_bps=past.takes[pool],
        kept=past.dividends.get((pool, owner), (0, 0))[0],
        held=sum(fields["held"] for fields in rewarded if fields["token"] == reward_token),
    )


def _explain_stake(past: PastEpoch, vid: int, pool: int, address: str) -> StakePay:
    pay, emission = past.dividends.get((pool, address), (0, 0))
    active = past.active[pool]
    return StakePay(vid, pool, active[address], sum(active.values()), past.takes[pool], pay, emission)


def percent(part: int, whole: int) -> str:
    """A share for people, two decimals."""
    return f"{100 * part / whole:.2f} %" if whole else "0 %"


def of_row(weight: int) -> str:
    """A weight for people: its part of a row."""
    return f"{weight:,} of {FULL:,}"
