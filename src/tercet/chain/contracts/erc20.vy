# pragma version ==0.4.3
"""
@title ERC-20 balances and allowances
@license Apache-2.0
@author Tercet contributors
@notice The plain token: balances, transfers, allowances. Who may mint is the importer's rule.
@dev The functions keep the standard's camelCase names.
"""
from ethereum.ercs import IERC20


event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256


event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256


name: public(immutable(String[32]))
symbol: public(immutable(String[8]))
decimals: public(immutable(uint8))

totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(_name: String[32], _symbol: String[8], _decimals: uint8):
    """
    @notice Fixes the token's labels; the supply starts at zero.
    @param _name Name of the token.
    @param _symbol Ticker of the token.
    @param _decimals Digits behind the point in one whole token.
    """
    name = _name
    symbol = _symbol
    decimals = _decimals


@external
def transfer(receiver: address, amount: uint256) -> bool:
    """
    @notice Moves the caller's tokens.
    @param receiver Who gets them.
    @param amount How many base units.
    @return bool Always True; failure reverts.
    """
    self._transfer(msg.sender, receiver, amount)
    return True


@external
def transferFrom(owner: address, receiver: address, amount: uint256) -> bool:
    """
    @notice Moves an owner's tokens within the allowance given to the caller.
    @dev The largest allowance is never reduced.
    @param owner Whose tokens move.
    @param receiver Who gets them.
    @param amount How many base units.
    @return bool Always True; failure reverts.
    """
    allowed: uint256 = self.allowance[owner][msg.sender]
    if allowed != max_value(uint256):
        assert allowed >= amount, "erc20: allowance too small"
        self.allowance[owner][msg.sender] = unsafe_sub(allowed, amount)
    self._transfer(owner, receiver, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice Sets how much of the caller's tokens the spender may move.
    @param spender Who may move them.
    @param amount How many base units; replaces the earlier allowance.
    @return bool Always True; failure reverts.
    """
    self._approve(msg.sender, spender, amount)
    return True


@internal
def _transfer(sender: address, receiver: address, amount: uint256):
    assert receiver != empty(address), "erc20: transfer to the zero address"
    balance: uint256 = self.balanceOf[sender]
    assert balance >= amount, "erc20: balance too small"
    self.balanceOf[sender] = unsafe_sub(balance, amount)
    # No overflow: the sum of all balances is the total supply.
    self.balanceOf[receiver] = unsafe_add(self.balanceOf[receiver], amount)
    log Transfer(sender=sender, receiver=receiver, value=amount)


@internal
def _approve(owner: address, spender: address, amount: uint256):
    assert spender != empty(address), "erc20: approve the zero address"
    self.allowance[owner][spender] = amount
    log Approval(owner=owner, spender=spender, value=amount)


@internal
def _mint(receiver: address, amount: uint256):
    assert receiver != empty(address), "erc20: mint to the zero address"
    self.totalSupply += amount
    self.balanceOf[receiver] = unsafe_add(self.balanceOf[receiver], amount)
    log Transfer(sender=empty(address), receiver=receiver, value=amount)


@internal
def _burn(owner: address, amount: uint256):
    balance: uint256 = self.balanceOf[owner]
    assert balance >= amount, "erc20: balance too small"
    self.balanceOf[owner] = unsafe_sub(balance, amount)
    # No underflow: the sum of all balances is the total supply.
    self.totalSupply = unsafe_sub(self.totalSupply, amount)
    log Transfer(sender=owner, receiver=empty(address), value=amount)
