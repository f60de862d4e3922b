"""secp256k1 in plain Python, by eth-keys. The stand-in where coincurve has no wheel.

Some 5 ms a signature and not constant-time, so it is for development machines; results equal
libsecp256k1's bit for bit.
"""

from __future__ import annotations

import hashlib

from eth_keys.backends import NativeECCBackend
from eth_keys.backends.native.jacobian import fast_multiply
from eth_keys.constants import SECPK1_P as P
from eth_keys.datatypes import PrivateKey, PublicKey, Signature
from eth_keys.exceptions import BadSignature

_BACKEND = NativeECCBackend()  # named, since eth-keys would choose by what is installed


class PureSigner:
    """A secret in plain Python."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret, backend=_BACKEND)
        self.public: bytes = self._key.public_key.to_bytes()

    def sign(self, digest: bytes) -> bytes:
        """65 bytes r||s||recovery id over a 32-byte digest."""
        return bytes(self._key.sign_msg_hash(digest).to_bytes())

    def exchange(self, public: bytes) -> bytes:
        """sha256 of the compressed shared point; ValueError off the curve."""
        # eth-keys has no ECDH, only the multiplication that it takes.
        x, y = int.from_bytes(public[:32], "big"), int.from_bytes(public[32:], "big")
        if len(public) != 64 or max(x, y) >= P or (y * y - x**3 - 7) % P:
            raise ValueError("the point is off the curve")
        x, y = fast_multiply((x, y), int.from_bytes(self._key.to_bytes(), "big"))
        shared = PublicKey(x.to_bytes(32, "big") + y.to_bytes(32, "big"), backend=_BACKEND)
        return hashlib.sha256(shared.to_compressed_bytes()).digest()


class PureCurve:
    """Makes signers and recovers public keys."""

    def signer(self, secret: bytes) -> PureSigner:
        """Prepare a secret of 32 bytes, in range."""
        return PureSigner(secret)

    def recover(self, digest: bytes, signature: bytes) -> bytes:
        """64 bytes x||y of the signer; ValueError if there is none."""
        try:
            found = Signature(signature, backend=_BACKEND).recover_public_key_from_msg_hash(digest)
        except BadSignature as error:
            raise ValueError(str(error)) from error
        return bytes(found.to_bytes())
