"""A validator's memory: the checkpoint it stands at, what it knows of the miners, and what it lets others read.

Validators that judge the same answers hold the same checkpoint, since the seed, the judging and the outer step are the
same for all. One that saw other answers, because a miner told it something else or nothing, or that judged on the other
side of a threshold, ends up elsewhere: it then moves to where most of the others' weight stands, once it has computed
from their store that this is a step of the rules from where it stood. See docs/subnets/training.md for what that leaves.
"""

from __future__ import annotations

import fcntl
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError

from tercet.errors import StateLockedError, SubnetError, UsageError
from tercet.subnets.kit.files import write_atomically
from tercet.subnets.training.compress import Update
from tercet.subnets.training.outer import Checkpoint, Outer, step
from tercet.subnets.training.standing import Standing
from tercet.subnets.training.store import (
    FolderStore,
    Library,
    Step,
    StoreError,
    WebStore,
    format_checkpoint,
    keep_newest,
    open_store,
    parse_checkpoint,
    read_head,
    read_metadata,
)

__all__ = ["Keeper", "Peer", "parse_peers"]

log = logging.getLogger(__name__)

WHOLE_KEPT = 6
"""Whole checkpoints in the store."""
STEPS_KEPT = 64
UPDATES_KEPT = 2048
SYNC_PAUSE = 0.5
STATE = "state.safetensors"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another validator's store."""

    store: FolderStore | WebStore
    weight: float = 1.0


def parse_peers(text: str) -> list[Peer]:
    """`URL,URL=WEIGHT`: stores of the other validators, with their stake where it is not all the same.

    Raises:
        UsageError: it is none.

    """
    peers = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        place, equals, weight = part.rpartition("=")
        try:
            store = open_store(place if equals else part)
            peers.append(Peer(store, float(weight) if equals else 1.0))  # type: ignore[arg-type]  # both kinds there are
        except ValueError as error:
            raise UsageError(f"{part!r} is no peer. Write URL or URL=WEIGHT.") from error
    return peers


@dataclass(slots=True)
class Keeper:
    """State on disk, and the store that others read."""

    folder: Path
    size: int
    rules: str
    outer: Outer
    library: Library
    """Searches our own store first, then those of the peers."""
    peers: Sequence[Peer] = ()
    sync_seconds: float = 5.0
    """How long the peers are waited for."""
    checkpoint: Checkpoint = field(init=False)
    standings: dict[tuple[int, int], Standing] = field(init=False, default_factory=dict)
    judged: dict[str, Any] = field(init=False, default_factory=dict)
    """The last round: {"checkpoint", "seed", "verdicts"}; judging it again, after a crash, finds it done."""
    _recent: dict[str, Checkpoint] = field(init=False, default_factory=dict)
    _lock: IO[str] | None = field(init=False, default=None)

    @property
    def store(self) -> FolderStore:
        """What others read."""
        return FolderStore(self.folder / "store")

    def open(self, begin: Checkpoint, corpus: tuple[str, bytes]) -> None:
        """Take the folder, and go on where it was; `begin` when it is new. `corpus` is (hash, text).

        Raises:
            StateLockedError: another process works here.
            SubnetError: the state belongs to other rules, or is damaged.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_folder()
        try:
            self.checkpoint = begin
            path = self.folder / STATE
            if path.exists():
                self._read(path.read_bytes())
            if not self.store.has(f"corpus/{corpus[0]}"):
                self.store.put(f"corpus/{corpus[0]}", corpus[1])
            self._recent = {self.checkpoint.digest: self.checkpoint, begin.digest: begin}
            self.publish()
        except BaseException:
            self.close()
            raise

    def _take_folder(self) -> None:
        lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StateLockedError(
                f"Another process keeps its training state in {str(self.folder)!r}. Name another: -o folder=DIR."
            ) from None
        self._lock = lock

    def close(self) -> None:
        """Let the folder go."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def recall(self, digest: str) -> Checkpoint:
        """A checkpoint that a task named. Raises `StoreError` when it is too old."""
        if digest not in self._recent:
            self._recent[digest] = self.library.find(digest, self._recent, self.checkpoint.round + STEPS_KEPT)
        return self._recent[digest]

    def advance(
        self,
        accepted: Iterable[Update],
        received: Iterable[Update],
        standings: Mapping[tuple[int, int], Standing],
        judged: Mapping[str, Any],
    ) -> None:
        """Take the outer step, and have it on disk: all of it or nothing.

        Args:
            accepted: goes into the step.
            received: every update of the round, for those who check our judging.
            standings: after the round.
            judged: see the field.

        """
        accepted, parent = list(accepted), self.checkpoint.digest
        for update in received:
            self.store.put(f"updates/{update.digest}", update.packed)
        self.checkpoint = step(self.checkpoint, accepted, self.outer)
        digest = self.checkpoint.digest
        taken = Step(parent, self.checkpoint.round, sorted({update.digest for update in accepted}))
        self.store.put(f"steps/{digest}.json", taken.to_bytes())
        self.standings, self.judged = dict(standings), dict(judged)
        self._remember()
        self.save()
        self.publish()

    def save(self) -> None:
        """Write the state: after a crash it is the old one or the new one."""
        extra = {
            "standings": json.dumps([[*who, *standing.to_json()] for who, standing in sorted(self.standings.items())]),
            "judged": json.dumps(self.judged),
        }
        extra["rules_digest"] = self.rules
        write_atomically(self.folder / STATE, format_checkpoint(self.checkpoint, extra))

    def publish(self) -> None:
        """Put the checkpoint where others find it, and forget what is old."""
        digest, store = self.checkpoint.digest, self.store
        if not store.has(f"checkpoints/{digest}"):
            store.put(f"checkpoints/{digest}", format_checkpoint(self.checkpoint))
        store.put("head.json", json.dumps({"round": self.checkpoint.round, "checkpoint": digest}).encode())
        keep_newest(store, "checkpoints", WHOLE_KEPT, [f"checkpoints/{digest}"])
        keep_newest(store, "steps", STEPS_KEPT)
        keep_newest(store, "updates", UPDATES_KEPT)

    def follow(self, weight: float = 1.0) -> bool:
        """Move to where most of the weight stands, if that is elsewhere; whether we moved. Blocks.

        A peer that is behind is waited for up to `sync_seconds`: it may be judging still.
        """
        if not self.peers:
            return False
        until = time.monotonic() + self.sync_seconds
        heads = self._heads()
        while any(head is None or head[0] < self.checkpoint.round for head in heads) and time.monotonic() < until:
            time.sleep(SYNC_PAUSE)
            heads = self._heads()
        target = choose_head(
            (self.checkpoint.round, self.checkpoint.digest),
            weight if self.judged else 0.0,  # whoever has judged nothing has no say
            heads,
            [peer.weight for peer in self.peers],
        )
        if target is None:
            return False
        number, digest = target
        try:
            found = self.library.find(digest, self._recent, number)
        except StoreError as error:
            log.warning("training.cannot_follow checkpoint=%s why=%r", digest[:16], str(error))
            return False
        log.warning("training.followed round=%d from=%s to=%s", number, self.checkpoint.digest[:16], digest[:16])
        self.checkpoint = found
        self._remember()
        self.save()
        self.publish()
        return True

    def _heads(self) -> list[tuple[int, str] | None]:
        return [read_head(peer.store) for peer in self.peers]

    def _remember(self) -> None:
        self._recent[self.checkpoint.digest] = self.checkpoint
        for digest in list(self._recent)[:-WHOLE_KEPT]:
            del self._recent[digest]

    def _read(self, data: bytes) -> None:
        try:
            notes = read_metadata(data)
            if notes.get("rules_digest") != self.rules:
                raise SubnetError(
                    f"The training state in {str(self.folder)!r} is of other rules: another model, text, or size of a "
                    "round. Name another folder with -o folder=DIR, or the options that it was begun with."
                )
            self.checkpoint = parse_checkpoint(data, self.size, self.rules)
            self.standings = {
                (int(uid), int(generation)): Standing.from_json(sums)
                for uid, generation, *sums in json.loads(notes["standings"])
            }
            self.judged = json.loads(notes["judged"])
        except (KeyError, ValueError, TypeError, IndexError, SafetensorError, StoreError) as error:
            raise SubnetError(
                f"The training state in {str(self.folder)!r} is damaged: {error}. Move {STATE} away to begin anew; the "
                "checkpoint comes back from the peers."
            ) from error


def choose_head(
    mine: tuple[int, str],
    weight: float,
    heads: Sequence[tuple[int, str] | None],
    weights: Sequence[float],
) -> tuple[int, str] | None:
    """Where to go: the head with the most weight among those of the newest round; None to stay.

    A tie goes to the smaller digest, so that two validators who differ do not change places for ever. Whoever is ahead
    of us counts from its round; whoever is behind does not count.
    """
    votes: dict[tuple[int, str], float] = {mine: weight}
    for head, stake in zip(heads, weights, strict=True):
        if head is not None and head[0] >= mine[0]:
            votes[head] = votes.get(head, 0.0) + stake
    # One of many that runs ahead is no reason to follow: what counts is the newest round that half of the weight reached.
    total = sum(votes.values())
    reached = [
        n for n in {number for number, _ in votes} if 2 * sum(w for (r, _), w in votes.items() if r >= n) > total
    ]
    newest = max(reached, default=mine[0])
    best = min((head for head in votes if head[0] == newest), key=lambda head: (-votes[head], head[1]), default=mine)
    return None if best == mine else best
