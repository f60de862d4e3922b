# pragma version ==0.4.3
"""
@title A reward token that takes part in its own market, and calls back from within a transfer
@license Apache-2.0
@notice For tests only.
"""

balanceOf: public(HashMap[address, uint256])
target: address  # what the next transfer calls; zero: nothing
data: Bytes[2_048]
called: public(bool)
went_through: public(bool)


@external
def mint(receiver: address, amount: uint256):
    self.balanceOf[receiver] += amount


@external
def approve(spender: address, amount: uint256) -> bool:
    return True


@external
def transferFrom(owner: address, receiver: address, amount: uint256) -> bool:
    self.balanceOf[owner] -= amount
    self.balanceOf[receiver] += amount
    return True


@external
def transfer(receiver: address, amount: uint256) -> bool:
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[receiver] += amount
    if self.target != empty(address):
        target: address = self.target
        self.target = empty(address)
        self.called = True
        self.went_through = raw_call(target, self.data, revert_on_failure=False)
    return True


@external
def run(target: address, data: Bytes[2_048]) -> Bytes[64]:
    """
    @notice Acts as an ordinary account.
    """
    return raw_call(target, data, max_outsize=64)


@external
def arm(target: address, data: Bytes[2_048]):
    """
    @notice Says what the next transfer calls, once.
    """
    self.target = target
    self.data = data
