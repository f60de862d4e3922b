# pragma version ==0.4.3
"""
@title Notice of a fee
@license Apache-2.0
@author Tercet contributors
@notice After a fee was sent, a sink that is a contract is told for which market it was.
@dev The sink cannot hold up anybody's income: when it refuses, the money is there all the same,
     and only the market gets no credit for it.
"""


@internal
def _tell(sink: address, token: address, market: address, amount: uint256):
    """
    @notice Calls `take(token, market, amount)` of a sink that has code; what it answers does not matter.
    @param sink Where the fee went.
    @param token What it was paid in.
    @param market Whose income it was taken from; zero when nobody has said.
    @param amount Base units, already transferred.
    """
    if sink.is_contract:
        told: bool = raw_call(
            sink,
            abi_encode(token, market, amount, method_id=method_id("take(address,address,uint256)")),
            revert_on_failure=False,
        )
