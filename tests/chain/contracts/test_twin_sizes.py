"""The twin at any size from 1 x 1 to 64 x 256, drawn, with the values that break sums: equal integers, epoch by epoch."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from tests.chain.contracts.arena import CREDIT, SUPPLY, TCT, TIMELOCK, Arena, Member, Params, pick
from tests.chain.contracts.test_market_twin import compare, compare_bonds
from tests.chain.contracts.test_twin_scale import ROWS, Scene, rules, spread_row, spread_stakes, vote

from tercet.market.epoch import FULL, PAGE, PRECISE, STAKE_UNIT

AUDITS = "0x" + "a5" * 20
"""Who may slash here; it never does, but a part of the validators' pay is held for it."""
HELD_UP_TO_BPS = 3_000
"""A seat with more of the pot than that has nothing held, as `Stakes.reward` says."""
LARGEST = SUPPLY - 20_000 * TCT
"""Base units of all stake together: nearly all there is."""
MOST_SEATS, MOST_COLUMNS = 64, 256
STAKES = ("equal", "steep", "giant", "largest", "nearly", "at kappa", "below kappa", "one unit")
POTS = (1, 2, 255, 10**6 + 1, 10**15 + 7)
"""Reward of an epoch, base units: less than there are miners, and more than any product may lose."""


@dataclass(frozen=True, slots=True)
class Case:
    """A market and two epochs of it."""

    validators: int
    columns: int
    """Miners and the unspent column."""
    params: Params
    stakes: str
    pot: int
    scenes: tuple[Scene, Scene]
    moves: int
    """Miners that leave between the epochs; half of the places are taken again."""


edges = st.sampled_from([1, 2, 15, 16, 17, 33, 128, 129, 240, 241, 255, MOST_COLUMNS])
"""Numbers of columns where a lane, a word or the market ends."""


@st.composite
def draw_case(draw: st.DrawFn, area: int) -> Case:
    """Any number of columns and any number of seats, where seats x pages is at most `area`.

    What a closing costs grows with that product, so either side is drawn over its whole range and the other gives way.
    """
    most_pages = MOST_COLUMNS // PAGE
    if draw(st.booleans()):
        columns = draw(st.one_of(edges, st.integers(1, MOST_COLUMNS)))
        validators = draw(st.integers(1, max(1, min(MOST_SEATS, area // -(-columns // PAGE)))))
    else:
        validators = draw(st.one_of(st.sampled_from([1, 2, 3, 4, 63, MOST_SEATS]), st.integers(1, MOST_SEATS)))
        columns = draw(st.integers(1, PAGE * max(1, min(most_pages, area // validators))))
    scene = st.builds(
        Scene,
        seed=st.integers(0, 2**32),
        rows=st.lists(st.sampled_from([*ROWS, *EDGE_ROWS]), min_size=1, max_size=3).map(tuple),
        voters=st.sampled_from([0.9, 1.0, 1.0]),
        reveals=st.sampled_from([0.6, 1.0, 1.0]),
        old=st.booleans(),
        pages_at_once=st.sampled_from([1, 3, 4]),
        pay_apart=st.booleans(),
    )
    return Case(
        validators=validators,
        columns=columns,
        params=draw(rules),
        stakes=draw(st.sampled_from(STAKES)),
        pot=draw(st.sampled_from(POTS)),
        scenes=(draw(scene), draw(scene)),
        moves=draw(st.sampled_from([0, 0, 1, 3])),
    )


# --- Values at their worst ---


EDGE_ROWS = ("ties", "one miner", "step at kappa", "ones", "top")


def draw_row(style: str, vid: int, columns: int, chance: random.Random) -> list[int]:
    """One validator's row; sums to the whole. The camps of a "step at kappa" are those of `spread`."""
    if columns == 1:  # nobody but the unspent column
        return [FULL]
    row = [0] * columns
    last = columns - 1
    if style == "ties":  # two values, each many times
        for column in range(columns):
            row[column] = 2 + column % 2 if columns <= FULL // 3 else 0
    elif style == "one miner":
        row[min(1, last)] = FULL
    elif style == "step at kappa":  # one camp gives one more than the other, in every column
        for column in range(columns):
            row[column] = 100 + in_camp(vid)
    elif style == "ones":
        row = [1] * columns
    elif style == "top":  # the largest weights that leave something for everybody else
        row = [1] * columns
        row[chance.randrange(columns)] += FULL - sum(row)
    else:
        return spread_row(style, vid, columns, chance)
    row[0] += FULL - sum(row)
    return row


def in_camp(vid: int) -> bool:
    """Whether a validator is of those whose stake is set right at kappa."""
    return vid % 2 == 0


def spread(case: Case) -> list[int]:
    """Stakes by vid, base units, all of them at least `min_stake`."""
    count, least = case.validators, case.params.min_stake
    if case.stakes == "one unit":
        return [max(least, STAKE_UNIT) + vid % 2 * (STAKE_UNIT - 1) for vid in range(count)]
    if case.stakes in {"at kappa", "below kappa"}:
        return meet_kappa(case, count, least // STAKE_UNIT)
    stakes = spread_stakes(case.stakes, count, least)
    shrink = -(-sum(stakes) // LARGEST)
    return [max(least, stake // shrink) for stake in stakes]


def meet_kappa(case: Case, count: int, least: int) -> list[int]:
    """One camp has exactly kappa of all units, rounded up, or one unit less; equal stakes where that cannot be."""
    camp = [vid for vid in range(count) if in_camp(vid)]
    others = [vid for vid in range(count) if not in_camp(vid)]
    kappa = case.params.kappa
    total = -(-(len(camp) * least + 1) * PRECISE // kappa)
    if others:
        total = max(total, -(-len(others) * least * PRECISE // max(PRECISE - kappa, 1)))
    units = -(-kappa * total // PRECISE) - (case.stakes == "below kappa")
    if total > LARGEST // STAKE_UNIT or (not others and units != total):
        return [least * STAKE_UNIT] * count
    stakes = [0] * count
    for members, whole in ((camp, units), (others, total - units)):
        for vid in members:
            stakes[vid] = whole // len(members) * STAKE_UNIT
        if members:
            stakes[members[0]] += whole % len(members) * STAKE_UNIT
    return stakes


# --- The market that grows ---


class Town:
    """One market without validators, remembered at every number of miners it ever had."""

    def __init__(self) -> None:
        params = Params(min_price=0, max_price=0, min_stake=STAKE_UNIT, audit_share_bps=3_000)
        self.arena = Arena(params, audits=AUDITS)
        self.known: list[tuple[Any, dict[int, Member]]] = [(self.arena.ledger.snapshot(), {})]

    def settle(self, case: Case) -> Arena:
        """The market of a case: its miners, its seats, its rules in force and its money in the pot."""
        arena = self.arena
        miners = case.columns - 1
        start = min(miners, len(self.known) - 1)
        self._come_back(start)
        for _ in range(miners - start):
            arena.add_miner("")
            self.known.append((arena.ledger.snapshot(), dict(arena.miners)))
        arena.params = replace(case.params, audit_share_bps=3_000)
        for stake in spread(case):
            arena.add_validator(stake)
        arena.rules.send(arena.opener, "propose", arena.params.tuple())
        arena.ledger.now += TIMELOCK
        arena.add_sponsor(case.pot * 3, 3)
        arena.skip_epoch()
        return arena

    def _come_back(self, miners: int) -> None:
        arena = self.arena
        snapshot, members = self.known[miners]
        arena.ledger.restore(snapshot)
        arena.miners, arena.validators, arena.last = dict(members), {}, None


@pytest.fixture(scope="module")
def town() -> Town:
    return Town()


def play(town: Town, case: Case) -> None:
    """Both epochs, with miners that come and go between them, compared after each."""
    arena = town.settle(case)
    event(f"{case.validators.bit_length()} bits of seats, {(case.columns - 1).bit_length()} of miners")
    for scene in case.scenes:
        vote(arena, scene, draw_row)
        outcome, receipts = arena.close(scene.pages_at_once, pay_apart=scene.pay_apart)
        compare(arena, outcome, receipts)
        compare_held(arena, [log for receipt in receipts for log in receipt.logs])
        if scene is case.scenes[1]:
            compare_bonds(arena, outcome)  # by a view that is slow; the first epoch's are in the second's
        move_miners(arena, case.moves, random.Random(scene.seed))


def move_miners(arena: Arena, moves: int, chance: random.Random) -> None:
    """Some leave, and newcomers take half of the places: their columns' bonds are somebody else's."""
    for k in range(min(moves, len(arena.miners))):
        uid = chance.choice(sorted(arena.miners))
        arena.market.send(arena.miners.pop(uid).owner, "leave_miner", uid)
        if k % 2 == 0:
            arena.add_miner("")


def compare_held(arena: Arena, logs: list[Any]) -> None:
    """What waits for the audit, seat by seat."""
    token = arena.credit.address.lower()
    rewards = [fields for fields in pick(logs, "Rewarded") if fields["token"].lower() == token]
    earned = sum(fields["amount"] for fields in rewards)
    for fields in rewards:
        small = fields["amount"] * 10_000 <= earned * HELD_UP_TO_BPS
        held = fields["amount"] * arena.params.audit_share_bps // 10_000 if small else 0
        assert fields["held"] == held
        assert arena.stakes.call("get_held", fields["pool"], fields["epoch"]) == (held, 0)


anything = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


@pytest.mark.slow
@given(case=draw_case(area=40))
@settings(max_examples=8, deadline=None, suppress_health_check=anything, phases=[Phase.explicit, Phase.generate])
def test_twins_agree_at_drawn_sizes(town: Town, case: Case) -> None:
    """Any number of seats up to 64, any number of columns up to 256, seldom many of both."""
    play(town, case)


@pytest.mark.long
@pytest.mark.timeout(7_200)
@given(case=draw_case(area=MOST_SEATS * MOST_COLUMNS // PAGE))
@settings(max_examples=150, deadline=None, suppress_health_check=anything)
def test_twins_agree_at_every_size(town: Town, case: Case) -> None:
    """The same without a limit, up to 64 x 256."""
    play(town, case)


@given(kappa=st.integers(5 * 10**17 + 1, 10**18), count=st.integers(1, MOST_SEATS), below=st.booleans())
@settings(deadline=None)
def test_a_camp_stands_right_at_kappa(kappa: int, count: int, below: bool) -> None:
    """The stakes that the cases above use are what they are called, so that the boundary is really met."""
    params = Params(kappa=kappa, min_stake=STAKE_UNIT)
    scene = Scene(0, ("one",), 1.0, 1.0, old=False, pages_at_once=1, pay_apart=False)
    case = Case(count, 2, params, "below kappa" if below else "at kappa", CREDIT, (scene, scene), 0)
    stakes = spread(case)
    assert min(stakes) >= STAKE_UNIT
    total = sum(stakes) // STAKE_UNIT
    camp = sum(stakes[vid] // STAKE_UNIT for vid in range(count) if in_camp(vid))
    needed = -(-kappa * total // PRECISE)
    if kappa < PRECISE - 10**15 and count > 1:
        assert camp == needed - below
