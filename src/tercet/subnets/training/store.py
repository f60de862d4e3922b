"""Where checkpoints, updates and the text are found: folders and web servers that nobody has to trust.

    head.json                   {"round", "checkpoint"}: where this store's owner stands
    model.safetensors           the model at the head, tensor by tensor, for whoever wants to use it
    checkpoints/DIGEST          a whole checkpoint, safetensors
    steps/DIGEST.json           {"parent", "round", "updates": [...]}: how the checkpoint DIGEST follows from another
    updates/SHA256              a miner's packed update
    corpus/SHA256               the text

Everything but the head has its content's hash for a name, and a step is proven by taking it. A task names the
checkpoint to start from, so the worst that a store can do is to be of no use. Whoever was away catches up by the steps
from what it has, or by a whole checkpoint where that is shorter.
"""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tercet.errors import SubnetError, UsageError
from tercet.market.text import decode_json
from tercet.subnets.kit.files import write_atomically
from tercet.subnets.training.compress import LARGEST_UPDATE, Codec, Update
from tercet.subnets.training.data import LARGEST_CORPUS
from tercet.subnets.training.outer import Checkpoint, Outer, step

__all__ = [
    "NAME",
    "FolderStore",
    "Library",
    "Step",
    "Store",
    "StoreError",
    "WebStore",
    "open_store",
]

NAME = re.compile(r"head\.json|model\.safetensors|(checkpoints|updates|corpus)/[0-9a-f]{64}|steps/[0-9a-f]{64}\.json")
"""Every name that a store answers to."""
_SMALL = 1 << 20
_HASH = re.compile(r"[0-9a-f]{64}")
MOST_STEPS = 64
"""Steps that catching up goes back before it asks for a whole checkpoint."""
MOST_UPDATES = 4096
"""In one step."""
CONNECT_SECONDS = 10.0
T = TypeVar("T")


class StoreError(SubnetError):
    """What is needed is in none of the stores, or what is there is not it."""


class Store(Protocol):
    """Bytes by name."""

    def get(self, name: str, limit: int) -> bytes | None:
        """The bytes of that name; None when it has none, or more than `limit`."""


@dataclass(frozen=True, slots=True)
class FolderStore:
    """On a disk that is ours, or shared."""

    folder: Path

    def get(self, name: str, limit: int) -> bytes | None:
        """Read."""
        assert NAME.fullmatch(name)
        try:
            with (self.folder / name).open("rb") as file:
                data = file.read(limit + 1)
        except OSError:
            return None
        return data if len(data) <= limit else None

    def has(self, name: str) -> bool:
        """Whether there is one of that name."""
        assert NAME.fullmatch(name)
        return (self.folder / name).is_file()

    def put(self, name: str, data: bytes) -> None:
        """Write, whole or not at all."""
        assert NAME.fullmatch(name)
        write_atomically(self.folder / name, data)

    def names(self, kind: str) -> list[str]:
        """The names of one kind, the oldest first."""
        found = sorted((self.folder / kind).glob("*"), key=lambda path: path.stat().st_mtime_ns)
        return [f"{kind}/{path.name}" for path in found if NAME.fullmatch(f"{kind}/{path.name}")]

    def drop(self, name: str) -> None:
        """Forget one."""
        assert NAME.fullmatch(name)
        (self.folder / name).unlink(missing_ok=True)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Nowhere else."""


@dataclass(frozen=True, slots=True)
class WebStore:
    """Behind a URL that we were given by our owner, never by a stranger."""

    url: str
    seconds: float = CONNECT_SECONDS
    """That a connection may stay silent."""

    def get(self, name: str, limit: int) -> bytes | None:
        """Fetch; no redirects, and no byte more than the limit."""
        assert NAME.fullmatch(name)
        opener = urllib.request.build_opener(_NoRedirect())
        try:
            with opener.open(f"{self.url.rstrip('/')}/{name}", timeout=self.seconds) as answer:
                data: bytes = answer.read(limit + 1)
        except (urllib.error.URLError, HTTPException, OSError, ValueError):
            return None
        return data if len(data) <= limit else None


def open_store(place: str) -> Store:
    """A folder, or an http(s) URL."""
    scheme, colon, _ = place.partition("://")
    if not colon:
        return FolderStore(Path(place).expanduser())
    if scheme not in {"http", "https"}:
        raise UsageError(f"A store is a folder or an http(s) URL, not {place!r}.")
    return WebStore(place)


@dataclass(frozen=True, slots=True)
class Step:
    """How one checkpoint followed from another."""

    parent: str
    round: int
    """Of the new checkpoint."""
    updates: Sequence[str]
    """Digests of the accepted updates."""

    def to_bytes(self) -> bytes:
        """As it is stored."""
        return json.dumps({"parent": self.parent, "round": self.round, "updates": list(self.updates)}).encode()

    @classmethod
    def parse(cls, data: bytes) -> Step:
        """Read a stranger's. Raises `StoreError`."""
        value = _parse_object(data)
        parent, number, updates = value.get("parent"), value.get("round"), value.get("updates")
        if not _is_hash(parent) or type(number) is not int or not 0 < number < 1 << 31:
            raise StoreError("A step names no parent or no round.")
        if not isinstance(updates, list) or len(updates) > MOST_UPDATES or not all(map(_is_hash, updates)):
            raise StoreError("A step names no updates.")
        return cls(str(parent), number, [str(each) for each in updates])


class Library:
    """Finds checkpoints of one model in several stores, the first of which is asked first."""

    def __init__(self, stores: Sequence[Store], codec: Codec, rules: str, outer: Outer) -> None:
        """`rules` is the digest of the market's rules."""
        self._stores, self._codec, self._rules, self._outer = stores, codec, rules, outer

    def find(self, digest: str, held: Mapping[str, Checkpoint], most_round: int) -> Checkpoint:
        """The checkpoint of that digest, by steps from one that is held or as a whole.

        Args:
            digest: what is asked for.
            held: what is at hand, by digest.
            most_round: the round that the digest is said to be of: the way back cannot be longer.

        Raises:
            StoreError: no store has what it takes.

        """
        if digest in held:
            return held[digest]
        way = self._way_back(digest, held, most_round)
        found = self._walk(way, held) if way else None
        return found or self._whole(digest)

    def corpus(self, digest: str) -> bytes:
        """The text of that hash. Raises `StoreError`."""
        return self._get(f"corpus/{digest}", LARGEST_CORPUS, lambda data: _hashed(data, digest))

    def update(self, digest: str) -> Update:
        """The update of that hash. Raises `StoreError`."""
        return self._get(f"updates/{digest}", LARGEST_UPDATE, lambda data: self._codec.unpack(_hashed(data, digest)))

    def _way_back(self, digest: str, held: Mapping[str, Checkpoint], most_round: int) -> list[tuple[str, Step]]:
        """Steps from a held checkpoint to `digest`, the last first; empty when there is no way, or a long one."""
        way: list[tuple[str, Step]] = []
        bytes_needed, whole = 0, 8 * self._codec.size
        while digest not in held:
            if len(way) >= min(MOST_STEPS, most_round):
                return []
            try:
                found = self._get(f"steps/{digest}.json", _SMALL, Step.parse)
            except StoreError:
                return []
            bytes_needed += len(found.updates) * self._codec.raw_bytes
            if bytes_needed > whole:
                return []
            way.append((digest, found))
            digest = found.parent
        return way

    def _walk(self, way: Sequence[tuple[str, Step]], held: Mapping[str, Checkpoint]) -> Checkpoint | None:
        """Take the steps, and see whether they lead where they should."""
        here = held[way[-1][1].parent]
        for digest, taken in reversed(way):
            try:
                here = step(here, [self.update(each) for each in taken.updates], self._outer)
            except StoreError:
                return None
            if here.digest != digest:
                return None
        return here

    def _whole(self, digest: str) -> Checkpoint:
        limit = 8 * self._codec.size + _SMALL
        return self._get(f"checkpoints/{digest}", limit, lambda data: self._parse(data, digest))

    def _parse(self, data: bytes, digest: str) -> Checkpoint:
        checkpoint = parse_checkpoint(data, self._codec.size, self._rules)
        if checkpoint.digest != digest:
            raise StoreError(f"This is not the checkpoint {digest[:16]}….")
        return checkpoint

    def _get(self, name: str, limit: int, read: Callable[[bytes], T]) -> T:
        """From the first store whose bytes are what they should be."""
        why = "no store has it"
        for store in self._stores:
            data = store.get(name, limit)
            if data is None:
                continue
            try:
                return read(data)
            except SubnetError as error:
                why = str(error)
        raise StoreError(
            f"Cannot get {name[:32]}… ({why}). Name the stores of the market's validators: -o store=URL,URL."
        )


def format_checkpoint(checkpoint: Checkpoint, extra: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file: `theta`, `momentum`; the round is in its metadata."""
    data: bytes = save(
        {"theta": checkpoint.theta, "momentum": checkpoint.momentum},
        metadata={"round": str(checkpoint.round), "rules": checkpoint.rules, **(extra or {})},
    )
    return data


def parse_checkpoint(data: bytes, size: int, rules: str) -> Checkpoint:
    """Read a stranger's. Raises `StoreError`."""
    try:
        tensors = load(data)
        number = int(read_metadata(data).get("round", ""))
    except (SafetensorError, ValueError, KeyError) as error:
        raise StoreError(f"The checkpoint is no safetensors file: {error}.") from None
    theta, momentum = tensors.get("theta"), tensors.get("momentum")
    for values in (theta, momentum):
        if values is None or values.dtype != np.float32 or values.shape != (size,) or not np.isfinite(values).all():
            raise StoreError(f"The checkpoint does not have {size} finite values.")
    assert theta is not None
    assert momentum is not None
    return Checkpoint(number, theta, momentum, rules)


def read_metadata(data: bytes) -> dict[str, str]:
    """Of a safetensors file; `load` has checked its form before."""
    length = int.from_bytes(data[:8], "little")
    found = (decode_json(data[8 : 8 + length]) or {}).get("__metadata__", {})
    return {str(key): str(value) for key, value in found.items()}


def read_head(store: Store) -> tuple[int, str] | None:
    """(round, checkpoint) where a store's owner says that it stands."""
    data = store.get("head.json", _SMALL)
    if data is None:
        return None
    try:
        value = _parse_object(data)
    except StoreError:
        return None
    number, digest = value.get("round"), value.get("checkpoint")
    if type(number) is not int or not 0 <= number < 1 << 31 or not _is_hash(digest):
        return None
    return number, str(digest)


def keep_newest(store: FolderStore, kind: str, count: int, also: Iterator[str] | Sequence[str] = ()) -> None:
    """Forget the oldest of a kind, except those in `also`."""
    spared = set(also)
    for name in store.names(kind)[:-count]:
        if name not in spared:
            store.drop(name)


def _hashed(data: bytes, digest: str) -> bytes:
    if hashlib.sha256(data).hexdigest() != digest:
        raise StoreError(f"What the store has for {digest[:16]}… is something else.")
    return data


def _parse_object(data: bytes) -> dict[str, Any]:
    value = decode_json(data)
    if not isinstance(value, dict):
        raise StoreError("This is no JSON object.")
    return value


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None
