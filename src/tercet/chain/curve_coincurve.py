"""secp256k1 by libsecp256k1, through coincurve. Importing fails where it has no wheel."""

from __future__ import annotations

from coincurve import PrivateKey, PublicKey


class CoincurveSigner:
    """A secret inside libsecp256k1."""

    __slots__ = ("_key", "public")

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self.public = self._key.public_key.format(compressed=False)[1:]

    def sign(self, digest: bytes) -> bytes:
        """65 bytes r||s||recovery id over a 32-byte digest."""
        return self._key.sign_recoverable(digest, hasher=None)

    def exchange(self, public: bytes) -> bytes:
        """sha256 of the compressed shared point; ValueError off the curve."""
        return self._key.ecdh(b"\x04" + public)


class CoincurveCurve:
    """Makes signers and recovers public keys."""

    def signer(self, secret: bytes) -> CoincurveSigner:
        """Prepare a secret of 32 bytes, in range."""
        return CoincurveSigner(secret)

    def recover(self, digest: bytes, signature: bytes) -> bytes:
        """64 bytes x||y of the signer; ValueError if there is none."""
        try:
            found = PublicKey.from_signature_and_message(signature, digest, hasher=None)
        except Exception as error:  # coincurve raises a bare Exception for a bad point
            raise ValueError(str(error)) from error
        return found.format(compressed=False)[1:]
