"""Messages between agents: what one says to another, signed, and chained to what the same agent said before.

The words are FIPA's (a subset). A message's `prev` is the hash of its sender's message before it, so a message can
be neither replayed nor left out nor put elsewhere without showing. Values and checks only; `hub` carries them.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tercet.chain.keys import Key, recover, text_digest
from tercet.errors import EnvelopeError, InvalidSignatureError
from tercet.market.text import decode_as_sent

__all__ = [
    "CODES",
    "FIRST",
    "MAX_BYTES",
    "REPLIES",
    "Envelope",
    "Performative",
    "parse_envelope",
    "read_envelope",
    "seal",
    "signer_of",
]

Performative: TypeAlias = Literal[
    "request", "agree", "refuse", "inform", "failure", "query-ref", "cancel", "not-understood",
    "cfp", "propose", "accept-proposal", "reject-proposal",
]  # fmt: skip
REPLIES: frozenset[str] = frozenset(get_args(Performative)) - {"request", "query-ref", "cfp", "cancel", "inform"}
"""What is only said in reply to something."""
FIRST = "0" * 64
"""The `prev` of an agent's first message."""
MAX_BYTES = 64 << 10
"""Of a whole message as JSON. What is larger is a file: say where it lies, and its digest."""
CODES = {
    "malformed": "it is no envelope: a field is missing, unknown or out of range",
    "too_large": "it is larger than 64 KiB",
    "not_yours": "the sender is not the agent that this connection was opened for",
    "forged": "the signature is not by the sender's key",
    "replayed": "it does not follow from the sender's last message: it was sent before, or one is missing",
    "unknown_receiver": "nobody of that name is in the run",
    "full": "the receiver has too many messages that it has not read",
    "flood": "the sender sends faster than it may",
    "late": "the call for proposals that it answers is over",
    "not_asked": "it answers a call for proposals that was made to somebody else, or answers somebody else than the caller",
    "answered": "its sender has answered that call for proposals before",
}
"""Why a message is not taken."""
_AGENT = r"^[a-z][a-z0-9-]{0,47}$"
_PURPOSE = b"tercet envelope 1\n"


class Envelope(BaseModel):
    """One message."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    """Drawn by the sender."""
    performative: Performative
    """What kind of saying it is."""
    sender: str = Field(pattern=_AGENT)
    receiver: str = Field(pattern=_AGENT)
    conversation: str = Field(pattern=r"^[0-9a-f]{32}$")
    """All messages about one matter have the same."""
    in_reply_to: str = Field(default="", pattern=r"^([0-9a-f]{32})?$")
    """The id that it answers; empty where it opens a conversation."""
    reply_by: int = Field(default=0, ge=0, lt=2**53)
    """Unix milliseconds after which no answer is wanted; 0 means none."""
    claims: tuple[str, ...] = Field(default=(), max_length=64)
    """Ids of the claims that the content rests on: whoever uses the content depends on them."""
    cost: int = Field(default=0, ge=0, lt=2**53)
    """Credit units that making the content has cost."""
    prev: str = Field(pattern=r"^[0-9a-f]{64}$")
    """`hash` of the sender's message before this one, or `FIRST`."""
    content: Any = None
    """What is said, as JSON."""
    signature: str = Field(default="", pattern=r"^([0-9a-f]{130})?$")
    """By the sender's key, 65 bytes as hex, over everything above."""

    @cached_property
    def encoded(self) -> bytes:
        """Compact JSON with sorted keys: what travels."""
        return _compact(self.model_dump())

    @cached_property
    def hash(self) -> str:
        """sha256 over the whole message, the signature included, as hex."""
        return hashlib.sha256(self.encoded).hexdigest()

    def signed_part(self) -> bytes:
        """What the signature is over."""
        return _PURPOSE + _compact(self.model_dump(exclude={"signature"}))


def seal(
    key: Key,
    performative: Performative,
    sender: str,
    receiver: str,
    content: Any,
    *,
    prev: str,
    conversation: str = "",
    in_reply_to: str = "",
    reply_by: int = 0,
    claims: Sequence[str] = (),
    cost: int = 0,
) -> Envelope:
    """Write and sign a message.

    Args:
        key: the sender's.
        performative: what kind of saying it is.
        sender: agent id.
        receiver: agent id.
        content: anything that JSON can say.
        prev: hash of the sender's last message, or `FIRST`.
        conversation: the one it belongs to; empty opens one.
        in_reply_to: id of the message that it answers.
        reply_by: Unix milliseconds, 0 for none.
        claims: ids of what the content rests on.
        cost: credit units.

    Raises:
        EnvelopeError: malformed or too large.

    """
    fields = {
        "id": secrets.token_hex(16),
        "performative": performative,
        "sender": sender,
        "receiver": receiver,
        "conversation": conversation or secrets.token_hex(16),
        "in_reply_to": in_reply_to,
        "reply_by": reply_by,
        "claims": tuple(claims),
        "cost": cost,
        "prev": prev,
        "content": content,
    }
    draft = _validate(fields)
    signature = key.sign(text_digest(draft.signed_part())).hex()
    return parse_envelope(_compact({**draft.model_dump(), "signature": signature}))


def parse_envelope(data: bytes | str) -> Envelope:
    """Read a message that somebody sent. The signature is not looked at; see `signer_of`.

    Raises:
        EnvelopeError: `malformed` or `too_large`.

    """
    return read_envelope(decode_as_sent(data))


def read_envelope(found: Any) -> Envelope:
    """The same, of JSON that is decoded already."""
    if isinstance(found, dict) and isinstance(found.get("claims"), list):
        found = {**found, "claims": tuple(found["claims"])}
    envelope = _validate(found)
    if len(envelope.encoded) > MAX_BYTES:
        raise EnvelopeError(
            f"A message of {len(envelope.encoded)} bytes is not taken: {MAX_BYTES} are the most. Put it into a file,"
            " and say where that lies.",
            code="too_large",
        )
    return envelope


def signer_of(envelope: Envelope) -> str:
    """The address whose key signed the message.

    Raises:
        EnvelopeError: `forged`: no key has this signature.

    """
    try:
        return recover(text_digest(envelope.signed_part()), bytes.fromhex(envelope.signature))
    except InvalidSignatureError as error:
        raise EnvelopeError(f"Message {envelope.id} is not signed: {error}", code="forged") from error


def _validate(raw: Any) -> Envelope:
    try:
        envelope = Envelope.model_validate(raw)
        assert envelope.encoded
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, item['loc'])) or 'it'}: {item['msg']}" for item in error.errors()[:3]]
        raise EnvelopeError(f"This is no message between agents: {'; '.join(faults)}.", code="malformed") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise EnvelopeError(f"The content of a message has to be JSON: {error}.", code="malformed") from error
    if any(not 0 < len(claim) <= 80 for claim in envelope.claims):
        raise EnvelopeError("A claim is named by its id, of 1 to 80 characters.", code="malformed")
    if envelope.performative in REPLIES and not envelope.in_reply_to:
        raise EnvelopeError(f"A message {envelope.performative!r} says what it replies to.", code="malformed")
    return envelope


def _compact(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
