"""secp256k1 keys: addresses, signatures and their recovery.

Knows the curve, keccak and EIP-191 texts. Does not know transactions, files or vouchers.
coincurve does the curve maths (about 40 us a signature); where it has no wheel, plain Python
stands in, a hundred times slower and equal bit for bit.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from Crypto.Hash import keccak as _keccak

from tercet.errors import InvalidKeyError, InvalidSignatureError

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of the secp256k1 group; secrets and signature halves lie in 1..ORDER-1."""

SIGNATURE_BYTES = 65
NOBODY = "0x" + "0" * 40
"""The zero address, whose key nobody has: contracts mean by it that there is none."""


class _Signer(Protocol):
    """One secret, ready to use."""

    @property
    def public(self) -> bytes:
        """64 bytes x||y of the public point."""

    def sign(self, digest: bytes) -> bytes:
        """65 bytes r||s||recovery id (0 or 1), s in the lower half, RFC 6979 nonce."""

    def exchange(self, public: bytes) -> bytes:
        """sha256 of the compressed shared point (ECDH); ValueError off the curve."""


class _Curve(Protocol):
    def signer(self, secret: bytes) -> _Signer:
        """Prepare a secret of 32 bytes, in range."""

    def recover(self, digest: bytes, signature: bytes) -> bytes:
        """64 bytes x||y of the signer, from r||s||recovery id; ValueError if there is none."""


try:
    from tercet.chain.curve_coincurve import CoincurveCurve as _BestCurve
except ImportError:  # no coincurve wheel for this Python or machine
    from tercet.chain.curve_pure import PureCurve as _BestCurve  # type: ignore[assignment]  # same Protocol


def keccak(data: bytes) -> bytes:
    """Ethereum's hash: Keccak-256 with the padding from before FIPS 202."""
    return _keccak.new(digest_bits=256, data=data).digest()


@lru_cache(maxsize=65_536)
def checksum_address(raw: bytes) -> str:
    """20 address bytes as text with the EIP-55 mixed-case checksum."""
    if len(raw) != 20:
        raise InvalidKeyError(f"An address has 20 bytes, got {len(raw)}. Pass the last 20 bytes of keccak(public).")
    text = raw.hex()
    digest = keccak(text.encode()).hex()
    pairs = zip(text, digest, strict=False)
    return "0x" + "".join(c.upper() if int(d, 16) > 7 else c for c, d in pairs)


@lru_cache(maxsize=65_536)
def parse_address(text: str) -> bytes:
    """20 bytes of an address text; a mixed-case text must carry a right EIP-55 checksum.

    Raises:
        InvalidKeyError: not 0x and 40 hex digits, or the checksum is wrong (a mistyped address).
    """
    digits = text[2:] if text[:2] in ("0x", "0X") else ""
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if len(raw) != 20 or len(digits) != 40:
        raise InvalidKeyError(f"{text!r} is no address: it takes '0x' and 40 hex digits.")
    if digits not in (digits.lower(), digits.upper()) and checksum_address(raw)[2:] != digits:
        raise InvalidKeyError(
            f"{text!r} has a wrong checksum, so a character is mistyped. "
            "Copy it again, or write it in lower case to skip the check."
        )
    return raw


def address_from_public(public: bytes) -> str:
    """The EIP-55 address of a public key, given as 64 bytes x||y, or 65 with the 0x04 mark."""
    if len(public) == 65 and public[0] == 4:
        public = public[1:]
    if len(public) != 64:
        raise InvalidKeyError(
            f"A public key has 64 bytes x||y (65 with the mark 0x04), got {len(public)}. Decompress it first."
        )
    return checksum_address(keccak(public)[12:])


def text_digest(text: bytes) -> bytes:
    """The EIP-191 digest of a text, as wallets sign it (personal_sign)."""
    return keccak(b"\x19Ethereum Signed Message:\n%d" % len(text) + text)


def recover_public(digest: bytes, signature: bytes) -> bytes:
    """The signer's public key, 64 bytes x||y.

    Raises:
        InvalidSignatureError: wrong length, v not 27 or 28 (contracts take no other, so neither do we), r or s
            out of range, s in the upper half (the malleable twin of a signature), or no such point.
    """
    if len(digest) != 32 or len(signature) != SIGNATURE_BYTES:
        raise InvalidSignatureError(
            f"A digest has 32 bytes and a signature 65 (r, s, v), got {len(digest)} and {len(signature)}."
        )
    r, s, v = _halves(signature)
    if not (0 < r < ORDER and 0 < s < ORDER) or v not in (27, 28):
        raise InvalidSignatureError("The signature's r, s or v is out of range. Sign again.")
    if s > ORDER // 2:
        raise InvalidSignatureError(
            "The signature's s lies in the upper half, so anybody could have made it from "
            "another one (malleable). Sign again with low s (EIP-2)."
        )
    try:
        return _CURVE.recover(digest, signature[:64] + bytes([v - 27]))
    except ValueError as error:
        raise InvalidSignatureError(f"No key gives this signature: {error}.") from error


def recover(digest: bytes, signature: bytes) -> str:
    """The EIP-55 address that signed the digest; raises as `recover_public` does."""
    return address_from_public(recover_public(digest, signature))


_CURVE: _Curve = _BestCurve()


def _halves(signature: bytes) -> tuple[int, int, int]:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    return r, s, signature[64]


@dataclass(frozen=True, slots=True)
class Key:
    """A secp256k1 secret and what it can do. Its repr shows the address, never the secret."""

    secret: bytes = field(repr=False)
    """32 bytes, big-endian, in 1..ORDER-1."""
    public: bytes = field(init=False, repr=False, compare=False)
    """64 bytes x||y."""
    address: str = field(init=False, compare=False)
    """EIP-55 text."""
    _signer: _Signer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) != 32 or not 0 < int.from_bytes(self.secret, "big") < ORDER:
            raise InvalidKeyError(
                "A secret key is 32 bytes between 1 and the group's order. Make one with Key.generate()."
            )
        signer = _CURVE.signer(self.secret)
        object.__setattr__(self, "_signer", signer)
        object.__setattr__(self, "public", signer.public)
        object.__setattr__(self, "address", address_from_public(self.public))

    @classmethod
    def from_hex(cls, text: str) -> Key:
        """Read a secret from hex digits, with or without 0x. The error never repeats them."""
        try:
            secret = bytes.fromhex(text.strip().removeprefix("0x"))
        except ValueError:
            raise InvalidKeyError(
                "The secret key is not hexadecimal: it takes 64 hex digits, 0x before them or not."
            ) from None
        return cls(secret)

    @classmethod
    def generate(cls) -> Key:
        """A fresh key from the operating system's random source."""
        return cls((secrets.randbelow(ORDER - 1) + 1).to_bytes(32, "big"))

    def sign(self, digest: bytes) -> bytes:
        """65 bytes r||s||v over a 32-byte digest: v is 27 or 28, s low, deterministic."""
        if len(digest) != 32:
            raise InvalidSignatureError(f"Only a 32-byte digest can be signed, got {len(digest)} bytes. Hash it first.")
        raw = self._signer.sign(digest)
        return raw[:64] + bytes([raw[64] + 27])

    def sign_text(self, text: bytes) -> bytes:
        """65 bytes r||s||v over the EIP-191 digest of the text."""
        return self.sign(text_digest(text))

    def exchange(self, public: bytes) -> bytes:
        """32 bytes that only this key and the owner of `public` (64 bytes x||y) can compute."""
        try:
            return self._signer.exchange(public)
        except ValueError as error:
            raise InvalidKeyError("The other public key is no point on the curve.") from error
