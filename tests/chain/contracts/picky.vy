# pragma version ==0.4.3
"""
@title An awkward token for tests
@license Apache-2.0
@author Tercet contributors
@notice Refuses some addresses, as stablecoins with a block list do, or keeps a part of each transfer.
@dev Says nothing on success, as some old tokens do.
@custom:kill Only for tests.
"""

balanceOf: public(HashMap[address, uint256])
refused: public(HashMap[address, bool])
tax: public(uint256)


@external
def mint(receiver: address, amount: uint256):
    """
    @notice Makes tokens.
    @param receiver For whom.
    @param amount How many.
    """
    self.balanceOf[receiver] += amount


@external
def refuse(who: address, refused: bool):
    """
    @notice Blocks an address, or lets it be.
    @param who The address.
    @param refused Whether.
    """
    self.refused[who] = refused


@external
def set_tax(tax: uint256):
    """
    @notice Keeps so much of every transfer.
    @param tax Base units.
    """
    self.tax = tax


@external
def transfer(receiver: address, amount: uint256):
    """
    @notice Moves tokens of the caller.
    @param receiver To whom.
    @param amount How many.
    """
    self._move(msg.sender, receiver, amount)


@external
def transferFrom(owner: address, receiver: address, amount: uint256):
    """
    @notice Moves anybody's tokens; nobody approves anything here.
    @param owner Of whom.
    @param receiver To whom.
    @param amount How many.
    """
    self._move(owner, receiver, amount)


@internal
def _move(owner: address, receiver: address, amount: uint256):
    assert not self.refused[receiver], "picky: refused"
    self.balanceOf[owner] -= amount
    self.balanceOf[receiver] += amount - self.tax
