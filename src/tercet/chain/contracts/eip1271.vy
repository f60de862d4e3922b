# pragma version ==0.4.3
"""
@title Signatures of keys and of smart accounts
@license Apache-2.0
@author Tercet contributors
@notice Whether an address stands behind a digest: by its own key, or, where it is a contract,
        by what it answers to EIP-1271's `isValidSignature`.
@dev A key's signature counts first, whatever code stands at its address. Otherwise a payer could
     buy under vouchers of its key and afterwards set code there (EIP-7702) that disowns them.
     No key is known to an ordinary contract's address, so for those only their code speaks.
     The question to a contract is a static call with bounded gas; a revert, a short answer or
     another value than the magic one all mean "no".
"""
import eip712


MAX_SIGNATURE: constant(uint256) = 1_024
# Enough for a passkey verified in EVM code, or for a board of a dozen keys; 32 of them still fit
# into one transaction.
MAX_GAS: constant(uint256) = 400_000
# bytes4(keccak256("isValidSignature(bytes32,bytes)")), left-aligned as the ABI returns it.
_MAGIC: constant(bytes32) = 0x1626ba7e00000000000000000000000000000000000000000000000000000000


@internal
@view
def _is_valid(signer: address, digest: bytes32, signature: Bytes[MAX_SIGNATURE]) -> bool:
    """
    @notice Whether a signature is the signer's.
    @param signer A key's address or a smart account; the zero address signs nothing.
    @param digest What was signed.
    @param signature (r, s, v) of a key, or whatever the smart account understands.
    @return bool True if so.
    """
    if signer == empty(address):
        return False
    if len(signature) == 65 and signer == eip712._recover(
        digest,
        convert(slice(signature, 64, 1), uint256),
        convert(slice(signature, 0, 32), uint256),
        convert(slice(signature, 32, 32), uint256),
    ):
        return True
    if not signer.is_contract:
        return False
    success: bool = False
    answer: Bytes[32] = b""
    success, answer = raw_call(
        signer,
        abi_encode(digest, signature, method_id=method_id("isValidSignature(bytes32,bytes)")),
        max_outsize=32,
        gas=MAX_GAS,
        is_static_call=True,
        revert_on_failure=False,
    )
    return success and len(answer) == 32 and convert(answer, bytes32) == _MAGIC
