# pragma version ==0.4.3
"""A token that says yes to everything and moves nothing."""


@external
def transfer(receiver: address, amount: uint256) -> bool:
    return True
