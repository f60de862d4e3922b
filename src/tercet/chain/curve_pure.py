"""secp256k1 in plain Python: Jacobian points, RFC 6979 nonces.

The stand-in where coincurve has no wheel: some 5 ms a signature. Not constant-time, so it is
for development machines; results equal libsecp256k1's bit for bit.
"""

from __future__ import annotations

import hashlib
import hmac

P = 2**256 - 2**32 - 977
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_Point = tuple[int, int, int]  # Jacobian X, Y, Z; Z = 0 is the point at infinity
_INFINITY: _Point = (0, 1, 0)
_G: _Point = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
    1,
)


def _double(p: _Point) -> _Point:
    x, y, z = p
    if z == 0 or y == 0:
        return _INFINITY
    yy = y * y % P
    s = 4 * x * yy % P
    m = 3 * x * x % P
    x3 = (m * m - 2 * s) % P
    return x3, (m * (s - x3) - 8 * yy * yy) % P, 2 * y * z % P


def _add(p: _Point, q: _Point) -> _Point:
    if p[2] == 0:
        return q
    if q[2] == 0:
        return p
    zz1, zz2 = p[2] * p[2] % P, q[2] * q[2] % P
    u1, u2 = p[0] * zz2 % P, q[0] * zz1 % P
    s1, s2 = p[1] * zz2 * q[2] % P, q[1] * zz1 * p[2] % P
    if u1 == u2:
        return _double(p) if s1 == s2 else _INFINITY
    h, r = (u2 - u1) % P, (s2 - s1) % P
    hh = h * h % P
    hhh, v = h * hh % P, u1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return x3, (r * (v - x3) - s1 * hhh) % P, h * p[2] * q[2] % P


def _multiply(p: _Point, scalar: int) -> _Point:
    total = _INFINITY
    for bit in f"{scalar % ORDER:b}":
        total = _double(total)
        if bit == "1":
            total = _add(total, p)
    return total


def _affine(p: _Point) -> tuple[int, int]:
    if p[2] == 0:
        raise ValueError("the point at infinity")
    inverse = pow(p[2], -1, P)
    return p[0] * inverse**2 % P, p[1] * inverse**3 % P


def _lift(x: int, odd: int) -> _Point:
    """The curve point with this x and this parity of y."""
    y = pow(x**3 + 7, (P + 1) // 4, P)
    if x >= P or y * y % P != (x**3 + 7) % P:
        raise ValueError("no curve point has this x")
    return x, (y if y & 1 == odd else P - y), 1


def _encode(p: _Point) -> bytes:
    x, y = _affine(p)
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")


def _decode(public: bytes) -> _Point:
    if len(public) != 64:
        raise ValueError("a public key has 64 bytes")
    x, y = int.from_bytes(public[:32], "big"), int.from_bytes(public[32:], "big")
    if _lift(x, y & 1)[1] != y:
        raise ValueError("the point is off the curve")
    return x, y, 1


def _nonce(secret: bytes, digest: bytes) -> int:
    """RFC 6979's deterministic k for SHA-256."""
    value, key = b"\x01" * 32, b"\x00" * 32
    seed = secret + (int.from_bytes(digest, "big") % ORDER).to_bytes(32, "big")
    for mark in (b"\x00", b"\x01"):
        key = hmac.digest(key, value + mark + seed, hashlib.sha256)
        value = hmac.digest(key, value, hashlib.sha256)
    while True:
        value = hmac.digest(key, value, hashlib.sha256)
        if 0 < (k := int.from_bytes(value, "big")) < ORDER:
            return k
        key = hmac.digest(key, value + b"\x00", hashlib.sha256)
        value = hmac.digest(key, value, hashlib.sha256)


class PureSigner:
    """A secret as an integer."""

    __slots__ = ("_secret", "public")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.public = _encode(_multiply(_G, int.from_bytes(secret, "big")))

    def sign(self, digest: bytes) -> bytes:
        """65 bytes r||s||recovery id over a 32-byte digest."""
        k = _nonce(self._secret, digest)
        x, y = _affine(_multiply(_G, k))
        r, mark = x % ORDER, (y & 1) | (2 if x >= ORDER else 0)
        z, d = int.from_bytes(digest, "big"), int.from_bytes(self._secret, "big")
        s = pow(k, -1, ORDER) * (z + r * d) % ORDER
        if s > ORDER // 2:
            s, mark = ORDER - s, mark ^ 1
        return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([mark])

    def exchange(self, public: bytes) -> bytes:
        """sha256 of the compressed shared point; ValueError off the curve."""
        x, y = _affine(_multiply(_decode(public), int.from_bytes(self._secret, "big")))
        return hashlib.sha256(bytes([2 + (y & 1)]) + x.to_bytes(32, "big")).digest()


class PureCurve:
    """Makes signers and recovers public keys."""

    def signer(self, secret: bytes) -> PureSigner:
        """Prepare a secret of 32 bytes, in range."""
        return PureSigner(secret)

    def recover(self, digest: bytes, signature: bytes) -> bytes:
        """64 bytes x||y of the signer; ValueError if there is none."""
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        point, inverse = _lift(r, signature[64] & 1), pow(r, -1, ORDER)
        z = int.from_bytes(digest, "big")
        share = _add(_multiply(point, s * inverse), _multiply(_G, -z * inverse))
        return _encode(share)
