# pragma version ==0.4.3
"""
@title A market and its treasury, as little of them as Stakes sees
@license Apache-2.0
@notice For tests only: whoever calls may set everything.
"""
from ethereum.ercs import IERC20


struct MarketTerms:
    min_stake: uint256
    unbonding_epochs: uint256
    audit_share_bps: uint256


epoch: public(uint256)
last_epoch: public(uint256)
stake_terms: public(MarketTerms)
reward_token: address
is_closing: public(bool)


@deploy
def __init__(reward_token: address, terms: MarketTerms):
    self.reward_token = reward_token
    self.stake_terms = terms
    self.last_epoch = max_value(uint256)


@external
def set_terms(terms: MarketTerms):
    self.stake_terms = terms


@external
def next_epoch():
    self.epoch += 1


@external
def wind_down():
    self.last_epoch = self.epoch


@external
def set_closing(closing: bool):
    self.is_closing = closing


@external
@view
def is_wound_down() -> bool:
    return self.epoch > self.last_epoch


@external
def fund(amount: uint256):
    """
    @notice What the treasury does with forfeited rewards.
    """
    assert not self.is_closing, "treasury is closing"
    extcall IERC20(self.reward_token).transferFrom(msg.sender, self, amount)
