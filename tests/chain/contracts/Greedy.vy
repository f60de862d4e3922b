# pragma version ==0.4.3
"""An allocator that gives everybody more than there is."""


@external
@view
def allocate(market: address, period: uint256, budget: uint256) -> uint256:
    return 2 ** 200
