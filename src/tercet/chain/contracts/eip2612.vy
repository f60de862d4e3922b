# pragma version ==0.4.3
"""
@title EIP-2612 permit
@license Apache-2.0
@author Tercet contributors
@notice Allowances by signature: the owner signs, anyone may submit.
"""
import erc20
import eip712
import eip1271

uses: erc20
uses: eip712


_PERMIT_TYPE: constant(bytes32) = keccak256(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)

nonces: public(HashMap[address, uint256])


@external
def permit(
    owner: address,
    spender: address,
    amount: uint256,
    deadline: uint256,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice Sets an allowance that its owner has signed.
    @param owner Whose tokens, and whose signature.
    @param spender Who may move them.
    @param amount How many base units.
    @param deadline Last second (Unix time) at which the signature counts.
    @param v Recovery byte of the signature.
    @param r First half of the signature.
    @param s Second half of the signature.
    """
    digest: bytes32 = self._use_nonce(owner, spender, amount, deadline)
    signer: address = eip712._recover(
        digest, convert(v, uint256), convert(r, uint256), convert(s, uint256)
    )
    assert signer != empty(address) and signer == owner, "eip2612: invalid signature"
    erc20._approve(owner, spender, amount)


@external
def permitWithSignature(
    owner: address,
    spender: address,
    amount: uint256,
    deadline: uint256,
    signature: Bytes[eip1271.MAX_SIGNATURE],
):
    """
    @notice Sets an allowance that its owner, key or smart account, has signed.
    @dev USDC calls this `permit` too; Vyper cannot overload a name.
    @param owner Whose tokens, and whose signature.
    @param spender Who may move them.
    @param amount How many base units.
    @param deadline Last second (Unix time) at which the signature counts.
    @param signature The owner's signature.
    """
    digest: bytes32 = self._use_nonce(owner, spender, amount, deadline)
    assert eip1271._is_valid(owner, digest, signature), "eip2612: invalid signature"
    erc20._approve(owner, spender, amount)


@internal
def _use_nonce(owner: address, spender: address, amount: uint256, deadline: uint256) -> bytes32:
    """
    @dev Spends the owner's nonce and returns what must have been signed; the caller checks the signature.
    """
    assert block.timestamp <= deadline, "eip2612: expired"
    nonce: uint256 = self.nonces[owner]
    self.nonces[owner] = nonce + 1
    return eip712._digest(
        keccak256(abi_encode(_PERMIT_TYPE, owner, spender, amount, nonce, deadline))
    )
