"""The wire: what is signed, how it is written, how it is read. Bytes and values only, no sockets.

A request is authenticated by its headers alone, the hash of its body among them, so a server knows
who asks before it reads what is asked. An answer is NDJSON: pieces, then one signed trailer. The
format, with a golden vector, stands in docs/reference/wire.md.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeGuard

from tercet.chain.keys import (
    Key,
    address_from_public,
    checksum_address,
    parse_address,
    recover,
    recover_public,
    text_digest,
)
from tercet.errors import InvalidKeyError, InvalidSignatureError, RefusalError, WireError
from tercet.market import Answer, Usage

VERSION = "tercet/1"
PREFIX = "/tercet/v1/"
INFO_PATH = PREFIX + "info"
SESSION_PATH = PREFIX + "session"

SENDER = "tercet-sender"
RECEIVER = "tercet-receiver"
NONCE = "tercet-nonce"
EXPIRES = "tercet-expires"
BODY = "tercet-body"
SIGNATURE = "tercet-signature"
SIGNER = "tercet-signer"
SESSION = "tercet-session"
MAC = "tercet-mac"

CODES: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "The request is malformed. See docs/reference/wire.md."),
    "unauthorized": (401, "The signature is missing or does not match. Sign the canonical text with the sender's key."),
    "clock_skew": (401, "The clocks differ by too much. Set the offset by `server_time` (unix ms) and try again."),
    "session_unknown": (401, "The session is unknown or over. Open a new one at /tercet/v1/session."),
    "voucher_stale": (402, "The voucher does not cover what is owed. Sign one above `account.charged_total`."),
    "voucher_overspent": (402, "The voucher promises more than the channel holds. Top up the channel."),
    "voucher_invalid": (402, "The voucher is malformed or not signed by the channel's payer authorizer."),
    "channel_unknown": (402, "The channel is unknown, closing, or pays somebody else. Send its config, or open one."),
    "price_too_low": (402, "The offer is below the price. Read the price at /tercet/v1/info."),
    "limit_too_low": (402, "The task may use more than the offer reserves. Reserve the subnet's limit for it."),
    "not_found": (404, "There is no such path here."),
    "too_slow": (408, "The request did not arrive in time. Send it in one go."),
    "replayed": (409, "This nonce was seen before. Make a new one for each request."),
    "too_large": (413, "The body is larger than 1 MiB. Send less."),
    "wrong_receiver": (421, "This server answers for another address. Read the miner's operator from the ledger."),
    "bad_task": (422, "The subnet cannot read this task. See its documentation."),
    "slow_down": (429, "Too many requests from this caller. Wait for `retry_after` seconds."),
    "work_failed": (500, "The work failed here. Nothing was charged; ask another miner."),
    "busy": (503, "All hands are busy. Wait for `retry_after` seconds, or ask another miner."),
    "unredeemed": (503, "A smart account owes too much that is not redeemed yet. Wait for `retry_after` seconds."),
    "stopping": (503, "This server is shutting down. Ask another miner."),
}
"""Every refusal: its HTTP status and its fixed words, which never repeat anything of the request."""

UNSIGNED_CODES = frozenset(
    {"bad_request", "unauthorized", "session_unknown", "not_found", "too_slow", "too_large", "wrong_receiver"}
    | {"slow_down", "busy", "stopping"}
)
"""Refusals made before the caller is known: not worth a signature, and nothing may be concluded from them."""

MAX_BODY_BYTES = 1 << 20
SKEW_MS = 5_000
"""How far into the future a request may be dated."""
LIFE_MS = 30_000
"""How long after its making a request is good; longer ones are refused."""

_HEX32 = re.compile(r"[0-9a-f]{64}")
_NONCE = re.compile(r"(\d{13})-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What authenticates a request."""

    method: str
    path: str
    receiver: str
    """EIP-55 address of the operator that is asked."""
    sender: str
    """EIP-55 address of who asks."""
    nonce: str
    """Unix milliseconds of its making, a dash, 16 hex digits that differ each time."""
    expires: int
    """Unix milliseconds after which it is refused, at most `LIFE_MS` after its making."""
    body: str
    """sha256 of the body, 64 hex digits."""

    @property
    def text(self) -> bytes:
        """The canonical text: what a signature or a session's MAC covers."""
        return (
            f"{VERSION}\n{self.method}\n{self.path}\n{self.receiver}\n{self.sender}\n"
            f"{self.nonce}\n{self.expires}\n{self.body}"
        ).encode()

    @property
    def made(self) -> int:
        """Unix milliseconds of its making, as the sender's clock had it."""
        return int(self.nonce[:13])

    def headers(self) -> dict[str, str]:
        """As HTTP headers, without the proof."""
        return {
            SENDER: self.sender,
            RECEIVER: self.receiver,
            NONCE: self.nonce,
            EXPIRES: str(self.expires),
            BODY: self.body,
        }


_NONCES = itertools.count(secrets.randbits(64))
"""Where this process's nonces go on: unique is all they need to be, and a counter asks the kernel for nothing."""


def build_head(path: str, receiver: str, sender: str, body: bytes, *, now_ms: int, method: str = "POST") -> RequestHead:
    """A fresh head for `body`, good for `LIFE_MS`."""
    nonce = f"{now_ms:013d}-{next(_NONCES) & 0xFFFFFFFFFFFFFFFF:016x}"
    return RequestHead(method, path, receiver, sender, nonce, now_ms + LIFE_MS, hashlib.sha256(body).hexdigest())


@lru_cache(maxsize=4096)
def _address(text: str) -> str:
    return checksum_address(parse_address(text))


def parse_head(method: str, path: str, headers: Mapping[str, str]) -> RequestHead:
    """Read a stranger's headers.

    Raises:
        RefusalError: `bad_request` when one is missing or malformed.
    """
    try:
        sender, receiver = _address(headers[SENDER]), _address(headers[RECEIVER])
        nonce, expires, body = headers[NONCE], headers[EXPIRES], headers[BODY]
    except (KeyError, InvalidKeyError):
        raise RefusalError("bad_request") from None
    if not (_NONCE.fullmatch(nonce) and len(expires) == 13 and expires.isdecimal() and _HEX32.fullmatch(body)):
        raise RefusalError("bad_request")
    return RequestHead(method, path, receiver, sender, nonce, int(expires), body)


def validate_time(head: RequestHead, now_ms: int) -> None:
    """Refuse a request from the future, or one that is over: `clock_skew` with the server's time."""
    if head.expires - head.made > LIFE_MS or head.expires < head.made:
        raise RefusalError("bad_request")
    if head.made > now_ms + SKEW_MS or head.expires < now_ms:
        raise RefusalError("clock_skew", facts={"server_time": now_ms})


def validate_signature(text: bytes, signature: str, signer: str) -> None:
    """Refuse with `unauthorized` unless `signer` signed the text; `signature` is 0x and 130 hex digits."""
    if not is_signed(text, signature, signer):
        raise RefusalError("unauthorized")


def is_signed(text: bytes, signature: str, signer: str) -> bool:
    """Whether `signer` signed the EIP-191 text."""
    try:
        return recover(text_digest(text), parse_hex(signature, 65)) == signer
    except (InvalidSignatureError, WireError):
        return False


def parse_hex(text: object, size: int) -> bytes:
    """`size` bytes from 0x-hex; `WireError` for anything else."""
    if isinstance(text, str) and len(text) == 2 * size + 2 and text[:2] == "0x":
        try:
            raw = bytes.fromhex(text[2:])
        except ValueError:
            raw = b""
        if len(raw) == size:  # less where there were blanks, which Python skips
            return raw
    raise WireError(f"Expected 0x and {2 * size} hex digits. See docs/reference/wire.md.")


_ENCODER = json.JSONEncoder(separators=(",", ":"))


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8, no line breaks."""
    return _ENCODER.encode(value).encode()


def answer_text(answer: Answer) -> bytes:
    """The canonical text of an answer."""
    return (
        f"tercet-answer/1\n{answer.request.hex()}\n{answer.body.hex()}\n{answer.usage.prompt}\n"
        f"{answer.usage.completion}\n{answer.charged}\n{answer.charged_total}\n{answer.signer}"
    ).encode()


def sign_answer(key: Key, request: bytes, body: bytes, usage: Usage, charged: int, charged_total: int) -> Answer:
    """An answer in the key's name."""
    unsigned = Answer(request, body, usage, charged, charged_total, key.address, b"")
    signature = key.sign_text(answer_text(unsigned))
    return Answer(request, body, usage, charged, charged_total, key.address, signature)


def encode_answer(answer: Answer) -> bytes:
    """The trailer line, with its line break."""
    return (
        f'{{"answer":{{"request":"0x{answer.request.hex()}","body":"0x{answer.body.hex()}",'
        f'"usage":{{"prompt":{answer.usage.prompt},"completion":{answer.usage.completion}}},'
        f'"charged":{answer.charged},"charged_total":{answer.charged_total},'
        f'"signer":"{answer.signer}","signature":"0x{answer.signature.hex()}"}}}}\n'
    ).encode()


def parse_usage(value: object) -> Usage:
    """Read {"prompt": n, "completion": n}; `WireError` for anything else."""
    if isinstance(value, dict):
        prompt, completion = value.get("prompt"), value.get("completion")
        if _is_count(prompt) and _is_count(completion):
            return Usage(prompt, completion)
    raise WireError('Usage is {"prompt": n, "completion": n} with integers from 0 to 2**53.')


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= 1 << 53


def parse_answer(value: object) -> Answer:
    """Read what stands under "answer" in a trailer; `WireError` for anything malformed."""
    if not isinstance(value, dict):
        raise WireError("The trailer's answer is no JSON object.")
    charged, total, signer = value.get("charged"), value.get("charged_total"), value.get("signer")
    if not (type(charged) is int and type(total) is int and isinstance(signer, str) and 0 <= charged <= total):
        raise WireError("The trailer's charge or signer is malformed.")
    return Answer(
        parse_hex(value.get("request"), 32),
        parse_hex(value.get("body"), 32),
        parse_usage(value.get("usage")),
        charged,
        total,
        signer,
        parse_hex(value.get("signature"), 65),
    )


def validate_answer(answer: Answer, signer: str, request: bytes, body: bytes, known: bytes = b"") -> bytes:
    """Raise `WireError` unless `signer` signed this answer to this request with this body.

    Returns:
        The signer's public key, 64 bytes. Given back as `known` it saves hashing it into an address again.
    """
    if answer.signer != signer:
        raise WireError(f"The answer is signed by {answer.signer!r}, the miner is {signer!r}.")
    if answer.request != request:
        raise WireError("The answer is signed for another request.")
    if answer.body != body:
        raise WireError("The answer's bytes are not the ones that were signed.")
    try:
        found = recover_public(text_digest(answer_text(answer)), answer.signature)
    except InvalidSignatureError as error:
        raise WireError(f"The answer's signature is malformed: {error}") from error
    if found != known and address_from_public(found) != signer:
        raise WireError("The answer's signature does not match.")
    return found


def error_text(request: bytes, status: int, body: bytes) -> bytes:
    """The canonical text of a refusal: `request` and `body` are sha256 hashes."""
    return f"tercet-error/1\n{request.hex()}\n{status}\n{body.hex()}".encode()


def info_text(body: bytes) -> bytes:
    """The canonical text of a node's public information: `body` is its sha256 hash."""
    return f"tercet-info/1\n{body.hex()}".encode()


def encode_refusal(refusal: RefusalError) -> tuple[int, bytes]:
    """HTTP status and body of a refusal."""
    status, message = CODES[refusal.code]
    content: dict[str, Any] = {"code": refusal.code, "message": message}
    if refusal.retry_after:
        content["retry_after"] = round(refusal.retry_after, 3)
    return status, encode_json({"error": {**content, **refusal.facts}}) + b"\n"


def parse_refusal(value: object) -> RefusalError | None:
    """Read what stands under "error"; None when it is none that we know."""
    if not isinstance(value, dict) or value.get("code") not in CODES:
        return None
    retry_after = value.get("retry_after", 0.0)
    if not isinstance(retry_after, int | float) or not 0 <= retry_after <= 86_400:
        retry_after = 0.0
    facts = {name: fact for name, fact in value.items() if name not in {"code", "message", "retry_after"}}
    return RefusalError(value["code"], retry_after=float(retry_after), facts=facts)
