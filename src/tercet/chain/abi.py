"""Contract ABI: our contracts' interfaces, and what eth-abi makes of arguments, results and events.

Differs from eth-abi's own defaults in four things: addresses are checked and come out as EIP-55
text, a `bytesN` takes exactly N bytes, text that is no UTF-8 decodes with marks in its place, and
an answer may not have the same bytes read without end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi.codec import ABICodec
from eth_abi.decoding import AddressDecoder, ContextFramesBytesIO, StringDecoder
from eth_abi.encoding import AddressEncoder, BytesEncoder
from eth_abi.exceptions import DecodingError, EncodingError
from eth_abi.registry import BaseEquals, registry

from tercet.chain.keys import checksum_address, keccak, parse_address
from tercet.errors import ChainError

_MAX_READS = 64
"""How often an honest answer's bytes may be read; eth-abi reads nested fixed-size tuples 2**depth times."""


class AbiError(ChainError):
    """A value does not fit its ABI type, or bytes do not decode."""


@dataclass(frozen=True, slots=True)
class Type:
    """One ABI type."""

    text: str
    """Canonical, such as `(uint256,address)[]`; what selectors are hashed from."""

    @property
    def hashed(self) -> bool:
        """Whether an indexed one stands in its topic as a hash only."""
        return self.text in ("bytes", "string") or self.text[-1] in ")]"


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a contract."""

    name: str
    selector: bytes
    inputs: tuple[Type, ...]
    outputs: tuple[Type, ...]


@dataclass(frozen=True, slots=True)
class EventType:
    """One event of a contract."""

    name: str
    topic: bytes
    names: tuple[str, ...]
    types: tuple[Type, ...]
    indexed: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """What a contract understands and tells."""

    functions: Mapping[str, Function]
    """By name; Vyper contracts of ours overload none."""
    events: Mapping[bytes, EventType]
    """By topic 0."""
    constructor: tuple[Type, ...]


class _Word(BytesEncoder):  # type: ignore[misc]  # mypy does not follow eth_abi
    """A `bytesN` that refuses to be padded: a short hash or salt is a mistake."""

    def validate_value(self, value: Any) -> None:
        super().validate_value(value)
        if len(value) * 8 != self.value_bit_size:
            self.invalidate_value(value, msg=f"it takes {self.value_bit_size // 8} bytes, not {len(value)}")


class _Answer(ContextFramesBytesIO):  # type: ignore[misc]  # mypy does not follow eth_abi
    """Bytes from a node. Its pointers may all name one place, so that a megabyte would decode to many gigabytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _MAX_READS * len(data)

    def read(self, size: int) -> bytes:
        found: bytes = super().read(size)
        self._left -= len(found)
        if self._left < 0:
            raise DecodingError("It points to the same bytes too often.")
        return found


def _build_codec() -> ABICodec:
    kinds = registry.copy()
    kinds.unregister("address")
    address = AddressEncoder(validate_value=parse_address, encode_fn=parse_address)
    kinds.register(BaseEquals("address"), address, AddressDecoder(decoder_fn=checksum_address))
    kinds.unregister_encoder("bytes<M>")
    kinds.register_encoder(BaseEquals("bytes", with_sub=True), _Word)
    kinds.unregister_decoder("string")
    kinds.register_decoder(BaseEquals("string"), StringDecoder(handle_string_errors="replace"))
    codec = ABICodec(kinds)
    codec.stream_class = _Answer
    return codec


_CODEC = _build_codec()


def parse_type(entry: Mapping[str, Any]) -> Type:
    """Read one `inputs`/`outputs`/`components` entry of a JSON ABI.

    Raises:
        AbiError: not an ABI type, or one without size, which could claim any number of elements for no bytes.
    """
    text = str(entry["type"])
    if text.startswith("tuple"):
        text = f"({','.join(parse_type(c).text for c in entry['components'])}){text[5:]}"
    return _checked(text)


@cache
def _checked(text: str) -> Type:
    if "()" in text or "[0]" in text or not _CODEC.is_encodable_type(text):
        raise AbiError(f"ABI type {text!r} is not supported.")
    return Type(text)


def parse_interface(entries: Sequence[Mapping[str, Any]]) -> Interface:
    """Read a JSON ABI."""
    functions, events, constructor = {}, {}, tuple[Type, ...]()
    for entry in entries:
        inputs = tuple(parse_type(i) for i in entry.get("inputs", ()))
        if entry["type"] == "constructor":
            constructor = inputs
            continue
        digest = keccak(f"{entry.get('name')}{_join(inputs)}".encode())
        if entry["type"] == "function":
            outputs = tuple(parse_type(o) for o in entry["outputs"])
            functions[entry["name"]] = Function(entry["name"], digest[:4], inputs, outputs)
        elif entry["type"] == "event":
            names = tuple(i["name"] for i in entry["inputs"])
            indexed = tuple(bool(i["indexed"]) for i in entry["inputs"])
            events[digest] = EventType(entry["name"], digest, names, inputs, indexed)
    return Interface(functions, events, constructor)


def _join(types: Sequence[Type]) -> str:
    return f"({','.join(t.text for t in types)})"


def encode(types: Sequence[Type], values: Sequence[Any]) -> bytes:
    """Encode arguments.

    Raises:
        AbiError: a value is of the wrong kind or out of range.
        InvalidKeyError: an address is none, or mistyped.
    """
    try:
        return bytes(_CODEC.encode([t.text for t in types], values))
    except (EncodingError, TypeError, ValueError) as error:
        raise AbiError(f"The values do not fit {_join(types)}: {str(error)[:200]}") from error


def decode(types: Sequence[Type], data: bytes) -> tuple[Any, ...]:
    """Decode results: addresses as EIP-55 text, arrays and tuples as tuples.

    Raises:
        AbiError: the bytes are too short or malformed.
    """
    try:
        return tuple(_CODEC.decode([t.text for t in types], data))
    except (DecodingError, OverflowError) as error:  # overflow: a claimed length beyond any machine's
        raise AbiError(
            f"The answer of {len(data)} bytes does not decode as {_join(types)}: {str(error)[:200].rstrip('.')}. Is it the right contract?"
        ) from error


def decode_event(kind: EventType, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
    """The fields of an event by name. An indexed string or array is only there as its hash."""
    plain = [t for t, indexed in zip(kind.types, kind.indexed, strict=True) if not indexed]
    rest = iter(decode(plain, data))
    words = iter(topics[1:])
    fields = {}
    for name, part, indexed in zip(kind.names, kind.types, kind.indexed, strict=True):
        if not indexed:
            fields[name] = next(rest)
        elif (word := next(words, None)) is None:
            raise AbiError(f"Event {kind.name} lacks a topic. Is it the right contract?")
        else:
            fields[name] = word if part.hashed else decode([part], word)[0]
    return fields
