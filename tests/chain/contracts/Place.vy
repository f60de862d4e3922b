# pragma version ==0.4.3
"""A market and its treasury in one, for tests of what brings money in: pays whatever comes in to one group at once."""
from ethereum.ercs import IERC20

reward_token: public(address)
stake_token: address
group: address
is_wound_down: public(bool)
is_closing: public(bool)
funded: public(uint256)
emitted: public(uint256)


@deploy
def __init__(reward_token: address, stake_token: address, group: address):
    self.reward_token = reward_token
    self.stake_token = stake_token
    self.group = group


@external
def end():
    self.is_wound_down = True


@external
def set_closing(closing: bool):
    self.is_closing = closing


@external
@view
def treasury() -> address:
    return self


@external
def fund(amount: uint256):
    assert not self.is_closing, "treasury: epoch is closing"
    self.funded += amount
    assert extcall IERC20(self.reward_token).transferFrom(
        msg.sender, self.group, amount, default_return_value=True
    )


@external
def fund_emission(amount: uint256):
    assert not self.is_closing, "treasury: epoch is closing"
    self.emitted += amount
    assert extcall IERC20(self.stake_token).transferFrom(msg.sender, self.group, amount)
