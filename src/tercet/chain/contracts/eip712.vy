# pragma version ==0.4.3
"""
@title EIP-712 domain and signature recovery
@license Apache-2.0
@author Tercet contributors
@notice Binds signed messages to one name, version, chain and contract,
        so that a signature made for one ledger is worth nothing on another.
@dev The separator is computed once and again only if the chain id has changed (a fork).
     Signatures with a high `s` are refused: each message has one signature per key and nonce.
"""


_DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
# Half of the order of secp256k1: the largest `s` of a canonical signature.
_HALF_ORDER: constant(uint256) = (
    57_896_044_618_658_097_711_785_492_504_343_953_926_418_782_139_537_452_191_302_581_570_759_080_747_168
)


_NAME: immutable(String[32])
_VERSION: immutable(String[8])
_NAME_HASH: immutable(bytes32)
_VERSION_HASH: immutable(bytes32)
_CACHED_CHAIN: immutable(uint256)
_CACHED_SEPARATOR: immutable(bytes32)


@deploy
def __init__(name: String[32], version: String[8]):
    """
    @notice Fixes the domain's name and version.
    @param name Name of the signing domain.
    @param version Version of the signing domain.
    """
    _NAME = name
    _VERSION = version
    _NAME_HASH = keccak256(name)
    _VERSION_HASH = keccak256(version)
    _CACHED_CHAIN = chain.id
    _CACHED_SEPARATOR = keccak256(
        abi_encode(_DOMAIN_TYPE, keccak256(name), keccak256(version), chain.id, self)
    )


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    """
    @notice The EIP-712 domain separator of this contract on this chain.
    @return bytes32 The separator.
    """
    return self._domain_separator()


@external
@view
def eip712Domain() -> (
    bytes1, String[32], String[8], uint256, address, bytes32, DynArray[uint256, 1]
):
    """
    @notice The fields of the domain, as ERC-5267 lists them.
    @return (fields, name, version, chainId, verifyingContract, salt, extensions); salt is unused.
    """
    return (0x0f, _NAME, _VERSION, chain.id, self, empty(bytes32), [])


@internal
@view
def _domain_separator() -> bytes32:
    if chain.id == _CACHED_CHAIN:
        return _CACHED_SEPARATOR
    return keccak256(abi_encode(_DOMAIN_TYPE, _NAME_HASH, _VERSION_HASH, chain.id, self))


@internal
@view
def _digest(struct_hash: bytes32) -> bytes32:
    """
    @notice The digest that a wallet signs for a typed message.
    @param struct_hash EIP-712 hash of the message.
    @return bytes32 The digest.
    """
    return keccak256(concat(x"1901", self._domain_separator(), struct_hash))


@internal
@pure
def _recover(digest: bytes32, v: uint256, r: uint256, s: uint256) -> address:
    """
    @notice The signer of a digest, or the zero address when the signature is not canonical.
    @param digest What was signed.
    @param v Recovery byte, 27 or 28.
    @param r First half of the signature.
    @param s Second half, at most half of the curve's order.
    @return address The signer; callers must refuse the zero address.
    """
    if s > _HALF_ORDER or (v != 27 and v != 28):
        return empty(address)
    return ecrecover(digest, v, r, s)
