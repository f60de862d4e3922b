"""Session keys: one signed handshake, then one HMAC a request.

Both sides bring a fresh secp256k1 key, both sign what they bring (the opener as an ordinary signed
request, the server as an ordinary signed answer), and the key that follows from the exchange never
travels. A session lives in memory only: after a restart its requests are refused as unknown, so
none of them can be replayed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from tercet.chain.keys import Key
from tercet.errors import InvalidKeyError, RefusalError, WireError
from tercet.nodes.wire import parse_hex

SESSION_SECONDS = 3600
MAX_SESSIONS = 4096
MAX_PER_SENDER = 4
MAX_NONCES = 65_536
"""Requests of one session that may be fresh at once."""


def derive_key(own: Key, other_public: bytes, request: bytes, session: str) -> bytes:
    """The 32-byte MAC key: bound to the exchange, to the signed opening request, and to the session's name."""
    shared = own.exchange(other_public)
    return hmac.digest(shared, b"tercet-session/1\n" + request + session.encode(), "sha256")


def compute_mac(key: bytes, text: bytes) -> str:
    """The HMAC-SHA256 of a canonical request text, in hex."""
    return hmac.digest(key, text, "sha256").hex()


@dataclass(slots=True)
class Session:
    """A server's side of a session."""

    name: str
    """32 hex digits of chance."""
    sender: str
    key: bytes = field(repr=False)
    expires: int
    """Unix milliseconds."""
    weight: float
    """The sender's weight when it was opened; 0 is a stranger."""
    nonces: NonceWindow

    def validate(self, sender: str, text: bytes, mac: str) -> None:
        """Refuse with `unauthorized` a request of another sender, or with another MAC."""
        right = compute_mac(self.key, text)
        if sender != self.sender or not hmac.compare_digest(right.encode(), mac.encode()):
            raise RefusalError("unauthorized")


class NonceWindow:
    """Nonces that are still fresh, in memory, bounded."""

    __slots__ = ("_capacity", "_old", "_turn", "_young")

    def __init__(self, capacity: int = MAX_NONCES) -> None:
        self._capacity = capacity
        # Two generations of one lifetime each: forgetting the old one whole costs nothing per request.
        self._young: set[str] = set()
        self._old: set[str] = set()
        self._turn = 0

    def validate_new(self, nonce: str) -> None:
        """Refuse with `replayed` a nonce that is still remembered."""
        if nonce in self._young or nonce in self._old:
            raise RefusalError("replayed")

    def add(self, nonce: str, now_ms: int, life_ms: int) -> None:
        """Refuse with `replayed` a nonce seen in the last `life_ms`, with `slow_down` when there are too many."""
        if now_ms >= self._turn:
            self._old = self._young if now_ms < self._turn + life_ms else set()
            self._young, self._turn = set(), now_ms + life_ms
        self.validate_new(nonce)
        if len(self._young) + len(self._old) >= self._capacity:
            raise RefusalError("slow_down", retry_after=life_ms / 1000)
        self._young.add(nonce)


class Sessions:
    """A server's open sessions: bounded in all and for each sender.

    When the table is full, the stranger's session that was idle longest makes place; a known payer's
    session never does, so strangers cannot throw payers out.
    """

    def __init__(
        self, *, capacity: int = MAX_SESSIONS, per_sender: int = MAX_PER_SENDER, seconds: float = SESSION_SECONDS
    ) -> None:
        self._capacity, self._per_sender, self._life_ms = capacity, per_sender, int(seconds * 1000)
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._by_sender: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(
        self, sender: str, public: object, request: bytes, *, weight: float, now_ms: int
    ) -> tuple[Session, dict[str, object]]:
        """Agree on a key with `sender`.

        Returns:
            The session, and the piece that tells the opener its name, our fresh public key and its end.

        Raises:
            RefusalError: `bad_request` for a malformed key, `busy` when payers hold every place.
        """
        own, name = Key.generate(), secrets.token_hex(16)
        try:
            key = derive_key(own, parse_hex(public, 64), request, name)
        except (WireError, InvalidKeyError):
            raise RefusalError("bad_request") from None
        self._make_place(sender, now_ms)
        session = Session(name, sender, key, now_ms + self._life_ms, weight, NonceWindow())
        self._open[name] = session
        self._by_sender.setdefault(sender, []).append(name)
        return session, {"session": name, "public": "0x" + own.public.hex(), "expires": session.expires}

    def find(self, name: str, now_ms: int) -> Session:
        """The session of that name; refuses with `session_unknown`."""
        session = self._open.get(name)
        if session is None:
            raise RefusalError("session_unknown")
        if session.expires < now_ms:
            self._close(name)
            raise RefusalError("session_unknown")
        self._open.move_to_end(name)
        return session

    def _make_place(self, sender: str, now_ms: int) -> None:
        own = self._by_sender.get(sender, [])
        if len(own) >= self._per_sender:
            self._close(own[0])
        if len(self._open) < self._capacity:
            return
        for name, session in self._open.items():
            if session.weight <= 0 or session.expires < now_ms:
                self._close(name)
                return
        raise RefusalError("busy", retry_after=10)

    def _close(self, name: str) -> None:
        session = self._open.pop(name)
        names = self._by_sender[session.sender]
        names.remove(name)
        if not names:
            del self._by_sender[session.sender]


@dataclass(frozen=True, slots=True)
class Opening:
    """A client's half of a handshake, kept until the server's half comes back."""

    key: Key
    """Fresh, for this handshake only."""

    @property
    def body(self) -> dict[str, object]:
        """What to send, signed, to the session path."""
        return {"public": "0x" + self.key.public.hex()}

    def finish(self, piece: object, request: bytes) -> tuple[str, bytes, int]:
        """Name, MAC key and end (unix ms) of the session that a verified answer granted."""
        if not isinstance(piece, dict) or not isinstance(piece.get("session"), str):
            raise WireError("The server's half of the handshake is malformed.")
        name, expires = piece["session"], piece.get("expires")
        if not isinstance(expires, int):
            raise WireError("The server's half of the handshake has no end.")
        try:
            return name, derive_key(self.key, parse_hex(piece.get("public"), 64), request, name), expires
        except InvalidKeyError as error:
            raise WireError(f"The server's half of the handshake has a bad key: {error}") from error


def request_hash(text: bytes) -> bytes:
    """What answers to a request name it by."""
    return hashlib.sha256(text).digest()
