# pragma version ==0.4.3
"""
@title A sink of fees for tests
@license Apache-2.0
@author Tercet contributors
@notice Remembers what it was told, or refuses to listen.
@custom:kill Only for tests.
"""

event Taken:
    token: address
    market: address
    amount: uint256


deaf: public(bool)
booked: public(HashMap[address, HashMap[address, uint256[5]]])


@external
def set_deaf(deaf: bool):
    """
    @notice Makes `take` fail, or work again.
    @param deaf Whether.
    """
    self.deaf = deaf


@external
def take(token: address, market: address, amount: uint256):
    """
    @notice What a real sink books.
    @param token What the fee was paid in.
    @param market Whose income it was taken from.
    @param amount Base units.
    """
    assert not self.deaf, "sink: deaf"
    for i: uint256 in range(5):  # a real sink writes a few words too
        self.booked[token][market][i] += amount
    log Taken(token=token, market=market, amount=amount)
