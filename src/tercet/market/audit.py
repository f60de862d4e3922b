"""Audits: how a log of evaluations is committed to, which entries are checked, and what follows from what is found.

The twin of `Audits.vy`, in plain Python and equal to it bit for bit. Knows no chain, no network and no mechanism;
why the rules are these stands in docs/explanation/audits.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from Crypto.Hash import keccak as _keccak

from tercet.errors import MarketError

__all__ = [
    "BOND_BPS",
    "EMPTY_EVIDENCE",
    "MAX_ENTRIES",
    "SCORE_SCALE",
    "Evaluation",
    "EvaluationKind",
    "EvaluationLog",
    "Judgement",
    "build_evidence",
    "climb",
    "hash_package",
    "judge_accusation",
    "list_marks",
    "pack_marks",
    "sample_index",
    "settle_round",
]

EvaluationKind: TypeAlias = Literal["judged", "missed", "forged"]
"""As in `nodes.scores`; the number in a leaf is the place in this list."""

SCORE_SCALE = 10**9
"""A score of 1 in a leaf."""
MAX_ENTRIES = 1 << 20
"""The most evaluations a log can have: the contract climbs 20 levels."""
BOND_BPS = 1_000
"""An accuser's bond in ten-thousandths of the market's least stake."""
EMPTY_EVIDENCE = bytes(32)
"""What a validator without a log reveals."""

Judgement: TypeAlias = Literal["open", "confirmed", "rejected"]


def _hash(data: bytes) -> bytes:
    return _keccak.new(digest_bits=256, data=data).digest()


_LEAF_TYPE = _hash(b"tercet-evaluation/1")


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One entry of a validator's log: what it says of one answer, and what it can prove that with."""

    market: str
    """Address of the market."""
    epoch: int
    """Whose weights it counted for."""
    pool: int
    """The validator's pool: its seat's generation, so that a later tenant of the seat is another validator."""
    index: int
    """Place in the log."""
    uid: int
    generation: int
    """Of the miner's slot when it was asked."""
    kind: EvaluationKind
    score: int
    """0 to `SCORE_SCALE`."""
    package: bytes
    """keccak256 of what a re-execution needs; a salt inside keeps it from telling anything by itself. 32 bytes."""

    @property
    def leaf(self) -> bytes:
        """keccak256 of the ABI encoding of all fields, under a tag: no entry fits another place, log or market."""
        words = (self.epoch, self.pool, self.index, self.uid, self.generation)
        kind = get_args(EvaluationKind).index(self.kind)
        return _hash(
            _LEAF_TYPE
            + bytes.fromhex(self.market.removeprefix("0x")).rjust(32, b"\0")
            + b"".join(_word(word) for word in (*words, kind, self.score))
            + self.package
        )


class EvaluationLog:
    """The leaves of one validator's log of one epoch, and the tree over them.

    The last node of a level of odd width moves up alone. A leaf's preimage is longer than a node's, so neither passes
    for the other; the count is committed to beside the root.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        """Take the leaves, in order of index.

        Raises:
            MarketError: there are none, or too many.

        """
        if not 0 < len(leaves) <= MAX_ENTRIES:
            raise MarketError(
                f"A log has 1 to {MAX_ENTRIES:,} entries, got {len(leaves):,}. Without any, reveal no evidence."
            )
        self.levels: list[list[bytes]] = [list(leaves)]
        while len(self.levels[-1]) > 1:
            self.levels.append(_pair_up(self.levels[-1]))

    @property
    def count(self) -> int:
        """How many entries there are."""
        return len(self.levels[0])

    @property
    def root(self) -> bytes:
        """Of the tree."""
        return self.levels[-1][0]

    @property
    def evidence(self) -> bytes:
        """What the validator reveals with its weights."""
        return build_evidence(self.count, self.root)

    def proof(self, index: int) -> list[bytes]:
        """The nodes beside the way from leaf `index` to the root, from below."""
        found = []
        for level in self.levels[:-1]:
            beside = index ^ 1
            if beside < len(level):
                found.append(level[beside])
            index //= 2
        return found


def _pair_up(nodes: Sequence[bytes]) -> list[bytes]:
    paired = [_hash(nodes[k] + nodes[k + 1]) for k in range(0, len(nodes) - 1, 2)]
    return [*paired, nodes[-1]] if len(nodes) % 2 else paired


def build_evidence(count: int, root: bytes) -> bytes:
    """keccak256(abi.encode(count, root))."""
    return _hash(_word(count) + root)


def hash_package(package: bytes) -> bytes:
    """What a leaf says of a package's bytes: their keccak256."""
    return _hash(package)


def climb(leaf: bytes, index: int, count: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that a proof leads to; None when it has another length than such a log's proofs have."""
    node, rest = leaf, list(proof)
    while count > 1:
        if index % 2 or index + 1 < count:
            if not rest:
                return None
            beside = rest.pop(0)
            node = _hash(beside + node) if index % 2 else _hash(node + beside)
        index, count = index // 2, (count + 1) // 2
    return None if rest else node


def sample_index(beacon: bytes, pool: int, sample: int, count: int) -> int:
    """Which entry of a log the epoch's beacon picks: keccak256(abi.encode(beacon, pool, sample)) % count."""
    return int.from_bytes(_hash(beacon + _word(pool) + _word(sample)), "big") % count


def pack_marks(vids: Sequence[int]) -> int:
    """A bitmap of vids."""
    return sum(1 << vid for vid in set(vids))


def list_marks(marks: int) -> list[int]:
    """The vids in a bitmap, ascending."""
    return [vid for vid in range(marks.bit_length()) if marks >> vid & 1]


def judge_accusation(weights: Mapping[int, int], accuser: int, accused: int, votes: Mapping[int, bool]) -> Judgement:
    """Where an accusation stands: guilty by more than half of all weight, innocent by half of it.

    Args:
        weights: vid to stake units in the closing, of all seats.
        accuser: vid; its weight says guilty. It alone convicts nobody.
        accused: vid; its weight says innocent.
        votes: vid to whether it says guilty, of the others that voted.

    """
    total = sum(weights.values())
    guilty = weights[accuser] + sum(weights[vid] for vid, says in votes.items() if says)
    innocent = weights[accused] + sum(weights[vid] for vid, says in votes.items() if not says)
    if votes and 2 * guilty > total:
        return "confirmed"
    return "rejected" if votes and 2 * innocent >= total else "open"


def settle_round(
    weights: Mapping[int, int], evident: int, marks: Mapping[int, int], convicted: int
) -> Mapping[int, bool]:
    """Whose held rewards are released, by vid; the others' are forfeited.

    Args:
        weights: vid to stake units in the closing, of all seats.
        evident: bitmap of those that published evidence.
        marks: vid to the bitmap of those it found in order, of those that attested.
        convicted: bitmap.

    """
    total = sum(weights.values())

    def good(vid: int) -> bool:
        support = sum(weights[other] for other, seen in marks.items() if other != vid and seen >> vid & 1)
        own = marks.get(vid)
        return (
            bool(evident >> vid & ~(convicted >> vid) & 1)
            and own is not None
            and not own & evident & ~(1 << vid) & convicted
            and 2 * support > total - weights[vid]
        )

    return {vid: good(vid) for vid in weights}
