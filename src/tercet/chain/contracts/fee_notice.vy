# pragma version ==0.4.3
"""
@title Notice of a fee
@license Apache-2.0
@author Tercet contributors
@notice After a fee was sent, a sink that is a contract is told for which market it was.
@dev The sink cannot hold up anybody's income: when it refuses, the money is there all the same,
     and only the market gets no credit for it. But a caller must leave it enough gas: nodes that
     estimate gas look for the least that works, and would find one at which the sink runs dry.
"""


_NOTICE_GAS: constant(uint256) = 500_000
# The sink can get 63 in 64 parts of what is left, so this leaves it the whole of the above.
_LEFT: constant(uint256) = 520_000


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
        assert msg.gas >= _LEFT, "fee: not enough gas for the sink"
        told: bool = raw_call(
            sink,
            abi_encode(token, market, amount, method_id=method_id("take(address,address,uint256)")),
            gas=_NOTICE_GAS,
            revert_on_failure=False,
        )
