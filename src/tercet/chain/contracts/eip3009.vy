# pragma version ==0.4.3
"""
@title EIP-3009 transfers by authorization
@license Apache-2.0
@author Tercet contributors
@notice A transfer that its sender has signed: with a random nonce, a window of time,
        and for `receive...` only at the hand of the receiver.
@dev Signatures are (v, r, s) of keys; or bytes, of keys and smart accounts, in the functions that
     end in `WithSignature`. USDC gives those the names of the first ones; Vyper cannot overload a name.
"""
import erc20
import eip712
import eip1271

uses: erc20
uses: eip712


event AuthorizationUsed:
    authorizer: indexed(address)
    nonce: indexed(bytes32)


event AuthorizationCanceled:
    authorizer: indexed(address)
    nonce: indexed(bytes32)


_TRANSFER_TYPE: constant(bytes32) = keccak256(
    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
_RECEIVE_TYPE: constant(bytes32) = keccak256(
    "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
_CANCEL_TYPE: constant(bytes32) = keccak256(
    "CancelAuthorization(address authorizer,bytes32 nonce)"
)

authorizationState: public(HashMap[address, HashMap[bytes32, bool]])


@external
def transferWithAuthorization(
    owner: address,
    receiver: address,
    amount: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice Moves tokens as their owner has signed; anyone may submit.
    @param owner Whose tokens, and whose signature ("from" in the standard).
    @param receiver Who gets them ("to").
    @param amount How many base units.
    @param valid_after The signature counts strictly after this second (Unix time).
    @param valid_before The signature counts strictly before this second.
    @param nonce Any 32 bytes that the owner has not used yet.
    @param v Recovery byte of the signature.
    @param r First half of the signature.
    @param s Second half of the signature.
    """
    self._use(_TRANSFER_TYPE, owner, receiver, amount, valid_after, valid_before, nonce, v, r, s)


@external
def receiveWithAuthorization(
    owner: address,
    receiver: address,
    amount: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    """
    @notice Moves tokens as their owner has signed; only the receiver may submit, so that
            nobody can take the signature out of a pending transaction and use it alone.
    @param owner Whose tokens, and whose signature ("from" in the standard).
    @param receiver Who gets them ("to"); must be the caller.
    @param amount How many base units.
    @param valid_after The signature counts strictly after this second (Unix time).
    @param valid_before The signature counts strictly before this second.
    @param nonce Any 32 bytes that the owner has not used yet.
    @param v Recovery byte of the signature.
    @param r First half of the signature.
    @param s Second half of the signature.
    """
    assert receiver == msg.sender, "eip3009: caller is not the receiver"
    self._use(_RECEIVE_TYPE, owner, receiver, amount, valid_after, valid_before, nonce, v, r, s)


@external
def cancelAuthorization(authorizer: address, nonce: bytes32, v: uint8, r: bytes32, s: bytes32):
    """
    @notice Makes a nonce worthless before it was used.
    @param authorizer Who signed.
    @param nonce The nonce to cancel.
    @param v Recovery byte of the signature.
    @param r First half of the signature.
    @param s Second half of the signature.
    """
    struct_hash: bytes32 = keccak256(abi_encode(_CANCEL_TYPE, authorizer, nonce))
    self._spend_nonce(authorizer, nonce, struct_hash, v, r, s)
    log AuthorizationCanceled(authorizer=authorizer, nonce=nonce)


@external
def transferWithSignature(
    owner: address,
    receiver: address,
    amount: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    signature: Bytes[eip1271.MAX_SIGNATURE],
):
    """
    @notice Moves tokens as their owner, key or smart account, has signed; anyone may submit.
    @param owner Whose tokens, and whose signature ("from" in the standard).
    @param receiver Who gets them ("to").
    @param amount How many base units.
    @param valid_after The signature counts strictly after this second (Unix time).
    @param valid_before The signature counts strictly before this second.
    @param nonce Any 32 bytes that the owner has not used yet.
    @param signature The owner's signature.
    """
    struct_hash: bytes32 = self._transfer_hash(
        _TRANSFER_TYPE, owner, receiver, amount, valid_after, valid_before, nonce
    )
    self._spend_nonce_signed(owner, nonce, struct_hash, signature)
    log AuthorizationUsed(authorizer=owner, nonce=nonce)
    erc20._transfer(owner, receiver, amount)


@external
def receiveWithSignature(
    owner: address,
    receiver: address,
    amount: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    signature: Bytes[eip1271.MAX_SIGNATURE],
):
    """
    @notice Moves tokens as their owner, key or smart account, has signed; only the receiver may submit.
    @param owner Whose tokens, and whose signature ("from" in the standard).
    @param receiver Who gets them ("to"); must be the caller.
    @param amount How many base units.
    @param valid_after The signature counts strictly after this second (Unix time).
    @param valid_before The signature counts strictly before this second.
    @param nonce Any 32 bytes that the owner has not used yet.
    @param signature The owner's signature.
    """
    assert receiver == msg.sender, "eip3009: caller is not the receiver"
    struct_hash: bytes32 = self._transfer_hash(
        _RECEIVE_TYPE, owner, receiver, amount, valid_after, valid_before, nonce
    )
    self._spend_nonce_signed(owner, nonce, struct_hash, signature)
    log AuthorizationUsed(authorizer=owner, nonce=nonce)
    erc20._transfer(owner, receiver, amount)


@external
def cancelWithSignature(
    authorizer: address, nonce: bytes32, signature: Bytes[eip1271.MAX_SIGNATURE]
):
    """
    @notice Makes a nonce worthless before it was used; signed by a key or a smart account.
    @param authorizer Who signed.
    @param nonce The nonce to cancel.
    @param signature The signature.
    """
    struct_hash: bytes32 = keccak256(abi_encode(_CANCEL_TYPE, authorizer, nonce))
    self._spend_nonce_signed(authorizer, nonce, struct_hash, signature)
    log AuthorizationCanceled(authorizer=authorizer, nonce=nonce)


@internal
def _use(
    kind: bytes32,
    owner: address,
    receiver: address,
    amount: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
    v: uint8,
    r: bytes32,
    s: bytes32,
):
    struct_hash: bytes32 = self._transfer_hash(
        kind, owner, receiver, amount, valid_after, valid_before, nonce
    )
    self._spend_nonce(owner, nonce, struct_hash, v, r, s)
    log AuthorizationUsed(authorizer=owner, nonce=nonce)
    erc20._transfer(owner, receiver, amount)


@internal
@view
def _transfer_hash(
    kind: bytes32,
    owner: address,
    receiver: address,
    amount: uint256,
    valid_after: uint256,
    valid_before: uint256,
    nonce: bytes32,
) -> bytes32:
    assert block.timestamp > valid_after, "eip3009: not yet valid"
    assert block.timestamp < valid_before, "eip3009: expired"
    return keccak256(
        abi_encode(kind, owner, receiver, amount, valid_after, valid_before, nonce)
    )


@internal
def _spend_nonce(
    authorizer: address, nonce: bytes32, struct_hash: bytes32, v: uint8, r: bytes32, s: bytes32
):
    assert not self.authorizationState[authorizer][nonce], "eip3009: authorization already used"
    signer: address = eip712._recover(
        eip712._digest(struct_hash), convert(v, uint256), convert(r, uint256), convert(s, uint256)
    )
    assert signer != empty(address) and signer == authorizer, "eip3009: invalid signature"
    self.authorizationState[authorizer][nonce] = True


@internal
def _spend_nonce_signed(
    authorizer: address,
    nonce: bytes32,
    struct_hash: bytes32,
    signature: Bytes[eip1271.MAX_SIGNATURE],
):
    assert not self.authorizationState[authorizer][nonce], "eip3009: authorization already used"
    self.authorizationState[authorizer][nonce] = True
    assert eip1271._is_valid(
        authorizer, eip712._digest(struct_hash), signature
    ), "eip3009: invalid signature"
