"""Two miners, three validators, one epoch: who gets paid, in plain numbers. No chain needed.

python examples/one_epoch.py
"""

from __future__ import annotations

from tercet.market import build_row
from tercet.market.epoch import MarketRules, MarketState, Seat, close_market_epoch

TCT = 10**18
RULES = MarketRules(kappa=51 * 10**16, bond_alpha=2 * 10**17, validator_share_bps=2_000, activity_epochs=3)

HONEST = build_row({1: 3.0, 2: 1.0}, 3)
"""What an honest validator measured: miner 1 is worth three times miner 2."""
FRIEND = build_row({2: 1.0}, 3)
"""A validator that votes for its friend alone."""


def seat(row: list[int]) -> Seat:
    """A validator with 100 TCT that committed and revealed this row in epoch 0."""
    return Seat(stake=100 * TCT, generation=1, committed=1, revealed=1, as_of=9, row=tuple(row))


def main() -> None:
    """Close the epoch and print what everybody earned."""
    state = MarketState(
        epoch=0,
        rules=RULES,
        seats=(seat(list(HONEST)), seat(list(HONEST)), seat(list(FRIEND))),
        generations=(0, 2, 3),
        bonds=((0, 0, 0),) * 3,
        closed_generation=0,
        reward=1_000 * TCT,
    )
    outcome = close_market_epoch(state)
    for uid in (1, 2):
        print(f"miner {uid}: consensus {outcome.consensus[uid]:>6}, paid {outcome.miner_pay[uid] / TCT:8.3f} TCT")
    for vid, name in enumerate(("honest", "honest", "friend")):
        print(f"validator {vid} ({name}): paid {outcome.validator_pay[vid] / TCT:8.3f} TCT")
    print(f"back to the sponsors: {outcome.refund} base units")
    paid = sum(outcome.miner_pay) + sum(outcome.validator_pay) + outcome.refund
    assert paid == state.reward, "nothing is created, nothing is lost"


if __name__ == "__main__":
    main()
