"""Keys, addresses and signatures, against eth-account and between the two backends."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given, settings
from hypothesis import strategies as st

from tercet.chain import keys
from tercet.chain.curve_coincurve import CoincurveCurve
from tercet.chain.curve_pure import PureCurve
from tercet.chain.keys import Key, checksum_address, keccak, parse_address, recover, text_digest
from tercet.errors import InvalidKeyError, InvalidSignatureError

SECRETS = st.integers(1, keys.ORDER - 1).map(lambda n: n.to_bytes(32, "big"))
DIGESTS = st.binary(min_size=32, max_size=32)
SECRET = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")


def test_keccak_is_the_one_before_fips_202() -> None:
    """The hash of nothing is Ethereum's well-known value."""
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


@settings(max_examples=25, deadline=None)
@given(SECRETS, st.binary(max_size=80))
def test_eth_account_makes_the_same_address_and_signature(secret: bytes, text: bytes) -> None:
    """Our signature over a text is byte for byte the one every wallet makes."""
    peer = Account.from_key(secret)
    key = Key(secret)
    assert key.address == peer.address
    assert key.sign_text(text) == bytes(peer.sign_message(encode_defunct(text)).signature)
    assert recover(text_digest(text), key.sign_text(text)) == key.address


@settings(max_examples=15, deadline=None)
@given(SECRETS, SECRETS, DIGESTS)
def test_both_backends_agree_bit_for_bit(secret: bytes, other: bytes, digest: bytes) -> None:
    """Plain Python and libsecp256k1 give the same public key, signature, recovery and shared secret."""
    fast, pure = CoincurveCurve(), PureCurve()
    quick, slow = fast.signer(secret), pure.signer(secret)
    assert quick.public == slow.public
    assert quick.sign(digest) == slow.sign(digest)
    assert fast.recover(digest, quick.sign(digest)) == pure.recover(digest, quick.sign(digest)) == slow.public
    peer = fast.signer(other).public
    assert quick.exchange(peer) == slow.exchange(peer)


def test_without_coincurve_the_same_module_signs() -> None:
    """A machine with no coincurve wheel still signs and recovers."""
    code = (
        "import sys; sys.modules['coincurve'] = None\n"
        "from tercet.chain.keys import Key, recover\n"
        f"k = Key.from_hex('{SECRET.hex()}'); print(type(k._signer).__name__, recover(b'1'*32, k.sign(b'1'*32)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["PureSigner", Key(SECRET).address]


def test_a_malleable_signature_is_refused() -> None:
    """The twin (r, n - s, other v) of a good signature recovers to the same key elsewhere, and is refused here."""
    key, digest = Key(SECRET), keccak(b"pay")
    good = key.sign(digest)
    twin = good[:32] + (keys.ORDER - int.from_bytes(good[32:64], "big")).to_bytes(32, "big") + bytes([55 - good[64]])
    assert recover(digest, good) == key.address
    with pytest.raises(InvalidSignatureError, match="malleable"):
        recover(digest, twin)


@pytest.mark.parametrize(
    "signature",
    [b"", b"\1" * 64, b"\0" * 65, b"\xff" * 65, b"\0" * 31 + b"\1" + b"\0" * 31 + b"\1" + b"\x1d"],
    ids=["empty", "short", "zero", "out of range", "bad v"],
)
def test_a_malformed_signature_is_refused(signature: bytes) -> None:
    """Junk gives our error, never a bare one from the curve library."""
    with pytest.raises(InvalidSignatureError):
        recover(b"\1" * 32, signature)


@settings(max_examples=100, deadline=None)
@given(DIGESTS, st.binary(min_size=65, max_size=65))
def test_a_random_signature_raises_only_our_error(digest: bytes, signature: bytes) -> None:
    """Any 65 bytes either recover to some address or raise InvalidSignatureError."""
    with contextlib.suppress(InvalidSignatureError):
        assert len(recover(digest, signature)) == 42


def test_the_secret_never_shows() -> None:
    """repr, str and the error of a bad secret keep it to themselves."""
    key = Key(SECRET)
    assert SECRET.hex() not in repr(key) + str(key)
    assert repr(SECRET) not in repr(key)
    assert key.address in repr(key)
    with pytest.raises(InvalidKeyError) as caught:
        Key.from_hex("0xsecretsecret")
    assert "secretsecret" not in str(caught.value)


@pytest.mark.parametrize("secret", [b"", b"\0" * 32, b"\xff" * 32, b"\1" * 33])
def test_a_secret_out_of_range_is_refused(secret: bytes) -> None:
    """Zero, the order and above, and wrong lengths are no keys."""
    with pytest.raises(InvalidKeyError):
        Key(secret)


def test_a_mistyped_address_is_refused() -> None:
    """One changed letter breaks the EIP-55 checksum; lower case is taken as it is."""
    right = Key(SECRET).address
    assert checksum_address(parse_address(right)) == right
    assert parse_address(right.lower()) == parse_address(right)
    wrong = right[:-1] + ("1" if right[-1] != "1" else "2")
    for text in (wrong, right[:-2], "0x" + " " * 40, right[2:], ""):
        with pytest.raises(InvalidKeyError):
            parse_address(text)


def test_two_keys_share_a_secret_and_junk_does_not() -> None:
    """ECDH gives both ends the same 32 bytes; a point off the curve is refused."""
    one, two = Key.generate(), Key.generate()
    assert one.exchange(two.public) == two.exchange(one.public)
    with pytest.raises(InvalidKeyError):
        one.exchange(b"\1" * 64)
