# pragma version ==0.4.3
"""
@title A token that can say no without a revert
@license Apache-2.0
@notice For tests only.
"""

balanceOf: public(HashMap[address, uint256])
lies: public(bool)  # its transfers do nothing and answer False
fee: public(uint256)  # what a transfer keeps for nobody


@external
def mint(receiver: address, amount: uint256):
    self.balanceOf[receiver] += amount


@external
def set_lies(lies: bool):
    self.lies = lies


@external
def set_fee(fee: uint256):
    self.fee = fee


@external
def approve(spender: address, amount: uint256) -> bool:
    return True


@external
def burn(amount: uint256):
    self.balanceOf[msg.sender] -= amount


@external
def transfer(receiver: address, amount: uint256) -> bool:
    return self._move(msg.sender, receiver, amount)


@external
def transferFrom(owner: address, receiver: address, amount: uint256) -> bool:
    return self._move(owner, receiver, amount)


@internal
def _move(owner: address, receiver: address, amount: uint256) -> bool:
    if self.lies:
        return False
    self.balanceOf[owner] -= amount
    self.balanceOf[receiver] += amount - self.fee
    return True
