# pragma version ==0.4.3
"""
@title Tercet allocator
@license Apache-2.0
@author Tercet contributors
@notice The default answer to: which market gets how much of a period's emission? In proportion
        to what was burned for it, and never more than a fixed part of that.
@dev Holds nothing and decides by its two inputs alone. Why this part can be neither farmed nor
     bought: docs/explanation/allocator.md. Amounts floor.
@custom:kill There is no owner and no switch. Emission's owner can name another allocator.
"""


interface Fees:
    def burned(market: address, period: uint256) -> uint256: view
    def total_burned(period: uint256) -> uint256: view


fees: public(immutable(address))
beta_bps: public(immutable(uint256))


@deploy
def __init__(_fees: address, _beta_bps: uint256):
    """
    @notice Fixes the rule.
    @param _fees Knows what was burned.
    @param _beta_bps Most of what was burned for a market that it gets, ten-thousandths, 1..9000.
    """
    assert _fees.is_contract, "allocator: fees is not a contract"
    assert 0 < _beta_bps and _beta_bps <= 9_000, "allocator: beta_bps out of bounds"
    fees = _fees
    beta_bps = _beta_bps


@external
@view
def allocate(market: address, period: uint256, budget: uint256) -> uint256:
    """
    @notice A market's part of a finished period's emission.
    @param market The market.
    @param period The period.
    @param budget The most for all markets together, stake token base units.
    @return uint256 Stake token base units.
    """
    burned: uint256 = staticcall Fees(fees).burned(market, period)
    if burned == 0:
        return 0
    total: uint256 = staticcall Fees(fees).total_burned(period)
    return min(budget * burned // total, burned * beta_bps // 10_000)
