"""The twin at growing sizes up to 64 x 256 and at its worst values; and nothing that a poker chooses changes a result."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.chain.contracts.arena import CREDIT, SUPPLY, TCT, Arena, Member, Params, pick
from tests.chain.contracts.evm import Contract, Receipt, Reverted
from tests.chain.contracts.test_market_twin import compare, compare_bonds

from tercet.market.epoch import FULL, MarketOutcome, close_market_epoch

LARGEST = SUPPLY - 10_000 * TCT
"""Base units of all stake together: nearly all there is."""
ALL = 2**256 - 1


# --- Values at their worst ---


def spread_stakes(style: str, count: int, least: int) -> list[int]:
    """Stakes of `count` validators."""
    if style == "equal":
        return [least] * count
    if style == "steep":
        return [least << min(vid, 20) for vid in range(count)]
    if style == "giant":
        return [max(least, LARGEST - least * (count - 1) - 10**18), *[least] * (count - 1)][:count]
    if style == "largest":
        return [LARGEST // count - least] * count
    return [least + (vid % 3) for vid in range(count)]  # the same in whole units, not in base units


STAKES = ["equal", "steep", "giant", "largest", "nearly"]


def spread_row(style: str, vid: int, columns: int, chance: random.Random) -> list[int]:
    """One validator's row; sums to the whole."""
    row = [0] * columns
    if style == "unspent":
        row[0] = FULL
    elif style == "equal":
        for column in range(columns):
            row[column] = FULL // columns
        row[-1] += FULL - sum(row)
    elif style == "one":
        row[columns - 1] = FULL
    elif style == "own":
        row[vid % columns] = FULL
    elif style == "halves":
        row[1 % columns] += FULL // 2
        row[columns - 1] += FULL - FULL // 2
        if vid % 2:
            row.reverse()
    elif style == "steps":
        for column in range(columns):
            row[column] = column % 2 + (vid + column) % 2
        row[0] += FULL - sum(row)
    else:
        parts = [chance.choice([0, 1, 2, 2**15, chance.randrange(1 << 16)]) for _ in range(columns)]
        total = sum(parts) or 1
        row = [part * FULL // total for part in parts]
        row[chance.randrange(columns)] += FULL - sum(row)
    return row


ROWS = ["unspent", "equal", "one", "own", "halves", "steps", "wild"]


@dataclass(frozen=True, slots=True)
class Scene:
    """How an epoch goes."""

    seed: int
    rows: tuple[str, ...]
    """Styles that validators take in turn."""
    voters: float
    """Part of the validators that commit."""
    reveals: float
    """Part of those that reveal."""
    old: bool
    """Some measured before the last miners came."""
    pages_at_once: int
    pay_apart: bool


scenes = st.builds(
    Scene,
    seed=st.integers(0, 2**32),
    rows=st.lists(st.sampled_from(ROWS), min_size=1, max_size=3).map(tuple),
    voters=st.sampled_from([0.0, 0.5, 0.9, 1.0, 1.0]),
    reveals=st.sampled_from([0.0, 0.6, 1.0, 1.0]),
    old=st.booleans(),
    pages_at_once=st.sampled_from([1, 2, 4]),
    pay_apart=st.booleans(),
)
rules = st.builds(
    Params,
    kappa=st.sampled_from([5 * 10**17 + 1, 6 * 10**17, 10**18 - 1, 10**18]),
    bond_alpha=st.sampled_from([10**15, 333_333_333_333_333_333, 10**18]),
    validator_share_bps=st.sampled_from([0, 1, 5_000, 9_999, 10_000]),
    activity_epochs=st.sampled_from([0, 1, 1_000]),
    max_validators=st.sampled_from([1, 2, 3, 64]),
    weight_cap_bps=st.sampled_from([100, 1_000, 3_333, 10_000]),
    min_stake=st.sampled_from([10**12, 100 * TCT]),
    min_price=st.just(0),
    max_price=st.just(0),
)


def build(params: Params, validators: int, miners: int, stakes: str) -> Arena:
    """A market of a size, whose stake counts."""
    arena = Arena(params)
    for _ in range(miners):
        arena.add_miner("")
    for stake in spread_stakes(stakes, validators, params.min_stake):
        arena.add_validator(min(stake, LARGEST))
    arena.add_sponsor(10**12 + 7, 3)
    funder = arena.ledger.account("funder")
    arena.give_stake_token(funder, 999_999_999_999_999_989, arena.treasury)
    arena.treasury.send(funder, "fund_emission", 999_999_999_999_999_989)
    arena.skip_epoch()
    return arena


def vote(arena: Arena, scene: Scene, draw: Callable[[str, int, int, random.Random], list[int]] = spread_row) -> None:
    """Everybody votes as the scene says, until the epoch can be closed. `draw` makes a row of a style.

    Who votes, reveals and measured when is drawn from the scene's seed.
    """
    chance = random.Random(scene.seed)
    columns = arena.market.call("status")["columns"]
    generation = arena.as_of()
    rows, ages = {}, {}
    for vid in arena.validators:
        if chance.random() < scene.voters:
            rows[vid] = draw(scene.rows[vid % len(scene.rows)], vid, columns, chance)
            ages[vid] = chance.choice([generation, generation // 2, 0]) if scene.old else generation
    for vid, row in rows.items():
        arena.commit(arena.validators[vid], row, ages[vid])
    arena.ledger.now += arena.params.commit_seconds
    for vid, row in rows.items():
        if chance.random() < scene.reveals:
            arena.reveal(arena.validators[vid], row, ages[vid])
    arena.ledger.now += arena.params.reveal_seconds


def play_scene(arena: Arena, scene: Scene) -> MarketOutcome:
    """An epoch, compared."""
    vote(arena, scene)
    outcome, receipts = arena.close(scene.pages_at_once, pay_apart=scene.pay_apart)
    compare(arena, outcome, receipts)
    compare_bonds(arena, outcome)
    return outcome


# --- The twin ---


@given(
    params=rules,
    validators=st.integers(1, 6),
    miners=st.integers(1, 18),
    stakes=st.sampled_from(STAKES),
    first=scenes,
    second=scenes,
)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_twins_agree_at_the_worst_values(
    params: Params, validators: int, miners: int, stakes: str, first: Scene, second: Scene
) -> None:
    """Equal, steep and extreme stakes; kappa 1; caps and permits that bind; rows that agree, clash or say nothing."""
    arena = build(params, validators, miners, stakes)
    play_scene(arena, first)
    play_scene(arena, second)


class Ladder:
    """One market that grows; every size on the way can be come back to."""

    SIZES = ((1, 1), (2, 15), (5, 16), (17, 33), (40, 100), (64, 255))
    """Validators and miners."""

    def __init__(self) -> None:
        params = Params(
            kappa=6 * 10**17, max_validators=48, weight_cap_bps=300, min_stake=10**12, min_price=0, max_price=0
        )
        self.arena = arena = Arena(params)
        arena.add_sponsor(10**12 + 7, 1_000)
        stakes = spread_stakes("steep", 64, params.min_stake)
        self.rungs: list[Any] = []
        for validators, miners in self.SIZES:
            for _ in range(miners - len(arena.miners)):
                arena.add_miner("")
            for vid in range(len(arena.validators), validators):
                # Every fourth as large as its neighbour, so that the cap, the permits and the order of age all count.
                arena.add_validator(stakes[vid - vid % 4] + 3 * 10**12 * (vid % 2))
            arena.skip_epoch()
            people = dict(arena.miners), dict(arena.validators), arena.last
            self.rungs.append((arena.ledger.snapshot(), people))

    def step_on(self, rung: int) -> Arena:
        """The market at one of its sizes."""
        snapshot, (miners, validators, last) = self.rungs[rung]
        self.arena.ledger.restore(snapshot)
        self.arena.miners, self.arena.validators, self.arena.last = dict(miners), dict(validators), last
        return self.arena


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    return Ladder()


@pytest.mark.slow
@given(rung=st.integers(0, 4), scene=scenes)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_twins_agree_at_growing_sizes(ladder: Ladder, rung: int, scene: Scene) -> None:
    """From one validator and one miner to forty and a hundred, with permits and a cap that bind."""
    play_scene(ladder.step_on(rung), scene)


@pytest.mark.slow
def test_twins_agree_on_a_full_market(ladder: Ladder) -> None:
    """64 validators and 255 miners: 256 columns, every lane of every page."""
    scene = Scene(
        seed=1,
        rows=("equal", "steps", "equal", "wild"),
        voters=1.0,
        reveals=1.0,
        old=False,
        pages_at_once=4,
        pay_apart=True,
    )
    outcome = play_scene(ladder.step_on(5), scene)
    assert sum(weight != 0 for weight in outcome.weights) == 48
    assert sum(outcome.miner_pay) > 0


# --- Whoever closes, and however ---


def read_all(arena: Arena) -> dict[str, Any]:
    """All that an epoch decided, without what the pokers got."""
    books = arena.treasury.call("books")
    miners = arena.miners.values()
    tokens = (arena.credit.address, arena.token.address)
    return {
        "status": arena.market.call("status"),
        "validators": arena.market.call("get_validators"),
        "miners": arena.market.call("get_miners", 0, 64),
        "bonds": [arena.market.call("get_bonds", vid) for vid in arena.validators],
        "consensus": arena.market.call("get_consensus"),
        "beacon": arena.market.call("beacon", arena.epoch - 1),
        "books": books,
        "owed": [arena.treasury.call("owed", token, miner.owner) for miner in miners for token in tokens],
        "stakes": [arena.stakes.call("get_position", seat.pool, seat.owner) for seat in arena.validators.values()],
        "burned": arena.token.call("totalSupply"),
    }


def close_somehow(arena: Arena, hints: Sequence[int], chance: random.Random) -> list[Receipt]:
    """Many pokers close in random portions and get in each other's way."""
    pokers = [arena.ledger.account("poker") for _ in range(3)]

    def send(*call: Any) -> Receipt:
        return arena.market.send(chance.choice(pokers), *call)

    def refuse(*call: Any) -> None:
        with pytest.raises(Reverted, match="market: "):
            send(*call)

    receipts = [send("begin_close")]
    refuse("begin_close")
    refuse("finish_close")
    page = 0
    while page < len(hints):
        some = chance.randint(1, len(hints) - page)
        refuse("settle_pages", page + 1, hints[page + 1 : page + 2])  # not the next one
        wrong = [hints[page] + 1, *hints[page + 1 : page + some]]
        refuse("settle_pages", page, wrong)
        receipts.append(send("settle_pages", page, hints[page : page + some]))
        refuse("settle_pages", page, hints[page : page + some])
        if chance.random() < 0.3:
            send("settle_pages", page + some, [])  # nothing to settle, nothing to gain
        page += some
    if chance.random() < 0.5:
        receipts.append(send("pay_miners"))
        with pytest.raises(Reverted):
            send("pay_miners")
    receipts.append(send("finish_close"))
    refuse("finish_close")
    return receipts


@pytest.mark.slow
@given(seed=st.integers(0, 2**32), scene=scenes, params=rules, miners=st.integers(1, 34))
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_split_order_or_poker_changes_a_result(seed: int, scene: Scene, params: Params, miners: int) -> None:
    """One transaction, page by page, in random portions among interfering pokers: all read the same afterwards."""
    chance = random.Random(seed)
    arena = build(params, 4, miners, "steep")
    vote(arena, scene)
    outcome = close_market_epoch(arena.state())
    start = arena.ledger.snapshot()
    arena.market.send(arena.opener, "close_epoch", outcome.hints)
    expected = read_all(arena)
    for _ in range(2):
        arena.ledger.restore(start)
        receipts = close_somehow(arena, outcome.hints, chance)
        assert read_all(arena) == expected
        assert pick(receipts[-1].logs, "EpochPaid")[0]["pokes"] == sum(
            poke["amount"] for receipt in receipts for poke in pick(receipt.logs, "Poked")
        )


# --- Once ---


def take(contract: Contract, who: str, *call: Any) -> None:
    """Take something out; whoever has nothing is refused, and says so with a reason."""
    with suppress(Reverted):
        contract.send(who, *call)
    with pytest.raises(
        Reverted, match=r": (nothing to|sponsorship is settled|caller is not|still unbonding|no such|amount is)"
    ):
        contract.send(who, *call)


@pytest.mark.slow
@given(scene=scenes, params=rules, stakes=st.sampled_from(STAKES))
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
def test_nobody_withdraws_twice(scene: Scene, params: Params, stakes: str) -> None:
    """Every way out is tried twice by everybody, and in the end the contracts are empty to the last unit."""
    arena = build(params, 3, 4, stakes)
    sponsor, number = arena.add_sponsor(5 * CREDIT + 1, 4)
    delegator = arena.add_delegation(1, 77 * TCT + 1) if stakes not in {"largest", "giant"} else arena.opener
    play_scene(arena, scene)
    arena.market.send(arena.opener, "wind_down")
    arena.vote({})
    arena.close()
    people = [*arena.everybody, Member(0, delegator, ""), *(Member(0, poker, "") for poker in arena.pokers)]
    pools = [member.pool for member in arena.validators.values()]
    for uid, miner in list(arena.miners.items()):
        take(arena.market, miner.owner, "leave_miner", uid)
    for vid, validator in list(arena.validators.items()):
        take(arena.market, validator.owner, "leave_validator", vid)
    for grant in range(arena.treasury.call("sponsorship_count")):
        owner = arena.treasury.call("get_sponsorship", grant)[0]["sponsor"]
        take(arena.treasury, owner, "claim_refund", grant)
    assert arena.treasury.call("get_sponsorship", number)[0]["sponsor"].lower() == sponsor.lower()
    for who in people:
        take(arena.treasury, who.owner, "withdraw")
        take(arena.market, who.owner, "claim_deposit")
        for pool in pools:
            take(arena.stakes, who.owner, "unstake", pool, ALL)
            take(arena.stakes, who.owner, "withdraw", pool)
    for who in people:  # after the last share left, dust is the pool owner's
        for pool in pools:
            take(arena.stakes, who.owner, "claim", pool)
    with suppress(Reverted):
        arena.treasury.send(arena.opener, "sweep")
    for contract in (arena.market, arena.stakes, arena.treasury):
        for token in (arena.token, arena.credit):
            assert token.call("balanceOf", contract.address) == 0
