"""Weight rows from strangers, as bytes: the contract takes a row only when the twin reads the same one, and it sums to the whole."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.chain.contracts.arena import NOTHING, SALT, Arena
from tests.chain.contracts.evm import Reverted

from tercet.market.epoch import FULL, PAGE, pack_row, unpack_row

HEAD_WORDS = 5
"""Of a reveal's arguments: as_of, version, salt, evidence, and where the row begins."""
MAX_WORDS = 16
WORD = 2**256

words = st.integers(0, WORD - 1) | st.sampled_from([0, 1, FULL, FULL << 240, WORD - 1])


@st.composite
def rows(draw: Any) -> list[int]:
    """Weights that sum to the whole, or nearly, anywhere in up to 256 columns."""
    columns = draw(st.integers(1, 256))
    cuts = sorted(draw(st.lists(st.integers(0, FULL), max_size=12)))
    parts = [after - before for before, after in zip([0, *cuts], [*cuts, FULL], strict=True)]
    row = [0] * columns
    for part in parts:
        at = draw(st.integers(0, columns - 1))
        row[at] = min(FULL, row[at] + part)
    if draw(st.booleans()):
        at = draw(st.integers(0, columns - 1))
        row[at] = min(max(0, row[at] + draw(st.sampled_from([-1, 1, 256]))), FULL)
    return row


class Desk:
    """A market with one validator that may commit; every attempt starts from there."""

    def __init__(self) -> None:
        self.arena = Arena()
        for _ in range(3):
            self.arena.add_miner("")
        self.validator = self.arena.add_validator()
        self.arena.skip_epoch()
        self.generation = self.arena.as_of()
        self.start = self.arena.ledger.snapshot()

    def try_reveal(self, row: list[int], calldata: bytes) -> str | None:
        """Commit to a row and reveal by these bytes; the refusal, or None when it was taken."""
        arena = self.arena
        arena.ledger.restore(self.start)
        arena.market.send(self.validator.operator, "commit", arena.digest(self.validator, self.generation, row))
        arena.ledger.now += arena.params.commit_seconds
        try:
            arena.ledger.run(self.validator.operator, bytes.fromhex(arena.market.address[2:]), calldata)
        except Reverted as refusal:
            return str(refusal)
        return None

    def encode(self, row: list[int]) -> bytes:
        """A reveal's calldata as it should be."""
        types = "uint256,uint256,bytes32,bytes32,uint256[]"
        arguments = (self.generation, self.arena.params.mechanism_version, SALT, NOTHING, row)
        return bytes(keccak(text=f"reveal({types})")[:4] + encode(types.split(","), arguments))

    def taken(self) -> list[int]:
        return list(self.arena.market.call("get_row", self.validator.slot))


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


@given(row=rows())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_row_survives_packing(row: list[int]) -> None:
    """Unpacked it is what it was, with zeros after its end; packed again it is the same words."""
    packed = pack_row(row)
    assert len(packed) == -(-len(row) // PAGE)
    assert unpack_row(packed, len(row)) == row
    assert sum(unpack_row(packed)) == sum(row)
    assert pack_row(unpack_row(packed)) == packed
    assert all(0 <= word < WORD for word in packed)


@given(packed=st.lists(words, max_size=MAX_WORDS))
@settings(max_examples=60, deadline=None)
def test_any_words_are_some_row(packed: list[int]) -> None:
    """Every bit of a word belongs to one weight: unpacking loses nothing."""
    row = unpack_row(packed)
    assert all(0 <= weight <= FULL for weight in row)
    assert pack_row(row) == packed


@given(row=rows().map(pack_row) | st.lists(words, max_size=MAX_WORDS))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_row_is_taken_exactly_when_it_sums_to_the_whole(desk: Desk, row: list[int]) -> None:
    """The contract adds in lanes, the twin adds numbers: they agree on any words."""
    refusal = desk.try_reveal(row, desk.encode(row))
    if sum(unpack_row(row)) == FULL:
        assert refusal is None
        assert desk.taken() == row
    else:
        assert refusal == "market: row sum is not 65535"


def read_loosely(calldata: bytes) -> list[int] | None:
    """The row that bytes stand for by the ABI's rules, zeros behind their end; None when it is too long."""

    def word(at: int) -> int:
        return int.from_bytes(calldata[4 + at : 36 + at].ljust(32, b"\0"), "big")

    start = word(32 * (HEAD_WORDS - 1))
    count = word(start)
    return [word(start + 32 + 32 * k) for k in range(count)] if count <= MAX_WORDS else None


@st.composite
def bent_calldata(draw: Any, calldata: bytes) -> bytes:
    """Good calldata with lengths, offsets or bytes changed, cut off or added to."""
    bent = bytearray(calldata)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["word", "byte", "cut", "add", "offset", "count"]))
        if kind == "word":
            at = 4 + 32 * draw(st.integers(0, max(0, (len(bent) - 4) // 32 - 1)))
            bent[at : at + 32] = draw(words).to_bytes(32, "big")
        elif kind == "byte":
            bent[draw(st.integers(4, len(bent) - 1))] = draw(st.integers(0, 255))
        elif kind == "cut":
            del bent[draw(st.integers(4, len(bent))) :]
            bent += b"" if len(bent) > 4 else bytes(1)
        elif kind == "add":
            bent += draw(st.binary(min_size=1, max_size=70))
        elif kind == "offset":
            bent[4 + 128 : 4 + 160] = draw(st.integers(0, 800) | words).to_bytes(32, "big")
        else:
            bent[4 + 160 : 4 + 192] = draw(st.integers(0, 40) | words).to_bytes(32, "big")
    return bytes(bent)


@given(data=st.data(), row=rows().map(pack_row))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_bent_calldata_is_refused_or_read_as_the_abi_says(desk: Desk, data: st.DataObject, row: list[int]) -> None:
    """The validator commits to what the bytes stand for, so that only the decoding is in question."""
    calldata = data.draw(bent_calldata(desk.encode(row)))
    meant = read_loosely(calldata)
    refusal = desk.try_reveal(row if meant is None else meant, calldata)
    if refusal is None:
        assert meant is not None
        assert desk.taken() == meant
        assert sum(unpack_row(meant)) == FULL
        # What is cut off reads as zeros, so bytes may be fewer than the ABI asks for, but never mean anything else.
        head = (desk.generation, desk.arena.params.mechanism_version, SALT, NOTHING)
        assert calldata[4:132] == encode(["uint256", "uint256", "bytes32", "bytes32"], head)
    else:
        assert refusal.startswith("market: ") or refusal.endswith(": "), "a reason, or the decoder's bare revert"


def test_an_accepted_row_decides_as_the_twin_says(desk: Desk) -> None:
    """A row that points to columns nobody holds, and is longer than the market: both cut it the same way."""
    row = [0] * 256
    row[1], row[3], row[200] = 30_000, 5_535, 30_000
    assert desk.try_reveal(pack_row(row), desk.encode(pack_row(row))) is None
    arena = desk.arena
    arena.ledger.now += arena.params.reveal_seconds
    outcome, _ = arena.close()
    assert outcome.consensus == (0, 30_000, 0, 5_535)
    views = arena.market.call("get_miners", 0, 64)
    assert [view["consensus"] for view in views] == list(outcome.consensus[1:])
