# pragma version ==0.4.3
"""
@title A market's judges for tests
@license Apache-2.0
@author Tercet contributors
@notice What Jobs asks of a market, and of the registry that lists it, with weights set by hand.
@custom:kill Only for tests.
"""

weight_of: public(HashMap[uint256, uint256])
closing_weight: public(uint256)
_seat_of: HashMap[address, uint256]


@external
def seat(operator: address, vid: uint256, weight: uint256):
    """
    @notice Gives a validator its operator and its weight.
    @param operator Who speaks for it.
    @param vid Its seat.
    @param weight In the newest closed epoch.
    """
    self.closing_weight = self.closing_weight - self.weight_of[vid] + weight
    self.weight_of[vid] = weight
    self._seat_of[operator] = vid + 1


@external
@view
def vid_of(operator: address) -> uint256:
    """
    @notice As a market answers.
    @param operator The hot key.
    @return uint256 The seat.
    """
    assert self._seat_of[operator] != 0, "market: caller is not a validator's operator"
    return self._seat_of[operator] - 1


@external
@view
def is_market(market: address) -> bool:
    """
    @notice As a registry answers.
    @param market Any address.
    @return bool True for this contract only.
    """
    return market == self
