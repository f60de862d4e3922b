"""Contract ABI: encoding of arguments, decoding of results and events.

The part of Ethereum's ABI that Vyper contracts use: integers, bool, address, bytes, string,
arrays and tuples. Written here because eth-abi takes 0.3 s and 30 MB to import, which every
miner would pay; a test compares the two on random values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from tercet.chain.keys import checksum_address, keccak, parse_address
from tercet.errors import ChainError

Kind = Literal["uint", "int", "bool", "address", "word", "bytes", "string", "array", "tuple"]


class AbiError(ChainError):
    """A value does not fit its ABI type, or bytes do not decode."""


@dataclass(frozen=True, slots=True)
class Type:
    """One ABI type."""

    text: str
    """Canonical, such as `(uint256,address)[]`; what selectors are hashed from."""
    kind: Kind
    size: int
    """Bits of an integer, bytes of a `word` (bytes1..32), length of an array or -1."""
    parts: tuple[Type, ...]
    """Element type of an array, member types of a tuple."""
    head: int
    """Bytes in place: 32 for a dynamic type, which stands there as an offset."""
    dynamic: bool


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


def parse_type(entry: Mapping[str, Any]) -> Type:
    """Read one `inputs`/`outputs`/`components` entry of a JSON ABI."""
    text = str(entry["type"])
    if text.endswith("]"):
        base, _, length = text[:-1].rpartition("[")
        return _array(parse_type({**entry, "type": base}), int(length) if length else -1)
    if text == "tuple":
        return _tuple(tuple(parse_type(c) for c in entry["components"]))
    return _simple(text)


@cache
def _simple(text: str) -> Type:
    for name, kind in (("uint", "uint"), ("int", "int")):
        if text.startswith(name):
            return Type(text, kind, int(text[len(name) :]), (), 32, dynamic=False)  # type: ignore[arg-type]  # a Kind
    if text in ("bool", "address"):
        return Type(text, text, 0, (), 32, dynamic=False)  # type: ignore[arg-type]  # a Kind
    if text in ("bytes", "string"):
        return Type(text, text, 0, (), 32, dynamic=True)  # type: ignore[arg-type]  # a Kind
    if text.startswith("bytes"):
        return Type(text, "word", int(text[5:]), (), 32, dynamic=False)
    raise AbiError(f"ABI type {text!r} is not supported.")


def _array(part: Type, length: int) -> Type:
    dynamic = length < 0 or part.dynamic
    head = 32 if dynamic else length * part.head
    return Type(f"{part.text}[{length if length >= 0 else ''}]", "array", length, (part,), head, dynamic)


def _tuple(parts: tuple[Type, ...]) -> Type:
    dynamic = any(p.dynamic for p in parts)
    head = 32 if dynamic else sum(p.head for p in parts)
    return Type(f"({','.join(p.text for p in parts)})", "tuple", 0, parts, head, dynamic)


def parse_interface(entries: Sequence[Mapping[str, Any]]) -> Interface:
    """Read a JSON ABI."""
    functions, events, constructor = {}, {}, tuple[Type, ...]()
    for entry in entries:
        inputs = tuple(parse_type(i) for i in entry.get("inputs", ()))
        if entry["type"] == "constructor":
            constructor = inputs
            continue
        digest = keccak(f"{entry.get('name')}({','.join(t.text for t in inputs)})".encode())
        if entry["type"] == "function":
            outputs = tuple(parse_type(o) for o in entry["outputs"])
            functions[entry["name"]] = Function(entry["name"], digest[:4], inputs, outputs)
        elif entry["type"] == "event":
            names = tuple(i["name"] for i in entry["inputs"])
            indexed = tuple(bool(i["indexed"]) for i in entry["inputs"])
            events[digest] = EventType(entry["name"], digest, names, inputs, indexed)
    return Interface(functions, events, constructor)


def encode(types: Sequence[Type], values: Sequence[Any]) -> bytes:
    """Encode arguments.

    Raises:
        AbiError: a value is of the wrong kind or out of range.
    """
    if len(types) != len(values):
        raise AbiError(f"{len(types)} arguments are needed, {len(values)} were given.")
    head, tail = [], b""
    start = sum(t.head for t in types)
    for kind, value in zip(types, values, strict=True):
        encoded = _encode(kind, value)
        if kind.dynamic:
            head.append((start + len(tail)).to_bytes(32, "big"))
            tail += encoded
        else:
            head.append(encoded)
    return b"".join(head) + tail


def _encode(kind: Type, value: Any) -> bytes:
    try:
        match kind.kind:
            case "uint" | "int":
                return _encode_integer(kind, value)
            case "bool":
                return int(bool(value)).to_bytes(32, "big")
            case "address":
                return bytes(12) + parse_address(value)
            case "word":
                return _encode_word(kind, value)
            case "bytes" | "string":
                raw = value.encode() if kind.kind == "string" else bytes(value)
                return len(raw).to_bytes(32, "big") + raw + bytes(-len(raw) % 32)
            case "array":
                return _encode_array(kind, value)
            case "tuple":
                return encode(kind.parts, value)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AbiError(f"{value!r:.80} is no {kind.text}: {error}") from error


def _encode_integer(kind: Type, value: int) -> bytes:
    low, high = (0, 2**kind.size) if kind.kind == "uint" else (-(2 ** (kind.size - 1)), 2 ** (kind.size - 1))
    if not low <= value < high:
        raise AbiError(f"{value} is out of the range of {kind.text}.")
    return value.to_bytes(32, "big", signed=value < 0)


def _encode_word(kind: Type, value: bytes) -> bytes:
    if len(value) != kind.size:
        raise AbiError(f"{kind.text} takes {kind.size} bytes, got {len(value)}.")
    return bytes(value).ljust(32, b"\0")


def _encode_array(kind: Type, value: Sequence[Any]) -> bytes:
    if 0 <= kind.size != len(value):
        raise AbiError(f"{kind.text} takes {kind.size} values, got {len(value)}.")
    body = encode([kind.parts[0]] * len(value), value)
    return body if kind.size >= 0 else len(value).to_bytes(32, "big") + body


def decode(types: Sequence[Type], data: bytes) -> tuple[Any, ...]:
    """Decode results: addresses as EIP-55 text, arrays and tuples as tuples.

    Raises:
        AbiError: the bytes are too short or malformed.
    """
    return _decode_sequence(types, memoryview(data), 0)


def _decode_sequence(types: Sequence[Type], data: memoryview, start: int) -> tuple[Any, ...]:
    values, at = [], start
    for kind in types:
        place = start + _integer(data, at) if kind.dynamic else at
        values.append(_decode(kind, data, place))
        at += kind.head
    return tuple(values)


def _decode(kind: Type, data: memoryview, at: int) -> Any:
    match kind.kind:
        case "uint":
            return _integer(data, at)
        case "int":
            return int.from_bytes(_take(data, at, 32), "big", signed=True)
        case "bool":
            return _integer(data, at) != 0
        case "address":
            return checksum_address(_take(data, at + 12, 20))
        case "word":
            return _take(data, at, kind.size)
        case "bytes" | "string":
            raw = _take(data, at + 32, _integer(data, at))
            return raw.decode(errors="replace") if kind.kind == "string" else raw
        case "array":
            return _decode_array(kind, data, at)
        case "tuple":
            return _decode_sequence(kind.parts, data, at)


def _decode_array(kind: Type, data: memoryview, at: int) -> tuple[Any, ...]:
    length, start = (kind.size, at) if kind.size >= 0 else (_integer(data, at), at + 32)
    if length * 32 > len(data):  # an array of empty tuples does not exist, so each element takes a word
        raise AbiError(f"The answer claims {length} elements and has only {len(data)} bytes.")
    return _decode_sequence([kind.parts[0]] * length, data, start)


def _integer(data: memoryview, at: int) -> int:
    return int.from_bytes(_take(data, at, 32), "big")


def _take(data: memoryview, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise AbiError(f"The answer ends after {len(data)} bytes, {at + length} are needed. Is it the right contract?")
    return bytes(data[at : at + length])


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
            simple = not part.dynamic and part.head == 32
            fields[name] = _decode(part, memoryview(word), 0) if simple else word
    return fields
