# pragma version ==0.4.3
"""
@title A smart account for tests
@license Apache-2.0
@author Tercet contributors
@notice One owner key signs for it by EIP-1271 and calls through it; the owner can be replaced.
@dev A signature may be longer than the key's 65 bytes: what follows is ignored, as a board's or a
     passkey's signature is longer. `mood` makes it answer as broken or hostile wallets do.
@custom:kill Only for tests.
"""

owner: public(address)
mood: public(uint256)  # 0 honest, 1 reverts, 2 burns all its gas, 3 another value


@deploy
def __init__(owner: address):
    """
    @notice Names the first owner.
    @param owner The key.
    """
    self.owner = owner


@external
def set_owner(owner: address):
    """
    @notice Replaces the owner.
    @param owner The new key.
    """
    assert msg.sender == self.owner, "wallet: caller is not the owner"
    self.owner = owner


@external
def set_mood(mood: uint256):
    """
    @notice Makes the wallet misbehave.
    @param mood How.
    """
    self.mood = mood


@external
def execute(target: address, data: Bytes[4_096]) -> Bytes[1_024]:
    """
    @notice Calls another contract in the wallet's name.
    @param target Whom.
    @param data With what.
    @return Bytes What it answered.
    """
    assert msg.sender == self.owner, "wallet: caller is not the owner"
    return raw_call(target, data, max_outsize=1_024)


@external
@view
def isValidSignature(digest: bytes32, signature: Bytes[1_024]) -> bytes4:
    """
    @notice EIP-1271.
    @param digest What was signed.
    @param signature The owner's (r, s, v), and anything behind it.
    @return bytes4 0x1626ba7e when it is the owner's.
    """
    assert self.mood != 1, "wallet: out of order"
    if self.mood == 2:
        waste: bytes32 = digest
        for i: uint256 in range(10**6):
            waste = keccak256(waste)
    if self.mood == 3:
        return 0xffffffff
    if len(signature) < 65:
        return 0xffffffff
    r: uint256 = convert(slice(signature, 0, 32), uint256)
    s: uint256 = convert(slice(signature, 32, 32), uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    found: address = ecrecover(digest, v, r, s)
    return 0x1626ba7e if found != empty(address) and found == self.owner else 0xffffffff
