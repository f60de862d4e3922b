# pragma version ==0.4.3
"""
@title A reward token that misbehaves when told to
@license Apache-2.0
@notice For tests only: its `transfer` can refuse, or call back into the contract that pays.
"""


interface Stakes:
    def claim(pool: uint256) -> (uint256, uint256): nonpayable


balanceOf: public(HashMap[address, uint256])
mood: uint256  # 0 behaves, 1 refuses, 2 calls back


@external
def mint(receiver: address, amount: uint256):
    self.balanceOf[receiver] += amount


@external
def set_mood(mood: uint256):
    self.mood = mood


@external
def transfer(receiver: address, amount: uint256) -> bool:
    assert self.mood != 1, "token refuses"
    if self.mood == 2:
        extcall Stakes(msg.sender).claim(1)
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[receiver] += amount
    return True
